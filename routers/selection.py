"""Why a router uses one BGP route and not another: the best-path order as far as routers tell attributes.

Follows RFC 4271 section 9.1.2.2 and the FRR user guide, "BGP decision process"; ties broken by age, router ID
or address do not keep a route out of ECMP and are not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from routers.model import RemedyKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routers.model import Route

_ORIGIN_RANK = {"igp": 0, "egp": 1, "incomplete": 2}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What best-path selection looks at; `None`: the router does not tell, so it is not compared."""

    preference: int | None = None  # BIRD's, which ranks protocols
    weight: int | None = None
    local_preference: int | None = None
    as_path: tuple[str, ...] | None = None
    origin: str | None = None
    med: int | None = None
    internal: bool | None = None
    igp_metric: int | None = None

    @property
    def neighbor_as(self) -> str | None:
        return self.as_path[0] if self.as_path else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route, its attributes, and why it is out of the running (unreachable next hop, dampened)."""

    route: Route
    attributes: Attributes
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class Multipath:
    """The path limits in force, "ibgp" and "ebgp" (none known: empty), and whether neighbor ASes may differ."""

    limits: Mapping[str, int]
    relaxed: bool | None = None


def explained(candidates: Sequence[Candidate], multipath: Multipath) -> tuple[Route, ...]:
    """The routes, each unused one with the first reason that keeps it out.

    Nothing is explained without a best route. A route of which the router does not tell whether it is used
    (`used` is None) counts as unused as soon as a reason is found, and stays unknown otherwise.
    """
    best = next((one for one in candidates if one.route.best), None)
    if best is None:
        return tuple(_out(one, one.obstacle) if one.obstacle else one.route for one in candidates)
    reasons = [_kept_out(one, best, multipath) for one in candidates]
    equal = [one for one, reason in zip(candidates, reasons, strict=True) if reason is None]
    used = sum(1 for one in equal if one.route.used)
    limit = _limit(best, used, len(equal), multipath)
    routes = []
    for one, reason in zip(candidates, reasons, strict=True):
        if one.route.used:
            routes.append(one.route)
        elif reason is not None:
            routes.append(_out(one, *reason))
        else:
            routes.append(_out(one, limit, RemedyKind.PATH_LIMIT) if one.route.used is False else one.route)
    return tuple(routes)


def _out(candidate: Candidate, reason: str, mended_by: RemedyKind | None = None) -> Route:
    return replace(candidate.route, used=False, unused_reason=reason, mended_by=mended_by)


def _kept_out(candidate: Candidate, best: Candidate, multipath: Multipath) -> tuple[str, RemedyKind | None] | None:
    """Why a route cannot share load with the best one, and the setting that mends it; None if it could."""
    if candidate is best:
        return None
    if reason := candidate.obstacle or _worse(candidate.attributes, best.attributes):
        return reason, None
    if reason := _different_as_path(candidate.attributes, best.attributes, multipath):
        return reason, RemedyKind.AS_PATH_RELAX
    return None


def _limit(best: Candidate, used: int, equal: int, multipath: Multipath) -> str:
    kind = "ibgp" if best.attributes.internal else "ebgp"
    limit = multipath.limits.get(kind)
    shown = f", maximum-paths {kind} {limit}" if limit is not None and limit <= used else ""
    return f"path limit: {used} of {equal} equal paths{shown}"


def _worse(one: Attributes, best: Attributes) -> str | None:
    """The first criterion in which a route differs from the best one; None when they are equal."""
    reasons = (
        _compare("preference", one.preference, best.preference, wants_more=True),
        _compare("weight", one.weight, best.weight, wants_more=True),
        _compare("local preference", one.local_preference, best.local_preference, wants_more=True),
        _longer(one, best),
        _origin(one, best),
        _compare("MED", one.med, best.med, wants_more=False) if one.neighbor_as == best.neighbor_as else None,
        _peer_type(one, best),
        _compare("IGP metric to the next hop", one.igp_metric, best.igp_metric, wants_more=False),
    )
    return next((reason for reason in reasons if reason), None)


def _compare(name: str, one: int | None, best: int | None, *, wants_more: bool) -> str | None:
    if one is None or best is None or one == best:
        return None
    if (one > best) == wants_more:
        return f"other {name} ({one} against {best})"
    return f"{'lower' if wants_more else 'higher'} {name} ({one} against {best})"


def _longer(one: Attributes, best: Attributes) -> str | None:
    if one.as_path is None or best.as_path is None or len(one.as_path) == len(best.as_path):
        return None
    longer = "longer" if len(one.as_path) > len(best.as_path) else "other length of"
    return f"{longer} AS path ({len(one.as_path)} against {len(best.as_path)})"


def _origin(one: Attributes, best: Attributes) -> str | None:
    rank, best_rank = (_ORIGIN_RANK.get((each.origin or "").lower()) for each in (one, best))
    if rank is None or best_rank is None or rank == best_rank:
        return None
    return f"other origin ({one.origin} against {best.origin})"


def _peer_type(one: Attributes, best: Attributes) -> str | None:
    if one.internal is None or best.internal is None or one.internal == best.internal:
        return None
    return "iBGP where the best path is eBGP" if one.internal else "eBGP where the best path is iBGP"


def _different_as_path(one: Attributes, best: Attributes, multipath: Multipath) -> str | None:
    """Without `bestpath as-path multipath-relax` FRR shares load over eBGP within one neighbor AS, and over
    iBGP among routes with the very same AS path (bgp_path_info_cmp in bgpd/bgp_route.c).
    """
    if multipath.relaxed is not False or one.as_path is None or best.as_path is None:
        return None
    same = one.as_path == best.as_path if best.internal else one.neighbor_as == best.neighbor_as
    if same:
        return None
    paths = f"{' '.join(one.as_path)} against {' '.join(best.as_path)}"
    return f"different AS path ({paths}), and as-path multipath-relax is off"
