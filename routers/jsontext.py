"""Text and JSON from a machine that may be broken: every accessor answers for any value, none raises.

A key that stands twice counts with its last value, as in every common JSON reader (RFC 8259 section 4).
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from routers.model import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

LARGEST = 2**63 - 1


def parse(text: str) -> Any:
    """Decode one JSON document. Raises ValueError with one short phrase for whatever is none."""
    if not text.strip():
        raise ValueError("empty")
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON at character {error.pos} ({error.msg})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def as_dict(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The array, or an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """The string; None for an empty one or another type."""
    return value if isinstance(value, str) and value else None


def as_int(value: object, low: int = 0, high: int = LARGEST) -> int | None:
    """The integer if it lies between `low` and `high`; None for another type, bool included."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if low <= value <= high else None


def as_number(text: str | None) -> int | None:
    """The whole number, of ten digits at most, that a text is; None for any other text."""
    return int(text) if text and re.fullmatch(r"\d{1,10}", text, re.ASCII) else None


def as_address(value: object) -> str | None:
    """The canonical spelling of an IP address, zone and prefix length dropped; None for anything else."""
    try:
        return canonical(value) if isinstance(value, str) else None
    except ValueError:
        return None


def as_prefix(value: object) -> Prefix | None:
    """The IP prefix, a host prefix for a bare address; None for anything else."""
    try:
        return ipaddress.ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None


def phrase(text: str, limit: int = 200) -> str:
    """Foreign text made fit for one line of a message: printable, single-spaced, at most `limit` long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def digest(problems: Iterable[str], limit: int = 10) -> tuple[str, ...]:
    """Each problem once, and of many the first `limit` and how many more there are."""
    once = tuple(dict.fromkeys(problems))
    if len(once) <= limit:
        return once
    return (*once[:limit], f"and {len(once) - limit} more")
