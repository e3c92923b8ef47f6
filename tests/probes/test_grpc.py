"""The grpc prober against grpcio's own server, and against servers that only half speak gRPC."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from pydantic import ValidationError

from probes.facts import GrpcFacts
from probes.grpc import MAX_MESSAGE_BYTES, GrpcModule
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ports import Source
from probes.table import Probers
from tests.probes.certificates import authority
from tests.probes.h2servers import DATA, END_HEADERS, END_STREAM, HEADERS, fields, frame, writing
from tests.probes.issued import issue
from tests.probes.servers import Handler, closed_port, serving, silent

NAME = "grpc.example.org"
GRPC = ("content-type", "application/grpc")
SERVES = b"\x00\x00\x00\x00\x02\x08\x01"
OK = ("grpc-status", "0")


class Server:
    """grpcio's, with its health service; `calls` are the metadata of each."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(1), interceptors=[_Listening(self.calls)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def set(self, service: str, status: str) -> None:
        self._health.set(service, getattr(health_pb2.HealthCheckResponse, status))

    def start(self, credentials: grpc.ServerCredentials | None = None) -> int:
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()
        return int(port)

    def stop(self) -> None:
        self._server.stop(None).wait()


class _Listening(grpc.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, calls: list[dict[str, Any]]) -> None:
        self._calls = calls

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        self._calls.append({"method": details.method, **dict(details.invocation_metadata)})
        return continuation(details)


@pytest.fixture
def server() -> Iterator[Server]:
    live = Server()
    live.set("", "SERVING")
    try:
        yield live
    finally:
        live.stop()


async def probe(
    probers: Probers, port: int, *, identity: Identity | None = None, seconds: float = 20.0, **section: object
) -> Outcome:
    request = Request(Flow("127.0.0.1", port), NAME, seconds, identity)
    return await probers.probe("grpc", request, GrpcModule.model_validate(section))


async def against(probers: Probers, handler: Handler, **section: object) -> Outcome:
    async with serving(handler) as port:
        return await probe(probers, port, **section)  # type: ignore[arg-type]


async def test_a_server_that_serves(probers: Probers, server: Server, source: Source) -> None:
    flow = Flow("127.0.0.1", server.start(), source.address, source.port)
    outcome = await probers.probe("grpc", Request(flow, NAME, 20.0), GrpcModule())
    assert outcome.success, outcome.detail
    assert outcome.flow == flow
    assert outcome.facts.grpc == GrpcFacts(0, "SERVING")
    assert outcome.facts.tls is None
    assert list(outcome.phases) == ["connect", "processing", "transfer"]
    (call,) = server.calls
    assert call["method"] == "/grpc.health.v1.Health/Check"
    assert call["user-agent"].startswith("ecmp-exporter/")


@pytest.mark.parametrize("status", ["NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN", "SERVING"])
@pytest.mark.parametrize("service", ["liveness", "x" * 300])
async def test_what_a_service_says_of_itself(probers: Probers, server: Server, service: str, status: str) -> None:
    server.set(service, status)
    outcome = await probe(probers, server.start(), service=service)
    assert outcome.facts.grpc == GrpcFacts(0, status)
    assert outcome.success == (status == "SERVING")
    if status != "SERVING":
        assert outcome.failure is Failure.EXPECTATION
        assert outcome.detail == f"the service is {status}"


async def test_a_service_that_is_not_there(probers: Probers, server: Server) -> None:
    outcome = await probe(probers, server.start(), service="nobody")
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == "gRPC status 5 (NOT_FOUND)"
    assert outcome.facts.grpc == GrpcFacts(5)


async def test_a_server_without_the_health_service(probers: Probers) -> None:
    bare = grpc.server(ThreadPoolExecutor(1))
    port = bare.add_insecure_port("127.0.0.1:0")
    bare.start()
    try:
        outcome = await probe(probers, port)
    finally:
        bare.stop(None).wait()
    assert outcome.detail == "gRPC status 12 (UNIMPLEMENTED): Method not found!"
    assert outcome.facts.grpc == GrpcFacts(12)


async def test_over_tls(probers: Probers, server: Server) -> None:
    leaf = issue(NAME, NAME)
    port = server.start(grpc.ssl_server_credentials([(leaf.key_pem().encode(), leaf.pem.encode())]))
    trusted = {"ca": authority().pem().decode()}
    outcome = await probe(probers, port, tls=True, tls_config=trusted)
    assert outcome.success, outcome.detail
    assert outcome.facts.tls is not None
    assert outcome.facts.tls.earliest_expiry == leaf.expiry
    assert list(outcome.phases) == ["connect", "tls", "processing", "transfer"]
    untrusted = await probe(probers, port, tls=True)
    assert untrusted.failure is Failure.TLS
    assert untrusted.facts.tls is not None
    plain = await probe(probers, port, seconds=5)
    assert plain.failure in (Failure.CLOSED, Failure.RESET, Failure.PROTOCOL)


async def test_tls_without_http2(probers: Probers, tmp_path: Path) -> None:
    for protocols in ([], ["http/1.1"]):
        context: ssl.SSLContext = issue(NAME, NAME).server(tmp_path)
        if protocols:
            context.set_alpn_protocols(protocols)
        async with serving(silent, tls=context) as port:
            outcome = await probe(probers, port, tls=True, tls_config={"insecure_skip_verify": True})
        assert outcome.failure is Failure.TLS
        assert "ALPN h2" in outcome.detail


def reply(
    *rest: bytes, status: str = "200", extra: tuple[tuple[str, str], ...] = (GRPC,), end: bool = False
) -> Handler:
    first = frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), 1, fields((":status", status), *extra))
    return writing(first, *rest)


def message(data: bytes) -> bytes:
    return frame(DATA, 0, 1, data)


