"""One round of probes against one endpoint (a VIP and port behind one router): every path that it can.

The round sends, it does not conclude: it returns what each path's flows came to, and what was learned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from exporter.coverage import flows_needed
from exporter.evidence import Hop
from exporter.pathmap import PathMap
from exporter.rounds import Round, Senses, Sent, result
from exporter.steering import MIN_COMPARISONS, Agreement, Choice, Means, Method, choose
from exporter.verdicts import PathResult
from probes.ports import Source

_MAP_LIFETIME = 300.0  # seconds; a router that restarts hashes anew though its next hops look the same
_PORT_TRIES = 4  # flows tried for one probe while local ports are in conflict
_LARGEST_BATCH = 1024  # flows in one question to the oracle
_MOST_QUESTIONS = 3  # to the oracle before a next hop that no flow takes is given up until the map is old
_CALM_SECONDS = 1.0  # in which a change of next hops has passed through router and kernel
_IDLE_EXPLORATION = 2  # flows a round, at least, with which learning goes on once a full search has ended
_ENOUGH_FLOWS = 4  # known flows of a path at which learning stops

_T = TypeVar("_T")


@dataclass(slots=True)
class Endpoint:
    """What is remembered of an endpoint from one round to the next."""

    map: PathMap
    memory: Agreement = field(default_factory=Agreement)
    method: Method = Method.NONE
    searched: bool = False  # a full search for missing next hops was made on this basis
    failing: frozenset[str] = frozenset()  # paths on which everything failed in the last round
    asked: int = 0  # questions to the oracle since the map was last begun
    compared_at: float = float("-inf")  # when a disbelieved oracle was last given another chance
    silent_until: float = float("-inf")  # until when an oracle that gave no answer is left alone

    async def round(self, hops: Sequence[Hop], means: Means, oracle: Agreement, senses: Senses) -> Round:
        """Probe every next hop in `hops` (at least one) on flows known to take it."""
        run = _Run(self, hops, means, oracle, senses)
        return await run.go()

    async def blind_round(self, vias: Sequence[str], senses: Senses, *, has_identity: bool) -> Round:
        """Probe without a router's word: on the flows of the last map, by identity, or the only path."""
        hops = [Hop(via, via, "") for via in vias]
        means = Means(len(vias), "auto", has_oracle=False, has_identity=has_identity, checkable=False)
        run = _Run(self, hops, means, Agreement(), senses)
        return await run.go_blind()


