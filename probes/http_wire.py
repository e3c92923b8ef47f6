"""aiohttp on pinned flows: a connector that uses exactly the connection of the probe that asks, and HTTP/2 beside it.

One session and one connector serve every probe; the connection of a request travels to the connector in a context
variable, because aiohttp's connection key holds only host and port. A connection carries the requests of one probe
and no others; it is the probe that closes it.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiohttp import (
    BaseConnector,
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    InvalidURL,
)
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, TransferEncodingError
from multidict import CIMultiDict

from probes import failure, flow, tls, transports
from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.http2 import Http2
from probes.http_handler import HEAD_BYTES, READ_BYTES, Handler
from probes.http_request import Asked
from probes.model import Failure
from probes.text import excerpt

if TYPE_CHECKING:
    import socket

    from aiohttp import ClientRequest, ClientTimeout, StreamReader
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

AHEAD_BYTES = READ_BYTES + 131_072  # of a body before its reader wakes: aiohttp pauses at twice 64 KiB
FRAMING = 2  # bytes on the wire for a byte of body, in the long run: tiny chunks cost us time, not them

# asyncio keeps a buffer of this size for every TLS connection, 256 KiB by default, and offers no setting.
SSLProtocol.max_size = READ_BYTES

# What a request on one connection may say and on a stream of HTTP/2 may not: RFC 9113, section 8.2.2.
_OF_A_CONNECTION = frozenset({"connection", "host", "keep-alive", "proxy-connection", "te", "upgrade"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A response before its body; `chunk` gives some of that, nothing at its end."""

    status: int
    reason: str
    version: float
    headers: CIMultiDict[str]
    chunk: Callable[[], Awaitable[bytes]]


