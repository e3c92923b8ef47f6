"""Which source address and port a path is probed from next. Pure: time is an argument.

A path is exercised only by flows that the router hashes onto it, so each path has a few known sources. Their
rotation keeps a source from being reused while its last connection rests in TIME_WAIT (60 s on Linux,
TCP_TIMEWAIT_LEN), and steps over one that met a conflict on this machine.
"""

from __future__ import annotations

import hashlib
from array import array
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REST_SECONDS = 60.0
CONFLICT_SECONDS = 300.0

_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly however many are taken
_NEVER = float("-inf")


class Source(NamedTuple):
    """Where a flow starts. `address` None lets the kernel choose it."""

    address: str | None
    port: int


class PortPool:
    """The sources known to reach one path, in rotation. About 90 bytes and 24 for each source."""

    __slots__ = ("_next", "_ready", "_sources", "_used")

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        self._ready = array("d", [_NEVER] * len(self._sources))  # not before this time
        self._used = array("d", [_NEVER] * len(self._sources))
        self._next = 0

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._sources

    def take(self, now: float, *, tired: bool = False) -> Source | None:
        """The next source in rotation that has rested, or None; `now` in seconds of any steady clock.

        With `tired`, when none has rested, the one that rested longest and met no conflict of late: Linux
        reuses a TIME_WAIT flow at once where both ends use TCP timestamps, and says LOCAL_PORT elsewhere.
        """
        count = len(self._sources)
        for step in range(count):
            index = (self._next + step) % count
            if self._ready[index] <= now:
                return self._hand_out(index, now)
        if not tired:
            return None
        usable = [index for index in range(count) if self._ready[index] <= self._used[index] + REST_SECONDS]
        if not usable:
            return None
        return self._hand_out(min(usable, key=self._used.__getitem__), now)

    def conflict(self, source: Source, now: float) -> None:
        """Leave `source` alone for CONFLICT_SECONDS: a probe from it ended as LOCAL_PORT."""
        if source in self._sources:
            self._ready[self._sources.index(source)] = now + CONFLICT_SECONDS

    def ready_at(self) -> float:
        """When the next source will have rested; infinite for an empty pool."""
        return min(self._ready, default=float("inf"))

    def _hand_out(self, index: int, now: float) -> Source:
        self._used[index] = now
        self._ready[index] = now + REST_SECONDS
        self._next = (index + 1) % len(self._sources)
        return self._sources[index]


def candidates(addresses: Sequence[str | None], ports: range, seed: str, avoid: range = range(0)) -> Iterator[Source]:
    """Every pair of a source address and a port of `ports` outside `avoid`, each once.

    The order depends on `seed` alone (use the target's name and VIP), spreads over the whole range from the
    first few on, and turns the address fastest, for routers that hash only addresses. `avoid` is the kernel's
    ephemeral range.
    """
    count = len(ports)
    if not count:
        return
    start = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") % count
    stride = _stride(count)
    for turn in range(count):
        port = ports[(start + turn * stride) % count]
        if port in avoid:
            continue
        for address in addresses:
            yield Source(address, port)


def _stride(count: int) -> int:
    """The step nearest to the golden section that visits all `count` positions."""
    stride = max(1, int(count * _GOLDEN))
    while gcd(stride, count) != 1:
        stride += 1
    return stride
