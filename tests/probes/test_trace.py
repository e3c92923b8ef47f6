"""Traces and knocks against what really served the flow, on a rehearsal network with DNAT on its nodes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lab import commands, netns
from probes import flow as pinning
from probes.model import Flow
from probes.scout import HopAnswer, Scout, Seen
from tests.probes.servers import open_descriptors, serving
from tests.probes.test_knock import forbid

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the lab's namespaces from here"),
]

NAME = f"trace-{os.getpid()}"
VIPS = {4: "203.0.113.10", 6: "2001:db8:203::10"}
PROBERS = {4: "198.51.100.10", 6: "2001:db8:198::10"}
EDGES = {4: "198.51.100.1", 6: "2001:db8:198::1"}
NODES = {f"10.0.0.{10 + index}": f"leviathan{index}" for index in (1, 2, 3)} | {
    f"2001:db8:10::{10 + index}": f"leviathan{index}" for index in (1, 2, 3)
}
TO_EDGE, TO_NODE, TO_POD, FAR = 1, 2, 3, 64
SECONDS = 2.0
NO_SERVICE = 33434
PORTS = range(20000, 20012)
GET = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
TCP_INFO_TOTAL_RETRANSMISSIONS = 100  # offset in struct tcp_info, <linux/tcp.h>

FAMILY = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module", autouse=True)
def prober() -> Iterator[None]:
    """This thread stands where the prober stands; hops answer without limit, but for a test that wants one."""
    try:
        commands.up(NAME)
        for node in ("edge", *sorted(set(NODES.values()))):
            with inside(node):
                netns.write_sysctls({"net/ipv4/icmp_ratelimit": "0", "net/ipv6/icmp/ratelimit": "0"})
                netns.write_sysctls({"net/ipv4/icmp_msgs_burst": "10000", "net/ipv4/icmp_msgs_per_sec": "10000"})
        with inside("prober"):
            yield
    finally:
        commands.down(NAME)


@pytest.fixture
async def scout() -> AsyncIterator[Scout]:
    live = Scout()
    await live.open()
    try:
        yield live
    finally:
        await live.close()


@contextmanager
def inside(role: str) -> Iterator[None]:
    with netns.entered(f"ecmplab-{NAME}-{role}"):
        yield


@contextmanager
def broken(kind: str, node: str | None = None) -> Iterator[None]:
    commands.break_(kind, node, name=NAME)
    try:
        yield
    finally:
        commands.heal(kind, node, name=NAME)


def flow_of(family: int, port: int, destination_port: int = 80) -> Flow:
    return Flow(VIPS[family], destination_port, PROBERS[family], port)


def node_of(answer: HopAnswer) -> str:
    assert answer.seen is Seen.HOP, answer
    assert answer.address is not None
    return NODES[answer.address]


async def ask(connection: socket.socket) -> str:
    """The node that answers one request."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        await loop.sock_sendall(connection, GET)
        answer = b""
        while b"served by" not in answer:
            chunk = await loop.sock_recv(connection, 4096)
            assert chunk, "the connection was closed"
            answer += chunk
    return answer.split(b"X-Node: ")[1].split(b"\r\n")[0].decode()


async def server_of(flow: Flow) -> str:
    async with asyncio.timeout(SECONDS):
        connection = await pinning.connect(flow)
    try:
        return await ask(connection)
    finally:
        pinning.reset(connection)


@FAMILY
async def test_segment_names_the_node_that_serves_the_flow(scout: Scout, family: int) -> None:
    assert scout.why_not == ""
    assert scout.can_trace(family)
    flows = [flow_of(family, port) for port in PORTS]
    traced = [node_of(answer) for answer in await asyncio.gather(*(scout.segment(f, TO_NODE, SECONDS) for f in flows))]
    assert traced == [await server_of(flow) for flow in flows]
    assert set(traced) == set(NODES.values())
    again = [node_of(await scout.segment(flow, TO_NODE, SECONDS)) for flow in flows]
    assert again == traced, "although the flow was used a moment ago"


@FAMILY
async def test_router_answers_at_its_own_distance(scout: Scout, family: int) -> None:
    flow = flow_of(family, PORTS[0])
    expected = HopAnswer(Seen.HOP, EDGES[family], "time exceeded")
    assert await scout.segment(flow, TO_EDGE, SECONDS) == expected
    assert await scout.knock(flow, TO_EDGE, SECONDS) == expected


