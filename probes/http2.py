"""A request over HTTP/2 (RFC 9113) and its response, one after another on a stream that is open already, on h2.

What the server may send is bounded before h2 sees it: each frame, how many there are, and so the time that they take.
A header list is bounded by h2 (64 KiB, 64 CONTINUATION frames), a body by whoever asks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hpack import HPACKError
from hyperframe.exceptions import HyperframeError

from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.model import Failure
from probes.text import excerpt

ALPN = "h2"
MAX_FRAME_BYTES = 16_384  # SETTINGS_MAX_FRAME_SIZE, which we leave at its least
MAX_FRAMES = 2048  # besides those that carry a body
BODY_BYTES_PER_FRAME = 32  # at least, in the long run
MAX_HEADER_BYTES = 65_536

_FRAME_HEADER = struct.Struct(">BHBBL")  # length (8 and 16 bits), type, flags, stream
_GOAWAY_BODY = struct.Struct(">LL")  # last stream, error
_SETTINGS, _GOAWAY = 4, 7
_STREAM_MASK = 0x7FFF_FFFF

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """`whole` tells that the body ended within what was asked for; else `body` is longer than that, by a frame at most.

    Names of fields are lower case; each byte of a value is a character (Latin-1), as in HTTP/1.1.
    """

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    whole: bool


class Wire(Protocol):
    """What a connection is made of, as probes.stream.Stream has it."""

    async def receive(self) -> bytes: ...

    async def send(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


class Http2:
    """One connection, for one request at a time. Raises ProbeError, or OSError for the attempt to classify."""

    def __init__(self, attempt: Attempt, stream: Wire) -> None:
        self._attempt = attempt
        self._stream = stream
        self._frames = _Frames()
        config = H2Configuration(client_side=True, header_encoding=None)
        self._h2 = H2Connection(config)
        self._h2.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES},
        )
        self._id = 0  # of the stream that is our request
        self._begin()

    @property
    def reusable(self) -> bool:
        """Another request may be asked: the server has announced no end of the connection."""
        return not self._frames.ending

    async def ask(self, fields: Sequence[tuple[str, str]], body: bytes = b"", *, max_body_bytes: int) -> Answer:
        """`request`, and its response as a whole. Ends the attempt's phase transfer, too, with the end of the response
        or with more than `max_body_bytes` of its body.
        """
        await self._request(fields, body, max_body_bytes)
        while not self._ended and self._length <= max_body_bytes:
            await self._turn(max_body_bytes)
        self._attempt.end_phase("transfer")
        self._forget()
        whole = self._ended and len(self._body) <= max_body_bytes
        return Answer(self._status, self._fields, bytes(self._body), self._trailers, whole)

    async def request(self, fields: Sequence[tuple[str, str]], body: bytes = b"") -> tuple[int, Fields]:
        """Send `fields`, which begin with the pseudo-header fields, all names in lower case, and `body`; await the head
        of the response, its status and its fields. Ends the attempt's phase processing with it.
        """
        return await self._request(fields, body, None)

    async def _request(
        self, fields: Sequence[tuple[str, str]], body: bytes, max_body_bytes: int | None
    ) -> tuple[int, Fields]:
        self._attempt.step = "HTTP/2 response"
        self._begin()
        try:
            if not self._id:
                self._h2.initiate_connection()
            self._id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(self._id, list(fields), end_stream=not body)
        except (H2Error, ValueError) as error:
            raise ProbeError(Failure.LOCAL, f"HTTP/2 cannot carry this request: {excerpt(str(error))}") from error
        self._unsent = await self._send_body(body)
        if self._unsent:
            self._attempt.step = "HTTP/2 window for the rest of the request"
        while not self._status:
            await self._turn(max_body_bytes)
        return self._status, self._fields

    async def chunk(self) -> bytes:
        """Some of the response's body, in its order; nothing at its end."""
        while not self._body and not self._ended:
            await self._turn()
        taken = bytes(self._body)
        self._body.clear()
        return taken

    @property
    def ended(self) -> bool:
        """The response was received to its end."""
        return self._ended

    async def _turn(self, max_body_bytes: int | None = None) -> None:
        """Take what the server sends next."""
        data = await self._stream.receive()
        if not data:
            raise ProbeError(Failure.CLOSED, f"{self._attempt.step}: connection closed before its end")
        for frame in self._frames.feed(data, self._id, self._length):
            for event in self._received(frame):
                self._take(event)
            if self._ended or (max_body_bytes is not None and self._length > max_body_bytes):
                break  # what follows is no part of this response, or not wanted
        self._unsent = await self._send_body(self._unsent)

    def _begin(self) -> None:
        self._status = 0
        self._fields: Fields = ()
        self._trailers: Fields = ()
        self._body = bytearray()
        self._ended = False
        self._length = 0  # of the body, what was taken of it included
        self._unsent = b""  # of the request

    def _forget(self) -> None:
        """What is left of the response is not wanted; the server hears of it with the next thing that is sent."""
        with suppress(H2Error):  # the stream has ended
            if not self._ended:
                self._h2.reset_stream(self._id, ErrorCodes.CANCEL)

    async def close(self) -> None:
        """Say goodbye, then end the stream in good order."""
        try:
            self._h2.close_connection()
            await self._stream.send(self._h2.data_to_send())
        except (H2Error, OSError, ProbeError):
            return  # the attempt's `drop` closes what is still open
        self._stream.finish()

    async def _send_body(self, body: bytes) -> bytes:
        """As much as the server's windows allow, and whatever h2 has to say; returns the rest."""
        while body and not self._ended:
            try:
                room = min(self._h2.local_flow_control_window(self._id), self._h2.max_outbound_frame_size, len(body))
                if room <= 0:
                    break
                self._h2.send_data(self._id, body[:room], end_stream=room == len(body))
            except H2Error as error:
                raise self._broken(error) from error
            body = body[room:]
        if said := self._h2.data_to_send():
            await self._stream.send(said)
        return b"" if self._ended else body

    def _received(self, frame: bytes) -> list[Event]:
        try:
            return self._h2.receive_data(frame)
        except (H2Error, HyperframeError, HPACKError, ValueError, LookupError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> ProbeError:
        return ProbeError(Failure.PROTOCOL, f"{self._attempt.step}: no proper HTTP/2: {excerpt(str(error))}")

    def _take(self, event: Event) -> None:
        if getattr(event, "stream_id", self._id) != self._id:
            return  # the end of an earlier response
        if isinstance(event, ResponseReceived):
            self._head(_texts(event.headers))
        elif isinstance(event, TrailersReceived):
            self._trailers = _texts(event.headers)
        elif isinstance(event, DataReceived):
            self._body += event.data or b""
            self._length += len(event.data or b"")
            if event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, self._id)
        elif isinstance(event, StreamEnded):
            self._ended = True
        elif isinstance(event, StreamReset):
            self._reset(event)
        elif isinstance(event, ConnectionTerminated):
            said = f" ({excerpt(event.additional_data)})" if event.additional_data else ""
            raise ProbeError(
                Failure.CLOSED, f"{self._attempt.step}: server went away: {_named(event.error_code)}{said}"
            )

    def _head(self, fields: Fields) -> None:
        status = dict(fields).get(":status", "")
        if not (len(status) == 3 and status.isascii() and status.isdecimal()):  # noqa: PLR2004 - RFC 9110, section 15
            raise ProbeError(Failure.PROTOCOL, f"no HTTP status: {excerpt(status)}")
        self._status = int(status)
        self._fields = tuple(field for field in fields if not field[0].startswith(":"))
        self._attempt.note(f"HTTP/2 status {self._status}")
        self._attempt.end_phase("processing")
        self._attempt.step = "body"

    def _reset(self, event: StreamReset) -> None:
        if event.error_code == ErrorCodes.NO_ERROR and self._status:
            self._ended = True  # RFC 9113, section 8.1: the response is complete, the rest of the request unwanted
            return
        raise ProbeError(Failure.RESET, f"{self._attempt.step}: stream reset by the server: {_named(event.error_code)}")


