"""GoBGP through its command line, `gobgp -j`, and forwarding from the Linux kernel.

gobgpd puts nothing into a kernel by itself: FRR's zebra does it for it (docs/sources/zebra.md of osrg/gobgp), or
a program that embeds it. What the kernel forwards by is read from the kernel, whoever put it there. The fields of
the JSON are those of api/gobgp.proto and of cmd/gobgp there. Listen ranges (dynamic neighbors) are not told.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers import linux, per_address
from routers.gobgp.remedies import remedy
from routers.gobgp.routes import entries_of, routes_of
from routers.jsontext import as_address, as_dict, as_int, as_list, as_prefix, as_text, digest, parse, phrase
from routers.linux import oracle as linux_oracle
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    Query,
    Session,
    SessionState,
    Snapshot,
    canonical,
    family_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from routers.model import Route

__all__ = ["HAS_SHELL", "ORACLE", "PLATFORM", "TRANSPORTS", "ask", "follow_up", "read", "remedy"]

PLATFORM = "gobgp"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_VERSION = "gobgp version"
_GLOBAL = "gobgp global"
_NEIGHBORS = "gobgp neighbors"
_ROUTES = "gobgp routes"
_WITHIN = " within "
_RECEIVED = "gobgp received routes"
_ZEBRA = "zebra socket"
# It waits for a gobgpd that hangs as long as that takes (seen on 3.10), and would be left behind on the router.
_GOBGP = ("timeout", "4", "gobgp")
_RUN, _UNLESS_LATE = " ".join(_GOBGP), "[ $? -ne 124 ] || break"
_SOCKETS, _NO_ZEBRA = "/proc/net/unix", "no socket of zebra"
_FAMILIES = (IPV4, IPV6)
_POOL = {IPV4: 24, IPV6: 64}
_QUESTIONS = 2  # about each pool
_VRF = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# The password of a session stays where it stands.
_HIDE = r's/"auth_password":"[^"\\]*\(\\.[^"\\]*\)*"/"auth_password":""/g'
_STATES = dict(
    enumerate(
        (
            SessionState.UNKNOWN,
            SessionState.IDLE,
            SessionState.CONNECT,
            SessionState.ACTIVE,
            SessionState.OPEN_SENT,
            SessionState.OPEN_CONFIRM,
            SessionState.ESTABLISHED,
        )
    )
)
_ADMIN_DOWN, _PREFIX_LIMIT = 1, 2  # PeerState.AdminState
_OFFERED = {"CgQIARAB": IPV4, "CgQIAhAB": IPV6}  # MultiProtocolCapability of a unicast family, as protobuf in base64


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address or VRF."""
    return (
        Command(_VERSION, (*_GOBGP, "--version")),
        Command(_GLOBAL, (*_GOBGP, "global", "-j")),
        Command(_NEIGHBORS, ("sh", "-c", f"{_RUN} neighbor -j | sed {shlex.quote(_HIDE)}")),
        *_route_commands(query),
        Command(_ZEBRA, ("sh", "-c", f"test -r {_SOCKETS} && {{ grep -F zserv {_SOCKETS} || echo '{_NO_ZEBRA}'; }}")),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What those nodes sent of which the table lacks a route; and what its kernel may have to be asked more."""
    return (*_received_commands(query, answers), *linux.follow_up(query, answers))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    settings = as_dict(_json(_GLOBAL, answers, problems))
    local_as = as_int(settings.get("asn"), low=1, high=2**32 - 1)
    neighbors = _json(_NEIGHBORS, answers, problems)
    if neighbors is not None and not isinstance(neighbors, list):
        problems.append(f"{_NEIGHBORS}: {_complaint(neighbors) or 'not a list of neighbors'}")
        neighbors = None
    sessions = None if neighbors is None else _sessions(neighbors, query)
    fib, fib_problems = linux.read_fib(answers, query)
    links, link_problems = linux.read_neighbors(answers)
    addresses, address_problems = linux.read_addresses(answers)
    zebra = answers.get(_ZEBRA, Answer())
    version = re.search(r"gobgp version (\S{1,40})", answers.get(_VERSION, Answer()).stdout)
    several = settings.get("use_multiple_paths") is True if settings else None
    routes = routes_of(
        query,
        accepted=_tables(query, answers, problems),
        received=_received(query, answers, problems),
        sessions=sessions or (),
        local_as=local_as,
        several=several,
    )
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        routes=MappingProxyType(_without_zebra(routes, zebra, fib)),
        fib=MappingProxyType(fib),
        neighbors=links,
        addresses=addresses,
        local_as=local_as,
        maximum_paths=MappingProxyType({} if several is not False else {"ibgp": 1, "ebgp": 1}),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *link_problems, *address_problems)),
    )


def _unique(addresses: Iterable[str], family: int | None = None) -> tuple[str, ...]:
    found = dict.fromkeys(map(canonical, addresses))
    return tuple(one for one in found if family is None or family_of(one) == family)


def _route_commands(query: Query) -> Iterator[Command]:
    """Every route that covers a VIP; of a VRF, whose routes cannot be asked for one by one, all."""
    if query.vrf is not None and not _VRF.fullmatch(query.vrf):
        raise ValueError(f"no name of a VRF: {phrase(query.vrf)}")
    for family in _FAMILIES:
        vips = _unique(query.vips, family)
        if not vips:
            continue
        name = f"{_ROUTES} ipv{family}"
        if query.vrf is not None:
            yield Command(name, (*_GOBGP, "vrf", query.vrf, "rib", "-a", f"ipv{family}", "-j"))
            continue
        pools = _pools(vips, family)
        alone = tuple(own[0] for own in pools.values() if len(own) == 1)
        yield from per_address.commands(name, _covering(family), alone, "/32" if family == IPV4 else "/128")
        yield from _pool_commands(pools, family)


def _covering(family: int) -> str:
    return f'{_RUN} global rib -a ipv{family} "$a" shorter-prefixes -j; {_UNLESS_LATE}'


def _pools(vips: Iterable[str], family: int) -> dict[str, tuple[str, ...]]:
    """The VIPs by the network (/24, /64) that they are out of: gobgp takes many milliseconds for each question."""
    found: dict[str, tuple[str, ...]] = {}
    for vip in vips:
        network = ipaddress.ip_network(f"{vip}/{_POOL[family]}", strict=False)
        pool = str(network.network_address)
        found[pool] = (*found.get(pool, ()), vip)
    return found


def _pool_commands(pools: Mapping[str, tuple[str, ...]], family: int) -> Iterator[Command]:
    """All routes that cover a network out of which there are several VIPs, and all routes within it."""
    several = tuple(pool for pool, own in pools.items() if len(own) > 1)
    inside = f'{_RUN} global rib -a ipv{family} "$a" longer-prefixes -j; {_UNLESS_LATE}'
    program = f"{_covering(family)}; {inside}"
    yield from per_address.commands(f"{_ROUTES}{_WITHIN}ipv{family}", program, several, f"/{_POOL[family]}")


def _received_commands(query: Query, answers: Mapping[str, Answer]) -> Iterator[Command]:
    """Of the neighbors that are nodes, those that are up and from whom a route to some VIP is missing.

    The counters tell nothing of it: what an import policy drops counts as accepted (seen on 3.10).
    """
    neighbors = _json(_NEIGHBORS, answers, [])
    sessions = _sessions(neighbors, query) if isinstance(neighbors, list) else ()
    nodes = _unique(query.node_addresses)
    up = [one.address for one in sessions if one.state is SessionState.ESTABLISHED and one.address in nodes]
    for family in _FAMILIES:
        heard = [
            {as_address(path.get("neighbor-ip")) for _, path in entries_of(table)}
            for vip, table in _tables(query, answers, []).items()
            if family_of(vip) == family
        ]
        short = tuple(address for address in up if any(address not in peers for peers in heard))
        program = f'{_RUN} neighbor "$a" adj-in -a ipv{family} -j; {_UNLESS_LATE}'
        yield from per_address.commands(f"{_RECEIVED} ipv{family}", program, short)


def _json(name: str, answers: Mapping[str, Answer], problems: list[str]) -> Any:
    """The document that a command printed; None, and a problem, when it printed none or an error."""
    answer = answers.get(name, Answer(error="not asked"))
    if answer.error is not None:
        problems.append(f"{name}: {answer.error}")
        return None
    try:
        document = parse(answer.stdout)
    except ValueError as error:
        said = phrase(answer.stdout, 120) or phrase(answer.stderr, 120)
        problems.append(f"{name}: {error}{f' ({said})' if said else ''}")
        return None
    complaint = _complaint(document) or (None if isinstance(document, (dict, list)) else "not in the expected shape")
    if complaint is not None:
        problems.append(f"{name}: {complaint}")
        return None
    return document


def _complaint(document: object) -> str | None:
    """What gobgp says in the place of an answer."""
    said = as_text(as_dict(document).get("error"))
    return phrase(said) if said else None


def _sessions(neighbors: list[Any], query: Query) -> tuple[Session, ...]:
    rows = [as_dict(row) for row in neighbors]
    own = [row for row in rows if as_text(as_dict(row.get("conf")).get("vrf")) == query.vrf]
    return tuple(session for row in own if (session := _session(row)))


def _session(row: dict[str, Any]) -> Session | None:
    conf, state, timers = (as_dict(row.get(name)) for name in ("conf", "state", "timers"))
    address = as_address(conf.get("neighbor_address")) or as_address(state.get("neighbor_address"))
    if address is None:
        return None
    shown = _STATES.get(as_int(state.get("session_state")) or 0, SessionState.UNKNOWN)
    up = shown is SessionState.ESTABLISHED
    transport = as_dict(row.get("transport"))
    counts = {family: as_int(own.get("received")) or 0 for family, own in _afi_safis(row)}
    since = as_int(as_dict(as_dict(timers.get("state")).get("uptime")).get("seconds"), high=2**40)
    admin = as_int(state.get("admin_state")) or 0
    return Session(
        address=address,
        state=shown,
        remote_as=as_int(conf.get("peer_asn"), high=2**32 - 1) or as_int(state.get("peer_asn"), high=2**32 - 1),
        local_as=as_int(conf.get("local_asn"), high=2**32 - 1),
        admin_down=admin == _ADMIN_DOWN,
        dynamic="peer_group" in conf and not {"neighbor_address", "neighbor_interface"} & set(conf),
        passive=transport.get("passive_mode") is True,
        last_error=None if up else _last_error(state),
        established_at=float(since) if up and since else None,
        prefixes_received=MappingProxyType(counts if up else {}),
        families=_negotiated(state) if up else frozenset(counts) or None,
        prefix_limit_hit=admin == _PREFIX_LIMIT,
        keeps_filtered=frozenset(counts),  # Adj-RIB-In holds everything
    )


def _afi_safis(row: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The unicast families of a neighbor, and the state of each. Zeros are left out of the JSON."""
    for one in map(as_dict, as_list(row.get("afi_safis"))):
        config = as_dict(one.get("config"))
        kind = as_dict(config.get("family"))
        family = {1: IPV4, 2: IPV6}.get(as_int(kind.get("afi")) or 0)
        if family is not None and as_int(kind.get("safi")) == 1 and config.get("enabled") is not False:
            yield family, as_dict(one.get("state"))


def _negotiated(state: dict[str, Any]) -> frozenset[int] | None:
    offers = []
    for side in ("local_cap", "remote_cap"):
        values = [as_text(as_dict(capability).get("value")) for capability in as_list(state.get(side))]
        offers.append({_OFFERED[value] for value in values if value in _OFFERED})
    return frozenset(offers[0] & offers[1]) or None


def _last_error(state: dict[str, Any]) -> str | None:
    """What newer releases say themselves; else which way NOTIFICATION messages went, without their reason."""
    said = as_text(state.get("disconnect_message")) or as_text(state.get("disconnect_reason"))
    if said:
        return phrase(said)
    messages = as_dict(state.get("messages"))
    ways = [
        f"{count} NOTIFICATION message{'' if count == 1 else 's'} {way}"
        for way in ("sent", "received")
        if (count := as_int(as_dict(messages.get(way)).get("notification")))
    ]
    return f"{' and '.join(ways)}, whose reason gobgp does not tell" if ways else None


def _tables(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, object]:
    """VIP -> the document that holds its routes; a VIP that was not answered is left out."""
    if query.vrf is None:
        alone = [one for one in _route_commands(query) if _WITHIN not in one.name]
        found = per_address.documents(alone, answers, problems)
        told = {vip: table for vip, table in found.items() if not _refused(vip, table, problems)}
        return told | _pool_tables(query, answers, problems)
    tables = {command.name: _json(command.name, answers, problems) for command in _route_commands(query)}
    named = {vip: tables[f"{_ROUTES} ipv{family_of(vip)}"] for vip in _unique(query.vips)}
    return {vip: table for vip, table in named.items() if isinstance(table, dict)}


def _pool_tables(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for family in _FAMILIES:
        pools = _pools(_unique(query.vips, family), family)
        for pool, tables in per_address.lists(_pool_commands(pools, family), answers, problems).items():
            if any(_refused(pool, table, problems) for table in tables):
                continue
            if len(tables) != _QUESTIONS:
                problems.append(f"{_ROUTES}: {pool}: {len(tables)} of {_QUESTIONS} answers")
                continue
            whole = {as_prefix(key): paths for table in map(as_dict, tables) for key, paths in table.items()}
            lengths = {prefix.prefixlen for prefix in whole if prefix is not None}
            for vip in pools.get(pool, ()):
                covering = [ipaddress.ip_network(f"{vip}/{length}", strict=False) for length in lengths]
                found[vip] = {str(prefix): whole[prefix] for prefix in covering if prefix in whole}
    return found


def _received(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, list[object]]:
    """Neighbor -> the documents (one a family) that hold what it sent; only neighbors that were asked about."""
    found: dict[str, list[object]] = {}
    for command in _received_commands(query, answers):
        for address, table in per_address.documents((command,), answers, problems).items():
            if not _refused(address, table, problems):
                found.setdefault(address, []).append(table)
    return found


def _refused(address: str, table: object, problems: list[str]) -> bool:
    complaint = _complaint(table) or (None if isinstance(table, dict) else "not a table of routes")
    if complaint is not None:
        problems.append(f"{_ROUTES}: {address}: {complaint}")
    return complaint is not None


def _without_zebra(
    routes: dict[str, tuple[Route, ...]], zebra: Answer, fib: Mapping[str, object]
) -> dict[str, tuple[Route, ...]]:
    """Say why no route is in the kernel where gobgpd has nobody who would put it there."""
    if zebra.stdout.strip() != _NO_ZEBRA:
        return routes
    return {vip: _nowhere(found) if vip in fib and fib[vip] is None else found for vip, found in routes.items()}


def _nowhere(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    why = "no zebra runs here, without which gobgpd installs no route"
    return tuple(replace(route, unused_reason=why) if route.used else route for route in routes)
