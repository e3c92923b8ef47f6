"""Transports of asyncio over a probe's socket, and an end for each of them, whatever happens meanwhile.

`loop.create_connection` that is cancelled in the loop turn in which a TLS handshake ends has a transport that lives
on, for the 30 seconds in which the peer may say close_notify. Whoever closes the socket then leaves it on a closed
descriptor, and asyncio refuses that number to the next connection that the kernel gives it to.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import socket
    import ssl


class _Holder(Protocol):
    @property
    def transport(self) -> asyncio.Transport | None: ...


async def opened(
    protocol: _Holder, sock: socket.socket, context: ssl.SSLContext | None, server_name: str | None
) -> asyncio.Transport:
    """The transport of `protocol` (which keeps it from connection_made on) over a connected socket.

    Raises what create_connection raises, OSError and ValueError among it; then no transport uses the descriptor any
    more, and closing the socket is the caller's.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(
            lambda: cast("asyncio.Protocol", protocol),
            sock=sock,
            ssl=context,
            server_hostname=server_name if context is not None else None,
        )
    except BaseException:
        if protocol.transport is not None:  # the handshake has ended: asyncio has begun to close, and waits
            abort(protocol.transport)
        raise
    return transport


def close(transport: asyncio.Transport) -> None:
    """Begin to close; does nothing the second time, after which a transport over TLS could not be aborted any more."""
    if not transport.is_closing():
        transport.close()


def abort(transport: asyncio.Transport) -> None:
    """End now."""
    # Until 3.11.3, Debian 12's Python among them, abort fails on a TLS transport that was closed twice.
    with suppress(AttributeError):
        transport.abort()


class StreamProtocol(asyncio.StreamReaderProtocol):
    """What a reader and a writer need, with its transport."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
        super().connection_made(transport)


async def open_stream(
    sock: socket.socket, context: ssl.SSLContext | None, server_name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As asyncio.open_connection, with what `opened` promises."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = StreamProtocol(reader)
    transport = await opened(protocol, sock, context, server_name)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
