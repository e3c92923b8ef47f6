"""What to write into bgpd.conf, and to type, where a setting of OpenBGPD mends a fault. Pure.

Settings: bgpd.conf(5), bgpctl(8). Filter rules: the last that matches wins, and what none allows is denied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.model import IPV6, RemedyKind

if TYPE_CHECKING:
    from routers.model import RemedyFacts

_LOAD = ("bgpd -n", "bgpctl reload")


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The lines of bgpd.conf that mend a fault, and the commands that load them; None where no setting does.

    Neither a path limit nor the equality of AS paths is a setting of OpenBGPD.
    """
    neighbor = facts.neighbor
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    block = f"# in /etc/bgpd.conf, in the block of neighbor {neighbor}"
    allow = ("# in /etc/bgpd.conf, below all filter rules", f"allow quick from {neighbor}", *_LOAD)
    over_v4 = facts.family == IPV6 and ":" not in neighbor
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            "# in /etc/bgpd.conf",
            f"neighbor {neighbor} {{",
            f"  remote-as {remote}",
            *(("  announce IPv4 unicast", "  announce IPv6 unicast") if over_v4 else ()),
            "}",
            f"allow from {neighbor}",
            *_LOAD,
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"{block}, take out: down", *_LOAD, f"bgpctl neighbor {neighbor} up"),
        RemedyKind.SESSION_WRONG_AS: (
            block,
            f"remote-as {remote}",
            *_LOAD,
            f"bgpctl neighbor {neighbor} clear",
        ),
        RemedyKind.SESSION_PASSWORD: (
            block,
            'tcp md5sig password "<the password set on the node>"',
            *_LOAD,
            f"bgpctl neighbor {neighbor} clear",
        ),
        RemedyKind.ROUTE_FILTERED: allow,
        RemedyKind.POLICY_MISSING: allow,
    }
    return "\n".join(lines[kind]) if kind in lines else None
