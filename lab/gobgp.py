"""GoBGP's configuration, beside the router: it learns what the nodes announce, and nobody puts it into the kernel.

Debian's gobgpd (3.10) cannot speak with the zebra of its FRR (8.4): with the version 6 of zebra's protocol that it
takes for FRR 8 it dies of the first interface that zebra tells ("slice bounds out of range"), with that of FRR 7 no
route arrives.
"""

from __future__ import annotations

from lab.plan import AS_NUMBER, BESIDE_V4, Lab, Node

_FAMILIES = ("ipv4-unicast", "ipv6-unicast")


def _neighbor(lab: Lab, node: Node) -> str:
    remote = 64999 if lab.has("session_down", node) else AS_NUMBER
    password = '    auth-password = "lab"\n' if lab.has("session_down_md5", node) else ""
    families = "".join(
        f"""  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "{family}"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
"""
        for family in _FAMILIES
    )
    return f"""[[neighbors]]
  [neighbors.config]
    neighbor-address = "{node.v4}"
    peer-as = {remote}
{password}  [neighbors.transport.config]
    local-address = "{BESIDE_V4["gobgp"]}"
  [neighbors.timers.config]
    connect-retry = 1
    hold-time = 3600
    keepalive-interval = 30
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 3600
{families}"""


def _policy(nodes: list[Node]) -> str:
    """An import policy that drops what these nodes announce; without nodes it drops what nobody sends."""
    addresses = ", ".join(f'"{node.v4}/32"' for node in nodes) or '"192.0.2.255/32"'
    return f"""[[defined-sets.neighbor-sets]]
  neighbor-set-name = "dropped"
  neighbor-info-list = [{addresses}]
[[policy-definitions]]
  name = "import"
  [[policy-definitions.statements]]
    name = "drop"
    [policy-definitions.statements.conditions.match-neighbor-set]
      neighbor-set = "dropped"
    [policy-definitions.statements.actions]
      route-disposition = "reject-route"
"""


def config(lab: Lab) -> str:
    """The content of gobgpd.toml."""
    neighbors = "".join(_neighbor(lab, node) for node in lab.nodes if not lab.has("neighbor_missing", node))
    return f"""[global.config]
  as = {AS_NUMBER}
  router-id = "{BESIDE_V4["gobgp"]}"
  local-address-list = ["{BESIDE_V4["gobgp"]}"]
[global.use-multiple-paths.config]
  enabled = true
[global.apply-policy.config]
  import-policy-list = ["import"]
  default-import-policy = "accept-route"
{_policy(sorted(lab.having("route_filtered")))}{neighbors}"""
