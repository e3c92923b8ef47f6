"""The rehearsal network itself: real namespaces, daemons and packets."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import lab
from lab import cli, daemons, faults, netns, place
from lab.plan import LabError, lab_of_namespace
from tests.lab.rehearsal import RunningLab, cannot_run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab
REPOSITORY = Path(__file__).resolve().parents[2]
WEB, WEB_V6 = "203.0.113.10", "2001:db8:203::10"
GITEA, GITEA_V6 = "203.0.113.22", "2001:db8:203::22"

# One line per connection: the node that answered. A fixed source port is freed by a reset.
ASK = """
import socket, struct, sys
address, count, first, step = sys.argv[1], *map(int, sys.argv[2:])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for number in range(count):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.bind(("", first + number * step))
        s.connect((address, 80))
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        answer = b""
        while part := s.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK\\r\\n"), answer
    print(answer.partition(b"X-Node: ")[2].partition(b"\\r\\n")[0].decode())
"""
BANNER = """
import socket, sys
with socket.create_connection((sys.argv[1], 22), 2) as s:
    print(s.recv(64).decode())
"""
OUTCOME = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7).close()
    print("open")
except TimeoutError:
    print("silence")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("unreachable")
"""


def ask(running: RunningLab, vip: str, count: int = 24, *, step: int = 1) -> set[str]:
    return set(running.python(ASK, vip, str(count), "21000", str(step)).split())


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "running" in request.fixturenames:
        running: RunningLab = request.getfixturevalue("running")
        lab.heal(name=running.name)


def everything_of(name: str) -> list[int]:
    namespaces = [namespace for namespace in netns.existing() if lab_of_namespace(namespace) == name]
    state = place.state_directory(name)
    return [*netns.processes_in(namespaces), *netns.processes_naming(state, daemons.PROGRAMS)]


@pytest.mark.parametrize("vip", [WEB, WEB_V6])
def test_every_node_serves_flows_of_the_web_vip(running: RunningLab, vip: str) -> None:
    assert ask(running, vip) == {"leviathan1", "leviathan2", "leviathan3"}


@pytest.mark.parametrize("vip", [WEB, WEB_V6])
def test_a_flow_keeps_its_node(running: RunningLab, vip: str) -> None:
    assert len(ask(running, vip, 8, step=0)) == 1


@pytest.mark.parametrize("vip", [GITEA, GITEA_V6])
def test_gitea_is_a_real_ssh_server(running: RunningLab, vip: str) -> None:
    assert running.python(BANNER, vip).startswith("SSH-2.0-OpenSSH")


def test_the_router_can_be_logged_in_to(running: RunningLab) -> None:
    routes = json.loads(running.in_prober([*running.login, f"ip -j route show {WEB}"]))
    assert {hop["gateway"] for hop in routes[0]["nexthops"]} == {"10.0.0.11", "10.0.0.12", "10.0.0.13"}
    shell = {"frr": "vtysh -c 'show bgp summary'", "bird": "birdc show protocols"}
    router = lab.status(running.name).router
    assert "10.0.0.13" in running.in_prober([*running.login, shell[router]]) or router == "bird"


def test_a_login_reads_no_start_files_of_this_machine(running: RunningLab) -> None:
    """They may take seconds, print something or never end: a router's login has none."""
    said = running.in_prober([*running.login, 'echo "$HOME $SHELL"']).split()
    assert said == [str(running.state / "home"), "/bin/sh"]


def test_the_exec_prefix_reaches_the_same_router(running: RunningLab) -> None:
    config = yaml.safe_load((running.state / "exporter-exec.yml").read_text(encoding="utf-8"))
    prefix = config["routers"][0]["exec"]["prefix"]
    assert "lan0" in running.in_prober([*prefix, "ip", "route"])


def test_status_tells_of_a_healthy_lab(running: RunningLab) -> None:
    status = lab.status(running.name)
    assert status.problems == []
    assert status.namespaces == 9
    assert all(status.daemons.values())
    assert set(status.sessions.values()) == {"Established"}


