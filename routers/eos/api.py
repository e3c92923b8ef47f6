"""Arista's eAPI: many CLI commands in one HTTPS request, and their answers told apart. Pure.

A request is JSON-RPC 2.0, `runCmds` with the commands and the format "json" or "text" (Arista EOS Central, "Arista
eAPI 101"). Answers stand in the order of the commands. The first command that fails ends the request: `error.data`
holds what the ones before it said, then an object whose `errors` say what was wrong; those behind it never ran.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_dict, as_list, as_text, parse, phrase
from routers.model import Answer, Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FAILED = re.compile(r"CLI command (\d{1,6}) of \d{1,6}")
_MOST_COMPLAINTS = 3


@dataclass(frozen=True, slots=True)
class Request:
    """CLI commands that are asked together. `optional`: that it is refused is no problem to tell of."""

    name: str
    commands: tuple[str, ...]
    text: bool = False
    optional: bool = False

    def command(self) -> Command:
        """The question as the HTTPS transport sends it."""
        body = {
            "jsonrpc": "2.0",
            "method": "runCmds",
            "params": {"version": 1, "cmds": list(self.commands), "format": "text" if self.text else "json"},
            "id": "ecmp-exporter",
        }
        return Command(self.name, ("POST", "/command-api"), stdin=json.dumps(body))


@dataclass(slots=True)
class Said:
    """What commands printed (`results`, by command), why others failed, and which never ran."""

    results: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)

    def add(self, other: Said) -> None:
        """A later answer takes the place of an earlier one."""
        self.results |= other.results
        self.failed |= other.failed
        for command in other.results:
            self.failed.pop(command, None)

    def text(self, command: str) -> str | None:
        """What a command printed as text, which may be nothing; None without an answer."""
        output = as_dict(self.results.get(command)).get("output")
        return output if isinstance(output, str) else None


def batches(name: str, commands: Sequence[str], size: int) -> Iterator[Request]:
    """Requests of `size` commands at most."""
    for number, start in enumerate(range(0, len(commands), size), start=1):
        yield Request(f"{name} {number}", tuple(commands[start : start + size]))


def said(requests: Iterable[Request], answers: Mapping[str, Answer]) -> Said:
    """The answers to all requests; never raises."""
    whole = Said()
    for request in requests:
        found = read(request, answers.get(request.name))
        whole.add(found)
        whole.not_run += found.not_run
    return whole


def read(request: Request, answer: Answer | None) -> Said:
    """The answer to one request; never raises."""
    complaint = _complaint(answer)
    if complaint is not None or answer is None:
        return Said(failed=dict.fromkeys(request.commands, complaint or "not asked"))
    try:
        document = as_dict(parse(answer.stdout))
    except ValueError as error:
        return Said(failed=dict.fromkeys(request.commands, str(error)))
    results = document.get("result")
    if isinstance(results, list):
        return _in_order(request.commands, results)
    if isinstance(document.get("error"), dict):
        return _broken_off(request.commands, document["error"])
    return Said(failed=dict.fromkeys(request.commands, "neither a result nor an error"))


def _complaint(answer: Answer | None) -> str | None:
    if answer is None or answer.error:
        return answer.error if answer is not None else None
    if not answer.exit_status:
        return None
    return f"HTTP status {answer.exit_status}: {phrase(answer.stderr) or 'no reason given'}"


def _in_order(commands: Sequence[str], results: Sequence[Any]) -> Said:
    if len(results) != len(commands):
        complaint = f"{len(results)} answers to {len(commands)} commands"
        return Said(failed=dict.fromkeys(commands, complaint))
    found = Said()
    for command, result in zip(commands, results, strict=True):
        if isinstance(result, dict):
            found.results[command] = result
        else:
            found.failed[command] = "not a JSON object"
    return found


def _broken_off(commands: Sequence[str], error: Mapping[str, Any]) -> Said:
    message = phrase(as_text(error.get("message")) or "no message")
    data = [as_dict(one) for one in as_list(error.get("data"))]
    named = _FAILED.search(message)
    at = int(named[1]) - 1 if named else len(data) - 1
    if not 0 <= at < len(commands):
        return Said(failed=dict.fromkeys(commands, message))
    before = data[:at]
    found = Said(results=dict(zip(commands, before, strict=False)), not_run=list(commands[at + 1 :]))
    found.failed = dict.fromkeys(commands[len(before) : at], "no answer")
    complaints = as_list(data[at].get("errors")) if at < len(data) else []
    told = [phrase(text) for text in map(as_text, complaints[:_MOST_COMPLAINTS]) if text]
    found.failed[commands[at]] = "; ".join(told) or message
    return found
