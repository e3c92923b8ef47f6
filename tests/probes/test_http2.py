from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from probes import http2
from probes.attempt import Attempt
from probes.http2 import Answer, Http2
from probes.model import Failure, Flow, Outcome, Request
from probes.stream import Stream
from tests.probes.h2servers import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    answering_h2,
    fields,
    frame,
    goaway,
    hang_up,
    head,
    repeating,
    speaking,
    writing,
)
from tests.probes.servers import Handler, abort, open_descriptors, serving, silent

ASKED = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.org")]
MOST = 100_000


async def run(port: int, use: Callable[[Http2], Awaitable[None]], *, seconds: float = 20.0) -> Outcome:
    attempt = Attempt(Request(Flow("127.0.0.1", port), "www.example.org", seconds))

    async def exchange() -> None:
        await attempt.connect()
        await use(Http2(attempt, Stream(attempt)))

    try:
        return await attempt.run(exchange())
    finally:
        attempt.drop()


async def ask(
    handler: Handler, body: bytes = b"", *, seconds: float = 20.0, most: int = MOST
) -> tuple[Outcome, Answer | None]:
    answers: list[Answer] = []

    async def use(connection: Http2) -> None:
        answers.append(await connection.ask(ASKED, body, max_body_bytes=most))
        await connection.close()

    async with serving(handler) as port:
        outcome = await run(port, use, seconds=seconds)
    return outcome, answers[0] if answers else None


async def failing(handler: Handler, body: bytes = b"", *, seconds: float = 20.0, most: int = MOST) -> Outcome:
    before = open_descriptors()
    outcome, answer = await ask(handler, body, seconds=seconds, most=most)
    assert answer is None, outcome
    assert len(repr(outcome)) < 30_000
    assert open_descriptors() <= before
    return outcome


async def test_a_response_with_trailers() -> None:
    def answer(connection: H2Connection, stream: int, asked: dict[str, str], body: bytes) -> None:
        assert (asked[":method"], asked[":path"], body) == ("GET", "/", b"")
        connection.send_headers(stream, [(":status", "103"), ("link", "</style>")])
        connection.send_headers(stream, [(":status", "203"), ("x-node", "seven"), ("x-node", "eight")])
        connection.send_data(stream, b"he")
        connection.send_data(stream, b"llo")
        connection.send_headers(stream, [("x-end", "é")], end_stream=True)

    outcome, answer_seen = await ask(answering_h2(answer))
    assert outcome.success, outcome.detail
    assert answer_seen is not None
    assert (answer_seen.status, answer_seen.body, answer_seen.whole) == (203, b"hello", True)
    assert answer_seen.fields == (("x-node", "seven"), ("x-node", "eight"))
    assert answer_seen.trailers == (("x-end", "é".encode().decode("latin-1")),)
    assert list(outcome.phases) == ["connect", "processing", "transfer"]


async def test_a_body_larger_than_every_window_goes_out_whole() -> None:
    sent = bytes(range(256)) * 2000  # of 64 KiB each

    def answer(connection: H2Connection, stream: int, _asked: dict[str, str], body: bytes) -> None:
        connection.send_headers(stream, [(":status", "200" if body == sent else "400")], end_stream=True)

    outcome, seen = await ask(answering_h2(answer), sent)
    assert outcome.success, outcome.detail
    assert seen is not None
    assert seen.status == 200


async def test_a_body_larger_than_our_window_comes_in_whole() -> None:
    chunks = [bytes([number]) * 16_384 for number in range(32)]

    async def more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        window = 65_535
        for chunk in chunks:
            while window < len(chunk):
                window += sum(_credits(await reader.read(65_536)))
            writer.write(frame(DATA, END_STREAM if chunk is chunks[-1] else 0, 1, chunk))
            window -= len(chunk)
        await reader.read()

    outcome, answer = await ask(writing(head(), then=more), most=1_000_000)
    assert outcome.success, outcome.detail
    assert answer is not None
    assert answer.body == b"".join(chunks)
    assert answer.whole


def _credits(data: bytes) -> list[int]:
    """What WINDOW_UPDATE frames of stream 1 grant."""
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        if data[3] == WINDOW and data[5:9] == b"\x00\x00\x00\x01":
            found.append(int.from_bytes(data[9:13], "big"))
        data = data[9 + length :]
    return found


