"""What one round of probes against an endpoint needs from outside, and what it came to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from exporter.pathmap import Basis
from exporter.steering import Choice
from exporter.verdicts import PathResult, Sweep
from probes.model import Outcome
from probes.ports import Source


class Senses(Protocol):
    """What a round needs from outside: time, one probe, the node that an answer names, the oracle, and traces."""

    def now(self) -> float: ...

    async def probe(self, source: Source) -> Outcome: ...

    def named(self, outcome: Outcome) -> str | None: ...

    async def ask_oracle(self, sources: Sequence[Source]) -> Mapping[Source, str]: ...

    async def addresses(self, sources: Sequence[Source]) -> Mapping[Source, str]: ...

    async def trace(self, sources: Sequence[Source]) -> Mapping[Source, str]: ...

    async def pause(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """One probe: the path that it was meant for, the one that its answer named, and how it ended."""

    source: Source
    meant: str | None
    named: str | None
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to, by `via`. `no_flow` says for each path without a result why it has none."""

    basis: Basis
    started: float
    ended: float
    choice: Choice
    results: Mapping[str, PathResult]
    no_flow: Mapping[str, str]
    sent: tuple[Sent, ...]
    oracle_checks: tuple[bool, ...] = ()
    memory_checks: tuple[bool, ...] = ()
    segment_checks: tuple[bool, ...] = ()
    sweep: Sweep | None = None

    def without(self, vias: Collection[str], why: str) -> Round:
        """The same round with nothing to say of some paths."""
        if not vias:
            return self
        kept = {via: found for via, found in self.results.items() if via not in vias}
        return replace(self, results=kept, no_flow={**self.no_flow, **dict.fromkeys(vias, why)})


def result(sent: Sequence[Sent], choice: Choice, now: float) -> PathResult:
    """What a path's probes (at least one) came to. Up if any flow of it succeeded: a path is down only when
    its repeated probe failed too.
    """
    telling = next((one for one in reversed(sent) if one.outcome.success), sent[-1])
    outcome = telling.outcome
    counted = [one.outcome.facts.tcp.retransmits for one in sent if one.outcome.facts.tcp is not None]
    return PathResult(
        at=now,
        success=outcome.success,
        failure=outcome.failure,
        detail=outcome.detail,
        duration_seconds=outcome.duration_seconds,
        method=choice.method,
        confidence=1.0 if telling.named is not None else choice.confidence,
        connected=outcome.connected,
        source_ports=tuple(dict.fromkeys(one.outcome.flow.source_port for one in sent)),
        phases=outcome.phases,
        probes=len(sent),
        failures=tuple(one.outcome.failure for one in sent if one.outcome.failure is not None),
        facts=outcome.facts,
        retransmits=sum(counted) if counted else None,
    )
