"""Which addresses a FIB next hop goes by."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from routers.model import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routers.model import NextHop, Session, Snapshot


def addresses_of(snapshot: Snapshot, next_hop: NextHop) -> frozenset[str]:
    """Every address by which the machine behind a FIB next hop is known; empty for a connected route.

    A link-local next hop (RFC 2545 section 3) stands in no configuration. It is the machine with the same
    MAC in the router's neighbor table, and the BGP peer that announced a route with it.
    """
    if next_hop.address is None:
        return frozenset()
    own = canonical(next_hop.address)
    if not ipaddress.ip_address(own).is_link_local:
        return frozenset({own})
    return frozenset({own, *_same_machine(snapshot, own, next_hop.interface), *_announcers(snapshot, own)})


def addresses_behind(snapshot: Snapshot, session: Session) -> frozenset[str]:
    """Every address by which the machine at the other end of a session is known.

    That of an unnumbered neighbor is link-local: it is the machine with the same MAC on its link, and the one that
    gives an address of its own as its BGP identifier (by custom its loopback; RFC 4271 section 4.2 wants one of its
    addresses).
    """
    try:
        own = canonical(session.address)
    except ValueError:  # nobody was heard on that interface yet
        return frozenset()
    if not ipaddress.ip_address(own).is_link_local:
        return frozenset({own})
    rows = [row for row in snapshot.neighbors or () if row.mac and session.interface in (None, row.interface)]
    links = {(row.interface, row.mac) for row in rows if row.address == own}
    machine = {row.address for row in rows if (row.interface, row.mac) in links} if len(links) == 1 else set()
    return frozenset({own, *machine, *((session.router_id,) if session.router_id else ())})


def _same_machine(snapshot: Snapshot, address: str, interface: str | None) -> Iterator[str]:
    rows = [row for row in snapshot.neighbors or () if row.interface == interface and row.mac]
    macs = {row.mac for row in rows if row.address == address}
    return (row.address for row in rows if row.mac in macs)


def _announcers(snapshot: Snapshot, address: str) -> Iterator[str]:
    for routes in snapshot.routes.values():
        for route in routes:
            if address in route.next_hops:
                yield from (*route.next_hops, *((route.peer,) if route.peer else ()))
