"""Small worlds made by hand, for tests of the simulation itself."""

from __future__ import annotations

from typing import Any

from tests.simulation.faults import Fault
from tests.simulation.forwarding import Packet
from tests.simulation.network import Network
from tests.simulation.world import Node, Target, World

VIP = "203.0.113.1"


class Clock:
    """Seconds of virtual time, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def world(*faults: Fault, count: int = 3, identity: bool = True, **fields: Any) -> World:
    """So many nodes that all serve one target, healthy but for `faults`."""
    nodes = fields.pop("nodes", tuple(Node(f"n{number:02}", (f"10.0.0.{number}",)) for number in range(1, count + 1)))
    names = tuple(node.name for node in nodes)
    targets = fields.pop("targets", (Target("t1", VIP, 80, names, names, identity=identity),))
    return World(fields.pop("seed", 1), nodes, targets, tuple(faults), **fields)


def network(*faults: Fault, **fields: Any) -> tuple[Network, Clock]:
    clock = Clock()
    return Network(world(*faults, **fields), clock), clock


def packet(port: int, address: str = "192.0.2.1", connection: object = None, moment: float = 0.0) -> Packet:
    return Packet(address, port, VIP, 80, connection, moment)
