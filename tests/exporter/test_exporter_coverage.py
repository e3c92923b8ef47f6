from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.coverage import (
    DEFAULT_CONFIDENCE,
    SURE,
    coverage,
    flows_needed,
    flows_needed_for,
    flows_per_path,
    stopping_point,
)

# Veitch, Augustin, Teixeira and Friedman (INFOCOM 2009), and scamper's tables up to 62 next hops.
PUBLISHED_95 = (6, 11, 16, 21, 27, 33, 38, 44, 51, 57, 63, 70, 76, 83, 90, 96, 103, 110, 117, 124, 131, 138, 145)
PUBLISHED_99 = (8, 15, 21, 28, 36, 43, 51, 58, 66, 74, 82, 90, 98, 106, 115, 123, 132, 140, 149, 157, 166, 175, 183)

weights = st.lists(st.integers(1, 256), min_size=1, max_size=6)
confidences = st.sampled_from([0.5, 0.9, 0.95, DEFAULT_CONFIDENCE, 0.9999, SURE])


def unmet(given_weights: Sequence[int], flows: int) -> float:
    """The probability that some next hop is met by no flow, exact but for the last division: inclusion and
    exclusion over sets of next hops.
    """
    total = sum(given_weights)
    found = 0
    for count in range(1, len(given_weights) + 1):
        for missed in combinations(given_weights, count):
            found -= (-1) ** count * (total - sum(missed)) ** flows
    return float(found / total**flows)


def met_all(next_hops: int, flows: int) -> float:
    """Equal shares: how many next hops were met so far is a Markov chain."""
    chances = [1.0] + [0.0] * next_hops
    for _ in range(flows):
        for met in range(next_hops, 0, -1):
            chances[met] = chances[met] * met / next_hops + chances[met - 1] * (next_hops - met + 1) / next_hops
        chances[0] = 0.0
    return 1 - math.fsum(chances[:-1])


def test_the_measures_of_these_tests_agree_with_counting() -> None:
    for flows in range(6):
        ways = [set(taken) for taken in product(range(3), repeat=flows)]
        missing = sum(len(taken) < 3 for taken in ways) / len(ways)
        assert unmet([1, 1, 1], flows) == pytest.approx(missing)
        assert met_all(3, flows) == pytest.approx(1 - missing)
        # A next hop of weight 2 is two of weight 1.
        missing = sum(not (taken & {0, 1} and 2 in taken) for taken in ways) / len(ways)
        assert unmet([2, 1], flows) == pytest.approx(missing)


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
    assert [flows_needed_for(shares) for shares in ([3, 1], [9, 1], [255, 1])] == [17, 44, 1177]
    assert [flows_needed(next_hops, SURE) for next_hops in (2, 3, 8)] == [21, 37, 120]


@pytest.mark.parametrize(("next_hops", "confidence"), [(0, 0.9), (-1, 0.9), (2, 0.0), (2, 1.0), (2, 1.5), (2, -0.1)])
def test_nonsense(next_hops: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="at least one next hop and a confidence between 0 and 1"):
        flows_needed(next_hops, confidence)