@pytest.mark.parametrize("kind", faults.KINDS)
def test_every_fault_breaks_and_heals(running: RunningLab, kind: str) -> None:
    told = lab.break_(kind, name=running.name)
    assert kind in told
    status = lab.status(running.name)
    assert status.problems == []
    assert len(status.faults) == 1
    lab.heal(kind, name=running.name)
    after = lab.status(running.name)
    assert after.problems == []
    assert after.faults == []


@pytest.mark.parametrize(
    ("kind", "vip", "node"),
    [
        ("blackhole", "silence", "refused"),
        ("service_down", "refused", "refused"),
        ("node_down", "silence", "silence"),
    ],
)
@pytest.mark.parametrize(("gitea", "address"), [(GITEA, "10.0.0.13"), (GITEA_V6, "2001:db8:10::13")])
def test_what_the_prober_meets(running: RunningLab, kind: str, vip: str, node: str, gitea: str, address: str) -> None:
    lab.break_(kind, name=running.name)
    assert running.python(OUTCOME, gitea, "22").strip() == vip
    assert running.python(OUTCOME, address, "9").strip() == node


def test_a_node_without_a_pod_drops_silently(running: RunningLab) -> None:
    lab.break_("unexpected_next_hop", name=running.name)
    lab.break_("neighbor_missing", "leviathan3", name=running.name)
    assert running.python(OUTCOME, GITEA, "22").strip() == "silence"


def test_faults_combine_in_any_order(running: RunningLab) -> None:
    lab.break_("stale_route", "leviathan3", name=running.name)
    lab.break_("route_unused", "leviathan1", name=running.name)
    lab.break_("node_down", "leviathan3", name=running.name)
    lab.break_("route_missing", "leviathan3", name=running.name)
    lab.break_("route_missing", "leviathan3", name=running.name)
    assert lab.status(running.name).next_hops[WEB] == ["leviathan2"]
    lab.heal("route_missing", name=running.name)
    lab.heal("route_unused", name=running.name)
    assert lab.status(running.name).next_hops[WEB_V6] == ["leviathan1", "leviathan2", "leviathan3"]
    assert lab.status(running.name).sessions["leviathan3"] != "Established"


def test_what_the_kernel_lost_stays_lost_while_bird_writes_routes(other_name: str) -> None:
    lab.up(other_name, router="bird", fault=["route_not_installed"])
    for kind, node in (("route_unused_as_path", "leviathan1"), ("stale_route", "leviathan2"), ("route_missing", None)):
        lab.break_(kind, node, name=other_name)
        assert lab.status(other_name).problems == []
    lab.heal("route_missing", name=other_name)
    lab.heal("stale_route", name=other_name)
    lab.heal("route_unused_as_path", name=other_name)
    status = lab.status(other_name)
    assert (status.next_hops[WEB], status.next_hops[GITEA_V6]) == (["leviathan1", "leviathan2"], [])
    lab.heal(name=other_name)
    assert lab.status(other_name).next_hops[WEB_V6] == ["leviathan1", "leviathan2", "leviathan3"]


def test_hash_modes(running: RunningLab) -> None:
    lab.break_("hash_addresses", name=running.name)
    assert len(ask(running, WEB)) == 1
    lab.break_("hash_random", name=running.name)
    assert len(ask(running, WEB, step=0)) > 1
    lab.heal("hash_random", name=running.name)
    assert len(ask(running, WEB)) == 3


def test_the_outage_from_the_start_and_a_second_lab(running: RunningLab, other_name: str) -> None:
    second = RunningLab(other_name, router="bird", fault=["neighbor_missing"], hash_mode="addresses")
    assert lab.status(other_name).sessions["leviathan3"] == "not configured"
    assert second.python(OUTCOME, GITEA, "22").strip() == "unreachable"
    assert lab.status(running.name).problems == []
    assert lab.status(other_name).hash_mode == "addresses"
    with pytest.raises(LabError, match="--name"):
        lab.status()


