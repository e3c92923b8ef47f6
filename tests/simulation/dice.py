"""Chance that depends on what it is asked, not on how often: the same question at the same time, the same answer.

So one more probe somewhere does not change what happens elsewhere, and a failing seed stays the same while it is
looked into.
"""

from __future__ import annotations

from hashlib import blake2b

_SPAN = float(1 << 64)


def number(*key: object) -> int:
    """64 bits that look like chance, from the key alone."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def share(*key: object) -> float:
    """A number in [0, 1) from the key alone."""
    return number(*key) / _SPAN