@FAMILY
async def test_knocks_name_nodes_where_no_service_is(scout: Scout, family: int) -> None:
    flows = [flow_of(family, port, NO_SERVICE) for port in PORTS]
    knocked = [node_of(await scout.knock(flow, TO_NODE, SECONDS)) for flow in flows]
    assert knocked == [node_of(await scout.segment(flow, TO_NODE, SECONDS)) for flow in flows]
    assert set(knocked) == set(NODES.values())


@FAMILY
async def test_knock_at_the_service_names_nobody(scout: Scout, family: int) -> None:
    """Connection tracking writes the VIP into the node's error; farther on, the service answers."""
    answer = await scout.knock(flow_of(family, PORTS[0]), TO_NODE, SECONDS)
    assert (answer.seen, answer.address) == (Seen.DESTINATION, None)
    assert "under the destination's address" in answer.detail
    answer = await scout.knock(flow_of(family, PORTS[0]), FAR, SECONDS)
    assert (answer.seen, answer.detail) == (Seen.DESTINATION, "handshake completed")


@FAMILY
async def test_segment_that_arrives_is_met_with_silence(scout: Scout, family: int) -> None:
    assert (await scout.segment(flow_of(family, PORTS[0]), FAR, 0.1)).seen is Seen.SILENCE


@FAMILY
async def test_open_connection_is_not_disturbed(scout: Scout, family: int) -> None:
    """Segments of the connection's own 5-tuple and every TTL while it carries data both ways."""
    flow = flow_of(family, 21000)
    answers: list[HopAnswer] = []

    async def trace(hops: int) -> None:
        answers.append(await scout.segment(flow, hops, 0.1))

    with closing(await pinning.connect(flow)) as connection:
        node = await ask(connection)
        for _ in range(15):
            traces = [asyncio.create_task(trace(hops)) for hops in (1, 2, 2, 2, 3, 3, 4, 5, 30, 64, 64, 255)]
            assert {await ask(connection) for _ in range(5)} == {node}
            await asyncio.gather(*traces)
            assert await ask(connection) == node
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    assert struct.unpack_from("=I", info, TCP_INFO_TOTAL_RETRANSMISSIONS) == (0,)
    nodes = [answer for answer in answers if answer.address in NODES]
    assert {NODES[str(answer.address)] for answer in nodes} == {node}
    assert len(nodes) == 45, "the connection makes no error come from the VIP"
    assert len(answers) == 180


@FAMILY
async def test_segments_that_reach_an_open_connection_are_dropped(scout: Scout, family: int) -> None:
    address = "127.0.0.1" if family == 4 else "::1"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    async with serving(echo, host=address) as port:
        flow = Flow(address, port, address, 21000)
        with closing(await pinning.connect(flow)) as connection:
            loop = asyncio.get_running_loop()
            for number in range(200):
                word = f"{number:3}".encode()
                tracing = asyncio.create_task(scout.segment(flow, FAR, 0.001))
                await loop.sock_sendall(connection, word)
                async with asyncio.timeout(SECONDS):
                    assert await loop.sock_recv(connection, 100) == word
                assert (await tracing).seen is Seen.SILENCE
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    assert struct.unpack_from("=I", info, TCP_INFO_TOTAL_RETRANSMISSIONS) == (0,)


@FAMILY
async def test_random_router_is_seen_by_knocks_alone(scout: Scout, family: int) -> None:
    """Its hash is the sending socket's own: a tracer's segments have none, each connection another one."""
    flow = flow_of(family, PORTS[0])
    with broken("hash_random"):
        assert len({node_of(await scout.segment(flow, TO_NODE, SECONDS)) for _ in range(24)}) == 1
        knocking = flow_of(family, PORTS[0], NO_SERVICE)
        assert len({node_of(await scout.knock(knocking, TO_NODE, SECONDS)) for _ in range(24)}) > 1
        assert len({await server_of(flow) for _ in range(24)}) > 1