async def test_several_requests_one_after_another() -> None:
    def answer(connection: H2Connection, stream: int, _asked: dict[str, str], _body: bytes) -> None:
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, b"x" * 3000 * stream, end_stream=True)

    seen: list[tuple[int, bool]] = []

    async def use(connection: Http2) -> None:
        for most in (MOST, 100, MOST):
            answer = await connection.ask(ASKED, max_body_bytes=most)
            seen.append((len(answer.body), answer.whole))
        assert connection.reusable

    async with serving(answering_h2(answer)) as port:
        outcome = await run(port, use)
    assert outcome.success, outcome.detail
    assert [whole for _, whole in seen] == [True, False, True]
    assert [seen[0][0], seen[2][0]] == [3000, 15_000]


async def test_the_server_hears_what_is_not_wanted() -> None:
    heard, settings = bytearray(), bytearray()
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            heard.extend(data)
        ended.set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await reader.readexactly(len(PREFACE) + 9)
        settings.extend(await reader.readexactly(int.from_bytes(start[-9:-6], "big")))
        writer.write(frame(SETTINGS) + head() + frame(DATA, 0, 1, b"x" * 1000))
        await listen(reader, writer)

    async def use(connection: Http2) -> None:
        await connection.ask(ASKED, max_body_bytes=10)
        await connection.close()

    async with serving(handler) as port:
        outcome = await run(port, use)
        async with asyncio.timeout(10):
            await ended.wait()
    assert outcome.success, outcome.detail
    assert dict(struct.iter_unpack(">HI", settings))[2] == 0  # ENABLE_PUSH: nothing is to be pushed
    assert frame(RST_STREAM, 0, 1, struct.pack(">I", 8)) in heard  # CANCEL


async def test_a_server_that_closes_in_good_order_still_answers() -> None:
    reusable: list[bool] = []

    async def use(connection: Http2) -> None:
        answer = await connection.ask(ASKED, max_body_bytes=MOST)
        assert answer.body == b"bye"
        reusable.append(connection.reusable)

    first = (goaway((1 << 31) - 1, 0), head(), goaway(1, 0), frame(DATA, END_STREAM, 1, b"bye"))
    async with serving(writing(*first)) as port:
        outcome = await run(port, use)
    assert outcome.success, outcome.detail
    assert reusable == [False]


async def test_a_request_that_is_cut_off_after_its_response() -> None:
    enough = head(flags=END_HEADERS | END_STREAM) + frame(RST_STREAM, 0, 1, b"\0\0\0\0")
    outcome, answer = await ask(writing(enough), b"x" * 1_000_000)
    assert outcome.success, outcome.detail
    assert answer is not None
    assert answer.status == 200


async def test_a_request_that_http2_cannot_carry() -> None:
    async def use(connection: Http2) -> None:
        await connection.ask(ASKED[:2], max_body_bytes=MOST)

    async with serving(silent) as port:
        outcome = await run(port, use)
    assert outcome.failure is Failure.LOCAL


@pytest.mark.parametrize(
    ("handler", "failure", "words"),
    [
        (speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Failure.PROTOCOL, "speaks no HTTP/2: HTTP/1.1 400 Bad Request"),
        (speaking(b"\x15\x03\x01\x00\x02\x02\x46" + b"\x00" * 9), Failure.PROTOCOL, "speaks no HTTP/2"),
        (speaking(frame(PING, 0, 0, b"12345678")), Failure.PROTOCOL, "speaks no HTTP/2"),
        (speaking(b""), Failure.CLOSED, "connection closed before its end"),
        (writing(then=hang_up), Failure.CLOSED, "HTTP/2 response: connection closed"),
        (writing(head(), then=hang_up), Failure.CLOSED, "body: connection closed before its end"),
        (writing(frame(RST_STREAM, 0, 1, struct.pack(">I", 7))), Failure.RESET, "reset by the server: REFUSED_STREAM"),
        (writing(goaway(0, 0)), Failure.CLOSED, "server went away: NO_ERROR"),
        (writing(goaway(1, 11, b"too\nmany")), Failure.CLOSED, r"server went away: ENHANCE_YOUR_CALM (too\x0amany)"),
        (writing(frame(DATA, 0, 1, b"early")), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(frame(DATA, 0, 0, b"x")), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(frame(HEADERS, END_HEADERS, 1, b"\xff" * 50)), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(frame(HEADERS, END_HEADERS, 1, fields(("x", "y")))), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(frame(HEADERS, END_HEADERS, 1, fields((":status", "2OO")))), Failure.PROTOCOL, "no HTTP status: 2OO"),
        (writing(frame(PUSH, END_HEADERS, 1, b"\0\0\0\2")), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff")), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(settings=struct.pack(">HI", 4, 1 << 31)), Failure.PROTOCOL, "no proper HTTP/2"),
        (writing(b"\xff\xff\xff" + b"\0" * 6), Failure.PROTOCOL, "HTTP/2 frame of 16777215 bytes"),
        (writing(frame(DATA, 0, 1, b"x" * 16_385)), Failure.PROTOCOL, "HTTP/2 frame of 16385 bytes"),
    ],
)
async def test_what_is_no_response(handler: Handler, failure: Failure, words: str) -> None:
    outcome = await failing(handler)
    assert outcome.failure is failure, outcome.detail
    assert words in outcome.detail


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.05)
    del reader
    abort(writer)


