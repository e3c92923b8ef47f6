"""The survey over a machine that answers at once: how far the nodes are, whom to believe, where flows go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from exporter.asking import Subject
from exporter.endpoint import Endpoint
from exporter.evidence import Hop
from exporter.outside import Outside
from exporter.pathmap import PathMap
from exporter.senses import EndpointSenses
from exporter.steering import Trust
from exporter.survey import KNOCK_PORTS, Survey
from probes.model import Flow
from probes.ports import Source, candidates
from probes.scout import HopAnswer, Seen

VIP = "203.0.113.10"
NODES = {"10.0.0.11": "a", "10.0.0.12": "b", "10.0.0.13": "c"}
EDGE = "198.51.100.1"
HOPS = [Hop(via, via, address) for address, via in NODES.items()]
SILENCE = HopAnswer(Seen.SILENCE)


@dataclass
class World:
    """`distance` of the nodes; `mute` nodes send no ICMP; `busy` ports of the VIP are served; `carried`: connections
    are hashed otherwise than segments, a new way each time.
    """

    distance: int = 2
    mute: frozenset[str] = frozenset()
    routers_answer: bool = True
    busy: frozenset[int] = frozenset()
    raw: bool = True
    carried: bool = False
    lies: bool = False
    salt: int = 0
    clock: float = 1000.0
    asked: list[tuple[str, Flow, int]] = field(default_factory=list)
    why_not: str = "no CAP_NET_RAW"

    @property
    def scout(self) -> World:
        return self

    def now(self) -> float:
        return self.clock

    async def pause(self, seconds: float) -> None:
        self.clock += seconds
        await asyncio.sleep(0)

    def can_trace(self, family: int) -> bool:
        return self.raw and family == 4

    def way(self, flow: Flow, salt: int = 0) -> str:
        key = (flow.source_port * 2654435761 + flow.destination_port * 40503 + (self.salt + salt) * 97) >> 7
        return list(NODES)[key % len(NODES)]

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        return await self._answer("segment", flow, hops, seconds, 0)

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        if flow.destination_port in self.busy and hops >= self.distance:
            return HopAnswer(Seen.DESTINATION)
        return await self._answer("knock", flow, hops, seconds, len(self.asked) if self.carried else 0)

    async def _answer(self, kind: str, flow: Flow, hops: int, seconds: float, salt: int) -> HopAnswer:
        self.asked.append((kind, flow, hops))
        await asyncio.sleep(0)
        node = self.way(flow, salt)
        if hops < self.distance:
            address = EDGE if hops == self.distance - 1 else "192.0.2.254"
            return HopAnswer(Seen.HOP, address) if self.routers_answer else SILENCE
        if hops > self.distance or node in self.mute:
            self.clock += seconds / 8  # many wait beside each other
            return SILENCE
        return HopAnswer(Seen.HOP, node)


class Senses:
    """The part of EndpointSenses that the survey uses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.oracle_asked = 0

    def address_of(self, source: Source) -> str:
        return source.address or "192.0.2.1"

    def via_at(self, address: str | None) -> str | None:
        return NODES.get(address or "")

    async def ask_oracle(self, sources: Sequence[Source], port: int | None = None) -> Mapping[Source, str]:
        self.oracle_asked += 1
        salt = 5 if self.world.lies else 0
        flows = {source: Flow(VIP, port or 80, "192.0.2.1", source.port) for source in sources}
        return {source: NODES[self.world.way(flow, salt)] for source, flow in flows.items()}


def subject_in(world: World, *, has_oracle: bool = True, wanted: str = "auto") -> Subject:
    def start() -> PathMap:
        return PathMap(lambda: candidates([None], range(20000, 24000), "web"), 6)

    endpoint = Endpoint(start(), start())
    endpoint.rebase(HOPS, world.clock)
    return Subject(
        place=("edge", "web", VIP),
        endpoint=endpoint,
        senses=cast("EndpointSenses", Senses(world)),
        trust=Trust(),
        basis=endpoint.map.basis,
        port=80,
        taken_ports=frozenset({80}),
        router_addresses=frozenset({EDGE}),
        has_oracle=has_oracle,
        addresses=1,
        wanted=wanted,
    )


async def surveyed(world: World, subject: Subject, seconds: float = 60.0) -> Survey:
    survey = Survey(cast("Outside", world))
    await survey.run([subject], seconds)
    survey.settle("edge", world.clock, lambda _: subject.endpoint.map.basis)
    return survey


