"""How many flows it takes to meet every next hop: coverage arithmetic. Pure."""

from __future__ import annotations

import math

DEFAULT_CONFIDENCE = 0.99


def flows_needed(next_hops: int, confidence: float = DEFAULT_CONFIDENCE) -> int:
    """Flows to send so that each of k equally likely next hops is met with at least this confidence.

    The union bound of the coupon collector's problem (Motwani and Raghavan, Randomized Algorithms,
    section 3.6.1): some next hop is missed with probability at most k (1 - 1/k)^n. Raises ValueError
    unless next_hops >= 1 and 0 < confidence < 1.
    """
    if next_hops < 1 or not 0 < confidence < 1:
        raise ValueError("needs at least one next hop and a confidence between 0 and 1")
    if next_hops == 1:
        return 1
    return math.ceil(math.log((1 - confidence) / next_hops) / math.log(1 - 1 / next_hops))


def flows_per_path(interval: float, rest: float) -> int:
    """Flows that one path needs so that none is used again within `rest` seconds, the repeat included."""
    return max(4, min(24, math.ceil(rest / interval) + 2))
