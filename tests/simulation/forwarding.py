"""The router's data plane: which next hop a packet takes."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.dice import number, share
from tests.simulation.world import Hashing

BUCKETS = 256
GRADUAL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Packet:
    """What a router may hash. `connection` is the same in all packets of one connection and in no others;
    `moment` tells packets apart.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int
    connection: object
    moment: float


Hops = tuple[tuple[str, int], ...]
"""(next hop, weight), in the FIB's order."""


@dataclass(slots=True)
class _Bucket:
    """`then` takes over from `now` at `at` (seconds)."""

    now: str
    then: str
    at: float


@dataclass(slots=True)
class Forwarding:
    """`salt` is what the router was booted with; `changed` tells when flows last moved, or last will (seconds)."""

    hashing: Hashing
    shape: str
    salt: object = 0
    fib: dict[str, Hops] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    _buckets: dict[str, list[_Bucket]] = field(default_factory=dict)

    def install(self, vip: str, hops: Hops, now: float) -> None:
        """Forward a VIP to other next hops from now on."""
        if self.fib.get(vip) == hops:
            return
        self.fib[vip] = hops
        self.changed[vip] = now
        if self.hashing in (Hashing.RESILIENT, Hashing.GRADUAL):
            self._fill(vip, hops, now)

    def rehash(self, salt: object, now: float) -> None:
        """Every flow is hashed anew."""
        self.salt = salt
        for vip, hops in self.fib.items():
            self.changed[vip] = now
            self._buckets.pop(vip, None)
            if self.hashing in (Hashing.RESILIENT, Hashing.GRADUAL):
                self._fill(vip, hops, now)

    def connection(self, packet: Packet) -> str | None:
        """The next hop of a packet of a connection; None where the VIP is forwarded nowhere."""
        if self.hashing is Hashing.CARRIED:
            # A sender draws the hash of its socket anew whenever it repeats a SYN (sk_rethink_txhash).
            return self._pick(packet.destination, number(self.salt, packet.connection, packet.moment), packet.moment)
        return self.way(packet)

    def way(self, packet: Packet) -> str | None:
        """The next hop of a packet that carries no hash."""
        kind = self.hashing
        key: tuple[object, ...]
        if kind is Hashing.ADDRESSES:
            key = (packet.source, packet.destination)
        else:
            key = (packet.source, packet.source_port, packet.destination, packet.destination_port)
            if kind is Hashing.RANDOM:
                key = (*key, packet.connection)
            elif kind is Hashing.PACKET:
                key = (*key, packet.connection, packet.moment)
        return self._pick(packet.destination, number(self.salt, *key), packet.moment)

    def _pick(self, vip: str, value: int, now: float) -> str | None:
        hops = self.fib.get(vip, ())
        if not hops:
            return None
        if vip in self._buckets:
            bucket = self._buckets[vip][value % BUCKETS]
            return bucket.then if now >= bucket.at else bucket.now
        total = sum(weight for _, weight in hops)
        place = value % total if self.shape == "modulo" else (value >> 33) * total >> 31
        ends = list(itertools.accumulate(weight for _, weight in hops))
        return hops[bisect.bisect_right(ends, place)][0]

    def _fill(self, vip: str, hops: Hops, now: float) -> None:
        """Give each next hop its fair share of the buckets, and move no more than that."""
        old = [bucket.then if now >= bucket.at else bucket.now for bucket in self._buckets.get(vip, ())]
        if not hops:
            self._buckets.pop(vip, None)
            return
        lack = _fair(hops)
        keep = list[str | None](old) or [None] * BUCKETS
        order = sorted(range(BUCKETS), key=lambda place: share(self.salt, vip, place, tuple(hops)))
        for place in order:
            via = keep[place]
            if via is not None and lack.get(via, 0) > 0:
                lack[via] -= 1
            else:
                keep[place] = None
        spare = [via for via, count in lack.items() for _ in range(count)]
        buckets = []
        present = {via for via, _ in hops}
        for place, via in enumerate(keep):
            if via is not None:
                buckets.append(_Bucket(via, via, now))
                continue
            then = spare.pop(number(self.salt, vip, place, tuple(hops)) % len(spare))
            later = self.hashing is Hashing.GRADUAL and bool(old) and old[place] in present
            at = now + GRADUAL_SECONDS * share("gradual", self.salt, vip, place, now) if later else now
            buckets.append(_Bucket(old[place] if later else then, then, at))
        self._buckets[vip] = buckets
        self.changed[vip] = max(bucket.at for bucket in buckets)


def _fair(hops: Sequence[tuple[str, int]]) -> dict[str, int]:
    total = sum(weight for _, weight in hops)
    counts = {via: BUCKETS * weight // total for via, weight in hops}
    for via in itertools.islice(itertools.cycle(list(counts)), BUCKETS - sum(counts.values())):
        counts[via] += 1
    return counts
