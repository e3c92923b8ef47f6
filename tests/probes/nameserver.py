"""A DNS server on loopback over UDP, TCP, TLS and HTTPS, with messages made by dnspython; and how it can misbehave."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from aiohttp import web

from tests.probes.servers import serving

if TYPE_CHECKING:
    from ssl import SSLContext

LENGTH = struct.Struct(">H")
NAME = "www.example.org."
Answering = Callable[[dns.message.Message], list[bytes]]
"""From a query to the datagrams that answer it; over a stream they are sent one after the other."""


@dataclass
class Zone:
    """What a well-behaved server answers, by record type; what it does not hold is an empty answer."""

    records: dict[str, list[str]] = field(default_factory=lambda: {"A": ["203.0.113.10"]})
    ttl: int = 60
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    name: str = NAME
    extra: list[tuple[str, str, str, str]] = field(default_factory=list)  # section, name, type, data
    asked: list[str] = field(default_factory=list)  # types, in the order in which they came

    def __call__(self, query: dns.message.Message) -> list[bytes]:
        return [self.response(query).to_wire()]

    def response(self, query: dns.message.Message) -> dns.message.Message:
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append(kind)
        response = dns.message.make_response(query)
        response.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR and self.records.get(kind):
            response.answer.append(dns.rrset.from_text(self.name, self.ttl, "IN", kind, *self.records[kind]))
        for section, name, type_, data in self.extra:
            getattr(response, section).append(dns.rrset.from_text(name, self.ttl, "IN", type_, data))
        return response


@asynccontextmanager
async def udp(
    answer: Answering, *, host: str = "127.0.0.1", port: int = 0, seen: list[tuple[str, int]] | None = None
) -> AsyncIterator[int]:
    """Serve until the end of the block; yields the port. Who asked is added to `seen`."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            if seen is not None:
                seen.append(address)
            for datagram in answer(dns.message.from_wire(data)):
                self.transport.sendto(datagram, address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=(host, port))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def tcp(
    answer: Answering, *, host: str = "127.0.0.1", port: int = 0, tls: SSLContext | None = None
) -> AsyncIterator[int]:
    """As `udp`, over streams."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            for message in answer(dns.message.from_wire(await reader.readexactly(length))):
                writer.write(LENGTH.pack(len(message)) + message)
            await writer.drain()

    async with serving(handler, host=host, port=port, tls=tls) as port_:
        yield port_


@asynccontextmanager
async def https(handler: Callable[[web.Request], web.StreamResponse], tls: SSLContext) -> AsyncIterator[int]:
    """POST /dns-query over HTTPS, whatever comes back."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return handler(request)

    app = web.Application()
    app.router.add_post("/dns-query", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def truncated(query: dns.message.Message) -> list[bytes]:
    """The header and the question, and the flag that there is more by TCP."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.Flag.TC
    return [response.to_wire()]


def maze(query: dns.message.Message) -> list[bytes]:
    """64 KiB: a long chain of compression pointers, and records whose names follow all of it."""
    head = bytearray(dns.message.make_response(query).to_wire())
    root = head + b"\0\xff\0\0\x01\0\0\0\0\x1f\xf5"  # a record of the root: TYPE65280, IN, TTL 0, 8181 bytes of data
    chain = bytearray(b"\0")  # where all pointers end
    while len(chain) < 8181:
        chain += struct.pack(">H", 0xC000 | (len(root) if len(chain) == 1 else len(root) + len(chain) - 2))
    root += chain[:8181]
    last = len(root) - 2
    count = 1
    while len(root) + 12 <= 65535:
        root += struct.pack(">H", 0xC000 | last) + b"\0\x01\0\x01\0\0\0\0\0\0"
        count += 1
    struct.pack_into(">H", root, 6, count)
    return [bytes(root)]
