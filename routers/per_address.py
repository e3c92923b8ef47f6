"""One question about each of many addresses, put by one shell: for command lines that take one at a time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.jsontext import parse, phrase
from routers.model import Answer, Command, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MARK = "===> "
_AT_ONCE = 48  # 48 IPv6 addresses fit into an argument of 4096 characters


def commands(name: str, program: str, addresses: Sequence[str], suffix: str = "") -> Iterator[Command]:
    """Shells that run `program`, in which `$a` is an address with `suffix`, once for each address.

    The caller has made sure that the addresses are addresses: they are not quoted.
    """
    for number, start in enumerate(range(0, len(addresses), _AT_ONCE), start=1):
        words = " ".join(f"{address}{suffix}" for address in addresses[start : start + _AT_ONCE])
        yield Command(f"{name} {number}", ("sh", "-c", f'for a in {words}; do echo "{_MARK}$a"; {program}; done'))


def documents(
    asked: Iterable[Command], answers: Mapping[str, Answer], problems: list[str], *, optional: bool = False
) -> dict[str, object]:
    """Address -> the JSON document that was printed for it; what is none costs that address, and is a problem.

    `optional`: the program may be missing or refuse, which is no problem.
    """
    found: dict[str, object] = {}
    complaints: list[str] = []
    for command in asked:
        answer = answers.get(command.name, Answer(error="not asked"))
        if answer.error is not None or _MARK not in answer.stdout:
            complaints.append(
                f"{command.name}: {answer.error or phrase(answer.stderr or answer.stdout) or 'no answer'}"
            )
            continue
        for part in answer.stdout.replace("\r\n", "\n").split(_MARK)[1:]:
            head, _, body = part.partition("\n")
            try:
                found[canonical(head.strip())] = parse(body)
            except ValueError as error:
                said = phrase(body, 80) or phrase(answer.stderr, 80)
                complaints.append(f"{command.name}: {phrase(head, 60)}: {error}{f' ({said})' if said else ''}")
    if not optional:
        problems.extend(complaints)
    return found