async def test_reset_in_the_middle() -> None:
    outcome = await failing(writing(head(), frame(DATA, 0, 1, b"x"), then=_reset))
    assert outcome.failure is Failure.RESET
    assert outcome.detail == "body: Connection reset by peer"


async def test_silence() -> None:
    outcome = await failing(silent, seconds=0.2)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "HTTP/2 response: no end within 0.2 s"
    outcome = await failing(writing(head()), seconds=0.2)
    assert outcome.detail == "body: no end within 0.2 s"


async def test_a_window_that_never_opens() -> None:
    no_window = struct.pack(">HI", 4, 0)
    outcome = await failing(writing(settings=no_window), b"x" * 100_000, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "HTTP/2 window for the rest of the request: no end within 0.3 s"


@pytest.mark.parametrize(
    "flood",
    [
        frame(SETTINGS),
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1000) * 100),
        frame(PING, 0, 0, b"12345678"),
        frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)),
        frame(WINDOW, 0, 0, struct.pack(">I", 1)),
        frame(200, 0, 0, b"unknown"),
        frame(DATA, 0, 1),  # empty, after a head
        frame(HEADERS, END_HEADERS, 1, fields((":status", "103"))),
        frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 3000),
        goaway((1 << 31) - 1, 0),
    ],
    ids=["settings", "long", "ping", "priority", "window", "unknown", "empty", "early", "more", "bomb", "goaway"],
)
async def test_floods_end(flood: bytes) -> None:
    first = b""
    if flood[3] == DATA:
        first = head()
    elif flood[3] == CONTINUATION:
        first = frame(HEADERS, 0, 1, fields((":status", "200")))
    outcome = await failing(writing(first, then=repeating(flood * 100)))
    assert outcome.failure is Failure.PROTOCOL, outcome


async def test_a_header_list_that_is_too_long_is_refused() -> None:
    entry = fields(("x-long", "y" * 4000))
    block = fields((":status", "200")) + entry
    indexed = b"\xbe" * 100  # the entry of the dynamic table, which the decoder holds once
    outcome = await failing(writing(frame(HEADERS, END_HEADERS, 1, block + indexed)))
    assert outcome.failure is Failure.PROTOCOL
    assert "no proper HTTP/2" in outcome.detail


async def test_an_endless_body_is_read_as_far_as_asked() -> None:
    endless = repeating(frame(DATA, 0, 1, b"x" * 1000))
    outcome, answer = await ask(writing(head(), then=endless), most=20_000)
    assert outcome.success, outcome.detail
    assert answer is not None
    assert not answer.whole
    assert 20_000 < len(answer.body) <= 20_000 + http2.MAX_FRAME_BYTES


async def test_a_body_in_crumbs_does_not_keep_us_busy() -> None:
    outcome = await failing(writing(head(), then=repeating(frame(DATA, 0, 1, b"x") * 100)))
    assert outcome.failure is Failure.PROTOCOL
    assert "frames and no end" in outcome.detail


_FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 2, 3, 0x7FFFFFFF]),
    st.one_of(st.binary(max_size=40), st.just(fields((":status", "200"), ("a", "b")))),
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_FRAMES, max_size=6), st.binary(max_size=30))
def test_nothing_that_is_sent_escapes(frames: list[bytes], rest: bytes) -> None:
    async def once() -> Outcome:
        outcome, _ = await ask(writing(*frames, rest, then=hang_up))
        return outcome

    outcome = asyncio.run(once())
    assert outcome.failure in (None, Failure.PROTOCOL, Failure.CLOSED, Failure.RESET), outcome


def test_error_codes_have_names() -> None:
    assert http2._named(ErrorCodes.CANCEL) == "CANCEL"
    assert http2._named(4711) == "4711"
