"""FRR 7.5 to 10 through vtysh (also VyOS, UniFi over SSH): BGP as JSON, forwarding from the Linux kernel.

Without a VRF in the question the sessions of every VRF are read and the routes of the default one; with one, its own.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers import linux, vtysh
from routers.frr.routes import routes_of
from routers.frr.sessions import (
    DEFAULT_VRF,
    NEIGHBORS,
    SUMMARY,
    dynamic_ranges,
    instance,
    limits_of,
    lowest,
    of_vrf,
    sessions_of,
)
from routers.jsontext import as_address, digest, parse, phrase
from routers.linux import oracle as linux_oracle
from routers.model import Command, Query, RemedyFacts, RemedyKind, Route, Snapshot, canonical, family_of
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routers.model import Answer

PLATFORM = "frr"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_VERSION = "show version"
_LIMITS = "show running-config bgpd | include ^router bgp|address-family|maximum-paths"
_VRF = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address or VRF."""
    vrf = _vrf(query)
    if vrf is not None and not _VRF.fullmatch(vrf):
        raise ValueError(f"vrf {vrf!r} cannot be the name of a VRF")
    families = sorted({family_of(vip) for vip in query.vips})
    routes = [_route_command(vip, vrf) for vip in _unique(query.vips)]
    filtered = [_filtered_command(node, family, vrf) for node in _unique(query.node_addresses) for family in families]
    return (
        *vtysh.batches((_VERSION, SUMMARY, NEIGHBORS, _peer_groups(vrf), *routes, *filtered)),
        vtysh.command(vtysh.OPTIONAL, (_LIMITS,)),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """FRR tells everything at once; its kernel may have to be asked once more."""
    return linux.follow_up(query, answers)


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    vrf = _vrf(query)
    bodies = vtysh.bodies(answers, problems)
    summary = _json(bodies, SUMMARY, problems)
    detail = _json(bodies, NEIGHBORS, problems)
    fib, fib_problems = linux.read_fib(answers, query)
    neighbors, neighbor_problems = linux.read_neighbors(answers, query.vrf)
    addresses, address_problems = linux.read_addresses(answers)
    sessions, routes = None, dict[str, tuple[Route, ...]]()
    if summary is not None and vrf is not None and vrf not in summary:
        if not any(linux.missing_vrf(answer, vrf) for answer in answers.values()):
            problems.append(
                f"FRR has no BGP in VRF {vrf}, {_known(summary)}: see vrf of this router in the configuration"
            )
    else:
        sessions = sessions_of(of_vrf(summary, vrf), of_vrf(detail, vrf), problems)
        routes = _routes(query, bodies, summary, problems)
        if _peer_groups(vrf) not in bodies:
            problems.append(f"{_peer_groups(vrf)}: no answer, so listen ranges are unknown")
    version = re.search(r"FRRouting (\S+)", bodies.get(_VERSION, ""))
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=dynamic_ranges(bodies.get(_peer_groups(vrf), "")),
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=addresses,
        local_as=instance(summary, vrf)[0],
        maximum_paths=MappingProxyType(lowest(limits_of(bodies.get(_LIMITS, ""), vrf))),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *neighbor_problems, *address_problems)),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, as typed into vtysh."""
    family = f"ipv{facts.family}"
    neighbor = f"neighbor {facts.neighbor}"
    peering = neighbor if as_address(facts.neighbor) else f"{neighbor} interface"  # unnumbered
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    in_family = (f"address-family {family} unicast",)
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"{peering} remote-as {remote}",
            *in_family,
            f"{neighbor} activate",
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"no {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"{peering} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f"{neighbor} password <the password set on the node>",),
        RemedyKind.ROUTE_FILTERED: (*in_family, f"no {neighbor} route-map <name of the import policy> in"),
        RemedyKind.POLICY_MISSING: (*in_family, f"{neighbor} route-map FROM-NODES in"),
        RemedyKind.PATH_LIMIT: (
            *in_family,
            f"maximum-paths {'ibgp ' if facts.internal else ''}{facts.paths or '<number of nodes>'}",
        ),
        RemedyKind.AS_PATH_RELAX: ("bgp bestpath as-path multipath-relax",),
    }
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    policy = ("route-map FROM-NODES permit 10", "exit") if kind is RemedyKind.POLICY_MISSING else ()
    vrf = f" vrf {facts.vrf}" if facts.vrf not in (None, DEFAULT_VRF) else ""
    return "\n".join(("configure terminal", *policy, f"router bgp {local}{vrf}", *lines[kind], "end", "write memory"))


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _vrf(query: Query) -> str | None:
    """The VRF that is asked about, None for the default one."""
    return None if query.vrf == DEFAULT_VRF else query.vrf


def _in_vrf(vrf: str | None) -> str:
    return "" if vrf is None else f"vrf {vrf} "


def _peer_groups(vrf: str | None = None) -> str:
    """As text: the JSON form came with 8.2."""
    return f"show bgp {_in_vrf(vrf)}peer-group"


def _route_command(vip: str, vrf: str | None = None) -> str:
    return f"show bgp {_in_vrf(vrf)}ipv{family_of(vip)} unicast {vip} json"


def _filtered_command(node: str, family: int, vrf: str | None = None) -> str:
    return f"show bgp {_in_vrf(vrf)}ipv{family} unicast neighbors {node} filtered-routes json"


def _known(summary: Mapping[str, Any]) -> str:
    """The VRFs with BGP, for a sentence."""
    return f"but in {phrase(', '.join(sorted(summary)), 100)}" if summary else "nor in any other"


def _routes(
    query: Query, bodies: Mapping[str, str], summary: dict[str, Any] | None, problems: list[str]
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    vrf, nodes = _vrf(query), _unique(query.node_addresses)
    relaxed, limits = instance(summary, vrf)[1], limits_of(bodies.get(_LIMITS, ""), vrf)
    found: dict[str, tuple[Route, ...]] = {}
    for vip in _unique(query.vips):
        family = family_of(vip)
        document = _json(bodies, _route_command(vip, vrf), problems)
        if document is None:
            continue
        filtered = {node: _json(bodies, _filtered_command(node, family, vrf), problems) for node in nodes}
        multipath = Multipath(limits[family], relaxed)
        found[vip] = routes_of(vip, document, filtered, multipath, shortest=0 if query.default_routes else 1)
    return found


def _json(bodies: Mapping[str, str], command: str, problems: list[str]) -> dict[str, Any] | None:
    """The object that a command printed; None, and a problem, when it printed none."""
    if command not in bodies:
        problems.append(f"{command}: no answer")
        return None
    try:
        document = parse(bodies[command])
    except ValueError as error:
        problems.append(f"{command}: {error}")
        return None
    if isinstance(document, dict):
        return document
    problems.append(f"{command}: not a JSON object")
    return None
