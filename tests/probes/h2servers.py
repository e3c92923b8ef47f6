"""HTTP/2 servers: one that h2 keeps honest, and ones that write whatever frames they like."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from hpack import Encoder

from tests.probes.servers import Handler

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1

Fields = Iterable[tuple[str, str]]
Answering = Callable[[H2Connection, int, dict[str, str], bytes], None]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields(*pairs: tuple[str, str]) -> bytes:
    """A header block without any state."""
    return bytes(Encoder().encode(list(pairs)))


def head(*pairs: tuple[str, str], flags: int = END_HEADERS, stream: int = 1) -> bytes:
    return frame(HEADERS, flags, stream, fields((":status", "200"), *pairs))


def goaway(last: int, error: int, text: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, error) + text)


def answering_h2(answer: Answering) -> Handler:
    """An honest server; `answer` is called with each whole request."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        requests: dict[int, tuple[dict[str, str], bytes]] = {}
        while True:
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65_536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    requests[event.stream_id] = dict(event.headers), b""  # type: ignore[arg-type] # str, as configured
                elif isinstance(event, DataReceived):
                    asked, body = requests[event.stream_id]
                    requests[event.stream_id] = asked, body + (event.data or b"")
                    connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                elif isinstance(event, StreamEnded):
                    answer(connection, event.stream_id, *requests.pop(event.stream_id))

    return handler


def writing(
    *frames: bytes,
    settings: bytes = b"",
    then: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
) -> Handler:
    """Read the client's preface and what came with it, write SETTINGS and `frames`, then wait (or do as told)."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        await reader.read(65_536)
        writer.write(frame(SETTINGS, 0, 0, settings) + b"".join(frames))
        await writer.drain()
        if then is not None:
            await then(reader, writer)
            return
        while await reader.read(65_536):
            pass

    return handler


def speaking(data: bytes) -> Handler:
    """Read the client's preface and what came with it, say `data`, which may be no HTTP/2 at all, and close."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        await reader.read(65_536)
        writer.write(data)
        await writer.drain()

    return handler


def repeating(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """For `writing`: the same again and again."""

    async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def read() -> None:
            while await reader.read(65_536):
                pass

        reading = asyncio.create_task(read())
        try:
            while not writer.is_closing():
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            reading.cancel()

    return forever


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """For `writing`: close."""
    del reader, writer
