"""Which addresses a FIB next hop goes by, and which next hops lie behind an interface."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from routers.model import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routers.model import FibEntry, NextHop, Session, Snapshot

_SHORTEST = 2  # letters of an interface's name, as command lines shorten it


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


def next_hops_behind(entry: FibEntry, interface: str) -> tuple[NextHop, ...]:
    """The usable next hops of a FIB entry that may lie behind an interface.

    Several where they share it. One of which the router does not tell the interface may lie behind any. Names are
    compared as a router's commands write them, in full or shortened (Ethernet1/3, Eth1/3).
    """
    usable = [hop for hop in entry.next_hops if hop.usable]
    unknown = [hop for hop in usable if hop.interface is None]
    exact = [hop for hop in usable if hop.interface == interface]
    found = exact or [hop for hop in usable if hop.interface is not None and _same_name(hop.interface, interface)]
    return (*found, *unknown)


def _same_name(one: str, other: str) -> bool:
    """Whether two names are of one interface, one of them shortened to its first two or more letters."""
    (word, number), (other_word, other_number) = _parts(one), _parts(other)
    if number != other_number or not number:
        return False
    short, long = sorted((word, other_word), key=len)
    return len(short) >= _SHORTEST and long.startswith(short)


def _parts(name: str) -> tuple[str, str]:
    """The word that an interface's name begins with, in small letters, and its number."""
    word = name.rstrip("0123456789/.:")
    return word.lower(), name[len(word) :]
