from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.model import Answer
from routers.plain import plain, unless_killed


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("\x1b[1;31mBGP\x1b[0m\x1b[K neighbor\n", "BGP neighbor\n"),
        ("\x1b[?7h\x1b=\x1b>show\x1b[m", "show"),
        ("\x1b]0;edge\x07edge#\x1b]0;edge\x1b\\", "edge#"),
        ("\x1b(Bplain", "plain"),
        ("\x1b]0;never ended", "\x1b]0;never ended"),
        ("a\rb", "a\rb"),
    ],
)
def test_what_a_terminal_would_show(text: str, meant: str) -> None:
    assert plain(Answer(text, text, 3)) == Answer(meant, meant, 3)


@given(st.text(st.characters(exclude_characters="\x1b\r")))
def test_other_text_stays(text: str) -> None:
    assert plain(Answer(text)) == Answer(text)


@pytest.mark.parametrize("start", ["\x1b[", "\x1b]", "\x1b ", "\x1b[0"])
@pytest.mark.parametrize("filler", ["0", " ", "\x1b"])
def test_no_text_takes_long(start: str, filler: str) -> None:
    """Nothing is measured: what is not linear does not end here."""
    text = (start + filler * 10) * 20_000 + start + filler * 1_000_000
    assert len(plain(Answer(text)).stdout) <= len(text)


@pytest.mark.parametrize(("status", "signal"), [(143, 15), (137, 9), (-9, 9)])
def test_an_answer_of_a_program_that_was_killed_is_none(status: int, signal: int) -> None:
    found = unless_killed(Answer("half an ans", "", status))
    assert (found.stdout, found.error) == (
        "",
        f"the program was ended by signal {signal}, so its answer may be cut off",
    )


@pytest.mark.parametrize("status", [0, 1, 127, 128, 255])
def test_any_other_end_is_the_programs_own(status: int) -> None:
    assert unless_killed(Answer("text", "", status)) == Answer("text", "", status)
