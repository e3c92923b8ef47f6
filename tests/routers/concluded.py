"""From a snapshot to the verdicts on three nodes, as the exporter draws them: each path that is forwarded to works."""

from __future__ import annotations

from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from exporter.status import PathStatus
from exporter.verdicts import PathResult
from routers.model import Snapshot
from tests.routers.captured import TAKEN_AT, VIP

NODES = {
    f"leviathan{number}": Node(f"leviathan{number}", (f"10.0.0.1{number}", f"2001:db8::1{number}"))
    for number in (1, 2, 3)
}


def paths_of(taken: Snapshot, vip: str = VIP) -> dict[str, PathStatus]:
    """Node -> what is concluded of its path to a VIP; of the address for a next hop that is no node."""
    target = Target("web", vip, 443, (vip,), tuple(NODES))
    expected = Expected(NODES, {"web": target})
    view = RouterView.of(taken, expected)
    works = PathResult(
        at=TAKEN_AT,
        success=True,
        failure=None,
        detail="",
        duration_seconds=0.004,
        method="oracle",
        confidence=1.0,
        connected=True,
    )
    hops = of_vip(view, expected, target, vip).hops or ()
    exercise = Exercise({hop.via: works for hop in hops}, {}, "oracle")
    standpoint = Standpoint("edge", view, None, True, {vip: exercise})
    around = Surroundings(dict.fromkeys(NODES, True), {}, {})
    concluded = conclude(expected, target, [standpoint], around, TAKEN_AT)
    return {path.node or path.next_hop or "": path for path in concluded.paths}


def verdicts_of(taken: Snapshot, vip: str = VIP) -> dict[str, str]:
    """Node -> verdict, as `paths_of`."""
    return {name: str(path.verdict) for name, path in paths_of(taken, vip).items()}
