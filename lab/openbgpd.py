"""OpenBGPD's configuration, beside the router: its portable build learns routes, and puts none into a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.plan import AS_NUMBER, BESIDE_V4, Lab, Node

if TYPE_CHECKING:
    from pathlib import Path


def _neighbor(lab: Lab, node: Node) -> str:
    remote = 64999 if lab.has("session_down", node) else AS_NUMBER
    password = '  tcp md5sig password "lab"\n' if lab.has("session_down_md5", node) else ""
    return f"""neighbor {node.v4} {{
  remote-as {remote}
  local-address {BESIDE_V4["openbgpd"]}
  announce IPv4 unicast
  announce IPv6 unicast
  holdtime 3600
{password}}}
"""


def config(lab: Lab, control: Path) -> str:
    """The content of bgpd.conf. Nothing is exported; the last filter rule that matches wins."""
    neighbors = "".join(_neighbor(lab, node) for node in lab.nodes if not lab.has("neighbor_missing", node))
    denied = "".join(f"deny from {node.v4}\n" for node in sorted(lab.having("route_filtered")))
    return f"""AS {AS_NUMBER}
router-id {BESIDE_V4["openbgpd"]}
listen on {BESIDE_V4["openbgpd"]}
socket "{control}"
connect-retry 1
{neighbors}allow from any
deny to any
{denied}"""
