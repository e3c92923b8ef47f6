"""Arista EOS 4.20 and newer through eAPI: BGP, routes and link neighbors of one VRF.

Field names: captures in napalm (test/eos/mocked_data), Arista's test framework ANTA, and the EOS user manual. What
needs privileged mode (`enable`) is asked apart: without it the path limit and passive neighbors stay unknown.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.asn import as_asn
from routers.eos import oracle as eos_oracle
from routers.eos import routes as eos_routes
from routers.eos import sessions as eos_sessions
from routers.eos.api import Request, Said, batches, said
from routers.jsontext import as_dict, as_text, digest, phrase
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
    SessionState,
    Snapshot,
    canonical,
    family_of,
)
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routers.eos.sessions import Configuration
    from routers.model import Answer

PLATFORM = "eos"
TRANSPORTS = frozenset({"https"})
HAS_SHELL = False
ORACLE = eos_oracle

_VERSION = "show version"
_ARP = {IPV4: "show ip arp vrf {}", IPV6: "show ipv6 neighbors vrf {}"}
_INTERFACES = {IPV4: "show ip interface", IPV6: "show ipv6 interface"}
_GROUPS = "show bgp peer-group"
_KEPT = (
    "^router bgp|^ +vrf |^ +maximum-paths|^ +bgp listen range|^ +neighbor [^ ]+ (shutdown|peer.group)"
    "|^ +neighbor [^ ]+ .*passive$|multipath-relax$"
)  # no password is among these lines, whatever a peer group is called
_CONFIGURATION = f'show running-config section router bgp | grep -E "{_KEPT}"'
_VIPS_PER_REQUEST = 50
_MOST_APART = 8  # requests for commands that stood behind one that failed
_MOST_NEIGHBORS = 32  # that are looked at one by one


def ask(query: Query) -> tuple[Command, ...]:
    """The requests whose answers `read` understands. Raises ValueError for text that is no address or VRF name."""
    return tuple(request.command() for request in _requests(query))


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What stood behind a command that failed, covering routes, and neighbors that are down or lose routes."""
    return tuple(request.command() for request in _more(query, said(_requests(query), answers)))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    requests = _requests(query)
    first = said(requests, answers)
    more = _more(query, first)
    found = said((*requests, *more), answers)
    vrf = _vrf(query)
    problems: list[str] = []
    configuration = eos_sessions.configuration_of(found.text(_CONFIGURATION), vrf)
    told = _told(query, found, configuration, taken_at)
    sessions = _sessions(told, found, vrf, problems)
    fib, why_not = _fib(query, found, problems)
    routes = _routes(query, found, configuration, why_not, problems)
    optional = {command for request in (*requests, *more) if request.optional for command in request.commands}
    problems += [
        f"{command}: {why}"
        for command, why in found.failed.items()
        if command not in optional and not (sessions == () and why == eos_sessions.NO_BGP)
    ]
    if found.text(_GROUPS) is None and not configuration.known:
        problems.append(f"{_GROUPS}: no answer, so listen ranges are unknown")
    limit = configuration.maximum_paths
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=tuple(dict.fromkeys((*told.groups.ranges, *configuration.ranges))),
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=_neighbors(found, vrf),
        addresses=frozenset(own for ask in _INTERFACES.values() for own in eos_routes.own_addresses(_of(found, ask))),
        local_as=told.local_as,
        maximum_paths=MappingProxyType({} if limit is None else {"ebgp": limit, "ibgp": limit}),
        version=as_text(_of(found, _VERSION).get("version")),
        problems=digest(problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from configuration mode to saving."""
    neighbor = f"neighbor {facts.neighbor}"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    in_family = f"address-family ipv{facts.family}"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (f"{neighbor} remote-as {remote}", in_family, f"{neighbor} activate"),
        RemedyKind.SESSION_SHUTDOWN: (f"no {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"{neighbor} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f"{neighbor} password <the password set on the node>",),
        RemedyKind.ROUTE_FILTERED: (
            f"no {neighbor} route-map <name of the import policy> in",
            in_family,
            f"no {neighbor} route-map <name of the import policy> in",
        ),
        RemedyKind.POLICY_MISSING: (f"{neighbor} route-map FROM-NODES in",),
        RemedyKind.PATH_LIMIT: (f"maximum-paths {facts.paths or '<number of nodes>'}",),
        RemedyKind.AS_PATH_RELAX: ("bgp bestpath as-path multipath-relax",),
    }
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    policy = ("route-map FROM-NODES permit 10", "exit") if kind is RemedyKind.POLICY_MISSING else ()
    within = () if facts.vrf in (None, eos_sessions.DEFAULT_VRF) else (f"vrf {facts.vrf}",)
    return "\n".join(("configure", *policy, f"router bgp {local}", *within, *lines[kind], "end", "write memory"))


def _vrf(query: Query) -> str:
    """Raises ValueError for text that is no VRF's name."""
    return eos_sessions.vrf_name(query.vrf)


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _summary(family: int, vrf: str) -> str:
    return f"show {_ip(family)} bgp summary vrf {vrf}"


def _details(vrf: str) -> str:
    return f"show bgp neighbors vrf {vrf}"


def _route(vip: str, vrf: str) -> str:
    return f"show {_ip(family_of(vip))} route vrf {vrf} {vip}"


def _bgp_route(what: str, vrf: str) -> str:
    """Of an address the longest prefix that covers it, of a prefix that one."""
    return f"show {_ip(family_of(what))} bgp {what} detail vrf {vrf}"


def _received(node: str, family: int, vrf: str) -> str:
    node = canonical(node)
    return f"show bgp neighbors {node} ipv{family} unicast received-routes vrf {vrf}"


def _one_neighbor(node: str, vrf: str) -> str:
    return f"show bgp neighbors {node} vrf {vrf}"


def _ip(family: int) -> str:
    return "ip" if family == IPV4 else "ipv6"


def _requests(query: Query) -> tuple[Request, ...]:
    vrf, vips = _vrf(query), _unique(query.vips)
    arp = tuple(command.format(vrf) for command in _ARP.values())
    return (
        Request("eos summary", (_VERSION, _summary(IPV4, vrf), _summary(IPV6, vrf))),
        Request("eos neighbors", (_details(vrf),)),
        Request("eos peer groups", (_GROUPS,), text=True, optional=True),
        Request("eos configuration", ("enable", _CONFIGURATION), text=True, optional=True),
        Request("eos links", arp),
        Request("eos interfaces", tuple(_INTERFACES.values()), optional=True),
        *batches("eos routes", [_route(vip, vrf) for vip in vips], _VIPS_PER_REQUEST),
        *batches("eos bgp routes", [_bgp_route(vip, vrf) for vip in vips], _VIPS_PER_REQUEST),
    )


def _more(query: Query, first: Said) -> tuple[Request, ...]:
    """The follow-up to the first answers; the same for `follow_up` and `read`."""
    vrf = _vrf(query)
    left = first.not_run
    configuration = eos_sessions.configuration_of(first.text(_CONFIGURATION), vrf)
    sessions = {one.address: one for one in _told(query, first, configuration, 0.0).sessions()}
    nodes = [node for node in _unique(query.node_addresses) if node in sessions]
    down = [node for node in nodes if sessions[node].state is not SessionState.ESTABLISHED]
    losing = [
        _received(node, family, vrf)
        for node in nodes
        for family, count in sessions[node].prefixes_filtered.items()
        if count and family in {family_of(vip) for vip in query.vips}
    ]
    return (
        *batches("eos again", left, max(1, -(-len(left) // _MOST_APART))),
        *_asked("eos covering routes", [_bgp_route(what, vrf) for what in _covering(query, first).values()]),
        *_asked("eos received routes", losing[:_MOST_NEIGHBORS]),
        *_asked("eos down", [_one_neighbor(node, vrf) for node in down[:_MOST_NEIGHBORS]], text=True),
    )


def _asked(name: str, commands: Iterable[str], *, text: bool = False) -> tuple[Request, ...]:
    once = tuple(dict.fromkeys(commands))
    return (Request(name, once, text=text, optional=True),) if once else ()


def _covering(query: Query, first: Said) -> dict[str, str]:
    """VIP -> the prefix to look up in BGP, for those of which the address alone brought no routes."""
    vrf, found = _vrf(query), {}
    for vip in _unique(query.vips):
        command = _bgp_route(vip, vrf)
        answer = _of(first, command)
        if command in first.not_run or eos_routes.has_route(answer, vip, vrf, default_routes=query.default_routes):
            continue
        entry = _forwarded(first, vip, query)[0]
        if entry is not None and entry.protocol == "bgp":
            found[vip] = entry.prefix
        elif command in first.failed:
            found[vip] = f"{vip}/{32 if family_of(vip) == IPV4 else 128}"
    return found


def _of(found: Said, command: str) -> dict[str, Any]:
    return as_dict(found.results.get(command))


def _told(query: Query, found: Said, configuration: Configuration, taken_at: float) -> eos_sessions.Told:
    vrf = _vrf(query)
    summaries = {family: _of(found, _summary(family, vrf)) for family in (IPV4, IPV6)}
    numbers = (as_asn(as_dict(as_dict(summary.get("vrfs")).get(vrf)).get("asn")) for summary in summaries.values())
    texts = {node: found.text(_one_neighbor(node, vrf)) for node in _unique(query.node_addresses)}
    return eos_sessions.Told(
        rows={family: eos_sessions.peers_of(summary, vrf) or {} for family, summary in summaries.items()},
        details=eos_sessions.details_of(_of(found, _details(vrf)), vrf) or {},
        errors={node: error for node, text in texts.items() if text and (error := eos_sessions.errors_of(text))},
        groups=eos_sessions.peer_groups_of(found.text(_GROUPS) or "", vrf),
        configuration=configuration,
        local_as=next((number for number in numbers if number is not None), None),
        taken_at=taken_at,
    )


def _sessions(told: eos_sessions.Told, found: Said, vrf: str, problems: list[str]) -> tuple[Session, ...] | None:
    """None unless an answer holds the VRF, or the configuration shows that there is no BGP at all."""
    summaries = [eos_sessions.peers_of(_of(found, _summary(family, vrf)), vrf) for family in (IPV4, IPV6)]
    details = eos_sessions.details_of(_of(found, _details(vrf)), vrf)
    if any(one is not None for one in (*summaries, details)):
        return tuple(told.sessions())
    if told.configuration.known and not told.configuration.runs:
        return ()
    if _summary(IPV4, vrf) not in found.failed:
        problems.append(f"{_summary(IPV4, vrf)}: nothing about VRF {vrf}")
    return None


def _forwarded(found: Said, vip: str, query: Query) -> tuple[FibEntry | None, str | None]:
    """See `eos_routes.fib_of`. None, too, where the answer cannot be read."""
    try:
        answer = _of(found, _route(vip, _vrf(query)))
        return eos_routes.fib_of(answer, vip, _vrf(query), default_routes=query.default_routes)
    except ValueError:
        return None, None


def _fib(query: Query, found: Said, problems: list[str]) -> tuple[dict[str, FibEntry | None], dict[str, str]]:
    """VIP -> entry, and VIP -> why an entry is not forwarded by."""
    fib: dict[str, FibEntry | None] = {}
    why_not: dict[str, str] = {}
    for vip in _unique(query.vips):
        command = _route(vip, _vrf(query))
        if command not in found.results:
            continue
        try:
            answer = _of(found, command)
            fib[vip], why = eos_routes.fib_of(answer, vip, _vrf(query), default_routes=query.default_routes)
        except ValueError as error:
            problems.append(f"{command}: {error}")
            continue
        if why:
            why_not[vip] = why
    return fib, why_not


def _bgp_routes(found: Said, command: str, vip: str, query: Query, multipath: Multipath) -> tuple[Route, ...]:
    answer = _of(found, command)
    return eos_routes.routes_of(answer, vip, _vrf(query), multipath, default_routes=query.default_routes)


def _routes(
    query: Query, found: Said, configuration: Configuration, why_not: Mapping[str, str], problems: list[str]
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    vrf = _vrf(query)
    limit = configuration.maximum_paths
    multipath = Multipath({} if limit is None else {"ebgp": limit, "ibgp": limit}, configuration.relaxed)
    covering = _covering(query, found)
    routes: dict[str, tuple[Route, ...]] = {}
    for vip in _unique(query.vips):
        commands = [_bgp_route(what, vrf) for what in (vip, covering.get(vip)) if what]
        answered = [command for command in commands if command in found.results]
        if not answered:
            continue
        if any(not isinstance(_of(found, command).get("vrfs"), dict) for command in answered):
            problems.append(f"{answered[0]}: not in the expected shape")
            continue
        found.failed.pop(commands[0], None)  # the covering prefix was answered in its place
        tables = (_bgp_routes(found, command, vip, query, multipath) for command in answered)
        accepted = next((table for table in tables if table), ())
        if not accepted and (_route(vip, vrf) not in found.results or commands[-1] not in answered):
            problems.append(f"{commands[0]}: no route, and those of a covering prefix were not told")
            continue
        dropped = _dropped(query, found, vip, accepted)
        routes[vip] = (*(_because(route, why_not.get(vip)) for route in accepted), *dropped)
    return routes


def _because(route: Route, why_not: str | None) -> Route:
    return route if why_not is None or not route.used else replace(route, unused_reason=phrase(why_not))


def _dropped(query: Query, found: Said, vip: str, accepted: tuple[Route, ...]) -> list[Route]:
    vrf = _vrf(query)
    received = {node: _received(node, family_of(vip), vrf) for node in query.node_addresses}
    routes = (
        eos_routes.filtered_of(_of(found, command), vip, vrf, canonical(node), accepted)
        for node, command in received.items()
        if command in found.results
    )
    return [route for route in routes if route is not None]


def _neighbors(found: Said, vrf: str) -> tuple[LinkNeighbor, ...] | None:
    """None without the IPv6 neighbors: then nobody knows whose a link-local next hop is."""
    arp, nd = (eos_routes.arp_rows(_of(found, _ARP[family].format(vrf)), vrf) for family in (IPV4, IPV6))
    return None if nd is None else tuple(eos_routes.link_neighbors([*(arp or ()), *nd]))
