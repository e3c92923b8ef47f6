"""Rounds against a simulated router: no healthy next hop is ever called down, no broken one up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exporter.coverage import flows_needed
from exporter.rounds import Round
from exporter.steering import ORACLE_COMPARISONS, Method
from probes.model import Failure
from tests.exporter.simulated import Network, Probing

VIAS = ("leviathan1", "leviathan2", "leviathan3")
NO_IDENTITY = "the target has no identity"
SEEDS = range(40)
BROKEN = [
    {},
    {"leviathan3": Failure.TIMEOUT},
    {"leviathan3": Failure.REFUSED},
    {"leviathan1": Failure.TIMEOUT, "leviathan2": Failure.REFUSED},
    dict.fromkeys(VIAS, Failure.TIMEOUT),
]


def check(network: Network, done: Round) -> None:
    """Whatever was concluded is true, and every next hop has a result or a reason why not."""
    for via, result in done.results.items():
        assert result.success is (via not in network.broken), (via, result, done.choice)
        assert result.failure is network.broken.get(via)
        assert result.probes >= 1
        assert result.source_ports
    assert set(done.results) | set(done.no_flow) == set(network.vias)
    assert not set(done.results) & set(done.no_flow)
    assert all(done.no_flow.values())


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("count", [2, 3])
async def test_honest_oracle_without_identity(broken: dict[str, Failure], count: int) -> None:
    vias = VIAS[-count:]
    for seed in SEEDS:
        network = Network(
            vias, {via: how for via, how in broken.items() if via in vias}, identity=False, oracle="honest", seed=seed
        )
        probing = Probing(network, proven=True)
        for _ in range(3):
            done = await probing.round()
            check(network, done)
            assert set(done.results) == set(vias)
            assert done.choice.method is Method.ORACLE
            assert {result.confidence for result in done.results.values()} == {1.0}


@pytest.mark.parametrize("broken", BROKEN)
async def test_honest_oracle_is_believed_once_it_was_checked(broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        network = Network(VIAS, broken, seed=seed)
        probing = Probing(network)
        for _ in range(8):
            done = await probing.round()
            check(network, done)
        if len(broken) < len(VIAS):
            assert done.choice.method is Method.ORACLE
            assert set(done.results) == set(VIAS)
            assert probing.trust.oracle.ratio() == 1.0
            assert done.choice.confidence == 1.0
            assert len(done.sent) == len(VIAS) + len(broken), "one probe a path, and a second one where it failed"


@pytest.mark.parametrize("oracle", ["lying", "constant"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_a_lying_oracle_is_found_out(oracle: str, broken: dict[str, Failure]) -> None:
    methods = []
    for seed in SEEDS:
        network = Network(VIAS, broken, oracle=oracle, seed=seed)
        probing = Probing(network)
        for _ in range(4):
            done = await probing.round()
            check(network, done)
        methods.append(done.choice.method)
    if len(broken) < len(VIAS):
        # All known flows may fail to show it: then what is concluded is true all the same.
        assert methods.count(Method.IDENTITY) >= 0.8 * len(methods)


async def test_a_lie_is_found_out_at_once() -> None:
    for seed in SEEDS:
        probing = Probing(Network(VIAS, oracle="lying", seed=seed))
        checks = [check for _ in range(2) for check in (await probing.round()).oracle_checks]
        assert not all(checks)
        done = await probing.round()
        assert done.choice.method is Method.IDENTITY
        assert "the router's oracle was right for only" in done.choice.why_not_stronger
        assert all(result.success for result in done.results.values())


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("hashing", ["five-tuple", "random"])
async def test_identity_without_an_oracle(hashing: str, broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        network = Network(VIAS, broken, hashing=hashing, oracle="none", seed=seed)
        probing = Probing(network)
        for _ in range(6):
            done = await probing.round()
            check(network, done)
            assert done.choice.method is Method.IDENTITY
        answering = set(VIAS) - set(broken)
        # A next hop that never answers is never named: nobody can know which flows take it.
        assert set(done.results) <= answering
        if hashing == "five-tuple" and answering:
            assert set(done.results) == answering


async def test_a_path_that_breaks_after_it_was_learned_by_identity_is_down() -> None:
    for seed in SEEDS:
        network = Network(VIAS, oracle="none", seed=seed)
        probing = Probing(network)
        for _ in range(4):
            check(network, await probing.round())
        network.broken = {"leviathan2": Failure.TIMEOUT}
        done = await probing.round()
        check(network, done)
        assert set(done.results) == set(VIAS)
        # The probe, its repeat, and one more a moment later, because the path did not fail before.
        assert done.results["leviathan2"].failures == (Failure.TIMEOUT,) * 3
        assert done.results["leviathan2"].confidence == 1.0
        done = await probing.round()
        assert done.results["leviathan2"].failures == (Failure.TIMEOUT,) * 2


async def test_balancing_at_random_names_nobody_for_a_failure() -> None:
    for seed in SEEDS:
        network = Network(VIAS, hashing="random", oracle="none", seed=seed)
        probing = Probing(network)
        for _ in range(4):
            check(network, await probing.round())
        network.broken = {"leviathan2": Failure.TIMEOUT}
        for _ in range(4):
            done = await probing.round()
            check(network, done)
            assert "leviathan2" not in done.results


async def test_balancing_at_random_over_one_next_hop_that_answers() -> None:
    """Every answer names the same node then, which looks like memory and is none."""
    for seed in SEEDS:
        network = Network(VIAS, dict.fromkeys(VIAS[1:], Failure.TIMEOUT), hashing="random", oracle="none", seed=seed)
        probing = Probing(network)
        for _ in range(20):
            check(network, await probing.round())
        assert not probing.endpoint.memory.proven()


@pytest.mark.parametrize("oracle", ["honest", "none"])
async def test_a_hash_over_addresses_leaves_paths_without_a_flow(oracle: str) -> None:
    network = Network(VIAS, hashing="addresses", oracle=oracle)
    probing = Probing(network)
    for _ in range(3):
        done = await probing.round()
        check(network, done)
        assert len(done.results) == 1
    assert network.asked < 10, "a question that brings nothing new is not asked for ever"
    for why in done.no_flow.values():
        assert "no answer has named it yet" in why


@pytest.mark.parametrize("oracle", ["honest", "none"])
async def test_a_hash_over_addresses_with_several_source_addresses(oracle: str) -> None:
    network = Network(VIAS, hashing="addresses", oracle=oracle, broken={"leviathan1": Failure.TIMEOUT})
    probing = Probing(network, addresses=[f"192.0.2.{number}" for number in range(1, 33)])
    for _ in range(3):
        done = await probing.round()
        check(network, done)
    assert set(done.results) == (set(VIAS) if oracle == "honest" else set(VIAS) - {"leviathan1"})


@pytest.mark.parametrize("broken", [{}, {"leviathan1": Failure.TIMEOUT}])
async def test_one_next_hop(broken: dict[str, Failure]) -> None:
    network = Network(VIAS[:1], broken, oracle="none", identity=False)
    done = await Probing(network).round()
    check(network, done)
    assert done.choice.method is Method.SINGLE
    assert done.results["leviathan1"].confidence == 1.0
    assert len(done.sent) == 1 + len(broken)
    assert len(set(network.probed)) == len(network.probed), "the repeat takes another flow"


async def test_the_only_next_hop_is_answered_by_another_node() -> None:
    class Elsewhere(Network):
        def way(self, source: object, salt: str = "") -> str:
            del source, salt
            return "leviathan2"

    network = Elsewhere(VIAS[:1])
    done = await Probing(network).round()
    assert done.results == {}
    assert done.no_flow == {"leviathan1": "flows that should take it were answered by leviathan2"}


async def test_nothing_to_steer_by() -> None:
    network = Network(VIAS, oracle="none", identity=False)
    done = await Probing(network).round()
    check(network, done)
    assert done.choice.method is Method.SWEEP
    assert len(network.probed) == flows_needed(3)
    assert set(done.no_flow.values()) == {
        f"the router cannot be asked about single flows; flows cannot be traced (no CAP_NET_RAW); {NO_IDENTITY}"
    }
    for wanted in ("oracle", "trace", "identity"):
        network = Network(VIAS, oracle="none", identity=False)
        done = await Probing(network, wanted=wanted).round()
        check(network, done)
        assert done.choice.method is Method.NONE
        assert network.probed == []


@pytest.mark.parametrize("moves_after", [1, 2, 3])
async def test_flows_that_move_in_mid_round_do_not_bring_a_path_down(moves_after: int) -> None:
    for seed in SEEDS:
        network = Network(VIAS, {"leviathan3": Failure.TIMEOUT}, identity=False, seed=seed, moves_after=moves_after)
        done = await Probing(network, proven=True).round()
        for via in VIAS[:2]:
            assert via not in done.results or done.results[via].success


@pytest.mark.parametrize("oracle", ["honest", "none"])
@pytest.mark.parametrize("broken", BROKEN[:3])
async def test_next_hops_that_change_and_change_back_in_mid_round(oracle: str, broken: dict[str, Failure]) -> None:
    """Nobody is blamed for it, and neither the oracle nor memory loses its good name."""
    for seed in SEEDS:
        probing = Probing(Network(VIAS, broken={}, oracle=oracle, seed=seed))
        for _ in range(8):
            check(probing.network, await probing.round())
        probing.network.broken = broken
        await probing.round()
        probing.network.flapping = True
        check(probing.network, await probing.round())
        probing.network.flapping = False
        for _ in range(10):
            done = await probing.round()
            check(probing.network, done)
        assert done.choice.method == (Method.ORACLE if oracle == "honest" else Method.IDENTITY)
        assert set(done.results) >= set(VIAS) - set(broken)


async def test_what_changes_for_good_or_bad_was_asked_about_again() -> None:
    network = Network(VIAS, {"leviathan3": Failure.TIMEOUT}, identity=False)
    probing = Probing(network, proven=True)
    await probing.round()
    asked = network.asked
    await probing.round()
    assert network.asked == asked + 1
    network.broken = {}
    await probing.round()
    assert network.asked == asked + 2, "it works again: do its flows still take it?"
    await probing.round()
    assert network.asked == asked + 2, "nothing failed, nothing to ask"


async def test_an_oracle_that_falls_silent_confirms_nothing() -> None:
    network = Network(VIAS, identity=False)
    probing = Probing(network, proven=True)
    await probing.round()
    network.broken = {"leviathan3": Failure.TIMEOUT}

    async def silent(sources: Sequence[object]) -> dict[object, str]:
        del sources
        return {}

    class Silent(Network):
        ask_oracle = staticmethod(silent)  # type: ignore[assignment]

    probing.network = Silent(VIAS, network.broken, identity=False, clock=network.clock)
    done = await probing.round()
    assert "leviathan3" not in done.results
    assert done.no_flow["leviathan3"].startswith("the router did not confirm")
    assert all(probing.endpoint.known.sources(via) for via in VIAS), "for probes while the router cannot be asked"


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_oracle_without_an_answer_leaves_it_to_identity(broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        probing = Probing(Network(VIAS, broken, oracle="mute", seed=seed))
        for _ in range(4):
            done = await probing.round()
            check(probing.network, done)
        assert done.choice.method is Method.IDENTITY
        assert set(done.results) == set(VIAS) - set(broken)
        assert probing.network.asked == (1 if len(broken) < len(VIAS) else 0), "a mute oracle is left alone"


async def test_an_oracle_without_an_answer_and_nothing_else() -> None:
    probing = Probing(Network(VIAS, oracle="mute", identity=False))
    probing.trust.oracle.record([True] * ORACLE_COMPARISONS)
    done = await probing.round()
    assert not done.results
    assert done.choice.method is Method.SWEEP
    assert "the router's oracle gave no answer" in done.choice.why_not_stronger
    check(probing.network, done)


async def test_other_next_hops_make_the_map_anew() -> None:
    network = Network(VIAS, identity=False)
    probing = Probing(network, proven=True)
    await probing.round()
    network.vias = VIAS[:2]
    done = await probing.round()
    check(network, done)
    assert set(done.results) == set(VIAS[:2])
    assert [via for via, _ in done.basis] == list(VIAS[:2])
    assert probing.endpoint.map.sources("leviathan3") == ()


async def test_a_disbelieved_oracle_gets_another_chance() -> None:
    network = Network(VIAS, oracle="lying")
    probing = Probing(network)
    assert (await probing.round()).choice.method is Method.IDENTITY
    network.oracle = "honest"
    methods = []
    for _ in range(600):
        done = await probing.round()
        check(network, done)
        methods.append(done.choice.method)
    assert methods[0] is Method.IDENTITY
    assert methods[-1] is Method.ORACLE


async def test_a_search_ends_at_the_bound() -> None:
    network = Network(VIAS, {"leviathan3": Failure.TIMEOUT}, oracle="none")
    probing = Probing(network)
    first = await probing.round()
    unknown = [sent for sent in first.sent if sent.meant is None]
    assert len(unknown) == flows_needed(3)
    later = await probing.round()
    assert len([sent for sent in later.sent if sent.meant is None]) <= 2
    assert "flows of unknown way were sent in the last round" in later.no_flow["leviathan3"]


async def test_the_repeat_decides_and_both_count() -> None:
    class Flaky(Network):
        def way(self, source: object, salt: str = "") -> str:
            del source, salt
            return "leviathan1" if len(self.probed) <= 1 else "leviathan2"

    network = Flaky(VIAS[:1], {"leviathan1": Failure.TIMEOUT}, oracle="none", identity=False)
    done = await Probing(network).round()
    result = done.results["leviathan1"]
    assert (result.success, result.probes, result.failures) == (True, 2, (Failure.TIMEOUT,))
    assert len(result.source_ports) == 2
