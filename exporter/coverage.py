"""How many flows it takes to meet every next hop: coverage arithmetic. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

DEFAULT_CONFIDENCE = 0.99
SURE = 1 - 1e-6  # for what names somebody by inference: at one conclusion a minute wrong once in two years
LEAST_SHARE = 1e-9  # no number of flows that could be sent meets a next hop with less

_ROUNDING = 1 + 1e-9  # where the bound holds exactly, rounding must not ask for one flow more
_NEGLIGIBLE = 1e-17  # of a sum of about 1


def flows_needed(next_hops: int, confidence: float = DEFAULT_CONFIDENCE) -> int:
    """Flows to send so that each of k equally likely next hops is met with at least this confidence.

    The union bound of the coupon collector's problem (Motwani and Raghavan, Randomized Algorithms,
    section 3.6.1): some next hop is missed with probability at most k (1 - 1/k)^n. Raises ValueError
    unless next_hops >= 1 and 0 < confidence < 1.
    """
    if next_hops < 1 or not 0 < confidence < 1:
        raise ValueError("needs at least one next hop and a confidence between 0 and 1")
    return _least({1 / next_hops: next_hops}, confidence)


def flows_needed_for(shares: Sequence[float], confidence: float = DEFAULT_CONFIDENCE) -> int:
    """As `flows_needed`, for next hops that are not equally likely: the least n with

        sum over i of (1 - p_i)^n <= 1 - confidence

    where p_i is a share over the sum of all (weights will do). Raises ValueError unless there is a share,
    every share is at least LEAST_SHARE of the sum, and 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise ValueError("needs a confidence between 0 and 1")
    return _least(_normalised(shares), confidence)


def coverage(shares: Sequence[float], flows: int) -> float:
    """The least probability with which this many flows have met every next hop (the bound of
    `flows_needed_for`; raises ValueError as it does, and for a negative number of flows).
    """
    if flows < 0:
        raise ValueError("no number of flows is negative")
    return max(0.0, 1.0 - _missed(_normalised(shares), flows))


def stopping_point(seen: int, failure: float = 0.05) -> int:
    """How many flows, all told, rule out with an error of at most `failure` that there is one next hop more
    than the `seen` that they met, all of them equally likely.

    The n_k of the Multipath Detection Algorithm (Veitch, Augustin, Teixeira and Friedman, Failure Control in
    Multipath Route Tracing, IEEE INFOCOM 2009): the least n for which n flows over K = seen + 1 next hops
    leave one unmet with probability at most `failure`. Who stops at the first n_k that is reached had chances
    to stop too early at every one before: over the whole search the error is up to 1.02 of a failure of 0.05,
    and 1.21 of any. Raises ValueError unless seen >= 0 and 0 < failure <= 1/2.
    """
    if seen < 0 or not 0 < failure <= 0.5:  # noqa: PLR2004 - a coin would do as well
        raise ValueError("needs a number of next hops and a failure between 0 and 1/2")
    flows = flows_needed(seen + 1, 1 - failure)
    while flows > 1 and _some_unmet(seen + 1, flows - 1) <= failure:
        flows -= 1
    return flows


def flows_per_path(interval: float, rest: float) -> int:
    """Flows that one path needs so that none is used again within `rest` seconds, the repeat included."""
    return max(4, min(24, math.ceil(rest / interval) + 2))


def _normalised(shares: Sequence[float]) -> Mapping[float, int]:
    """How many next hops have which share of all."""
    total = math.fsum(shares) if shares else 0.0
    if not (0 < total < math.inf and min(shares) / total >= LEAST_SHARE):
        raise ValueError("needs at least one share, and none that is nothing")
    return Counter(share / total for share in shares)


def _missed(shares: Mapping[float, int], flows: int) -> float:
    """The union bound of the probability that a next hop is missed."""
    return math.fsum(
        many * (math.exp(flows * math.log1p(-share)) if share < 1 else float(not flows))
        for share, many in shares.items()
    )


def _least(shares: Mapping[float, int], confidence: float) -> int:
    allowed = (1 - confidence) * _ROUNDING
    enough = 1
    while _missed(shares, enough) > allowed:
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (short + enough) // 2
        if _missed(shares, middle) <= allowed:
            enough = middle
        else:
            short = middle
    return enough


def _some_unmet(next_hops: int, flows: int) -> float:
    """The exact probability that one of k equally likely next hops is met by no flow: inclusion and exclusion.

    Its terms are about u^j / j! with u = k (1 - 1/k)^n. It is asked only where u is at most about 1: there they
    shrink from the first one on, so that nothing cancels, however many next hops there are.
    """
    total, sign = 0.0, 1
    for unmet in range(1, next_hops):
        term = math.comb(next_hops, unmet) * (1 - unmet / next_hops) ** flows
        total += sign * term
        if term < _NEGLIGIBLE:
            break
        sign = -sign
    return total