class _Frames:
    """Cuts what is received into frames, and counts them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._count = 0
        self.ending = False  # the server will take no further request

    def feed(self, data: bytes, stream: int, body_bytes: int) -> Iterator[bytes]:
        """Whole frames for h2, without those that it would make too much of.

        Raises ProbeError.
        """
        self._buffer += data
        while len(self._buffer) >= _FRAME_HEADER.size:
            high, low, kind, _, _ = _FRAME_HEADER.unpack_from(self._buffer)
            length = high << 16 | low
            if length > MAX_FRAME_BYTES or (not self._count and kind != _SETTINGS):
                raise ProbeError(Failure.PROTOCOL, f"{self._what_came(length)}: {excerpt(bytes(self._buffer[:128]))}")
            end = _FRAME_HEADER.size + length
            if len(self._buffer) < end:
                return
            self._count += 1
            if self._count > MAX_FRAMES + body_bytes // BODY_BYTES_PER_FRAME:
                raise ProbeError(Failure.PROTOCOL, f"HTTP/2: {self._count} frames and no end")
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            if kind == _GOAWAY and _answers_still(frame, stream):
                self.ending = True
            else:
                yield frame

    def _what_came(self, length: int) -> str:
        return "the server speaks no HTTP/2" if not self._count else f"HTTP/2 frame of {length} bytes"


def _answers_still(goaway: bytes, stream: int) -> bool:
    """A server that closes in good order finishes the stream; h2 takes every GOAWAY as the end of everything."""
    if len(goaway) < _FRAME_HEADER.size + _GOAWAY_BODY.size:
        return False
    last, error = _GOAWAY_BODY.unpack_from(goaway, _FRAME_HEADER.size)
    return bool(error == ErrorCodes.NO_ERROR and last & _STREAM_MASK >= stream)


def _texts(fields: object) -> Fields:
    """h2 gives bytes, as no encoding is set."""
    pairs: list[tuple[str, str]] = []
    for name, value in fields if isinstance(fields, list) else ():
        pairs.append((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")))
    return tuple(pairs)


def _named(code: object) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)
