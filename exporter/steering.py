"""Which steering method a VIP gets, and how far the evidence behind it is believed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MIN_COMPARISONS = 8  # a guess over two next hops agrees this often by chance in 1 of 256 cases
# An oracle may be right for half of the flows and guess the others, as Linux does for IPv6: over two next hops
# 24 such answers agree by chance in 1 of 1,000 cases.
ORACLE_COMPARISONS = 24
AGREEMENT_THRESHOLD = 0.95
REDEMPTION = 16  # comparisons that agree in a row, of which chance explains 1 in 65,536
_ERROR = 16  # agreements that one error has to be made up for with
_WINDOW = 64  # comparisons that count


class Method(StrEnum):
    """How flows are put on a path (DESIGN.md section 4)."""

    SINGLE = "single"
    ORACLE = "oracle"
    TRACE = "trace"
    IDENTITY = "identity"
    SWEEP = "sweep"
    NONE = "none"


class Agreement:
    """How often a prediction of a flow's next hop was right, over the last comparisons.

    One for each router and family judges the oracle; one for each endpoint judges memory (does a flow that
    once took a next hop take it again?). `least` comparisons are needed before anything is proven.
    """

    __slots__ = ("_least", "_redemption", "_seen")

    def __init__(self, least: int = MIN_COMPARISONS) -> None:
        self._seen: deque[bool] = deque(maxlen=_WINDOW)
        self._least = least
        self._redemption = max(REDEMPTION, least)

    def record(self, agreements: Iterable[bool]) -> None:
        """Add comparisons of what was predicted with what an answer's identity showed."""
        self._seen.extend(agreements)

    def ratio(self, more: Iterable[bool] = ()) -> float | None:
        """The share of comparisons that agreed, `more` counted in; None while there are none."""
        seen = self._with(more)
        return sum(seen) / len(seen) if seen else None

    def comparisons(self, more: Iterable[bool] = ()) -> int:
        """How many comparisons there are, `more` counted in."""
        return len(self._with(more))

    def proven(self, more: Iterable[bool] = ()) -> bool:
        """Checked often enough and right often enough, or right so many times in a row that the past is over."""
        seen = self._with(more)
        if _in_a_row(seen) >= self._redemption:
            return True
        right, wrong = seen.count(True), seen.count(False)
        return right >= self._least + _ERROR * wrong and right >= AGREEMENT_THRESHOLD * len(seen)

    def disproved(self, more: Iterable[bool] = ()) -> bool:
        """Wrong so often that the comparisons which a first judgement still lacks cannot mend it."""
        seen = self._with(more)
        if _in_a_row(seen) >= self._redemption:
            return False
        return seen.count(False) > (1 - AGREEMENT_THRESHOLD) * max(MIN_COMPARISONS, len(seen))

    def lacking(self, more: Sequence[bool] = ()) -> int:
        """How many comparisons, if all of them agree, would prove it; 0 if it is proven."""
        seen = self._with(more)
        if self.proven(more):
            return 0
        if not seen.count(False):
            return self._least - len(seen)
        return self._redemption - _in_a_row(seen)

    def _with(self, more: Iterable[bool]) -> list[bool]:
        return [*self._seen, *more][-_WINDOW:]


def _in_a_row(seen: list[bool]) -> int:
    """How many at the end agreed without one that did not."""
    return len(seen) if all(seen) else seen[::-1].index(False)


@dataclass(slots=True)
class Trust:
    """What was found out about one router and family: is its oracle right, do single packets tell of connections?

    `vouched_at`: when a trace last found a known flow where it was known to go (seconds since the epoch), so
    that the router had not hashed anew until then. `checkable`: something can be held against the oracle and
    the traces, False once that was tried in vain.
    """

    oracle: Agreement = field(default_factory=lambda: Agreement(ORACLE_COMPARISONS))
    segments: Agreement = field(default_factory=Agreement)
    checkable: bool = True
    vias: set[str] = field(default_factory=set)  # next hops that the oracle has named
    hashing: str = "unknown"  # what the router was found to hash on, a word of exporter.hashing.HashKind
    vouched_at: float = float("-inf")

    def comparable(self, told: Iterable[str]) -> bool:
        """Take note of next hops that the oracle has named: one that always names the same is right about that one
        and proves nothing by it, so comparisons count once it has named two.
        """
        self.vias |= set(told)
        return len(self.vias) > 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The method for one VIP now; `why_not_stronger` is one phrase, empty when it is the strongest."""

    method: Method
    confidence: float
    why_not_stronger: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What could be used for a VIP. `no_oracle` and `no_trace` say why not, empty where it can be had;
    `scrambled` how flows wander, empty where the same flow takes the same next hop again.
    """

    next_hops: int
    wanted: str  # auto, or the name of a method
    has_identity: bool
    no_oracle: str = ""
    no_trace: str = ""
    scrambled: str = ""


def choose(means: Means, trust: Trust, oracle: Iterable[bool] = (), segments: Iterable[bool] = ()) -> Choice:
    """The strongest method that the evidence allows; `oracle` and `segments` are comparisons not recorded yet."""
    if means.next_hops == 1:
        return Choice(Method.SINGLE, 1.0)
    told, traced = tuple(oracle), tuple(segments)
    ways = (
        (Method.ORACLE, _no_oracle(means, trust, told), trust.oracle.ratio(told) or 0.0),
        (Method.TRACE, _no_trace(means, trust, traced), trust.segments.ratio(traced) or 0.0),
        (Method.IDENTITY, "" if means.has_identity else "the target has no identity", 1.0),
        (Method.SWEEP, "", 0.0),
    )
    why: list[str] = []
    for method, obstacle, confidence in ways:
        if means.wanted not in ("auto", method):
            continue
        if not obstacle:
            return Choice(method, confidence, "; ".join(dict.fromkeys(why)))
        why.append(obstacle)
    return Choice(Method.NONE, 0.0, "; ".join(dict.fromkeys(why)))


def _no_oracle(means: Means, trust: Trust, more: tuple[bool, ...]) -> str:
    """Why the oracle cannot be used, empty if it can. What nothing was held against is not believed."""
    if means.no_oracle or means.scrambled:
        return means.no_oracle or means.scrambled
    compared = trust.oracle.comparisons(more)
    if trust.oracle.disproved(more):
        return f"the router's oracle was right for only {trust.oracle.ratio(more) or 0.0:.0%} of {compared} flows"
    if trust.oracle.proven(more):
        return ""
    if not (trust.checkable or means.has_identity):
        return "nothing could be held against the router's oracle"
    needed = compared + trust.oracle.lacking(more)
    return f"the router's oracle was compared with {compared} flows, and {needed} are needed"


def _no_trace(means: Means, trust: Trust, more: tuple[bool, ...]) -> str:
    if means.no_trace or means.scrambled:
        return means.no_trace or means.scrambled
    compared = trust.segments.comparisons(more)
    if trust.segments.disproved(more):
        ratio = trust.segments.ratio(more) or 0.0
        return f"connections took the way of traced packets for only {ratio:.0%} of {compared} flows"
    if trust.segments.proven(more):
        return ""
    if not (trust.checkable or means.has_identity):
        return "no connection could be held against traces"
    needed = compared + trust.segments.lacking(more)
    return f"traces were compared with {compared} connections, and {needed} are needed"
