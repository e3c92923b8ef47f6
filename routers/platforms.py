"""Every platform that can be read: a new one is one file and one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from routers import bird, edgeos, frr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from routers.model import Answer, Command, Query, RemedyFacts, RemedyKind, Snapshot


class Platform(Protocol):
    """What a platform's module offers: pure functions, no I/O and no clock."""

    HAS_LINUX_ORACLE: bool
    """`routers.linux` can ask this platform's kernel which next hop a flow takes."""

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


PLATFORMS: Mapping[str, Platform] = MappingProxyType({"frr": frr, "bird": bird})

REMEDIES: Mapping[str, Callable[[RemedyKind, RemedyFacts], str | None]] = MappingProxyType(
    {"frr": frr.remedy, "bird": bird.remedy, "edgeos": edgeos.remedy}
)
"""Platforms whose syntax is known, those that cannot be read yet included."""
