"""Rounds without a router's word, and on a machine that cannot send: nothing of it is the path's fault."""

from __future__ import annotations

import pytest

from exporter.steering import Method
from probes.model import Failure
from tests.exporter.simulated import Network, Probing
from tests.exporter.test_exporter_endpoint import BROKEN, SEEDS, VIAS, check


@pytest.mark.parametrize("identity", [True, False])
async def test_local_port_conflicts_are_no_failure(identity: bool) -> None:
    for seed in SEEDS:
        conflicts = frozenset(port for port in range(20000, 20400) if (port * 7 + seed) % 3 == 0)
        network = Network(VIAS, identity=identity, conflicts=conflicts, seed=seed)
        probing = Probing(network, proven=True)
        for _ in range(3):
            done = await probing.round()
            check(network, done)
            assert all(not result.failures for result in done.results.values())
            assert not {source.port for source in network.probed} & conflicts


async def test_all_ports_in_conflict() -> None:
    network = Network(VIAS, identity=False, conflicts=frozenset(range(20000, 20400)))
    done = await Probing(network, proven=True).round()
    check(network, done)
    assert done.results == {}


async def test_a_machine_that_cannot_send_says_so() -> None:
    network = Network(VIAS, identity=False, cannot_send=True)
    done = await Probing(network, proven=True).round()
    assert done.results == {}
    assert set(done.no_flow) == set(VIAS)
    assert all("this machine could not send a probe" in why for why in done.no_flow.values())


@pytest.mark.parametrize("oracle", ["honest", "none"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_blind_rounds_go_on_with_the_last_map(oracle: str, broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        network = Network(VIAS, oracle=oracle, seed=seed)
        probing = Probing(network)
        for _ in range(4):
            await probing.round()
        network.broken = broken
        done = await probing.blind(VIAS)
        check(network, done)
        assert set(done.results) == set(VIAS)
        assert done.choice.confidence == 0.5
        assert done.choice.why_not_stronger == "the router cannot be asked"


@pytest.mark.parametrize("broken", BROKEN)
async def test_blind_from_the_start_by_identity(broken: dict[str, Failure]) -> None:
    for seed in SEEDS:
        network = Network(VIAS, broken, oracle="none", seed=seed)
        probing = Probing(network)
        for _ in range(3):
            done = await probing.blind(VIAS)
            check(network, done)
            assert set(done.results) <= set(VIAS) - set(broken)
        # The router is back: what was learned blindly is no hindrance.
        check(network, await probing.round())


async def test_blind_from_the_start_with_nothing_to_go_by() -> None:
    network = Network(VIAS, oracle="none", identity=False)
    done = await Probing(network).blind(VIAS)
    assert (done.results, network.probed) == ({}, [])
    assert set(done.no_flow.values()) == {"the router cannot be asked"}


async def test_blind_with_one_node() -> None:
    network = Network(VIAS[:1], {"leviathan1": Failure.REFUSED}, oracle="none", identity=False)
    done = await Probing(network).blind(VIAS[:1])
    check(network, done)
    assert done.choice.method is Method.SINGLE
    assert done.results["leviathan1"].failures == (Failure.REFUSED, Failure.REFUSED)
