"""One round in the making: what was sent so far, and the ways to send more. The methods of steering use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from exporter.pathmap import Basis, PathMap
from exporter.rounds import Round, Senses, Sent, result
from exporter.steering import MIN_COMPARISONS, Agreement, Choice, Method
from exporter.together import each
from exporter.verdicts import PathResult, Sweep
from probes.ports import Source

_PORT_TRIES = 4  # flows tried for one probe while local ports are in conflict
_CALM_SECONDS = 1.0  # in which a change of next hops has passed through router and kernel
MOVED = "its flows moved while they were probed"


class Run:
    """What one round has sent and seen. `checks` are what answers said of the method's predictions."""

    def __init__(
        self, known: PathMap, basis: Basis, choice: Choice, senses: Senses, failing_before: frozenset[str]
    ) -> None:
        self.map = known
        self.basis = basis
        self.vias = [via for via, _ in basis]
        self.choice = choice
        self.senses = senses
        self.started = senses.now()
        self.sent: list[Sent] = []
        self.checks: list[bool] = []
        self.no_flow: dict[str, str] = {}
        self.sweep: Sweep | None = None
        self.moved = False  # next hops changed and changed back while the round ran
        self._failing_before = failing_before

    async def probe_paths(self, vias: Iterable[str]) -> None:
        await each(self._probe_path, vias)

    async def _probe_path(self, via: str) -> None:
        """One probe, and a second one at once on another flow if the first one fails."""
        used: list[Source] = []
        for _ in range(2):
            sent = await self._send(via, used)
            if sent is None or sent.outcome.success:
                return

    async def _send(self, via: str, used: list[Source]) -> Sent | None:
        """Probe on a flow of this path; on another one while ports conflict or the answer names another node."""
        for _ in range(_PORT_TRIES):
            source = self.map.pick(via, self.senses.now(), used)
            if source is None and used:
                source = self.map.pick(via, self.senses.now())
            if source is None:
                return None
            used.append(source)
            sent = await self.probe(source, via)
            if sent is None:
                continue
            if sent.named is None or sent.named == via:
                return sent
        return None

    async def probe(self, source: Source, meant: str | None) -> Sent | None:
        """Send, and learn from the answer; None if this machine could not send."""
        self.map.touch(source, self.senses.now())
        outcome = await self.senses.probe(source)
        if outcome.failure is not None and outcome.failure.local:
            if meant is not None:
                self.no_flow[meant] = f"this machine could not send a probe: {outcome.detail}"
            return None
        named = self.senses.named(outcome)
        sent = Sent(source, meant, named, outcome)
        self.sent.append(sent)
        if named is None:
            return sent
        if meant is not None and (self.choice.method is not Method.IDENTITY or named != meant or self._several()):
            self.checks.append(named == meant)
        if named in self.vias and self.choice.method is not Method.SINGLE:
            self.map.learn(source, named)
        elif named != meant:
            self.map.forget(source)
            if meant is not None:
                self.no_flow[meant] = f"flows that should take it were answered by {named}"
        return sent

    def _several(self) -> bool:
        """Where a single next hop answers, no answer could ever name another one: it proves no memory."""
        return sum(bool(self.map.sources(via)) for via in self.vias) > 1

    async def look_again(
        self,
        proof: Agreement,
        predict: Callable[[Sequence[Source]], Awaitable[Mapping[Source, str]]] | None,
        begin_anew: Callable[[], None],
    ) -> None:
        """A surprise may be a change of next hops that came and went between two polls: flows were rehashed.

        So a path that fails for the first time is probed once more a moment later. And where what was proven
        of the method is contradicted, the same flows are predicted (None: as they answered) and sent again: if
        they agree now, the contradictions are no evidence, nor is anything that failed.
        """
        failing = self.failing() - self._failing_before
        contradicted = proof.proven() and not all(self.checks)
        if not (failing or contradicted):
            return
        await self.senses.pause(_CALM_SECONDS)
        await each(lambda via: self._send(via, []), failing)
        if not (proof.proven() and not all(self.checks)):
            return
        believed: Mapping[Source, str] = {sent.source: sent.named for sent in self.sent if sent.named is not None}
        if predict is not None:
            believed = dict(await predict(list(believed)))
        doubted = len(self.checks)
        for _ in range(-(-MIN_COMPARISONS // len(believed)) if believed else 0):
            await each(lambda flow: self.probe(*flow), list(believed.items()))
        if self.checks[doubted:] and all(self.checks[doubted:]):
            del self.checks[:doubted]
            self.moved = True
            begin_anew()

    def failing(self) -> frozenset[str]:
        """The paths on which every probe of this round failed."""
        good = {sent.named or sent.meant for sent in self.sent if sent.outcome.success}
        return frozenset(sent.meant for sent in self.sent if sent.meant is not None) - good

    def doubted(self, results: Mapping[str, PathResult]) -> dict[str, list[Sent]]:
        """By path: probes by which it fails, or works though it failed, that did not say themselves where they went.

        What failed and works a second later may go elsewhere by then: Linux skips a next hop of a nexthop group
        while the router gets no answer from it (net/ipv4/nexthop.c, nexthop_is_good_nh), though the FIB lists it.
        """
        failed = {sent.meant for sent in self.sent if not sent.outcome.success} | self._failing_before
        wanted = {via: found.success for via, found in results.items() if not found.success or via in failed}
        found: dict[str, list[Sent]] = {}
        for sent in self.sent:
            via = sent.meant
            if via is not None and sent.named is None and wanted.get(via) is sent.outcome.success:
                found.setdefault(via, []).append(sent)
        return found

    def results(self, *, believed: bool = True) -> dict[str, PathResult]:
        """What the paths' probes came to, by via. A failure counts for the path that its flow is `believed` to take."""
        by_via: dict[str, list[Sent]] = {}
        for sent in self.sent:
            if sent.named is not None:
                by_via.setdefault(sent.named, []).append(sent)
            elif sent.meant is None:
                continue
            elif self.moved:
                self.no_flow[sent.meant] = MOVED
            elif believed and (
                self.choice.method is not Method.IDENTITY or sent.source in self.map.sources(sent.meant)
            ):
                by_via.setdefault(sent.meant, []).append(sent)
        now = self.senses.now()
        return {via: result(found, self.choice, now) for via, found in by_via.items() if via in self.vias}

    def answers(self) -> dict[Source, str]:
        """The flows whose answer named the next hop that they took, in this round."""
        return {sent.source: sent.named for sent in self.sent if sent.named is not None}

    def was_sent(self, source: Source) -> bool:
        return any(sent.source == source for sent in self.sent)

    def round(
        self,
        results: Mapping[str, PathResult],
        *,
        oracle_checks: Sequence[bool] = (),
        memory_checks: Sequence[bool] = (),
        segment_checks: Sequence[bool] = (),
    ) -> Round:
        """The round as it came out."""
        why = self.choice.why_not_stronger
        return Round(
            basis=self.basis,
            started=self.started,
            ended=self.senses.now(),
            choice=self.choice,
            results=results,
            no_flow={
                via: self.no_flow.get(via) or why or "no flow is known to take it"
                for via in self.vias
                if via not in results
            },
            sent=tuple(self.sent),
            oracle_checks=tuple(oracle_checks),
            memory_checks=tuple(memory_checks),
            segment_checks=tuple(segment_checks),
            sweep=self.sweep,
        )
