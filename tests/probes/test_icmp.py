"""Echoes through a router, in network namespaces of the test's own: near - middle - far."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from lab import netns
from probes import echo, icmp
from probes.facts import IcmpFacts
from probes.icmp import IcmpModule
from probes.model import Failure, Flow, Outcome, Request
from probes.table import Probers
from tests.probes.servers import open_descriptors

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the network that echoes go through"),
]

NAME = f"icmp-{os.getpid()}"
NEAR, MIDDLE, FAR = (f"{NAME}-{role}" for role in ("near", "middle", "far"))
SOURCES = {4: "198.51.100.2", 6: "2001:db8:1::2"}
OTHER_SOURCES = {4: "198.51.100.3", 6: "2001:db8:1::3"}
TARGETS = {4: "203.0.113.2", 6: "2001:db8:2::2"}
NOBODY = {4: "203.0.113.9", 6: "2001:db8:2::9"}
SWALLOWED = {4: "192.0.2.1", 6: "2001:db8:3::1"}
NARROW = 1280  # bytes of a packet between middle and far
FAMILY = pytest.mark.parametrize("family", [4, 6])

_NETWORK = {
    NEAR: (
        "link set lo up",
        f"link add to-middle type veth peer name to-near netns {MIDDLE}",
        "link set to-middle up",
        "addr add 198.51.100.2/24 dev to-middle",
        "addr add 198.51.100.3/24 dev to-middle",
        "addr add 2001:db8:1::2/64 dev to-middle nodad",
        "addr add 2001:db8:1::3/64 dev to-middle nodad preferred_lft 0",  # for whoever asks for it
    ),
    MIDDLE: (
        "link set lo up",
        f"link add to-far type veth peer name to-middle netns {FAR}",
        "link set to-near up",
        "link set to-far up",
        f"link set to-far mtu {NARROW}",
        "addr add 198.51.100.1/24 dev to-near",
        "addr add 203.0.113.1/24 dev to-far",
        "addr add 2001:db8:1::1/64 dev to-near nodad",
        "addr add 2001:db8:2::1/64 dev to-far nodad",
        "route add blackhole 192.0.2.0/24",
        "route add blackhole 2001:db8:3::/64",
    ),
    FAR: (
        "link set lo up",
        "link set to-middle up",
        f"link set to-middle mtu {NARROW}",
        "addr add 203.0.113.2/24 dev to-middle",
        "addr add 2001:db8:2::2/64 dev to-middle nodad",
        "route add default via 203.0.113.1",
        "route add default via 2001:db8:2::1",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    """The thread stands in near."""
    try:
        netns.add(_NETWORK)
        for name in _NETWORK:  # no address is to be tentative for its first second
            with netns.entered(name):
                netns.write_sysctls({"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0"})
        for name, commands in _NETWORK.items():
            netns.run_in(name, ["ip", "-batch", "-"], text="\n".join(commands))
        with netns.entered(NEAR):
            netns.run(["ip", "route", "add", "default", "via", "198.51.100.1"])
            netns.run(["ip", "route", "add", "default", "via", "2001:db8:1::1"])
        with netns.entered(MIDDLE):
            netns.write_sysctls({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
            netns.write_sysctls({"net/ipv4/icmp_ratelimit": "0", "net/ipv6/icmp/ratelimit": "0"})
            solicit = ("net/ipv4/neigh/to-far/mcast_solicit", "net/ipv6/neigh/to-far/mcast_solicit")
            netns.write_sysctls(dict.fromkeys(solicit, "1"))
        with netns.entered(NEAR):
            yield
    finally:
        netns.remove(_NETWORK)


@pytest.fixture(params=["ping", "raw"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of socket the kernel grants."""
    group = os.getegid()
    allowed = f"{group} {group}" if request.param == "ping" else "1 0"
    netns.write_sysctls({"net/ipv4/ping_group_range": allowed})
    return str(request.param)


