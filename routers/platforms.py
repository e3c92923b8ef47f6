"""Every platform that can be read: a new one is one file and one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from routers import bird, edgeos, eos, frr, gobgp, iosxe, junos, nxos, openbgpd, unifi, vyos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routers.model import Answer, Command, NextHop, OracleFlow, Query, RemedyFacts, RemedyKind, Snapshot


class Oracle(Protocol):
    """Which next hop the router would give a flow: two rounds of questions and their reading; pure.

    A `NextHop` without an address names an interface, which may lead to several nodes.
    """

    def prepare(self, flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
        """What has to be known before `ask`; may be nothing. Raises ValueError for text that is no address."""
        ...

    def ask(self, flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
        """The question about each flow. Raises ValueError if the answers to `prepare` allow none."""
        ...

    def read(self, flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> Mapping[OracleFlow, NextHop]:
        """The next hop of each flow that was answered. Raises ValueError for answers that cannot be trusted."""
        ...


class Platform(Protocol):
    """What a platform's module offers: pure functions, no I/O and no clock."""

    TRANSPORTS: frozenset[str]
    """Those that reach it: "ssh", "exec", "https"."""

    HAS_SHELL: bool
    """It has a POSIX shell, so that all questions can go there together."""

    ORACLE: Oracle | None
    """How to ask it which next hop a flow takes; None: it does not tell."""

    def ask(self, query: Query) -> tuple[Command, ...]:
        """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
        ...

    def follow_up(self, query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
        """Further commands that the answers to the first ones call for; `read` gets their answers as well."""
        ...

    def read(self, router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
        """The snapshot as far as the answers (by command name) can be read; never raises.

        `taken_at` is seconds since the epoch. What could not be read stands in `Snapshot.problems`.
        """
        ...

    def remedy(self, kind: RemedyKind, facts: RemedyFacts) -> str | None:
        """The commands that mend a fault in the platform's own syntax, None when no setting mends it."""
        ...


PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        "bird": bird,
        "edgeos": edgeos,
        "eos": eos,
        "frr": frr,
        "gobgp": gobgp,
        "iosxe": iosxe,
        "junos": junos,
        "nxos": nxos,
        "openbgpd": openbgpd,
        "unifi": unifi,
        "vyos": vyos,
    }
)
