"""JSON as Junos prints it: every element is a list, every leaf `[{"data": ...}]`. Pure; no accessor raises.

Text stands in the place of JSON where the CLI refuses (`error: ...`, `syntax error`). Above it may stand a banner,
below it the name of the routing engine (`{master:0}`); a chassis with several answers once for each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from routers.jsontext import as_dict, as_list, as_number, parse, phrase
from routers.model import Answer

Node = Mapping[str, Any]

PIPE = " | display json | no-more"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_ENGINE = re.compile(r"\{(?:master|primary|backup|secondary|linecard)[\w:-]{0,20}\}\s*")
_REFUSAL = re.compile(
    r"\s{0,80}(error:|syntax error|unknown command|missing argument|permission denied)", re.IGNORECASE
)
_MOST_LINES = 2_000_000


@dataclass(slots=True)
class Said:
    """The answers by command; what could not be used of them gathers in `problems`."""

    answers: Mapping[str, Answer]
    problems: list[str] = field(default_factory=list)
    _read: dict[str, list[Node] | None] = field(default_factory=dict)

    def about(self, name: str, element: str) -> list[Node] | None:
        """The elements of that name in an answer, one of each routing engine.

        None, and a problem, if the answer is no JSON. An answer without the element has nothing to tell: an empty list.
        """
        if name not in self._read:
            self._read[name] = self._documents(name)
        documents = self._read[name]
        if documents is None:
            return None
        return [one for document in documents for one in nodes(document, element)]

    def lines(self, name: str) -> list[str] | None:
        """The lines of an answer that is asked for as text and may be refused; None without an answer."""
        answer = self.answers.get(name)
        if answer is None or answer.error or answer.exit_status:
            return None
        lines = plain(answer.stdout)
        return None if any(_REFUSAL.match(line) for line in lines) else lines

    def says(self, name: str, text: str) -> bool:
        """Whether a text stands in an answer, JSON or not."""
        answer = self.answers.get(name)
        return answer is not None and text in answer.stdout

    def _documents(self, name: str) -> list[Node] | None:
        answer = self.answers.get(name)
        if answer is None:
            self.problems.append(f"{name}: no answer")
            return None
        try:
            return documents_of(answer)
        except ValueError as error:
            self.problems.append(f"{name}: {error}")
            return None


def documents_of(answer: Answer) -> list[Node]:
    """The answers of every routing engine. Raises ValueError with a phrase for whatever is no JSON object."""
    if answer.error:
        raise ValueError(answer.error)
    lines = plain(answer.stdout)
    body = [line for line in lines if not _ENGINE.fullmatch(line)]
    first = next((number for number, line in enumerate(body) if line.startswith("{")), len(body))
    last = next((number for number in range(len(body) - 1, -1, -1) if body[number].rstrip().endswith("}")), -1)
    if first > last:
        refusal = next((line for line in lines if _REFUSAL.match(line)), None)
        said = refusal or answer.stderr.strip() or " ".join(line for line in lines if line.strip())
        raise ValueError(phrase(said) or "an empty answer")
    document = parse("\n".join(body[first : last + 1]))
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  (text that is none is a value here)
    engines = [
        item
        for results in nodes(document, "multi-routing-engine-results")
        for item in nodes(results, "multi-routing-engine-item")
    ]
    return list(engines) or [document]


def plain(text: str) -> list[str]:
    """Lines without escape sequences and carriage returns."""
    cleaned = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return cleaned.split("\n", _MOST_LINES)


def nodes(parent: Node, name: str) -> list[Node]:
    """The child elements of that name."""
    value = parent.get(name)
    return [one for one in (as_list(value) or [value]) if isinstance(one, dict)]


def below(parent: Node, *names: str) -> Iterator[Node]:
    """The elements at the end of a path of names."""
    if not names:
        yield parent
        return
    for one in nodes(parent, names[0]):
        yield from below(one, *names[1:])


def text(parent: Node, name: str) -> str | None:
    """A leaf's text; None if there is none."""
    value = parent.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("data")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def words(parent: Node, *names: str) -> frozenset[str]:
    """The words of several leaves, brackets and commas left out."""
    return frozenset(word for name in names for word in re.findall(r"[\w.:-]+", text(parent, name) or ""))


def number(parent: Node, name: str) -> int | None:
    return as_number(text(parent, name))


def seconds(parent: Node, name: str) -> int | None:
    """How many seconds a leaf's time is, which stands among its attributes."""
    value = parent.get(name)
    leaf = as_dict(value[0]) if isinstance(value, list) and value else as_dict(value)
    told = as_dict(leaf.get("attributes")).get("junos:seconds")
    return as_number(str(told)) if isinstance(told, str | int) and not isinstance(told, bool) else None


def has(parent: Node, name: str) -> bool:
    """Whether an element is there, empty or not."""
    return name in parent
