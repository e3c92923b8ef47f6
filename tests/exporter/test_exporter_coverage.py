from __future__ import annotations

import math
from itertools import pairwise

import pytest

from exporter.coverage import DEFAULT_CONFIDENCE, flows_needed, flows_per_path


def met_all(next_hops: int, flows: int) -> float:
    """The exact probability that each of k equally likely next hops is met: inclusion and exclusion."""
    return sum(
        (-1.0) ** missed * math.comb(next_hops, missed) * (1 - missed / next_hops) ** flows
        for missed in range(next_hops + 1)
    )


@pytest.mark.parametrize("next_hops", [1, 2, 3, 4, 5, 8, 16, 32])
@pytest.mark.parametrize("confidence", [0.5, 0.9, DEFAULT_CONFIDENCE, 0.9999])
def test_the_bound_holds_and_is_not_wasteful(next_hops: int, confidence: float) -> None:
    flows = flows_needed(next_hops, confidence)
    assert met_all(next_hops, flows) >= confidence
    if confidence >= 0.9 and next_hops > 1:
        # The union bound is loose by little where the confidence is high.
        assert met_all(next_hops, math.floor(flows * 0.9) - 1) < confidence


def test_figures() -> None:
    assert [flows_needed(next_hops) for next_hops in (1, 2, 3, 4, 8)] == [1, 8, 15, 21, 51]


@pytest.mark.parametrize(("next_hops", "confidence"), [(0, 0.9), (-1, 0.9), (2, 0.0), (2, 1.0), (2, 1.5), (2, -0.1)])
def test_nonsense(next_hops: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="at least one next hop and a confidence between 0 and 1"):
        flows_needed(next_hops, confidence)


def test_more_next_hops_and_more_confidence_need_more_flows() -> None:
    assert all(flows_needed(few) < flows_needed(many) for few, many in pairwise(range(1, 64)))
    assert all(flows_needed(4, low) <= flows_needed(4, high) for low, high in pairwise((0.1, 0.5, 0.9, 0.99, 0.999)))


@pytest.mark.parametrize("interval", [0.5, 1, 2, 5, 10, 15, 30, 60, 300])
def test_no_flow_of_a_path_is_used_again_while_it_rests(interval: float) -> None:
    flows = flows_per_path(interval, 60.0)
    assert 4 <= flows <= 24
    if flows < 24:
        assert (flows - 1) * interval >= 60.0  # one probe a round, and one repeat
