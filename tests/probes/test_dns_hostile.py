"""The dns prober against servers that misbehave, and on flows that are in use."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from probes import datagram, flow
from probes.datagram import Datagrams
from probes.dns_message import MessageError, parse, query
from probes.model import Failure, Flow
from tests.probes import nameserver
from tests.probes.dns_probe import module, probe
from tests.probes.nameserver import NAME, Zone
from tests.probes.servers import close_at_once, open_descriptors, reset_at_once, saying, serving, silent

if TYPE_CHECKING:
    from probes.ports import Source
    from probes.table import Probers

HAS_IPV6 = Path("/proc/net/if_inet6").exists()
AUTOFLOWLABEL = 70  # <linux/in6.h>


def other_id(message: dns.message.Message) -> bytes:
    response = Zone().response(message)
    response.id = message.id ^ 1
    return response.to_wire()


async def test_strays_are_passed_over(probers: Probers, source: Source) -> None:
    def answer(message: dns.message.Message) -> list[bytes]:
        return [b"\0", other_id(message), *Zone()(message)]

    async with nameserver.udp(answer) as port:
        outcome = await probe(probers, port, source)
    assert outcome.success, outcome.detail
    assert sum("passed over" in line for line in outcome.transcript) == 2


async def test_a_flood_of_strays_ends(probers: Probers, source: Source) -> None:
    async with nameserver.udp(lambda message: [other_id(message)] * 500) as port:
        outcome = await probe(probers, port, source)
    assert outcome.failure is Failure.PROTOCOL


async def test_an_answer_from_elsewhere_is_none(probers: Probers, source: Source) -> None:
    """Another socket answers: the kernel keeps it from a connected one."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))

        def answer(message: dns.message.Message) -> list[bytes]:
            other.sendto(Zone()(message)[0], source)
            return []

        async with nameserver.udp(answer) as port:
            outcome = await probe(probers, port, source, seconds=0.3)
    assert (outcome.failure, outcome.connected) == (Failure.TIMEOUT, False)


async def test_what_came_before_the_flow_was_connected_is_passed_over(source: Source) -> None:
    """A socket that is bound takes datagrams of anybody, and keeps them."""
    async with nameserver.udp(Zone()) as port:
        sock, destination = flow.opened(Flow("127.0.0.1", port, source.address, source.port), socket.SOCK_DGRAM)
        with closing(sock), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            other.sendto(b"early", source)
            sock.connect(destination)
            assert await datagram.receive(sock) is None


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 at all")
def test_datagrams_have_a_pinned_flow_label() -> None:
    with Datagrams().opened(Flow("::1", 53, "::1", 20053)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, AUTOFLOWLABEL) == 0


async def test_a_flow_in_use_is_a_local_conflict(probers: Probers, source: Source) -> None:
    async with nameserver.udp(lambda _: []) as port:
        first = asyncio.create_task(probe(probers, port, source, seconds=0.4))
        await asyncio.sleep(0.1)
        second = await probe(probers, port, source, seconds=0.4)
        async with nameserver.udp(Zone()) as elsewhere:
            third = await probe(probers, elsewhere, source)
        assert (await first).failure is Failure.TIMEOUT
    assert second.failure is Failure.LOCAL_PORT
    assert third.success, "one source port serves several destinations at once"
    async with nameserver.udp(Zone()) as port:
        assert (await probe(probers, port, source)).success


async def test_a_port_that_is_taken_is_a_local_conflict(probers: Probers, source: Source) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(source)
        async with nameserver.udp(Zone()) as port:
            assert (await probe(probers, port, source)).failure is Failure.LOCAL_PORT


async def test_nobody_listens(probers: Probers, source: Source) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    outcome = await probe(probers, port, source)
    assert outcome.failure is Failure.REFUSED
    assert outcome.failure.answered


async def test_a_silent_server(probers: Probers, source: Source) -> None:
    async with nameserver.udp(lambda _: []) as port:
        outcome = await probe(probers, port, source, seconds=0.2)
    assert (outcome.failure, outcome.connected, outcome.facts.dns) == (Failure.TIMEOUT, False, None)
    async with serving(silent) as port:
        outcome = await probe(probers, port, source, seconds=0.2, settings=module(transport_protocol="tcp"))
    assert (outcome.failure, outcome.connected) == (Failure.TIMEOUT, True)


def as_query(message: dns.message.Message) -> list[bytes]:
    return [message.to_wire()]