class Connection:
    """One connection of a probe, for one request after another; knows how to end it."""

    __slots__ = (
        "_content",
        "_defaults",
        "_ending",
        "_handler",
        "_length",
        "_masked",
        "_response",
        "_sock",
        "_transport",
        "attempt",
        "awaiting",
        "flood",
        "heard",
        "http2",
        "lost",
        "max_bytes",
        "peer_closed",
        "received",
    )

    def __init__(self, attempt: Attempt, sock: socket.socket, defaults: Mapping[str, str]) -> None:
        """`defaults` are header fields that HTTP/2 sends besides the request's; aiohttp's session has its own."""
        self.attempt = attempt
        self._defaults = defaults
        self.http2: Http2 | None = None
        self.awaiting = False  # the first byte of a response
        self.flood = False  # more than max_bytes came
        self.heard = False  # anything of the response in progress
        self.lost: OSError | None = None  # what ended the connection, unless it was a close
        self.max_bytes = HEAD_BYTES + READ_BYTES
        self.peer_closed = False
        self.received = 0
        self._content: StreamReader | None = None
        self._ending = ""
        self._handler: Handler | None = None
        self._length = 0  # of the body that was taken
        self._masked: Callable[[str], str] = str
        self._response: ClientResponse | None = None
        self._sock = sock
        self._transport: asyncio.Transport | None = None

    async def open(self, context: ssl.SSLContext | None, server_name: str) -> None:
        """The TLS handshake where there is a context. Raises ProbeError."""
        attempt = self.attempt
        handler = self._handler = Handler(asyncio.get_running_loop(), self)
        if context is not None:
            attempt.step = "TLS handshake"
        try:
            self._transport = await transports.opened(handler, self._sock, context, server_name)
        except ssl.SSLError as error:
            attempt.facts = replace(attempt.facts, tls=tls.shown(error))
            raise tls.tls_error(error) from error
        except OSError as error:
            raise failure.network(error.errno, attempt.step) from error
        except ValueError as error:
            raise ProbeError(Failure.LOCAL, f"no usable TLS server name: {excerpt(server_name)}") from error
        if context is not None:
            self._look_at(self._transport)
            attempt.end_phase("tls")

    def _look_at(self, transport: asyncio.Transport) -> None:
        session = transport.get_extra_info("ssl_object")
        seen = None if session is None else tls.facts(session)
        self.attempt.facts = replace(self.attempt.facts, tls=seen)
        if seen is not None:
            self.attempt.note(tls.in_words(seen))

    def speak_http2(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        """The server chose it: from its first byte on."""
        reader = asyncio.StreamReader(READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

        self.http2 = Http2(self.attempt, _Wire(self.attempt, reader, transport))

    @property
    def reusable(self) -> bool:
        """Whether another request may follow; the last response has been read to its end."""
        if self._transport is None or self._transport.is_closing() or self.peer_closed:
            return False
        if self.http2 is not None:
            return self.http2.ended and self.http2.reusable
        handler = self._handler
        return handler is not None and not (handler.should_close or handler.overrun)

    async def ask(self, session: ClientSession, asked: Asked) -> Reply:
        """Send a request, await the head of its response. Raises ProbeError or OSError."""
        self.attempt.step = "response"
        self.heard = False
        self._masked = asked.masked
        if self.http2 is not None:
            return await self._ask_http2(self.http2, asked)
        self.awaiting, self.received, self._content, self._length = True, 0, None, 0
        self.max_bytes = HEAD_BYTES + READ_BYTES
        token = _in_use.set(self)
        try:
            response = self._response = await session.request(
                asked.method,
                asked.url,
                headers=CIMultiDict(asked.sent),
                data=asked.body or None,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            )
        except (ClientError, HttpProcessingError, ValueError) as error:
            raise self._classified(error) from error
        finally:
            _in_use.reset(token)
        self._expect_body(response.content)
        version = response.version or (1, 1)
        headers = CIMultiDict(response.headers)
        return Reply(response.status, response.reason or "", float(f"{version[0]}.{version[1]}"), headers, self._chunk)

    async def _ask_http2(self, http2: Http2, asked: Asked) -> Reply:
        fields = CIMultiDict(asked.sent)
        url = asked.url
        pseudo = [
            (":method", asked.method),
            (":authority", fields.get("Host", url.raw_authority.rpartition("@")[2])),
            (":scheme", url.scheme),
            (":path", url.raw_path_qs),
        ]
        for name, value in self._defaults.items():
            fields.setdefault(name, value)
        plain = [(name.lower(), value) for name, value in fields.items() if name.lower() not in _OF_A_CONNECTION]
        if asked.body:
            plain.append(("content-length", str(len(asked.body))))
        status, headers = await http2.request([*pseudo, *plain], asked.body)
        self.heard = True
        decoded = CIMultiDict(
            (name, value.encode("latin-1").decode("utf-8", "surrogateescape")) for name, value in headers
        )
        return Reply(status, "", 2.0, decoded, http2.chunk)

    async def _chunk(self) -> bytes:
        if self._content is None:
            return b""
        try:
            chunk = await self._content.readany()
        except (ClientError, HttpProcessingError, ValueError) as error:
            raise self._classified(error) from error
        self._length += len(chunk)
        self._allow()
        return chunk

    def _expect_body(self, content: StreamReader) -> None:
        """The head has ended."""
        self.attempt.step = "body"
        self._content = content
        self._allow()
        self._fail_unfinished_body()

    def _allow(self) -> None:
        """So much of the body has been taken; more may arrive in proportion."""
        self.max_bytes = HEAD_BYTES + AHEAD_BYTES + FRAMING * self._length

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

    async def end(self, *, well: bool) -> None:
        """Close now: with FIN (and TLS close_notify) after a whole answer, else with RST."""
        if self._response is not None:
            self._response.close()
        self.attempt.count_retransmits()
        if not well:
            flow.harden(self._sock)
        elif self._transport is not None:
            if self.http2 is not None:
                await self.http2.close()
            flow.soften(self._sock)
            transports.close(self._transport)
        if self._transport is None:
            self._sock.close()
        else:
            # Nothing that matters is unsent; a close alone would wait for the peer's close_notify.
            transports.abort(self._transport)

    def take(self) -> ResponseHandler:
        """What aiohttp reads and writes through."""
        if self._handler is None:
            raise ProbeError(Failure.CLOSED, "connection closed before the response")
        return self._handler

    def _classified(self, error: Exception) -> ProbeError:
        step = self.attempt.step
        if self.flood:
            return ProbeError(Failure.PROTOCOL, f"{step}: more than {self.max_bytes} bytes")
        if isinstance(self.lost, ssl.SSLError):
            return tls.tls_error(self.lost, step)
        if self.lost is not None:
            return failure.network(self.lost.errno, step)
        if isinstance(error, InvalidURL):
            return ProbeError(Failure.LOCAL, f"unusable URL: {excerpt(str(error))}")
        if isinstance(error, ClientConnectionError) or self._cut_short(error):
            return ProbeError(Failure.CLOSED, f"{step}: connection closed before its end")
        message = error.message if isinstance(error, ClientResponseError | HttpProcessingError) else str(error)
        return ProbeError(Failure.PROTOCOL, f"{step}: {excerpt(self._masked(message))}")

    def _cut_short(self, error: Exception) -> bool:
        """The body ended before its length or its last chunk; a malformed chunk is something else."""
        if not isinstance(error, ClientPayloadError):
            return False
        cause = error.__cause__
        return isinstance(cause, ContentLengthError) or (isinstance(cause, TransferEncodingError) and self.peer_closed)


class _Wire:
    """A transport of asyncio, as HTTP/2 wants it."""

    def __init__(self, attempt: Attempt, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
        self._attempt = attempt
        self._reader = reader
        self._transport = transport

    async def receive(self) -> bytes:
        try:
            return await self._reader.read(READ_BYTES)
        except ssl.SSLError as error:
            raise tls.tls_error(error, self._attempt.step) from error

    async def send(self, data: bytes) -> None:
        self._transport.write(data)

    def finish(self) -> None:
        """The connection closes it."""


_in_use: ContextVar[Connection] = ContextVar("connection in use")


class PinnedConnector(BaseConnector):
    """Uses the connection of the request in progress, whatever the URL says, and keeps none."""

    def __init__(self) -> None:
        super().__init__(force_close=True, limit=0)

    async def _create_connection(
        self,
        req: ClientRequest,  # noqa: ARG002 - the signature is aiohttp's
        traces: list[Trace],  # noqa: ARG002
        timeout: ClientTimeout,  # noqa: ARG002, ASYNC109
    ) -> ResponseHandler:
        return _in_use.get().take()
