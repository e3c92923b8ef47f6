"""Verdict cases as data: what a file of tests/scenarios may say, and the values that it stands for.

A case starts from a healthy world (three nodes, one target, one FRR router that forwards to all of them,
every probe ok) and says only what is different. Results and expectations are keyed by words that pick
paths: `leviathan3`, `git leviathan3`, `edge git 203.0.113.22 10.0.0.99`; a path has the words router,
target, VIP, and node or next hop. An unknown key is an error, and so are words that pick nothing.

[[case]]
name        what is shown when it fails
nodes       name -> addresses                              default: leviathan1 to 3, 10.0.0.11 to 13
targets     name -> {vips, nodes, port}                    default: git at 203.0.113.22, every node
routers     name -> Router below                           default: edge, healthy
probes      words -> ok | none | a failure | {failure, connected, probes, detail, no_flow, method}
            default: ok wherever the router forwards to, none elsewhere
sweep       {sent, failed, coverage}: no flow has a known way, and so many were swept over each VIP's next hops
lost        nodes that answered directly before            default: none
direct      node -> true | false | "unknown"               default: true
verdicts    words -> verdict; together they must pick every path
reason      words -> part of the sentence, or a list of parts
remedy      words -> part of the commands, false for none
elsewhere   words -> {platform -> part of the commands there}
summary     node or target -> ok | degraded | unreachable
stages      words -> {announced, installed, exercised, ok}; "unknown" for what the router did not say

Router
snapshot    false: it never answered                       default: true
trouble     why its snapshot cannot be used
crossed     false: the prober's flows do not pass it       default: true
platform, local_as, problems, dynamic_ranges, neighbors    as in routers.model.Snapshot; neighbors may be "unknown"
sessions    "unknown", or node or address -> state | absent | fields of Session; default: Established
routes      "unknown", or words (VIP, node) -> used | unused | untold | filtered | stale | absent | unknown
            | fields of Route; default: used, as far as the session is Established
more_routes routes of other peers: {vip, ...fields of Route}
fib         "unknown", or next hops, or VIP -> next hops | unknown | default; default: the used routes'
            a next hop is a node, an address, address%interface, or {address, interface, weight, usable}
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from exporter.shares import wilson
from exporter.status import PathStatus, TargetStatus
from exporter.verdicts import PathResult, Sweep
from probes.model import Failure
from routers.model import FibEntry, LinkNeighbor, NextHop, RemedyKind, Route, Session, SessionState, Snapshot, family_of

FOLDER = Path(__file__).parent.parent / "scenarios"
NOW = 1_795_384_400.0

_CASE = {"name", "nodes", "targets", "routers", "probes", "sweep", "lost", "direct"}
_EXPECTED = {"verdicts", "reason", "remedy", "elsewhere", "summary", "stages"}
_ROUTER = {"snapshot", "trouble", "crossed", "platform", "local_as", "problems", "dynamic_ranges", "neighbors"}
_TABLES = {"sessions", "routes", "more_routes", "fib"}
_PROBE = {"failure", "connected", "probes", "detail", "no_flow", "method"}
_ROUTES: Mapping[str, Mapping[str, Any]] = {
    "used": {"used": True},
    "unused": {"used": False},
    "untold": {"used": None},
    "stale": {"used": True, "stale": True},
    "filtered": {"used": False, "filtered": True},
}
_NODES = {f"leviathan{number}": [f"10.0.0.1{number}"] for number in (1, 2, 3)}
_TARGETS = {"git": {"vips": ["203.0.113.22"], "port": 22}}


class ScenarioError(ValueError):
    """The file says something that it may not."""


@dataclass(frozen=True, slots=True)
class Case:
    file: str
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.file}: {self.data['name']}"


@dataclass(frozen=True, slots=True)
class World:
    """A case as values, ready for conclude()."""

    expected: Expected
    standpoints: Sequence[Standpoint]
    around: Surroundings

    def concluded(self) -> dict[str, TargetStatus]:
        return {
            name: conclude(self.expected, target, self.standpoints, self.around, NOW)
            for name, target in self.expected.targets.items()
        }


def load(path: Path) -> list[Case]:
    """The cases of one file."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    only(data, {"case"}, path.name)
    cases = []
    for case in data["case"]:
        only(case, _CASE | _EXPECTED, f"{path.name}: {case.get('name')}")
        if not case.get("name") or not case.get("verdicts"):
            raise ScenarioError(f"{path.name}: every case needs a name and verdicts")
        cases.append(Case(path.stem, case))
    return cases


