"""MikroTik RouterOS 7 through its REST API: BGP, routes and link neighbors of one VRF.

Only GET of menus, and POST of `/routing/route/print`, which reads as well. See `routers.routeros.api`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.jsontext import as_text, digest, phrase
from routers.model import (
    IPV4,
    IPV6,
    Command,
    FibEntry,
    HashPolicy,
    LinkNeighbor,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Snapshot,
    canonical,
)
from routers.routeros import routes as routeros_routes
from routers.routeros.api import covering_routes, every_route, get, networks_of, properties, refused, routes_to, rows
from routers.routeros.sessions import DEFAULT_VRF, Peering, have_received, peering_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routers.model import Answer
    from routers.platforms import Oracle
    from routers.routeros.api import Row
    from routers.routeros.routes import Table

PLATFORM = "routeros"
TRANSPORTS = frozenset({"https"})
HAS_SHELL = False
ORACLE: Oracle | None = None

_VERSION = "routeros resource"
_CONNECTIONS = "routeros bgp connection"
_SESSIONS = "routeros bgp session"
_INSTANCES = "routeros bgp instance"  # releases before 7.20 have no such menu
_NEIGHBORS = {"routeros arp": "/ip/arp", "routeros ipv6 neighbor": "/ipv6/neighbor"}
_ADDRESSES = {"routeros ip address": "/ip/address", "routeros ipv6 address": "/ipv6/address"}
_VRFS = {"routeros vrf": "/ip/vrf", "routeros routing table": "/routing/table"}
_HASHES = {
    IPV4: ("routeros ip settings", "/ip/settings", "ipv4-multipath-hash-policy"),
    IPV6: ("routeros ipv6 settings", "/ipv6/settings", "multipath-hash-policy"),
}
_POLICIES = {"l3": HashPolicy.ADDRESSES, "l4": HashPolicy.FIVE_TUPLE, "l3-inner": HashPolicy.INNER}
_ROUTES = "routeros routes"
_EVERY = "routeros every route"
_OWN = "routeros routes to own networks"  # which the same query finds, if it finds anything
_PLAIN = {"routeros ip route": "/ip/route", "routeros ipv6 route": "/ipv6/route"}
_CONNECTION_PROPERTIES = (  # all but tcp-md5-key
    "name,disabled,inactive,instance,as,local.as,local.role,local.address,remote.address,remote.as,connect,listen,"
    "afi,address-families,vrf,routing-table,input.filter,input.accept-nlri,input.accept-communities,"
    "input.accept-ext-communities,input.accept-large-communities,input.accept-unknown,input.filter-nlri,"
    "input.filter-communities,input.filter-ext-communities,input.filter-large-communities,input.filter-unknown"
)


def ask(query: Query) -> tuple[Command, ...]:
    """The requests whose answers `read` understands. Raises ValueError for text that is no address."""
    return (
        get(_VERSION, "/system/resource", "version"),
        get(_CONNECTIONS, "/routing/bgp/connection", _CONNECTION_PROPERTIES),
        get(_SESSIONS, "/routing/bgp/session"),
        get(_INSTANCES, "/routing/bgp/instance"),
        *_route_requests(query),
        *(get(name, menu) for name, menu in (_NEIGHBORS | _ADDRESSES).items()),
        *(get(name, menu) for name, menu, _ in _HASHES.values()),
        *(get(name, menu, "name") for name, menu in (_VRFS if query.vrf is not None else {}).items()),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """Whole tables, for a router that refuses queries. Where they found nothing, one that must find something."""
    if _nothing_found(query, answers) and have_received(_optional(_SESSIONS, answers)):
        own = networks_of(row for name in _ADDRESSES for row in _optional(name, answers))
        return tuple(routes_to(_OWN, own))
    if not any(refused(request.name, answers) for request in _route_requests(query)):
        return ()
    return (every_route(_EVERY, "/routing/route"), *(every_route(name, menu) for name, menu in _PLAIN.items()))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    vrf = None if query.vrf in (None, DEFAULT_VRF) else query.vrf
    exists = vrf is None or _vrf_exists(vrf, answers, problems)
    connections = _rows(_CONNECTIONS, answers, problems)
    running = _rows(_SESSIONS, answers, problems)
    instances = _optional(_INSTANCES, answers)
    heard = any(map(routeros_routes.is_heard, _table(query, answers, []) or ()))
    if running == [] and heard:
        problems.append(f"{_SESSIONS}: not one is told, although there are routes of some")
        running = None
    peering = peering_of(connections or (), running, instances, query.vrf, taken_at) if exists else Peering()
    entries = _entries(query, answers, problems) if exists else None
    told = exists and connections is not None
    if connections == [] and (running or heard):
        problems.append(f"{_CONNECTIONS}: not one is told, although there are sessions or routes of some")
        told = False
    fib: dict[str, FibEntry | None] = {}
    routes: dict[str, tuple[Route, ...]] = {}
    if entries is not None:
        for vip in dict.fromkeys(map(canonical, query.vips)):
            fib[vip] = routeros_routes.fib_of(vip, entries)
            routes[vip] = routeros_routes.routes_of(vip, entries, peering)
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=peering.sessions if told else None,
        dynamic_ranges=peering.ranges,
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=_neighbors(answers, problems),
        addresses=frozenset(
            own for name in _ADDRESSES for own in routeros_routes.addresses_of(_rows(name, answers, problems) or ())
        ),
        local_as=peering.local_as,
        maximum_paths=peering.maximum_paths,
        hash_policy=MappingProxyType(_hash_policy(answers, problems)),
        version=as_text(_properties(_VERSION, answers, problems).get("version")),
        problems=digest(problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """What to type into the terminal; RouterOS saves at once.

    None for `policy_missing`, as a connection without a filter accepts everything (CLI reference, `input.filter`),
    and for `as_path_relax`, for which no setting is documented.
    """
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    connection = f"[find name=<name of the connection to {facts.neighbor}>]"
    afi = " afi=ipv6" if facts.family == IPV6 else ""
    role = "ibgp" if facts.internal else "ebgp"
    peer = f"remote.address={facts.neighbor} remote.as={remote} local.role={role}{afi}"
    chain = f"<input.filter of the connection to {facts.neighbor}>"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            "# before 7.20 as=AS in place of instance=NAME, and address-families in place of afi",
            f"/routing/bgp/connection/add name=<name> instance=<instance of AS {local}> {peer}",
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"/routing/bgp/connection/enable {connection}",),
        RemedyKind.SESSION_WRONG_AS: (f"/routing/bgp/connection/set {connection} remote.as={remote}",),
        RemedyKind.SESSION_PASSWORD: (
            f'/routing/bgp/connection/set {connection} tcp-md5-key="<the password set on the node>"',
        ),
        RemedyKind.ROUTE_FILTERED: (
            "# put it above the rule that rejects the prefix",
            f'/routing/filter/rule/add chain={chain} rule="if (dst in <prefix of the VIPs>) {{ accept }}"',
        ),
        RemedyKind.PATH_LIMIT: (
            "# a release without this setting has no multipath in BGP",
            f"/routing/bgp/instance/set [find as={local}] multipath={facts.paths or '<number of nodes>'}",
        ),
    }
    return "\n".join(lines[kind]) if kind in lines else None


def _route_requests(query: Query) -> tuple[Command, ...]:
    return tuple(covering_routes(_ROUTES, map(canonical, query.vips), default_routes=query.default_routes))


def _rows(name: str, answers: Mapping[str, Answer], problems: list[str]) -> list[Row] | None:
    """The rows of an answer; None, and a problem, when it has none to give."""
    try:
        return rows(name, answers)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return None


def _properties(name: str, answers: Mapping[str, Answer], problems: list[str]) -> Row:
    """The properties of a menu without rows; none, and a problem, when it tells none."""
    try:
        return properties(name, answers)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return {}


def _optional(name: str, answers: Mapping[str, Answer]) -> list[Row]:
    """The rows of a menu that only some releases have."""
    return _rows(name, answers, []) or []


def _vrf_exists(vrf: str, answers: Mapping[str, Answer], problems: list[str]) -> bool:
    """False, and a problem, for a VRF that the router does not have; one that is not told of may exist."""
    told = [found for name in _VRFS if (found := _rows(name, answers, problems)) is not None]
    names = sorted({str(row["name"]) for found in told for row in found if as_text(row.get("name"))})
    if len(told) < len(_VRFS) or vrf in names:
        return True
    others = phrase(", ".join(names[:5]), 100) or DEFAULT_VRF
    problems.append(f"RouterOS has no VRF {vrf}, only {others}: see vrf of this router in the configuration")
    return False


def _entries(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> Table | None:
    """The routes that may cover a VIP; None, and a problem, when they could not be read."""
    found = _table(query, answers, problems)
    table = query.vrf or DEFAULT_VRF
    if found == [] and have_received(_optional(_SESSIONS, answers)) and not _optional(_OWN, answers):
        problems.append(f"{_ROUTES}: not one route is told, although sessions have received some")
        return None
    return None if found is None else routeros_routes.entries_of(found, table, default_routes=query.default_routes)


def _table(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> list[Row] | None:
    first: list[str] = []
    answered = [_rows(request.name, answers, first) for request in _route_requests(query)]
    if all(part is not None for part in answered):
        return _joined(answered)
    if _EVERY not in answers:
        problems.extend(first)
        return None
    whole: list[str] = []
    if (every := _rows(_EVERY, answers, whole)) is not None:
        return every
    plain = [_rows(name, answers, whole) for name in _PLAIN]
    if any(part is None for part in plain):
        problems.extend((*first, *whole))
        return None
    problems.append(f"{whole[0]}; read from /ip/route and /ipv6/route, which name no filtered route")
    return _joined(plain)


def _nothing_found(query: Query, answers: Mapping[str, Answer]) -> bool:
    return all(_rows(request.name, answers, []) == [] for request in _route_requests(query))


def _joined(parts: Iterable[list[Row] | None]) -> list[Row]:
    return [row for part in parts for row in part or ()]


def _neighbors(answers: Mapping[str, Answer], problems: list[str]) -> tuple[LinkNeighbor, ...] | None:
    told = [found for name in _NEIGHBORS if (found := _rows(name, answers, problems)) is not None]
    return tuple(routeros_routes.neighbors_of(_joined(told))) if told else None


def _hash_policy(answers: Mapping[str, Answer], problems: list[str]) -> dict[int, HashPolicy]:
    """What /ip/settings and /ipv6/settings say; a release without the setting says nothing."""
    found = {}
    for family, (name, _, key) in _HASHES.items():
        told = _properties(name, answers, problems)
        if key in told:
            found[family] = _POLICIES.get(str(told[key]), HashPolicy.UNKNOWN)
    return found
