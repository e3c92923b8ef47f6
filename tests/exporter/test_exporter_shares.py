from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.shares import (
    FlowShare,
    chi_square_p,
    chi_square_survival,
    flow_shares,
    min_share,
    polarised,
    wilson,
)


def integrated(statistic: float, degrees: int) -> float:
    """The upper tail by Simpson's rule over the density in t = sqrt(x), which has no pole at 0."""
    steps, end = 4000, 60.0
    start = math.sqrt(statistic)
    width = (end - start) / steps

    def density(root: float) -> float:
        if root == 0:
            return math.sqrt(2 / math.pi) if degrees == 1 else 0.0
        power = (degrees - 1) * math.log(root) - root * root / 2
        return 2 * math.exp(power - degrees / 2 * math.log(2) - math.lgamma(degrees / 2))

    inner = math.fsum(density(start + step * width) * (4 if step % 2 else 2) for step in range(1, steps))
    return (density(start) + density(end) + inner) * width / 3


def binomial_tail(least: int, sent: int, ratio: float) -> float:
    return math.fsum(
        math.comb(sent, count) * ratio**count * (1 - ratio) ** (sent - count) for count in range(least, sent + 1)
    )


@pytest.mark.parametrize(
    ("failed", "sent", "low", "high"),
    [  # the worked figures of Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(failed: int, sent: int, low: float, high: float) -> None:
    assert wilson(failed, sent) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.1, 6))
def test_wilson_holds_exactly_the_ratios_that_are_near(sent: int, part: float, z: float) -> None:
    failed = round(part * sent)
    low, high = wilson(failed, sent, z)
    assert 0 <= low <= failed / sent <= high <= 1
    for edge in {low, high} - {0.0, 1.0}:
        away = abs(failed / sent - edge) / math.sqrt(edge * (1 - edge) / sent)
        assert away == pytest.approx(z, rel=1e-6)
    mirrored = wilson(sent - failed, sent, z)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)
    assert (low == 0) == (failed == 0)
    assert (high == 1) == (failed == sent)


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("sent", [30, 100])
def test_wilson_covers_the_truth_about_as_often_as_it_says(sent: int, ratio: float) -> None:
    covered = 1.0
    for failed in range(sent + 1):
        low, high = wilson(failed, sent)
        if not low <= ratio <= high:
            covered -= math.comb(sent, failed) * ratio**failed * (1 - ratio) ** (sent - failed)
    assert 0.91 < covered < 0.99


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for failed, sent, z in ((-1, 3, 1.0), (4, 3, 1.0), (1, 3, -1.0), (1, 3, math.nan)):
        with pytest.raises(ValueError, match="0 <= failed <= sent"):
            wilson(failed, sent, z)


@pytest.mark.parametrize(
    ("degrees", "statistic", "tail"),
    [  # Abramowitz and Stegun, table 26.8
        (1, 3.84146, 0.05),
        (1, 10.8276, 0.001),
        (2, 5.99147, 0.05),
        (2, 18.4207, 0.0001),
        (3, 7.81473, 0.05),
        (4, 13.2767, 0.01),
        (7, 14.0671, 0.05),
        (10, 18.3070, 0.05),
        (15, 30.5779, 0.01),
        (30, 59.7031, 0.001),
        (100, 124.342, 0.05),
    ],
)
def test_chi_square_as_published(degrees: int, statistic: float, tail: float) -> None:
    assert chi_square_survival(statistic, degrees) == pytest.approx(tail, rel=1e-4)


@pytest.mark.parametrize("degrees", [*range(1, 12), 31, 64, 127, 200])
@pytest.mark.parametrize("part", [0.1, 0.5, 1.0, 1.5, 3.0])
def test_chi_square_against_its_integral(degrees: int, part: float) -> None:
    statistic = part * degrees
    assert chi_square_survival(statistic, degrees) == pytest.approx(integrated(statistic, degrees), rel=1e-6, abs=1e-9)


