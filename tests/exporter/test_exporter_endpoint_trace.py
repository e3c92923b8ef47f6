"""Rounds that go by traces or by nothing: nobody is blamed on stale knowledge, nothing is ok unobserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from exporter.coverage import SURE, flows_needed, flows_needed_for
from exporter.evidence import Hop
from exporter.run import MOVED
from exporter.steering import Method
from probes.model import Failure
from probes.ports import Source
from tests.exporter.simulated import Network, Probing
from tests.exporter.test_exporter_endpoint import BROKEN, SEEDS, VIAS, check


def traced(network: Network) -> Probing:
    return Probing(network, proven=True, traces=True)


@pytest.mark.parametrize("broken", BROKEN)
async def test_traces_name_broken_paths_too(broken: dict[str, Failure]) -> None:
    """What breaks a service breaks no trace, unless the node is dead."""
    for seed in SEEDS:
        network = Network(VIAS, broken, oracle="lying", identity=False, seed=seed)
        probing = traced(network)
        for _ in range(3):
            done = await probing.round()
            check(network, done)
            assert done.choice.method is Method.TRACE
            assert set(done.results) == set(VIAS)


@pytest.mark.parametrize("identity", [False, True])
async def test_a_node_that_dies_after_it_was_traced(*, identity: bool) -> None:
    """Also where answers name their node, so that the flows which work need no trace: they vouch as much as one."""
    for seed in SEEDS:
        network = Network(VIAS, oracle="none", identity=identity, seed=seed)
        probing = traced(network)
        await probing.round()
        network.broken, network.mute = {"leviathan2": Failure.TIMEOUT}, frozenset({"leviathan2"})
        for _ in range(3):
            done = await probing.round()
            check(network, done)
            assert done.results["leviathan2"].failure is Failure.TIMEOUT


async def test_a_node_that_answers_no_trace_has_no_flow() -> None:
    network = Network(VIAS, oracle="none", identity=False, mute=frozenset({"leviathan2"}))
    done = await traced(network).round()
    check(network, done)
    assert set(done.results) == {"leviathan1", "leviathan3"}
    assert "no trace has found a flow that takes it" in done.no_flow["leviathan2"]


async def test_identity_finds_what_no_trace_does() -> None:
    network = Network(VIAS, oracle="none", mute=frozenset({"leviathan2"}))
    done = await traced(network).round()
    check(network, done)
    assert done.choice.method is Method.TRACE
    assert set(done.results) == set(VIAS)


async def test_flows_that_moved_without_a_word_blame_nobody() -> None:
    """The router restarts: same next hops, another hash. Flows of healthy nodes land on the broken one."""
    for seed in SEEDS:
        network = Network(VIAS, {"leviathan3": Failure.TIMEOUT}, oracle="none", identity=False, seed=seed)
        probing = traced(network)
        await probing.round()
        network.seed += 1000
        for _ in range(3):
            done = await probing.round()
            for via in VIAS[:2]:
                assert via not in done.results or done.results[via].success
        check(network, done)


async def test_nobody_is_blamed_while_no_trace_vouches_for_the_flows() -> None:
    class Deaf(Network):
        async def trace(self, sources: Sequence[Source]) -> Mapping[Source, str]:
            del sources
            return {}

    network = Network(VIAS, oracle="none", identity=False)
    probing = traced(network)
    await probing.round()
    network.clock += 120.0
    probing.network = Deaf(VIAS, {"leviathan3": Failure.TIMEOUT}, oracle="none", identity=False, clock=network.clock)
    done = await probing.round()
    assert set(done.results) == {"leviathan1", "leviathan2"}
    assert "no trace shows any more" in done.no_flow["leviathan3"]
    # Another endpoint behind the same router was traced and found where it was.
    probing.trust.vouched_at = network.clock + 3600
    done = await probing.round()
    assert done.results["leviathan3"].failure is Failure.TIMEOUT


async def test_traces_that_tell_nothing_of_connections_are_given_up() -> None:
    """The packets of a trace are hashed otherwise than connections: answers show it in the first round."""
    for seed in SEEDS:
        network = Network(VIAS, {"leviathan3": Failure.REFUSED}, oracle="none", seed=seed)

        class Otherwise(Network):
            async def trace(self, sources: Sequence[Source]) -> Mapping[Source, str]:
                return {source: self.way(source, "otherwise") for source in sources}

        network = Otherwise(VIAS, {"leviathan3": Failure.REFUSED}, oracle="none", seed=seed)
        probing = traced(network)
        for _ in range(4):
            done = await probing.round()
            for via, found in done.results.items():
                assert found.success is (via not in network.broken), (seed, via, found)
        assert done.choice.method is Method.IDENTITY


async def test_a_change_back_and_forth_in_mid_round() -> None:
    for seed in SEEDS:
        network = Network(VIAS, {"leviathan3": Failure.TIMEOUT}, oracle="none", identity=False, seed=seed)
        probing = traced(network)
        await probing.round()
        network.flapping = True
        done = await probing.round()
        for via in VIAS[:2]:
            assert via not in done.results or done.results[via].success
        assert MOVED in done.no_flow.values() or set(done.results) == set(VIAS)


def spread(probing: Probing, flows: int = 60) -> None:
    """What the survey would have seen of flows to a port of no service."""
    for source in probing.endpoint.traced.fresh(flows, 0.0):
        probing.endpoint.sightings.connection(source, 33434, probing.network.way(source))


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_sweep_reports_a_share_and_no_path(broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        network = Network(VIAS, broken, oracle="none", identity=False, seed=seed)
        done = await Probing(network).round()
        assert done.results == {}
        assert done.sweep is not None
        assert done.sweep.sent >= flows_needed(3)
        assert done.sweep.failed == sum(not sent.outcome.success for sent in done.sent)
        assert done.sweep.low <= done.sweep.failed / done.sweep.sent <= done.sweep.high
        assert done.sweep.coverage == 0.0, "nobody has seen that this router spreads flows"


async def test_a_sweep_on_which_all_flows_fail_goes_on_until_it_is_no_chance() -> None:
    network = Network(VIAS, dict.fromkeys(VIAS, Failure.TIMEOUT), oracle="none", identity=False)
    probing = Probing(network)
    await probing.round()
    spread(probing)
    done = await probing.round()
    assert done.sweep is not None
    assert done.sweep.sent == done.sweep.failed == flows_needed_for([1 / 3] * 3, SURE)
    assert done.sweep.coverage >= SURE


async def test_flows_that_all_take_one_way_cover_nothing() -> None:
    network = Network(VIAS, dict.fromkeys(VIAS, Failure.TIMEOUT), "addresses", oracle="none", identity=False)
    probing = Probing(network)
    await probing.round()
    spread(probing)
    done = await probing.round()
    assert done.sweep is not None
    assert done.sweep.coverage == 0.0


async def test_an_unevenness_that_could_be_chance_is_no_proof_of_a_spread() -> None:
    """Weights of 5 to 1 to 1, and all flows on the first one: too few to be polarised, and the others were not met."""
    probing = Probing(Network(VIAS, oracle="none", identity=False))
    hops = [
        Hop(via, via, f"10.0.0.{number}", weight)
        for number, (via, weight) in enumerate(zip(VIAS, (5, 1, 1), strict=True))
    ]
    probing.endpoint.rebase(hops, 0.0)
    for source in probing.endpoint.traced.fresh(35, 0.0):
        probing.endpoint.sightings.connection(source, 33434, VIAS[0])
    assert probing.endpoint.spread() is None


@pytest.mark.parametrize("traces", [True, False])
async def test_what_fails_and_then_works_may_go_elsewhere_by_then(*, traces: bool) -> None:
    """A router gives up on a dead next hop between two probes, and its FIB still lists it."""

    class GivesUp(Network):
        async def pause(self, seconds: float) -> None:
            await super().pause(seconds)
            self.given_up = True

        given_up = False

        def way(self, source: Source, salt: str = "") -> str:
            way = super().way(source, salt)
            return VIAS[0] if self.given_up and way == VIAS[2] else way

    for seed in SEEDS:
        network = GivesUp(VIAS, {VIAS[2]: Failure.TIMEOUT}, identity=False, seed=seed)
        probing = Probing(network, proven=True, traces=traces)
        done = await probing.round()
        assert VIAS[2] not in done.results
        assert done.no_flow[VIAS[2]] == MOVED
        done = await probing.round()
        assert set(done.results) == set(VIAS[:2])
