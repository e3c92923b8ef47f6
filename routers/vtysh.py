"""Several questions to FRR in one vtysh process, and the answers told apart again.

With -E vtysh repeats each command behind its prompt. It stops at the first command that it does not know, so
one that may be refused stands alone; a mere warning does not stop it (seen with FRR 8.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from routers.jsontext import phrase
from routers.model import Answer, Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OPTIONAL = "vtysh optional"
"""The name of a command that a user without the right to see the configuration may be refused."""

_COMMANDS_PER_PROCESS = 64
_ECHO = re.compile(r"\S*[#>] ?(show .+)")


def command(name: str, questions: Sequence[str]) -> Command:
    """One vtysh process; names begin with "vtysh", by which `bodies` knows its answers."""
    return Command(name, ("vtysh", "-E", *(part for question in questions for part in ("-c", question))))


def batches(questions: Sequence[str]) -> Iterator[Command]:
    """As few processes as keep argument vectors short; starting vtysh is what costs a small router most."""
    for number, start in enumerate(range(0, len(questions), _COMMANDS_PER_PROCESS), start=1):
        yield command(f"vtysh {number}", questions[start : start + _COMMANDS_PER_PROCESS])


def bodies(answers: Mapping[str, Answer], problems: list[str]) -> dict[str, str]:
    """Question -> what vtysh printed below its echo, over all its answers; complaints go to `problems`."""
    found: dict[str, str] = {}
    for name, answer in answers.items():
        if not name.startswith("vtysh"):
            continue
        here = _split(answer.stdout)
        found.update(here)
        if answer.error:
            problems.append(f"{name}: {answer.error}")
        elif answer.exit_status and name != OPTIONAL:
            complaint = phrase(answer.stderr) or phrase(next(reversed(here.values()), "")) or "no message"
            problems.append(f"{name}: exit status {answer.exit_status}: {complaint}")
    return found


def _split(transcript: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in transcript.splitlines():
        echo = _ECHO.fullmatch(line.rstrip())
        if echo is None:
            current.append(line)
            continue
        current = []
        found[echo[1].strip()] = current
    return {question: "\n".join(lines) for question, lines in found.items()}