@given(st.integers(0, 500), st.floats(0, 1e6), st.floats(0, 1e6))
@example(2, 0.0, 5e-324)
def test_chi_square_falls_and_is_a_probability(degrees: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    tails = chi_square_survival(less, degrees), chi_square_survival(more, degrees)
    assert 0 <= tails[1] <= tails[0] + 1e-12 <= 1 + 1e-12
    assert chi_square_survival(more, degrees + 1) >= tails[1] - 1e-12


def test_the_ends_of_chi_square() -> None:
    assert [chi_square_survival(0.0, degrees) for degrees in (0, 1, 2)] == [1.0, 1.0, 1.0]
    assert [chi_square_survival(math.inf, degrees) for degrees in (0, 1, 2)] == [0.0, 0.0, 0.0]
    assert chi_square_survival(1.0, 0) == 0.0
    for statistic, degrees in ((-1.0, 2), (math.nan, 2), (1.0, -1)):
        with pytest.raises(ValueError, match="not negative"):
            chi_square_survival(statistic, degrees)


def test_pearson_by_hand() -> None:
    # (44 - 50)^2 / 50 twice, 26.4.4: erfc(sqrt(0.72))
    assert chi_square_p([44, 56], [1, 1]) == pytest.approx(math.erfc(math.sqrt(0.72)))
    assert chi_square_p([10, 20, 30], [1, 2, 3]) == 1.0
    assert chi_square_p([0, 0], [1, 1]) == 1.0
    assert chi_square_p([7], [1]) == 1.0
    assert chi_square_p([30, 0, 0], [1, 1, 1]) == pytest.approx(math.exp(-30))


@pytest.mark.parametrize(
    ("counts", "shares"), [([], []), ([1], [1, 1]), ([1, 1], [1, 0]), ([-1, 1], [1, 1]), ([1, 1], [1e300, 1e-300])]
)
def test_pearson_of_nonsense(counts: list[int], shares: list[float]) -> None:
    with pytest.raises(ValueError, match="one positive share for each count"):
        chi_square_p(counts, shares)


@pytest.mark.parametrize("shares", [[1, 1, 1], [3, 2, 1], [1, 1, 1, 1]])
def test_a_fair_router_is_rarely_called_uneven(shares: Sequence[int]) -> None:
    """Every outcome of 24 or 30 flows, each with its exact probability."""
    flows, total = 24 if len(shares) == 4 else 30, sum(shares)
    wrong = 0.0
    for most in product(range(flows + 1), repeat=len(shares) - 1):
        if sum(most) > flows:
            continue
        counts = [*most, flows - sum(most)]
        if chi_square_p(counts, shares) < 0.01:
            ways = math.factorial(flows)
            for count in counts:
                ways //= math.factorial(count)
            wrong += ways * math.prod((share / total) ** count for share, count in zip(shares, counts, strict=True))
    assert 0.004 < wrong < 0.016


def test_shares_of_flows() -> None:
    found = flow_shares({"b": 3, "x": 1, "y": 0}, {"a": 1, "b": 3})
    assert found == (
        FlowShare("a", 0, 0.0, 0.25),
        FlowShare("b", 3, 0.75, 0.75),
        FlowShare("x", 1, 0.25, 0.0),
    )
    assert flow_shares({}, {"a": 1, "b": 1}) == (FlowShare("a", 0, None, 0.5), FlowShare("b", 0, None, 0.5))
    assert flow_shares({}, {}) == ()


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=6),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), max_size=4),
)
def test_shares_sum_up(counts: dict[str, int], weights: dict[str, int]) -> None:
    found = flow_shares(counts, weights)
    assert sum(one.flows for one in found) == sum(counts.values())
    assert [one.via for one in found][: len(weights)] == list(weights)
    assert len({one.via for one in found}) == len(found)
    if any(counts.values()):
        assert math.fsum(one.share or 0.0 for one in found) == pytest.approx(1.0)
    if weights:
        assert math.fsum(one.expected for one in found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counts", "weights", "answer"),
    [
        ({}, {}, None),
        ({}, {"a": 1, "b": 1}, None),
        ({"a": 9}, {"a": 1, "b": 1}, None),  # 4.5 expected of each
        ({"a": 16}, {"a": 1, "b": 1}, True),  # 6 in 100,000 by chance
        ({"a": 15}, {"a": 1, "b": 1}, False),
        ({"a": 30, "b": 30}, {"a": 1, "b": 1, "c": 1}, True),
        ({"a": 19, "b": 1}, {"a": 19, "b": 1}, None),  # 1 expected
        ({"a": 95, "b": 5}, {"a": 19, "b": 1}, False),
        ({"a": 50, "b": 50}, {"a": 19, "b": 1}, True),
        ({"a": 50, "x": 10**6}, {"a": 1}, False),
        # 16 hash buckets over three next hops are never even: significant, and no polarisation
        ({"a": 6 * 4000, "b": 5 * 4000, "c": 5 * 4000}, {"a": 1, "b": 1, "c": 1}, False),
        ({"a": 3 * 4000, "b": 2 * 4000}, {"a": 1, "b": 1}, True),
    ],
)
def test_polarisation(counts: dict[str, int], weights: dict[str, int], answer: bool | None) -> None:
    assert polarised(counts, weights) is answer


def test_polarisation_has_the_error_that_was_asked_for() -> None:
    """Over two next hops, every outcome of 200 flows with its exact probability."""
    wrong = math.fsum(
        math.comb(200, count) / 2**200
        for count in range(201)
        if polarised({"a": count, "b": 200 - count}, {"a": 1, "b": 1}, 0.01)
    )
    assert 0.005 < wrong < 0.015
    assert wrong == pytest.approx(2 * binomial_tail(119, 200, 0.5))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1), st.integers(5, 50))
def test_what_is_spread_by_weight_is_never_polarised(weights: dict[str, int], times: int) -> None:
    assert polarised({via: weight * times for via, weight in weights.items()}, weights) is False


def test_the_least_share() -> None:
    assert min_share({"a": 1}) == 1.0
    assert min_share({"a": 3, "b": 1, "c": 4}) == 0.125
    for weights in ({}, {"a": 0, "b": 1}, {"a": -1}):
        with pytest.raises(ValueError, match="each of them at least 1"):
            min_share(weights)
    with pytest.raises(ValueError, match="each of them at least 1"):
        polarised({"a": 50}, {"a": 1, "b": 0})
