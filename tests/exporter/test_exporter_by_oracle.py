"""What the oracle's answers depend on, and which of them can be believed together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, sampled_from

from exporter.by_oracle import consistent
from exporter.hashing import HashKind
from exporter.pathmap import Basis
from probes.ports import Source

EVEN: Basis = (("a", 1), ("b", 1), ("c", 1))


def answers(addresses: int, ports: int, basis: Basis, *, by_port: bool, wrong: float, seed: int) -> dict[Source, str]:
    """What an oracle says that is wrong for a share of the flows, of a router that hashes ports or does not."""
    dice = random.Random(seed)  # noqa: S311
    vias, weights = [via for via, _ in basis], [weight for _, weight in basis]
    found: dict[Source, str] = {}
    for number in range(addresses):
        usual = dice.choices(vias, weights)[0]
        for port in range(20000, 20000 + ports):
            odd = by_port or dice.random() < wrong
            found[Source(f"192.0.2.{number}", port)] = dice.choices(vias, weights)[0] if odd else usual
    return found


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("addresses", "ports"), [(1, 60), (8, 16), (30, 4)])
def test_a_few_odd_answers_of_a_router_that_hashes_addresses_are_left_out(
    addresses: int, ports: int, seed: int
) -> None:
    told = answers(addresses, ports, EVEN, by_port=False, wrong=0.03, seed=seed)
    kind, kept = consistent(told, EVEN)
    assert kind is HashKind.ADDRESSES
    assert len({(source.address, via) for source, via in kept.items()}) == addresses
    assert kept.items() <= told.items()
    assert len(kept) >= 0.8 * len(told)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("basis", [EVEN, (("a", 1), ("b", 1)), (("a", 5), ("b", 1)), (("a", 19), ("b", 1))])
@pytest.mark.parametrize(("addresses", "ports"), [(1, 200), (8, 30)])
def test_a_hash_over_ports_is_never_taken_for_one_over_addresses(
    addresses: int, ports: int, basis: Basis, seed: int
) -> None:
    told = answers(addresses, ports, basis, by_port=True, wrong=0.0, seed=seed)
    kind, kept = consistent(told, basis)
    assert kind is HashKind.FIVE_TUPLE
    assert kept == told


def test_few_answers_say_nothing() -> None:
    told = answers(1, 20, EVEN, by_port=False, wrong=0.0, seed=1)
    assert consistent(told, EVEN) == (HashKind.UNKNOWN, told)
    told = answers(1, 21, EVEN, by_port=False, wrong=0.0, seed=1)
    assert consistent(told, EVEN) == (HashKind.ADDRESSES, told)


@given(
    dictionaries(
        integers(20000, 20100).map(lambda port: Source(f"192.0.2.{port % 3}", port)), sampled_from("abc"), min_size=1
    )
)
def test_what_is_kept_was_told(told: dict[Source, str]) -> None:
    kind, kept = consistent(told, EVEN)
    assert kept.items() <= told.items()
    assert kind is HashKind.ADDRESSES or kept == told
