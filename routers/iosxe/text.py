"""What an IOS or IOS-XE router printed, made fit to be read: lines without control characters, or why not. Pure.

An exec request over SSH is answered with the command's output alone. Banners, prompts, the echo of a command and
`--More--` come where a router is reached through a terminal all the same; what no line of a table is, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from routers.jsontext import as_address, phrase
from routers.model import Answer, canonical

UNKNOWN = "Invalid input"
"""What IOS says, behind a caret, of a command that the release or the privilege does not know."""

_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_PAUSE = "--More--"
_PROMPT = re.compile(r"[\w.()/:-]{1,80}[>#] ?")
_REFUSAL = re.compile(r"\s{0,80}% ?(?P<why>\S.*)")
_REFUSALS = (
    "Invalid input",
    "Incomplete command",
    "Ambiguous command",
    "Unknown command",
    "Unrecognized",
    "Command authorization failed",
    "Authorization failed",
    "Permission denied",
    "No such",
    "does not exist",
    "not active",
    "not running",
    "not enabled",
    "not supported",
    "Error",
)
_NOT_FOUND = ("Network not in table", "Route not found", "Subnet not in table", "not in table")
_MAC = re.compile(r"[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}")
_UPTIME = re.compile(r"(\d{1,4}):(\d\d):(\d\d)")
_UNITS = {"y": 365 * 86_400, "w": 7 * 86_400, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_SPELLED_OUT = {  # Cisco IOS configuration fundamentals: interface names and their short forms
    "gi": "GigabitEthernet",
    "te": "TenGigabitEthernet",
    "twe": "TwentyFiveGigE",
    "fo": "FortyGigabitEthernet",
    "hu": "HundredGigE",
    "fa": "FastEthernet",
    "et": "Ethernet",
    "po": "Port-channel",
    "vl": "Vlan",
    "lo": "Loopback",
    "tu": "Tunnel",
    "bd": "BDI",
    "se": "Serial",
}
_SHORT_NAME = re.compile(r"([A-Za-z]{2,3})(\d[\d/.:]{0,20})")
_MOST_LINES = 400_000
_T = TypeVar("_T")


@dataclass(slots=True)
class Said:
    """The answers by command; what could not be used of them gathers in `problems`."""

    answers: Mapping[str, Answer]
    problems: list[str] = field(default_factory=list)

    def lines(self, name: str, *, optional: bool = False) -> list[str] | None:
        """The lines of an answer; None, and a problem, if there is none that can be used.

        An answer that stopped at a pause is cut: what it lacks would look as if it were not there.
        """
        answer = self.answers.get(name)
        why = None
        lines: list[str] = []
        if answer is None:
            why = "no answer"
        elif answer.error:
            why = answer.error
        else:
            lines = plain(answer.stdout)
            why = _unusable(answer, lines)
        if why is None:
            return lines
        if not optional:
            self.problems.append(f"{name}: {why}")
        return None

    def table(self, name: str) -> list[str] | None:
        """As `lines`, where an empty answer is an empty table."""
        answer = self.answers.get(name)
        if answer is not None and not (answer.error or answer.exit_status or answer.stdout.strip()):
            return []
        return self.lines(name)

    def plain(self, name: str) -> list[str]:
        """The lines of an answer, usable or not."""
        answer = self.answers.get(name)
        return [] if answer is None else plain(answer.stdout)

    def known(self, name: str, found: _T | None) -> _T | None:
        """What was read, with a problem noted if that is nothing."""
        if found is None:
            self.problems.append(f"{name}: nothing that can be read")
        return found


def refused(answer: Answer | None) -> bool:
    """The router does not know the command, so that another form of it may be tried."""
    return answer is not None and answer.error is None and any(UNKNOWN in line for line in plain(answer.stdout)[:50])


def not_found(lines: list[str]) -> bool:
    """The router says that its table holds nothing that covers what was asked for."""
    return any(line.lstrip().startswith("%") and any(word in line for word in _NOT_FOUND) for line in lines)


def plain(text: str) -> list[str]:
    """Lines without escape sequences, carriage returns, backspaces, and without an indent that they all share."""
    cleaned = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x08", ""))
    lines = cleaned.split("\n", _MOST_LINES)[:_MOST_LINES]
    shared = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[shared:] for line in lines] if shared else lines


def _unusable(answer: Answer, lines: list[str]) -> str | None:
    if any(_PAUSE in line for line in lines):
        return "cut: the router pauses its output (--More--)"
    for line in lines:
        match = _REFUSAL.fullmatch(line)
        if match and any(word in match["why"] for word in _REFUSALS):
            return phrase(f"% {match['why']}")
    said = [line for line in lines if line.strip()]
    if lines[-1].strip() and not _PROMPT.fullmatch(lines[-1]):
        return "cut: its last line has no end"
    if answer.exit_status and len(said) <= 1:
        return phrase(answer.stderr) or phrase(" ".join(said)) or f"exit status {answer.exit_status}"
    if not said:
        return phrase(answer.stderr) or "an empty answer"
    return None


def seconds_of(text: str) -> int | None:
    """How long ago: `00:19:52`, `1d02h`, `3w4d`, `1y2w`; None for `never` and whatever else."""
    if match := _UPTIME.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    if not re.fullmatch(r"(?:\d{1,5}[ywdhms]){1,6}", text, re.ASCII):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([ywdhms])", text))


def address_of(text: str) -> str | None:
    """The canonical address at the beginning of a word that may carry a `*` in front, and `,` or `%zone` behind."""
    return as_address(text.removeprefix("*").rstrip(",;:)").lstrip("("))


def mac_of(text: str) -> str | None:
    """A hardware address with colons, from Cisco's three groups."""
    if not _MAC.fullmatch(text):
        return None
    digits = text.replace(".", "").lower()
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def interface_of(name: str) -> str:
    """An interface's full name, so that tables that shorten it (`Gi1`) can be joined with those that do not."""
    match = _SHORT_NAME.fullmatch(name)
    if match is None:
        return name
    return _SPELLED_OUT.get(match[1].lower(), match[1]) + match[2]


def unique(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Each address once, in its canonical spelling. Raises ValueError for text that is no address."""
    return tuple(dict.fromkeys(map(canonical, addresses)))
