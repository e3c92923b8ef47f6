"""Learns in the background which next hops flows take, at the pace at which nodes send ICMP errors.

For each router and family: how far the next hops are; whether the oracle and single packets tell the truth
about connections (attempts to connect to a port of no service are connections, and name the node); and, where
the oracle does not, by traces of the services' own flows, which of them take which next hop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.asking import Asker, Subject
from exporter.coverage import flows_needed
from exporter.hashing import HashKind
from exporter.outside import Outside
from exporter.pathmap import Basis
from exporter.senses import Place
from exporter.steering import MIN_COMPARISONS, Method, Trust
from exporter.together import each, until
from probes.ports import Source
from probes.scout import Seen
from routers.model import family_of

KNOCK_PORTS = range(33434, 33440)  # of traceroute (RFC 1393's successors use them): no service is expected there
FIRST_FLOWS = 5  # of each next hop, wanted as soon as can be
_FARTHEST = 12  # hops from here to a node
_STEP = 4  # distances tried beside each other
_TRACE_SECONDS = 2.5  # that a round waits for flows to be traced anew
_TRIES = 3  # packets of one flow that may stay without an answer
_EXPERIMENT_EVERY = 60.0  # seconds
_MOST_LUCK = 1e-4  # with which comparisons may agree by chance; over two next hops 8 of them do in 1 of 256 cases
_EXPERIMENTS = 6  # in a row, while they have not decided anything; one that compared nothing counts as three
_LOCATE_EVERY = 60.0  # seconds between searches for next hops that did not answer
_MOST_AT_ONCE = 64  # flows under way at once, for one endpoint
_MOST_IN_VAIN = 3  # experiments without an answer, each on another port
_LEISURE = 2  # flows traced in one go once the first ones are known


@dataclass(slots=True)
class Reach:
    """How the next hops of one router and family can be asked. `hops`: their distance, None if not known."""

    hops: int | None = None
    located_at: float = float("-inf")
    knock_port: int | None = None
    experimented_at: float = float("-inf")
    knocks_in_vain: int = 0
    in_a_row: int = 0  # experiments since the last pause
    mute: bool = False  # the oracle said nothing in the last one
    turn: int = -1  # of the endpoints, which take turns with experiments


@dataclass(frozen=True, slots=True)
class Finding:
    """Comparisons that count once a later snapshot shows that the next hops did not change meanwhile."""

    place: Place
    basis: Basis
    ended: float
    trust: Trust
    oracle: tuple[bool, ...]
    segments: tuple[bool, ...]


class Survey:
    """One for a monitor; `run` is called again and again."""

    def __init__(self, outside: Outside) -> None:
        self.reaches: dict[tuple[str, int], Reach] = {}
        self.asker = Asker(outside)
        self._outside = outside
        self._findings: list[Finding] = []
        self._unanswered: dict[Place, dict[Source, int]] = {}
        self._turn: dict[Place, int] = {}

    def reach(self, router: str, family: int) -> Reach:
        return self.reaches.setdefault((router, family), Reach())

    def may_compare(self, router: str, family: int) -> bool:
        """Whether attempts to connect can show if the oracle and traces are right, as far as is known."""
        reach = self.reach(router, family)
        if reach.hops is None:
            return reach.located_at == float("-inf")
        return reach.knocks_in_vain < _MOST_IN_VAIN

    def why_no_trace(self, router: str, family: int) -> str:
        """Why flows behind this router cannot be traced, empty if they can."""
        if not self._outside.scout.can_trace(family):
            return f"flows cannot be traced ({self._outside.scout.why_not})"
        if self.reach(router, family).hops is None:
            return "nothing at any distance answered a traced packet as a next hop"
        return ""

    async def run(self, subjects: Sequence[Subject], seconds: float, enough: int = FIRST_FLOWS) -> None:
        """Go on learning for at most so long, or until `enough` flows of each next hop are known."""
        deadline = self._outside.now() + seconds
        groups: dict[tuple[str, int], list[Subject]] = {}
        for subject in subjects:
            groups.setdefault((subject.place[0], family_of(subject.vip)), []).append(subject)
        self._unanswered = {one.place: self._unanswered[one.place] for one in subjects if one.place in self._unanswered}
        await each(lambda key: self._group(self.reach(*key), groups[key], deadline, enough), groups)

    async def trace(self, subject: Subject, sources: Sequence[Source]) -> dict[Source, str]:
        """Trace flows at once, for a round that has to know; those without an answer are left out."""
        reach = self.reach(subject.place[0], family_of(subject.vip))
        deadline = self._outside.now() + _TRACE_SECONDS
        found: dict[Source, str] = {}

        async def ask(source: Source) -> None:
            for _ in range(2):
                via = await self._segment(subject, reach, source, deadline)
                if via is not None:
                    found[source] = via
                    return

        await each(ask, sources)
        return found if subject.current else {}

    def settle(self, router: str, taken_at: float, basis_of: Callable[[Place], Basis | None]) -> None:
        """Count the comparisons that ended before a snapshot which shows the same next hops; drop the others."""
        waiting = []
        for finding in self._findings:
            if finding.place[0] != router:
                waiting.append(finding)
            elif (basis := basis_of(finding.place)) not in (None, finding.basis):
                continue
            elif basis is None or finding.ended > taken_at:
                waiting.append(finding)
            else:
                finding.trust.oracle.record(finding.oracle)
                finding.trust.segments.record(finding.segments)
        self._findings = waiting

    async def _group(self, reach: Reach, subjects: list[Subject], deadline: float, enough: int) -> None:
        reach.turn += 1
        first = subjects[reach.turn % len(subjects)]
        if reach.hops is None and self._outside.now() - reach.located_at > _LOCATE_EVERY:
            await self._locate(first, reach, deadline)
        if reach.hops is None:
            return
        pressing = any(self._presses(subject, enough) for subject in subjects)
        if not pressing:
            await self._compare(first, reach, deadline)
        await self._learn_all(reach, subjects, deadline, enough)
        if pressing:
            await self._compare(first, reach, deadline)
        for subject in subjects:
            if self._wants_traces(subject):
                await self._refresh(subject, reach)
            elif subject.endpoint.method is Method.SWEEP:
                await self._enumerate(subject, reach, deadline)

    async def _learn_all(self, reach: Reach, subjects: list[Subject], deadline: float, enough: int) -> None:
        """Trace flows of the endpoints that lack some, by turns, until `enough` are known of each next hop."""
        needy = [subject for subject in subjects if self._wants_traces(subject) and self._short(subject)]
        while needy and self._outside.now() < deadline:
            sent = self.asker.sent
            for subject in needy:
                await self._learn(subject, reach, deadline, enough)
            if self.asker.sent == sent:
                break  # no flow is left to be tried, or no node may be asked before the deadline
            needy = [subject for subject in needy if self._urgent(subject, enough)]

    async def _locate(self, subject: Subject, reach: Reach, deadline: float) -> None:
        """Find the distance at which next hops answer: right behind the router's own answer, if it gives one."""
        reach.located_at = self._outside.now()
        for start in range(1, _FARTHEST + 1, _STEP):
            at: dict[int, bool] = {}  # by distance: whether a next hop answered there, or else the router
            found = asyncio.Event()

            async def ask(hops: int, source: Source, at: dict[int, bool] = at, found: asyncio.Event = found) -> None:
                answer = await self.asker.either(subject, source, KNOCK_PORTS[0], hops, deadline)
                if subject.senses.via_at(answer.address) is not None:
                    at[hops] = True
                elif answer.address in subject.router_addresses:
                    at.setdefault(hops, False)
                if at.get(hops) and (hops == 1 or at.get(hops - 1) is False):
                    found.set()

            sources = subject.endpoint.traced.fresh(2 * _STEP, self._outside.now())
            pairs = [(start + index % _STEP, source) for index, source in enumerate(sources)]
            await until(found, each(lambda pair: ask(*pair), pairs))
            nodes = sorted(hops for hops, node in at.items() if node)
            routers = [hops for hops, node in at.items() if not node]
            if nodes or routers:
                behind = min(routers) + 1 if routers else nodes[0]
                reach.hops = behind if behind in nodes or not nodes else nodes[0]
                return

    async def _compare(self, subject: Subject, reach: Reach, deadline: float) -> None:
        """Experiment now and then, a few times more while nothing is decided."""
        due = self._outside.now() - reach.experimented_at > _EXPERIMENT_EVERY
        if due:
            reach.in_a_row = 0
        while reach.in_a_row < _EXPERIMENTS and self._outside.now() < deadline:
            if not (due or self._undecided(subject, reach)):
                return
            compared = await self._experiment(subject, reach, deadline)
            reach.in_a_row += 1 if compared else 3
            due = False

    async def _experiment(self, subject: Subject, reach: Reach, deadline: float) -> bool:
        """Are the oracle, and single packets, right about connections? Some attempts to connect tell.

        False if nothing could be compared.
        """
        port = self._knock_port(subject, reach)
        if port is None or not subject.current:
            return False
        reach.experimented_at = self._outside.now()
        sources = subject.endpoint.traced.fresh(MIN_COMPARISONS, self._outside.now())
        seen = await self.asker.knock_all(subject, sources, port, reach.hops or 1, deadline)
        if not seen:
            reach.knocks_in_vain += 1
            reach.knock_port = None  # the next one may be free
            return False
        reach.knocks_in_vain = 0
        told: Mapping[Source, str] = {}
        if subject.has_oracle:
            told = await subject.senses.ask_oracle(sources, port)
            reach.mute = not told
        oracle = [told[source] == via for source, via in seen.items() if source in told]
        if not subject.trust.comparable(told.values()):
            oracle = []
        segments: list[bool] = []
        right = bool(oracle) and all(oracle)
        if self.asker.can_trace(subject) and (not right or subject.wanted == "trace"):
            traced = await self.asker.segment_all(subject, list(seen), port, reach.hops or 1, deadline)
            segments = [seen[source] == via for source, via in traced.items()]
            if len({*seen.values(), *traced.values()}) == 1 and not len(sources) == len(seen) == len(traced):
                segments = []  # where one next hop alone answers, every comparison agrees
            right = bool(segments) and all(segments)
        total = sum(weight for _, weight in subject.basis)
        luck = sum((weight / total) ** 2 for _, weight in subject.basis) ** len(seen)
        if not right or (segments and luck > _MOST_LUCK):
            # Do connections keep their way at all, or was that chance?
            await self.asker.knock_all(subject, list(seen), port, reach.hops or 1, deadline)
        ended = self._outside.now()
        self._findings.append(
            Finding(subject.place, subject.basis, ended, subject.trust, tuple(oracle), tuple(segments))
        )
        return bool(oracle or segments)

    async def _learn(self, subject: Subject, reach: Reach, deadline: float, enough: int) -> None:
        """Trace flows of unknown way; where all next hops have some already, only a few."""
        again = self._unanswered.get(subject.place, {})
        count = min(2 * len(subject.basis), _MOST_AT_ONCE) if self._urgent(subject, enough) else _LEISURE
        fresh = subject.endpoint.traced.fresh(max(1, count - len(again)), self._outside.now())

        async def ask(source: Source) -> None:
            subject.endpoint.traced.touch(source, self._outside.now())
            await self._segment(subject, reach, source, deadline)

        await each(ask, [*list(again)[:count], *fresh])

    async def _refresh(self, subject: Subject, reach: Reach) -> None:
        """Trace one known flow anew while there is time: has the router hashed anew without a word?"""
        known = subject.endpoint.traced.known()
        if not known or not subject.current:
            return
        turn = self._turn[subject.place] = self._turn.get(subject.place, -1) + 1
        source = list(known)[turn % len(known)]
        via = await self._segment(subject, reach, source, self._outside.now())
        if via is None or not subject.current:
            return
        if via == known[source]:
            subject.trust.vouched_at = self._outside.now()
        subject.endpoint.trace_again(self._outside.now(), kept=via == known[source])

    async def _enumerate(self, subject: Subject, reach: Reach, deadline: float) -> None:
        """List the next hops that flows like the service's really take, and how evenly, without any privilege."""
        port = self._knock_port(subject, reach)
        wanted = 2 * MIN_COMPARISONS * len(subject.basis)
        if port is None or sum(subject.endpoint.sampled().values()) >= wanted:
            return
        sources = subject.endpoint.traced.fresh(2 * len(subject.basis), self._outside.now())
        for source in sources:
            subject.endpoint.traced.touch(source, self._outside.now())
        await self.asker.knock_all(subject, sources, port, reach.hops or 1, deadline)

    def _undecided(self, subject: Subject, reach: Reach) -> bool:
        """Whether a few comparisons more would show if the oracle, or else traces, can be believed."""
        if reach.knocks_in_vain:
            return False
        trust, waiting = subject.trust, [one for one in self._findings if one.trust is subject.trust]
        if subject.has_oracle and subject.wanted in ("auto", "oracle"):
            told = [check for one in waiting for check in one.oracle]
            always_the_same = len(trust.vias) == 1  # so that no comparison counts
            if not (reach.mute or always_the_same or trust.oracle.disproved(told)):
                return not trust.oracle.proven(told)
        traced = [check for one in waiting for check in one.segments]
        asked = self.asker.can_trace(subject) and subject.wanted in ("auto", "trace")
        return asked and not (trust.segments.proven(traced) or trust.segments.disproved(traced))

    def _wants_traces(self, subject: Subject) -> bool:
        if not (subject.traceable and self.asker.can_trace(subject)) or subject.wanted not in ("auto", "trace"):
            return False
        if subject.endpoint.wanders and self._outside.now() - subject.endpoint.moved_at < _EXPERIMENT_EVERY:
            return False
        trust, waiting = subject.trust, [one for one in self._findings if one.trust is subject.trust]
        if trust.segments.disproved([check for one in waiting for check in one.segments]):
            return False  # experiments go on, and may redeem them
        told = [check for one in waiting for check in one.oracle]
        return not (subject.has_oracle and subject.wanted == "auto" and trust.oracle.proven(told))

    def _presses(self, subject: Subject, enough: int) -> bool:
        """Whether traces that are believed already are waited for: experiments ask the same nodes, and come later."""
        return subject.trust.segments.proven() and self._wants_traces(subject) and self._urgent(subject, enough)

    def _short(self, subject: Subject) -> bool:
        """Whether more flows of its next hops are wanted, and can be had."""
        traced = subject.endpoint.traced
        found = [len(traced.sources(via)) for via in subject.vias]
        if subject.endpoint.hashing is HashKind.ADDRESSES and not self._urgent(subject, 1):
            found = [flows for flows in found if flows] or found  # other ports meet no other next hop
        return any(flows < traced.limit for flows in found)

    def _urgent(self, subject: Subject, enough: int) -> bool:
        """Whether next hops lack flows that can be had: one that so many flows did not meet answers nothing."""
        endpoint = subject.endpoint
        found = [len(endpoint.traced.sources(via)) for via in subject.vias]
        if min(found) >= enough:
            return False
        tried = sum(endpoint.sightings.counts().values()) + endpoint.sightings.silent()
        needed = flows_needed(len(subject.basis))
        if endpoint.hashing is HashKind.ADDRESSES:
            needed = min(needed, subject.addresses + 1)  # other ports of the same address change nothing
        return tried < needed or (any(0 < flows < enough for flows in found) and tried < enough * needed)

    def _knock_port(self, subject: Subject, reach: Reach) -> int | None:
        """A port of the VIP that no known service uses, and that did not turn out to be one's."""
        if reach.knock_port is None:
            free = [port for port in KNOCK_PORTS if port not in subject.taken_ports]
            reach.knock_port = free[reach.knocks_in_vain % len(free)] if free else None
        return reach.knock_port

    async def _segment(self, subject: Subject, reach: Reach, source: Source, deadline: float) -> str | None:
        """Trace a flow of the service and note where it went; None if nobody known answered."""
        if reach.hops is None:
            return None
        expected = subject.endpoint.traced.via_of(source)
        expected = expected if expected in subject.vias else None
        answer = await self.asker.segment(subject, source, subject.port, reach.hops, deadline, expected)
        if not subject.current or answer.seen is Seen.LOCAL:
            return None
        via = self.asker.via_of(subject, answer)
        unanswered = self._unanswered.setdefault(subject.place, {})
        if via is not None:
            unanswered.pop(source, None)
            subject.endpoint.sightings.segment(source, subject.port, via)
            subject.endpoint.traced.learn(source, via)
            return via
        if subject.endpoint.traced.via_of(source) is None:
            unanswered[source] = unanswered.get(source, 0) + 1
            if unanswered[source] >= _TRIES:
                del unanswered[source]
                subject.endpoint.traced_in_vain += 1
        return None
