"""Where the prober stands: its further addresses, a router more on the way, the nodes' LAN, nodes without ICMP."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import pytest
import yaml

import lab
from lab import cli
from lab.exporter_config import configuration
from lab.plan import PROBER_MORE_V4, PROBER_MORE_V6, PROBER_V4, PROBER_V6, Lab
from tests.lab.rehearsal import RunningLab

pytestmark = pytest.mark.lab
WEB, WEB_V6 = "203.0.113.10", "2001:db8:203::10"
GITEA, GITEA_V6 = "203.0.113.22", "2001:db8:203::22"

# For each source address: the one that was used and the node that answered.
FROM = """
import socket, sys
for source in sys.argv[2:]:
    bound = None if source == "any" else (source, 0)
    with socket.create_connection((sys.argv[1], 80), 3, source_address=bound) as s:
        s.sendall(b"HEAD / HTTP/1.0\\r\\n\\r\\n")
        answer = s.makefile("rb").read()
        print(s.getsockname()[0], answer.partition(b"X-Node: ")[2].partition(b"\\r\\n")[0].decode())
"""
# Who sends an ICMP error for a datagram to port 9 with this many hops to live.
HOP = """
import select, socket, sys
address, hops = sys.argv[1], int(sys.argv[2])
six = ":" in address
with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(*((socket.IPPROTO_IPV6, 25, 1) if six else (socket.IPPROTO_IP, 11, 1)))  # RECVERR
    s.setsockopt(*((socket.IPPROTO_IPV6, 16, hops) if six else (socket.IPPROTO_IP, 2, hops)))
    for attempt in range(3):
        s.sendto(b"x", (address, 9))
        watch = select.poll()
        watch.register(s, 0)
        if watch.poll(500):
            data = s.recvmsg(64, 512, socket.MSG_ERRQUEUE)[1][0][2]
            print(socket.inet_ntop(socket.AF_INET6, data[24:40]) if six else socket.inet_ntoa(data[20:24]))
            break
    else:
        print("silence")
"""
ECHO = """
import socket, struct, sys
address = sys.argv[1]
six = ":" in address
family, protocol = (socket.AF_INET6, 58) if six else (socket.AF_INET, 1)
with socket.socket(family, socket.SOCK_RAW, protocol) as s:
    s.settimeout(1)
    s.connect((address, 0))
    # kind, code, checksum (the kernel's for IPv6), identifier, number
    s.send(struct.pack("!BBHHH", 128, 0, 0, 7, 7) if six else struct.pack("!BBHHH", 8, 0, 0xF7F7, 7, 1))
    try:
        while (kind := s.recv(256)[0 if six else 20]) != (129 if six else 0):
            pass
        print("answer")
    except TimeoutError:
        print("silence")
"""
# Open within one hop, that is: no router on the way.
NEXT_TO = """
import socket, sys
six = ":" in sys.argv[1]
with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as s:
    s.settimeout(2)
    s.setsockopt(*((socket.IPPROTO_IPV6, 16, 1) if six else (socket.IPPROTO_IP, 2, 1)))
    try:
        s.connect((sys.argv[1], 9))
    except OSError as error:
        print(type(error).__name__)
"""


def hop(running: RunningLab, address: str, hops: int) -> str:
    return running.python(HOP, address, str(hops)).strip()


@pytest.fixture(scope="module")
def far() -> Iterator[RunningLab]:
    """A lab with one router more and the prober on the nodes' LAN."""
    name = f"f{os.getpid()}"
    try:
        yield RunningLab(name, transit=True, beside_nodes=True)
    finally:
        lab.down(name)


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for fixture in {"running", "far"} & set(request.fixturenames):
        lab.heal(name=request.getfixturevalue(fixture).name)


@pytest.mark.parametrize(
    ("vip", "own", "more"), [(WEB, PROBER_V4, PROBER_MORE_V4), (WEB_V6, PROBER_V6, PROBER_MORE_V6)]
)
def test_thirty_more_sources_cover_a_router_that_hashes_addresses(
    running: RunningLab, vip: str, own: str, more: tuple[str, ...]
) -> None:
    lab.break_("hash_addresses", name=running.name)
    answers = [line.split() for line in running.python(FROM, vip, *more).splitlines()]
    assert [source for source, _ in answers] == list(more)
    assert len(more) == len(set(more)) == 30
    assert {node for _, node in answers} == {"leviathan1", "leviathan2", "leviathan3"}
    unbound = {line.split()[0] for line in running.python(FROM, vip, *["any"] * 10).splitlines()}
    assert unbound == {own}


