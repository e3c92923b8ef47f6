"""Which flows to one VIP and port take which next hop. No I/O; time is an argument.

The map holds only while the router forwards to the same next hops in the same order and weights (its
basis): a change of these moves flows, and what was learned before says nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from probes.ports import REST_SECONDS, Source

Basis = tuple[tuple[str, int], ...]
"""(via, weight) of each next hop, in the FIB's order."""

_NEVER = float("-inf")
_FEW = 128  # memories of use that are always kept


@dataclass(frozen=True, slots=True)
class Rehash:
    """What the last change of next hops did to flows, of those whose old next hop is still in use.

    `at` in seconds since the epoch. A resilient hash moves few of them, a modulo hash many.
    """

    at: float
    compared: int
    moved: int


class PathMap:
    """The flows known for each next hop of one endpoint, and when each was last used.

    `candidates` starts the flows that may be tried, always in the same order; `limit` is how many flows
    are kept for one next hop.
    """

    __slots__ = (
        "_again",
        "_before",
        "_candidates",
        "_coming",
        "_crowded",
        "_last",
        "_vias",
        "basis",
        "changed_at",
        "learned_at",
        "limit",
        "rehash",
    )

    def __init__(self, candidates: Callable[[], Iterator[Source]], limit: int) -> None:
        self.basis: Basis = ()
        self.changed_at = _NEVER  # seconds; when the next hops became these
        self.learned_at = _NEVER
        self.limit = limit
        self.rehash: Rehash | None = None
        self._before: dict[Source, str] = {}  # where flows went before the last change of next hops
        self._again: list[Source] = []  # those of them that are to be tried first
        self._candidates = candidates
        self._coming = candidates()
        self._vias: dict[str, list[Source]] = {}
        self._last: dict[Source, float] = {}
        self._crowded = _FEW  # memories of use at which those that have rested are dropped

    def rebase(self, basis: Basis, now: float) -> bool:
        """Start anew if the next hops are not those that the map was learned for. True if it did."""
        if basis == self.basis:
            return False
        staying = {via for via, _ in basis}
        turns = _turns(self._before | self.known(), staying, self.limit)
        self._before = dict(turns)
        self._again = list(self._before)
        self.rehash = Rehash(now, 0, 0) if self._before else None
        self.basis = basis
        self.changed_at = now
        self.forget_all()
        return True

    def forget_all(self) -> None:
        """Nothing is known any more; when flows were last used is."""
        self._vias = {}
        self.learned_at = _NEVER

    def fresh(self, count: int, now: float) -> list[Source]:
        """Up to `count` flows whose next hop is not known: rested ones in the candidates' order.

        After a change of next hops half of them are flows of before, as long as there are some. More would make a
        next hop that is new wait: a resilient hash leaves most of them where they were.
        """
        known = self.known()
        half = -(-count // 2)
        again, self._again = self._again[:half], self._again[half:]
        found = dict.fromkeys(source for source in again if source not in known)
        begun_anew = False
        while len(found) < count:
            source = next(self._coming, None)
            if source is None:
                if begun_anew:
                    break
                self._coming = self._candidates()
                begun_anew = True
            elif source not in known and self._rested(source, now):
                found[source] = None
        return list(found)

    def learn(self, source: Source, via: str) -> bool:
        """Note that a flow takes a next hop, and none that it was thought to take before.

        True if nothing was known of it before the last change of next hops either: it was chosen blindly.
        """
        before = self._before.pop(source, None)
        if before is not None and self.rehash is not None:
            moved = self.rehash.moved + (before != via)
            self.rehash = Rehash(self.rehash.at, self.rehash.compared + 1, moved)
        sources = self._vias.setdefault(via, [])
        if source not in sources:
            self.forget(source)
            if len(sources) < self.limit:
                sources.append(source)
        return before is None

    def forget(self, source: Source) -> None:
        """It is not known any more where this flow goes."""
        for sources in self._vias.values():
            if source in sources:
                sources.remove(source)

    def pick(self, via: str, now: float, besides: Iterable[Source] = ()) -> Source | None:
        """The flow of this path that has rested longest, marked as used now; None if there is no other."""
        free = [source for source in self._vias.get(via, ()) if source not in besides]
        best = min(free, key=lambda source: self._last.get(source, _NEVER), default=None)
        if best is not None:
            self.touch(best, now)
        return best

    def touch(self, source: Source, now: float) -> None:
        """The flow is in use now, so its port must rest."""
        self._last[source] = now
        if len(self._last) > self._crowded:
            self._last = {known: used for known, used in self._last.items() if now - used < REST_SECONDS}
            self._crowded = 2 * len(self._last) + _FEW

    def sources(self, via: str) -> tuple[Source, ...]:
        """The flows known for one next hop."""
        return tuple(self._vias.get(via, ()))

    def via_of(self, source: Source) -> str | None:
        """The next hop that a flow is known to take."""
        return next((via for via, sources in self._vias.items() if source in sources), None)

    def known(self) -> dict[Source, str]:
        """Every flow that is known, and its next hop."""
        return {source: via for via, sources in self._vias.items() for source in sources}

    def _rested(self, source: Source, now: float) -> bool:
        return now - self._last.get(source, _NEVER) >= REST_SECONDS


def _turns(known: Mapping[Source, str], staying: Container[str], most: int) -> list[tuple[Source, str]]:
    """The flows of the next hops that stay, `most` of each, the youngest, by turns of one from each."""
    by_via: dict[str, list[Source]] = {}
    for source, via in known.items():
        if via in staying:
            by_via.setdefault(via, []).append(source)
    columns = [[(source, via) for source in sources[-most:]] for via, sources in by_via.items()]
    return [one for row in zip_longest(*columns) for one in row if one is not None]
