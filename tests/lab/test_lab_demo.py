"""The demo as a person runs it: what it shows, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import commands, daemons, netns, place
from lab.plan import LabError, lab_of_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab
PATIENCE = 90


class Demo:
    """A running demo and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def text(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.text):
                return found
            assert self.process.poll() is None, f"it ended before {pattern!r}:\n{self.text}"
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in:\n{self.text}")

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def name() -> Iterator[str]:
    name = f"d{os.getpid()}"
    yield name
    for left in (name, f"{name}-2"):
        commands.down(left)


@contextmanager
def demo(name: str, log: Path, *options: str) -> Iterator[Demo]:
    argv = [sys.executable, "-m", "exporter", "demo", f"--name={name}", "--port=20179", *options]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    try:
        yield Demo(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return bytes(answer.read()).decode()


def left_of(name: str) -> list[object]:
    namespaces = [namespace for namespace in netns.existing() if lab_of_namespace(namespace) == name]
    state = place.state_directory(name)
    processes = [*netns.processes_in(namespaces), *netns.processes_naming(state, daemons.PROGRAMS)]
    files = list(place.state_root().glob(f"*{name}*"))
    return [*namespaces, *processes, *files]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def assert_closed(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2).close()


def test_once_shows_the_outage_and_what_mends_it(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "log", "--once") as running:
        assert running.end() == 0
    assert re.search(r"leviathan3 .*neighbor_missing", running.text)
    assert re.search(r"leviathan3 .*unreachable", running.text)
    assert "no BGP neighbor 10.0.0.13" in running.text
    assert "neighbor 10.0.0.13 " in running.text.partition("type:")[2]
    assert "lab heal" in running.text
    assert "lab break" in running.text
    assert left_of(name) == []


def test_page_metrics_and_changes_while_it_runs(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "log") as running:
        url = running.wait_for(r"status page +(http://localhost:\d+)")[1]
        running.wait_for("Ctrl-C ends")
        assert "leviathan3" in get(url)
        assert re.search(
            r'ecmp_path_verdict_info\{[^}]*node="leviathan3"[^}]*"neighbor_missing"', get(url + "/metrics")
        )
        commands.heal(name=name)
        running.wait_for(r"web via leviathan3: \w+ -> ok")
        running.wait_for(r"gitea-ssh via leviathan3: \w+ -> ok")
        assert running.end(signal.SIGINT) == 0
    assert "Traceback" not in running.text
    assert left_of(name) == []
    assert_closed(port_of(url))


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("building the network", signal.SIGINT),
        ("building the network", signal.SIGHUP),
        (r"building \d", signal.SIGINT),
        ("starting .* BIRD", signal.SIGINT),
        ("starting .* BIRD", signal.SIGTERM),
        ("starting the exporter", signal.SIGINT),
        ("its verdicts", signal.SIGINT),
        ("Ctrl-C ends", signal.SIGHUP),
    ],
)
def test_ended_at_any_moment(name: str, tmp_path: Path, moment: str, number: signal.Signals) -> None:
    with demo(name, tmp_path / "log") as running:
        running.wait_for(moment)
        assert running.end(number) == 0
    assert "Traceback" not in running.text
    assert left_of(name) == []


def test_an_impatient_person(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "log") as running:
        running.wait_for("starting the exporter")
        for _ in range(20):
            running.process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert running.end() == 0
    assert "Traceback" not in running.text
    assert left_of(name) == []


def test_two_at_once_have_a_lab_and_a_port_each(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "one") as first:
        url = first.wait_for(r"status page +(http://localhost:\d+)")[1]
        with demo(name, tmp_path / "two") as second:
            other = second.wait_for(r"status page +(http://localhost:\d+)")[1]
            second.wait_for("Ctrl-C ends")
            assert other != url
            assert f"--name={name}-2" in second.text
            assert "is taken" in second.text
            assert second.end(signal.SIGINT) == 0
        assert left_of(f"{name}-2") == []
        assert "leviathan3" in get(url)
        assert first.end(signal.SIGINT) == 0
    assert left_of(name) == []


@pytest.mark.parametrize("last", ["building the network", "Ctrl-C ends"])
def test_nobody_reads_any_more(name: str, last: str) -> None:
    """`demo | head`, or a terminal whose hangup went to make alone: it ends instead of going on unseen."""
    argv = [sys.executable, "-m", "exporter", "demo", f"--name={name}", "--port=20179"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        while last not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
    assert left_of(name) == []


def test_the_exporter_dies(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "log") as running:
        running.wait_for("Ctrl-C ends")
        config = os.fsencode(place.state_directory(name) / "exporter.yml")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"serve" in words and config in words:
                os.kill(int(process.name), signal.SIGKILL)
        assert running.end() == 2
    assert "the exporter ended with status -9" in running.text
    assert left_of(name) == []


def test_the_lab_is_taken_down_by_another_command(name: str, tmp_path: Path) -> None:
    with demo(name, tmp_path / "log") as running:
        running.wait_for("Ctrl-C ends")
        commands.down(name)
        assert running.end() == 2
    assert f"lab {name} was taken down by another command" in running.text
    assert left_of(name) == []
    with pytest.raises(LabError, match="no lab"):
        commands.state_directory(name)
