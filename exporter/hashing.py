"""What a router hashes on, found out by watching which next hops flows take. Pure.

Every conclusion is a test: it is drawn when what was seen would be a rare accident if it were wrong. Two
things would spoil the tests, and whoever reports sightings must avoid them:
- flows that were chosen because of the next hop that they take, as if they had been chosen blindly. A flow
  that was reported before may be chosen as one likes: it counts as a repeat, not as a sample;
- answers that come in before silences. Who asks about many flows at once reports each as silent when it asks
  (`via` None), and reports the answer when it comes: otherwise the flows of a next hop that never answers are
  missing for as long as it takes to be sure that they are silent, and the others look like all.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import TypeAlias

from exporter.steering import AGREEMENT_THRESHOLD, MIN_COMPARISONS, Agreement
from probes.ports import Source

CHANCE = 1e-4  # how rarely an accident may look like a router that hashes only addresses
MOST_FLOWS = 4096  # that are remembered of one endpoint
_WINDOW = 64  # repeats that count, as many as in an Agreement
# What MIN_COMPARISONS agreements weigh where two next hops are equally likely, less what rounding takes.
_ENOUGH = MIN_COMPARISONS * math.log2(2 * AGREEMENT_THRESHOLD) - 1e-9

_Flow: TypeAlias = tuple[str | None, int, int]  # source address, source port, destination port


class HashKind(StrEnum):
    """What decides which next hop a packet takes."""

    FIVE_TUPLE = "five_tuple"  # ports count too: a flow keeps its next hop, another port may take another one
    ADDRESSES = "addresses"  # ports do not count
    PER_PACKET = "per_packet"  # packets of one flow take different next hops
    RANDOM = "random"  # connections of one flow take different next hops; of its packets that was not seen
    UNKNOWN = "unknown"  # not enough was seen yet


class Sightings:
    """What was seen of the flows of one endpoint (a VIP behind one router) since its next hops last changed.

    `steady`: segments of one flow agree; `kept`: connections of one flow agree; `alike`: a segment and a
    connection of one flow agree. An agreement is recorded only once two next hops have been seen: as long as
    one alone answers, no answer could ever name another one. Where two sightings of a flow disagree, one
    disagreement is recorded, and all older sightings are out of date: a router that hashes anew moves every
    flow, and that is one event. Remembers MOST_FLOWS flows; beyond that those go that were met first.
    """

    __slots__ = (
        "_both",
        "_connections",
        "_first",
        "_last",
        "_segments",
        "_several",
        "_time",
        "alike",
        "kept",
        "steady",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing was seen yet: the next hops have changed."""
        self.steady, self.kept, self.alike = Agreement(), Agreement(), Agreement()
        self._segments, self._connections = _Watch(self.steady), _Watch(self.kept)
        self._both = _Watch(self.alike)
        self._first: dict[_Flow, tuple[str, int] | None] = {}  # next hop and time; None: never answered yet
        self._last: str | None = None
        self._several = False
        self._time = 0  # counts sightings

    def segment(self, source: Source, port: int, via: str | None) -> None:
        """A single packet of the flow to `port` came to the next hop `via`; None: nothing answered it."""
        self._see(self._segments, self._connections, (source.address, source.port, port), via)

    def connection(self, source: Source, port: int, via: str | None) -> None:
        """A whole connection, or the attempt at one, as `segment`; None: whatever it met named nobody."""
        self._see(self._connections, self._segments, (source.address, source.port, port), via)

    def kind(self, shares: Mapping[str, float]) -> HashKind:
        """What follows from all this, if each next hop in use should get its share of the flows (any scale)."""
        if self.steady.disproved():
            return HashKind.PER_PACKET
        if self.kept.disproved():
            return HashKind.RANDOM
        known = _normalised(shares, shares)
        answering = _normalised(shares, {*self.counts(), *self._segments.vias(), *self._connections.vias()})
        crossed = self._segments.crossed() or self._connections.crossed()
        if self._both.holds(answering) and crossed:
            return HashKind.FIVE_TUPLE  # what two different packets of a flow agree on is its 5-tuple's doing
        telling = [self._connections] if self.alike.disproved() else [self._segments, self._connections]
        proven = {watch for watch in telling if watch.holds(answering)}
        if any(watch.crossed() for watch in proven) and all(watch in proven or watch.young() for watch in telling):
            return HashKind.FIVE_TUPLE
        if self._segments in telling and self._accident(known) < CHANCE:
            return HashKind.ADDRESSES
        return HashKind.UNKNOWN

    def counts(self) -> Mapping[str, int]:
        """How many flows were first met on each next hop: a fair sample, since repeats do not count."""
        return Counter(first[0] for first in self._first.values() if first is not None)

    def silent(self) -> int:
        """How many flows never had an answer."""
        return sum(first is None for first in self._first.values())

    def _see(self, watch: _Watch, other: _Watch, flow: _Flow, via: str | None) -> None:
        if flow not in self._first:
            self._first[flow] = None
            if len(self._first) > MOST_FLOWS:
                oldest = next(iter(self._first))
                del self._first[oldest]
                watch.forget(oldest)
                other.forget(oldest)
        if via is None:
            return
        self._time += 1
        self._first[flow] = self._first[flow] or (via, self._time)
        self._several = self._several or (self._last is not None and via != self._last)
        self._last = via
        watch.see(flow, via, self._time, several=self._several)
        there = other.since(flow, max(watch.moved_at, other.moved_at))
        if there is not None and (there != via or self._several):
            self._both.compare(there, via)

    def _accident(self, shares: Mapping[str, float]) -> float:
        """How probable it is that every source address keeps to one next hop as far as was seen, if ports count.

        n ports of one address keep to one next hop with probability sum of share^n. Only flows count that were
        never met before the last disagreement. 1.0 where something speaks against it: two next hops, an unknown
        one, or, of an address that had answers, a flow that had none. Addresses that had no answer at all say
        nothing.
        """
        moved = max(self._segments.moved_at, self._connections.moved_at)
        ports: dict[str | None, set[int]] = {}
        silent: set[str | None] = set()
        for (address, port, _), first in self._first.items():
            if first is None:
                silent.add(address)
            else:
                ports.setdefault(address, set()).update([port] if first[1] > moved else [])
        vias: dict[str | None, set[str]] = {}
        for watch in (self._segments, self._connections):
            watch.collect(vias, moved)
        if not silent.isdisjoint(ports) or any(len(seen) > 1 or not seen <= shares.keys() for seen in vias.values()):
            return 1.0
        return math.prod(
            math.fsum(share ** len(seen) for share in shares.values()) for seen in ports.values() if len(seen) > 1
        )


