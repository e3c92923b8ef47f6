"""The wires: namespaces, links, addresses, routes and kernel settings of a lab."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from lab import netns, nft
from lab.plan import (
    BESIDE_V4,
    EDGE_TRANSIT_V4,
    EDGE_TRANSIT_V6,
    EDGE_V4,
    EDGE_V6,
    EDGE_WAN_V4,
    EDGE_WAN_V6,
    PROBER_LAN_V4,
    PROBER_LAN_V6,
    PROBER_MORE_V4,
    PROBER_MORE_V6,
    PROBER_V4,
    PROBER_V6,
    TRANSIT_EDGE_V4,
    TRANSIT_EDGE_V6,
    TRANSIT_V4,
    TRANSIT_V6,
    HashMode,
    Lab,
    Node,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# No duplicate address detection: an address is usable at once, so nothing has to wait for it.
_EVERYWHERE: Final = {
    f"net/{name}": value
    for scope in ("all", "default")
    for name, value in {
        f"ipv4/conf/{scope}/rp_filter": "0",
        f"ipv6/conf/{scope}/disable_ipv6": "0",
        f"ipv6/conf/{scope}/accept_dad": "0",
        f"ipv6/conf/{scope}/accept_ra": "0",
        f"ipv6/conf/{scope}/router_solicitations": "0",
    }.items()
}
_FORWARDING: Final = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
# A session over a dead link has to last as long as its hold time, not as long as TCP's patience.
_PATIENT: Final = {"net/ipv4/tcp_retries2": "255"}
_FIVE_TUPLE_FIELDS: Final = "55"  # addresses, protocol and both ports
# On a veth a packet brings the hash of its sender's socket along, and policy 1 uses that: a new next hop
# for each connection, whatever its ports.
_HASH_POLICY: Final[dict[HashMode, str]] = {"five-tuple": "3", "addresses": "0", "random": "1"}


def hash_sysctls(mode: HashMode) -> dict[str, str]:
    values = {}
    for family in ("ipv4", "ipv6"):
        values[f"net/{family}/fib_multipath_hash_fields"] = _FIVE_TUPLE_FIELDS
        values[f"net/{family}/fib_multipath_hash_policy"] = _HASH_POLICY[mode]
    return values


def _links(lab: Lab) -> Iterator[str]:
    def pair(left: str, name: str, right: str, peer: str, mac: str = "") -> str:
        address = f" address {mac}" if mac else ""
        return f"link add {name} netns {left}{address} type veth peer name {peer} netns {right}"

    edge, lan = lab.namespace("edge"), lab.namespace("lan")
    if lab.transit:
        yield pair(lab.namespace("prober"), "eth0", lab.namespace("transit"), "wan0")
        yield pair(lab.namespace("transit"), "edge0", edge, "wan0")
    else:
        yield pair(lab.namespace("prober"), "eth0", edge, "wan0")
    if lab.beside_nodes:
        yield pair(lab.namespace("prober"), "lan0", lan, "prober")
    yield pair(edge, "lan0", lan, "edge")
    for node in lab.nodes:
        own = lab.node_namespace(node)
        yield pair(own, "eth0", lan, f"n{node.index}", node.mac)
        yield pair(own, "pod0", lab.pod_namespace(node), "eth0")


def _address(device: str, *addresses: str) -> list[str]:
    lines = [f"addr add {address}/24 dev {device}" for address in addresses if ":" not in address]
    return lines + [f"addr add {address}/64 dev {device} nodad" for address in addresses if ":" in address]


def _up(*devices: str) -> list[str]:
    return [f"link set {device} up" for device in devices]


def _interfaces(lab: Lab) -> Iterator[tuple[str, list[str]]]:
    """Per namespace the lines for `ip -batch`."""
    yield lab.namespace("prober"), _prober(lab)
    yield (
        lab.namespace("edge"),
        _up("lo", "wan0", "lan0")
        + (_behind_transit() if lab.transit else _address("wan0", EDGE_WAN_V4, EDGE_WAN_V6))
        + _address("lan0", EDGE_V4, EDGE_V6, *(BESIDE_V4[kind] for kind in lab.beside)),
    )
    if lab.transit:
        yield lab.namespace("transit"), _transit()
    ports = ["edge", *(["prober"] if lab.beside_nodes else []), *(f"n{node.index}" for node in lab.nodes)]
    yield (
        lab.namespace("lan"),
        [
            "link add br0 type bridge stp_state 0 mcast_snooping 0",
            *(f"link set {port} master br0 up" for port in ports),
            "link set br0 up",
        ],
    )
    for node in lab.nodes:
        yield (
            lab.node_namespace(node),
            _up("lo", "eth0", "pod0")
            + _address("eth0", node.v4, node.v6)
            + _address("pod0", node.pod_gateway_v4, node.pod_gateway_v6)
            + _routes(EDGE_V4, EDGE_V6, "eth0"),
        )
        yield (
            lab.pod_namespace(node),
            _up("lo", "eth0")
            + _address("eth0", node.pod_v4, node.pod_v6)
            + _routes(node.pod_gateway_v4, node.pod_gateway_v6, "eth0"),
        )


def _prober(lab: Lab) -> list[str]:
    lines = _up("lo", "eth0") + _address("eth0", PROBER_V4, PROBER_V6)
    # the first IPv4 address of a subnet is primary; a deprecated IPv6 address is only used when bound
    lines += _address("eth0", *PROBER_MORE_V4)
    lines += [f"{line} preferred_lft 0" for line in _address("eth0", *PROBER_MORE_V6)]
    if lab.beside_nodes:
        lines += _up("lan0") + _address("lan0", PROBER_LAN_V4, PROBER_LAN_V6)
    if not lab.transit:
        return lines + _routes(EDGE_WAN_V4, EDGE_WAN_V6, "eth0")
    return lines + _routes_to_edge(TRANSIT_V4, TRANSIT_V6, "eth0") + _routes(TRANSIT_V4, TRANSIT_V6, "eth0")


def _transit() -> list[str]:
    lines = _up("lo", "wan0", "edge0") + _address("wan0", TRANSIT_V4, TRANSIT_V6)
    lines += _address("edge0", TRANSIT_EDGE_V4, TRANSIT_EDGE_V6)
    lines += _routes_to_edge(EDGE_TRANSIT_V4, EDGE_TRANSIT_V6, "edge0")
    return lines + _routes(EDGE_TRANSIT_V4, EDGE_TRANSIT_V6, "edge0")


def _behind_transit() -> list[str]:
    """Edge keeps the address by which the prober logs in to it, though the subnet ends at transit."""
    return [
        f"addr add {EDGE_WAN_V4}/32 dev lo",
        f"addr add {EDGE_WAN_V6}/128 dev lo nodad",
        *_address("wan0", EDGE_TRANSIT_V4, EDGE_TRANSIT_V6),
        f"route add {ip_network(f'{PROBER_V4}/24', strict=False)} via {TRANSIT_EDGE_V4} dev wan0",
        f"route add {ip_network(f'{PROBER_V6}/64', strict=False)} via {TRANSIT_EDGE_V6} dev wan0",
    ]


def _routes_to_edge(v4: str, v6: str, device: str) -> list[str]:
    """Where edge's address of the prober's subnet is not on link."""
    return [f"route add {EDGE_WAN_V4} via {v4} dev {device}", f"route add {EDGE_WAN_V6} via {v6} dev {device}"]


def _routes(v4: str, v6: str, device: str) -> list[str]:
    return [f"route add default via {v4} dev {device}", f"route add default via {v6} dev {device}"]


def _sysctls(lab: Lab) -> Iterator[tuple[str, dict[str, str]]]:
    yield lab.namespace("prober"), _EVERYWHERE
    yield lab.namespace("lan"), _EVERYWHERE
    # the router's login listens on port 22 as an ordinary user where there is no root
    edge = {"net/ipv4/ip_unprivileged_port_start": "0"}
    yield lab.namespace("edge"), _EVERYWHERE | _FORWARDING | _PATIENT | edge | hash_sysctls(lab.hash_mode)
    if lab.transit:
        yield lab.namespace("transit"), _EVERYWHERE | _FORWARDING
    for node in lab.nodes:
        yield lab.node_namespace(node), _EVERYWHERE | _FORWARDING | _PATIENT
        yield lab.pod_namespace(node), _EVERYWHERE | edge


def build(lab: Lab) -> None:
    """Make every namespace, link and address; services' rules included."""
    netns.add(lab.namespaces)
    netns.in_parallel(_write_sysctls, _sysctls(lab))  # before the links: they copy the defaults
    netns.run(["ip", "-batch", "-"], text="\n".join(_links(lab)) + "\n")
    netns.in_parallel(_configure, _interfaces(lab))
    rules = [(lab.node_namespace(node), nft.node_rules(lab, node)) for node in lab.nodes]
    netns.in_parallel(_load_rules, rules)


def _write_sysctls(item: tuple[str, dict[str, str]]) -> None:
    with netns.entered(item[0]):
        netns.write_sysctls(item[1])


def _configure(item: tuple[str, list[str]]) -> None:
    netns.run_in(item[0], ["ip", "-batch", "-"], text="\n".join(item[1]) + "\n")


def _load_rules(item: tuple[str, str]) -> None:
    netns.run_in(item[0], ["nft", "-f", "-"], text=item[1])


def set_node_rules(lab: Lab, node: Node) -> None:
    _load_rules((lab.node_namespace(node), nft.node_rules(lab, node)))


def set_pod_rules(lab: Lab, node: Node) -> None:
    _load_rules((lab.pod_namespace(node), nft.pod_rules(lab, node)))


def set_link(lab: Lab, node: Node, *, up: bool) -> None:
    """The switch's side of the node's cable: the node keeps its addresses and does not hang up."""
    state = "up" if up else "down"
    netns.run_in(lab.namespace("lan"), ["ip", "link", "set", f"n{node.index}", state])


def set_hash(lab: Lab) -> None:
    _write_sysctls((lab.namespace("edge"), hash_sysctls(lab.hash_mode)))
