"""Prometheus durations: `15s`, `1m30s`, `250ms` (prometheus.io, configuration reference, `<duration>`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_LONGEST = 32  # characters; more is no duration


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError, with the allowed form, for anything that is no Prometheus duration."""
    match = _DURATION.fullmatch(text) if 0 < len(text) <= _LONGEST else None
    if text == "0":
        return 0.0
    if match is None:
        raise ValueError(f"{text[:_LONGEST]!r} is no duration; write it like 15s, 1m30s or 250ms")
    return sum(
        int(count) * _UNITS[unit] for count, unit in zip(match.groups(), _UNITS, strict=True) if count is not None
    )


def format_duration(seconds: float) -> str:
    """The two largest units, for people: `2m5s`, `59d3h`; below one second in milliseconds."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    whole = int(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
