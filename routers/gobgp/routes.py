"""The tables of `gobgp -j`: prefix -> paths, each with its attributes by type code (RFC 4271 section 5). Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_address, as_dict, as_int, as_list, as_prefix
from routers.model import Query, Route, Session, SessionState, canonical
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from routers.jsontext import Prefix

_ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _MP_REACH = 1, 2, 3, 4, 5, 14
_ORIGINS = ("igp", "egp", "incomplete")


def routes_of(
    query: Query,
    *,
    accepted: Mapping[str, object],
    received: Mapping[str, Sequence[object]],
    sessions: Sequence[Session],
    local_as: int | None,
    several: bool | None,
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last.

    `accepted` is the table by VIP, `received` what each neighbor sent. `several`: gobgpd uses multiple paths,
    None where that is not known; then a VIP of which some route may be used or not is left out.
    """
    known = {one.address: one for one in sessions}
    sent = {peer: [entry for table in tables for entry in entries_of(table)] for peer, tables in received.items()}
    found: dict[str, tuple[Route, ...]] = {}
    for vip, table in accepted.items():
        entries = list(entries_of(table))
        used = _longest(vip, entries, default_routes=query.default_routes)
        candidates = [_candidate(prefix, path, known, local_as, several) for prefix, path in used]
        told = explained(candidates, Multipath({}))
        marked = any(route.best for route in told)  # of a VRF gobgp marks none
        if several is None and marked and any(_may_be_used(route) for route in told):
            continue
        routes = [_multipath(route) for route in told] if several and marked else list(told)
        taken = {(prefix, as_address(path.get("neighbor-ip"))) for prefix, path in entries}
        shortest = used[0][0].prefixlen if used else 0
        dropped = [
            _filtered(prefix, path, peer)
            for peer, own in sent.items()
            for prefix, path in _longest(vip, own, default_routes=query.default_routes)
            if prefix.prefixlen >= shortest and (prefix, peer) not in taken
        ]
        found[vip] = (*routes, *dropped)
    return found


def entries_of(table: object) -> Iterator[tuple[Prefix, dict[str, Any]]]:
    """The paths of a table, each with its prefix: of a VRF the keys are spelled with a route distinguisher."""
    for key, paths in as_dict(table).items():
        for path in map(as_dict, as_list(paths)):
            prefix = as_prefix(as_dict(path.get("nlri")).get("prefix")) or as_prefix(key)
            if prefix is not None and path.get("withdrawal") is not True:
                yield prefix, path


def _longest(
    vip: str, entries: Iterable[tuple[Prefix, dict[str, Any]]], *, default_routes: bool
) -> list[tuple[Prefix, dict[str, Any]]]:
    """Those of the longest prefix that covers a VIP; a default route announces no VIP unless it is to count."""
    address = ipaddress.ip_address(vip)
    covering = [one for one in entries if address in one[0] and (default_routes or one[0].prefixlen)]
    length = max((prefix.prefixlen for prefix, _ in covering), default=0)
    return [one for one in covering if one[0].prefixlen == length]


def _candidate(
    prefix: Prefix,
    path: dict[str, Any],
    sessions: Mapping[str, Session],
    local_as: int | None,
    several: bool | None,
) -> Candidate:
    peer = as_address(path.get("neighbor-ip"))
    session = sessions.get(peer) if peer else None
    attributes = _by_type(path)
    best = path.get("best") is True
    invalid = path.get("is-nexthop-invalid") is True or path.get("is_nexthop_invalid") is True
    hops = _next_hops(attributes)
    route = Route(
        prefix=str(prefix),
        peer=peer,
        next_hops=hops,
        valid=not invalid,
        best=best,
        used=not invalid if best else (False if several is False else None),
        stale=path.get("stale") is True or (session is not None and session.state is not SessionState.ESTABLISHED),
    )
    internal = None if session is None or session.remote_as is None else session.remote_as == local_as
    obstacle = f"next hop {hops[0] if hops else '(none)'} cannot be resolved" if invalid else None
    return Candidate(route, _attributes(attributes, internal=internal), obstacle)


def _multipath(route: Route) -> Route:
    """Where it uses multiple paths gobgpd uses every path that no attribute sets back (it marks only the best)."""
    return replace(route, used=True) if _may_be_used(route) else route


def _may_be_used(route: Route) -> bool:
    return route.used is None and route.unused_reason is None


def _by_type(path: dict[str, Any]) -> dict[int, dict[str, Any]]:
    rows = [as_dict(row) for row in as_list(path.get("attrs"))]
    return {number: row for row in rows if (number := as_int(row.get("type"))) is not None}


def _next_hops(attributes: Mapping[int, dict[str, Any]]) -> tuple[str, ...]:
    rows = (attributes.get(_MP_REACH, {}), attributes.get(_NEXT_HOP, {}))
    told = [row.get(name) for row in rows for name in ("linklocalnexthop", "nexthop")]
    return tuple(dict.fromkeys(address for one in told if (address := as_address(one))))


def _attributes(rows: Mapping[int, dict[str, Any]], *, internal: bool | None) -> Attributes:
    origin = as_int(rows.get(_ORIGIN, {}).get("value"), high=len(_ORIGINS) - 1)
    med = rows.get(_MED, {})
    return Attributes(
        local_preference=as_int(rows.get(_LOCAL_PREF, {}).get("value")),
        as_path=_as_path(rows[_AS_PATH]) if _AS_PATH in rows else None,
        origin=None if origin is None else _ORIGINS[origin],
        med=as_int(med.get("metric", med.get("value"))) or 0,
        internal=internal,
    )


def _as_path(row: dict[str, Any]) -> tuple[str, ...]:
    segments = [as_dict(segment) for segment in as_list(row.get("as_paths"))]
    numbers = [number for segment in segments for number in as_list(segment.get("asns"))]
    return tuple(str(number) for number in numbers if as_int(number) is not None)


def _filtered(prefix: Prefix, path: dict[str, Any], peer: str) -> Route:
    hops = _next_hops(_by_type(path))
    return Route(prefix=str(prefix), peer=canonical(peer), next_hops=hops, used=False, filtered=True)