@pytest.mark.parametrize("shares", [[], [0], [1, 0], [-1, 2], [math.nan], [math.inf, 1], [1e-10, 1], [1, 5e-324]])
def test_shares_that_no_flows_would_cover(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one share, and none that is nothing"):
        flows_needed_for(shares)
    with pytest.raises(ValueError, match="at least one share, and none that is nothing"):
        coverage(shares, 3)


def test_confidences_and_flows_that_there_are_not() -> None:
    for confidence in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(ValueError, match="confidence between 0 and 1"):
            flows_needed_for([1, 1], confidence)
    with pytest.raises(ValueError, match="negative"):
        coverage([1, 1], -1)


def test_more_next_hops_and_more_confidence_need_more_flows() -> None:
    assert all(flows_needed(few) < flows_needed(many) for few, many in pairwise(range(1, 64)))
    assert all(flows_needed(4, low) <= flows_needed(4, high) for low, high in pairwise((0.1, 0.5, 0.9, 0.99, 0.999)))


@settings(deadline=None)
@given(weights, confidences)
def test_unequal_shares_against_exact_probabilities(found: list[int], confidence: float) -> None:
    flows = flows_needed_for(found, confidence)
    assert unmet(found, flows) <= (1 - confidence) * (1 + 1e-8)
    total = sum(found)
    missed = [sum((total - weight) ** sent for weight in found) / total**sent for sent in (flows - 1, flows)]
    assert missed[1] <= (1 - confidence) * (1 + 1e-8)
    assert flows == 1 or missed[0] > (1 - confidence) * (1 - 1e-8)  # the least that the bound allows


@settings(deadline=None)
@given(weights, st.integers(0, 400))
def test_coverage_is_a_lower_bound_that_grows(found: list[int], flows: int) -> None:
    bound = coverage(found, flows)
    assert 0 <= bound <= 1 - unmet(found, flows) + 1e-12
    assert coverage(found, flows + 1) >= bound
    assert coverage(found, flows_needed_for(found)) >= DEFAULT_CONFIDENCE - 1e-9


@settings(deadline=None)
@given(st.integers(1, 128), confidences, st.floats(1e-3, 1e3))
def test_equal_shares_need_what_their_number_needs(next_hops: int, confidence: float, scale: float) -> None:
    assert flows_needed_for([scale] * next_hops, confidence) == flows_needed(next_hops, confidence)


@settings(deadline=None)
@given(weights)
def test_only_proportions_count_and_the_scarcest_next_hop_most(found: list[int]) -> None:
    assert flows_needed_for([weight / 7 for weight in found]) == flows_needed_for(found)
    assert flows_needed_for(found[::-1]) == flows_needed_for(found)
    assert flows_needed_for(found) >= flows_needed(len(found))


def test_a_share_of_one_in_a_billion_is_counted() -> None:
    assert flows_needed_for([1.0, 2e-9]) == pytest.approx(math.log(100) / 2e-9, rel=1e-6)


def test_stopping_points_as_published() -> None:
    assert tuple(stopping_point(seen) for seen in range(1, len(PUBLISHED_95) + 1)) == PUBLISHED_95
    assert tuple(stopping_point(seen, 0.01) for seen in range(1, len(PUBLISHED_99) + 1)) == PUBLISHED_99
    assert (stopping_point(0), stopping_point(62), stopping_point(62, 0.01)) == (1, 445, 547)


@pytest.mark.parametrize("seen", [1, 2, 3, 7, 20, 63, 128])
@pytest.mark.parametrize("failure", [0.5, 0.25, 0.05, 1 - SURE])
def test_stopping_points_are_the_least_that_rule_one_more_out(seen: int, failure: float) -> None:
    flows = stopping_point(seen, failure)
    assert 1 - met_all(seen + 1, flows) <= failure * (1 + 1e-6)
    assert 1 - met_all(seen + 1, flows - 1) > failure


@settings(deadline=None)
@given(st.integers(1, 9), st.floats(1e-9, 0.5))
def test_stopping_points_against_exact_probabilities(seen: int, failure: float) -> None:
    flows = stopping_point(seen, failure)
    assert unmet([1] * (seen + 1), flows) <= failure * (1 + 1e-9)
    assert unmet([1] * (seen + 1), flows - 1) > failure * (1 - 1e-9)


@pytest.mark.parametrize(("failure", "most"), [(0.5, 1.21), (0.25, 1.21), (0.05, 1.02), (0.01, 1.0), (1 - SURE, 1.0)])
@pytest.mark.parametrize("next_hops", [2, 3, 4, 6, 9, 16, 40])
def test_the_error_of_a_search_that_stops_as_soon_as_it_may(next_hops: int, failure: float, most: float) -> None:
    points = [1, *(stopping_point(seen, failure) for seen in range(1, next_hops))]
    chances = [1.0] + [0.0] * next_hops
    wrong = 0.0
    for sent in range(1, points[-1] + 1):
        for met in range(next_hops, 0, -1):
            chances[met] = chances[met] * met / next_hops + chances[met - 1] * (next_hops - met + 1) / next_hops
        chances[0] = 0.0
        for met in range(1, next_hops):
            if sent >= points[met]:
                wrong += chances[met]
                chances[met] = 0.0
    assert failure / 100 < wrong <= most * failure


@pytest.mark.parametrize(("seen", "failure"), [(-1, 0.05), (3, 0.0), (3, 0.6), (3, -0.1)])
def test_stopping_points_that_there_are_not(seen: int, failure: float) -> None:
    with pytest.raises(ValueError, match="a failure between 0 and 1/2"):
        stopping_point(seen, failure)


@pytest.mark.parametrize("interval", [0.5, 1, 2, 5, 10, 15, 30, 60, 300])
def test_no_flow_of_a_path_is_used_again_while_it_rests(interval: float) -> None:
    flows = flows_per_path(interval, 60.0)
    assert 4 <= flows <= 24
    if flows < 24:
        assert (flows - 1) * interval >= 60.0  # one probe a round, and one repeat
