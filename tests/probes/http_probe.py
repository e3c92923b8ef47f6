"""One probe of a server on loopback, and servers that answer by path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from probes.http_module import HttpModule
from probes.model import Flow, Identity, Outcome, Request
from probes.ports import Source
from probes.table import Probers


async def probe(
    probers: Probers,
    port: int,
    *,
    host: str = "www.example.org",
    identity: Identity | None = None,
    leave_path: bool = False,
    module: Mapping[str, object] | None = None,
    path: str | None = None,
    resolve: Callable[[str], Awaitable[str]] | None = None,
    scheme: str | None = None,
    seconds: float = 30.0,
    source: Source | None = None,
) -> Outcome:
    pinned = Flow("127.0.0.1", port, *source) if source else Flow("127.0.0.1", port)
    request = Request(pinned, host, seconds, identity, scheme, path, leave_path, resolve)
    return await probers.probe("http", request, HttpModule.model_validate(module or {}))


@dataclass(slots=True)
class Site:
    """Answers by path and keeps what was asked: one list of requests for each connection."""

    pages: Mapping[str, bytes]
    closing: bool = False  # after every answer
    connections: list[list[str]] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[str] = []
        self.connections.append(asked)
        self.peers.append(writer.get_extra_info("peername")[:2])
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(line[15:]) for line in head.splitlines() if line.lower()[:15] == "content-length:"), 0
                )
                asked.append(head + (await reader.readexactly(length)).decode())
                writer.write(self.pages[head.split()[1]])
                await writer.drain()
                if self.closing:
                    return

    @property
    def asked(self) -> list[str]:
        return [request for connection in self.connections for request in connection]


def page(text: str = "hello", *fields: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(text)}", *fields))
    return f"{head}\r\n{text}".encode()


def moved(location: str, *fields: str, status: str = "302 Found", text: str = "moved") -> bytes:
    return page(text, f"Location: {location}", *fields, status=status)
