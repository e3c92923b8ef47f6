"""FRR 7.5 to 10 through vtysh (also VyOS, UniFi over SSH): BGP as JSON, forwarding from the Linux kernel.

Field names: bgpd/bgp_vty.c and bgpd/bgp_route.c. Sessions of every VRF are read, routes of the default VRF.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers import linux, linux_oracle, vtysh
from routers.jsontext import as_address, as_dict, as_int, as_list, as_prefix, as_text, digest, parse
from routers.model import (
    IPV4,
    IPV6,
    Command,
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
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routers.model import Answer

PLATFORM = "frr"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_VERSION = "show version"
_SUMMARY = "show bgp vrf all summary json"
_NEIGHBORS = "show bgp vrf all neighbors json"
_PEER_GROUPS = "show bgp peer-group"  # as text: its JSON form came with 8.2
_LIMITS = "show running-config bgpd | include ^router bgp|address-family|maximum-paths"
_FAMILIES = {"ipv4Unicast": IPV4, "ipv6Unicast": IPV6}
_STATES = {state.value.lower(): state for state in SessionState}


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    families = sorted({family_of(vip) for vip in query.vips})
    routes = [_route_command(vip) for vip in _unique(query.vips)]
    filtered = [_filtered_command(node, family) for node in _unique(query.node_addresses) for family in families]
    return (
        *vtysh.batches((_VERSION, _SUMMARY, _NEIGHBORS, _PEER_GROUPS, *routes, *filtered)),
        vtysh.command(vtysh.OPTIONAL, (_LIMITS,)),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """FRR tells everything at once; its kernel may have to be asked once more."""
    return linux.follow_up(query, answers)


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    bodies = vtysh.bodies(answers, problems)
    summary = _json(bodies, _SUMMARY, problems)
    sessions = _sessions(summary, _json(bodies, _NEIGHBORS, problems), problems)
    local_as, relaxed = _instance(summary)
    limits = _limits(bodies.get(_LIMITS, ""))
    nodes = _unique(query.node_addresses)
    routes = {
        vip: _routes(vip, nodes, bodies, Multipath(limits[family_of(vip)], relaxed), problems)
        for vip in _unique(query.vips)
    }
    fib, fib_problems = linux.read_fib(answers, query)
    neighbors, neighbor_problems = linux.read_neighbors(answers)
    addresses, address_problems = linux.read_addresses(answers)
    if _PEER_GROUPS not in bodies:
        problems.append(f"{_PEER_GROUPS}: no answer, so listen ranges are unknown")
    version = re.search(r"FRRouting (\S+)", bodies.get(_VERSION, ""))
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=_dynamic_ranges(bodies.get(_PEER_GROUPS, "")),
        routes=MappingProxyType({vip: found for vip, found in routes.items() if found is not None}),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=addresses,
        local_as=local_as,
        maximum_paths=MappingProxyType(_lowest(limits)),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *neighbor_problems, *address_problems)),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, as typed into vtysh."""
    family = f"ipv{facts.family}"
    neighbor = f"neighbor {facts.neighbor}"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    in_family = (f"address-family {family} unicast",)
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"{neighbor} remote-as {remote}",
            *in_family,
            f"{neighbor} activate",
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"no {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"{neighbor} remote-as {remote}",),
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
    return "\n".join(("configure terminal", *policy, f"router bgp {local}", *lines[kind], "end", "write memory"))


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _route_command(vip: str) -> str:
    return f"show bgp ipv{family_of(vip)} unicast {vip} json"


def _filtered_command(node: str, family: int) -> str:
    return f"show bgp ipv{family} unicast neighbors {node} filtered-routes json"


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


def _instance(summary: dict[str, Any] | None) -> tuple[int | None, bool | None]:
    """The default VRF's AS number and `as-path multipath-relax`."""
    local_as, relaxed = None, None
    for family in as_dict((summary or {}).get("default")).values():
        local_as = as_int(as_dict(family).get("as"), high=2**32 - 1) or local_as
        relax = as_dict(as_dict(family).get("bestPath")).get("multiPathRelax")
        if relax is not None:
            relaxed = str(relax).lower() == "true"
    return local_as, relaxed


def _sessions(
    summary: dict[str, Any] | None, detail: dict[str, Any] | None, problems: list[str]
) -> tuple[Session, ...] | None:
    """Sessions from whichever of the two answers could be read; None when neither could."""
    rows, details = _rows(summary, problems), _details(detail, problems)
    if rows is None and details is None:
        return None
    rows, details = rows or {}, details or {}
    sessions = (_session(peer, rows.get(peer, {}), details.get(peer, {})) for peer in dict.fromkeys((*rows, *details)))
    return tuple(session for session in sessions if session)