def trailers(*pairs: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(*pairs))


async def test_a_field_names_the_node(probers: Probers) -> None:
    handler = reply(message(SERVES), trailers(OK, ("x-pod", "p2")), extra=(GRPC, ("x-node", "seven")))
    async with serving(handler) as port:
        by_head = await probe(probers, port, identity=Identity("header", "X-Node"))
        by_trailer = await probe(probers, port, identity=Identity("header", "X-Pod"))
        by_none = await probe(probers, port, identity=Identity("header", "X-Rack"))
    assert (by_head.identity, by_trailer.identity, by_none.identity) == ("seven", "p2", None)
    assert by_head.success


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (SERVES, "SERVING"),
        (b"\x00\x00\x00\x00\x00", "UNKNOWN"),  # a number of 0 is not sent
        (b"\x00\x00\x00\x00\x04\x08\x02\x08\x01", "SERVING"),  # the last one counts
        (b"\x00\x00\x00\x00\x02\x08\x2a", "42"),
        (b"\x00\x00\x00\x00\x07\x12\x03abc\x08\x01", "SERVING"),  # fields of later versions
        (b"\x00\x00\x00\x00\x07\x1d\0\0\0\0\x08\x01", "SERVING"),
        (b"\x00\x00\x00\x00\x0b\x19\0\0\0\0\0\0\0\0\x08\x01", "SERVING"),
        (b"\x00\x00\x00\x00\x03\x08\x81\x00", "SERVING"),
    ],
)
async def test_messages(probers: Probers, body: bytes, status: str) -> None:
    outcome = await against(probers, reply(message(body), trailers(OK)))
    assert outcome.facts.grpc == GrpcFacts(0, status)
    assert outcome.success == (status == "SERVING")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no message in the answer"),
        (b"\x00\x00\x00", "no message in the answer"),
        (b"\x01\x00\x00\x00\x02\x08\x01", "compressed"),
        (b"\x00\x00\x00\x00\x03\x08\x01", "message of 2 bytes, told were 3"),
        (SERVES * 2, "message of 9 bytes, told were 2"),
        (b"\x00\xff\xff\xff\xff\x08\x01", "told were 4294967295"),
        (b"\x00\x00\x00\x00\x01\x08", "no message of protocol buffers"),
        (b"\x00\x00\x00\x00\x0c\x08" + b"\xff" * 11, "no message of protocol buffers"),
        (b"\x00\x00\x00\x00\x01\x0b", "no message of protocol buffers"),
        (b"\x00\x00\x00\x00\x07\x12\xff\xff\xff\xff\x7fx", "message cut short"),
    ],
)
async def test_messages_that_are_none(probers: Probers, body: bytes, words: str) -> None:
    outcome = await against(probers, reply(message(body), trailers(OK)))
    assert outcome.failure is Failure.PROTOCOL
    assert words in outcome.detail
    assert outcome.facts.grpc == GrpcFacts(0)


@pytest.mark.parametrize(("status", "code"), [("404", 12), ("401", 16), ("503", 14), ("500", 2), ("302", 2)])
async def test_an_answer_of_http_alone(probers: Probers, status: str, code: int) -> None:
    outcome = await against(probers, reply(status=status, extra=(("content-type", "text/html"),), end=True))
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.endswith(f": HTTP status {status}")
    assert outcome.facts.grpc == GrpcFacts(code)


async def test_a_message_of_the_server_is_shown_as_text(probers: Probers) -> None:
    told = (("grpc-status", "14"), ("grpc-message", "no%20upstream%0a%1b[31m"))
    outcome = await against(probers, reply(extra=(GRPC, *told), end=True))
    assert outcome.detail == r"gRPC status 14 (UNAVAILABLE): no upstream\x0a\x1b[31m"


@pytest.mark.parametrize("told", ["", "-1", "1" * 50, "\u0661".encode().decode("latin-1"), "OK"])
async def test_a_status_that_is_none(probers: Probers, told: str) -> None:
    outcome = await against(probers, reply(message(SERVES), trailers(("grpc-status", told))))
    assert outcome.failure is Failure.PROTOCOL
    assert outcome.detail == "no grpc-status in the answer"
    assert outcome.facts.grpc is None


async def test_answers_that_are_not_of_grpc(probers: Probers) -> None:
    html = (("content-type", "text/html"),)
    outcome = await against(probers, reply(frame(DATA, END_STREAM, 1, b"<html>"), extra=html))
    assert outcome.failure is Failure.PROTOCOL
    assert outcome.detail == "no answer of gRPC: content-type text/html"
    long = [frame(DATA, 0, 1, b"x" * 16_000)] * (MAX_MESSAGE_BYTES // 16_000 + 1)
    outcome = await against(probers, reply(*long))
    assert outcome.failure is Failure.PROTOCOL
    assert outcome.detail == f"answer of more than {MAX_MESSAGE_BYTES} bytes"


async def test_nobody_there_or_nobody_awake(probers: Probers) -> None:
    assert (await probe(probers, closed_port())).failure is Failure.REFUSED
    async with serving(silent) as port:
        outcome = await probe(probers, port, seconds=0.2)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "HTTP/2 response: no end within 0.2 s"


def test_the_schema() -> None:
    module = GrpcModule.model_validate(
        {
            "service": "s",
            "tls": True,
            "tls_config": {"server_name": NAME},
            "preferred_ip_protocol": "ip4",
            "ip_protocol_fallback": False,
        }
    )
    assert module.preferred_ip_protocol == "ip4"
    assert (GrpcModule().preferred_ip_protocol, GrpcModule().ip_protocol_fallback) == ("ip6", True)
    with pytest.raises(ValidationError, match="servce"):
        GrpcModule.model_validate({"servce": "x"})
