"""HTTP servers that behave, or do not, each by the name of its case."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.parity.cases import Server
from tests.parity.certificates import Certificates
from tests.probes.servers import Handler, answering, close_at_once, flooding, reset_at_once, saying, serving, silent


def http(status: str = "200 OK", body: bytes = b"hello, world\n", *headers: str, version: str = "1.1") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/{version} {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def on(handler: Handler, *, tls: str = "", host: str = "127.0.0.1") -> Server:
    """`tls` is the name of a context of Certificates."""

    def start(found: Certificates) -> AbstractAsyncContextManager[int]:
        return serving(handler, host=host, tls=getattr(found, tls) if tls else None)

    return start


def redirecting(location: str, status: str = "302 Found") -> Server:
    """To {port} of itself: once to /end, and from there to nowhere else unless `location` leads there."""

    @asynccontextmanager
    async def start(_: Certificates) -> AsyncIterator[int]:
        ports: list[int] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            there = http(status, b"", f"Location: {location.format(port=ports[0])}")
            writer.write(http() if head.startswith(b"GET /end ") else there)
            await writer.drain()

        async with serving(handler) as port:
            ports.append(port)
            yield port

    return start


def demanding(wanted: bytes, otherwise: str = "401 Unauthorized") -> Server:
    """200 only for a request that holds `wanted` in its head or body."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        whole = head + await reader.readexactly(length)
        writer.write(http() if wanted in whole else http(otherwise))
        await writer.drain()

    return on(handler)


_BOMB = gzip.compress(bytes(64 << 20))
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

SERVERS: dict[str, Server] = {
    "good": on(answering(http())),
    "dated": on(answering(http("200 OK", b"x", "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT"))),
    "http10": on(answering(http(version="1.0"))),
    "without_length": on(answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")),
    "chunked": on(answering(_CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")),
    "not_found": on(answering(http("404 Not Found"))),
    "broken": on(answering(http("500 Internal Server Error"))),
    "moved_away": redirecting("/end"),
    "permanently": redirecting("http://127.0.0.1:{port}/end", "308 Permanent Redirect"),
    "looping": redirecting("/again"),
    "cookie": on(answering(http("200 OK", b"x", "Set-Cookie: a=b", "Access-Control-Allow-Origin: *"))),
    "silent": on(silent),
    "closing": on(close_at_once),
    "resetting": on(reset_at_once),
    "not_http": on(saying(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")),
    "truncated": on(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")),
    "chunk_cut": on(answering(_CHUNKED + b"5\r\nhel")),
    "endless": on(flooding(_CHUNKED, b"5\r\nhello\r\n")),
    "endless_head": on(flooding(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n")),
    "gzipped": on(answering(http("200 OK", gzip.compress(b"hello, world\n"), "Content-Encoding: gzip"))),
    "bomb": on(answering(http("200 OK", _BOMB, "Content-Encoding: gzip"))),
    "no_gzip": on(answering(http("200 OK", b"this is no gzip", "Content-Encoding: gzip"))),
    "demanding": demanding(b"Authorization: Basic bW9uaXRvcjpzZXNhbWU=\r\n"),
    "bearer": demanding(b"Authorization: Bearer sesame\r\n"),
    "posted": demanding(b'{"a": 1}', "400 Bad Request"),
    "virtual": demanding(b"Host: vhost.example\r\n", "421 Misdirected Request"),
    "tls": on(answering(http()), tls="good"),
    "other_name": on(answering(http()), tls="other_name"),
    "expired": on(answering(http()), tls="expired"),
    "self_signed": on(answering(http()), tls="self_signed"),
    "tls_silent": on(silent, tls="good"),
    "ip6": on(answering(http()), host="::1"),
}