class _Run:
    def __init__(
        self, endpoint: Endpoint, hops: Sequence[Hop], means: Means, oracle: Agreement, senses: Senses
    ) -> None:
        self._endpoint = endpoint
        self._map = endpoint.map
        self._vias = [hop.via for hop in hops]
        self._basis = tuple((hop.via, hop.weight) for hop in hops)
        self._means = means
        self._oracle = oracle
        self._senses = senses
        self._started = senses.now()
        self._sent: list[Sent] = []
        self._oracle_checks: list[bool] = []
        self._memory_checks: list[bool] = []
        self._no_flow: dict[str, str] = {}
        if endpoint.silent_until > self._started:
            self._means = replace(means, has_oracle=False)
        self._choice = choose(self._means, oracle)
        self._moved = False  # next hops changed and changed back while the round ran

    async def go(self) -> Round:
        self._prepare()
        if self._choice.method is Method.SINGLE:
            self._learn_single()
        elif self._choice.method is Method.ORACLE:
            await self._learn_from_oracle()
            self._do_without_silent_oracle()
        if self._choice.method is not Method.NONE:
            await self._each(self._probe_path, self._vias)
            await self._look_again()
        await self._check_oracle()
        if self._choice.method is Method.IDENTITY:
            await self._search()
            await self._check_memory()
            await self._give_oracle_another_chance()
        results = self._results()
        if self._choice.method is Method.ORACLE:
            results = await self._confirmed(results)
        return self._round(results)

    async def go_blind(self) -> Round:
        known = [via for via in self._vias if self._map.sources(via)]
        method = self._endpoint.method
        if not known and len(self._vias) == 1:
            self._learn_single()
            known, method = list(self._vias), Method.SINGLE
        elif not known and self._means.has_identity:
            method = Method.IDENTITY
        self._choice = Choice(method, 0.5, "the router cannot be asked")
        await self._each(self._probe_path, known)
        if method is Method.IDENTITY:
            await self._search()
        return self._round(self._results())

    def _prepare(self) -> None:
        endpoint = self._endpoint
        if self._map.rebase(self._basis) or endpoint.method is not self._choice.method:
            self._begin_anew()
        endpoint.method = self._choice.method

    def _learn_single(self) -> None:
        missing = self._map.limit - len(self._map.sources(self._vias[0]))
        for source in self._map.fresh(missing, self._started) if missing > 0 else ():
            self._map.learn(source, self._vias[0])

    async def _learn_from_oracle(self) -> None:
        """Ask about as many flows as should give every next hop its share; now and then ask about all anew."""
        expired = self._senses.now() - self._map.learned_at > _MAP_LIFETIME
        if expired:
            self._endpoint.asked = 0
        while self._endpoint.asked < _MOST_QUESTIONS and (expired or self._thin()):
            known = [source for via in self._vias for source in self._map.sources(via)] if expired else []
            count = min(_LARGEST_BATCH, 2 * self._map.limit * len(self._vias) + flows_needed(len(self._vias)))
            answers = await self._senses.ask_oracle([*known, *self._map.fresh(count, self._started)])
            if not answers:
                break
            if expired:
                self._map.forget_all()
                self._map.learned_at = self._senses.now()
            for source, via in answers.items():
                self._map.learn(source, via)
            self._endpoint.asked += 1
            expired = False
        for via in self._vias:
            if not self._map.sources(via):
                self._no_flow[via] = (
                    "of all flows that the router was asked about none takes it; "
                    "if it hashes on addresses only, give source_addresses"
                )

    def _do_without_silent_oracle(self) -> None:
        if any(self._map.sources(via) for via in self._vias):
            return
        self._endpoint.silent_until = self._senses.now() + _MAP_LIFETIME
        self._means = replace(self._means, has_oracle=False)
        self._choice = choose(self._means, self._oracle)
        self._endpoint.method = self._choice.method
        if self._choice.method is not Method.NONE:
            self._no_flow.clear()

    def _thin(self) -> bool:
        return any(len(self._map.sources(via)) < max(2, self._map.limit // 2) for via in self._vias)

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
            source = self._map.pick(via, self._senses.now(), used)
            if source is None and used:
                source = self._map.pick(via, self._senses.now())
            if source is None:
                return None
            used.append(source)
            sent = await self._probe(source, via)
            if sent is None:
                continue
            if sent.named is None or sent.named == via:
                return sent
        return None

    async def _probe(self, source: Source, meant: str | None) -> Sent | None:
        """Send, and learn from the answer; None if this machine could not send."""
        self._map.touch(source, self._senses.now())
        outcome = await self._senses.probe(source)
        if outcome.failure is not None and outcome.failure.local:
            if meant is not None:
                self._no_flow[meant] = f"this machine could not send a probe: {outcome.detail}"
            return None
        named = self._senses.named(outcome)
        sent = Sent(source, meant, named, outcome)
        self._sent.append(sent)
        if named is None:
            return sent
        if meant is not None:
            self._compare(named == meant)
        if named in self._vias and self._choice.method is not Method.SINGLE:
            self._map.learn(source, named)
        elif named != meant:
            self._map.forget(source)
            if meant is not None:
                self._no_flow[meant] = f"flows that should take it were answered by {named}"
        return sent

    def _compare(self, agrees: bool) -> None:
        if self._choice.method is Method.ORACLE:
            self._oracle_checks.append(agrees)
        elif self._choice.method is Method.IDENTITY and (not agrees or self._several_answer()):
            self._memory_checks.append(agrees)

    def _several_answer(self) -> bool:
        """Where a single next hop answers, no answer could ever name another one: it proves no memory."""
        return sum(bool(self._map.sources(via)) for via in self._vias) > 1

    async def _look_again(self) -> None:
        """A surprise may be a change of next hops that came and went between two polls: flows were rehashed.

        So a path that fails for the first time is probed once more a moment later. And where what was proven
        of the oracle, or of memory, is contradicted, the same flows are sent again: if they agree now, the
        contradictions are no evidence, nor is anything that failed.
        """
        checks, proof = self._oracle_checks, self._oracle
        if self._choice.method is Method.IDENTITY:
            checks, proof = self._memory_checks, self._endpoint.memory
        failing = self._failing() - self._endpoint.failing
        if self._choice.method is Method.SINGLE or not (failing or (proof.proven() and not all(checks))):
            return
        await self._senses.pause(_CALM_SECONDS)
        await self._each(lambda via: self._send(via, []), failing)
        if proof.proven() and not all(checks):
            await self._compare_again(checks)

    async def _compare_again(self, checks: list[bool]) -> None:
        believed = {sent.source: sent.named for sent in self._sent if sent.named is not None}
        if self._choice.method is Method.ORACLE:
            believed = dict(await self._senses.ask_oracle(list(believed)))
        doubted = len(checks)
        for _ in range(-(-MIN_COMPARISONS // len(believed)) if believed else 0):
            await self._each(lambda flow: self._probe(*flow), list(believed.items()))
        if checks[doubted:] and all(checks[doubted:]):
            del checks[:doubted]
            self._moved = True
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._map.forget_all()
        self._endpoint.asked = 0
        self._endpoint.searched = False

    def _failing(self) -> frozenset[str]:
        """The paths on which every probe of this round failed."""
        good = {sent.named or sent.meant for sent in self._sent if sent.outcome.success}
        return frozenset(sent.meant for sent in self._sent if sent.meant is not None) - good

    async def _check_oracle(self) -> None:
        """Send more flows until the oracle has been compared often enough; fall back if it is wrong."""
        if self._choice.method is not Method.ORACLE or not self._means.has_identity:
            return
        if not self._oracle.proven(self._oracle_checks):
            lacking = self._oracle.lacking(self._oracle_checks)
            flows = [
                (source, via) for via in self._vias for source in self._map.sources(via) if not self._was_sent(source)
            ]
            await self._each(lambda flow: self._probe(*flow), flows[: max(0, lacking)])
        choice = choose(self._means, self._oracle, self._oracle_checks)
        if choice.method is not Method.ORACLE:
            self._map.forget_all()
            for sent in self._sent:
                if sent.named in self._vias:
                    self._map.learn(sent.source, sent.named)
            self._endpoint.method = choice.method
            self._endpoint.searched = False
        self._choice = choice

    async def _search(self) -> None:
        """Send flows whose way is unknown until every next hop has answered, or the bound is reached."""
        bound = flows_needed(len(self._vias))
        budget = max(_IDLE_EXPLORATION, len(self._vias) // 2) if self._endpoint.searched else bound
        tried = failed = 0
        failing = self._failing()
        while tried < budget and (self._wanting() or failing):
            sources = self._map.fresh(min(budget - tried, 2 * len(self._vias)), self._senses.now())
            if not sources:
                break
            before = len(self._sent)
            await self._each(lambda source: self._probe(source, None), sources)
            failed += sum(not sent.outcome.success for sent in self._sent[before:])
            tried += len(sources)
        if tried >= bound or not self._wanting():
            self._endpoint.searched = True
        # An answer from a path whose known flows fail: these take another way by now, the path is up.
        mended = failing - self._failing()
        for sent in self._sent:
            if sent.meant in mended and not sent.outcome.success:
                self._map.forget(sent.source)
        for via in self._vias:
            if not self._map.sources(via):
                self._no_flow[via] = (
                    f"no answer has named it yet ({tried} flows of unknown way were sent in the last round, "
                    f"{failed} of them failed)"
                )

    def _wanting(self) -> bool:
        enough = 1 if not self._endpoint.searched else _ENOUGH_FLOWS
        return any(len(self._map.sources(via)) < enough for via in self._vias)

    async def _check_memory(self) -> None:
        """Send known flows again until it is clear whether a flow keeps its next hop, or one did not."""
        lacking = self._endpoint.memory.lacking(self._memory_checks)
        flows = [(source, via) for via in self._vias for source in self._map.sources(via)]
        for _ in range(MIN_COMPARISONS):
            if not flows or lacking <= 0 or not all(self._memory_checks):
                return
            before = len(self._memory_checks)
            await self._each(lambda flow: self._probe(*flow), flows[:lacking])
            if len(self._memory_checks) == before:
                return
            lacking = self._endpoint.memory.lacking(self._memory_checks)

    async def _give_oracle_another_chance(self) -> None:
        """Now and then hold a disbelieved oracle against what was seen: it may have become right."""
        due = self._senses.now() - self._endpoint.compared_at > _MAP_LIFETIME
        if not (due and self._means.has_oracle and self._means.wanted == "auto"):
            return
        self._endpoint.compared_at = self._senses.now()
        seen = {source: via for via in self._vias for source in self._map.sources(via)}
        answers = await self._senses.ask_oracle(list(seen))
        self._oracle_checks += [answers[source] == via for source, via in seen.items() if source in answers]

    def _results(self) -> dict[str, PathResult]:
        keeps = self._choice.method is not Method.IDENTITY or self._endpoint.memory.proven(self._memory_checks)
        by_via: dict[str, list[Sent]] = {}
        for sent in self._sent:
            if sent.named is not None:
                by_via.setdefault(sent.named, []).append(sent)
            elif self._moved and sent.meant is not None:
                self._no_flow[sent.meant] = "its flows moved while they were probed"
            elif sent.meant is not None and keeps and self._choice.method is not Method.NONE:
                if self._choice.method is Method.IDENTITY and sent.source not in self._map.sources(sent.meant):
                    continue
                by_via.setdefault(sent.meant, []).append(sent)
        if not keeps:
            for via in self._vias:
                self._no_flow.setdefault(via, "flows do not keep their next hop, so a failure names nobody")
        return {
            via: result(found, self._choice, self._senses.now()) for via, found in by_via.items() if via in self._vias
        }

    async def _confirmed(self, results: dict[str, PathResult]) -> dict[str, PathResult]:
        """Before a path is called down, ask again whether its flows still take it."""
        doubtful = [
            sent for sent in self._sent if not sent.outcome.success and sent.named is None and sent.meant in results
        ]
        if not doubtful or all(result.success for result in results.values()):
            return results
        answers = await self._senses.ask_oracle([sent.source for sent in doubtful])
        moved = {sent.meant for sent in doubtful if answers.get(sent.source) != sent.meant}
        if moved:
            self._begin_anew()
            for via in moved - {None}:
                self._no_flow[str(via)] = "its flows moved while they were probed"
        return {via: found for via, found in results.items() if via not in moved}

    def _was_sent(self, source: Source) -> bool:
        return any(sent.source == source for sent in self._sent)

    def _round(self, results: Mapping[str, PathResult]) -> Round:
        self._endpoint.failing = frozenset(via for via, found in results.items() if not found.success)
        why = self._choice.why_not_stronger
        no_flow = {
            via: self._no_flow.get(via) or why or "no flow is known to take it"
            for via in self._vias
            if via not in results
        }
        return Round(
            basis=self._basis,
            started=self._started,
            ended=self._senses.now(),
            choice=self._choice,
            results=results,
            no_flow=no_flow,
            sent=tuple(self._sent),
            oracle_checks=tuple(self._oracle_checks),
            memory_checks=tuple(self._memory_checks),
        )

    async def _each(self, action: Callable[[_T], Awaitable[object]], items: Iterable[_T]) -> None:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(_run(action, item))


async def _run(action: Callable[[_T], Awaitable[object]], item: _T) -> None:
    await action(item)
