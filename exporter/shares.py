"""Which share of the flows each next hop gets, and what can be said of shares that were counted. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIGNIFICANCE = 1e-4
LEAST_EXPECTED = 5  # flows for each next hop; with fewer, chi-square is no good approximation (Cochran 1954)
SMALL_EFFECT = 0.1  # Cohen's w; 16 hash buckets dealt to 3 next hops come to 0.09, one of two next hops unused to 1


@dataclass(frozen=True, slots=True)
class FlowShare:
    """What one next hop got of the flows, and what it should get (0 to 1). `share` is None while there are none."""

    via: str
    flows: int
    share: float | None
    expected: float


def wilson(failed: int, sent: int, z: float = 1.96) -> tuple[float, float]:
    """The score interval of a ratio (Wilson, Journal of the American Statistical Association 22, 1927):
    all ratios from which what was counted is at most `z` standard deviations away; 1.96 is 95%.

    Nothing sent says nothing: 0 to 1. Raises ValueError unless 0 <= failed <= sent and z >= 0.
    """
    if not 0 <= failed <= sent or not z >= 0:
        raise ValueError("needs 0 <= failed <= sent and z >= 0")
    if not sent:
        return 0.0, 1.0
    ratio, square = failed / sent, z * z / sent
    middle = (ratio + square / 2) / (1 + square)
    half = math.sqrt(square) * math.sqrt(ratio * (1 - ratio) + square / 4) / (1 + square)
    return (
        max(0.0, middle - half) if failed else 0.0,  # exact where rounding would not be
        min(1.0, middle + half) if failed < sent else 1.0,
    )


def chi_square_p(counts: Sequence[int], expected_shares: Sequence[float]) -> float:
    """Pearson's test: how probable counts at least this uneven are if the shares are as expected.

    Shares need not sum to 1. Raises ValueError unless there is one positive share for each count.
    """
    statistic = _statistic(counts, expected_shares)
    return chi_square_survival(statistic, len(counts) - 1)


def chi_square_survival(statistic: float, degrees: int) -> float:
    """The probability that chi-square with this many degrees of freedom (0 or more) is `statistic` or larger.

    Abramowitz and Stegun, 26.4.4 for odd and 26.4.5 for even degrees: finite sums, whose terms are
    x^a exp(-x) / Gamma(a + 1) with x half of the statistic and a = 0, 1, ... or 1/2, 3/2, ... below degrees / 2.
    """
    if degrees < 0 or not statistic >= 0:
        raise ValueError("needs degrees of freedom and a statistic that are not negative")
    half = statistic / 2
    if half == 0:
        return 1.0
    if not degrees or half == math.inf:
        return 0.0
    found = [math.erfc(math.sqrt(half))] if degrees % 2 else []
    for index in range(degrees // 2):
        power = index + degrees % 2 / 2
        found.append(math.exp(power * math.log(half) - half - math.lgamma(power + 1)))
    return min(1.0, math.fsum(found))


def flow_shares(counts: Mapping[str, int], weights: Mapping[str, int]) -> tuple[FlowShare, ...]:
    """One for each next hop that has a weight, in the order of `weights`, then one for each other that got flows."""
    total, weight = sum(counts.values()), sum(weights.values())
    others = [via for via, flows in counts.items() if flows and via not in weights]
    return tuple(
        FlowShare(
            via=via,
            flows=counts.get(via, 0),
            share=counts.get(via, 0) / total if total else None,
            expected=weights.get(via, 0) / weight if weight else 0.0,
        )
        for via in (*weights, *others)
    )


def polarised(counts: Mapping[str, int], weights: Mapping[str, int], significance: float = SIGNIFICANCE) -> bool | None:
    """Whether flows go to the next hops in other proportions than their weights say, beyond chance and by more
    than a router's few hash buckets explain. None while some next hop should have had fewer than 5 flows.

    Give the weights of those next hops alone that flows can be counted of: one that never answers would look
    like one that gets nothing. Flows of others are left out. Raises ValueError for a weight below 1.
    """
    seen = [counts.get(via, 0) for via in weights]
    if not weights or sum(seen) * min_share(weights) < LEAST_EXPECTED:
        return None
    statistic = _statistic(seen, list(weights.values()))
    effect = math.sqrt(statistic / sum(seen))
    return effect >= SMALL_EFFECT and chi_square_survival(statistic, len(seen) - 1) < significance


def min_share(weights: Mapping[str, int]) -> float:
    """The share of the next hop with the least weight. Raises ValueError without weights, or for one below 1."""
    if not weights or min(weights.values()) < 1:
        raise ValueError("needs weights, each of them at least 1")
    return min(weights.values()) / sum(weights.values())


def _statistic(counts: Sequence[int], shares: Sequence[float]) -> float:
    total, flows = math.fsum(shares), sum(counts)
    sound = 0 < len(counts) == len(shares) and min(counts) >= 0 and 0 < total < math.inf
    if not (sound and min(shares) / total > 0):
        raise ValueError("needs one positive share for each count, and no negative count")
    if not flows:
        return 0.0
    expected = [flows * (share / total) for share in shares]
    return math.fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
