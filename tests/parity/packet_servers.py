"""A DNS server of our own (dnspython), over UDP, TCP and TLS on one port, and gRPC's health service (h2)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from tests.parity.cases import Server
from tests.parity.certificates import Certificates
from tests.parity.http_servers import on
from tests.probes.servers import serving, silent

_ZONE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("www.test.", "A"): ("192.0.2.1", "192.0.2.2"),
    ("www.test.", "AAAA"): ("2001:db8::1",),
    ("test.", "SOA"): ("ns.test. admin.test. 2026112701 3600 600 86400 300",),
}


def _answer(wire: bytes, rcode: int) -> bytes:
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    answer.set_rcode(dns.rcode.Rcode(rcode))
    question = query.question[0]
    kind = question.rdtype.name
    found = _ZONE.get((question.name.to_text(), kind))
    if rcode == dns.rcode.NOERROR and found is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif rcode == dns.rcode.NOERROR and found is not None:
        answer.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *found))
        answer.authority.append(dns.rrset.from_text("test.", 300, "IN", "NS", "ns.test."))
        answer.additional.append(dns.rrset.from_text("ns.test.", 300, "IN", "A", "192.0.2.53"))
    return answer.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, rcode: int) -> None:
        self._rcode = rcode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(_answer(data, self._rcode), addr)


def dns_server(rcode: int = dns.rcode.NOERROR, tls: str = "") -> Server:
    """Knows `www.test` and the start of its zone; any other name is none, unless all answers are this `rcode`."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(2))
            answer = _answer(await reader.readexactly(size), rcode)
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()

    @asynccontextmanager
    async def start(found: Certificates) -> AsyncIterator[int]:
        async with serving(stream, tls=getattr(found, tls) if tls else None) as port:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(rcode), local_addr=("127.0.0.1", port)
            )
            try:
                yield port
            finally:
                transport.close()

    return start


def health(serving_status: int = 1, grpc_status: int = 0, tls: str = "") -> Server:
    """Answers every call as grpc.health.v1 would: 1 is SERVING, 2 NOT_SERVING."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, StreamEnded) and event.stream_id is not None:
                    _reply(connection, event.stream_id, serving_status, grpc_status)
            with suppress(ConnectionError):
                writer.write(connection.data_to_send())
                await writer.drain()

    @asynccontextmanager
    async def start(found: Certificates) -> AsyncIterator[int]:
        context: ssl.SSLContext | None = getattr(found, tls) if tls else None
        if context is not None:
            context.set_alpn_protocols(["h2"])
        try:
            async with serving(handler, tls=context) as port:
                yield port
        finally:
            if context is not None:
                context.set_alpn_protocols(["http/1.1"])

    return start


def _reply(connection: H2Connection, stream: int, serving_status: int, grpc_status: int) -> None:
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    if grpc_status == 0:
        message = bytes((8, serving_status))
        connection.send_data(stream, b"\0" + len(message).to_bytes(4) + message)
    connection.send_headers(stream, [("grpc-status", str(grpc_status))], end_stream=True)


SERVERS: dict[str, Server] = {
    "dns": dns_server(),
    "dns_tls": dns_server(tls="good"),
    "dns_tls_expired": dns_server(tls="expired"),
    "dns_failing": dns_server(dns.rcode.SERVFAIL),
    "dns_refusing": dns_server(dns.rcode.REFUSED),
    "silent": on(silent),
    "serving": health(),
    "not_serving": health(2),
    "no_service": health(grpc_status=5),
    "no_health": health(grpc_status=12),
    "serving_tls": health(tls="good"),
    "serving_tls_expired": health(tls="expired"),
}
