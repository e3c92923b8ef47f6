"""Direct steering on real kernels and nodes, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.place import start_time
from lab.plan import Lab

pytestmark = pytest.mark.lab

DRIVER = Path(__file__).with_name("bypass_driver.py")
NODES = [address for node in Lab("x").nodes for address in (node.v4, node.v6)]
NAMES = {address: node.name for node in Lab("x").nodes for address in (node.v4, node.v6)}
THIRD, THIRD_V6 = "10.0.0.13", "2001:db8:10::13"
GITEA, GITEA_V6 = "203.0.113.22", "2001:db8:203::22"
WEB, WEB_V6 = "203.0.113.10", "2001:db8:203::10"
BANNER = "SSH-2.0"


class Prober:
    """The prober of a lab that shares a link with the nodes, and whose router does not know leviathan3."""

    def __init__(self) -> None:
        self.name = f"bp{os.getpid()}"
        self._drivers: list[Driver] = []
        lab.up(self.name, beside_nodes=True, fault=["neighbor_missing:leviathan3"])

    def run(self, command: str, *, check: bool = True) -> str:
        argv = lab.prober_command(self.name, ["sh", "-c", command])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def routing(self) -> str:
        show = "ip -{0} rule show; ip -{0} route show table all"
        lines = self.run("; ".join(show.format(family) for family in (4, 6))).splitlines()
        # the kernel keeps what it learned of single destinations for a while
        return "\n".join(sorted(" ".join(line.split()) for line in lines if "cache" not in line))

    def driver(self, *become: str) -> Driver:
        driver = Driver(lab.prober_command(self.name, [*become, sys.executable, str(DRIVER)]))
        self._drivers.append(driver)
        return driver

    def end_drivers(self, *, politely: bool = True) -> None:
        while self._drivers:
            self._drivers.pop().end(politely=politely)


class Driver:
    """A process with a Bypass in it."""

    def __init__(self, argv: list[str]) -> None:
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.janitor: int | None = None

    def send(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def ask(self, *command: object) -> Any:
        self.send(*command)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.process.communicate()[1]}"
        return json.loads(line)

    def install(self, *addresses: str, vips: tuple[str, ...] = ()) -> dict[str, int]:
        marks, self.why, self.janitor = self.ask("install", addresses, vips)
        return dict(marks)

    def fetch(self, vip: str, port: int, mark: int = 0) -> str:
        return str(self.ask("fetch", vip, port, mark))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def end(self, *, politely: bool) -> None:
        """It ends by itself when nobody asks any more; after a close without a warning of what is left open."""
        if self.process.poll() is None:
            if politely:
                self.ask("close")
            _, errors = self.process.communicate(timeout=20)
            assert not politely or errors == ""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def beside() -> Iterator[Prober]:
    prober = None
    try:
        prober = Prober()
        yield prober
    finally:
        lab.down(f"bp{os.getpid()}")


@pytest.fixture
def prober(beside: Prober) -> Iterator[Prober]:
    """Whatever a test does, the prober's rules and routes are afterwards what they were."""
    before = beside.routing()
    yield beside
    beside.end_drivers()
    assert soon(lambda: beside.routing() == before), f"{before}\n--- became ---\n{beside.routing()}"


@pytest.mark.parametrize(("vip", "node"), [(GITEA, THIRD), (GITEA_V6, THIRD_V6)])
def test_a_node_that_the_router_does_not_know_would_serve(prober: Prober, vip: str, node: str) -> None:
    driver = prober.driver()
    assert driver.fetch(vip, 22) != BANNER
    mark = driver.install(node)[node]
    assert driver.fetch(vip, 22, mark) == BANNER
    assert driver.fetch(vip, 22) != BANNER
    assert driver.why == {}


def test_each_mark_leads_to_its_node_and_no_mark_to_the_router(prober: Prober) -> None:
    driver = prober.driver()
    marks = driver.install(*NODES)
    assert sorted(marks) == sorted(NODES)
    assert len(set(marks.values())) == len(NODES)
    for node, mark in marks.items():
        vip = WEB_V6 if ":" in node else WEB
        assert {driver.fetch(vip, 80, mark) for _ in range(6)} == {NAMES[node]}
    for vip in (WEB, WEB_V6):
        assert {driver.fetch(vip, 80) for _ in range(24)} == {"leviathan1", "leviathan2"}


