"""A node that the router forwards to by several addresses: its path is up only if each of them is."""

from __future__ import annotations

import pytest

from exporter.steering import Method
from probes.model import Failure, Outcome
from probes.ports import Source
from tests.exporter.simulated import Network, Probing

VIAS = ("leviathan1", "leviathan2", "leviathan3")
TWO = ("10.0.0.11", "10.0.0.211")


class Half(Network):
    """What goes by the second address of the first node is lost."""

    __slots__ = ()

    async def probe(self, source: Source) -> Outcome:
        outcome = await Network.probe(self, source)
        told = await self.addresses([source])
        if told.get(source) != TWO[1]:
            return outcome
        return Outcome(outcome.flow, False, Failure.TIMEOUT, "no answer", 3.0)


@pytest.mark.parametrize("identity", [True, False])
async def test_a_node_with_one_broken_address_is_never_ok(*, identity: bool) -> None:
    for seed in range(30):
        probing = Probing(Half(VIAS, identity=identity, seed=seed, more=TWO), proven=True)
        for _ in range(4):
            done = await probing.round()
            found = done.results["leviathan1"]
            assert done.choice.method is Method.ORACLE
            assert not found.success
            assert found.detail.startswith("through 10.0.0.211")
            assert done.results["leviathan2"].success
            assert done.results["leviathan3"].success


async def test_a_node_with_two_addresses_that_work_is_ok() -> None:
    for seed in range(30):
        probing = Probing(Network(VIAS, identity=False, seed=seed, more=TWO), proven=True)
        for _ in range(4):
            done = await probing.round()
            assert done.results["leviathan1"].success


async def test_an_address_that_no_flow_takes_leaves_the_path_unverified() -> None:
    probing = Probing(Network(VIAS, identity=False, more=(*TWO, "10.0.0.212")), proven=True)
    done = await probing.round()
    assert "leviathan1" not in done.results
    assert "10.0.0.11, 10.0.0.211, 10.0.0.212" in done.no_flow["leviathan1"]


async def test_a_trace_does_not_tell_addresses_of_a_node_apart() -> None:
    for seed in range(10):
        network = Half(VIAS, oracle="none", identity=False, seed=seed, more=TWO)
        done = await Probing(network, proven=True, traces=True).round()
        assert done.choice.method is Method.TRACE
        assert "leviathan1" not in done.results or not done.results["leviathan1"].success
        assert done.results["leviathan2"].success


async def test_the_only_node_by_two_addresses() -> None:
    done = await Probing(Network(VIAS[:1], identity=False, more=TWO), proven=True).round()
    assert done.choice.method is Method.SINGLE
    assert not done.results