class _Watch:
    """Where flows went, by one kind of packet."""

    __slots__ = ("_agreement", "_latest", "_pairs", "_turns", "moved_at")

    def __init__(self, agreement: Agreement) -> None:
        self.moved_at = 0  # what was seen up to then is out of date
        self._agreement = agreement
        self._latest: dict[_Flow, tuple[str, int]] = {}  # next hop and time
        self._pairs: deque[tuple[str, str]] = deque(maxlen=_WINDOW)  # a repeat: where it went before, and then
        self._turns: dict[str | None, tuple[str, int]] = {}  # by source address: the latest next hop, and changes

    def see(self, flow: _Flow, via: str, time: int, *, several: bool) -> None:
        before = self.since(flow, self.moved_at)
        self._latest[flow] = via, time
        if before is not None and (before != via or several):
            self.compare(before, via)
        if before not in (None, via):
            self.moved_at = time - 1
            self._turns.clear()
        last, turns = self._turns.get(flow[0], (via, 0))
        if len(self._turns) < MOST_FLOWS or flow[0] in self._turns:
            self._turns[flow[0]] = via, turns + (via != last)

    def compare(self, before: str, via: str) -> None:
        """The same flow was seen on these two."""
        self._agreement.record([before == via])
        self._pairs.append((before, via))

    def since(self, flow: _Flow, time: int) -> str | None:
        """Where the flow went when it was last seen, if that was after `time`."""
        via, when = self._latest.get(flow, ("", time))
        return via if when > time else None

    def forget(self, flow: _Flow) -> None:
        self._latest.pop(flow, None)

    def collect(self, vias: dict[str | None, set[str]], since: int) -> None:
        """Add the next hops of each source address."""
        for (address, _, _), (via, when) in self._latest.items():
            if when > since:
                vias.setdefault(address, set()).add(via)

    def vias(self) -> Iterable[str]:
        """Those that repeats took."""
        return (via for pair in self._pairs for via in pair)

    def crossed(self) -> bool:
        """Whether flows of one source address went to one next hop, to another, and then back: different flows,
        since none has disagreed. One change alone could be the router's, hashing anew.
        """
        return any(turns > 1 for _, turns in self._turns.values())

    def young(self) -> bool:
        """Whether there were too few repeats to expect a proof of them."""
        return self._agreement.comparisons() < MIN_COMPARISONS

    def holds(self, shares: Mapping[str, float]) -> bool:
        """Whether flows keep their next hop, by the agreement and beyond what chance would do.

        A cumulative sum (Page, Biometrika 41, 1954) of log2 of how much more probable each repeat is if flows
        are kept (and 1 - AGREEMENT_THRESHOLD of the sightings are wrong) than if each packet takes any next
        hop by its share. To agree on a next hop that gets nearly everything is no evidence.
        """
        weight, wrong = 0.0, 1 - AGREEMENT_THRESHOLD
        for before, after in self._pairs:
            share = min(shares.get(before, 1.0), AGREEMENT_THRESHOLD)
            step = math.log2((1 - wrong) / share) if before == after else math.log2(wrong / (1 - share))
            weight = max(0.0, weight + step)
        return weight >= _ENOUGH and self._agreement.proven()


def _normalised(shares: Mapping[str, float], among: Collection[str]) -> Mapping[str, float]:
    """The shares of some next hops, of what they get together."""
    found = {via: share for via, share in shares.items() if via in among and share > 0}
    total = math.fsum(found.values())
    return {via: share / total for via, share in found.items()}