def test_install_twice_changes_nothing_and_another_set_only_the_difference(prober: Prober) -> None:
    driver = prober.driver()
    first = driver.install(*NODES[:4])
    routing, janitor = prober.routing(), driver.janitor
    assert driver.install(*NODES[:4]) == first
    assert (prober.routing(), driver.janitor) == (routing, janitor)
    second = driver.install(*NODES[2:])
    assert {node: second[node] for node in NODES[2:4]} == {node: first[node] for node in NODES[2:4]}
    assert not {second[node] for node in NODES[4:]} & set(first.values())
    now = prober.routing()
    assert all(str(first[node]) not in now for node in NODES[:2])
    assert driver.fetch(GITEA, 22, second[THIRD]) == BANNER
    assert driver.install() == {}


def test_close_leaves_everything_as_it_was_and_no_janitor(prober: Prober) -> None:
    before = prober.routing()
    driver = prober.driver()
    for _ in range(2):
        driver.install(*NODES)
        assert prober.routing() != before
        janitor = driver.janitor
        assert janitor is not None
        assert start_time(janitor) is not None
        driver.ask("close")
        assert prober.routing() == before
        assert start_time(janitor) is None
    driver.ask("close")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_is_killed_leaves_nothing(prober: Prober, number: signal.Signals) -> None:
    before = prober.routing()
    driver = prober.driver()
    driver.install(*NODES[:2])
    driver.install(*NODES)
    janitor = driver.janitor
    assert janitor is not None
    if number != signal.SIGKILL:  # a service that is ended gets the signal in all its processes
        os.kill(janitor, number)
        assert driver.fetch(GITEA, 22, driver.install(*NODES)[THIRD]) == BANNER
        assert driver.janitor == janitor
    driver.process.send_signal(number)
    driver.process.wait(20)
    assert soon(lambda: prober.routing() == before)
    assert soon(lambda: start_time(janitor) is None)


def test_a_process_that_is_killed_while_routes_are_being_added_leaves_nothing(prober: Prober, tmp_path: Path) -> None:
    """The `ip` that it started lives on and adds them when everything has been removed already."""
    slow = tmp_path / "bin" / "ip"
    slow.parent.mkdir()
    late = f'case "$*" in *-batch*) mkdir {tmp_path}/adding 2>/dev/null && sleep 0.7; esac'
    slow.write_text(f'#!/bin/sh\n{late}\nexec {shutil.which("ip")} "$@"\n', encoding="utf-8")
    slow.chmod(0o755)
    before = prober.routing()
    driver = prober.driver("env", f"PATH={slow.parent}:{os.environ['PATH']}")
    driver.send("install", NODES)
    assert soon((tmp_path / "adding").exists)
    driver.kill()
    assert soon(lambda: prober.routing() != before)
    assert soon(lambda: "ecmp-exporter-bypass" not in prober.run("cat /proc/net/unix"))
    assert prober.routing() == before


def test_a_process_that_just_ends_leaves_nothing(prober: Prober) -> None:
    driver = prober.driver()
    driver.install(*NODES)
    janitor = driver.janitor
    assert janitor is not None
    prober.end_drivers(politely=False)
    assert soon(lambda: start_time(janitor) is None)


def test_a_second_process_is_refused_and_takes_over_later(prober: Prober) -> None:
    first, second = prober.driver(), prober.driver()
    marks = first.install(*NODES)
    routing = prober.routing()
    assert second.install(*NODES, "192.0.2.99") == {}
    assert set(second.why) == {*NODES, "192.0.2.99"}
    assert set(second.why.values()) == {
        f"another exporter (process {first.process.pid}) has its policy routes in this network namespace"
    }
    second.ask("close")
    assert prober.routing() == routing
    assert first.fetch(GITEA, 22, marks[THIRD]) == BANNER
    first.kill()
    assert sorted(second.install(*NODES)) == sorted(NODES)
    assert second.fetch(GITEA, 22, second.install(*NODES)[THIRD]) == BANNER


def test_what_a_dead_process_left_is_removed_and_what_others_made_is_not(prober: Prober) -> None:
    others = [
        "rule {} fwmark 0x77 lookup 77 priority 2360 protocol 236",
        "rule {} fwmark 0xecb0002 lookup 78 priority 100 protocol 236",
        "route {} default via 10.0.0.11 dev lan0 table 77 proto 236",
        "route {} default via 10.0.0.11 dev lan0 table 248184900",
    ]
    plain = prober.routing()
    prober.run("; ".join(f"ip {line.format('add')}" for line in others))
    try:
        before = prober.routing()
        dead = prober.driver()
        dead.install(*NODES)
        assert dead.janitor is not None
        os.killpg(dead.janitor, signal.SIGKILL)
        dead.kill()
        assert prober.routing() != before
        driver = prober.driver()
        mark = driver.install(THIRD)[THIRD]
        assert len(prober.routing().splitlines()) == len(before.splitlines()) + 3
        assert driver.fetch(GITEA, 22, mark) == BANNER
        driver.ask("close")
        assert prober.routing() == before
    finally:
        prober.run("; ".join(f"ip {line.format('del')}" for line in others))
    assert prober.routing() == plain


