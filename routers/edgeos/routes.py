"""Which of an EdgeRouter's BGP routes are in use, and why others are not. Pure.

ZebOS marks no multipath members in its BGP table (`show ip bgp`). Those that BGP handed on stand in the routing
table (`show ip route`), so the two are laid side by side.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from routers.model import RemedyKind, Route
from routers.selection import Candidate, Multipath, explained
from routers.zebos.longest import Longest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from routers.model import FibEntry
    from routers.zebos.routes import Heard, Taken


def routes_of(
    vip: str,
    candidates: Sequence[Candidate],
    taken: Longest[Taken] | None,
    fib: FibEntry | None,
    multipath: Multipath,
) -> tuple[Route, ...] | None:
    """A VIP's routes with what is known of their use. `taken`: the routing table, None where it was not read.

    None where the missing table alone would tell why a route is not in the FIB.
    """
    rows = None if taken is None else [row for row in taken.of(vip) if row.bgp]
    marked = [_marked(one, rows, fib) for one in candidates]
    if rows is None:
        marked = _limited(marked, multipath)
    used = sum(1 for one in marked if one.route.used)
    best = next((one for one in marked if one.route.best), None)
    kind = "ibgp" if best is not None and best.attributes.internal else "ebgp"
    limit = multipath.limits.get(kind)
    roomy = limit is not None and limit > used
    # A limit that is not reached leaves the neighbor ASes, where these differ; else nothing that ZebOS tells.
    relaxed = False if roomy and multipath.relaxed is not True else multipath.relaxed
    found = explained(marked, Multipath(multipath.limits, relaxed))
    if rows is None and any(one.valid and one.used is None for one in found):
        return None
    return tuple(_unexplained(one) if roomy and one.mended_by is RemedyKind.PATH_LIMIT else one for one in found)


def _marked(candidate: Candidate, rows: Iterable[Taken] | None, fib: FibEntry | None) -> Candidate:
    """The route with `used` as the routing table has it, else the FIB: there it can only be told of a next hop in use.

    Of two addresses of one IPv6 next hop the one that the router forwards by comes first.
    """
    route = candidate.route
    installed = {hop.address for hop in fib.next_hops} if fib is not None else set()
    hops = tuple(sorted(route.next_hops, key=lambda hop: hop not in installed))
    route = replace(route, next_hops=hops)
    if not route.valid or route.used:
        return replace(candidate, route=_stale(route, rows))
    if rows is not None:
        chosen = {row.address for row in rows if row.selected is not False}
        return replace(candidate, route=_stale(replace(route, used=bool(chosen & set(hops))), rows))
    return replace(candidate, route=replace(route, used=True if installed & set(hops) else None))


def _limited(marked: list[Candidate], multipath: Multipath) -> list[Candidate]:
    """Without the routing table: where as many routes are in use as the limit lets through, the others are not."""
    used = [one for one in marked if one.route.used]
    internal = any(one.attributes.internal for one in used)
    if len(used) != multipath.limits.get("ibgp" if internal else "ebgp"):
        return marked
    return [replace(one, route=replace(one.route, used=bool(one.route.used))) for one in marked]


def _stale(route: Route, rows: Iterable[Taken] | None) -> Route:
    stale = {row.address for row in rows or () if row.stale}
    return replace(route, stale=True) if stale & set(route.next_hops) else route


def _unexplained(route: Route) -> Route:
    return replace(route, used=None, unused_reason=None, mended_by=None)


def filtered_of(
    vip: str, received: Mapping[str, Longest[Heard] | None], accepted: Sequence[Route]
) -> tuple[Route, ...] | None:
    """What a neighbor announced (`received-routes`, by peer) and the router's policy dropped.

    None where one that gave no route may have announced one: what it announced could not be read.
    """
    shortest = max((ipaddress.ip_network(route.prefix).prefixlen for route in accepted), default=1)
    found = []
    for peer, rows in received.items():
        kept = {route.prefix for route in accepted if route.peer == peer}
        if rows is None and not kept:
            return None
        if rows is None:
            continue
        dropped = next((row for row in rows.of(vip, shortest) if str(row.prefix) not in kept), None)
        if dropped is not None:
            found.append(
                Route(prefix=str(dropped.prefix), peer=peer, next_hops=(dropped.next_hop,), used=False, filtered=True)
            )
    return tuple(found)
