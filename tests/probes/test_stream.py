"""What TLS does after its handshake; the handshake itself is in test_tls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from probes.attempt import Attempt
from probes.model import Failure, Flow, Outcome, Request
from probes.stream import HANDSHAKE_BYTES, IDLE_BYTES, Stream
from probes.tls import Contexts
from probes.tls_config import TlsConfig
from tests.probes.issued import issue
from tests.probes.servers import Handler, abort, serving

NAME = "www.example.org"


class Sealed:
    """The server's side of a TLS session, whose records the test sends as it likes."""

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.reader, self.writer = reader, writer

    async def handshake(self) -> None:
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.writer.write(self.outgoing.read())
                self.incoming.write(await self.reader.read(4096))
        self.writer.write(self.outgoing.read())

    def records(self, data: bytes) -> bytes:
        self.session.write(data)
        return self.outgoing.read()


def sealed(context: ssl.SSLContext, go_on: Callable[[Sealed], Awaitable[None]]) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Sealed(context, reader, writer)
        await server.handshake()
        await go_on(server)

    return handler


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return issue(NAME, NAME).server(tmp_path)


async def receive(handler: Handler, received: list[bytes], *, send: bytes = b"", seconds: float = 20.0) -> Outcome:
    async with serving(handler) as port:
        attempt = Attempt(Request(Flow("127.0.0.1", port), NAME, seconds))

        async def exchange() -> None:
            await attempt.connect()
            stream = Stream(attempt)
            await stream.start_tls(Contexts().context(TlsConfig(insecure_skip_verify=True)), NAME)
            attempt.step = "answer"
            if send:
                await stream.send(send)
            while data := await stream.receive(1000):
                received.append(data)
            stream.finish()

        try:
            return await attempt.run(exchange())
        finally:
            attempt.drop()


async def test_records_in_crumbs(context: ssl.SSLContext) -> None:
    said = bytes(range(256)) * 10

    async def crumbs(server: Sealed) -> None:
        for byte in server.records(said):
            server.writer.write(bytes([byte]))
            await server.writer.drain()
        await asyncio.sleep(0)

    received: list[bytes] = []
    outcome = await receive(sealed(context, crumbs), received)
    assert outcome.success, outcome.detail
    assert b"".join(received) == said
    assert max(map(len, received)) <= 1000


async def test_more_than_fits_goes_out_whole(context: ssl.SSLContext) -> None:
    sent = bytes(range(256)) * 4000
    got = bytearray()

    async def slow(server: Sealed) -> None:
        while len(got) < len(sent):
            try:
                got.extend(server.session.read(65_536))
            except ssl.SSLWantReadError:
                server.incoming.write(await server.reader.read(3000))

    outcome = await receive(sealed(context, slow), [], send=sent)
    assert outcome.success, outcome.detail
    assert bytes(got) == sent


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    while True:
        writer.write(b"\x17\x03\x03\x00\x00" * 100)
        await writer.drain()
        await asyncio.sleep(0)


async def test_records_without_content_end() -> None:
    """OpenSSL, as a server, sends no empty records: the session is one that finds nothing in whatever comes."""

    async with serving(_endless) as port:
        attempt = Attempt(Request(Flow("127.0.0.1", port), NAME, 20.0))

        async def exchange() -> None:
            await attempt.connect()
            stream = Stream(attempt)
            stream._session = _Hungry(stream._incoming)  # type: ignore[assignment]
            attempt.step = "answer"
            await stream.receive()

        outcome = await attempt.run(exchange())
        attempt.drop()
    assert outcome.failure is Failure.PROTOCOL
    assert outcome.detail == "answer: TLS records without content, without end"


class _Hungry:
    def __init__(self, incoming: ssl.MemoryBIO) -> None:
        self._incoming = incoming

    def do_handshake(self) -> None:
        self.read(0)

    def read(self, limit: int) -> bytes:
        del limit
        self._incoming.read()
        raise ssl.SSLWantReadError


async def test_a_handshake_without_end() -> None:
    async with serving(_endless) as port:
        attempt = Attempt(Request(Flow("127.0.0.1", port), NAME, 20.0))

        async def exchange() -> None:
            await attempt.connect()
            stream = Stream(attempt)
            await stream._handshake(_Hungry(stream._incoming))  # type: ignore[arg-type]

        outcome = await attempt.run(exchange())
        attempt.drop()
    assert outcome.failure is Failure.TLS
    assert outcome.detail == f"TLS handshake: more than {HANDSHAKE_BYTES} bytes"


async def test_garbage_after_the_handshake(context: ssl.SSLContext) -> None:
    async def garbage(server: Sealed) -> None:
        server.writer.write(b"\x17\x03\x03\x00\x20" + b"\xff" * 32)
        await server.reader.read()

    outcome = await receive(sealed(context, garbage), [])
    assert outcome.failure is Failure.TLS
    assert outcome.detail.startswith("answer: ")


async def test_reset_and_close_after_the_handshake(context: ssl.SSLContext) -> None:
    async def reset(server: Sealed) -> None:
        await server.writer.drain()
        await asyncio.sleep(0.05)
        abort(server.writer)

    async def cut(server: Sealed) -> None:
        server.writer.write(server.records(b"half"))

    outcome = await receive(sealed(context, reset), [])
    assert outcome.failure is Failure.RESET
    received: list[bytes] = []
    outcome = await receive(sealed(context, cut), received)  # a close without close_notify is a close
    assert outcome.success, outcome.detail
    assert received == [b"half"]


def test_an_idle_read_may_take_a_whole_record() -> None:
    assert IDLE_BYTES > 2 * (16_384 + 256 + 5)
