"""One question about each of many addresses, put by one shell: for command lines that take one at a time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from routers.jsontext import parse, phrase
from routers.model import Answer, Command, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

_MARK = "===> "
_ROOM = 3800  # characters of addresses in one argument, which has 4096


def commands(name: str, program: str, addresses: Sequence[str], suffix: str = "") -> Iterator[Command]:
    """Shells that run `program`, in which `$a` is an address with `suffix`, once for each address.

    The caller has made sure that the addresses are addresses: they are not quoted.
    """
    for number, words in enumerate(_lines(f"{address}{suffix}" for address in addresses), start=1):
        yield Command(f"{name} {number}", ("sh", "-c", f'for a in {words}; do echo "{_MARK}$a"; {program}; done'))


def _lines(words: Iterable[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > _ROOM:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    if line:
        yield line


def documents(
    asked: Iterable[Command], answers: Mapping[str, Answer], problems: list[str], *, optional: bool = False
) -> dict[str, object]:
    """Address -> the JSON document that was printed for it; what is none costs that address, and is a problem.

    `optional`: the program may be missing or refuse, which is no problem.
    """
    return _read(asked, answers, [] if optional else problems, parse)


def lists(asked: Iterable[Command], answers: Mapping[str, Answer], problems: list[str]) -> dict[str, list[object]]:
    """The same for a program that prints a document on each of several lines."""
    return _read(asked, answers, problems, lambda body: [parse(line) for line in body.splitlines() if line.strip()])


def _read(
    asked: Iterable[Command], answers: Mapping[str, Answer], problems: list[str], parsed: Callable[[str], T]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for command in asked:
        answer = answers.get(command.name, Answer(error="not asked"))
        if answer.error is not None or _MARK not in answer.stdout:
            problems.append(f"{command.name}: {answer.error or phrase(answer.stderr or answer.stdout) or 'no answer'}")
            continue
        for part in answer.stdout.replace("\r\n", "\n").split(_MARK)[1:]:
            head, _, body = part.partition("\n")
            try:
                found[canonical(head.strip())] = parsed(body)
            except ValueError as error:
                said = phrase(body, 80) or phrase(answer.stderr, 80)
                problems.append(f"{command.name}: {phrase(head, 60)}: {error}{f' ({said})' if said else ''}")
    return found
