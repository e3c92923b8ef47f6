from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from routers.model import Answer, Command
from routers.shell import apart, together

TOKEN = "0123456789abcdef"

COMMANDS = (
    Command("plain", ("printf", "%s", "no line break at the end")),
    Command("lines", ("cat",), stdin="one\n\n$HOME `id` 'two'\n"),
    Command("unended", ("cat",), stdin="three"),
    Command("empty", ("cat",), stdin=""),
    Command("complaint", ("sh", "-c", "echo out; echo err >&2; exit 7")),
    Command("missing", ("ecmp-exporter-no-such-program", "it's")),
    Command("hungry", ("cat",)),
    Command("last", ("echo", "a b", "*")),
)


def ran(commands: tuple[Command, ...]) -> Answer:
    one = together(commands, TOKEN)
    done = subprocess.run(one.argv, input=one.stdin, capture_output=True, text=True, timeout=10, check=False)
    return Answer(done.stdout, done.stderr, done.returncode)


def test_each_gets_its_own_answer() -> None:
    found = apart(ran(COMMANDS), COMMANDS, TOKEN)
    assert found is not None
    assert found["plain"] == Answer("no line break at the end")
    assert found["lines"] == Answer("one\n\n$HOME `id` 'two'\n")
    assert found["unended"] == Answer("three\n")
    assert found["empty"] == Answer("")
    assert found["complaint"] == Answer("out\n", "err\n", 7)
    assert found["missing"].exit_status == 127
    assert "ecmp-exporter-no-such-program" in found["missing"].stderr
    assert found["hungry"] == Answer("")
    assert found["last"] == Answer("a b *\n")


def test_an_answer_that_was_cut_is_none() -> None:
    whole = ran(COMMANDS)
    for length in range(0, len(whole.stdout) - 1, 7):
        assert apart(Answer(whole.stdout[:length], whole.stderr), COMMANDS, TOKEN) is None
    assert apart(Answer(whole.stdout, ""), COMMANDS, TOKEN) is None


@given(st.text(), st.text())
def test_arbitrary_text_is_none(stdout: str, stderr: str) -> None:
    assert apart(Answer(stdout, stderr), COMMANDS, TOKEN) is None
