"""Who forwards a flow: asks the hop at a distance from here (being built)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from probes.model import Flow


class Seen(StrEnum):
    HOP = "hop"
    DESTINATION = "destination"
    SILENCE = "silence"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class HopAnswer:
    seen: Seen
    address: str | None = None
    detail: str = ""


class Scout:
    def __init__(self) -> None:
        self.why_not = "not built yet"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def can_trace(self, family: int) -> bool:
        del family
        return False

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        del flow, hops, seconds
        return HopAnswer(Seen.LOCAL)

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        del flow, hops, seconds
        return HopAnswer(Seen.LOCAL)