def test_up_twice_up_from_ruins_and_down(other_name: str) -> None:
    state = lab.up(other_name, router="bird")
    lab.up(other_name)
    for pid_file in sorted(state.glob("*/*.pid"))[::2]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)
    if place.mode() != "outside":
        netns.remove([f"ecmplab-{other_name}-leviathan2"])
    assert lab.status(other_name).problems
    (state / "lab.json").write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match="lab up"):
        lab.break_("blackhole", name=other_name)
    lab.up(other_name)
    status = lab.status(other_name)
    assert status.problems == []
    assert all(status.daemons.values())
    alive = everything_of(other_name)
    assert len(alive) >= 7
    lab.down(other_name)
    assert not [pid for pid in alive if place.start_time(pid) is not None]
    assert everything_of(other_name) == []
    assert not [namespace for namespace in netns.existing() if lab_of_namespace(namespace) == other_name]
    assert not list(place.state_root().glob(f"*{other_name}*"))


def test_thirty_two_nodes(other_name: str) -> None:
    start = time.monotonic()
    lab.up(other_name, nodes=32)
    assert time.monotonic() - start < 60
    assert len(lab.status(other_name).next_hops[WEB_V6]) == 32


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), *(entry for entry in sys.path if entry)])
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


# Entering the lab starts the interpreter again, then without the right to read what root may read.
CHECK = """
import os, subprocess, sys, lab, yaml
assert sys.version_info >= (3, 11)
subprocess.run([sys.executable, "-c", "import lab, yaml"], check=True)
"""
REHEARSAL = """
import subprocess, sys, lab
name = sys.argv[1]
state = lab.up(name, transit=True, beside_nodes=True)
try:
    lab.break_("route_filtered", name=name)
    lab.break_("no_icmp", name=name)
    lab.heal(name=name)
    status = lab.status(name)
    assert status.transit and status.beside_nodes and status.namespaces == 10, status
    argv = lab.prober_command(name, ["ip", "-j", "route", "get", "203.0.113.22"])
    assert "198.51.100.254" in subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout
    argv = lab.prober_command(name, ["ip", "-br", "address"])
    addresses = subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout
    assert all(word in addresses for word in ("198.51.100.130/24", "2001:db8:198::101/64", "10.0.0.2/24")), addresses
    assert status.router == "bird" and not status.problems and all(status.daemons.values()), status
    options = ["-F", "none", "-i", f"{state}/ssh/id_ed25519", "-o", "BatchMode=yes",
               "-o", f"UserKnownHostsFile={state}/ssh/known_hosts"]
    for command, words in (("birdc show protocols", "Established"), ("ip -j route", "203.0.113.10")):
        argv = lab.prober_command(name, ["ssh", *options, "monitor@198.51.100.1", command])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        assert words in done.stdout, done
finally:
    lab.down(name)
assert not state.exists()
print("rehearsed")
"""


def test_inside_a_user_namespace(other_name: str) -> None:
    command = ["unshare", "-Urnm", sys.executable, "-c", REHEARSAL, other_name]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    if "Operation not permitted" in done.stderr and "unshare" in done.stderr:
        cannot_run(done.stderr)
    assert done.stdout.endswith("rehearsed\n"), done.stderr


def test_without_root(other_name: str) -> None:
    become = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"] if os.geteuid() == 0 else []
    for python in (sys.executable, "/usr/bin/python3"):  # the first can be in a home that others cannot enter
        check = [*become, python, "-c", CHECK]
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run(check, env=environment(), capture_output=True, check=False).returncode == 0:
                break
    else:
        cannot_run("no Python that an ordinary user can run")
    command = [*become, python, "-c", REHEARSAL, other_name]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.endswith("rehearsed\n"), done.stderr
    assert not Path("/tmp/ecmp-exporter-61234").exists()  # noqa: S108


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.configure(parser)
    return parser.parse_args(words)


def test_command_line(running: RunningLab, capsys: pytest.CaptureFixture[str]) -> None:
    name = ("--name", running.name)
    assert cli.run(parsed("break", "blackhole", "leviathan2", *name)) == 0
    assert "blackhole on leviathan2" in capsys.readouterr().out
    assert cli.run(parsed("status", *name)) == 0
    assert "blackhole leviathan2" in capsys.readouterr().out
    assert cli.run(parsed("heal", *name)) == 0
    assert cli.run(parsed("break", "gremlins", *name)) == 2
    assert "neighbor_missing" in capsys.readouterr().err
    assert cli.run(parsed("break", "blackhole", "leviathan9", *name)) == 2
    assert "leviathan3" in capsys.readouterr().err
    assert cli.run(parsed("down", "--name", "never-built")) == 0
