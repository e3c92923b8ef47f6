"""What the simulated router puts packets on next hops by."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.forwarding import GRADUAL_SECONDS, Forwarding, Hops
from tests.simulation.world import Hashing
from tests.simulation.worlds import VIP, packet

THREE: Hops = (("n01", 1), ("n02", 1), ("n03", 1))
PORTS = range(20000, 24000)
STEADY = [Hashing.FIVE_TUPLE, Hashing.ADDRESSES, Hashing.RESILIENT, Hashing.GRADUAL]


def router(hashing: Hashing, hops: Hops = THREE, shape: str = "threshold") -> Forwarding:
    made = Forwarding(hashing, shape, 7)
    made.install(VIP, hops, 0.0)
    return made


@pytest.mark.parametrize("hashing", STEADY)
def test_a_flow_keeps_its_way(hashing: Hashing) -> None:
    made = router(hashing)
    for port in PORTS[:200]:
        ways = {made.connection(packet(port, connection=number, moment=float(number))) for number in range(5)}
        assert len(ways) == 1


@pytest.mark.parametrize("shape", ["threshold", "modulo"])
@pytest.mark.parametrize("hashing", [Hashing.FIVE_TUPLE, Hashing.RESILIENT])
def test_flows_are_spread_by_weight(hashing: Hashing, shape: str) -> None:
    made = router(hashing, (("n01", 1), ("n02", 2), ("n03", 5)), shape)
    counts = Counter(made.way(packet(port)) for port in PORTS)
    for via, weight in made.fib[VIP]:
        assert counts[via] == pytest.approx(len(PORTS) * weight / 8, rel=0.15)


def test_a_hash_over_addresses_knows_no_ports() -> None:
    made = router(Hashing.ADDRESSES)
    assert len({made.way(packet(port)) for port in PORTS[:200]}) == 1
    assert len({made.way(packet(20000, f"192.0.2.{number}")) for number in range(1, 40)}) == 3


def test_at_random_a_connection_keeps_its_way_and_a_packet_does_not() -> None:
    made = router(Hashing.RANDOM)
    assert len({made.way(packet(20000, connection=1, moment=0.001 * number)) for number in range(50)}) == 1
    assert len({made.way(packet(20000, connection=number)) for number in range(50)}) == 3
    made = router(Hashing.PACKET)
    assert len({made.way(packet(20000, connection=1, moment=0.001 * number)) for number in range(50)}) == 3


def test_a_carried_hash_shows_in_connections_alone() -> None:
    made = router(Hashing.CARRIED)
    assert len({made.way(packet(20000, connection=number, moment=float(number))) for number in range(50)}) == 1
    assert len({made.connection(packet(20000, connection=1, moment=float(number))) for number in range(50)}) == 3


def moved(before: Forwarding, hops: Hops, now: float) -> tuple[int, int]:
    """Flows that move when the next hops change, of those on next hops that stay; and all of these."""
    old = {port: before.way(packet(port)) for port in PORTS}
    before.install(VIP, hops, 1.0)
    staying = {via for via, _ in hops}
    kept = [port for port, via in old.items() if via in staying]
    return sum(before.way(packet(port, moment=now)) != old[port] for port in kept), len(kept)


def test_a_resilient_hash_moves_only_what_it_must() -> None:
    lost, of = moved(router(Hashing.RESILIENT), THREE[:2], 1.0)
    assert lost == 0
    gained, of = moved(router(Hashing.RESILIENT), (*THREE, ("n04", 1)), 1.0)
    assert gained == pytest.approx(of / 4, rel=0.2)
    gained, of = moved(router(Hashing.FIVE_TUPLE, shape="modulo"), (*THREE, ("n04", 1)), 1.0)
    assert gained > of / 2


def test_a_gradual_hash_takes_its_time() -> None:
    at_once, of = moved(router(Hashing.GRADUAL), (*THREE, ("n04", 1)), 1.0)
    assert at_once == 0
    half, _ = moved(router(Hashing.GRADUAL), (*THREE, ("n04", 1)), 1.0 + GRADUAL_SECONDS / 2)
    whole, _ = moved(router(Hashing.GRADUAL), (*THREE, ("n04", 1)), 2.0 + GRADUAL_SECONDS)
    assert 0 < half < whole == pytest.approx(of / 4, rel=0.2)
    # What lost its next hop cannot wait.
    made = router(Hashing.GRADUAL)
    made.install(VIP, THREE[:2], 1.0)
    assert "n03" not in {made.way(packet(port, moment=1.0)) for port in PORTS}


@pytest.mark.parametrize("hashing", STEADY)
def test_a_router_that_hashes_anew_moves_flows(hashing: Hashing) -> None:
    made = router(hashing)
    sources = [packet(20000 + number, f"192.0.2.{number}") for number in range(1, 200)]
    old = [made.way(source) for source in sources]
    made.rehash("another", 5.0)
    assert [made.way(source) for source in sources] != old
    assert made.changed[VIP] >= 5.0


def test_nowhere_to_go() -> None:
    made = router(Hashing.RESILIENT)
    made.install(VIP, (), 1.0)
    assert made.way(packet(20000)) is None
    made.install(VIP, THREE, 2.0)
    assert {made.way(packet(port, moment=2.0)) for port in PORTS} == {"n01", "n02", "n03"}