async def ping(
    probers: Probers, destination: str, *, source: str | None = None, seconds: float = 10.0, **section: object
) -> Outcome:
    request = Request(Flow(destination, 443, source, 20_000), "www.example.org", seconds)
    before = open_descriptors()
    outcome = await probers.probe("icmp", request, IcmpModule.model_validate(section))
    assert open_descriptors() == before
    return outcome


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_an_echo_through_a_router(probers: Probers, family: int) -> None:
    outcome = await ping(probers, TARGETS[family])
    assert outcome.success, outcome.detail
    assert outcome.flow == Flow(TARGETS[family], 0, SOURCES[family], 0)
    assert outcome.facts.icmp == IcmpFacts(reply_hop_limit=63)
    assert list(outcome.phases) == ["setup", "rtt"]
    assert outcome.connected


@FAMILY
async def test_both_kinds_of_socket_are_used(
    probers: Probers, family: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    class Watched(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, *rest: int) -> None:
            super().__init__(family, kind, *rest)
            opened.append(self.type & 0xF)

    monkeypatch.setattr(socket, "socket", Watched)
    assert (await ping(probers, TARGETS[family])).success
    assert opened == [socket.SOCK_DGRAM if kind == "ping" else socket.SOCK_RAW]


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_the_source_is_pinned(probers: Probers, family: int) -> None:
    pinned = await ping(probers, TARGETS[family], source=OTHER_SOURCES[family])
    assert pinned.success, pinned.detail
    assert pinned.flow.source == OTHER_SOURCES[family]
    of_module = await ping(probers, TARGETS[family], source_ip_address=OTHER_SOURCES[family])
    assert of_module.success, of_module.detail
    assert of_module.flow.source == OTHER_SOURCES[family]
    both = await ping(probers, TARGETS[family], source=SOURCES[family], source_ip_address=OTHER_SOURCES[family])
    assert both.failure is Failure.LOCAL
    assert "contradicts" in both.detail
    elsewhere = await ping(probers, TARGETS[family], source_ip_address=TARGETS[family])
    assert elsewhere.failure is Failure.LOCAL
    assert elsewhere.detail == f"source address {TARGETS[family]} is not on this machine"


@FAMILY
@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("size", [1, 7, 28, 1000, 1472])
async def test_payloads_of_any_size(probers: Probers, family: int, size: int) -> None:
    outcome = await ping(probers, TARGETS[family], payload_size=size)
    assert outcome.success, outcome.detail
    assert any(f"with {size} bytes" in line for line in outcome.transcript)


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_a_packet_that_may_not_be_fragmented(probers: Probers, family: int) -> None:
    headers = {4: 28, 6: 48}[family]
    fits = await ping(probers, TARGETS[family], payload_size=NARROW - headers, dont_fragment=True)
    assert fits.success, fits.detail
    for _ in range(2):  # what the kernel has learned of the path does not change the answer
        outcome = await ping(probers, TARGETS[family], payload_size=NARROW - headers + 1, dont_fragment=True)
        assert outcome.failure is Failure.UNREACHABLE
        assert "no room for a packet of this size" in outcome.detail
    too_long = await ping(probers, TARGETS[family], payload_size=1473, dont_fragment=True)
    assert too_long.failure is Failure.LOCAL
    assert "Message too long" in too_long.detail


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_packets_have_the_ttl_of_the_module(probers: Probers, family: int) -> None:
    assert (await ping(probers, TARGETS[family], ttl=2)).success
    outcome = await ping(probers, TARGETS[family], ttl=1)
    assert outcome.failure is Failure.UNREACHABLE, outcome.detail
    assert outcome.facts.icmp is None


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_nobody_answers(probers: Probers, family: int) -> None:
    silent = await ping(probers, SWALLOWED[family], seconds=0.3)
    if family == 6 and silent.failure is not Failure.TIMEOUT:
        assert silent.failure is Failure.UNREACHABLE  # Linux answers for an IPv6 blackhole
    else:
        assert silent.failure is Failure.TIMEOUT
        assert silent.detail == "ICMP echo reply: no end within 0.3 s"
    assert not silent.connected
    unreachable = await ping(probers, NOBODY[family])
    assert unreachable.failure is Failure.UNREACHABLE, unreachable.detail


@FAMILY
@pytest.mark.usefixtures("kind")
async def test_replies_to_others_are_not_taken_for_ours(probers: Probers, family: int) -> None:
    """A flood of echo replies that nobody asked for, from another address and from the right one."""
    stop = asyncio.Event()
    there = socket.AF_INET if family == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    with netns.entered(FAR):
        noise = socket.socket(there, socket.SOCK_RAW, protocol)
    noise.setblocking(False)

    async def shout() -> None:
        sequence = 0
        while not stop.is_set():
            for _ in range(50):
                message = struct.pack(">BBHHH", echo.ECHO_REPLY[there], 0, 0, sequence, sequence) + b"x" * 28
                message = message[:2] + echo.checksum(message).to_bytes(2, "big") + message[4:]
                noise.sendto(message, (SOURCES[family], 0))
                sequence = sequence + 1 & 0xFFFF
            await asyncio.sleep(0)

    shouting = asyncio.create_task(shout())
    try:
        unanswered = await ping_beside(probers, SWALLOWED[family])
        answered = await ping_beside(probers, TARGETS[family])
    finally:
        stop.set()
        await shouting
        noise.close()
    assert not unanswered.success
    assert answered.success, answered.detail


async def ping_beside(probers: Probers, destination: str) -> Outcome:
    return await probers.probe("icmp", Request(Flow(destination, 0), "x", 0.5), IcmpModule())


@pytest.mark.parametrize("raw", [False, True])
def test_what_is_a_reply(raw: bool) -> None:
    with socket.socket() as sock:
        pinging = icmp._Pinging(sock, socket.AF_INET, "203.0.113.2", raw, may_fragment=True)
        pinging.prepare(5)
    header = b"\x45" + b"\0" * 19 if raw else b""
    good = header + b"\0\0\0\0" + pinging.request[4:]
    assert pinging._is_reply(good, ("203.0.113.2", 0))
    assert not pinging._is_reply(good, ("203.0.113.3", 0))
    assert not pinging._is_reply(header + pinging.request, ("203.0.113.2", 0))
    for place in (0, 1, 6, 7, 8, 12):  # type, code, sequence, payload; the checksum is the kernel's to see to
        wrong = bytearray(good)
        wrong[len(header) + place] ^= 1
        assert not pinging._is_reply(bytes(wrong), ("203.0.113.2", 0))
    others = bytearray(good)
    others[len(header) + 4] ^= 1  # the identifier, which is the kernel's on a ping socket
    assert pinging._is_reply(bytes(others), ("203.0.113.2", 0)) != raw
    for end in range(len(good)):
        assert not pinging._is_reply(good[:end], ("203.0.113.2", 0))


async def test_without_permission(probers: Probers, monkeypatch: pytest.MonkeyPatch) -> None:
    class Restricted(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, *rest: int) -> None:
            if socket.IPPROTO_ICMP in rest:
                raise PermissionError(13, "Permission denied")
            super().__init__(family, kind, *rest)

    monkeypatch.setattr(socket, "socket", Restricted)
    outcome = await ping(probers, TARGETS[4])
    assert outcome.failure is Failure.LOCAL
    assert outcome.detail == icmp.NOT_PERMITTED


async def test_many_at_once_do_not_mix_their_answers(probers: Probers) -> None:
    netns.write_sysctls({"net/ipv4/ping_group_range": "1 0"})  # raw sockets each see the replies to all
    module = IcmpModule()
    pings = [
        probers.probe("icmp", Request(Flow(TARGETS[4] if index % 2 else SWALLOWED[4], 0), "x", 1.0), module)
        for index in range(40)
    ]
    outcomes = await asyncio.gather(*pings)
    assert [outcome.success for outcome in outcomes] == [bool(index % 2) for index in range(40)]


def test_the_schema() -> None:
    module = IcmpModule.model_validate(
        {
            "preferred_ip_protocol": "ip4",
            "ip_protocol_fallback": False,
            "source_ip_address": "127.0.0.1",
            "dont_fragment": True,
            "payload_size": 100,
            "ttl": 32,
        }
    )
    assert module.preferred_ip_protocol == "ip4"
    assert (IcmpModule().preferred_ip_protocol, IcmpModule().ip_protocol_fallback) == ("ip6", True)
    for wrong in (
        {"ttl": 256},
        {"payload_size": -1},
        {"payload_size": 65_508},
        {"size": 1},
        {"source_ip_address": "x"},
    ):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            IcmpModule.model_validate(wrong)
