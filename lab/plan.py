"""Names and addresses of a rehearsal network: arithmetic only, nothing here touches the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Literal, NamedTuple

AS_NUMBER: Final = 64512
EDGE_V4: Final = "10.0.0.1"
EDGE_V6: Final = "2001:db8:10::1"
EDGE_WAN_V4: Final = "198.51.100.1"
EDGE_WAN_V6: Final = "2001:db8:198::1"
PROBER_V4: Final = "198.51.100.10"
PROBER_V6: Final = "2001:db8:198::10"
# For routers that hash only addresses; the kernel never chooses them by itself.
PROBER_MORE_V4: Final = tuple(f"198.51.100.{number}" for number in range(101, 131))
PROBER_MORE_V6: Final = tuple(f"2001:db8:198::{number}" for number in range(101, 131))
PROBER_LAN_V4: Final = "10.0.0.2"
PROBER_LAN_V6: Final = "2001:db8:10::2"
TRANSIT_V4: Final = "198.51.100.254"
TRANSIT_V6: Final = "2001:db8:198::254"
TRANSIT_EDGE_V4: Final = "192.0.2.1"
TRANSIT_EDGE_V6: Final = "2001:db8:192::1"
EDGE_TRANSIT_V4: Final = "192.0.2.2"
EDGE_TRANSIT_V6: Final = "2001:db8:192::2"
MAX_NODES: Final = 200

RouterKind = Literal["frr", "bird"]
# BGP daemons that stand beside the router, on the same machine: they hold tables and forward nothing.
BesideKind = Literal["gobgp", "openbgpd"]
BESIDE: Final[tuple[BesideKind, ...]] = ("gobgp", "openbgpd")
BESIDE_V4: Final[dict[BesideKind, str]] = {"gobgp": "10.0.0.3", "openbgpd": "10.0.0.4"}
HashMode = Literal["five-tuple", "addresses", "random"]
HASH_MODES: Final[tuple[HashMode, ...]] = ("five-tuple", "addresses", "random")
ROLE: Final = r"(?:prober|transit|edge|lan|leviathan\d+(?:-pod)?)"


class LabError(Exception):
    """What a person can act on: the message is complete and is shown as it is."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One cluster machine; `index` counts from 1."""

    index: int

    @property
    def name(self) -> str:
        return f"leviathan{self.index}"

    @property
    def v4(self) -> str:
        return f"10.0.0.{10 + self.index}"

    @property
    def v6(self) -> str:
        return f"2001:db8:10::{10 + self.index}"

    @property
    def mac(self) -> str:
        return f"02:ec:00:00:00:{self.index:02x}"

    @property
    def link_local(self) -> str:
        """The address that the kernel derives from `mac`: a FIB names IPv6 next hops by it."""
        return str(IPv6Address(f"fe80::ec:ff:fe00:{self.index:x}"))

    @property
    def pod_v4(self) -> str:
        return f"10.42.{self.index}.2"

    @property
    def pod_v6(self) -> str:
        return f"2001:db8:42:{self.index}::2"

    @property
    def pod_gateway_v4(self) -> str:
        return f"10.42.{self.index}.1"

    @property
    def pod_gateway_v6(self) -> str:
        return f"2001:db8:42:{self.index}::1"


class Fault(NamedTuple):
    """A fault on one node."""

    kind: str
    node: int


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    v4: str
    v6: str
    port: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that decides what the network looks like: equal labs have equal configuration."""

    name: str
    size: int = 3
    router: RouterKind = "frr"
    hash_mode: HashMode = "five-tuple"
    faults: frozenset[Fault] = frozenset()
    transit: bool = False  # one more router between prober and edge
    beside_nodes: bool = False  # the prober has an interface on the nodes' LAN as well
    beside: tuple[BesideKind, ...] = ()  # daemons with which the nodes peer as well

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(index) for index in range(1, self.size + 1))

    @property
    def services(self) -> tuple[Service, ...]:
        gitea = Node(min(3, self.size))
        return (
            Service("web", "203.0.113.10", "2001:db8:203::10", 80, self.nodes),
            Service("gitea-ssh", "203.0.113.22", "2001:db8:203::22", 22, (gitea,)),
        )

    def has(self, kind: str, node: Node) -> bool:
        return Fault(kind, node.index) in self.faults

    def having(self, *kinds: str) -> frozenset[Node]:
        return frozenset(Node(fault.node) for fault in self.faults if fault.kind in kinds)

    def namespace(self, role: str) -> str:
        return f"ecmplab-{self.name}-{role}"

    def node_namespace(self, node: Node) -> str:
        return self.namespace(node.name)

    def pod_namespace(self, node: Node) -> str:
        return self.namespace(f"{node.name}-pod")

    @property
    def namespaces(self) -> tuple[str, ...]:
        roles = ("prober", "transit", "edge", "lan") if self.transit else ("prober", "edge", "lan")
        fixed = [self.namespace(role) for role in roles]
        per_node = [name for node in self.nodes for name in (self.node_namespace(node), self.pod_namespace(node))]
        return (*fixed, *per_node)


def check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,16}", name):
        msg = f"lab name {name!r}: use 1 to 16 of a-z, 0-9 and -"
        raise LabError(msg)
    return name


def check_size(size: int) -> int:
    if not 1 <= size <= MAX_NODES:
        msg = f"{size} nodes: a lab has 1 to {MAX_NODES}"
        raise LabError(msg)
    return size


def lab_of_namespace(namespace: str) -> str | None:
    """The lab's name if a lab made this namespace."""
    match = re.fullmatch(rf"ecmplab-([a-z0-9-]{{1,16}}?)-{ROLE}", namespace)
    return match[1] if match else None
