from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probes.text import EXCERPT_CHARACTERS, IDENTITY_CHARACTERS, excerpt, identity_text


def test_excerpt_escapes() -> None:
    assert excerpt(b"a\x00\\\xff\n") == "a\\x00\\\\\\xff\\x0a"
    assert excerpt("caf\u00e9 \udcff") == "caf\\xc3\\xa9 \\xff"


def test_excerpt_cuts() -> None:
    assert excerpt("a" * 80) == "a" * 80
    assert excerpt("a" * 81) == "a" * 77 + "..."


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_excerpt_is_short_printable_ascii(data: bytes | str) -> None:
    shown = excerpt(data)
    assert len(shown) <= EXCERPT_CHARACTERS
    assert shown.isascii()
    assert shown.isprintable()


@given(st.binary(max_size=600))
def test_identity_can_be_encoded_and_printed(data: bytes) -> None:
    named = identity_text(data.decode("utf-8", "surrogateescape"))
    named.encode()
    assert named.isprintable()
    assert len(named) <= IDENTITY_CHARACTERS


def test_identity_keeps_names() -> None:
    assert identity_text(" leviathan3\r") == "leviathan3"
    assert identity_text("n\u0153ud-1") == "n\u0153ud-1"
