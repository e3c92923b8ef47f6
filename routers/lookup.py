"""Which addresses a FIB next hop goes by."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from routers.model import canonical

if TYPE_CHECKING:
    from routers.model import NextHop, Snapshot


def addresses_of(snapshot: Snapshot, next_hop: NextHop) -> frozenset[str]:
    """The next hop's own address and, for a link-local one, every address that the router's neighbor table
    gives to the same machine (the same MAC on the same interface). Empty for a directly connected route.

    IPv6 next hops learned over BGP may be link-local (RFC 2545 section 3), which no configuration names.
    """
    if next_hop.address is None:
        return frozenset()
    own = canonical(next_hop.address)
    if not ipaddress.ip_address(own).is_link_local:
        return frozenset({own})
    macs = {
        row.mac
        for row in snapshot.neighbors
        if row.address == own and row.interface == next_hop.interface and row.mac
    }
    same = (
        row.address for row in snapshot.neighbors if row.mac in macs and row.interface == next_hop.interface
    )
    return frozenset({own, *same})