@pytest.mark.parametrize(("gitea", "node"), [(GITEA, "10.0.0.13"), (GITEA_V6, "2001:db8:10::13")])
def test_a_node_without_icmp_forwards_as_before(running: RunningLab, gitea: str, node: str) -> None:
    assert hop(running, gitea, 2) == node
    assert running.python(ECHO, node).strip() == "answer"
    lab.break_("no_icmp", "leviathan3", name=running.name)
    assert hop(running, gitea, 2) == "silence"
    assert hop(running, node, 9) == "silence"
    assert running.python(ECHO, node).strip() == "silence"
    assert running.python(ECHO, node.replace("13", "12")).strip() == "answer"
    # neighbor discovery goes on: the router has to ask for the node's address again
    running.in_prober([str(running.state / "on-edge"), "ip", "neigh", "flush", "dev", "lan0"])
    banner = running.python("import socket, sys; print(socket.create_connection((sys.argv[1], 22), 2).recv(9))", gitea)
    assert "SSH-2.0" in banner
    lab.heal("no_icmp", name=running.name)
    assert running.python(ECHO, node).strip() == "answer"


@pytest.mark.parametrize(
    ("vip", "hops"),
    [
        (GITEA, ["198.51.100.254", "192.0.2.2", "10.0.0.13"]),
        (GITEA_V6, ["2001:db8:198::254", "2001:db8:192::2", "2001:db8:10::13"]),
    ],
)
def test_transit_is_one_router_more(far: RunningLab, vip: str, hops: list[str]) -> None:
    assert [hop(far, vip, number) for number in (1, 2, 3)] == hops


@pytest.mark.parametrize(("vip", "own"), [(WEB, PROBER_V4), (WEB_V6, PROBER_V6)])
def test_behind_transit_and_beside_nodes_the_way_to_the_vips_stays(far: RunningLab, vip: str, own: str) -> None:
    answers = [line.split() for line in far.python(FROM, vip, *["any"] * 24).splitlines()]
    assert {source for source, _ in answers} == {own}
    assert {node for _, node in answers} == {"leviathan1", "leviathan2", "leviathan3"}


@pytest.mark.parametrize("node", ["10.0.0.11", "2001:db8:10::11"])
def test_beside_the_nodes_no_router_is_on_the_way(far: RunningLab, running: RunningLab, node: str) -> None:
    assert far.python(NEXT_TO, node).strip() == "ConnectionRefusedError"
    assert running.python(NEXT_TO, node).strip() != "ConnectionRefusedError"


def test_edge_is_logged_in_to_behind_transit_as_before(far: RunningLab) -> None:
    assert "lan0" in far.in_prober([*far.login, "ip route"])
    written = yaml.safe_load((far.state / "exporter.yml").read_text(encoding="utf-8"))
    assert written["routers"][0]["ssh"]["host"] == "198.51.100.1"
    reach = {"ssh": written["routers"][0]["ssh"]}
    assert written == configuration(Lab(far.name, router=written["routers"][0]["platform"]), reach)


def test_status_and_record_keep_where_the_prober_stands(far: RunningLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.break_("no_icmp", "leviathan2", name=far.name)
    status = lab.status(far.name)
    assert (status.transit, status.beside_nodes, status.problems) == (True, True, [])
    assert (status.namespaces, status.faults) == (10, ["no_icmp leviathan2"])
    assert cli.run(_parsed("status", "--name", far.name)) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "behind one more router" in shown
    assert "on the nodes' LAN as 10.0.0.2" in shown
    assert f"{PROBER_MORE_V4[0]} to 130" in shown


def test_a_plain_lab_says_that_it_is_plain(running: RunningLab, capsys: pytest.CaptureFixture[str]) -> None:
    status = lab.status(running.name)
    assert (status.transit, status.beside_nodes, status.namespaces) == (False, False, 9)
    assert cli.run(_parsed("status", "--name", running.name)) == 0
    assert "next to edge" in capsys.readouterr().out


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.configure(parser)
    return parser.parse_args(words)
