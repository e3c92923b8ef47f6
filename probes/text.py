"""Text from the network, made safe to log, to label and to print."""

from __future__ import annotations

EXCERPT_CHARACTERS = 80
IDENTITY_CHARACTERS = 256


def excerpt(data: bytes | str, limit: int = EXCERPT_CHARACTERS) -> str:
    """At most `limit` printable ASCII characters of what was received; the rest escaped or cut."""
    if isinstance(data, str) and len(data) <= limit and data.isascii() and data.isprintable() and "\\" not in data:
        return data  # most lines of a transcript
    # An escape is up to ten characters long: cutting before and after keeps the work bounded.
    head = data[: limit + 1]
    raw = head if isinstance(head, bytes) else head.encode("utf-8", "surrogateescape")
    shown = "".join(_shown(byte) for byte in raw)
    if len(data) <= limit and len(shown) <= limit:
        return shown
    return shown[: limit - 3] + "..."


def identity_text(value: str) -> str:
    """What an answer calls its node: valid Unicode, printable, at most IDENTITY_CHARACTERS."""
    valid = value[:IDENTITY_CHARACTERS].encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in valid)


def _shown(byte: int) -> str:
    character = chr(byte)
    if character == "\\":
        return "\\\\"
    return character if " " <= character <= "~" else f"\\x{byte:02x}"