@FAMILY
async def test_router_that_hashes_addresses_alone(scout: Scout, family: int) -> None:
    """For IPv6 it hashes the flow label too: pinned, it takes one next hop for every port."""
    flows = [flow_of(family, port) for port in PORTS]
    with broken("hash_addresses"):
        traced = {node_of(await scout.segment(flow, TO_NODE, SECONDS)) for flow in flows}
        assert traced == {await server_of(flow) for flow in flows}
        knocks = [scout.knock(flow_of(family, port, NO_SERVICE), TO_NODE, SECONDS) for port in PORTS]
        assert traced == {node_of(answer) for answer in await asyncio.gather(*knocks)}
    assert len(traced) == 1


@FAMILY
async def test_blackhole_is_silent(scout: Scout, family: int) -> None:
    flows = {node_of(await scout.segment(flow_of(family, port), TO_NODE, SECONDS)): port for port in PORTS}
    knocks = {node_of(await scout.knock(flow_of(family, port, NO_SERVICE), TO_NODE, SECONDS)): port for port in PORTS}
    with broken("blackhole", "leviathan2"):
        lost = await scout.segment(flow_of(family, flows["leviathan2"]), TO_NODE, 0.2)
        lost_knock = await scout.knock(flow_of(family, knocks["leviathan2"], NO_SERVICE), TO_NODE, 0.2)
        kept = await scout.segment(flow_of(family, flows["leviathan1"]), TO_NODE, SECONDS)
    assert (lost.seen, lost_knock.seen) == (Seen.SILENCE, Seen.SILENCE)
    assert node_of(kept) == "leviathan1"


@FAMILY
async def test_what_leaves_this_machine(scout: Scout, family: int) -> None:
    """The segment on the wire: TTL, no flags, right checksum, and for IPv6 flow label 0 as the probes have."""
    protocol = socket.htons(0x0800 if family == 4 else 0x86DD)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(3)) as capture:
        capture.bind(("eth0", 3))
        await scout.segment(flow_of(family, 22000), 17, 0.05)
        packets = [
            packet
            for packet, sender in iter(lambda: received(capture), None)
            if sender[2] == socket.PACKET_OUTGOING and socket.htons(sender[1]) == protocol
        ]
    sent = [packet for packet in packets if struct.pack(">HH", 22000, 80) in packet]
    assert len(sent) == 1
    header, start = sent[0][: 20 if family == 4 else 40], 12 if family == 4 else 8
    segment = sent[0][len(header) :]
    assert header[8 if family == 4 else 7] == 17
    assert (len(segment), segment[12:16], segment[18:]) == (20, b"\x50\0\4\0", b"\0\0")
    if family == 6:
        assert int.from_bytes(header[:4], "big") & 0xFFFFF == 0
    everything = header[start:] + struct.pack(">HH", 6, len(segment)) + segment
    assert sum(struct.unpack(f">{len(everything) // 2}H", everything)) % 0xFFFF == 0


def received(capture: socket.socket) -> tuple[bytes, tuple[str, int, int]] | None:
    try:
        return capture.recvfrom(2048)
    except BlockingIOError:
        return None


@FAMILY
async def test_many_at_once_and_cancelled(scout: Scout, family: int) -> None:
    flows = [flow_of(family, 23000 + number) for number in range(400)]
    before = open_descriptors()
    waiting = [asyncio.create_task(scout.segment(flow, FAR, 3600)) for flow in flows]
    await asyncio.sleep(0.05)
    tracer = scout._tracers[family]
    assert len(tracer._waiting) == len(flows)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert tracer._waiting == {}
    assert open_descriptors() == before
    answers = await asyncio.gather(*(scout.segment(flow, TO_NODE, SECONDS) for flow in flows[:100]))
    assert {node_of(answer) for answer in answers} == set(NODES.values())


@FAMILY
async def test_answer_to_another_segment_is_nobodys(scout: Scout, family: int) -> None:
    """Two tracers of the same 5-tuple: each takes the answer to its own segment alone."""
    other = Scout()
    await other.open()
    try:
        flow = flow_of(family, PORTS[0])
        far = asyncio.create_task(other.segment(flow, FAR, 0.2))
        assert (await scout.segment(flow, TO_NODE, SECONDS)).seen is Seen.HOP
        assert (await far).seen is Seen.SILENCE
    finally:
        await other.close()


@FAMILY
async def test_raw_socket_keeps_no_copy_of_other_connections(scout: Scout, family: int) -> None:
    await server_of(flow_of(family, PORTS[0]))
    with pytest.raises(BlockingIOError):
        scout._tracers[family]._sender.recv(1)


