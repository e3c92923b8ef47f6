from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from probes import http
from probes.http import HttpProber
from probes.http_module import MAX_BODY_BYTES, HttpModule
from probes.model import Failure, Flow, Identity, Outcome, Request
from tests.probes.servers import (
    abort,
    answering,
    close_at_once,
    closed_port,
    dripping,
    flooding,
    open_descriptors,
    reset_at_once,
    saying,
    serving,
    silent,
    unanswered_port,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.ports import Source
    from probes.table import Probers
    from tests.probes.servers import Handler

OK = b"HTTP/1.1 200 OK\r\nX-Node: leviathan3\r\nContent-Length: 11\r\n\r\nHello world"


async def probe(
    probers: Probers,
    port: int,
    *,
    identity: Identity | None = None,
    seconds: float = 10.0,
    source: Source | None = None,
    host: str = "www.example.org",
    module: Mapping[str, object] | None = None,
) -> Outcome:
    pinned = Flow("127.0.0.1", port, *source) if source else Flow("127.0.0.1", port)
    request = Request(pinned, host, seconds, identity)
    return await probers.probe("http", request, HttpModule.model_validate(module or {}))


async def settled(descriptors: int) -> None:
    async with asyncio.timeout(10):
        while open_descriptors() > descriptors:  # noqa: ASYNC110 - the server's side closes a moment later
            await asyncio.sleep(0.01)


async def test_success(probers: Probers, source: Source) -> None:
    async with serving(answering(OK)) as port:
        outcome = await probe(probers, port, source=source)
    assert outcome.success
    assert outcome.failure is None
    assert outcome.detail == ""
    assert outcome.connected
    assert outcome.identity is None
    assert outcome.flow == Flow("127.0.0.1", port, *source)
    assert list(outcome.phases) == ["connect", "processing", "transfer"]
    assert all(seconds >= 0 for seconds in outcome.phases.values())
    assert outcome.duration_seconds >= sum(outcome.phases.values())


async def test_request_as_sent(probers: Probers) -> None:
    heads = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines())
        writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n")

    async with serving(handler) as port:
        asked = {"method": "HEAD", "path": "/healthz?full=1", "headers": {"X-Probe": "yes"}}
        assert (await probe(probers, port, module=asked)).success
        assert (await probe(probers, port, module={"headers": {"Host": "other.example"}})).success
        assert (await probe(probers, port, host="::1", module={"follow_redirects": False})).success
    assert heads[0][0] == "HEAD /healthz?full=1 HTTP/1.1"
    assert sorted(heads[0][1:-1]) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Connection: keep-alive",
        f"Host: www.example.org:{port}",
        "User-Agent: ecmp-exporter/0.0.test",
        "X-Probe: yes",
    ]
    assert "Host: other.example" in heads[1]
    assert f"Host: [::1]:{port}" in heads[2]
    assert "Connection: close" in heads[2]
    assert not any("Cookie" in line for head in heads for line in head)


