"""Regular expressions of a configuration, in RE2's syntax (github.com/google/re2/wiki/Syntax).

The texts that they search are the network's. RE2 takes time linear in the text for every pattern, where
Python's own `re` backtracks: seconds for an ordinary pattern on an ordinary page, for ever on a hostile one.
It is also the syntax of Prometheus' programs, blackbox_exporter's modules among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import re2
from pydantic import BeforeValidator, InstanceOf, PlainSerializer

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)  # of a template, as Go's regexp.Expand reads it

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # an error is the caller's to report


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled pattern, and the text that it was compiled from."""

    pattern: str

    @property
    def groups(self) -> int:
        return int(_compiled(self.pattern).groups)

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in `text`."""
        return _compiled(self.pattern).search(text) is not None

    def find(self, text: str) -> Found | None:
        """The first match, with what its groups held."""
        compiled = _compiled(self.pattern)
        match = compiled.search(text)
        return None if match is None else Found((match[0], *match.groups()), dict(compiled.groupindex))


@dataclass(frozen=True, slots=True)
class Found:
    """A match. `groups` begins with the whole of it; None is a group that took no part. `names` tells their numbers."""

    groups: tuple[str | None, ...]
    names: Mapping[str, int]

    def expand(self, template: str) -> str:
        """`template` with $1, ${1}, $name and ${name} replaced; what names no group is empty, $$ is a dollar sign."""
        return _REFERENCE.sub(self._referenced, template)

    def _referenced(self, reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        number = int(name) if name.isdecimal() and len(name) < 6 else self.names.get(name)  # noqa: PLR2004
        return (self.groups[number] or "") if number is not None and number < len(self.groups) else ""


def expression(text: str) -> Expression:
    """Raises ValueError for text that is no regular expression."""
    try:
        _compiled(text)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{text!r} is no regular expression (RE2 syntax): {said}") from error
    return Expression(text)


def _validated(value: object) -> Expression:
    if not isinstance(value, str):
        raise ValueError("a regular expression is a string")  # noqa: TRY004 - pydantic reports ValueError
    return expression(value)


Pattern = Annotated[
    InstanceOf[Expression], BeforeValidator(_validated), PlainSerializer(lambda found: found.pattern, return_type=str)
]
"""A pydantic field type."""


def group(rule: str, text: str) -> str | None:
    """What the rule's first group matched in `text` (the whole match without a group), or None."""
    compiled = _compiled(rule)
    match = compiled.search(text)
    if match is None:
        return None
    found: str | None = match[1] if compiled.groups else match[0]
    return found


@lru_cache(maxsize=1024)
def _compiled(rule: str) -> Any:
    return re2.compile(rule, options=_OPTIONS)