def another_question(message: dns.message.Message) -> list[bytes]:
    response = dns.message.make_response(dns.message.make_query("other.example.org", "A", id=message.id))
    response.id = message.id
    return [response.to_wire()]


def garbage(message: dns.message.Message) -> list[bytes]:
    return [message.id.to_bytes(2, "big") + b"\x81\x80\0\1\0\x09\0\0\0\0" + b"\xff" * 40]


def cut_short(message: dns.message.Message) -> list[bytes]:
    return [Zone()(message)[0][:-3]]


def loop(message: dns.message.Message) -> list[bytes]:
    """A record whose name points at itself."""
    wire = bytearray(dns.message.make_response(message).to_wire())
    wire[6:8] = b"\0\1"
    at = len(wire)
    return [bytes(wire + (0xC000 | at).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\x3c\0\x04\xcb\0\x71\x0a")]


@pytest.mark.parametrize("answer", [as_query, another_question, garbage, cut_short, loop])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_is_no_answer(
    probers: Probers, source: Source, answer: nameserver.Answering, transport: str
) -> None:
    serve = nameserver.udp if transport == "udp" else nameserver.tcp
    async with serve(answer) as port:
        outcome = await probe(probers, port, source, settings=module(transport_protocol=transport))
    assert outcome.failure is Failure.PROTOCOL, outcome.detail
    assert outcome.facts.dns is None


async def test_a_truncated_answer_counts_as_it_is(probers: Probers, source: Source) -> None:
    async with nameserver.udp(nameserver.truncated) as port:
        outcome = await probe(probers, port, source)
        settings = module(validate_answer_rrs={"fail_if_not_matches_regexp": ["."]})
        checked = await probe(probers, port, source, settings=settings)
    assert outcome.success, "as in blackbox_exporter"
    assert any("truncated" in line for line in outcome.transcript)
    assert "truncated" in checked.detail


async def test_a_full_message_by_tcp(probers: Probers, source: Source) -> None:
    def answer(message: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(message)
        addresses = [f"203.0.{high}.{low}" for high in range(15) for low in range(256)]
        response.answer.append(dns.rrset.from_text(NAME, 60, "IN", "A", *addresses))
        return [response.to_wire()]

    async with nameserver.tcp(answer) as port:
        outcome = await probe(probers, port, source, settings=module(transport_protocol="tcp"))
    assert outcome.success, outcome.detail
    assert outcome.facts.dns is not None
    assert outcome.facts.dns.answer_records == 15 * 256
    assert len(outcome.transcript) < 64


async def test_a_maze_of_pointers_is_refused(probers: Probers, source: Source) -> None:
    """Followed, it would be some 16 million pointers."""
    async with nameserver.tcp(nameserver.maze) as port:
        outcome = await probe(probers, port, source, settings=module(transport_protocol="tcp"))
    assert outcome.failure is Failure.PROTOCOL
    assert "pointer" in outcome.detail


@pytest.mark.parametrize("size", [0, 1, 11])
def test_short_messages(size: int) -> None:
    asked = query("www.example.org", 1, 1, 77, recursion=True)
    with pytest.raises(MessageError):
        parse(asked[:size], asked)


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (close_at_once, Failure.CLOSED),
        (reset_at_once, Failure.RESET),
        (saying(b"\0"), Failure.CLOSED),
        (saying(b"\xff\xffshort"), Failure.CLOSED),
        (saying(b"\0\0"), Failure.PROTOCOL),
        (saying(b"\0\x05short"), Failure.PROTOCOL),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000), Failure.PROTOCOL),
    ],
)
async def test_streams_that_end_or_say_something_else(
    probers: Probers, source: Source, handler: Any, failure: Failure
) -> None:
    before = open_descriptors()
    async with serving(handler) as port:
        outcome = await probe(probers, port, source, settings=module(transport_protocol="tcp"), seconds=2)
        await asyncio.sleep(0.05)
    # A server that has read nothing may end a connection with RST, though it closes it in good order.
    assert outcome.failure in (failure, Failure.RESET), outcome.detail
    assert open_descriptors() == before


async def test_cancelled_probes_leave_nothing_behind(probers: Probers, source: Source) -> None:
    before = open_descriptors()
    async with nameserver.udp(lambda _: []) as port:
        task = asyncio.create_task(probe(probers, port, source))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await probe(probers, port, source, seconds=0.1)
    assert again.failure is Failure.TIMEOUT, "its flow is free again"
    assert open_descriptors() == before