CONTENT_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "failure", "detail"),
    [
        pytest.param(answering(b""), Failure.CLOSED, "response: connection closed", id="closed-after-request"),
        pytest.param(answering(OK[:20]), Failure.CLOSED, "response: connection closed", id="half-a-head"),
        pytest.param(reset_at_once, Failure.RESET, "response: Connection reset", id="reset"),
        pytest.param(answering(b"", then=abort), Failure.RESET, "response: Connection reset", id="reset-later"),
        pytest.param(answering(CONTENT_LENGTH), Failure.CLOSED, "body: connection closed", id="short-body"),
        pytest.param(answering(CONTENT_LENGTH, then=abort), Failure.RESET, "body: Connection reset", id="reset-body"),
        pytest.param(answering(CHUNKED + b"5\r\nhi"), Failure.CLOSED, "body: connection", id="short-chunk"),
        pytest.param(answering(CHUNKED + b"zz\r\nhi"), Failure.PROTOCOL, "chunk size", id="bad-chunk"),
        pytest.param(
            answering(CHUNKED + b"2\r\nhi\r\n", then=lambda writer: writer.write(b"zz\r\n")),
            Failure.PROTOCOL,
            "chunk size",
            id="bad-chunk-later",
        ),
        pytest.param(answering(b"\x00\xff garbage\r\n\r\n"), Failure.PROTOCOL, "response: ", id="garbage"),
        pytest.param(answering(b"SSH-2.0-OpenSSH\r\n"), Failure.PROTOCOL, "response: ", id="ssh"),
        pytest.param(flooding(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 99), Failure.PROTOCOL, "header", id="headers"),
        pytest.param(flooding(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 999), Failure.PROTOCOL, "65536", id="header"),
        pytest.param(
            flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), Failure.PROTOCOL, "more than", id="continue"
        ),
        pytest.param(flooding(CHUNKED + b"5;", b"b" * 9999), Failure.PROTOCOL, "more than", id="extension"),
        pytest.param(flooding(CHUNKED, b"1\r\nb\r\n" * 999), Failure.PROTOCOL, "more than", id="tiny-chunks"),
        pytest.param(answering(OK.replace(b"200", b"500")), Failure.EXPECTATION, "status 500", id="status"),
        pytest.param(
            answering(b"HTTP/1.1 302 Found\r\nLocation: /\x7e\r\nContent-Length: 0\r\n\r\n"),
            Failure.EXPECTATION,
            "status 302, a redirect to /~",
            id="redirect",
        ),
    ],
)
async def test_wrong_answers(probers: Probers, handler: Handler, failure: Failure, detail: str) -> None:
    async with serving(handler) as port:
        before = open_descriptors()
        outcome = await probe(probers, port, seconds=30)
        await settled(before)
    assert not outcome.success
    assert outcome.connected
    assert outcome.failure is failure, outcome.detail
    assert detail in outcome.detail
    assert len(outcome.detail) < 120
    assert outcome.detail.isprintable()


async def test_closed_with_the_request_unread(probers: Probers) -> None:
    async with serving(close_at_once) as port:
        outcome = await probe(probers, port)
    # The server's kernel answers what it did not read with a reset.
    assert outcome.failure in {Failure.CLOSED, Failure.RESET}, outcome.detail


async def test_refused(probers: Probers) -> None:
    outcome = await probe(probers, closed_port())
    assert outcome.failure is Failure.REFUSED
    assert not outcome.connected
    assert outcome.phases == {}


async def test_timeout_of_the_handshake(probers: Probers) -> None:
    with unanswered_port() as port:
        outcome = await probe(probers, port, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "TCP handshake: no end within 0.3 s"
    assert not outcome.connected


@pytest.mark.parametrize(
    ("handler", "step"),
    [
        pytest.param(silent, "response", id="silent"),
        pytest.param(dripping(OK, 0.02), "response", id="drip"),
        pytest.param(answering(OK[:-5], then=lambda _: None), "body", id="body"),
    ],
)
async def test_timeout_after_the_handshake(probers: Probers, handler: Handler, step: str) -> None:
    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        await asyncio.sleep(30)

    async with serving(stay) as port:
        outcome = await probe(probers, port, seconds=0.4)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == f"{step}: no end within 0.4 s"
    assert outcome.connected


async def test_missing_source_and_busy_port_are_not_the_path(probers: Probers, source: Source) -> None:
    async with serving(silent) as port:
        missing = await probe(probers, port, source=source._replace(address="192.0.2.77"))
        first = asyncio.create_task(probe(probers, port, source=source))
        await asyncio.sleep(0.05)
        busy = await probe(probers, port, source=source)
        first.cancel()
    assert missing.failure is Failure.LOCAL
    assert busy.failure is Failure.LOCAL_PORT


@pytest.mark.parametrize(
    ("section", "detail"),
    [
        ({"fail_if_body_matches_regexp": ["absent", "w.r"]}, "body matches w.r"),
        ({"fail_if_body_not_matches_regexp": ["Hello", "absent"]}, "body does not match absent"),
        ({"fail_if_body_matches_regexp": ["absent"], "fail_if_body_not_matches_regexp": ["world$"]}, ""),
        ({"body_size_limit": 11}, ""),
        ({"body_size_limit": 10}, "body is longer than body_size_limit (10 bytes)"),
        ({"valid_status_codes": [404]}, "status 200"),
    ],
)
async def test_expectations(probers: Probers, section: dict[str, object], detail: str) -> None:
    async with serving(answering(OK)) as port:
        outcome = await probe(probers, port, module=section)
    assert outcome.detail == detail
    assert outcome.failure is (Failure.EXPECTATION if detail else None)
    assert list(outcome.phases) == ["connect", "processing", "transfer"]


async def test_endless_body_is_read_up_to_the_limit(probers: Probers) -> None:
    async with serving(flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"b" * 9999)) as port:
        endless = await probe(probers, port, seconds=30)
        matched = await probe(
            probers, port, module={"fail_if_body_not_matches_regexp": ["^b+$"], "body_size_limit": "64KB"}
        )
    assert matched.failure is Failure.EXPECTATION
    assert "longer than body_size_limit" in matched.detail
    assert endless.failure is Failure.EXPECTATION
    assert endless.detail == f"body is longer than {MAX_BODY_BYTES} bytes"
    assert endless.facts.http is not None
    assert endless.facts.http.uncompressed_body_bytes == MAX_BODY_BYTES


