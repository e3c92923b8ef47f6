"""Packet filter rules: what kube-proxy does on a node, and the faults that drop or refuse packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lab.plan import Lab, Node


# Neighbor discovery, ICMPv6 as well, has to go on.
_NO_ICMP: Final = """\
    icmp type { echo-reply, destination-unreachable, time-exceeded, parameter-problem } drop
    icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem } drop
"""


def node_rules(lab: Lab, node: Node) -> str:
    """DNAT to the node's own pod; a VIP packet without a local endpoint is dropped (Local policy)."""
    local = [service for service in lab.services if node in service.nodes]
    dnat = "".join(
        f"    ip daddr {service.v4} tcp dport {service.port} dnat ip to {node.pod_v4}:{service.port}\n"
        f"    ip6 daddr {service.v6} tcp dport {service.port} dnat ip6 to [{node.pod_v6}]:{service.port}\n"
        for service in local
    )
    vips4 = ", ".join(service.v4 for service in lab.services)
    vips6 = ", ".join(service.v6 for service in lab.services)
    drop = f"    ip daddr {{ {vips4} }} drop\n    ip6 daddr {{ {vips6} }} drop\n"
    blackhole = drop if lab.has("blackhole", node) else ""
    mute = _NO_ICMP if lab.has("no_icmp", node) else ""
    return f"""table inet lab
delete table inet lab
table inet lab {{
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
{blackhole}  }}
  chain services {{
    type nat hook prerouting priority dstnat; policy accept;
{dnat}  }}
  chain no_local_endpoint {{
    type filter hook forward priority filter; policy accept;
{drop}  }}
  chain own_icmp {{
    type filter hook output priority filter; policy accept;
{mute}  }}
}}
"""


def pod_rules(lab: Lab, node: Node) -> str:
    ports = ", ".join(str(service.port) for service in lab.services)
    refuse = f"    tcp dport {{ {ports} }} reject with tcp reset\n" if lab.has("service_down", node) else ""
    return f"""table inet lab
delete table inet lab
table inet lab {{
  chain pod {{
    type filter hook input priority filter; policy accept;
{refuse}  }}
}}
"""
