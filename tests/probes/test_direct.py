from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import direct, echo
from probes.direct import DirectResult, check, check_all
from tests.probes.servers import closed_port, open_descriptors, serving, silent, unanswered_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TOKEN = bytes(range(echo.TOKEN_BYTES))


class FakeEchoes:
    """Stands in for a socket: answers what it was told to, never the rest."""

    def __init__(self, answering: Callable[[str], bool], error: OSError | None = None) -> None:
        self._answering = answering
        self._error = error
        self._answers: list[int] = []
        self._wake, self._woken = socket.socketpair()
        self.sent: list[str] = []

    def fileno(self) -> int:
        return self._woken.fileno()

    def send(self, destination: tuple[str, int], index: int) -> None:
        if self._error is not None:
            raise self._error
        self.sent.append(destination[0])
        if self._answering(destination[0]):
            self._answers += [index, index]
            self._wake.send(b"x")

    def receive(self) -> Iterable[int]:
        self._woken.recv(4096)
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        self._wake.close()
        self._woken.close()


def no_icmp(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(direct, "EchoSocket", refuse)


def fake_icmp(monkeypatch: pytest.MonkeyPatch, echoes: FakeEchoes) -> None:
    monkeypatch.setattr(direct, "EchoSocket", lambda _: echoes)


async def test_loopback_is_alive_however_it_is_asked() -> None:
    before = open_descriptors()
    results = await check_all(["127.0.0.1", "127.0.0.2", "127.0.0.1"], 10.0)
    assert list(results) == ["127.0.0.1", "127.0.0.2"]
    assert all(result.alive for result in results.values())
    assert open_descriptors() == before


async def test_echo_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_icmp(monkeypatch, FakeEchoes(lambda _: True))
    result = await check("127.0.0.1", 10.0)
    assert result == DirectResult(True, "icmp", "echo answered")


async def test_lost_echoes_are_sent_again_and_then_tcp_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    echoes = FakeEchoes(lambda address: address == "127.0.0.1")
    fake_icmp(monkeypatch, echoes)
    results = await check_all(["127.0.0.1", "127.0.0.2"], 0.6, [closed_port()])
    assert results["127.0.0.1"].method == "icmp"
    assert results["127.0.0.2"].alive
    assert results["127.0.0.2"].method == "tcp"
    assert echoes.sent.count("127.0.0.1") == 1
    assert echoes.sent.count("127.0.0.2") == direct.ECHO_ROUNDS


async def test_refusal_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    no_icmp(monkeypatch)
    port = closed_port()
    assert await check("127.0.0.1", 10.0, [port]) == DirectResult(True, "tcp", f"port {port} answered: refused")


async def test_open_port_is_an_answer_though_another_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    no_icmp(monkeypatch)
    before = open_descriptors()
    with unanswered_port() as quiet:
        async with serving(silent) as port:
            result = await check("127.0.0.1", 30.0, [quiet, port])
    assert result == DirectResult(True, "tcp", f"port {port} answered: open")
    async with asyncio.timeout(10):
        while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
            await asyncio.sleep(0.01)


async def test_silence_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_icmp(monkeypatch, FakeEchoes(lambda _: False))
    with unanswered_port() as port:
        result = await check("127.0.0.1", 0.4, [port])
    assert result == DirectResult(False, "icmp", f"3 ICMP echoes unanswered; port {port}: no answer")


async def test_nothing_could_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_icmp(monkeypatch, FakeEchoes(lambda _: True, OSError(101, "Network is unreachable")))
    result = await check("127.0.0.1", 0.3, [])
    assert result == DirectResult(None, "none", "ICMP echo not sent: Network is unreachable")
    no_icmp(monkeypatch)
    results = await check_all(["nonsense", "fe80::1%no-such-if"], 0.3)
    assert [result.alive for result in results.values()] == [None, None]


async def test_no_addresses() -> None:
    assert await check_all([], 1.0) == {}


async def test_more_nodes_than_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    no_icmp(monkeypatch)
    monkeypatch.setattr(direct, "MAX_KNOCKS", 8)
    port = closed_port()
    results = await check_all([f"127.0.0.{host}" for host in range(1, 101)], 30.0, [port])
    assert sum(result.alive is True for result in results.values()) == 100


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@given(identifier=st.integers(0, 0xFFFF), index=st.integers(0, 0xFFFFFFFF))
def test_reply_to_our_request_is_known(family: socket.AddressFamily, identifier: int, index: int) -> None:
    request = echo.build_request(family, identifier, index, TOKEN)
    assert echo.checksum(request) == 0
    assert echo.parse_reply(family, request, TOKEN) is None
    reply = bytes([echo.ECHO_REPLY[family]]) + request[1:]
    assert echo.parse_reply(family, reply, TOKEN) == index
    assert echo.parse_reply(family, reply, bytes(echo.TOKEN_BYTES)) is None
    header = bytes([0x46]) + bytes(23)  # with one word of options
    assert echo.parse_reply(family, echo.without_ip_header(header + reply), TOKEN) == index


@given(st.binary(max_size=64))
def test_any_packet_is_read_without_error(packet: bytes) -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        assert echo.parse_reply(family, echo.without_ip_header(packet), TOKEN) is None
