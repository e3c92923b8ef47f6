"""What to write into gobgpd.toml, and to type, where a setting of GoBGP mends a fault. Pure.

Settings: docs/sources/configuration.md of osrg/gobgp; gobgpd reads its file again on SIGHUP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.model import RemedyKind

if TYPE_CHECKING:
    from routers.model import RemedyFacts

_LOAD = "pkill -HUP -x gobgpd"


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The lines of gobgpd.toml that mend a fault, and the command that loads them; None where no setting does."""
    neighbor = facts.neighbor
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    block = f"# in gobgpd.toml, in the [[neighbors]] block of {neighbor}"
    families = dict.fromkeys((4, facts.family)) if ":" not in neighbor else {facts.family: None}
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            "# in gobgpd.toml",
            "[[neighbors]]",
            "  [neighbors.config]",
            f'    neighbor-address = "{neighbor}"',
            f"    peer-as = {remote}",
            *((f'    vrf = "{facts.vrf}"',) if facts.vrf else ()),
            *(
                line
                for family in families
                for line in (
                    "  [[neighbors.afi-safis]]",
                    "    [neighbors.afi-safis.config]",
                    f'      afi-safi-name = "ipv{family}-unicast"',
                )
            ),
            _LOAD,
        ),
        RemedyKind.SESSION_SHUTDOWN: (
            block,
            "[neighbors.config]",
            "  admin-down = false",
            f"gobgp neighbor {neighbor} enable",
        ),
        RemedyKind.SESSION_WRONG_AS: (block, "[neighbors.config]", f"  peer-as = {remote}", _LOAD),
        RemedyKind.SESSION_PASSWORD: (
            block,
            "[neighbors.config]",
            '  auth-password = "<the password set on the node>"',
            _LOAD,
        ),
        RemedyKind.ROUTE_FILTERED: (
            "# the import policy in force, from gobgpd.toml's [global.apply-policy.config]",
            "gobgp global policy import",
            "gobgp policy statement",
            "# take the statement that rejects the route out of gobgpd.toml, or to try it",
            "gobgp global policy import del <name of the policy>",
            f"gobgp neighbor {neighbor} softresetin",
        ),
        RemedyKind.PATH_LIMIT: (
            "# in gobgpd.toml; it is read when gobgpd starts",
            "[global.use-multiple-paths.config]",
            "  enabled = true",
            "systemctl restart gobgpd",
        ),
    }
    return "\n".join(lines[kind]) if kind in lines else None
