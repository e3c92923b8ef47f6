"""The command line, with routers that cannot be asked: no network is needed to be told what is wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter import __version__, cli
from exporter.board import Board
from exporter.monitor import Monitor
from exporter.status import Status
from tests.exporter.scenario import build
from tests.exporter.statuses import OUTAGE, run

TEXT = """\
probing: {interval: 1s, timeout: 200ms}
routers:
  - {name: edge, platform: frr, poll_interval: 1s, exec: {prefix: [/nonexistent/vtysh]}}
nodes:
  - {name: leviathan1, address: 127.0.0.1}
  - {name: leviathan3, address: 127.0.0.3}
targets:
  - {name: git, address: 127.0.0.9, port: 9, module: ssh_banner}
"""


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ecmp-exporter.yml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A monitor that has looked already: its status is that of a scenario."""
    case: dict[str, Any] = {}

    async def look(_: Monitor) -> None:
        return

    async def learn(_: Monitor, seconds: float, *, publish: bool = False) -> None:
        assert publish
        case["learned"] = seconds

    def status(_: Monitor) -> Status:
        return run(Board("0.0.test"), build(case))

    monkeypatch.setattr(Monitor, "full_round", look)
    monkeypatch.setattr(Monitor, "learn", learn)
    monkeypatch.setattr(Monitor, "status", status)
    return iter([case])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ecmp-exporter {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["serve", "-h"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert "usage: ecmp-exporter" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--output=xml"],
        ["explain"],
        ["paths"],
        ["paths", "git", "--output=xml"],
        ["--log.level=loud", "check"],
        ["check", "--nonsense"],
        ["nonsense"],
    ],
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: ecmp-exporter" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form",
    [
        ["--config.file={}", "--config.check"],
        ["serve", "--config.file={}", "--config.check"],
        ["serve", "--config.file", "{}", "--config.check"],
        ["--config.check", "--log.level=debug", "--log.format=json", "--config.file={}"],
    ],
)
def test_config_check(form: list[str], config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([part.format(config) for part in form]) == 0
    assert capsys.readouterr().out == f"{config}: ok, 1 routers, 2 nodes, 1 targets\n"


def test_the_default_file(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(config.parent)
    assert cli.main(["--config.check"]) == 0
    assert capsys.readouterr().out.startswith("ecmp-exporter.yml: ok")


@pytest.mark.parametrize(
    "command",
    [["--config.check"], ["check"], ["explain", "leviathan1"], ["paths", "git"], ["routers"], ["serve"]],
)
def test_a_bad_file_prints_every_problem(command: list[str], config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(TEXT.replace("interval: 1s", "interval: 1", 1).replace("ssh_banner", "nothing"))
    assert cli.main([*command, f"--config.file={config}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{config}: line 1: probing.interval: write a duration with its unit, like 15s\n" in said.err
    assert f"{config}: line 8: targets[0].module: no module 'nothing'" in said.err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", f"--config.file={tmp_path / 'none.yml'}"]) == 2
    assert "none.yml: cannot be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "leviathan2"], "no node 'leviathan2'; there are leviathan1, leviathan3\n"),
        (["routers", "core"], "no router 'core'; there are edge\n"),
        (["paths", "web"], "no target 'web'; there are git\n"),
    ],
)
def test_an_unknown_name_lists_those_that_exist(
    arguments: list[str], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments, f"--config.file={config}"]) == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(("case", "code"), [({}, 0), (OUTAGE, 1)])
def test_check_says_by_its_exit_status_whether_all_is_ok(
    case: dict[str, Any], code: int, config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    next(judged).update(case)
    assert cli.main(["check", f"--config.file={config}", "--output=json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "0.0.test"
    assert len(document["nodes"]) == 3


def test_check_as_a_table(config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    next(judged).update(OUTAGE)
    assert cli.main(["check", f"--config.file={config}"]) == 1
    said = capsys.readouterr().out
    assert "edge has no BGP neighbor 10.0.0.13 (leviathan3)" in said
    assert "neighbor 10.0.0.13 remote-as 64513" in said
    assert "\x1b[" not in said, "no colours into a pipe"


def test_explain(config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    next(judged).update(OUTAGE)
    assert cli.main(["explain", "leviathan3", f"--config.file={config}"]) == 1
    said = capsys.readouterr().out
    assert "leviathan3 (10.0.0.13) is unreachable" in said
    assert "0 of 2 paths are ok" in said
    assert "neighbor_missing: edge has no BGP neighbor" in said
    assert "type on edge (frr):" in said
    assert "set protocols bgp" not in said
    assert cli.main(["explain", "leviathan3", "--syntax=edgeos", f"--config.file={config}"]) == 1
    assert "set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64513" in capsys.readouterr().out
    assert cli.main(["explain", "leviathan1", f"--config.file={config}"]) == 0
    assert "leviathan1 (10.0.0.11) is ok" in capsys.readouterr().out


def test_paths(config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    case = next(judged)
    assert cli.main(["paths", "git", f"--config.file={config}"]) == 0
    said = capsys.readouterr().out
    assert "git at 203.0.113.22:22 through edge" in said
    assert "10.0.0.13  leviathan3  trace   0.95" in said
    assert "\x1b[" not in said, "no colours into a pipe"
    assert case["learned"] > 0, "a sample of shares takes more than a round"


def test_paths_as_json(config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    next(judged).update({"routers": {"edge": {"fib": ["leviathan2"]}}})
    assert cli.main(["paths", "git", f"--config.file={config}", "--output=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["target"] == "git"
    assert [(one["vip"], one["method"]) for one in document["vips"]] == [("203.0.113.22", "single")]
    assert [hop["node"] for hop in document["vips"][0]["next_hops"]] == ["leviathan2"]


def test_paths_that_are_not_ok_are_no_failure_of_the_command(
    config: Path, judged: Iterator[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    next(judged).update({"routers": {"edge": {"fib": "default"}}})
    assert cli.main(["paths", "git", f"--config.file={config}"]) == 0
    assert "edge forwards 203.0.113.22 nowhere" in capsys.readouterr().out


def test_a_router_that_cannot_be_asked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", f"--config.file={config}", "--output=json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["routers"][0]["up"] is False
    assert "/nonexistent/vtysh" in document["routers"][0]["error"]
    assert {path["verdict"] for path in document["paths"]} == {"router_unknown"}
    assert cli.main(["routers", f"--config.file={config}"]) == 1
    assert "edge (frr) is down" in capsys.readouterr().out
    assert cli.main(["paths", "git", f"--config.file={config}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "edge did not tell its next hops for 127.0.0.9" in said
    assert "/nonexistent/vtysh" in said