async def test_compressed_body_is_not_expanded(probers: Probers) -> None:
    bomb = gzip.compress(b"A" * 20_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with serving(answering(head + bomb)) as port:
        outcome = await probe(
            probers, port, module={"body_size_limit": len(bomb), "fail_if_body_matches_regexp": ["A{99}"]}
        )
    assert outcome.success, outcome.detail


async def test_kept_bodies_are_bounded_together(probers: Probers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_KEPT_BYTES", 10)
    async with serving(answering(OK)) as port:
        assert (await probe(probers, port)).success
        outcome = await probe(probers, port, module={"fail_if_body_matches_regexp": ["x"]})
        assert outcome.failure is Failure.LOCAL
        monkeypatch.setattr(http, "MAX_KEPT_BYTES", 11)
        assert (await probe(probers, port, module={"fail_if_body_matches_regexp": ["x"]})).success


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        (Identity("header", "x-node"), "leviathan3"),
        (Identity("header", "X-Other"), None),
        (Identity("body", r"Hello (\w+)"), "world"),
        (Identity("body", "absent (.)"), None),
        (Identity("banner", "(.*)"), None),
    ],
)
async def test_identity(probers: Probers, identity: Identity, named: str | None) -> None:
    async with serving(answering(OK)) as port:
        outcome = await probe(probers, port, identity=identity)
    assert outcome.identity == named


async def test_identity_of_a_wrong_answer_and_of_strange_bytes(probers: Probers) -> None:
    answer = b"HTTP/1.1 503 No\r\nX-Node: n\xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer)) as port:
        outcome = await probe(probers, port, identity=Identity("header", "X-Node"))
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.identity is not None
    outcome.identity.encode()


async def test_unusable_host(probers: Probers) -> None:
    outcome = await probe(probers, closed_port(), host="a b")
    assert outcome.failure is Failure.LOCAL


async def test_environment_proxy_is_ignored(probers: Probers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    async with serving(answering(OK)) as port:
        assert (await probe(probers, port)).success


async def test_one_connection_for_one_probe(probers: Probers) -> None:
    connections = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")

    async with serving(handler) as port:
        assert (await probe(probers, port)).failure is Failure.CLOSED
    assert len(connections) == 1


async def test_many_at_once_and_cancelled_leak_nothing(probers: Probers) -> None:
    async with serving(answering(OK)) as good, serving(silent) as quiet, serving(saying(b"")) as closing:
        before = open_descriptors()
        outcomes = await asyncio.gather(*(probe(probers, port) for port in [good, closing] * 20))
        assert sum(outcome.success for outcome in outcomes) == 20
        waiting = [asyncio.create_task(probe(probers, quiet)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        await settled(before)


async def test_needs_to_be_open() -> None:
    prober = HttpProber("0")
    with pytest.raises(RuntimeError, match="not open"):
        await prober.probe(Request(Flow("127.0.0.1", 9), "a", 1.0), HttpModule())
    await prober.close()
