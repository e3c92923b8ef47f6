"""A deadline in the very turn of the event loop in which a TLS handshake ends."""

from __future__ import annotations

import asyncio
import time
from asyncio.sslproto import SSLProtocol
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter import resolvers
from exporter.config import Resolver
from exporter.resolvers import Resolvers
from probes.dns_module import DnsModule
from probes.http_module import HttpModule
from probes.model import Failure, Flow, Outcome, Request
from tests.probes.certificates import authority
from tests.probes.servers import answering, open_descriptors, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from probes.table import Probers

NAME = "www.example.org"
SECONDS = 0.2  # from the ClientHello on the loop sleeps for longer: server's flight and deadline come in one turn
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    context = authority().server_context(tmp_path, NAME)
    context.num_tickets = 0  # they would come at once, and asyncio would learn from them that its descriptor is gone
    (tmp_path / "ca.pem").write_bytes(authority().pem())
    return context


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    return {"ca_file": str(tmp_path / "ca.pem"), "server_name": NAME}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which handshakes of clients ended well; the loop sleeps right after their ClientHello, the server elsewhere."""
    well: list[str] = []
    begin, end = SSLProtocol._start_handshake, SSLProtocol._on_handshake_complete

    def begun(self: Any) -> None:
        begin(self)
        if not self._server_side:
            time.sleep(2 * SECONDS)

    def complete(self: Any, error: Exception | None) -> None:
        if not self._server_side and error is None:
            well.append(self._server_hostname)
        end(self, error)

    monkeypatch.setattr(SSLProtocol, "_start_handshake", begun)
    monkeypatch.setattr(SSLProtocol, "_on_handshake_complete", complete)
    yield well
    monkeypatch.undo()


def live() -> list[object]:
    """Transports of clients that no one has ended; one on a closed descriptor breaks whatever gets its number."""
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    return [one for one in transports.values() if not one.is_closing() and one.get_extra_info("socket").fileno() == -1]


async def served_by_a_thread(server: ssl.SSLContext, exchange: Any) -> None:
    """`exchange` against a healthy server whose loop does not sleep with ours."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    mine, stop = asyncio.get_running_loop(), asyncio.Event()
    other: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        other.append(asyncio.get_running_loop())
        async with serving(answering(OK), tls=server) as at:
            mine.call_soon_threadsafe(port.set_result, at)
            await stop.wait()

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    try:
        await exchange(await port)
    finally:
        other[0].call_soon_threadsafe(stop.set)
        await thread


async def http(probers: Probers, port: int, tls: dict[str, str], seconds: float, **section: object) -> Outcome:
    module = HttpModule.model_validate({"tls_config": tls, **section})
    return await probers.probe("http", Request(Flow("127.0.0.1", port), NAME, seconds), module)


@pytest.mark.parametrize("http2", [False, True])
async def test_http(
    probers: Probers, server: ssl.SSLContext, tls: dict[str, str], ended: list[str], http2: bool
) -> None:
    if http2:
        server.set_alpn_protocols(["h2"])

    async def exchange(port: int) -> None:
        before = open_descriptors()
        late = await http(probers, port, tls, SECONDS, enable_http2=http2)
        assert late.failure is Failure.TIMEOUT
        assert ended == [NAME], "the handshake did not end in time: nothing was tested"
        assert not live()
        await asyncio.sleep(0.05)
        assert open_descriptors() <= before
        if not http2:
            assert (await http(probers, port, tls, 20.0)).success

    await served_by_a_thread(server, exchange)


async def test_dns_over_tls(probers: Probers, server: ssl.SSLContext, tls: dict[str, str], ended: list[str]) -> None:
    module = DnsModule.model_validate(
        {"query_name": "a", "transport_protocol": "tcp", "dns_over_tls": True, "tls_config": tls}
    )

    async def exchange(port: int) -> None:
        before = open_descriptors()
        late = await probers.probe("dns", Request(Flow("127.0.0.1", port), NAME, SECONDS), module)
        assert late.failure is Failure.TIMEOUT
        assert ended == [NAME], "the handshake did not end in time: nothing was tested"
        assert not live()
        await asyncio.sleep(0.05)
        assert open_descriptors() <= before

    await served_by_a_thread(server, exchange)


async def test_look_up_over_tls(
    monkeypatch: pytest.MonkeyPatch, server: ssl.SSLContext, tls: dict[str, str], ended: list[str]
) -> None:
    monkeypatch.setattr(resolvers, "LIFETIME", SECONDS)

    async def exchange(port: int) -> None:
        config = Resolver.model_validate(
            {"name": "one", "address": f"127.0.0.1:{port}", "transport": "tls", "tls_config": tls}
        )
        before = open_descriptors()
        asked = Resolvers([config])
        found = await asked.look_up("one", NAME, (4,), 0.0)
        await asked.close()
        assert found.lookup.error == f"no answer within {SECONDS:g} s"
        assert ended == [NAME], "the handshake did not end in time: nothing was tested"
        assert not live()
        await asyncio.sleep(0.05)
        assert open_descriptors() <= before

    await served_by_a_thread(server, exchange)


async def test_deadlines_of_any_length(probers: Probers, server: ssl.SSLContext, tls: dict[str, str]) -> None:
    """Deadlines near the time that a handshake takes: nothing is raised, and nothing stays."""

    async def exchange(port: int) -> None:
        began = time.monotonic()
        assert (await http(probers, port, tls, 20.0)).success
        one = time.monotonic() - began
        for round_ in range(10):
            seconds = [one * (1 + (round_ * 16 + number) / 8) for number in range(16)]
            outcomes = await asyncio.gather(*(http(probers, port, tls, limit) for limit in seconds))
            assert {outcome.failure for outcome in outcomes} <= {None, Failure.TIMEOUT}
            assert not live()

    await served_by_a_thread(server, exchange)
