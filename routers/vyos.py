"""VyOS 1.3 to 1.5: FRR underneath, asked and read as such; its own release, and remedies in its own syntax.

VyOS puts its users into the group frrvty (src/conf_mode/system_login.py of vyos-1x), so vtysh needs no root.
1.4 moved the AS number from the path of every BGP setting to `system-as` (vyos-1x, migration bgp 3-to-4); paths of
several next hops are set by address family since 1.3 (vyatta-cfg-quagga pull request 87).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from routers import frr
from routers.linux import oracle as linux_oracle
from routers.model import Answer, Command, RemedyFacts, RemedyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routers.model import Query, Snapshot

PLATFORM = "vyos"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_RELEASE = "release of VyOS"
_WITHOUT_SYSTEM_AS = re.compile(r"1\.[0-3](?:[.-].*)?")


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    return (*frr.ask(query), Command(_RELEASE, ("cat", "/etc/os-release", "/opt/vyatta/etc/version")))


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What FRR and its kernel may have to be asked once more."""
    return frr.follow_up(query, answers)


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`.

    `version` is VyOS's: remedies depend on it.
    """
    release = re.search(r"VyOS (\d[\w.+~-]{0,60})", answers.get(_RELEASE, Answer()).stdout)
    taken = frr.read(router, query, answers, taken_at)
    return replace(taken, platform=PLATFORM, version=release[1] if release else None)


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from `configure` to `save`; both syntaxes where the release is not known.

    None for BGP in a VRF of a release before 1.4, which cannot be configured there.
    """
    with_as = facts.version is not None and bool(_WITHOUT_SYSTEM_AS.fullmatch(facts.version))
    in_vrf = facts.vrf not in (None, "default")
    if in_vrf and with_as:
        return None
    if facts.version is None and not in_vrf:
        old = "\n".join(f"# {line}" for line in _lines(kind, facts, with_as=True))
        mend = "\n".join(("# VyOS 1.4 and later; what VyOS 1.3 needs in their place follows", *_lines(kind, facts)))
        text = f"{mend}\n{old}"
    else:
        text = "\n".join(_lines(kind, facts, with_as=with_as))
    return f"configure\n{text}\ncommit\nsave"


def _lines(kind: RemedyKind, facts: RemedyFacts, *, with_as: bool = False) -> tuple[str, ...]:
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    vrf = f"vrf name {facts.vrf} " if facts.vrf not in (None, "default") else ""
    bgp = f"protocols bgp {local}" if with_as else f"{vrf}protocols bgp"
    neighbor = f"{bgp} neighbor {facts.neighbor}"
    family = f"address-family ipv{facts.family}-unicast"
    peering = "ibgp" if facts.internal else "ebgp"
    new_instance = () if with_as or facts.local_as is not None else (f"set {bgp} system-as {local}",)
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            *new_instance,
            f"set {neighbor} remote-as {remote}",
            f"set {neighbor} {family}",
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"delete {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"set {neighbor} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f"set {neighbor} password <the password set on the node>",),
        RemedyKind.ROUTE_FILTERED: (f"delete {neighbor} {family} route-map import",),
        RemedyKind.POLICY_MISSING: (
            "set policy route-map FROM-NODES rule 10 action permit",
            f"set {neighbor} {family} route-map import FROM-NODES",
        ),
        RemedyKind.PATH_LIMIT: (f"set {bgp} {family} maximum-paths {peering} {facts.paths or '<number of nodes>'}",),
        RemedyKind.AS_PATH_RELAX: (f"set {bgp} parameters bestpath as-path multipath-relax",),
    }
    return lines[kind]
