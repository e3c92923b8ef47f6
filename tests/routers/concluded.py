"""The verdicts that a captured router leads to, all probes of what it forwards to being well."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from exporter.status import PathStatus
from exporter.verdicts import PathResult
from routers.model import Snapshot
from tests.routers.captured import TAKEN_AT, VIP, VIP6

_OK = PathResult(
    at=TAKEN_AT,
    success=True,
    failure=None,
    detail="",
    duration_seconds=0.004,
    method="oracle",
    confidence=1.0,
    connected=True,
    source_ports=(20001,),
)


def paths_of(
    taken: Snapshot, *, crossed: bool = True, over_ipv6: bool = False, served_by: Sequence[str] = ()
) -> dict[tuple[str, str], PathStatus]:
    """By VIP and node, or the next hop that is none. Each node is known by the address of its session and, for IPv6,
    that of its next hop. `served_by`: the nodes that should announce the VIPs, all of them if none is named.
    """
    nodes = {
        f"leviathan{number}": Node(
            f"leviathan{number}",
            tuple(f"{lan}1{number}" for lan in (("2001:db8::", "10.0.0.") if over_ipv6 else ("10.0.0.", "2001:db8::"))),
        )
        for number in (1, 2, 3)
    }
    target = Target(name="web", address=VIP, port=80, vips=(VIP, VIP6), nodes=tuple(served_by or nodes))
    expected = Expected(nodes=nodes, targets={"web": target})
    view = RouterView.of(taken, expected)
    exercises = {
        vip: Exercise(dict.fromkeys(of_vip(view, expected, target, vip).vias or () if crossed else (), _OK))
        for vip in target.vips
    }
    standpoint = Standpoint("edge", view, None, crossed, exercises)
    around = Surroundings(dict.fromkeys(nodes, True), {})
    status = conclude(expected, target, [standpoint], around, TAKEN_AT)
    return {(path.vip, path.node or path.next_hop or ""): path for path in status.paths}


def verdicts_of(taken: Snapshot, *, crossed: bool = True, over_ipv6: bool = False) -> dict[tuple[str, str], str]:
    """The verdict of each path."""
    return {key: str(path.verdict) for key, path in paths_of(taken, crossed=crossed, over_ipv6=over_ipv6).items()}


def judged(taken: Snapshot, vip: str = VIP, served_by: Sequence[str] = ()) -> dict[str, PathStatus]:
    """The paths to one VIP, by node."""
    return {node: path for (where, node), path in paths_of(taken, served_by=served_by).items() if where == vip}


def verdicts(taken: Snapshot, vip: str = VIP) -> dict[str, str]:
    """The verdict of each path to one VIP, by node."""
    return {node: str(path.verdict) for node, path in judged(taken, vip).items()}