def _rows(summary: dict[str, Any] | None, problems: list[str]) -> dict[str, dict[int, dict[str, Any]]] | None:
    """Peer -> family -> row; the default VRF wins where two hold the same peer."""
    if summary is None:
        return None
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for vrf in sorted(summary, key=lambda name: name == "default"):
        for name, family in _FAMILIES.items():
            found = as_dict(summary[vrf]).get(name, {})
            peers = as_dict(found).get("peers", {})
            if not all(isinstance(each, dict) for each in (summary[vrf], found, peers, *as_dict(peers).values())):
                problems.append(f"{_SUMMARY}: not in the expected shape")
                return None
            for peer, row in peers.items():
                rows.setdefault(peer, {})[family] = row
    return rows


def _details(detail: dict[str, Any] | None, problems: list[str]) -> dict[str, dict[str, Any]] | None:
    """Peer -> row, told from a VRF's own fields by being an object."""
    if detail is None:
        return None
    details: dict[str, dict[str, Any]] = {}
    for vrf in sorted(detail, key=lambda name: name == "default"):
        peers = as_dict(detail[vrf])
        if not isinstance(detail[vrf], dict) or any(
            as_address(peer) and not isinstance(row, dict) for peer, row in peers.items()
        ):
            problems.append(f"{_NEIGHBORS}: not in the expected shape")
            return None
        details.update({peer: row for peer, row in peers.items() if isinstance(row, dict)})
    return details


def _session(peer: str, rows: Mapping[int, dict[str, Any]], detail: dict[str, Any]) -> Session | None:
    address = as_address(peer) or as_address(detail.get("bgpNeighborAddr"))  # the latter: unnumbered
    if address is None:
        return None
    row = next(iter(rows.values()), {})
    shown = as_text(detail.get("bgpState")) or as_text(row.get("state")) or ""
    peer_states = {as_text(one.get("peerState")) for one in rows.values()}
    state = _STATES.get(shown.split(" ", 1)[0].lower(), SessionState.UNKNOWN)
    up = state is SessionState.ESTABLISHED
    afis = {family: as_dict(as_dict(detail.get("addressFamilyInfo")).get(n)) for n, family in _FAMILIES.items()}
    return Session(
        address=address,
        state=state,
        remote_as=as_int(detail.get("remoteAs", row.get("remoteAs")), high=2**32 - 1),
        local_as=as_int(detail.get("localAs", row.get("localAs")), high=2**32 - 1),
        admin_down=detail.get("adminShutDown") is True or "Admin" in peer_states,
        dynamic=row.get("dynamicPeer") is True or "peerSubnetRangeGroup" in detail,
        passive="Passive" in peer_states,
        last_error=None if up else _last_error(detail),
        established_at=_established_at(row, detail) if up else None,
        prefixes_received=_counts({family: one.get("pfxRcd") for family, one in rows.items()}),
        families=_negotiated(detail) if up else frozenset((*rows, *(family for family in afis if afis[family]))),
        policy_missing="Policy" in peer_states,
        prefix_limit_hit="PfxCt" in peer_states or "(PfxCt)" in (as_text(row.get("state")) or ""),
        keeps_filtered=frozenset(f for f in afis if afis[f].get("inboundSoftConfigPermit") is True) if detail else None,
        prefixes_filtered=_counts(
            {family: as_dict(afi.get("prefixStats")).get("inboundFiltered") for family, afi in afis.items()}
        ),
    )


def _counts(values: Mapping[int, object]) -> Mapping[int, int]:
    counts = {family: as_int(value) for family, value in values.items()}
    return MappingProxyType({family: count for family, count in counts.items() if count is not None})


def _last_error(detail: dict[str, Any]) -> str | None:
    parts = (as_text(detail.get("lastResetDueTo")), as_text(detail.get("lastNotificationReason")))
    return ": ".join(part[:200] for part in parts if part) or None


def _established_at(row: dict[str, Any], detail: dict[str, Any]) -> float | None:
    """Since when; on a session that is down FRR gives the time of its end under the same names."""
    seconds = detail.get("bgpTimerUpEstablishedEpoch", row.get("peerUptimeEstablishedEpoch"))
    return float(epoch) if (epoch := as_int(seconds, high=2**40)) else None


def _negotiated(detail: dict[str, Any]) -> frozenset[int] | None:
    offers = as_dict(as_dict(detail.get("neighborCapabilities")).get("multiprotocolExtensions"))
    if not offers:
        return None
    return frozenset(
        family for name, family in _FAMILIES.items() if as_dict(offers.get(name)).get("advertisedAndReceived")
    )


def _dynamic_ranges(peer_groups: str) -> tuple[str, ...]:
    """The prefixes below the lines `N IPv4 listen range(s)`."""
    ranges: list[str] = []
    listing = False
    for line in map(str.strip, peer_groups.splitlines()):
        if line.endswith("listen range(s)"):
            listing = True
        elif listing and (prefix := as_prefix(line)):
            ranges.append(str(prefix))
        else:
            listing = False
    return tuple(ranges)


