"""The source addresses and ports that flows may start from. Pure.

A source that was used rests while its last connection may be in TIME_WAIT (60 s on Linux, TCP_TIMEWAIT_LEN);
who hands sources out again sees to that.
"""

from __future__ import annotations

import hashlib
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REST_SECONDS = 60.0

_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly however many are taken


class Source(NamedTuple):
    """Where a flow starts. `address` None lets the kernel choose it."""

    address: str | None
    port: int


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
