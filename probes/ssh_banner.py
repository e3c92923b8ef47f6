"""The identification string of RFC 4253, section 4.2, as a parser that is fed with bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from probes.text import excerpt

MAX_LINE_BYTES = 255  # section 4.2, carriage return and line feed included
MAX_LINES_BEFORE = 50
MAX_BYTES_BEFORE = 8192
VERSIONS = frozenset({"2.0", "1.99"})  # section 5.1: 1.99 means 2.0 for a client

_PREFIX = b"SSH-"
# Control characters besides tab: a text line has none, and section 4.2 forbids the null character.
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_IDENTIFICATION = re.compile(r"SSH-(?P<version>[^-]*)-(?P<software>[!-~]+)(?: (?P<comments>.*))?")


class BannerError(ValueError):
    """What was received can no longer become an identification string."""


@dataclass(frozen=True, slots=True)
class Banner:
    """`line` is the whole identification string without its line end."""

    line: str
    version: str
    software: str
    comments: str


class BannerParser:
    """Feed until `banner` is set. Holds at most one unfinished line, of MAX_BYTES_BEFORE bytes."""

    __slots__ = ("_before_bytes", "_before_lines", "_pending", "banner", "last_line")

    def __init__(self) -> None:
        self.banner: Banner | None = None
        self.last_line = b""  # the last line before the identification string
        self._pending = b""
        self._before_bytes = 0
        self._before_lines = 0

    @property
    def seen(self) -> bytes:
        """The latest text that was received, for an error message."""
        return self._pending or self.last_line

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived; those after the identification string are the key exchange's.

        Raises BannerError.
        """
        if self.banner is not None:
            return
        # The slice bounds the copy; more could not be acceptable anyway.
        *lines, self._pending = (self._pending + data[: MAX_BYTES_BEFORE + MAX_LINE_BYTES]).split(b"\n")
        for line in lines:
            if line.startswith(_PREFIX):
                self.banner = _parse(line)
                self._pending = b""
                return
            self._pass_over(line)
        self._check_pending()

    def _pass_over(self, line: bytes) -> None:
        text = line.removesuffix(b"\r")
        _refuse_control(text)
        self.last_line = text
        self._before_lines += 1
        self._before_bytes += len(line) + 1
        if self._before_lines > MAX_LINES_BEFORE:
            raise BannerError(f"more than {MAX_LINES_BEFORE} lines before the identification string")
        self._refuse_flood(0)

    def _check_pending(self) -> None:
        # A carriage return at the end may be the first half of a line end.
        _refuse_control(self._pending.removesuffix(b"\r"))
        if self._pending.startswith(_PREFIX) and len(self._pending) >= MAX_LINE_BYTES:
            raise BannerError(f"identification string is longer than {MAX_LINE_BYTES} bytes")
        self._refuse_flood(len(self._pending))

    def _refuse_flood(self, more: int) -> None:
        if self._before_bytes + more > MAX_BYTES_BEFORE:
            raise BannerError(f"more than {MAX_BYTES_BEFORE} bytes before the identification string")


def _parse(line: bytes) -> Banner:
    if len(line) + 1 > MAX_LINE_BYTES:
        raise BannerError(f"identification string is longer than {MAX_LINE_BYTES} bytes")
    text = line.removesuffix(b"\r")  # OpenSSH, too, takes a line feed alone
    _refuse_control(text)
    match = _IDENTIFICATION.fullmatch(text.decode("utf-8", "replace"))
    if match is None:
        raise BannerError(f"malformed identification string: {excerpt(text)}")
    if match["version"] not in VERSIONS:
        raise BannerError(f"protocol version is neither 2.0 nor 1.99: {excerpt(text)}")
    return Banner(match[0], match["version"], match["software"], match["comments"] or "")


def _refuse_control(text: bytes) -> None:
    if _CONTROL.search(text):
        raise BannerError(f"control character before the end of the identification string: {excerpt(text)}")
