"""EdgeOS (EdgeRouter): what to type to mend a fault, in configuration mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.model import IPV4, RemedyKind

if TYPE_CHECKING:
    from routers.model import RemedyFacts


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from `configure` to `save`; None where EdgeOS does not know the fault."""
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    bgp = f"protocols bgp {local}"
    neighbor = f"{bgp} neighbor {facts.neighbor}"
    in_family = neighbor if facts.family == IPV4 else f"{neighbor} address-family ipv6-unicast"
    peering = "ibgp" if facts.internal else "ebgp"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"set {neighbor} remote-as {remote}",
            *((f"set {in_family}",) if facts.family != IPV4 else ()),
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"delete {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"set {neighbor} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f"set {neighbor} password <the password set on the node>",),
        RemedyKind.ROUTE_FILTERED: (f"delete {in_family} route-map import",),
        RemedyKind.PATH_LIMIT: (f"set {bgp} maximum-paths {peering} {facts.paths or '<number of nodes>'}",),
        RemedyKind.AS_PATH_RELAX: (f"set {bgp} parameters bestpath as-path multipath-relax",),
    }
    if kind not in lines:
        return None
    return "\n".join(("configure", *lines[kind], "commit ; save"))
