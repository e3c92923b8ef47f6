"""Cisco NX-OS (Nexus 3000, 7000 and 9000) over SSH: BGP, routes and link neighbors of one VRF, mostly as JSON.

The routing table says which next hops win, the forwarding tables of the modules what of that is programmed. What a user
may not be allowed to see, the configuration, costs only the path limits.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.jsontext import digest, phrase
from routers.model import (
    IPV4,
    IPV6,
    Command,
    FibEntry,
    LinkNeighbor,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Session,
    Snapshot,
    canonical,
    family_of,
)
from routers.nxos import oracle as nxos_oracle
from routers.nxos import routes as nxos_routes
from routers.nxos import sessions as nxos_sessions
from routers.nxos.cli import JSON, batches, document, first, one_by_one, said, said_alone
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routers.model import Answer
    from routers.nxos.cli import Said

PLATFORM = "nxos"
TRANSPORTS = frozenset({"exec", "ssh"})
HAS_SHELL = False
ORACLE = nxos_oracle

_FIRST, _OPTIONAL = "nxos", "nxos configuration"
_AGAIN, _FORWARDING, _TEXT, _ALONE = "nxos again", "nxos forwarding", "nxos text", "nxos alone"
_MOST_ALONE = 32  # questions on lines of their own
_VERSION = f"show version{JSON}"
_CONFIGURATION = (
    'show running-config bgp | egrep "router bgp|vrf |address-family|maximum-paths|multipath-relax|neighbor"'
)
_REFUSED = ("invalid command", "invalid input", "permission denied", "syntax error", "incomplete command", "error:")
_ANSWERED_NOTHING = "no output"


def ask(query: Query) -> tuple[Command, ...]:
    """The command lines whose answers `read` understands. Raises ValueError for text that is no address or VRF name."""
    return (*batches(_FIRST, _questions(query)), *batches(_OPTIONAL, (_CONFIGURATION,)))


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What is programmed of the routes, as text what JSON leaves unexplained, and what was not answered before."""
    more = _More(query, said(_FIRST, _questions(query), answers))
    lines = (command for name, questions in more.by_name().items() for command in batches(name, questions))
    return (*lines, *one_by_one(_ALONE, more.alone))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    first_time = said(_FIRST, _questions(query), answers)
    more = _More(query, first_time)
    told = dict(first_time.bodies)
    for name, questions in ((_OPTIONAL, [_CONFIGURATION]), *more.by_name().items()):
        told |= said(name, questions, answers).bodies
    told |= said_alone(_ALONE, more.alone, answers)
    problems = [f"{line}: {why}" for line, why in first_time.lost.items()]
    problems += [f"{one}: cut off" for line in first_time.cut_off for one in line if one not in told]
    problems += [f"{one}: {why}" for one, why in first_time.unmarked.items() if one not in told]
    configuration = nxos_sessions.configuration_of(told.get(_CONFIGURATION), _vrf(query))
    sessions, ranges, local_as = _sessions(query, told, taken_at, problems)
    neighbors = _neighbors(query, told, problems)
    fib, why_not = _fib(query, told, neighbors or (), problems)
    own = (nxos_routes.own_addresses(document(told.get(_interfaces(family, query)))) for family in (IPV4, IPV6))
    version = document(told.get(_VERSION)) or {}
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=tuple(dict.fromkeys((*ranges, *configuration.ranges))),
        routes=MappingProxyType(_routes(query, told, configuration, why_not, problems)),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=frozenset(address for found in own for address in found),
        local_as=local_as,
        maximum_paths=MappingProxyType(configuration.limits()),
        version=first(version, "nxos_ver_str", "kickstart_ver_str", "sys_ver_str", "rr_sys_ver"),
        problems=digest(problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from configuration mode to saving; NX-OS lets routes in without a policy."""
    neighbor = f"neighbor {facts.neighbor}"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    family = f"address-family ipv{facts.family} unicast"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (f"{neighbor} remote-as {remote}", family),
        RemedyKind.SESSION_SHUTDOWN: (neighbor, "no shutdown"),
        RemedyKind.SESSION_WRONG_AS: (f"{neighbor} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (neighbor, "password <the password set on the node>"),
        RemedyKind.ROUTE_FILTERED: (neighbor, family, "no route-map <name of the import policy> in"),
        RemedyKind.PATH_LIMIT: (
            family,
            f"maximum-paths {'ibgp ' if facts.internal else ''}{facts.paths or '<number of nodes>'}",
        ),
        RemedyKind.AS_PATH_RELAX: ("bestpath as-path multipath-relax",),
    }
    if kind not in lines:
        return None
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    save = "copy running-config startup-config"
    within = () if facts.vrf in (None, nxos_sessions.DEFAULT_VRF) else (f"vrf {facts.vrf}",)
    return "\n".join(("configure terminal", f"router bgp {local}", *within, *lines[kind], "end", save))


def _vrf(query: Query) -> str:
    """Raises ValueError for text that is no VRF's name."""
    return nxos_sessions.vrf_name(query.vrf)


def _in_vrf(query: Query) -> str:
    vrf = _vrf(query)
    return "" if vrf == nxos_sessions.DEFAULT_VRF else f" vrf {vrf}"


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _summary(query: Query) -> str:
    return f"show bgp vrf {_vrf(query)} all summary{JSON}"


def _details(query: Query) -> str:
    return f"show bgp vrf {_vrf(query)} all neighbors{JSON}"


def _links(family: int, query: Query) -> str:
    return f"show {'ip arp' if family == IPV4 else 'ipv6 neighbor'}{_in_vrf(query)}{JSON}"


def _interfaces(family: int, query: Query) -> str:
    return f"show {'ip' if family == IPV4 else 'ipv6'} interface{_in_vrf(query)}{JSON}"


def _route(vip: str, query: Query) -> str:
    return f"show {'ip' if family_of(vip) == IPV4 else 'ipv6'} route {vip}{_in_vrf(query)}"


def _bgp_route(vip: str, query: Query) -> str:
    return f"show bgp ipv{family_of(vip)} unicast {vip}{_in_vrf(query)}"


def _forwarding(prefix: str, query: Query) -> str:
    vrf = _in_vrf(query)
    return f"show forwarding{vrf} ipv{family_of(prefix)} route {prefix}{JSON}"


def _questions(query: Query) -> list[str]:
    vips = _unique(query.vips)
    return [
        _VERSION,
        _summary(query),
        _details(query),
        *(_links(family, query) for family in (IPV4, IPV6)),
        *(_interfaces(family, query) for family in (IPV4, IPV6)),
        *(f"{_route(vip, query)}{JSON}" for vip in vips),
        *(f"{_bgp_route(vip, query)}{JSON}" for vip in vips),
    ]


class _More:
    """The follow-up to the first answers; the same for `follow_up` and `read`."""

    def __init__(self, query: Query, first_time: Said) -> None:
        told = first_time.bodies
        forwarding: dict[str, None] = {}
        text: dict[str, None] = {}
        for vip in _unique(query.vips):
            if f"{_route(vip, query)}{JSON}" in told:
                entry, readable = _rib(vip, query, told)
                if not readable:
                    text[_route(vip, query)] = None
                elif entry is not None and entry.kind == "unicast":
                    forwarding[_forwarding(entry.prefix, query)] = None
            table = told.get(f"{_bgp_route(vip, query)}{JSON}")
            if table is not None:
                paths = nxos_routes.paths_of(document(table), vip, default_routes=query.default_routes)
                if not paths or not all(path.candidate.route.used for path in paths):
                    text[_bgp_route(vip, query)] = None
        self._forwarding, self._text = list(forwarding), list(text)
        self._again = [question for line in first_time.cut_off for question in line[1:]]
        self.alone = list(first_time.unmarked)[:_MOST_ALONE]

    def by_name(self) -> dict[str, list[str]]:
        """Those that go many on a line."""
        return {_AGAIN: self._again, _FORWARDING: self._forwarding, _TEXT: self._text}


def _rib(vip: str, query: Query, told: Mapping[str, str]) -> tuple[FibEntry | None, bool]:
    """The route of the routing table, and whether an answer tells: as JSON, else as text."""
    options = {"default_routes": query.default_routes}
    try:
        table = document(told.get(f"{_route(vip, query)}{JSON}"))
        return nxos_routes.rib_of(table, vip, _vrf(query), **options), True
    except ValueError:
        pass
    try:
        return nxos_routes.rib_in(told.get(_route(vip, query), ""), vip, _vrf(query), **options), True
    except ValueError:
        return None, False


def _sessions(
    query: Query, told: Mapping[str, str], taken_at: float, problems: list[str]
) -> tuple[tuple[Session, ...] | None, list[str], int | None]:
    """The sessions, None when neither the summary nor the details can be read; listen ranges; the local AS."""
    summary = nxos_sessions.summary_of(_table(_summary(query), told, problems), _vrf(query))
    details = nxos_sessions.details_of(document(told.get(_details(query))))
    if details is None and summary is not None and summary[1]:
        problems.append(f"{_details(query)}: {_complaint(told.get(_details(query)))}")
    if details is None and summary is None:
        return None, [], None
    local_as = summary[0] if summary is not None else None
    rows = summary[1] if summary is not None else {}
    peers = details.peers if details is not None else {}
    sessions = tuple(nxos_sessions.Told(rows, peers, local_as, taken_at).sessions())
    return sessions, details.ranges if details is not None else [], local_as


def _table(question: str, told: Mapping[str, str], problems: list[str]) -> dict[str, Any] | None:
    """The JSON answer; None, and a problem unless there is one already, when it is none."""
    if question not in told:
        return None
    table = document(told[question])
    if table is None:
        problems.append(f"{question}: {_complaint(told[question])}")
    return table


def _complaint(body: str | None) -> str:
    """What NX-OS said in place of an answer, in one phrase."""
    text = (body or "").strip()
    refusal = next((line for line in text.splitlines()[:20] if any(word in line.lower() for word in _REFUSED)), None)
    if refusal:
        return phrase(refusal, 100)
    return "not a whole JSON object" if "{" in text else phrase(text, 100) or _ANSWERED_NOTHING


def _neighbors(query: Query, told: Mapping[str, str], problems: list[str]) -> tuple[LinkNeighbor, ...] | None:
    """None without the IPv6 neighbors: then nobody knows whose a link-local next hop is."""
    tables = {family: document(told.get(_links(family, query))) for family in (IPV4, IPV6)}
    for family, table in tables.items():
        body = told.get(_links(family, query))
        if table is None and body is not None and body.strip():
            problems.append(f"{_links(family, query)}: {_complaint(body)}")
    if tables[IPV6] is None and told.get(_links(IPV6, query), "?").strip():
        return None  # where there is no neighbor at all NX-OS says nothing
    return tuple(row for table in tables.values() for row in nxos_routes.link_neighbors(table or {}))


def _fib(
    query: Query, told: Mapping[str, str], neighbors: Iterable[LinkNeighbor], problems: list[str]
) -> tuple[dict[str, FibEntry | None], dict[str, str]]:
    """VIP -> entry, and VIP -> why a route is not forwarded by."""
    fib: dict[str, FibEntry | None] = {}
    why_not: dict[str, str] = {}
    neighbors = tuple(neighbors)
    for vip in _unique(query.vips):
        question = f"{_route(vip, query)}{JSON}"
        if question not in told:
            continue
        entry, readable = _rib(vip, query, told)
        if not readable:
            problems.append(f"{question}: {_complaint(told[question])}")
            continue
        if entry is not None:
            answer = document(told.get(_forwarding(entry.prefix, query)))
            entry, why = nxos_routes.programmed(answer, entry)
            why_not |= {vip: why} if why else {}
        fib[vip] = nxos_routes.with_interfaces(entry, neighbors) if entry is not None else None
    return fib, why_not


def _routes(
    query: Query,
    told: Mapping[str, str],
    configuration: nxos_sessions.Configuration,
    why_not: Mapping[str, str],
    problems: list[str],
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    routes: dict[str, tuple[Route, ...]] = {}
    options = {"default_routes": query.default_routes}
    for vip in _unique(query.vips):
        question = f"{_bgp_route(vip, query)}{JSON}"
        text = told.get(_bgp_route(vip, query), "")
        table = document(told.get(question))
        if nxos_routes.is_bgp_table(text) or (_bgp_route(vip, query) in told and not text.strip()):
            paths = nxos_routes.paths_in(text, vip, **options)
        elif table is not None:
            paths = nxos_routes.paths_of(table, vip, **options)
            if any(not path.candidate.route.used for path in paths):
                problems.append(f"{_bgp_route(vip, query)}: not told, so why a route is not used is not known")
                continue
        else:
            problems += [f"{question}: {_complaint(told[question])}"] if question in told else []
            continue
        multipath = Multipath(configuration.maximum_paths[family_of(vip)], configuration.relaxed)
        found = nxos_routes.routes_of(paths, multipath)
        routes[vip] = tuple(_because(route, why_not.get(vip)) for route in found)
    return routes


def _because(route: Route, why_not: str | None) -> Route:
    return replace(route, unused_reason=why_not) if why_not and route.used else route
