"""Which routes BIRD uses, and what keeps the others out of the kernel. Pure.

BIRD marks the primary route of a prefix only. Which others `merge paths` adds is told by what the kernel
protocol exports, and its limit by nothing but the configuration file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace

from routers.bird.routes import Heard, Via, length_of, longest
from routers.model import FibEntry, RemedyKind, Route
from routers.selection import Candidate, Multipath, explained

_MULTIPATH = Multipath({})


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernel protocols that take a family's routes, and prefix -> the next hops that they export."""

    names: tuple[str, ...]
    exported: Mapping[str, frozenset[Via]]

    def __str__(self) -> str:
        return f"kernel protocol {' or '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class _Shares:
    """How many of the routes that no attribute sets back are used."""

    used: int
    equal: int

    def __str__(self) -> str:
        return f"{self.used} of {self.equal} equal paths"


def routes_of(
    vip: str,
    accepted: list[Heard],
    dropped: list[Heard],
    kernels: Kernels | None,
    entry: FibEntry | None,
    *,
    shortest: int = 1,
) -> tuple[Route, ...] | None:
    """The routes of a VIP, marked as used or not, then those that the import filter dropped.

    Without `kernels`, the answers on exports, only the FIB `entry` tells what is used; None where BIRD may hold back
    a route that is not there, or it was lost on the way. `shortest`: the least length of a prefix that counts.
    """
    covering = longest(vip, accepted, shortest=shortest)
    shortest = length_of(covering[0].route) if covering else shortest
    if kernels is None:
        routes = explained([_marked_by_fib(one, entry) for one in covering], _MULTIPATH)
        if any(_equal(route) and not route.used for route in routes):
            return None
    else:
        routes = _marked_by_export(covering, kernels)
    filtered = (
        replace(one.route, used=False, filtered=True, best=False) for one in longest(vip, dropped, shortest=shortest)
    )
    return (*routes, *filtered)


def _marked_by_fib(one: Heard, entry: FibEntry | None) -> Candidate:
    """What the FIB forwards by is used. What is not there may be held back by BIRD or lost on the way."""
    installed = {hop.address for hop in entry.next_hops} if entry and entry.prefix == one.route.prefix else set()
    known = True if installed.intersection(one.route.next_hops) else one.route.used
    return replace(one.candidate, route=replace(one.route, used=known))


def _marked_by_export(covering: list[Heard], kernels: Kernels) -> tuple[Route, ...]:
    """The routes of one prefix: those are used whose next hop BIRD wants in the kernel."""
    if not covering:
        return ()
    wanted = kernels.exported.get(covering[0].route.prefix, frozenset())
    candidates = [
        replace(one.candidate, route=replace(one.route, used=True if one.vias & wanted else None)) for one in covering
    ]
    routes = explained(candidates, _MULTIPATH)
    equal = [route.used is True for route in routes if _equal(route)]
    shares = _Shares(sum(equal), len(equal))
    return tuple(
        _left_out(route, one.vias, wanted, kernels, shares) if _equal(route) and not route.used else route
        for one, route in zip(covering, routes, strict=True)
    )


def _equal(route: Route) -> bool:
    return route.valid and route.unused_reason is None


def _left_out(route: Route, vias: frozenset[Via], wanted: frozenset[Via], kernels: Kernels, shares: _Shares) -> Route:
    """A route that no attribute sets back, and that BIRD does not want in the kernel."""
    mended_by = None
    if not kernels.names:
        reason = "no kernel protocol of BIRD that is up takes the routes of this table"
    elif not wanted:
        what = "it" if route.best else "the best route, and its equals go with it"
        reason = f"the export filter of {kernels} rejects {what}"
    elif not shares.used:
        others = ", ".join(sorted({via.address for via in wanted}))
        reason = f"{kernels} exports other next hops ({others})"
    elif shares.used == 1:
        mended_by = RemedyKind.PATH_LIMIT
        reason = f"path limit: {shares}, merge paths is off or has a limit of 1 (or an export filter) in {kernels}"
    elif _order(vias) < _order(wanted):
        reason = f"export filter of {kernels}: {shares}, and a path limit would leave out a higher next hop"
    else:
        mended_by = RemedyKind.PATH_LIMIT
        reason = f"path limit (merge paths) or export filter of {kernels}: {shares}"
    return replace(route, used=False, unused_reason=reason, mended_by=mended_by)


def _order(vias: frozenset[Via]) -> int:
    """By which next hops of one weight fill the limit, the lowest first (nexthop_merge in nest/rt-attr.c)."""
    return max((int(ipaddress.ip_address(via.address)) for via in vias), default=0)
