"""Answers as the text that they mean, without what is there for a terminal. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routers.model import Answer

_KILLED = 128
"""A POSIX shell adds the number of the signal to it; asyncio and asyncssh tell it as a negative number."""
_SIGNALS = 64  # an exit status of 255 is a program's own

# ECMA-48: control sequences (5.4), operating system commands (5.6) and two-character escapes (5.3); no part of one
# can hold the character that begins another, so the time is linear.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")


def plain(answer: Answer) -> Answer:
    """Without escapes, and with line breaks as they are on Unix."""
    return replace(answer, stdout=_plain(answer.stdout), stderr=_plain(answer.stderr))


def unless_killed(answer: Answer) -> Answer:
    """What a program of a POSIX system said, unless a signal ended it: then nobody knows what is missing."""
    if 0 <= answer.exit_status <= _KILLED or answer.exit_status > _KILLED + _SIGNALS:
        return answer
    number = -answer.exit_status if answer.exit_status < 0 else answer.exit_status - _KILLED
    return replace(answer, stdout="", error=f"the program was ended by signal {number}, so its answer may be cut off")


def _plain(text: str) -> str:
    text = _ESCAPE.sub("", text) if "\x1b" in text else text
    return text.replace("\r\n", "\n") if "\r" in text else text
