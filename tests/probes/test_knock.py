"""Knocks on loopback, and a scout without any right. What hops say is tested on the rehearsal network (test_trace)."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes import knock
from probes.hop_errors import Seen
from probes.model import Flow
from probes.scout import Scout
from tests.probes.servers import closed_port, open_descriptors, serving, silent, unanswered_port

if TYPE_CHECKING:
    from probes.ports import Source

HAS_IPV6 = Path("/proc/net/if_inet6").exists()
ADDRESSES = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here"))]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_handshake_is_the_destination(address: str) -> None:
    async with serving(silent, host=address) as port:
        answer = await knock.knock(Flow(address, port, address), 1, 5)
    assert (answer.seen, answer.address, answer.detail) == (Seen.DESTINATION, None, "handshake completed")


@pytest.mark.parametrize("address", ADDRESSES)
async def test_refusal_is_the_destination(address: str) -> None:
    answer = await knock.knock(Flow(address, closed_port(address)), 1, 5)
    assert (answer.seen, answer.detail) == (Seen.DESTINATION, "Connection refused")


async def test_silence_ends_before_the_kernel_repeats_the_syn(source: Source) -> None:
    assert knock.MOST_SECONDS < 1
    with unanswered_port() as port:
        answer = await knock.knock(Flow("127.0.0.1", port, *source), 1, 3600)
    assert answer.seen is Seen.SILENCE
    assert answer.detail == "no answer within 0.9 s"


async def test_same_flow_again_and_again(source: Source) -> None:
    """Nothing stays behind: neither TIME_WAIT here nor a connection there."""
    async with serving(silent) as port:
        for _ in range(20):
            assert (await knock.knock(Flow("127.0.0.1", port, *source), 9, 5)).seen is Seen.DESTINATION


@pytest.mark.parametrize(
    ("flow", "detail"),
    [
        (Flow("127.0.0.1", 9, "192.0.2.77", 20000), "source address 192.0.2.77 is not on this machine"),
        (Flow("::1", 9, "127.0.0.1", 20000), "source 127.0.0.1 and destination ::1 differ in family"),
        (Flow("www.example.org", 9), "'www.example.org' is no usable IP address"),
        (Flow("192.0.2.1", 9, "127.0.0.1"), "this machine cannot send to 192.0.2.1"),
    ],
)
async def test_what_this_machine_cannot_do(flow: Flow, detail: str) -> None:
    answer = await knock.knock(flow, 1, 5)
    assert answer.seen is Seen.LOCAL
    assert answer.detail.startswith(detail)


@pytest.mark.parametrize("hops", [0, 256])
async def test_ttl_that_does_not_exist(hops: int) -> None:
    answer = await knock.knock(Flow("127.0.0.1", 9), hops, 5)
    assert (answer.seen, answer.detail) == (Seen.LOCAL, "this machine cannot knock at 127.0.0.1: Invalid argument")


async def test_busy_flow_is_local(source: Source) -> None:
    async with serving(silent) as port:
        flow = Flow("127.0.0.1", port, *source)
        with socket.create_connection(("127.0.0.1", port), source_address=source):
            held = await knock.knock(flow, 1, 5)
    with socket.socket() as holder:
        holder.bind(source)
        taken = await knock.knock(flow, 1, 5)
    assert (held.seen, taken.seen) == (Seen.LOCAL, Seen.LOCAL)
    assert taken.detail == f"source port {source.port} is taken on this machine"


async def test_leaves_nothing_open_when_cancelled(source: Source) -> None:
    with unanswered_port() as port:
        before = open_descriptors()
        for _ in range(20):
            waiting = asyncio.create_task(knock.knock(Flow("127.0.0.1", port, *source), 1, 5))
            await asyncio.sleep(0.002)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert open_descriptors() == before


@pytest.mark.parametrize(
    ("code", "why_not"),
    [(errno.EPERM, "no CAP_NET_RAW"), (errno.EMFILE, "no raw IPv4 socket: Too many open files; no raw IPv6 socket")],
)
async def test_scout_without_raw_sockets(monkeypatch: pytest.MonkeyPatch, code: int, why_not: str) -> None:
    forbid(monkeypatch, code, socket.AF_INET, socket.AF_INET6)
    before = open_descriptors()
    scout = Scout()
    await scout.open()
    try:
        assert open_descriptors() == before
        assert (scout.can_trace(4), scout.can_trace(6)) == (False, False)
        assert scout.why_not.startswith(why_not)
        answer = await scout.segment(Flow("127.0.0.1", 9, "127.0.0.1", 20000), 1, 5)
        assert (answer.seen, answer.detail) == (Seen.LOCAL, scout.why_not)
        assert (await scout.knock(Flow("127.0.0.1", closed_port()), 1, 5)).seen is Seen.DESTINATION
    finally:
        await scout.close()


def forbid(monkeypatch: pytest.MonkeyPatch, code: int, *families: int) -> None:
    """Let raw sockets of these families fail as the kernel would let them."""

    class Restricted(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, *rest: int) -> None:
            if family in families and kind & 0xF == socket.SOCK_RAW:
                raise OSError(code, errno.errorcode[code] if code == errno.EPERM else "Too many open files")
            super().__init__(family, kind, *rest)

    monkeypatch.setattr(socket, "socket", Restricted)
