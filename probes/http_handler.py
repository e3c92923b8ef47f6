"""What aiohttp reads an HTTP/1 connection through: one response for one request, and bounds for both.

What follows a response is no part of it. aiohttp's parser would take it for another one, and fail with a response
that it had read to its end; or not, as the bytes happen to come in one segment or in two.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from aiohttp.client_proto import ResponseHandler

from probes import transports
from probes.http2 import ALPN

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.http import RawResponseMessage

    from probes.http_wire import Connection

READ_BYTES = 32_768  # from a connection in one turn of the event loop
HEAD_BYTES = 65_536  # status lines and header fields
MAX_FIELDS = 4096  # in one response

_BLANK_LINE = re.compile(rb"\n\r?\n")
_MAX_HEADS = 64  # interim responses among them, that are fed one by one
_INTERIM = range(100, 200)
_SWITCHING = 101  # the last that is said in HTTP


class Handler(ResponseHandler):
    """Marks the first byte of each response, and its end; `overrun` says that more came than was asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        super().__init__(loop)
        self._connection = connection
        self._body: StreamReader | None = None  # of the response to the last request, from the end of its head
        self._heads = 0
        self._seam = b""  # the end of what the parser has of a head
        self.overrun = False

    @property
    def _complete(self) -> bool:
        return self._body is not None and self._body.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's, undocumented: 256 KiB
        super().connection_made(transport)
        session = transport.get_extra_info("ssl_object")
        if (
            session is not None
            and session.selected_alpn_protocol() == ALPN
            and isinstance(transport, asyncio.Transport)
        ):
            self._connection.speak_http2(self._loop, transport)

    def close(self) -> None:
        """A response has been read, or given up; the connection is the probe's to close."""

    abort = close

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._body, self._heads, self._seam = None, 0, b""
        if "max_headers" in params:  # aiohttp 3.14 counts them
            params["max_headers"] = MAX_FIELDS
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if data and (self._complete or self._exception is not None):
            self.overrun = True
            return
        connection = self._connection
        if connection.awaiting and data:
            connection.awaiting = False
            connection.heard = True
            connection.attempt.end_phase("processing")
        connection.received += len(data)
        if connection.received > connection.max_bytes and self.transport is not None:
            connection.flood = True
            transports.abort(self.transport)
            return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Each head by itself, so that what follows it cannot take it back."""
        while self._parser is not None and self._body is None and self._heads < _MAX_HEADS:
            blank = _BLANK_LINE.search(self._seam + data)
            if blank is None:
                self._seam = (self._seam + data)[-2:]
                break
            end = blank.end() - len(self._seam)
            self._heads, self._seam = self._heads + 1, b""
            super().data_received(data[:end])
            data = data[end:]
            if not data:
                return
        if data and self._complete:
            self.overrun = True
        else:  # without data it goes on with what it has
            super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head has ended."""
        if self._body is not None:
            self.overrun = True  # and nobody asked for this one
            return
        if data[0].code not in _INTERIM or data[0].code == _SWITCHING:
            self._body = data[1]
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: Any, **causes: Any) -> None:
        """Something is wrong, unless it is so after the response."""
        if not self._complete:
            super().set_exception(exc, *cause, **causes)
            return
        self.overrun = True
        self._parser = None  # or it would be told of the end of the connection, and blame the response for it

    def eof_received(self) -> None:
        self._connection.peer_closed = True
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, OSError):
            self._connection.lost = exc
        super().connection_lost(exc)
        self._connection.over(self.exception())
