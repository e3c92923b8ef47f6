from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from exporter.log import set_up


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_logfmt(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "logfmt")
    logging.getLogger("exporter.serve").warning('said "%s" = %d', "a b", 3)
    line = capsys.readouterr().err
    assert re.fullmatch(
        r'time="?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"? level=warn source=exporter\.serve '
        r'msg="said \\"a b\\" = 3"\n',
        line,
    )


@pytest.mark.parametrize("text", ["a\nlevel=error msg=forged", "", 'q"', "a=b", "tab\there", "\x1b[31m"])
def test_one_record_is_one_line_and_cannot_forge_another(capsys: pytest.CaptureFixture[str], text: str) -> None:
    set_up("info", "logfmt")
    logging.getLogger("x").info("%s", text)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert json.loads(line.rstrip("\n").split(" msg=", 1)[1]) == text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    try:
        int("broken")
    except ValueError:
        logging.getLogger("exporter.schedule").exception("job %s failed", "names")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    record = json.loads(line)
    assert list(record) == ["time", "level", "source", "msg", "error"]
    assert (record["level"], record["source"], record["msg"]) == ("error", "exporter.schedule", "job names failed")
    assert record["error"].endswith("ValueError: invalid literal for int() with base 10: 'broken'")


@pytest.mark.parametrize(
    ("level", "said"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warn", ["w", "e"]), ("error", ["e"])],
)
def test_levels(capsys: pytest.CaptureFixture[str], level: str, said: list[str]) -> None:
    set_up(level, "json")
    log = logging.getLogger("exporter")
    for method, text in ((log.debug, "d"), (log.info, "i"), (log.warning, "w"), (log.error, "e")):
        method(text)
    assert [json.loads(line)["msg"] for line in capsys.readouterr().err.splitlines()] == said


def test_libraries_that_tell_of_everything_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "logfmt")
    logging.getLogger("asyncssh").warning("connected")
    logging.getLogger("apscheduler").info("job ran")
    assert capsys.readouterr().err == ""


def test_an_unknown_level() -> None:
    with pytest.raises(KeyError):
        set_up("loud", "json")