def test_a_janitor_that_was_killed_is_replaced(prober: Prober) -> None:
    driver = prober.driver()
    driver.install(*NODES)
    killed = driver.janitor
    assert killed is not None
    os.killpg(killed, signal.SIGKILL)
    driver.install(*NODES)
    assert driver.janitor not in (killed, None)
    driver.kill()  # and the fixture looks whether everything goes


def test_when_the_link_goes_down_marked_packets_do_not_take_the_router(prober: Prober) -> None:
    prober.run("echo 1 > /proc/sys/net/ipv6/conf/lan0/keep_addr_on_down")
    driver = prober.driver()
    marks = driver.install(*NODES)
    prober.run("ip link set lan0 down")
    try:
        for node, mark in marks.items():
            assert driver.fetch(WEB_V6 if ":" in node else WEB, 80, mark).startswith("OSError"), node
        assert driver.fetch(WEB, 80).startswith("leviathan")
        assert driver.install(*NODES) == {}
        assert "lan0, which shares a subnet with 10.0.0.13, is down" in driver.why.values()
    finally:
        prober.run("ip link set lan0 up")
    again = driver.install(*NODES)
    assert sorted(again) == sorted(NODES)
    assert driver.fetch(GITEA, 22, again[THIRD]) == BANNER


def test_what_was_lost_meanwhile_is_repaired(prober: Prober) -> None:
    driver = prober.driver()
    marks = driver.install(*NODES)
    routing = prober.routing()
    prober.run(f"ip route del default via {THIRD} table {marks[THIRD]}; ip rule del fwmark {marks[NODES[0]]}")
    assert driver.install(*NODES) == marks
    assert prober.routing() == routing


def test_a_strict_reverse_path_filter(prober: Prober) -> None:
    """It drops answers that come in by another interface than the one that leads to the VIP."""
    driver = prober.driver()
    setting = "/proc/sys/net/ipv4/conf/lan0/rp_filter"
    try:
        mark = driver.install(THIRD)[THIRD]
        prober.run(f"echo 1 > {setting}")
        assert driver.fetch(GITEA, 22, mark) != BANNER  # which is why it must not be believed
        assert driver.install(THIRD, THIRD_V6).keys() == {THIRD_V6}
        assert "sysctl net.ipv4.conf.lan0.rp_filter=2" in driver.why[THIRD]
        prober.run(f"echo 2 > {setting}")
        assert driver.fetch(GITEA, 22, driver.install(THIRD)[THIRD]) == BANNER
        # the router on the same link, as where the prober has one interface
        prober.run(f"echo 1 > {setting}; ip route add {GITEA} via 10.0.0.1 dev lan0")
        assert driver.install(THIRD) == {}
        mark = driver.install(THIRD, vips=(GITEA, GITEA_V6))[THIRD]
        assert driver.fetch(GITEA, 22, mark) == BANNER
        assert driver.install(THIRD, vips=(GITEA, WEB)) == {}
    finally:
        prober.run(f"echo 0 > {setting}; ip route del {GITEA} via 10.0.0.1 dev lan0", check=False)


def test_a_policy_rule_that_comes_before_ours_is_seen(prober: Prober) -> None:
    driver = prober.driver()
    prober.run("ip rule add lookup main priority 100")
    try:
        assert driver.install(THIRD, THIRD_V6).keys() == {THIRD_V6}
        assert driver.why == {THIRD: "another policy rule of this machine comes before ours"}
    finally:
        prober.run("ip rule del lookup main priority 100")


@pytest.mark.parametrize("without", ["-net_admin,-net_raw", "-net_admin"])
def test_without_the_right_to_it_nothing_happens(prober: Prober, without: str) -> None:
    """With CAP_NET_RAW a process may mark packets, since Linux 5.17, but not change routes."""
    before = prober.routing()
    driver = prober.driver("setpriv", f"--bounding-set={without}", f"--inh-caps={without}")
    assert driver.install(*NODES) == {}
    assert set(driver.why.values()) == {"no CAP_NET_ADMIN"}
    assert driver.janitor is None
    assert prober.routing() == before
    assert sorted(prober.driver().install(*NODES)) == sorted(NODES)  # and nobody else is kept from it


def test_nodes_that_share_no_link_are_left_out(prober: Prober) -> None:
    driver = prober.driver()
    assert driver.install("192.0.2.13", "10.0.0.2", THIRD).keys() == {THIRD}
    assert driver.why.keys() == {"192.0.2.13", "10.0.0.2"}
