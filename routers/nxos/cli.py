"""Several questions to NX-OS on one command line, and the answers told apart again; its tables as rows. Pure.

`;` separates commands, a pipe belongs to its own one, and `echo` writes its words (Cisco Nexus 9000 NX-OS Fundamentals
Configuration Guide, "Using the Device File Systems, Directories, and Files" and "Command Scripts"). A mark goes before
each question and behind the last, so that an answer which is cut off is known as such.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_dict, as_int, as_number, as_text, phrase
from routers.model import Answer, Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

JSON = " | json"

_LONGEST_LINE = 2000  # characters; no limit is documented
_MARK = re.compile(r"ECMP(\d{1,4})")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_MOST_DEPTH = 40  # of tables in tables; a route stands 14 deep


def batches(name: str, questions: Sequence[str]) -> Iterator[Command]:
    """As few command lines as keep each short."""
    for number, chosen in enumerate(_packed(questions), start=1):
        marked = (part for at, question in enumerate(chosen) for part in (f"echo ECMP{at}", question))
        line = " ; ".join((*marked, f"echo ECMP{len(chosen)}"))
        yield Command(f"{name} {number}", (line,), raw=True)


def _packed(questions: Sequence[str]) -> Iterator[list[str]]:
    chosen: list[str] = []
    length = 0
    for question in questions:
        needed = len(question) + len(" ; echo ECMP999 ; ")
        if chosen and length + needed > _LONGEST_LINE:
            yield chosen
            chosen, length = [], 0
        chosen.append(question)
        length += needed
    if chosen:
        yield chosen


def one_by_one(name: str, questions: Sequence[str]) -> Iterator[Command]:
    """Each question on a line of its own, without marks: for a switch that does not take them."""
    for number, question in enumerate(questions, start=1):
        yield Command(f"{name} {number}", (question,), raw=True)


@dataclass(slots=True)
class Said:
    """`bodies`: question -> what NX-OS printed for it. `lost`: those of lines that brought no answer at all, and why.
    `cut_off`: those not answered to the end, by line, the first of each being what ended it. `unmarked`: those of lines
    whose answers cannot be told apart, with what came instead.
    """

    bodies: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    cut_off: list[list[str]] = field(default_factory=list)
    unmarked: dict[str, str] = field(default_factory=dict)


def said(name: str, questions: Sequence[str], answers: Mapping[str, Answer]) -> Said:
    """The answers to `batches`; never raises."""
    found = Said()
    for number, chosen in enumerate(_packed(questions), start=1):
        answer = answers.get(f"{name} {number}", Answer(error="not asked"))
        here = None if answer.error else _apart(chosen, answer.stdout)
        if answer.error:
            found.lost[f"{name} {number}"] = answer.error
        elif here is None:
            came = phrase(answer.stderr) or phrase(answer.stdout, 80) or "no output"
            found.unmarked |= dict.fromkeys(chosen, f"the answers cannot be told apart ({came})")
        else:
            found.bodies |= here
            found.cut_off += [left] if (left := [one for one in chosen if one not in here]) else []
    return found


def said_alone(name: str, questions: Sequence[str], answers: Mapping[str, Answer]) -> dict[str, str]:
    """The answers to `one_by_one`."""
    told = {question: answers.get(f"{name} {number}") for number, question in enumerate(questions, start=1)}
    return {one: _ESCAPE.sub("", answer.stdout) for one, answer in told.items() if answer and not answer.error}


def _apart(questions: Sequence[str], transcript: str) -> dict[str, str] | None:
    """The answers between the marks; without any mark, JSON documents in their order, if all are there."""
    lines = _ESCAPE.sub("", transcript).splitlines()
    marks = {int(match[1]): at for at, line in enumerate(lines) if (match := _MARK.fullmatch(line.strip()))}
    if marks:
        between = ((at, marks.get(at), marks.get(at + 1)) for at in range(len(questions)))
        return {
            questions[at]: "\n".join(lines[begin + 1 : end])
            for at, begin, end in between
            if begin is not None and end is not None and begin < end
        }
    documents = list(_documents("\n".join(lines)))
    if len(documents) != len(questions) or not all(question.endswith(JSON) for question in questions):
        return None
    return dict(zip(questions, documents, strict=True))


def _documents(text: str) -> Iterator[str]:
    """The JSON objects that stand in a text one after the other, up to the first that is none."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield text[at:end]
        at = text.find("{", end)


def document(body: str | None) -> dict[str, Any] | None:
    """The JSON object in an answer, whatever stands around it; None when there is none, or not all of it."""
    text = body or ""
    found = next(_documents(text), None)
    try:
        value = None if found is None else json.loads(found)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def rows(table: object, name: str) -> list[dict[str, Any]]:
    """The rows ROW_name anywhere below, in their order: one alone is an object, several are an array."""
    found: list[dict[str, Any]] = []
    waiting: list[tuple[object, int]] = [(table, 0)]
    while waiting:
        value, depth = waiting.pop()
        inner: list[object] = []
        if isinstance(value, dict):
            here = value.get(f"ROW_{name}")
            found += [as_dict(row) for row in (here if isinstance(here, list) else [here]) if isinstance(row, dict)]
            inner = [one for key, one in value.items() if key != f"ROW_{name}" and isinstance(one, dict | list)]
        elif isinstance(value, list):
            inner = value
        if depth < _MOST_DEPTH:
            waiting += [(one, depth + 1) for one in reversed(inner)]
    return found


def first(row: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these that the row has as text."""
    return next((text for key in keys if (text := as_text(row.get(key)))), None)


def number(value: object, high: int = 2**63 - 1) -> int | None:
    """A number, as `json` writes it (text) or as `json native` does."""
    return as_number(value) if isinstance(value, str) else as_int(value, high=high)


def truth(value: object) -> bool | None:
    """A truth value, as `json` writes it (text) or as `json native` does."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