@pytest.mark.parametrize("distance", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("routers_answer", [True, False])
@pytest.mark.parametrize("raw", [True, False])
async def test_how_far_the_nodes_are(distance: int, *, routers_answer: bool, raw: bool) -> None:
    world = World(distance, routers_answer=routers_answer, raw=raw)
    survey = await surveyed(world, subject_in(world))
    assert survey.reach("edge", 4).hops == distance


async def test_nodes_that_answer_nothing_are_right_behind_the_router() -> None:
    world = World(3, mute=frozenset(NODES))
    subject = subject_in(world)
    survey = await surveyed(world, subject)
    assert survey.reach("edge", 4).hops == 3
    assert not subject.trust.oracle.comparisons()


async def test_nothing_answers_at_any_distance() -> None:
    world = World(3, mute=frozenset(NODES), routers_answer=False)
    survey = await surveyed(world, subject_in(world))
    assert survey.reach("edge", 4).hops is None
    assert not survey.may_compare("edge", 4)
    assert "nothing at any distance answered" in survey.why_no_trace("edge", 4)
    asked = len(world.asked)
    await survey.run([subject_in(world)], 5.0)
    assert len(world.asked) == asked, "it is not looked for again at once"


async def test_an_honest_oracle_is_proven_by_a_few_attempts_to_connect() -> None:
    world = World()
    subject = subject_in(world)
    await surveyed(world, subject)
    assert subject.trust.oracle.proven()
    assert not subject.endpoint.traced.known(), "no flow of the service needs to be traced"
    assert {flow.destination_port for _, flow, _ in world.asked} == {KNOCK_PORTS[0]}


async def test_a_lying_oracle_is_found_out_and_flows_are_traced() -> None:
    world = World(lies=True)
    subject = subject_in(world)
    await surveyed(world, subject)
    assert subject.trust.oracle.disproved()
    assert subject.trust.segments.proven()
    for via in NODES.values():
        flows = subject.endpoint.traced.sources(via)
        assert len(flows) >= 5
        assert all(NODES[world.way(Flow(VIP, 80, "192.0.2.1", flow.port))] == via for flow in flows)


async def test_packets_that_tell_nothing_of_connections() -> None:
    """Linux hashes what a veth carries along: oracle and traces agree with each other, connections wander."""
    world = World(carried=True)
    subject = subject_in(world)
    await surveyed(world, subject)
    assert subject.trust.oracle.disproved()
    assert subject.trust.segments.disproved()
    assert subject.endpoint.sightings.kept.disproved()


async def test_without_raw_sockets_no_segment_is_sent() -> None:
    world = World(raw=False, lies=True)
    subject = subject_in(world)
    survey = await surveyed(world, subject)
    assert {kind for kind, _, _ in world.asked} == {"knock"}
    assert subject.trust.oracle.disproved()
    assert survey.why_no_trace("edge", 4) == "flows cannot be traced (no CAP_NET_RAW)"


async def test_a_port_that_turns_out_to_be_served_is_left_for_the_next() -> None:
    world = World(busy=frozenset({KNOCK_PORTS[0]}))
    subject = subject_in(world)
    survey = await surveyed(world, subject)
    world.clock += 120
    await survey.run([subject], 30.0)
    survey.settle("edge", world.clock, lambda _: subject.endpoint.map.basis)
    assert survey.reach("edge", 4).knock_port == KNOCK_PORTS[1]
    assert subject.trust.oracle.proven()


async def test_learning_ends_though_one_node_never_answers() -> None:
    world = World(mute=frozenset({"10.0.0.12"}))
    subject = subject_in(world, has_oracle=False)
    begun = world.clock
    await surveyed(world, subject, 600.0)
    assert world.clock - begun < 120
    assert subject.endpoint.traced.sources("b") == ()
    assert min(len(subject.endpoint.traced.sources(via)) for via in "ac") >= 5


async def test_what_was_compared_while_next_hops_changed_does_not_count() -> None:
    world = World()
    subject = subject_in(world)
    survey = Survey(cast("Outside", world))
    await survey.run([subject], 60.0)
    survey.settle("edge", world.clock - 3600, lambda _: subject.basis)
    assert not subject.trust.oracle.comparisons(), "no snapshot has confirmed it yet"
    survey.settle("edge", world.clock, lambda _: subject.basis[:2])
    survey.settle("edge", world.clock, lambda _: subject.basis)
    assert not subject.trust.oracle.comparisons()


async def test_a_silent_rehash_is_noticed_by_tracing_known_flows_again() -> None:
    world = World()
    subject = subject_in(world, has_oracle=False)
    survey = await surveyed(world, subject)
    assert subject.endpoint.traced.known()
    world.clock += 5
    await survey.run([subject], 2.0)
    assert subject.trust.vouched_at >= world.clock - 5
    known = subject.endpoint.traced.known()
    world.salt += 1
    for _ in range(10):
        world.clock += 3
        await survey.run([subject], 2.0)
    assert subject.endpoint.traced.known() != known
    for source, via in subject.endpoint.traced.known().items():
        assert NODES[world.way(Flow(VIP, 80, "192.0.2.1", source.port))] == via


async def test_a_round_traces_flows_at_once() -> None:
    world = World(mute=frozenset({"10.0.0.12"}))
    subject = subject_in(world, has_oracle=False)
    survey = await surveyed(world, subject)
    world.clock += 60
    flows = [source for via in "ac" for source in subject.endpoint.traced.sources(via)[:2]]
    assert await survey.trace(subject, flows) == {flow: subject.endpoint.traced.via_of(flow) for flow in flows}
    subject.endpoint.rebase(HOPS[:2], world.clock)
    assert await survey.trace(subject, flows) == {}, "the next hops are others by now"


async def test_a_next_hop_that_the_fib_does_not_hold() -> None:
    world = World()
    subject = subject_in(world, has_oracle=False)
    subject.senses.via_at = lambda address: {"10.0.0.11": "a", "10.0.0.12": "b"}.get(address or "")  # type: ignore[method-assign]
    await surveyed(world, subject)
    assert set(subject.endpoint.strangers) == {"10.0.0.13"}