async def test_what_this_machine_cannot_send(scout: Scout) -> None:
    flows = {
        Flow(VIPS[4], 80, "192.0.2.7", 20000): "this machine cannot send from 192.0.2.7",
        Flow(VIPS[6], 80, "2001:db8::7", 20000): "this machine cannot send from 2001:db8::7",
        Flow(VIPS[4], 80, PROBERS[6], 20000): "source 2001:db8:198::10 and destination 203.0.113.10 differ",
        Flow(VIPS[4], 80): "'' does not appear to be an IPv4 or IPv6 address",
        Flow("www.example.org", 80, PROBERS[4]): "'www.example.org' is no usable IP address",
    }
    for flow, detail in flows.items():
        answer = await scout.segment(flow, TO_NODE, SECONDS)
        assert answer.seen is Seen.LOCAL
        assert answer.detail.startswith(detail)
    assert (await scout.segment(flow_of(4, 20000), 0, SECONDS)).seen is Seen.LOCAL


@FAMILY
async def test_packet_filter_of_this_machine(scout: Scout, family: int) -> None:
    """One that drops what connection tracking calls invalid: knocks go on."""
    rules = "table inet own { chain out { type filter hook output priority 0; ct state invalid drop; }; }"
    netns.run(["nft", rules])
    try:
        answer = await scout.segment(flow_of(family, PORTS[0]), TO_NODE, SECONDS)
        assert answer.seen is Seen.LOCAL
        assert "packet filter" in answer.detail
        assert (await scout.knock(flow_of(family, PORTS[0], NO_SERVICE), TO_NODE, SECONDS)).seen is Seen.HOP
    finally:
        netns.run(["nft", "delete table inet own"])


@FAMILY
async def test_mark_chooses_the_route(scout: Scout, family: int) -> None:
    """Policy routing by the mark sends the very same 5-tuple nowhere."""
    rule = ["ip", f"-{family}", "rule"]
    netns.run([*rule, "add", "pref", "70", "fwmark", "0x70", "unreachable"])
    try:
        plain = flow_of(family, PORTS[0], NO_SERVICE)
        marked = Flow(plain.destination, plain.destination_port, plain.source, plain.source_port, 0x70)
        for question in (scout.segment, scout.knock):
            assert (await question(plain, TO_NODE, SECONDS)).seen is Seen.HOP
            assert (await question(marked, TO_NODE, SECONDS)).seen is Seen.LOCAL
    finally:
        netns.run([*rule, "del", "pref", "70"])


async def test_one_family_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, errno.EAFNOSUPPORT, socket.AF_INET6)
    scout = Scout()
    await scout.open()
    try:
        assert (scout.can_trace(4), scout.can_trace(6)) == (True, False)
        assert scout.why_not.startswith("no raw IPv6 socket")
        assert (await scout.segment(flow_of(4, PORTS[0]), TO_NODE, SECONDS)).seen is Seen.HOP
        assert (await scout.segment(flow_of(6, PORTS[0]), TO_NODE, SECONDS)).seen is Seen.LOCAL
    finally:
        await scout.close()


def test_knock_as_nobody() -> None:
    """Without any capability. The interpreter starts as root, whose directories nobody may enter."""
    script = """
import asyncio, json, os, socket, sys
from pathlib import Path
from probes.model import Flow
from probes.scout import Scout

os.setgroups([]), os.setgid(65534), os.setuid(65534)

async def main():
    scout = Scout()
    await scout.open()
    rights = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    answers = [await scout.knock(Flow(*flow), 2, 2.0) for flow in json.loads(sys.argv[1])]
    print(json.dumps([rights, scout.why_not, [[answer.seen, answer.address] for answer in answers]]))
    await scout.close()

asyncio.run(main())
"""
    flows = [[VIPS[family], NO_SERVICE, PROBERS[family], 24000] for family in (4, 6)]
    argv = [sys.executable, "-c", script, json.dumps(flows)]
    root = Path(__file__).parents[2]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd=root)
    assert done.returncode == 0, done.stderr
    rights, why_not, answers = json.loads(done.stdout)
    assert int(rights, 16) == 0
    assert why_not == "no CAP_NET_RAW"
    assert [seen for seen, _ in answers] == ["hop", "hop"]
    assert {address in NODES for _, address in answers} == {True}
