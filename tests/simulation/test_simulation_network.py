"""The simulated network: what a prober meets in it, and what is true of its paths."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import pytest

from exporter.feed import RouterFeed
from probes.http_module import HttpModule
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.scout import HopAnswer, Seen
from routers.model import OracleFlow, Query, SessionState
from tests.simulation import loop
from tests.simulation.faults import Fault, Kind
from tests.simulation.network import Network, Service, State
from tests.simulation.outside import LOCAL, SimulatedOutside
from tests.simulation.play import config_of
from tests.simulation.world import Direct, Hashing, Icmp, Node, Oracle, World, draw
from tests.simulation.worlds import VIP, network, packet, world

_T = TypeVar("_T")
ALL = ("n01", "n02", "n03")
FOREVER = 1e9


def within(made: World, action: Callable[[SimulatedOutside], Awaitable[_T]]) -> _T:
    """Act in a world, in virtual time, with its faults coming and going."""

    async def main() -> _T:
        running = asyncio.get_running_loop()

        def turn() -> None:
            simulated.turn()

        simulated = Network(made, lambda: running.time() + 1e-6, lambda moment: running.call_at(moment, turn))
        return await action(SimulatedOutside(simulated))

    return loop.run(main())


async def probe(outside: SimulatedOutside, port: int = 20000, address: str | None = None) -> Outcome:
    request = Request(Flow(VIP, 80, address, port), VIP, 3.0, Identity("header", "X-Node"))
    return await outside.probe("http", request, HttpModule())


async def probes(outside: SimulatedOutside, count: int = 40) -> list[Outcome]:
    return list(await asyncio.gather(*(probe(outside, 20000 + number) for number in range(count))))


def failing(outcomes: Collection[Outcome]) -> set[Failure | None]:
    return {outcome.failure for outcome in outcomes}


def test_a_healthy_network_answers_from_every_node() -> None:
    found = within(world(), probes)
    assert {outcome.identity for outcome in found} == set(ALL)
    assert all(outcome.success and outcome.connected and 0 < outcome.duration_seconds < 0.01 for outcome in found)
    assert found[0].flow == Flow(VIP, 80, LOCAL[4], 20000)


@pytest.mark.parametrize(
    ("kind", "failure", "seconds"),
    [
        (Kind.BLACKHOLE, Failure.TIMEOUT, 3.0),
        (Kind.DEAD, Failure.TIMEOUT, 3.0),
        (Kind.REJECT, Failure.UNREACHABLE, 0.01),
        (Kind.REFUSE, Failure.REFUSED, 0.01),
        (Kind.WRONG, Failure.EXPECTATION, 0.01),
    ],
)
def test_what_a_fault_of_a_node_looks_like(kind: Kind, failure: Failure, seconds: float) -> None:
    found = within(world(Fault(kind, 0.0, FOREVER, "n02")), probes)
    assert {outcome.identity for outcome in found if outcome.success} == {"n01", "n03"}
    assert failing(found) == {None, failure}
    assert all(outcome.duration_seconds <= seconds + 0.001 for outcome in found if not outcome.success)


def test_a_fault_that_ends_in_time_is_mended_by_the_next_syn() -> None:
    outcome = within(world(Fault(Kind.BLACKHOLE, 0.0, 0.5)), probe)
    assert outcome.success
    assert outcome.duration_seconds == pytest.approx(1.005, abs=0.005)


def test_a_change_of_next_hops_moves_flows_and_nobody_answers_where_none_is_left() -> None:
    found = within(world(Fault(Kind.WITHDRAW, 0.0, FOREVER, "n02")), probes)
    assert {outcome.identity for outcome in found} == {"n01", "n03"}
    gone = [Fault(Kind.SESSION, 0.0, FOREVER, name) for name in ALL]
    assert failing(within(world(*gone), probes)) == {Failure.UNREACHABLE}


def test_packet_by_packet_no_connection_lives() -> None:
    found = within(world(hashing=Hashing.PACKET), probes)
    assert failing(found) == {None, Failure.RESET}
    assert within(world(hashing=Hashing.PACKET, count=1), probe).success


def test_local_ports() -> None:
    async def again(outside: SimulatedOutside) -> list[Failure | None]:
        both = await asyncio.gather(probe(outside), probe(outside))
        third = await probe(outside)
        await asyncio.sleep(61.0)
        return [*(outcome.failure for outcome in both), third.failure, (await probe(outside)).failure]

    assert within(world(time_wait=True), again) == [None, Failure.LOCAL_PORT, Failure.LOCAL_PORT, None]
    assert within(world(), again) == [None, Failure.LOCAL_PORT, None, None]
    assert within(world(Fault(Kind.DEAF, 0.0, FOREVER)), probe).failure is Failure.LOCAL
    found = within(world(Fault(Kind.CONFLICT, 0.0, FOREVER, level=1.0)), probes)
    assert failing(found) == {None, Failure.LOCAL_PORT}


def test_loss_hits_some_probes() -> None:
    found = within(world(Fault(Kind.LOSS, 0.0, FOREVER, level=1.0)), lambda outside: probes(outside, 400))
    slow = sum(outcome.duration_seconds > 0.5 for outcome in found)
    assert 40 < slow < 130
    assert 4 < sum(not outcome.success for outcome in found) < 40


async def trace(outside: SimulatedOutside, hops: int, port: int = 20000) -> HopAnswer:
    return await outside.scout.segment(Flow(VIP, 80, LOCAL[4], port), hops, 1.0)


def test_a_traced_segment_meets_the_node_of_its_flow() -> None:
    async def both(outside: SimulatedOutside) -> list[tuple[str | None, str | None]]:
        found = []
        for port in range(20000, 20040):
            answer = await trace(outside, 2, port)
            found.append((answer.address, (await probe(outside, port)).identity))
            await asyncio.sleep(3.0)
        return found

    for address, node in within(world(traces=True), both):
        assert address == f"10.0.0.{int((node or 'n0')[1:])}"


@pytest.mark.parametrize("upstream", [0, 1, 2])
def test_routers_before_the_nodes_answer_at_their_distances(upstream: int) -> None:
    async def ladder(outside: SimulatedOutside) -> list[HopAnswer]:
        return [await trace(outside, hops) for hops in range(1, upstream + 4)]

    found = within(world(traces=True, upstream=upstream), ladder)
    assert [answer.seen for answer in found] == [Seen.HOP] * (upstream + 2) + [Seen.SILENCE]
    assert [str(answer.address)[:4] for answer in found[: upstream + 1]] == ["10.1"] * (upstream + 1)
    assert str(found[upstream + 1].address).startswith("10.0.0.")
    silent = within(world(traces=True, upstream=upstream, silent_hops=(1,), loops_beyond=True), ladder)
    assert silent[0].seen is Seen.SILENCE
    assert silent[-1].seen is (Seen.SILENCE if upstream == 0 else Seen.HOP)  # the router again, unless it is silent


def test_the_links_between_routers_differ_by_flow() -> None:
    async def first(outside: SimulatedOutside) -> set[str | None]:
        return {(await trace(outside, 1, port)).address for port in range(20000, 20020)}

    assert len(within(world(traces=True, upstream=1, icmp_limited=False), first)) == 2


@pytest.mark.parametrize(
    ("icmp", "segment", "knock"),
    [
        (Icmp.ANSWERS, Seen.HOP, Seen.HOP),
        (Icmp.NONE, Seen.SILENCE, Seen.SILENCE),
        (Icmp.BOUND, Seen.SILENCE, Seen.DESTINATION),
        (Icmp.ALIAS, Seen.HOP, Seen.HOP),
    ],
)
def test_what_nodes_do_with_packets_that_end_at_them(icmp: Icmp, segment: Seen, knock: Seen) -> None:
    nodes = (Node("n01", ("10.0.0.1",), icmp),)

    async def both(outside: SimulatedOutside) -> tuple[HopAnswer, HopAnswer]:
        return await trace(outside, 2), await outside.scout.knock(Flow(VIP, 33434, LOCAL[4], 20000), 2, 1.0)

    found = within(world(nodes=nodes, traces=True, knocks=True), both)
    assert (found[0].seen, found[1].seen) == (segment, knock)
    assert (found[0].address == "10.0.0.1") is (icmp is Icmp.ANSWERS)


def test_without_rights_nothing_can_be_traced_and_a_packet_filter_swallows_knocks() -> None:
    async def both(outside: SimulatedOutside) -> tuple[bool, Seen, Seen]:
        knock = await outside.scout.knock(Flow(VIP, 33434, LOCAL[4], 20000), 2, 1.0)
        return outside.scout.can_trace(4), (await trace(outside, 2)).seen, knock.seen

    assert within(world(), both) == (False, Seen.LOCAL, Seen.SILENCE)


def test_icmp_errors_are_limited_as_linux_does_it() -> None:
    async def burst(outside: SimulatedOutside) -> list[int]:
        counts = []
        for pause in (0.0, 0.0, 3.0, 60.0):
            await asyncio.sleep(pause)
            answers = await asyncio.gather(*(trace(outside, 2, 20000 + number) for number in range(20)))
            counts.append(sum(answer.seen is Seen.HOP for answer in answers))
        return counts

    # Those of the second burst come a second later, when one more may go.
    assert within(world(count=1, traces=True), burst) == [6, 1, 4, 6]
    assert within(world(count=1, traces=True, icmp_limited=False), burst) == [20, 20, 20, 20]


@pytest.mark.parametrize(("lost", "late"), [(0.3, 0.0), (0.0, 0.3)])
def test_icmp_errors_get_lost_or_come_too_late(lost: float, late: float) -> None:
    async def many(outside: SimulatedOutside) -> int:
        answers = await asyncio.gather(*(trace(outside, 2, 20000 + number) for number in range(200)))
        return sum(answer.seen is Seen.SILENCE for answer in answers)

    assert 30 < within(world(traces=True, icmp_limited=False, icmp_loss=lost, icmp_late=late), many) < 90


def test_a_blackhole_may_swallow_traces_too() -> None:
    for level, seen in ((0.1, Seen.SILENCE), (0.9, Seen.HOP)):
        fault = Fault(Kind.BLACKHOLE, 0.0, FOREVER, level=level)
        assert within(world(fault, traces=True), lambda outside: trace(outside, 2)).seen is seen
    assert within(
        world(Fault(Kind.NO_ICMP, 0.0, FOREVER, "n01"), count=1, traces=True), lambda o: trace(o, 2)
    ).seen is (Seen.SILENCE)


def test_direct_checks() -> None:
    nodes = tuple(
        Node(f"n{number:02}", (f"10.0.0.{number}",), direct=direct) for number, direct in enumerate(Direct, start=1)
    )
    made = world(Fault(Kind.DEAD, 10.0, FOREVER, "n01"), nodes=nodes)

    async def check(outside: SimulatedOutside) -> list[list[bool | None]]:
        found = []
        for pause in (0.0, 10.0):
            await asyncio.sleep(pause)
            results = await outside.check([node.addresses[0] for node in nodes], 3.0)
            found.append([result.alive for result in results.values()])
        return found

    assert within(made, check) == [[True, True, False], [False, True, False]]


def feed_of(outside: SimulatedOutside) -> RouterFeed:
    return outside.feed(config_of(outside.network.world).routers[0])


def test_a_snapshot_shows_what_the_router_holds() -> None:
    made = world(
        Fault(Kind.WITHDRAW, 0.0, FOREVER, "n01"),
        Fault(Kind.STALE, 0.0, FOREVER, "n02"),
        Fault(Kind.NEIGHBOR, 0, 9, "n03"),
    )

    async def look(outside: SimulatedOutside) -> None:
        feed = feed_of(outside)
        assert await feed.poll(Query((VIP,), ()))
        snapshot = feed.snapshot
        assert snapshot is not None
        assert snapshot.sessions is not None
        states = {session.address: session.state for session in snapshot.sessions}
        assert states == {"10.0.0.1": SessionState.ESTABLISHED, "10.0.0.2": SessionState.ACTIVE}
        assert [(route.peer, route.stale) for route in snapshot.routes[VIP]] == [("10.0.0.2", True)]
        entry = snapshot.fib[VIP]
        assert entry is not None
        assert [hop.address for hop in entry.next_hops] == ["10.0.0.2"]

    within(made, look)


def test_a_router_that_reboots() -> None:
    made = world(Fault(Kind.REBOOT, 5.0, 30.0))

    async def look(outside: SimulatedOutside) -> None:
        feed = feed_of(outside)
        assert await feed.poll(Query((VIP,), ()))
        before = feed.snapshot
        ways = [outside.network.way(packet(port)) for port in range(20000, 20200)]
        await asyncio.sleep(10.0)
        assert not await feed.poll(Query((VIP,), ()))
        assert feed.error
        assert feed.snapshot is before
        assert (await probe(outside)).failure is Failure.TIMEOUT
        await asyncio.sleep(60.0)
        assert await feed.poll(Query((VIP,), ()))
        assert feed.snapshot is not None
        assert all((session.established_at or 0.0) > 1_795_384_400.0 + 30.0 for session in feed.snapshot.sessions or ())
        assert [outside.network.way(packet(port)) for port in range(20000, 20200)] != ways
        assert (await probe(outside)).success

    within(made, look)


@pytest.mark.parametrize(
    ("oracle", "right"),
    [(Oracle.HONEST, 200), (Oracle.LYING, 67), (Oracle.CONSTANT, 67), (Oracle.MUTE, 0), (Oracle.ABSENT, 0)],
)
def test_oracles(oracle: Oracle, right: int) -> None:
    async def ask(outside: SimulatedOutside) -> int:
        flows = [OracleFlow(LOCAL[4], port, VIP, 80) for port in range(20000, 20200)]
        told = await feed_of(outside).ask_oracle(flows)
        names = {f"10.0.0.{number}": f"n{number:02}" for number in range(1, 4)}
        return sum(
            names[told[flow].address or ""] == outside.network.way(packet(flow.source_port))
            for flow in flows
            if flow in told
        )

    assert within(world(oracle=oracle), ask) == pytest.approx(right, abs=25)


def test_an_honest_oracle_tells_of_flows_that_are_just_moving() -> None:
    made = world(Fault(Kind.WITHDRAW, 0.0, 10.0, "n02"), hashing=Hashing.GRADUAL)

    async def ask(outside: SimulatedOutside) -> set[str]:
        feed, seen = feed_of(outside), set()
        names = {f"10.0.0.{number}": f"n{number:02}" for number in range(1, 4)}
        for moment in range(8, 48, 5):
            await asyncio.sleep(moment - outside.network.clock())
            for port in range(20000, 20100):
                flow = OracleFlow(LOCAL[4], port, VIP, 80)
                told = outside.network.way(packet(port, moment=outside.network.clock()))
                seen.add(f"{told}")
                answer = (await feed.ask_oracle([flow]))[flow].address or ""
                now = outside.network.way(packet(port, moment=outside.network.clock()))
                assert names[answer] in (told, now)
        return seen

    assert within(made, ask) == set(ALL)


def test_the_truth_about_paths() -> None:
    made, clock = network(
        Fault(Kind.BLACKHOLE, 10.0, 20.0, "n01", "t1"),
        Fault(Kind.WITHDRAW, 15.0, 30.0, "n01"),
        Fault(Kind.STALE, 40.0, 50.0, "n02"),
        Fault(Kind.LOSS, 60.0, 61.0),
    )
    seen = []
    for moment in (0.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 61.0):
        clock.now = moment
        made.turn()
        seen.append([made.truth["t1", name].state for name in ALL])
    assert seen == [
        [State.UP, State.UP, State.UP],
        [State.BROKEN, State.UP, State.UP],
        [State.ABSENT, State.UP, State.UP],
        [State.ABSENT, State.UP, State.UP],
        [State.UP, State.UP, State.UP],
        [State.UP, State.UNSOUND, State.UP],
        [State.UP, State.UP, State.UP],
        [State.MURKY, State.MURKY, State.MURKY],
        [State.UP, State.UP, State.UP],
    ]
    assert made.truth["t1", "n01"].gone == (15.0, 30.0)
    assert made.truth["t1", "n02"].since == 61.0
    assert made.quiet_since(VIP) == 61.0
    assert made.service("n01", made.world.targets[0]) is Service.OK


def test_every_kind_of_world_is_drawn() -> None:
    drawn = [draw(seed) for seed in range(600)]
    assert {one.hashing for one in drawn} == set(Hashing)
    assert {one.oracle for one in drawn} == set(Oracle)
    assert {node.icmp for one in drawn for node in one.nodes} == set(Icmp)
    assert {node.direct for one in drawn for node in one.nodes} == set(Direct)
    assert {fault.kind for one in drawn for fault in one.faults} == set(Kind)
    assert min(len(one.nodes) for one in drawn) == 1
    assert max(len(one.nodes) for one in drawn) > 50
    assert {one.sources for one in drawn} == {0, 8, 30}
    assert {one.upstream for one in drawn} == {0, 1, 2}
    assert draw(17) == draw(17)
