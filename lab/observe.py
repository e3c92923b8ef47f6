"""What the router shows: sessions and next hops, joined to the lab's nodes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from lab import beside, bird, daemons, netns

if TYPE_CHECKING:
    from pathlib import Path

    from lab.faults import Expected
    from lab.plan import BesideKind, Lab, Node

_STATE_COLUMN: Final = 5
_NAMES_SHOWN: Final = 5
_BIRD_PATH: Final = re.compile(r"(?P<prefix>[0-9a-f.:]*)(?:/\d+)?\s+unicast \[(?P<protocol>\w+) ")


@dataclass(frozen=True, slots=True)
class Tables:
    """Sessions and routes as in `Observed`, of a daemon that forwards nothing."""

    sessions: dict[str, str]
    routes: dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Observed:
    sessions: dict[str, str]  # node name to BGP state; a node that is no neighbor is absent
    routes: dict[str, frozenset[str]]  # VIP to names of the nodes whose route BGP holds
    next_hops: dict[str, frozenset[str]]  # VIP to node names, or addresses that no node has
    selected: dict[str, frozenset[str]] = field(default_factory=dict)  # the same, as BIRD wants it; FRR: nothing
    beside: dict[BesideKind, Tables] = field(default_factory=dict)  # what the daemons beside the router hold

    def differences(self, expected: Expected) -> list[str]:
        """What is not yet as it should be, for people."""
        found = []
        established = {name for name, state in self.sessions.items() if state == "Established"}
        wanted = {node.name for node in expected.established}
        if established != wanted:
            found.append(f"sessions up: {_names(established)}; expected {_names(wanted)}")
        for word, seen, right in (
            ("from", self.routes, expected.routes),
            ("via", self.next_hops, expected.next_hops),
            ("selected via", self.selected, expected.selected if self.selected else {}),
        ):
            for vip, nodes in right.items():
                there, names = seen.get(vip, frozenset()), {node.name for node in nodes}
                if there != names:
                    found.append(f"{vip} {word} {_names(there)}; expected {_names(names)}")
        for kind, tables in self.beside.items():
            own = Observed(tables.sessions, tables.routes, {})
            found += [f"{kind}: {one}" for one in own.differences(replace(expected, next_hops={}, selected={}))]
        return found


def _names(names: set[str] | frozenset[str]) -> str:
    """A few names and the number of the others."""
    shown = sorted(names, key=lambda name: (len(name), name))[:_NAMES_SHOWN]
    more = len(names) - len(shown)
    return (", ".join(shown) or "nobody") + (f" and {more} more" if more else "")


def observe(lab: Lab, state: Path) -> Observed:
    tables = {kind: Tables(beside.sessions(kind, lab, state), beside.routes(kind, lab, state)) for kind in lab.beside}
    return Observed(_sessions(lab, state), _routes(lab, state), _next_hops(lab), _selected(lab, state), tables)


def _sessions(lab: Lab, state: Path) -> dict[str, str]:
    if lab.router == "bird":
        return bird_sessions(daemons.ask_router(lab, state, "show protocols"))
    summary = json.loads(daemons.ask_router(lab, state, "show bgp ipv4 unicast summary json"))
    by_address = {node.v4: node.name for node in lab.nodes}
    peers: dict[str, dict[str, Any]] = summary.get("peers", {})
    return {by_address[address]: peer["state"] for address, peer in peers.items()}


def still_stale(lab: Lab, node: Node, state: Path) -> bool:
    """Whether the router may still hold routes from before the node's speaker came back.

    FRR calls such a session Established, and only then drops the old routes and learns the new ones.
    """
    if lab.router == "bird":
        return False
    answer = json.loads(daemons.ask_router(lab, state, f"show bgp neighbors {node.v4} json"))
    received = answer[node.v4].get("gracefulRestartInfo", {}).get("endOfRibRecv", {})
    return not (received.get("ipv4Unicast") and received.get("ipv6Unicast"))


def bird_sessions(protocols: str) -> dict[str, str]:
    rows = [line.split() for line in protocols.splitlines()]
    return {
        row[0]: row[_STATE_COLUMN] if len(row) > _STATE_COLUMN else row[3].capitalize()
        for row in rows
        if len(row) >= _STATE_COLUMN and row[1] == "BGP"
    }


def _routes(lab: Lab, state: Path) -> dict[str, frozenset[str]]:
    if lab.router == "bird":
        return bird_routes(daemons.ask_router(lab, state, "show route"))
    by_address = {node.v4: node.name for node in lab.nodes}
    found = {}
    for family in ("ipv4", "ipv6"):
        table = json.loads(daemons.ask_router(lab, state, f"show bgp {family} unicast json"))
        for prefix, paths in table.get("routes", {}).items():
            vip = prefix.partition("/")[0]
            found[vip] = frozenset(by_address.get(path["peerId"], path["peerId"]) for path in paths)
    return found


def bird_routes(table: str) -> dict[str, frozenset[str]]:
    """VIP to protocols; the lines of a route's further paths begin with blanks instead of the prefix."""
    found: dict[str, frozenset[str]] = {}
    vip = ""
    for line in table.splitlines():
        match = _BIRD_PATH.match(line)
        if match:
            vip = match["prefix"] or vip
            found[vip] = found.get(vip, frozenset()) | {match["protocol"]}
    return found


def _selected(lab: Lab, state: Path) -> dict[str, frozenset[str]]:
    if lab.router != "bird":
        return {}
    owners = _owners(lab)
    found: dict[str, frozenset[str]] = {vip: frozenset() for vip in _vips(lab)}
    for vip, hops in bird_exports(lab, state).items():
        found[vip] = frozenset(owners.get(hop, hop) for hop in hops)
    return found


def bird_exports(lab: Lab, state: Path) -> dict[str, tuple[str, ...]]:
    """VIP to the next hops that BIRD wants in the kernel."""
    tables = [daemons.ask_router(lab, state, f"show route export {kernel}") for kernel in bird.KERNELS.values()]
    return bird_next_hops("\n".join(tables))


def bird_next_hops(table: str) -> dict[str, tuple[str, ...]]:
    """VIP to the next hops of its only route."""
    found: dict[str, tuple[str, ...]] = {}
    vip = ""
    for line in table.splitlines():
        words = line.split()
        if match := _BIRD_PATH.match(line):
            vip = match["prefix"]
        elif vip and words[:1] == ["via"]:
            found[vip] = (*found.get(vip, ()), words[1])
    return found


def _owners(lab: Lab) -> dict[str, str]:
    return {address: node.name for node in lab.nodes for address in (node.v4, node.v6, node.link_local)}


def _vips(lab: Lab) -> set[str]:
    return {vip for service in lab.services for vip in (service.v4, service.v6)}


def _next_hops(lab: Lab) -> dict[str, frozenset[str]]:
    owners, vips = _owners(lab), _vips(lab)
    found: dict[str, frozenset[str]] = {vip: frozenset() for vip in vips}
    with netns.entered(lab.namespace("edge")):
        tables = [netns.run(["ip", "-j", family, "route", "show"]) for family in ("-4", "-6")]
    for table in tables:
        for route in json.loads(table or "[]"):
            vip = str(route.get("dst", "")).partition("/")[0]
            if vip in vips:
                hops = route.get("nexthops", [route])
                gateways = [str(hop["gateway"]) for hop in hops if "gateway" in hop]
                found[vip] = found[vip] | {owners.get(gateway, gateway) for gateway in gateways}
    return found
