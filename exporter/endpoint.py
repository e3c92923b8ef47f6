"""What is remembered of one endpoint (a VIP and port behind one router), and its rounds of probes.

A round sends, it does not conclude: it returns what each path's flows came to, and what was learned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from exporter import by_identity, by_oracle, by_sweep, by_trace
from exporter.by_address import Parts
from exporter.evidence import Hop
from exporter.hashing import HashKind, Sightings
from exporter.pathmap import Basis, PathMap
from exporter.rounds import Round, Senses
from exporter.run import Run
from exporter.shares import flow_shares, polarised
from exporter.steering import Agreement, Choice, Means, Method, Trust, choose

BLIND_CONFIDENCE = 0.5
_MOST_MOVES = 2  # of the last 8 flows that were traced anew; more of them are no change of next hops that nobody saw
_MUTE = "the router's oracle gave no answer"


@dataclass(slots=True)
class Endpoint:
    """What is remembered of an endpoint from one round to the next.

    `map` holds the flows that the oracle, answers or the only next hop told of, `traced` those that traces did.
    """

    map: PathMap
    traced: PathMap
    sightings: Sightings = field(default_factory=Sightings)
    memory: Agreement = field(default_factory=Agreement)
    hops: tuple[Hop, ...] = ()
    method: Method = Method.NONE
    why_not_stronger: str = ""
    confidence: float = 0.0  # in what the method says of flows
    searched: bool = False  # a full search for missing next hops was made on this basis
    failing: frozenset[str] = frozenset()  # paths on which everything failed in the last round
    asked: int = 0  # questions to the oracle since the map was last begun
    compared_at: float = float("-inf")  # when a disbelieved oracle was last given another chance
    silent_until: float = float("-inf")  # until when an oracle that gave no answer is left alone
    surveyed: Basis = ()  # the next hops that the survey has seen once
    told: dict[str, int] = field(default_factory=dict)  # by via: flows of which the oracle said so
    told_hashing: HashKind = HashKind.UNKNOWN  # what the oracle's answers depend on
    strangers: dict[str, int] = field(default_factory=dict)  # by address: flows found at a hop that is not in the FIB
    traced_in_vain: int = 0  # flows traced since the map was begun that no next hop answered for
    retraced: deque[bool] = field(default_factory=lambda: deque(maxlen=8))  # did known flows still go where they did?
    moved_at: float = float("-inf")  # when one of these had moved

    async def round(self, hops: Sequence[Hop], means: Means, trust: Trust, senses: Senses) -> Round:
        """Probe every next hop in `hops` (at least one) on flows known to take it."""
        basis = basis_of(hops)
        self.rebase(hops, senses.now())
        choice = self.choose(means, trust, senses.now())
        self.use(choice)
        if choice.method is Method.ORACLE and not await by_oracle.learn(self, basis, senses):
            self.silent_until = senses.now() + by_oracle.MAP_LIFETIME
            choice = self.choose(means, trust, senses.now())
            self.use(choice)
        parts = Parts.of(self.hops)
        run = Run(self.known, basis, choice, senses, self.failing)
        if choice.method is Method.ORACLE:
            done = await by_oracle.go(self, run, means, trust, parts)
        elif choice.method is Method.TRACE:
            done = await by_trace.go(self, run, means, trust)
        elif choice.method is Method.IDENTITY:
            done = await by_identity.go(self, run, means, trust)
        elif choice.method is Method.SWEEP:
            done = await by_sweep.go(self, run)
        else:
            if choice.method is Method.SINGLE:
                self._learn_single(basis, senses.now())
                await run.probe_paths(run.vias)
            done = run.round(run.results())
        if parts.addresses:
            results = parts.apply(run, dict(done.results))
            lost = {via: run.no_flow[via] for via in done.results if via not in results}
            done = replace(done, results=results, no_flow={**done.no_flow, **lost})
        self.failing = frozenset(via for via, found in done.results.items() if not found.success)
        return done

    async def blind_round(self, vias: Sequence[str], senses: Senses, *, has_identity: bool) -> Round:
        """Probe without a router's word: on the flows of the last map, by identity, or the only path."""
        known = [via for via in vias if self.known.sources(via)]
        method = self.method
        if not known and len(vias) == 1:
            self._learn_single(((vias[0], 1),), senses.now())
            known, method = list(vias), Method.SINGLE
        elif not known and has_identity:
            method = Method.IDENTITY
        choice = Choice(method, BLIND_CONFIDENCE, "the router cannot be asked")
        run = Run(self.known, tuple((via, 1) for via in vias), choice, senses, self.failing)
        await run.probe_paths(known)
        if method is Method.IDENTITY:
            await by_identity.search(self, run)
        return run.round(run.results(believed=method is not Method.IDENTITY or self.memory.proven(run.checks)))

    def choose(self, means: Means, trust: Trust, now: float) -> Choice:
        """The method for the next round."""
        if self.silent_until > now:
            means = replace(means, no_oracle=means.no_oracle or _MUTE)
        return choose(means, trust)

    def use(self, choice: Choice) -> None:
        """Go on by this method; what another one told of flows is forgotten."""
        self.why_not_stronger = choice.why_not_stronger
        self.confidence = choice.confidence
        if choice.method is self.method:
            return
        self.method = choice.method
        self.map.forget_all()
        self.asked = 0
        self.searched = False

    def trace_again(self, now: float, *, kept: bool) -> None:
        """A known flow was traced anew: it kept its next hop, or else all flows have to be learned again."""
        self.retraced.append(kept)
        if not kept:
            self.moved_at = now
            self.begin_anew()

    @property
    def wanders(self) -> bool:
        """Whether traced flows were found elsewhere so often that traces prove nothing here."""
        return self.retraced.count(False) > _MOST_MOVES

    @property
    def known(self) -> PathMap:
        """The map that the present method goes by."""
        return self.traced if self.method is Method.TRACE else self.map

    def rebase(self, hops: Sequence[Hop], now: float) -> None:
        """Forget what was learned if the next hops are others now."""
        self.hops = tuple(hops)
        basis = basis_of(hops)
        anew = self.map.rebase(basis, now)
        if self.traced.rebase(basis, now) or anew:
            self._forget_flows()

    def begin_anew(self) -> None:
        """The router hashes otherwise than it did, though its next hops look the same."""
        self.map.forget_all()
        self.traced.forget_all()
        self._forget_flows()

    def spread(self) -> dict[str, float] | None:
        """The share of flows that each next hop gets; None while it was not seen that flows are spread so."""
        weights = dict(self.map.basis)
        counts = self.sampled()
        if not all(counts.values()) or polarised(counts, weights) is not False:
            return None
        return {share.via: share.expected for share in flow_shares(counts, weights)}

    @property
    def hashing(self) -> HashKind:
        """What the router was found to hash this endpoint's flows on."""
        weights = dict(self.map.basis)
        total = sum(weights.values()) or 1
        kind = self.sightings.kind({via: weight / total for via, weight in weights.items()})
        return self.told_hashing if kind is HashKind.UNKNOWN and self.method is Method.ORACLE else kind

    def sampled(self) -> dict[str, int]:
        """By via: flows, sampled without regard to where they go, that were found to take it."""
        counts = self.sightings.counts()
        if self.method is Method.ORACLE:
            counts = self.told
        return {via: counts.get(via, 0) for via, _ in self.map.basis}

    def _forget_flows(self) -> None:
        self.sightings.reset()
        self.told = {}
        self.told_hashing = HashKind.UNKNOWN
        self.strangers = {}
        self.traced_in_vain = 0
        self.asked = 0
        self.searched = False

    def _learn_single(self, basis: Basis, now: float) -> None:
        via = basis[0][0]
        missing = self.map.limit - len(self.map.sources(via))
        for source in self.map.fresh(missing, now) if missing > 0 else ():
            self.map.learn(source, via)


def basis_of(hops: Sequence[Hop]) -> Basis:
    """What a path map rests on."""
    return tuple((hop.via, hop.weight) for hop in hops)
