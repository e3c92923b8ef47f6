"""aiohttp on pinned flows: a connector that opens exactly the flow of the probe that asks.

One session and one connector serve every probe; the attempt in progress travels from `HttpProber.probe` to
the connector in a context variable, because aiohttp's connection key holds only host and port. No connection
is ever kept or used twice.
"""

from __future__ import annotations

import ssl
from asyncio.sslproto import SSLProtocol
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aiohttp import BaseConnector, ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from probes import failure, flow
from probes.failure import ProbeError
from probes.model import Failure
from probes.text import excerpt

if TYPE_CHECKING:
    import asyncio

    from aiohttp import ClientRequest, ClientTimeout, StreamReader
    from aiohttp.tracing import Trace

    from probes.attempt import Attempt

READ_BYTES = 32_768  # from a connection in one turn of the event loop
HEAD_BYTES = 65_536  # status lines and header fields
AHEAD_BYTES = READ_BYTES + 131_072  # of a body before its reader wakes: aiohttp pauses at twice 64 KiB
FRAMING = 2  # bytes on the wire for a byte of body, in the long run: tiny chunks cost us time, not them

# asyncio keeps a buffer of this size for every TLS connection, 256 KiB by default, and offers no setting.
SSLProtocol.max_size = READ_BYTES


class Exchange:
    """One connection for one request; knows how to end it."""

    __slots__ = (
        "_content",
        "_ending",
        "_opened",
        "_transport",
        "attempt",
        "context",
        "flood",
        "lost",
        "max_bytes",
        "peer_closed",
        "server_name",
    )

    def __init__(self, attempt: Attempt, context: ssl.SSLContext | None, server_name: str) -> None:
        self.attempt = attempt
        self.context = context
        self.server_name = server_name
        self.max_bytes = HEAD_BYTES + READ_BYTES
        self.flood = False  # more than max_bytes came
        self._content: StreamReader | None = None
        self._ending = ""
        self.peer_closed = False
        self.lost: OSError | None = None  # what ended the connection, unless it was a close
        self._opened = False
        self._transport: asyncio.Transport | None = None

    async def open(self, loop: asyncio.AbstractEventLoop) -> ResponseHandler:
        if self._opened:  # aiohttp asks again when it would retry; a probe is one connection
            raise ProbeError(Failure.CLOSED, "connection closed before the response")
        self._opened = True
        sock = await self.attempt.connect()
        if self.context is not None:
            self.attempt.step = "TLS handshake"
        try:
            transport, handler = await loop.create_connection(
                lambda: _Handler(loop, self),
                sock=sock,
                ssl=self.context,
                server_hostname=None if self.context is None else self.server_name,
            )
        except ssl.SSLError as error:
            raise tls_error(error, "TLS handshake") from error
        except OSError as error:
            raise failure.network(error.errno, self.attempt.step) from error
        except ValueError as error:
            raise ProbeError(Failure.LOCAL, f"no usable TLS server name: {excerpt(self.server_name)}") from error
        self._transport = transport
        if self.context is not None:
            self.attempt.end_phase("tls")
        self.attempt.step = "response"
        return handler

    def expect_body(self, content: StreamReader) -> None:
        """The head has ended."""
        self.attempt.step = "body"
        self._content = content
        self.allow(0)
        self._fail_unfinished_body()

    def allow(self, body_bytes: int) -> None:
        """So much of the body has been taken; more may arrive in proportion."""
        self.max_bytes = HEAD_BYTES + AHEAD_BYTES + FRAMING * body_bytes

    def over(self, error: BaseException | None) -> None:
        """The connection has ended; `error` is what aiohttp made of it."""
        self._ending = error.message if isinstance(error, HttpProcessingError) else "body not completed"
        self._fail_unfinished_body()

    def _fail_unfinished_body(self) -> None:
        # aiohttp 3.14 tells the reader of a body nothing when chunk framing breaks off after the first chunk.
        content = self._content
        if not self._ending or content is None or content.is_eof() or content.exception() is not None:
            return
        content.set_exception(ClientPayloadError(self._ending))

    def end(self, *, well: bool) -> None:
        """Close now: with FIN (and TLS close_notify) after a whole answer, else with RST."""
        sock = self.attempt.sock
        if sock is None:
            return
        if not well:
            flow.harden(sock)
        elif self._transport is not None:
            flow.soften(sock)
            self._transport.close()
        if self._transport is None:
            sock.close()
        else:
            # Nothing that matters is unsent; a close alone would wait for the peer's close_notify.
            _abort(self._transport)


def _abort(transport: asyncio.Transport) -> None:
    # Until 3.11.3, Debian 12's Python among them, abort fails on a TLS transport that was closed twice.
    with suppress(AttributeError):
        transport.abort()


exchange_in_progress: ContextVar[Exchange] = ContextVar("exchange_in_progress")


class PinnedConnector(BaseConnector):
    """Opens what `exchange_in_progress` says, whatever the URL says."""

    def __init__(self) -> None:
        super().__init__(force_close=True, limit=0)

    async def _create_connection(
        self,
        req: ClientRequest,  # noqa: ARG002 - the signature is aiohttp's
        traces: list[Trace],  # noqa: ARG002
        timeout: ClientTimeout,  # noqa: ARG002, ASYNC109
    ) -> ResponseHandler:
        return await exchange_in_progress.get().open(self._loop)


class _Handler(ResponseHandler):
    """Marks the first byte and bounds the total."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: Exchange) -> None:
        super().__init__(loop)
        self._exchange = exchange
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's, undocumented: 256 KiB
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if not self._received and data:
            exchange.attempt.end_phase("processing")
        self._received += len(data)
        if self._received > exchange.max_bytes and self.transport is not None:
            exchange.flood = True
            _abort(self.transport)
            return
        super().data_received(data)

    def eof_received(self) -> None:
        self._exchange.peer_closed = True
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, OSError):
            self._exchange.lost = exc
        super().connection_lost(exc)
        self._exchange.over(self.exception())


def tls_error(error: ssl.SSLError, doing: str) -> ProbeError:
    """TLS was refused, by the peer's certificate, by its alert, or by what it sent instead."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError(Failure.TLS, f"{doing}: certificate not accepted: {excerpt(error.verify_message)}")
    return ProbeError(Failure.TLS, f"{doing}: {excerpt(error.reason or str(error))}")