def _limits(config: str) -> dict[int, dict[str, int]]:
    """Family -> "ibgp" or "ebgp" -> maximum-paths, from the first `router bgp` block (the default VRF's)."""
    limits: dict[int, dict[str, int]] = {IPV4: {}, IPV6: {}}
    family: int | None = None
    for line in map(str.strip, config.splitlines()):
        if line.startswith("router bgp") and " vrf " in line:
            break
        if match := re.fullmatch(r"address-family ipv([46]) unicast", line):
            family = int(match[1])
        elif line == "exit-address-family":
            family = None
        elif family and (match := re.fullmatch(r"maximum-paths (ibgp )?(\d{1,4})(?: .*)?", line)):
            limits[family]["ibgp" if match[1] else "ebgp"] = int(match[2])
    return limits


def _lowest(limits: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for family in limits.values():
        for kind, limit in family.items():
            found[kind] = min(limit, found.get(kind, limit))
    return found


def _routes(
    vip: str, nodes: Iterable[str], bodies: Mapping[str, str], multipath: Multipath, problems: list[str]
) -> tuple[Route, ...] | None:
    """The VIP's routes, filtered ones last; None when the table could not be read."""
    document = _json(bodies, _route_command(vip), problems)
    if document is None:
        return None
    prefix = as_prefix(document.get("prefix"))
    shortest = 1  # a default route announces no VIP
    routes: tuple[Route, ...] = ()
    if prefix and prefix.prefixlen >= shortest and ipaddress.ip_address(vip) in prefix:
        shortest = prefix.prefixlen
        paths = as_list(document.get("paths"))
        routes = explained([_candidate(str(prefix), as_dict(path)) for path in paths], multipath)
    filtered = (_filtered(node, vip, shortest, bodies, problems) for node in nodes)
    return (*routes, *(route for route in filtered if route))


def _candidate(prefix: str, path: dict[str, Any]) -> Candidate:
    peer = as_dict(path.get("peer"))
    hops = [as_dict(hop) for hop in as_list(path.get("nexthops"))]
    hops.sort(key=lambda hop: hop.get("used") is not True)  # IPv6: of global and link-local, the one in use
    valid = path.get("valid") is True
    best = as_dict(path.get("bestpath")).get("overall") is True
    route = Route(
        prefix=prefix,
        peer=as_address(peer.get("peerId")),
        next_hops=tuple(address for hop in hops if (address := as_address(hop.get("ip")))),
        valid=valid,
        best=best,
        used=valid and (best or path.get("multipath") is True),
        stale=path.get("stale") is True,
    )
    return Candidate(route, _attributes(path, peer, hops), _obstacle(path, hops))


def _obstacle(path: dict[str, Any], hops: list[dict[str, Any]]) -> str | None:
    if path.get("valid") is True:
        return None
    unreachable = [hop["ip"] for hop in hops if hop.get("accessible") is False and as_text(hop.get("ip"))]
    return f"next hop {unreachable[0]} cannot be resolved" if unreachable else "not valid"


def _attributes(path: dict[str, Any], peer: dict[str, Any], hops: list[dict[str, Any]]) -> Attributes:
    as_path = as_dict(path.get("aspath"))
    text = as_text(as_path.get("string")) or ""
    kind = as_text(peer.get("type"))
    return Attributes(
        weight=as_int(path.get("weight")) or 0,
        local_preference=as_int(path.get("locPrf")),
        as_path=() if text == "Local" else tuple(text.split()),
        origin=as_text(path.get("origin")),
        med=as_int(path.get("metric")) or 0,
        internal=None if kind is None else kind == "internal",
        igp_metric=as_int(hops[0].get("metric")) if hops else None,
    )


def _filtered(node: str, vip: str, shortest: int, bodies: Mapping[str, str], problems: list[str]) -> Route | None:
    """The route that import policy dropped. No warning is a problem: the peer may be unknown to the router,
    or the router keeps no filtered routes (soft-reconfiguration inbound), see `Session.keeps_filtered`.
    """
    document = _json(bodies, _filtered_command(node, family_of(vip)), problems)
    address = ipaddress.ip_address(vip)
    covering = [
        (prefix.prefixlen, str(prefix), as_dict(row))
        for text, row in as_dict((document or {}).get("receivedRoutes")).items()
        if (prefix := as_prefix(text)) and prefix.prefixlen >= shortest and address in prefix
    ]
    if not covering:
        return None
    _, prefix_text, row = max(covering, key=lambda found: found[0])
    next_hop = as_address(row.get("nextHop")) or as_address(row.get("nextHopGlobal"))
    return Route(
        prefix=prefix_text,
        peer=node,
        next_hops=(next_hop,) if next_hop else (),
        used=False,
        filtered=True,
    )
