"""From what a router said to the verdict on each node: the whole way, with probes that succeed where it forwards."""

from __future__ import annotations

from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from exporter.status import PathStatus
from exporter.verdicts import PathResult
from routers.model import Snapshot
from tests.routers.captured import TAKEN_AT, VIP, VIP6

NODES = {f"leviathan{number}": (f"10.0.0.1{number}", f"2001:db8::1{number}") for number in (1, 2, 3)}


def judged(snapshot: Snapshot, vip: str = VIP, nodes: tuple[str, ...] = tuple(NODES)) -> dict[str, PathStatus]:
    """The status of each path of one target, by node, or by next hop for that of a stranger."""
    target = Target("git", vip, 22, (vip,), nodes)
    expected = Expected({name: Node(name, addresses) for name, addresses in NODES.items()}, {"git": target})
    view = RouterView.of(snapshot, expected)
    vias = of_vip(view, expected, target, vip).vias or frozenset()
    results = dict.fromkeys(vias, PathResult(TAKEN_AT, True, None, "", 0.004, "oracle", 1.0, connected=True))
    standpoint = Standpoint(snapshot.router, view, None, True, {vip: Exercise(results)})
    status = conclude(expected, target, [standpoint], Surroundings(dict.fromkeys(NODES, True), {}), TAKEN_AT)
    return {path.node or path.next_hop or "": path for path in status.paths}


def verdicts(snapshot: Snapshot, vip: str = VIP) -> dict[str, str]:
    """The word for each path."""
    return {name: path.verdict.value for name, path in judged(snapshot, vip).items()}


__all__ = ["NODES", "VIP", "VIP6", "judged", "verdicts"]
