"""What one endpoint's round senses of the world: probes, the node that an answer names, the router's oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.config import Config, Module
from exporter.config import Target as TargetConfig
from exporter.evidence import VipEvidence
from exporter.expected import Expected
from exporter.feed import RouterFeed
from exporter.outside import Outside
from probes.model import Flow, Identity, Outcome, Request
from probes.ports import Source
from routers.lookup import next_hops_behind
from routers.model import NextHop, OracleFlow, canonical

Place = tuple[str, str, str]
"""(router, target, vip): an endpoint behind one router."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that one endpoint's round needs to know of its surroundings."""

    place: Place
    target: TargetConfig
    module: Module
    evidence: VipEvidence | None


class EndpointSenses:
    """A round's outside, for one endpoint; `slots` bounds the probes that are under way together."""

    def __init__(
        self,
        outside: Outside,
        config: Config,
        feed: RouterFeed,
        expected: Expected,
        job: Job,
        slots: asyncio.Semaphore,
    ) -> None:
        self._outside = outside
        self._config = config
        self._feed = feed
        self._expected = expected
        self._job = job
        self._slots = slots
        self.tracer: Callable[[Sequence[Source]], Awaitable[Mapping[Source, str]]] | None = None

    def now(self) -> float:
        return self._outside.now()

    async def pause(self, seconds: float) -> None:
        await self._outside.pause(seconds)

    async def probe(self, source: Source) -> Outcome:
        """One probe of the endpoint from a pinned source."""
        job = self._job
        identity = job.target.identity
        request = Request(
            flow=Flow(job.place[2], job.target.port, source.address, source.port),
            host=job.target.address,
            timeout_seconds=job.module.timeout or self._config.probing.timeout,
            identity=None if identity is None else Identity(identity.kind, identity.rule),
        )
        async with self._slots:
            return await self._outside.probe(job.module.prober, request, job.module.settings)

    async def ask_oracle(self, sources: Sequence[Source], port: int | None = None) -> Mapping[Source, str]:
        """The via of each source's own flow, or of its TCP connection to another port, as far as the router tells."""
        flows: dict[OracleFlow, Source] = {}
        for source in sources:
            flow = self.oracle_flow(source, port)
            if flow is not None:
                flows[flow] = source
        answers = await self._feed.ask_oracle(list(flows))
        found: dict[Source, str] = {}
        for flow, next_hop in answers.items():
            via = self.via_of(next_hop)
            if via is not None:
                found[flows[flow]] = via
        return found

    async def addresses(self, sources: Sequence[Source]) -> Mapping[Source, str]:
        """The next hop's own address for each source's flow to the service's port, as far as the router tells."""
        flows = {flow: source for source in sources if (flow := self.oracle_flow(source)) is not None}
        answers = await self._feed.ask_oracle(list(flows))
        named = {flows[flow]: self._addresses_of(hop) for flow, hop in answers.items()}
        return {source: found[0] for source, found in named.items() if len(found) == 1}

    def oracle_flow(self, source: Source, port: int | None = None) -> OracleFlow | None:
        """The service's own flow as the oracle is asked about it, or a TCP connection to another `port` of the VIP.

        None without a route to the VIP.
        """
        address, vip, vrf = self.address_of(source), self._job.place[2], self._feed.config.vrf
        if address is None:
            return None
        if port is not None:
            return OracleFlow(address, source.port, vip, port, vrf=vrf)
        return OracleFlow(address, source.port, vip, self._job.target.port, self._job.module.transport, vrf)

    async def trace(self, sources: Sequence[Source]) -> Mapping[Source, str]:
        """The via of each flow, as far as nodes answer a trace of it now."""
        return {} if self.tracer is None else await self.tracer(sources)

    def named(self, outcome: Outcome) -> str | None:
        """The node that an answer names; None if it names none that is known."""
        identity = self._job.target.identity
        if outcome.identity is None or identity is None:
            return None
        name = identity.map.get(outcome.identity, outcome.identity)
        return name if name in self._expected.nodes else None

    def address_of(self, source: Source) -> str | None:
        """The canonical address from which a flow starts, chosen by the kernel where none is pinned."""
        address = source.address or self._outside.local_source(self._job.place[2])
        return None if address is None else canonical(address)

    def via_of(self, next_hop: NextHop) -> str | None:
        """The next hop in use that the oracle names; None where it names an interface that several share."""
        vias = self.vias_of(next_hop)
        return next(iter(vias)) if len(vias) == 1 else None

    def vias_of(self, next_hop: NextHop) -> frozenset[str | None]:
        """All that an answer of the oracle may mean: several where it names an interface that they share.

        None among them stands for a next hop that is not in use.
        """
        return frozenset(self.via_at(address) for address in self._addresses_of(next_hop))

    def _addresses_of(self, next_hop: NextHop) -> tuple[str, ...]:
        """The address of an answer, or of each next hop that the FIB has behind the interface that it names."""
        if next_hop.address is not None:
            return (canonical(next_hop.address),)
        snapshot = self._feed.snapshot
        entry = None if snapshot is None else snapshot.fib.get(self._job.place[2])
        if entry is None or next_hop.interface is None:
            return ()
        behind = next_hops_behind(entry, next_hop.interface)
        return tuple(dict.fromkeys(canonical(hop.address) for hop in behind if hop.address is not None))

    def via_at(self, address: str | None) -> str | None:
        """The next hop in use that has this address: the one in the FIB, or any other of the node's."""
        if address is None or self._job.evidence is None:
            return None
        found = canonical(address)
        owner = self._expected.owners.get(found)
        for hop in self._job.evidence.hops or ():
            if found == hop.address or found in hop.more or (owner is not None and hop.node == owner.name):
                return hop.via
        return None
