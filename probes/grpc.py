"""`grpc`: is a service healthy, by the gRPC health checking protocol (grpc.health.v1), over one pinned flow.

The two messages have a field each, so they are written and read here: a string in the request (field 1, service), a
number in the response (field 1, status).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from probes import tls
from probes.attempt import Attempt
from probes.facts import GrpcFacts
from probes.failure import ProbeError
from probes.http2 import Answer, Http2
from probes.model import Failure, Outcome, Request
from probes.stream import Stream
from probes.text import excerpt, identity_text
from probes.tls_config import TlsConfig

if TYPE_CHECKING:
    import ssl

METHOD = "/grpc.health.v1.Health/Check"
MAX_MESSAGE_BYTES = 65_536
OK, UNKNOWN, UNAVAILABLE = 0, 2, 14

_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_STATUS = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
# What a status of HTTP means where there is none of gRPC: doc/http-grpc-status-mapping.md of gRPC.
_FROM_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_HTTP_OK = 200
_PREFIX_BYTES = 5  # a flag and the length of the message
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_VARINT_BYTES = 10


class GrpcModule(BaseModel):
    """blackbox_exporter's schema, all of it. An empty `service` asks for the health of the whole server."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    service: Annotated[str, Field(max_length=1024)] = ""
    tls: bool = False
    tls_config: TlsConfig | None = None
    preferred_ip_protocol: Literal["ip4", "ip6"] = "ip6"
    ip_protocol_fallback: bool = True


class GrpcProber:
    """Keeps TLS contexts between probes, from `open` to `close`."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = GrpcModule
    identities: ClassVar[tuple[str, ...]] = ("header",)

    def __init__(self, version: str) -> None:
        self._user_agent = f"ecmp-exporter/{version}"
        self._contexts = tls.Contexts()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """TLS contexts are made anew after the next `open`."""
        self._contexts.clear()

    async def probe(self, request: Request, module: GrpcModule) -> Outcome:
        attempt = Attempt(request)
        try:
            return await attempt.run(self._exchange(attempt, module))
        finally:
            attempt.drop()

    async def _exchange(self, attempt: Attempt, module: GrpcModule) -> None:
        context = self._contexts.context(module.tls_config, tls.HTTP2) if module.tls else None
        await attempt.connect()
        stream = Stream(attempt)
        server_name = tls.server_name(module.tls_config, attempt.request.host)
        if context is not None:
            await _start_tls(stream, context, server_name)
        http2 = Http2(attempt, stream)
        fields = self._fields(attempt.request, server_name if module.tls else None)
        answer = await http2.ask(fields, _framed(_request(module.service)), max_body_bytes=MAX_MESSAGE_BYTES)
        _name(attempt, answer)
        await http2.close()
        _judge(attempt, answer)

    def _fields(self, request: Request, server_name: str | None) -> list[tuple[str, str]]:
        flow = request.flow
        host = f"[{request.host}]" if ":" in request.host else request.host
        return [
            (":method", "POST"),
            (":scheme", "http" if server_name is None else "https"),
            (":path", METHOD),
            (":authority", server_name or f"{host}:{flow.destination_port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", self._user_agent),
            ("grpc-timeout", f"{max(1, min(99_999_999, round(request.timeout_seconds * 1000)))}m"),
        ]


async def _start_tls(stream: Stream, context: ssl.SSLContext, server_name: str) -> None:
    await stream.start_tls(context, server_name)
    if stream.alpn != "h2":
        raise ProbeError(Failure.TLS, "TLS handshake: the server did not agree to speak HTTP/2 (ALPN h2)")


def _name(attempt: Attempt, answer: Answer) -> None:
    identity = attempt.request.identity
    if identity is None or identity.kind != "header":
        return
    value = dict(answer.trailers + answer.fields).get(identity.rule.lower())
    if value is not None:
        attempt.identity = identity_text(value)


def _judge(attempt: Attempt, answer: Answer) -> None:
    """Fill in the facts; raise ProbeError for everything but a service that serves."""
    status, message = _status(answer)
    attempt.facts = replace(attempt.facts, grpc=GrpcFacts(status))
    if status != OK:
        name = _STATUS[status] if status < len(_STATUS) else "not a status of gRPC"
        said = f": {excerpt(message)}" if message else ""
        raise ProbeError(Failure.EXPECTATION, f"gRPC status {status} ({name}){said}")
    serving = _serving_status(_unframed(answer))
    attempt.facts = replace(attempt.facts, grpc=GrpcFacts(status, serving))
    if serving != "SERVING":
        raise ProbeError(Failure.EXPECTATION, f"the service is {serving}")


def _status(answer: Answer) -> tuple[int, str]:
    """The status of gRPC, or what the status of HTTP stands for, with a word on it."""
    told = dict(answer.fields + answer.trailers)
    status = told.get("grpc-status")
    if status is not None and status.isascii() and status.isdecimal() and len(status) <= len("4294967295"):
        return int(status), unquote(told.get("grpc-message", "")[:1024])
    if answer.status != _HTTP_OK:
        return _FROM_HTTP.get(answer.status, UNKNOWN), f"HTTP status {answer.status}"
    if not answer.whole:
        raise ProbeError(Failure.PROTOCOL, f"answer of more than {MAX_MESSAGE_BYTES} bytes")
    kind = told.get("content-type", "")
    if not kind.startswith("application/grpc"):
        raise ProbeError(Failure.PROTOCOL, f"no answer of gRPC: content-type {excerpt(kind)}")
    raise ProbeError(Failure.PROTOCOL, "no grpc-status in the answer")


def _request(service: str) -> bytes:
    if not service:
        return b""
    name = service.encode()
    return bytes([1 << 3 | _LENGTH]) + _varint(len(name)) + name


def _framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _unframed(answer: Answer) -> bytes:
    if len(answer.body) < _PREFIX_BYTES:
        raise ProbeError(Failure.PROTOCOL, "no message in the answer")
    if answer.body[0]:
        raise ProbeError(Failure.PROTOCOL, "the message is compressed, which we did not ask for")
    length = int.from_bytes(answer.body[1:_PREFIX_BYTES], "big")
    if len(answer.body) != _PREFIX_BYTES + length:
        raise ProbeError(Failure.PROTOCOL, f"message of {len(answer.body) - _PREFIX_BYTES} bytes, told were {length}")
    return answer.body[_PREFIX_BYTES:]


def _serving_status(message: bytes) -> str:
    """Field 1, the last one as protocol buffers have it; other fields are for later versions, and skipped."""
    found = 0
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        kind = key & 0x7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            found = value if key >> 3 == 1 else found
            continue
        if kind == _LENGTH:
            length, position = _read_varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ProbeError(Failure.PROTOCOL, f"no message of protocol buffers: {excerpt(message)}")
        position += length
    if position > len(message):
        raise ProbeError(Failure.PROTOCOL, f"message cut short: {excerpt(message)}")
    return _SERVING[found] if found < len(_SERVING) else str(found)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits in each byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * shift
        if not byte & 0x80:
            return value, position + shift + 1
    raise ProbeError(Failure.PROTOCOL, f"no message of protocol buffers: {excerpt(message)}")
