"""Every endpoint that flows are put on, and what was found out about the routers on the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from exporter.asking import Subject
from exporter.config import Config
from exporter.coverage import flows_per_path
from exporter.endpoint import Endpoint, basis_of
from exporter.evidence import VipEvidence
from exporter.expected import Expected
from exporter.feed import RouterFeed
from exporter.hashing import HashKind
from exporter.outside import Outside
from exporter.pathmap import Basis, PathMap
from exporter.rounds import Round
from exporter.senses import EndpointSenses, Job, Place
from exporter.steering import Choice, Means, Method, Trust
from exporter.steering_status import Steered, SteeringStatus, TraceTraffic, TrustStatus
from exporter.survey import FIRST_FLOWS, Survey
from exporter.vip_status import vip_status
from probes.ports import REST_SECONDS, candidates
from routers.model import OracleFlow, canonical, family_of

MAX_PROBES_AT_ONCE = 512
_LEARNING_SECONDS = 5.0  # that a round waits for flows of next hops that are new
ENOUGH_TO_BEGIN = 2  # flows of each next hop, with which a first round can be made
_MOST_ASKED_AGAIN = 1024  # flows of finished rounds in one question to the oracle
_SCRAMBLED: Mapping[str, str] = {
    HashKind.PER_PACKET: "the router spreads the packets of one flow over its next hops",
    HashKind.RANDOM: "the router puts each connection on a next hop at random",
}


class Endpoints:
    """Makes the rounds of single endpoints; knows what each of them has learned, by place."""

    def __init__(self, outside: Outside, config: Config) -> None:
        self.known: dict[Place, Endpoint] = {}
        self.trust: dict[tuple[str, int], Trust] = {}
        self.survey = Survey(outside)
        self._outside = outside
        self._config = config
        self._feeds: Mapping[str, RouterFeed] = {}
        self._expected = Expected({}, {})
        self._identified: frozenset[str] = frozenset()  # targets whose answers name their node
        self._slots = asyncio.Semaphore(MAX_PROBES_AT_ONCE)
        self._published: dict[Place, SteeringStatus] = {}

    def configure(
        self, config: Config, feeds: Mapping[str, RouterFeed], expected: Expected, places: Collection[Place]
    ) -> None:
        """Take over what is expected now; what is not in `places`, or starts from other ports, is forgotten."""
        if config.probing != self._config.probing:
            self.known = {}  # their flows start from other addresses and ports
        self.known = {place: found for place, found in self.known.items() if place in places}
        self._published = {place: found for place, found in self._published.items() if place in self.known}
        self.trust = {key: found for key, found in self.trust.items() if key[0] in feeds}
        self._config, self._feeds, self._expected = config, feeds, expected
        self._identified = frozenset(target.name for target in config.targets if target.identity is not None)

    async def round(self, job: Job) -> Round | None:
        """One endpoint's round; None when the router forwards the VIP nowhere, so there is no path to probe."""
        endpoint = self.at(job.place)
        if job.evidence is None:
            last = [via for via, _ in endpoint.map.basis]
            vias = last or list(self._expected.targets[job.place[1]].nodes)
            identified = job.target.identity is not None
            return await endpoint.blind_round(vias, self._senses(job, endpoint), has_identity=identified)
        if not job.evidence.hops:
            return None
        await self._learn_first(job, endpoint)
        senses = self._senses(job, endpoint)
        return await endpoint.round(job.evidence.hops, self.means(job), self.trust_in(job.place), senses)

    async def learn(self, jobs: Iterable[Job], seconds: float, enough: int = FIRST_FLOWS) -> None:
        """Go on with the survey of all endpoints that have two or more next hops, until enough flows are known."""
        subjects = []
        for job in jobs:
            if job.evidence is not None and len(job.evidence.hops or ()) > 1:
                endpoint = self.at(job.place)
                endpoint.rebase(job.evidence.hops or (), self._outside.now())
                endpoint.surveyed = endpoint.map.basis
                subjects.append(self._subject(job, job.evidence, endpoint))
        await self.survey.run(subjects, seconds, enough)

    def at(self, place: Place) -> Endpoint:
        if place not in self.known:
            self.known[place] = Endpoint(self._path_map(place), self._path_map(place))
        return self.known[place]

    def trust_in(self, place: Place) -> Trust:
        return self.trust.setdefault((place[0], family_of(place[2])), Trust())

    def means(self, job: Job) -> Means:
        """By what this endpoint's flows could be steered now."""
        router, _, vip = job.place
        family = family_of(vip)
        trust, endpoint = self.trust_in(job.place), self.at(job.place)
        identifiable = any(
            place[0] == router
            and family_of(place[2]) == family
            and len(other.map.basis) > 1
            and place[1] in self._identified
            for place, other in self.known.items()
        )
        trust.checkable = self.survey.may_compare(router, family) or identifiable
        basis = _basis(job.evidence)
        no_trace = "" if _is_traceable(job) else "traces are of TCP flows"
        no_trace = no_trace or self.survey.why_no_trace(router, family)
        if not no_trace and endpoint.traced_in_vain > 2 * len(basis) and not endpoint.traced.known():
            no_trace = "no next hop answers traces of this VIP's flows"
        if not no_trace and endpoint.wanders:
            no_trace = "flows that were traced do not keep their next hop"
        return Means(
            next_hops=len(basis),
            wanted=self._config.probing.steering,
            has_identity=job.target.identity is not None,
            no_oracle="" if self._has_oracle(router) else "the router cannot be asked about single flows",
            no_trace=no_trace,
            scrambled=_SCRAMBLED.get(self.hashing(job.place), ""),
        )

    def hashing(self, place: Place) -> str:
        """What the router hashes this endpoint's flows on, or was found to hash others of the family on."""
        kind = self.at(place).hashing
        trust = self.trust_in(place)
        if kind is HashKind.UNKNOWN:
            return trust.hashing
        trust.hashing = kind.value
        return kind.value

    def choice(self, job: Job) -> Choice:
        """By what this endpoint's next round would steer."""
        return self.at(job.place).choose(self.means(job), self.trust_in(job.place), self._outside.now())

    def record(self, place: Place, finished: Round) -> None:
        """Count the comparisons of a round that a later snapshot has confirmed."""
        trust, endpoint = self.trust_in(place), self.known[place]
        trust.oracle.record(finished.oracle_checks)
        trust.segments.record(finished.segment_checks)
        endpoint.memory.record(finished.memory_checks)
        port = self._expected.targets[place[1]].port
        if place[1] not in self._identified or finished.basis != endpoint.map.basis:
            return
        for sent in finished.sent:
            endpoint.sightings.connection(sent.source, port, sent.named)

    def publish(self, place: Place, last_round: tuple[int, int]) -> None:
        """Write down what is known of an endpoint's flows, after a round with so many probes and covered paths."""
        endpoint = self.known[place]
        if not endpoint.map.basis:
            return  # the router has never told of it
        port = self._expected.targets[place[1]].port
        self._published[place] = vip_status(place, endpoint, port, last_round, self.hashing(place))

    def steered(self, places: Iterable[Place]) -> Steered:
        """What was written down of these places last, and what is known of routers."""
        counted = self.survey.asker.traffic
        return Steered(
            vips=tuple(self._published[place] for place in places if place in self._published),
            trust=tuple(
                TrustStatus(
                    router=router,
                    family=family,
                    hashing=trust.hashing,
                    hop_distance=self.survey.reach(router, family).hops,
                    oracle_agreement=trust.oracle.ratio(),
                    oracle_compared=trust.oracle.comparisons(),
                    trace_agreement=trust.segments.ratio(),
                    trace_compared=trust.segments.comparisons(),
                )
                for (router, family), trust in self.trust.items()
            ),
            traffic=TraceTraffic(
                {kind: one.sent for kind, one in counted.items()},
                {kind: one.answered for kind, one in counted.items()},
            ),
        )

    async def wandered(self, router: str, rounds: Iterable[tuple[Job, Round]]) -> frozenset[tuple[Place, str]]:
        """Ask a router's oracle once more about the flows of finished rounds: paths whose flows go elsewhere now.

        Then it has hashed anew while its next hops look the same, and everything behind it is learned again.
        """
        expected: dict[OracleFlow, tuple[Place, str, EndpointSenses]] = {}
        for job, finished in rounds:
            if finished.choice.method is not Method.ORACLE or finished.basis != _basis(job.evidence):
                continue  # flows of other next hops may well move: the map remembers them, to tell how many did
            senses = self._senses(job, self.at(job.place))
            for sent in finished.sent:
                if sent.meant is not None and sent.named is None and sent.meant in finished.results:
                    flow = senses.oracle_flow(sent.source)
                    if flow is not None and len(expected) < _MOST_ASKED_AGAIN:
                        expected[flow] = (job.place, sent.meant, senses)
        if not expected:
            return frozenset()
        answers = await self._feeds[router].ask_oracle(list(expected))
        moved = frozenset(
            (place, via)
            for flow, (place, via, senses) in expected.items()
            if flow in answers and via not in senses.vias_of(answers[flow])
        )
        if moved:
            self.router_was_away(router)
        return moved

    def router_was_away(self, router: str) -> None:
        """It may have restarted: with the same next hops it hashes anew."""
        for place, endpoint in self.known.items():
            if place[0] == router:
                endpoint.begin_anew()

    async def _learn_first(self, job: Job, endpoint: Endpoint) -> None:
        """Where the next hops are new, their flows are learned before anything is judged."""
        evidence = job.evidence
        if evidence is None or len(evidence.hops or ()) < 2:  # noqa: PLR2004
            return
        basis = _basis(evidence)
        endpoint.rebase(evidence.hops or (), self._outside.now())
        if endpoint.surveyed != basis:
            endpoint.surveyed = basis
            await self.survey.run([self._subject(job, evidence, endpoint)], _LEARNING_SECONDS, ENOUGH_TO_BEGIN)

    def _senses(self, job: Job, endpoint: Endpoint) -> EndpointSenses:
        feed = self._feeds[job.place[0]]
        senses = EndpointSenses(self._outside, self._config, feed, self._expected, job, self._slots)
        if job.evidence is not None and len(job.evidence.hops or ()) > 1 and _is_traceable(job):
            senses.tracer = partial(self.survey.trace, self._subject(job, job.evidence, endpoint, senses))
        return senses

    def _subject(
        self, job: Job, evidence: VipEvidence, endpoint: Endpoint, senses: EndpointSenses | None = None
    ) -> Subject:
        feed = self._feeds[job.place[0]]
        vip = job.place[2]
        return Subject(
            place=job.place,
            endpoint=endpoint,
            senses=senses or EndpointSenses(self._outside, self._config, feed, self._expected, job, self._slots),
            trust=self.trust_in(job.place),
            basis=_basis(evidence),
            port=job.target.port,
            taken_ports=frozenset(one.port for one in self._expected.targets.values() if vip in one.vips),
            router_addresses=_canonical(feed.snapshot.addresses if feed.snapshot is not None else ()),
            has_oracle=self._has_oracle(job.place[0]),
            addresses=len(self._addresses(vip)),
            wanted=self._config.probing.steering,
            traceable=_is_traceable(job),
        )

    def _has_oracle(self, router: str) -> bool:
        return self._feeds[router].platform.ORACLE is not None

    def _addresses(self, vip: str) -> Sequence[str | None]:
        """Where flows to a VIP start; None leaves it to the kernel."""
        own = self._config.probing.source_addresses
        return [address for address in own if family_of(address) == family_of(vip)] or [None]

    def _path_map(self, place: Place) -> PathMap:
        probing = self._config.probing
        addresses = self._addresses(place[2])
        avoid = self._outside.busy_ports()
        limit = max(FIRST_FLOWS, flows_per_path(probing.interval, REST_SECONDS))
        return PathMap(lambda: candidates(addresses, probing.source_ports, " ".join(place), avoid), limit)


def _is_traceable(job: Job) -> bool:
    return job.module.transport == "tcp"


def _basis(evidence: VipEvidence | None) -> Basis:
    return basis_of((evidence.hops if evidence is not None else None) or ())


def _canonical(addresses: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical(address) for address in addresses)
