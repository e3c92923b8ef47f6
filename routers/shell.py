"""Many commands in one: a router with a shell is asked with a single login, and its answers are told apart.

Each exec over SSH costs the router a process, a session and often a profile; a small router feels six of
them every few seconds. Pure: the token that marks where an answer begins and ends is an argument.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from routers.model import Answer, Command

NAME = "all questions"


def together(commands: Sequence[Command], token: str) -> Command:
    """One command that runs all of them in a POSIX shell, in their order; `apart` reads its answer.

    `token` must be a word that no answer can hold: random, and used once.
    """
    lines = []
    for number, command in enumerate(commands):
        lines += [f"echo; echo {token} begin {number}", f"{{ echo; echo {token} begin {number}; }} >&2"]
        if command.stdin is None:
            lines.append(f"{shlex.join(command.argv)} </dev/null")
        else:
            text = command.stdin if command.stdin.endswith("\n") or not command.stdin else f"{command.stdin}\n"
            lines += [f"{shlex.join(command.argv)} <<'{token}'", f"{text}{token}"]
        lines.append(f"status=$?; echo; echo {token} end {number} $status")
    return Command(NAME, ("sh", "-s"), stdin="\n".join(lines) + "\nexit 0\n")


def apart(answer: Answer, commands: Sequence[Command], token: str) -> Mapping[str, Answer] | None:
    """The answer of each command by its name; None if some is missing, so that nothing can be trusted."""
    ends = {
        int(found[1]): int(found[2])
        for found in re.finditer(rf"^{re.escape(token)} end (\d{{1,4}}) (\d{{1,3}})$", answer.stdout, re.MULTILINE)
    }
    stdout = _sections(answer.stdout, token)
    stderr = _sections(answer.stderr, token)
    wanted = range(len(commands))
    if any(number not in ends or number not in stdout or number not in stderr for number in wanted):
        return None
    return {
        command.name: Answer(stdout[number], stderr[number], ends[number])
        for number, command in zip(wanted, commands, strict=True)
    }


def began(answer: Answer, token: str) -> bool:
    """Whether a shell ran the commands at all, or at least the first of them."""
    return f"\n{token} begin 0\n" in answer.stdout


def _sections(text: str, token: str) -> dict[int, str]:
    """What stands between each begin and what follows it, without the line break that the marks bring."""
    parts = re.split(rf"^{re.escape(token)} (begin|end) (\d{{1,4}}).*\n?", text, flags=re.MULTILINE)
    return {
        int(number): body.removesuffix("\n")
        for mark, number, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        if mark == "begin"
    }
