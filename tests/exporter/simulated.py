"""A router that hashes flows over next hops, the nodes behind it, and an oracle that may lie."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.endpoint import Endpoint
from exporter.evidence import Hop
from exporter.pathmap import PathMap
from exporter.rounds import Round
from exporter.steering import ORACLE_COMPARISONS, Means, Trust
from probes.model import Failure, Flow, Outcome
from probes.ports import Source, candidates

VIP = "203.0.113.22"


@dataclass(slots=True)
class Network:
    """`broken`: via -> how it fails. `hashing`: five-tuple, addresses or random. `oracle`: honest, lying,
    constant, mute (there, without an answer) or none. `moves_after`: probes after which the router hashes
    anew. `conflicts`: local ports in use. `mute`: next hops that answer no trace.
    """

    vias: Sequence[str]
    broken: Mapping[str, Failure] = field(default_factory=dict)
    hashing: str = "five-tuple"
    oracle: str = "honest"
    identity: bool = True
    seed: int = 0
    moves_after: int | None = None
    flapping: bool = False  # the next hops are others until the round pauses
    conflicts: frozenset[int] = frozenset()
    mute: frozenset[str] = frozenset()
    cannot_send: bool = False
    more: tuple[str, ...] = ()  # addresses of the first next hop
    clock: float = 1_000_000.0
    probed: list[Source] = field(default_factory=list)
    asked: int = 0

    def now(self) -> float:
        return self.clock

    def way(self, source: Source, salt: str = "") -> str:
        """The next hop that the router puts a flow on."""
        if self.hashing == "random":
            return random.Random(f"{self.seed} {len(self.probed)} {source}").choice(list(self.vias))  # noqa: S311
        moved = self.moves_after is not None and len(self.probed) > self.moves_after
        moved = moved or self.flapping
        text = f"{self.seed} {moved} {salt} {source.address} {source.port if self.hashing == 'five-tuple' else ''}"
        return self.vias[int.from_bytes(hashlib.blake2b(text.encode()).digest()[:8], "big") % len(self.vias)]

    async def probe(self, source: Source) -> Outcome:
        await asyncio.sleep(0)
        flow = Flow(VIP, 22, source.address or "192.0.2.1", source.port)
        if self.cannot_send:
            return Outcome(flow, False, Failure.LOCAL, "this machine cannot connect: Operation not permitted", 0.0)
        if source.port in self.conflicts:
            return Outcome(flow, False, Failure.LOCAL_PORT, "port in use", 0.0)
        self.probed.append(source)
        via = self.way(source)
        failure = self.broken.get(via)
        if failure is not None:
            return Outcome(flow, False, failure, f"simulated {failure}", 3.0)
        return Outcome(flow, True, None, "", 0.004, {"connect": 0.001}, True, via if self.identity else None)

    def named(self, outcome: Outcome) -> str | None:
        return outcome.identity

    async def pause(self, seconds: float) -> None:
        self.clock += seconds
        self.flapping = False

    async def ask_oracle(self, sources: Sequence[Source]) -> Mapping[Source, str]:
        self.asked += 1
        if self.oracle in ("none", "mute"):
            return {}
        if self.oracle == "constant":
            return dict.fromkeys(sources, self.vias[0])
        return {source: self.way(source, "lie" if self.oracle == "lying" else "") for source in sources}

    async def addresses(self, sources: Sequence[Source]) -> Mapping[Source, str]:
        """Of a node with two addresses every other port takes the second."""
        return {source: self.more[source.port % 2] for source in sources if self.way(source) == self.vias[0]}

    async def trace(self, sources: Sequence[Source]) -> Mapping[Source, str]:
        return {source: via for source in sources if (via := self.way(source)) not in self.mute}


@dataclass(slots=True)
class Probing:
    """An endpoint over several rounds, with what the monitor remembers in between.

    `proven`: connections have shown already that the oracle is right, or for `traces` that these are.
    """

    network: Network
    addresses: Sequence[str | None] = (None,)
    wanted: str = "auto"
    proven: bool = False
    traces: bool = False
    limit: int = 6
    trust: Trust = field(default_factory=Trust)
    endpoint: Endpoint = field(init=False)

    def __post_init__(self) -> None:
        def start() -> Iterator[Source]:
            return candidates(self.addresses, range(20000, 20400), "git")

        self.endpoint = Endpoint(PathMap(start, self.limit), PathMap(start, self.limit))
        if self.proven:
            (self.trust.segments if self.traces else self.trust.oracle).record([True] * ORACLE_COMPARISONS)

    async def round(self, vias: Sequence[str] | None = None) -> Round:
        """One round, confirmed, and the next one 15 seconds later."""
        network = self.network
        own = network.vias if vias is None else vias
        means = Means(
            len(own),
            self.wanted,
            has_identity=network.identity,
            no_oracle="" if network.oracle != "none" else "the router cannot be asked about single flows",
            no_trace="" if self.traces else "flows cannot be traced (no CAP_NET_RAW)",
        )
        hops = [Hop(via, via, f"10.0.0.{number}") for number, via in enumerate(own, start=1)]
        if network.more:
            hops[0] = replace(hops[0], address=network.more[0], more=network.more[1:])
        if self.traces:
            self.endpoint.rebase(hops, network.clock)
            found = await network.trace(self.endpoint.traced.fresh(6 * len(own), network.clock))
            for source, via in found.items():
                self.endpoint.traced.learn(source, via)
        done = await self.endpoint.round(hops, means, self.trust, network)
        self.trust.oracle.record(done.oracle_checks)
        self.trust.segments.record(done.segment_checks)
        self.endpoint.memory.record(done.memory_checks)
        network.clock += 15.0
        return done

    async def blind(self, vias: Sequence[str]) -> Round:
        done = await self.endpoint.blind_round(vias, self.network, has_identity=self.network.identity)
        self.endpoint.memory.record(done.memory_checks)
        self.network.clock += 15.0
        return done
