"""Would leviathan3 serve if the router knew it? Asked past the router, and the prober's routing is left as it was."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lab import commands
from lab.demo import exporter
from tests.chain.rehearsal import Rehearsal, config_of, wait_until_ready

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="it looks into the prober as root")]

MISSING = "neighbor_missing:leviathan3"
ENDPOINTS = [("web", "203.0.113.10"), ("web-v6", "2001:db8:203::10")]
ENDPOINTS += [("gitea-ssh", "203.0.113.22"), ("gitea-ssh-v6", "2001:db8:203::22")]
WOULD = "it would serve if the router knew it"
WOULD_NOT = "it would not serve if the router knew it"
RAW, ADMIN = 1 << 13, 1 << 12


class Prober:
    """The prober of a lab, on one link with the nodes."""

    def __init__(self) -> None:
        self.name = f"ds-{os.getpid() % 100000}"
        commands.up(self.name, beside_nodes=True, fault=[MISSING])
        self.before = self.routing()

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = commands.prober_command(self.name, argv)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def routing(self) -> list[str]:
        """Every rule and route of every table, but for what the kernel learned of single destinations."""
        shown = "for family in 4 6; do ip -$family rule show; ip -$family route show table all; done"
        return sorted(" ".join(line.split()) for line in self.run("sh", "-c", shown).stdout.splitlines())

    def config(self, transport: str, *, steering: bool = True) -> Path:
        path = config_of(self.name, transport)
        values = yaml.safe_load(path.read_text())
        values["probing"]["direct_steering"] = steering
        path.write_text(yaml.safe_dump(values))
        return path

    def explain(self, node: str = "leviathan3", *, steering: bool = True) -> str:
        config = self.config("ssh", steering=steering)
        done = self.run(sys.executable, "-m", "exporter", "explain", node, f"--config.file={config}")
        assert "Traceback" not in done.stderr, done.stderr
        assert self.routing() == self.before
        return " ".join(done.stdout.split())


@contextmanager
def serving(prober: Prober, transport: str) -> Iterator[tuple[Rehearsal, int]]:
    """`ecmp-exporter serve` in the prober, and its process id; it may be dead at the end."""
    config = prober.config(transport)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with exporter(prober.name, str(config), listener) as process:
            found = Rehearsal(prober.name, url, config)
            wait_until_ready(found, process)
            yield found, process.pid


@pytest.fixture(scope="module")
def lab_prober() -> Iterator[Prober]:
    try:
        yield Prober()
    finally:
        commands.down(f"ds-{os.getpid() % 100000}")


@pytest.fixture
def prober(lab_prober: Prober) -> Iterator[Prober]:
    """Whatever a test does, its rules and routes are afterwards what they were."""
    yield lab_prober
    assert soon(lambda: lab_prober.routing() == lab_prober.before), "\n".join(lab_prober.routing())


def soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def answers(running: Rehearsal) -> dict[tuple[str, str], str]:
    """By target and VIP, of leviathan3: what the metric says."""
    text = running.get("/metrics").decode()
    lines = [line for line in text.splitlines() if line.startswith("ecmp_path_direct_probe_success{")]
    found = [re.fullmatch(r'.*{node="leviathan3",.*,target="(.+)",vip="(.+)"} (.+)', line) for line in lines]
    return {(match[1], match[2]): match[3] for match in found if match is not None}


def test_it_would_serve(prober: Prober) -> None:
    said = prober.explain()
    assert said.count("past the router, straight through leviathan3: the service answers in") == 4
    assert said.count(WOULD) == 4
    assert "neighbor_missing: edge has no BGP neighbor" in said, "the verdict stays what the tables say"
    assert "0 of 4 paths are ok" in said
    assert "past the router" not in prober.explain(steering=False)
    assert "past the router" not in prober.explain("leviathan1")


@pytest.mark.parametrize(("fault", "why"), [("blackhole", "timeout, "), ("service_down", "refused, ")])
def test_it_would_not_serve(prober: Prober, fault: str, why: str) -> None:
    commands.break_(fault, "leviathan3", name=prober.name)
    try:
        said = prober.explain()
    finally:
        commands.heal(fault, "leviathan3", name=prober.name)
    assert said.count(f"the service does not answer either ({why}") == 4
    assert said.count(WOULD_NOT) == 4
    assert WOULD not in said
    assert "neighbor_missing: edge has no BGP neighbor" in said


def test_only_where_it_shares_a_link(prober: Prober) -> None:
    device = ("ip", "link", "set", "lan0")
    prober.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/lan0/keep_addr_on_down")
    prober.run(*device, "down")
    try:
        config = prober.config("ssh")
        done = prober.run(sys.executable, "-m", "exporter", "explain", "leviathan3", f"--config.file={config}")
    finally:
        prober.run(*device, "up")
    assert done.stdout.count("could not be tried: ") == 4
    assert WOULD not in done.stdout


@pytest.mark.parametrize("transport", ["ssh", "exec"])
def test_a_service_installs_it_while_it_is_needed(prober: Prober, transport: str) -> None:
    with serving(prober, transport) as (running, pid):
        assert soon(lambda: answers(running) == dict.fromkeys(ENDPOINTS, "1.0")), answers(running)
        held = re.search(r"CapEff:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        assert held is not None
        assert int(held[1], 16) == RAW | ADMIN
        installed = prober.routing()
        ours = [line for line in installed if line not in prober.before]
        assert len(ours) == 6
        assert all("proto 236" in line or line.startswith("2360:") for line in ours)
        text = running.get("/metrics").decode()
        assert not re.search(r'^ecmp_path_probes_total{node="leviathan3".*} [^0]', text, re.MULTILINE)
        assert set(running.verdicts().values()) <= {"ok", "unverified", "neighbor_missing"}

        commands.break_("service_down", "leviathan3", name=prober.name)
        assert soon(lambda: answers(running) == dict.fromkeys(ENDPOINTS, "0.0"))
        assert prober.routing() == installed
        commands.heal("service_down", "leviathan3", name=prober.name)

        commands.heal("neighbor_missing", "leviathan3", name=prober.name)
        try:
            assert soon(lambda: answers(running) == {} and prober.routing() == prober.before)
        finally:
            commands.break_("neighbor_missing", "leviathan3", name=prober.name)
        assert soon(lambda: len(answers(running)) == 4)

        prober.config(transport, steering=False)
        os.kill(pid, signal.SIGHUP)
        assert soon(lambda: answers(running) == {} and prober.routing() == prober.before)
        prober.config(transport)
        os.kill(pid, signal.SIGHUP)
        assert soon(lambda: len(answers(running)) == 4 and len(prober.routing()) == len(installed))
    assert prober.routing() == prober.before


def test_a_service_that_is_killed_leaves_nothing(prober: Prober) -> None:
    with serving(prober, "ssh") as (running, pid):
        assert soon(lambda: len(answers(running)) == 4)
        assert prober.routing() != prober.before
        os.kill(pid, signal.SIGKILL)
        assert soon(lambda: prober.routing() == prober.before)