def all_cases() -> list[Case]:
    return [case for path in sorted(FOLDER.glob("*.toml")) for case in load(path)]


def only(table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    unknown = set(table) - set(allowed)
    if unknown:
        raise ScenarioError(f"{where}: unknown keys {', '.join(sorted(unknown))}")


def words_of(path: PathStatus) -> frozenset[str]:
    return frozenset({path.router, path.target, path.vip, path.node or path.next_hop or ""})


def picked(key: str, words: frozenset[str]) -> bool:
    return set(key.split()) <= words


def build(case: Mapping[str, Any]) -> World:
    """The values that a case stands for."""
    expected = _expected(case)
    seen = {
        name: _Router(name, table, expected).standpoint()
        for name, table in dict(case.get("routers", {"edge": {}})).items()
    }
    results = _Probes(dict(case.get("probes", {})), case.get("sweep"), expected)
    standpoints = []
    working: dict[str, frozenset[str]] = {}
    # An exercise is kept for one target at one router: a Standpoint belongs to one target, so VIPs must differ.
    for standpoint in seen.values():
        exercises: dict[str, Exercise] = {}
        for target in expected.targets.values():
            for vip in target.vips:
                exercises[vip] = results.exercise(standpoint, target, vip)
                for via, result in exercises[vip].results.items():
                    if result.success:
                        working[via] = working.get(via, frozenset()) | {target.name}
        standpoints.append(
            Standpoint(standpoint.router, standpoint.view, standpoint.trouble, standpoint.crossed, exercises)
        )
    results.must_be_used_up()
    direct: dict[str, bool | None] = dict.fromkeys(expected.nodes, True)
    for node, alive in dict(case.get("direct", {})).items():
        only({node: alive}, expected.nodes, "direct")
        direct[node] = None if alive == "unknown" else bool(alive)
    lost = case.get("lost", ())
    only(dict.fromkeys(lost), expected.nodes, "lost")
    return World(expected, standpoints, Surroundings(direct, working, dict.fromkeys(lost, NOW - 60)))


def _expected(case: Mapping[str, Any]) -> Expected:
    nodes = {name: Node(name, tuple(addresses)) for name, addresses in case.get("nodes", _NODES).items()}
    targets = {}
    for name, table in case.get("targets", _TARGETS).items():
        only(table, {"vips", "nodes", "port"}, f"target {name}")
        own = tuple(table.get("nodes", nodes))
        targets[name] = Target(name, table["vips"][0], table.get("port", 443), tuple(table["vips"]), own)
    return Expected(nodes, targets)


class _Router:
    def __init__(self, name: str, table: Mapping[str, Any], expected: Expected) -> None:
        only(table, _ROUTER | _TABLES, f"router {name}")
        self._name = name
        self._table = table
        self._expected = expected
        self._vips = [vip for target in expected.targets.values() for vip in target.vips]

    def standpoint(self) -> Standpoint:
        table = self._table
        if not table.get("snapshot", True):
            return Standpoint(self._name, None, table.get("trouble", "it has not answered yet"), True, {})
        sessions = self._sessions()
        routes = self._routes(sessions)
        snapshot = Snapshot(
            router=self._name,
            platform=table.get("platform", "frr"),
            taken_at=NOW,
            sessions=None if table.get("sessions") == "unknown" else tuple(sessions.values()),
            dynamic_ranges=tuple(table.get("dynamic_ranges", ())),
            routes=routes,
            fib=self._fib(routes),
            neighbors=_link_neighbors(table.get("neighbors", ())),
            local_as=table.get("local_as", 64512),
            problems=tuple(table.get("problems", ())),
        )
        view = RouterView.of(snapshot, self._expected)
        return Standpoint(self._name, view, table.get("trouble"), table.get("crossed", True), {})

    def _sessions(self) -> dict[str, Session]:
        """By node's name, or by address for a peer that is no node."""
        said = self._table.get("sessions", {})
        said = {} if said == "unknown" else dict(said)
        sessions: dict[str, Session] = {}
        for key in (*self._expected.nodes, *(key for key in said if key not in self._expected.nodes)):
            node = self._expected.nodes.get(key)
            address = node.address if node is not None else key
            value = said.get(key, "Established")
            if value == "absent":
                continue
            fields: dict[str, Any] = {"state": value} if isinstance(value, str) else dict(value)
            state = SessionState(fields.pop("state", "Established"))
            if "families" in fields:
                fields["families"] = frozenset(fields["families"])
            if "prefixes_received" in fields:
                fields["prefixes_received"] = {int(key): n for key, n in fields["prefixes_received"].items()}
            sessions[key] = Session(**{"address": address, "remote_as": 64513, **fields}, state=state)
        return sessions

    def _routes(self, sessions: Mapping[str, Session]) -> dict[str, tuple[Route, ...]]:
        said = self._table.get("routes", {})
        if said == "unknown":
            return {}
        routes: dict[str, tuple[Route, ...]] = {}
        for target in self._expected.targets.values():
            for vip in target.vips:
                values = {name: self._said_of_route(vip, name, sessions) for name in target.nodes}
                if "unknown" in values.values():
                    continue
                routes[vip] = tuple(
                    self._route(vip, self._expected.nodes[name], sessions.get(name), value)
                    for name, value in values.items()
                    if value != "absent"
                )
        pairs = [
            {vip, name} for target in self._expected.targets.values() for vip in target.vips for name in target.nodes
        ]
        for key in said:
            if not any(picked(key, frozenset(pair)) for pair in pairs):
                raise ScenarioError(f"routes pick nothing: {key}")
        for row in self._table.get("more_routes", ()):
            fields = dict(row)
            vip = fields.pop("vip")
            routes[vip] = (*routes.get(vip, ()), _made({"prefix": f"{vip}/{_bits(vip)}", "used": True, **fields}))
        return routes

    def _said_of_route(self, vip: str, node: str, sessions: Mapping[str, Session]) -> Any:
        session = sessions.get(node)
        value: Any = "used" if session is not None and session.state is SessionState.ESTABLISHED else "absent"
        for key, said in self._table.get("routes", {}).items():
            if picked(key, frozenset({vip, node})):
                value = said
        return value

    @staticmethod
    def _route(vip: str, node: Node, session: Session | None, value: Any) -> Route:
        fields = dict(_ROUTES[value] if isinstance(value, str) else {"used": True, **value})
        return _made(
            {
                "prefix": f"{vip}/{_bits(vip)}",
                "peer": session.address if session is not None else node.address,
                "next_hops": [node.address_for(vip) or node.address],
                **fields,
            }
        )

    def _fib(self, routes: Mapping[str, tuple[Route, ...]]) -> dict[str, FibEntry | None]:
        said = self._table.get("fib", {})
        if said == "unknown":
            return {}
        by_vip = said if isinstance(said, dict) else dict.fromkeys(self._vips, said)
        only(by_vip, self._vips, "fib")
        fib: dict[str, FibEntry | None] = {}
        for vip in self._vips:
            value: Any = by_vip.get(vip)
            if value is None:
                value = [route.next_hops[0] for route in routes.get(vip, ()) if route.used and not route.filtered]
            if value == "unknown":
                continue
            if value == "default" or (not value and vip not in by_vip):
                fib[vip] = None
                continue
            hops = tuple(self._hop(vip, hop) for hop in value)
            fib[vip] = FibEntry(f"{vip}/{_bits(vip)}", hops, "bgp", "unicast" if hops else "unreachable")
        return fib

    def _hop(self, vip: str, value: Any) -> NextHop:
        if isinstance(value, dict):
            return NextHop(**{"address": None, **value})
        if value in self._expected.nodes:
            address = self._expected.nodes[value].address_for(vip)
            if address is None:
                raise ScenarioError(f"{value} has no address of the family of {vip}")
            return NextHop(address, "eth1")
        address, _, interface = str(value).partition("%")
        return NextHop(address, interface or "eth1")


class _Probes:
    def __init__(self, said: Mapping[str, Any], sweep: Mapping[str, Any] | None, expected: Expected) -> None:
        self._said = said
        self._sweep = sweep
        self._expected = expected
        self._unused = set(said)

    def exercise(self, standpoint: Standpoint, target: Target, vip: str) -> Exercise:
        forwarded = None
        if standpoint.view is not None:
            forwarded = of_vip(standpoint.view, self._expected, target, vip).vias
        results: dict[str, PathResult] = {}
        no_flow: dict[str, str] = {}
        for via in dict.fromkeys((*target.nodes, *(forwarded or ()))):
            there = forwarded is not None and via in forwarded and standpoint.crossed
            value: Any = "ok" if there and via in target.nodes and self._sweep is None else "none"
            for key in self._said:
                if picked(key, frozenset({standpoint.router, target.name, vip, via})):
                    value = self._said[key]
                    self._unused.discard(key)
            if isinstance(value, str):
                value = {} if value == "none" else {"failure": value}
            only(value, _PROBE, f"probe of {via}")
            if "no_flow" in value:
                no_flow[via] = value["no_flow"]
            if "failure" in value:
                results[via] = _result(value)
        method = "sweep" if self._sweep is not None else "single" if len(results) == 1 else "oracle"
        return Exercise(results, no_flow, method, sweep=self._swept(forwarded))

    def _swept(self, vias: frozenset[str] | None) -> Sweep | None:
        if self._sweep is None or not vias:
            return None
        only(self._sweep, {"sent", "failed", "coverage"}, "sweep")
        sent, failed = self._sweep["sent"], self._sweep["failed"]
        return Sweep(
            began=NOW - 5,
            at=NOW,
            sent=sent,
            failed=failed,
            low=wilson(failed, sent)[0],
            high=wilson(failed, sent)[1],
            coverage=self._sweep.get("coverage", 0.99),
            shares=dict.fromkeys(vias, 1 / len(vias)),
            failure=Failure.TIMEOUT if failed else None,
            detail="TCP handshake: no end within 3 s" if failed else "",
        )

    def must_be_used_up(self) -> None:
        if self._unused:
            raise ScenarioError(f"probes pick nothing: {', '.join(self._unused)}")


def _result(value: Mapping[str, Any]) -> PathResult:
    good = value["failure"] == "ok"
    failure = None if good else Failure(value["failure"])
    probes = value.get("probes", 1 if good else 2)
    return PathResult(
        at=NOW,
        success=good,
        failure=failure,
        detail=value.get("detail", "" if good else "TCP handshake: no end within 3 s"),
        duration_seconds=0.004 if good else 3.0,
        method=value.get("method", "oracle"),
        confidence=1.0,
        connected=value.get("connected", good),
        source_ports=(20001,),
        probes=probes,
        failures=() if failure is None else (failure,) * probes,
    )


def _made(fields: Mapping[str, Any]) -> Route:
    values = dict(fields)
    values["next_hops"] = tuple(values["next_hops"])
    if values.get("used") == "untold":
        values["used"] = None
    if "mended_by" in values:
        values["mended_by"] = RemedyKind(values["mended_by"])
    return Route(**values)


def _bits(vip: str) -> int:
    return {4: 32, 6: 128}[family_of(vip)]


def _link_neighbors(rows: Any) -> tuple[LinkNeighbor, ...] | None:
    return None if rows == "unknown" else tuple(LinkNeighbor(**{"reachable": True, **row}) for row in rows)
