"""Which steering method a VIP gets, and how far the evidence behind it is believed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MIN_COMPARISONS = 8  # a guess over two next hops agrees this often by chance in 1 of 256 cases
AGREEMENT_THRESHOLD = 0.95
UNCHECKED_CONFIDENCE = 0.5  # of an oracle that nothing could be held against
REDEMPTION = 16  # comparisons that agree in a row, of which chance explains 1 in 65,536
_WINDOW = 64  # comparisons that count


class Method(StrEnum):
    """How flows are put on a path (DESIGN.md section 4)."""

    SINGLE = "single"
    ORACLE = "oracle"
    IDENTITY = "identity"
    NONE = "none"


class Agreement:
    """How often a prediction of a flow's next hop was right, over the last comparisons.

    One for each router and family judges the oracle; one for each endpoint judges memory (does a flow that
    once took a next hop take it again?).
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[bool] = deque(maxlen=_WINDOW)

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
        if _in_a_row(seen) >= REDEMPTION:
            return True
        return len(seen) >= MIN_COMPARISONS and sum(seen) / len(seen) >= AGREEMENT_THRESHOLD

    def disproved(self, more: Iterable[bool] = ()) -> bool:
        """Wrong so often that the comparisons which a first judgement still lacks cannot mend it."""
        seen = self._with(more)
        if _in_a_row(seen) >= REDEMPTION:
            return False
        return seen.count(False) > (1 - AGREEMENT_THRESHOLD) * max(MIN_COMPARISONS, len(seen))

    def lacking(self, more: Sequence[bool] = ()) -> int:
        """How many comparisons, if all of them agree, would prove it; 0 if it is proven."""
        seen = self._with(more)
        if self.proven(more):
            return 0
        if not seen.count(False):
            return MIN_COMPARISONS - len(seen)
        return REDEMPTION - _in_a_row(seen)

    def _with(self, more: Iterable[bool]) -> list[bool]:
        return [*self._seen, *more][-_WINDOW:]


def _in_a_row(seen: list[bool]) -> int:
    """How many at the end agreed without one that did not."""
    return len(seen) if all(seen) else seen[::-1].index(False)


@dataclass(frozen=True, slots=True)
class Choice:
    """The method for one VIP now; `why_not_stronger` is one phrase, empty when it is the strongest."""

    method: Method
    confidence: float
    why_not_stronger: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What could be used for a VIP. `checkable`: some target of the same router and family has an identity."""

    next_hops: int
    wanted: str  # auto, oracle or identity
    has_oracle: bool
    has_identity: bool
    checkable: bool


def choose(means: Means, oracle: Agreement, more: Iterable[bool] = ()) -> Choice:
    """The strongest method that the evidence allows; `more` are comparisons not recorded yet."""
    if means.next_hops == 1:
        return Choice(Method.SINGLE, 1.0)
    choice, why = _oracle(means, oracle, tuple(more))
    if choice is not None:
        return choice
    if means.has_identity and means.wanted != Method.ORACLE:
        return Choice(Method.IDENTITY, 1.0, why)
    return Choice(Method.NONE, 0.0, why if means.has_identity else f"{why}, and the target has no identity")


def _oracle(means: Means, oracle: Agreement, more: tuple[bool, ...]) -> tuple[Choice | None, str]:
    if means.wanted == Method.IDENTITY:
        return None, "the configuration asks for identity"
    if not means.has_oracle:
        return None, "the router cannot be asked about single flows"
    ratio = oracle.ratio(more) or 0.0
    if oracle.disproved(more):
        return None, f"the router's oracle was right for only {ratio:.0%} of {oracle.comparisons(more)} flows"
    if oracle.proven(more):
        return Choice(Method.ORACLE, ratio), ""
    if means.has_identity:
        return Choice(Method.ORACLE, UNCHECKED_CONFIDENCE, "the oracle is still being checked"), ""
    if means.checkable:
        return None, "the router's oracle is not checked yet"
    return Choice(Method.ORACLE, UNCHECKED_CONFIDENCE, "nothing to check the oracle against"), ""
