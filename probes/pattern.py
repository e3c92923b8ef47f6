"""Regular expressions of a configuration, in one place.

The texts that they search are the network's, so their length is bounded by whoever calls. Python's `re`
backtracks: a pattern with nested repetition can take exponential time on a hostile text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator


def _compile(value: object) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError("a regular expression is a string")  # noqa: TRY004 - pydantic reports ValueError
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error


Pattern = Annotated[re.Pattern[str], BeforeValidator(_compile)]
"""A pydantic field type."""


def group(rule: str, text: str) -> str | None:
    """What the rule's first group matched in `text` (the whole match without a group), or None."""
    match = _compiled(rule).search(text)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


@lru_cache(maxsize=1024)
def _compiled(rule: str) -> re.Pattern[str]:
    return re.compile(rule)
