"""AS numbers in both notations of RFC 5396. Pure."""

from __future__ import annotations

import re

from routers.jsontext import as_int

_LARGEST = 2**32 - 1
_HALF = 2**16
_WRITTEN = re.compile(r"(?:([0-9]{1,5})\.)?([0-9]{1,10})")


def as_asn(value: object) -> int | None:
    """The AS number that a number or text is: 65546, "65546" or "1.10"; None for anything else."""
    if not isinstance(value, str):
        return as_int(value, high=_LARGEST)
    match = _WRITTEN.fullmatch(value)
    if match is None:
        return None
    high, low = int(match[1] or 0), int(match[2])
    if match[1] and (high >= _HALF or low >= _HALF):
        return None
    return as_int((high << 16) + low, high=_LARGEST)
