"""The routes of `bgpctl -j show rib` (usr.sbin/bgpctl/output_json.c). Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_address, as_dict, as_int, as_prefix, as_text
from routers.model import Query, Route, Session, SessionState
from routers.openbgpd.sessions import as_number_of
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from routers.jsontext import Prefix

_INTERNAL = "internal"


class Kernel(Enum):
    """What becomes of the routes that OpenBGPD selects."""

    COUPLED = "OpenBSD, whose kernel gets the best route of each prefix"
    DECOUPLED = "OpenBSD, whose kernel gets no routes"
    PORTABLE = "another system: the portable build writes no routes"
    UNKNOWN = "not told"


_NOT_INSTALLED = {
    Kernel.PORTABLE: "the portable build of OpenBGPD puts no routes into the kernel",
    Kernel.DECOUPLED: "OpenBGPD is decoupled from the kernel's table: bgpctl fib couple",
}
_ONE_ROUTE = "OpenBGPD gives the kernel one route of a prefix, the best"


def own_as(neighbors: Sequence[dict[str, Any]], rows: Iterable[dict[str, Any]]) -> int | None:
    """The router's AS: that of the neighbors whose routes are internal. None where there is no such route."""
    remote = {as_address(row.get("remote_addr")): as_number_of(row.get("remote_as")) for row in neighbors}
    peers = (as_address(as_dict(row.get("neighbor")).get("remote_addr")) for row in rows if _is_internal(row))
    numbers = Counter(number for peer in peers if (number := remote.get(peer)) is not None)
    return numbers.most_common(1)[0][0] if numbers else None


def routes_of(
    query: Query,
    accepted: Mapping[str, Sequence[dict[str, Any]]],
    received: Mapping[str, Sequence[dict[str, Any]]],
    sessions: Sequence[Session],
    dead: set[str],
    kernel: Kernel,
    fib: Mapping[str, object],
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last. `dead` are next hops that cannot be resolved."""
    known = {one.address: one for one in sessions}
    sent = {peer: _prefixed(rows) for peer, rows in received.items()}
    found: dict[str, tuple[Route, ...]] = {}
    for vip, rows in accepted.items():
        best = _longest(vip, _prefixed(rows), default_routes=query.default_routes)
        candidates = [_candidate(prefix, row, known, dead, kernel) for prefix, row in best]
        routes = [_told(route, kernel) for route in explained(candidates, Multipath({}))]
        if vip in fib and fib[vip] is None and kernel in _NOT_INSTALLED:
            routes = [replace(one, unused_reason=_NOT_INSTALLED[kernel]) if one.used else one for one in routes]
        taken = {(as_prefix(row.get("prefix")), _peer(row)) for row in rows}
        shortest = best[0][0].prefixlen if best else 0
        dropped = [
            _filtered(prefix, row, peer)
            for peer, own in sent.items()
            for prefix, row in _longest(vip, own, default_routes=query.default_routes)
            if prefix.prefixlen >= shortest and (prefix, peer) not in taken
        ]
        found[vip] = (*routes, *dropped)
    return found


def _prefixed(rows: Iterable[dict[str, Any]]) -> list[tuple[Prefix, dict[str, Any]]]:
    return [(prefix, row) for row in rows if (prefix := as_prefix(row.get("prefix")))]


def _longest(
    vip: str, rows: Iterable[tuple[Prefix, dict[str, Any]]], *, default_routes: bool
) -> list[tuple[Prefix, dict[str, Any]]]:
    """Those of the longest prefix that covers a VIP; a default route announces no VIP unless it is to count."""
    address = ipaddress.ip_address(vip)
    covering = [one for one in rows if address in one[0] and (default_routes or one[0].prefixlen)]
    length = max((prefix.prefixlen for prefix, _ in covering), default=0)
    return [one for one in covering if one[0].prefixlen == length]


def _candidate(
    prefix: Prefix, row: dict[str, Any], sessions: Mapping[str, Session], dead: set[str], kernel: Kernel
) -> Candidate:
    peer = _peer(row)
    session = sessions.get(peer) if peer else None
    hop = as_address(row.get("exit_nexthop"))
    valid, best = row.get("valid") is True, row.get("best") is True
    shares = row.get("ecmp") is True and kernel is not Kernel.COUPLED
    route = Route(
        prefix=str(prefix),
        peer=peer,
        next_hops=(hop,) if hop else (),
        valid=valid,
        best=best,
        used=valid and (best or shares),
        stale=row.get("stale") is True or (session is not None and session.state is not SessionState.ESTABLISHED),
    )
    obstacle = None if valid else f"next hop {hop} cannot be resolved" if hop in dead else "not valid"
    return Candidate(route, _attributes(row), obstacle)


def _peer(row: dict[str, Any]) -> str | None:
    """The neighbor; None where the route is the router's own, of which 0.0.0.0 is told."""
    peer = as_address(as_dict(row.get("neighbor")).get("remote_addr"))
    return None if peer is None or ipaddress.ip_address(peer).is_unspecified else peer


def _told(route: Route, kernel: Kernel) -> Route:
    """OpenBGPD has no path limit to set; what is equal and left out is so because the kernel gets one route."""
    if route.mended_by is None:
        return route
    return replace(route, mended_by=None, unused_reason=_ONE_ROUTE if kernel is Kernel.COUPLED else None)


def _attributes(row: dict[str, Any]) -> Attributes:
    path = row.get("aspath")
    return Attributes(
        weight=as_int(row.get("weight")),
        local_preference=as_int(row.get("localpref")),
        as_path=tuple(path.split()) if isinstance(path, str) else None,
        origin=(as_text(row.get("origin")) or "").lower() or None,
        med=as_int(row.get("metric")),
        internal=_is_internal(row) if as_text(row.get("source")) else None,
    )


def _is_internal(row: dict[str, Any]) -> bool:
    return row.get("source") == _INTERNAL


def _filtered(prefix: Prefix, row: dict[str, Any], peer: str) -> Route:
    hop = as_address(row.get("exit_nexthop"))
    return Route(prefix=str(prefix), peer=peer, next_hops=(hop,) if hop else (), used=False, filtered=True)
