"""BIRD's configuration: the speaker on every node, and the router where FRR cannot run."""

from __future__ import annotations

from typing import Final

from lab import faults
from lab.plan import AS_NUMBER, BESIDE_V4, EDGE_V4, Lab, Node, Service

_QUICK = """
  hold time 3600;
  keepalive time 30;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 2;
  error forget time 1;"""

KERNELS: Final = {"ipv4": "fib4", "ipv6": "fib6"}
# BIRD would mend what lab.withhold takes out of the kernel.
_NO_SCAN: Final = 10_000_000  # seconds


def _router_id(lab: Lab, node: Node) -> str:
    """A node that must not become the best path gets an identifier above everybody else's."""
    behind = lab.having("route_unused") if faults.sorts_last(lab) else frozenset()
    return f"10.0.1.{node.index}" if node in behind else node.v4


def _sorts_last(lab: Lab, service: Service, node: Node) -> bool:
    """Whether the path limit has to leave the node's route for this service out, and would not by itself."""
    selected = faults.expected(lab).selected[service.v4]
    return faults.sorts_last(lab) and lab.has("route_unused", node) and node not in selected


def node_config(lab: Lab, node: Node, log_file: str) -> str:
    """The node's speaker: what MetalLB would announce, in one session for both families."""
    services = [service for service in lab.services if node in faults.announcing(lab, service)]
    policy = ["bgp_path.prepend(64999);"] * 2 if lab.has("route_unused_as_path", node) else []
    policy.append("reject;" if lab.has("route_missing", node) else "accept;")
    routes4 = "".join(f"\n  route {service.v4}/32 blackhole;" for service in services)
    routes6 = "".join(f"\n  route {service.v6}/128 blackhole;" for service in services)
    behind = [service for service in services if _sorts_last(lab, service, node)]
    # set by the filter it is sent without a link-local address, by which FRR would sort the paths
    last4 = "".join(f"if net = {one.v4}/32 then bgp_next_hop = {faults.LAST_NEXT_HOP_V4}; " for one in behind)
    last6 = "".join(f"if net = {one.v6}/128 then bgp_next_hop = {faults.LAST_NEXT_HOP_V6}; " for one in behind)
    export = " ".join(policy)
    beside = "".join(_upstream(node, kind, BESIDE_V4[kind], export, export) for kind in lab.beside)
    return f"""log "{log_file}" all;
router id {_router_id(lab, node)};
debug protocols {{ states, events }};
protocol device {{ }}
protocol static vips4 {{
  ipv4;{routes4}
}}
protocol static vips6 {{
  ipv6;{routes6}
}}
{_upstream(node, "edge", EDGE_V4, last4 + export, last6 + export)}{beside}"""


def _upstream(node: Node, name: str, address: str, export4: str, export6: str) -> str:
    return f"""protocol bgp {name} {{
  local {node.v4} as {AS_NUMBER};
  neighbor {address} as {AS_NUMBER};
  direct;
  check link off;{_QUICK}
  graceful restart on;
  graceful restart time 3600;
  ipv4 {{ import none; export filter {{ {export4} }}; next hop address {node.v4}; }};
  ipv6 {{ import none; export filter {{ {export6} }}; next hop address {node.v6}; }};
}}
"""


def _neighbor(lab: Lab, node: Node) -> str:
    remote = 64999 if lab.has("session_down", node) else AS_NUMBER
    password = '\n  password "lab";' if lab.has("session_down_md5", node) else ""
    policy = "filter { reject; }" if lab.has("route_filtered", node) else "all"
    # the other daemons of the machine listen on addresses of their own
    bind = "\n  strict bind yes;" if lab.beside else ""
    # with a table of what was received, a new policy needs no route refresh, which takes seconds
    channel = f"import table on; import keep filtered on; import {policy}; export none;"
    return f"""protocol bgp {node.name} {{
  local {EDGE_V4} as {AS_NUMBER};
  neighbor {node.v4} as {remote};
  direct;{bind}
  check link off;{password}{_QUICK}
  graceful restart aware;
  ipv4 {{ {channel} }};
  ipv6 {{ {channel} }};
}}
"""


def router_config(lab: Lab, log_file: str) -> str:
    limit = faults.maximum_paths(lab)
    kernels = "".join(
        f"""protocol kernel {kernel} {{
  merge paths on limit {limit};
  scan time {_NO_SCAN};
  {family} {{ import none; export filter {{ if source = RTS_BGP then accept; reject; }}; }};
}}
"""
        for family, kernel in KERNELS.items()
    )
    neighbors = "".join(_neighbor(lab, node) for node in lab.nodes if not lab.has("neighbor_missing", node))
    return f"""log "{log_file}" all;
router id {EDGE_V4};
debug protocols {{ states, events }};
protocol device {{ }}
protocol direct {{ ipv4; ipv6; }}
{kernels}{neighbors}"""
