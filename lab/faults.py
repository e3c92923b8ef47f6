"""The faults that can be injected, and what they leave of sessions and forwarding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from lab.plan import Fault, HashMode, Lab, LabError, Node, Service

DEFAULT_MAXIMUM_PATHS: Final = 32
# Linux forwards by larger IPv6 routes and cannot list them: the answer ends there without an error.
LISTABLE_NEXT_HOPS_V6: Final = 100
# Where a limit has to leave out a node that does not have the highest address, that node announces this
# next hop: routers fill the limit in the order of next hop addresses.
LAST_NEXT_HOP_V4: Final = "10.0.0.254"
LAST_NEXT_HOP_V6: Final = "2001:db8:10::254"

KINDS: Final[dict[str, str]] = {
    "neighbor_missing": "the router has no neighbor for the node",
    "session_down": "the router expects another AS number from the node",
    "session_down_md5": "the router wants an MD5 password that the node does not have",
    "route_missing": "the node's session is Established and announces nothing",
    "route_filtered": "the router's import policy drops what the node announces",
    "route_unused": "the router's path limit leaves the node out",
    "route_unused_as_path": "the node's routes have a longer AS path",
    "route_not_installed": "BGP selects the node's routes, the kernel does not get them",
    "stale_route": "the node's speaker was killed; graceful restart keeps its routes",
    "node_down": "the node's link is down; the router has not noticed yet",
    "blackhole": "the node silently drops packets for the VIPs",
    "service_down": "the node's pod refuses connections",
    "no_icmp": "the node answers no ping and sends no ICMP errors; it forwards as before",
    "unexpected_next_hop": "the node also announces a VIP that it has no pod for",
}
HASH_FAULTS: Final[dict[str, HashMode]] = {"hash_addresses": "addresses", "hash_random": "random"}
NO_SESSION: Final = ("neighbor_missing", "session_down", "session_down_md5")
# These need routes that were learned before, so they are applied after all others, in this order.
LATE: Final = ("stale_route", "node_down")


def all_names() -> list[str]:
    return [*KINDS, *HASH_FAULTS]


def check_kind(kind: str) -> str:
    if kind not in KINDS and kind not in HASH_FAULTS:
        msg = f"unknown fault {kind!r}; there are: {', '.join(all_names())}"
        raise LabError(msg)
    return kind


def find_node(lab: Lab, name: str) -> Node:
    for node in lab.nodes:
        if node.name == name:
            return node
    msg = f"unknown node {name!r}; there are: {', '.join(node.name for node in lab.nodes)}"
    raise LabError(msg)


def default_node(lab: Lab, kind: str) -> Node:
    return Node(1) if kind == "unexpected_next_hop" else Node(min(3, lab.size))


def with_fault(lab: Lab, kind: str, node_name: str | None = None) -> Lab:
    """The lab with one fault more. LabError when the fault or node does not exist or cannot be had."""
    check_kind(kind)
    if kind in HASH_FAULTS:
        if node_name is not None:
            msg = f"{kind} is a property of the router and takes no node"
            raise LabError(msg)
        return replace(lab, hash_mode=HASH_FAULTS[kind])
    node = default_node(lab, kind) if node_name is None else find_node(lab, node_name)
    changed = replace(lab, faults=lab.faults | {Fault(kind, node.index)})
    _check_possible(changed, kind, node)
    return changed


def _check_possible(lab: Lab, kind: str, node: Node) -> None:
    if kind in {"route_unused", "route_unused_as_path", "unexpected_next_hop"} and lab.size == 1:
        msg = f"{kind} needs a lab of two nodes or more"
        raise LabError(msg)
    if kind in {"route_unused", "route_unused_as_path"} and len(lab.having(kind)) == lab.size:
        msg = f"{kind} on every node: one has to stay in use"
        raise LabError(msg)
    if kind == "unexpected_next_hop" and all(node in service.nodes for service in lab.services):
        others = [other.name for other in lab.nodes if other != node]
        msg = f"{node.name} serves every VIP already; choose one of: {', '.join(others)}"
        raise LabError(msg)


def without_fault(lab: Lab, kind: str | None, node_name: str | None = None) -> Lab:
    """The lab with a fault less: on one node, on every node, or (kind None) no fault at all."""
    if kind is None:
        return replace(lab, faults=frozenset(), hash_mode="five-tuple")
    check_kind(kind)
    if kind in HASH_FAULTS:
        mode = "five-tuple" if lab.hash_mode == HASH_FAULTS[kind] else lab.hash_mode
        return replace(lab, hash_mode=mode)
    node = None if node_name is None else find_node(lab, node_name)
    keep = {f for f in lab.faults if f.kind != kind or (node is not None and f.node != node.index)}
    return replace(lab, faults=frozenset(keep))


def stages(old: Lab, new: Lab) -> list[Lab]:
    """The labs to pass through from `old` to `new`.

    A node whose speaker is dead or whose link is down cannot learn or lose routes: where such a node's
    faults change, it is first brought back, and broken again at the end.
    """
    changed = {fault.node for fault in old.faults ^ new.faults}
    late = frozenset(fault for fault in new.faults if fault.kind in LATE and fault.node in changed)
    steps = [replace(new, faults=new.faults - late)]
    for kind in LATE:
        faults = steps[-1].faults | {fault for fault in late if fault.kind == kind}
        if faults != steps[-1].faults:
            steps.append(replace(new, faults=faults))
    return steps


def announcing(lab: Lab, service: Service) -> frozenset[Node]:
    return frozenset(service.nodes) | lab.having("unexpected_next_hop")


def learned(lab: Lab, service: Service) -> frozenset[Node]:
    """The nodes whose route for the service the router holds and its policy accepts."""
    return announcing(lab, service) - lab.having(*NO_SESSION, "route_missing", "route_filtered")


def equal_paths(lab: Lab, service: Service) -> frozenset[Node]:
    """Of the learned routes, those that no attribute sets back."""
    everything = learned(lab, service)
    return everything - lab.having("route_unused_as_path") or everything


def maximum_paths(lab: Lab) -> int:
    unused = lab.having("route_unused")
    if not unused:
        return max(DEFAULT_MAXIMUM_PATHS, lab.size)
    return max(1, len(equal_paths(lab, lab.services[0]) - unused))


def sorts_last(lab: Lab) -> bool:
    """Whether the nodes that a path limit must leave out need an artificial next hop for it."""
    unused = lab.having("route_unused")
    others = equal_paths(lab, lab.services[0]) - unused
    return bool(unused and others) and min(unused) < max(others)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the router shows once a lab's faults have taken effect."""

    established: frozenset[Node]
    routes: dict[str, frozenset[Node]]  # VIP to the nodes whose route BGP holds and accepts
    selected: dict[str, frozenset[Node]]  # VIP to the nodes that BGP wants its route to point at
    next_hops: dict[str, frozenset[Node]]  # VIP to the nodes that its route points at


def expected(lab: Lab) -> Expected:
    established = frozenset(lab.nodes) - lab.having(*NO_SESSION, "stale_route")
    limit = maximum_paths(lab)
    unused = lab.having("route_unused")
    routes: dict[str, frozenset[Node]] = {}
    selected: dict[str, frozenset[Node]] = {}
    next_hops: dict[str, frozenset[Node]] = {}
    for service in lab.services:
        routes[service.v4] = routes[service.v6] = learned(lab, service)
        order = sorted(equal_paths(lab, service), key=lambda node: (node in unused, node))
        selected[service.v4] = selected[service.v6] = frozenset(order[:limit])
        used = selected[service.v4] - lab.having("route_not_installed")
        next_hops[service.v4] = used
        if lab.size <= LISTABLE_NEXT_HOPS_V6:
            next_hops[service.v6] = used
    return Expected(established, routes, selected, next_hops)
