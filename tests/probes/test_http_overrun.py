"""What follows a response is no part of it, however the bytes fall into segments; and responses that are large."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from probes.model import Failure
from tests.probes.http_probe import Site, moved, page, probe
from tests.probes.servers import answering, flooding, open_descriptors, serving

if TYPE_CHECKING:
    from probes.table import Probers
    from tests.probes.servers import Handler

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
MORE = (b"GARBAGE", b"\r\nGARBAGE\r\n\r\n", HELLO.replace(b"200", b"500"), HELLO[:20], INTERIM, b"\x00" * 100_000)


def in_pieces(data: bytes, *cuts: int) -> Handler:
    """`data` in segments of their own, then nothing for a while."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            writer.write(data[begin:end])
            await writer.drain()
            await asyncio.sleep(0.02)
        await reader.read()

    return handler


@pytest.mark.parametrize("more", MORE, ids=range(len(MORE)))
@pytest.mark.parametrize(
    ("answer", "method"),
    [
        pytest.param(HELLO, "GET", id="length"),
        pytest.param(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), "GET", id="close"),
        pytest.param(HELLO.replace(b"\r\n", b"\n"), "GET", id="bare-line-feeds"),
        pytest.param(CHUNKED, "GET", id="chunked"),
        pytest.param(EMPTY, "GET", id="no-content"),
        pytest.param(INTERIM + HELLO, "GET", id="interim"),
        pytest.param(HELLO[:-5], "HEAD", id="head"),
    ],
)
@pytest.mark.parametrize("where", ["one segment", "apart", "in the head's end", "before the last byte"])
async def test_what_follows_is_ignored(probers: Probers, answer: bytes, method: str, more: bytes, where: str) -> None:
    body = {"fail_if_body_not_matches_regexp": ["^hello$"]} if answer not in (EMPTY, HELLO[:-5]) else {}
    head = answer.rindex(b"\r\n\r\n") + 3 if b"\r\n\r\n" in answer else answer.index(b"\n\n") + 1
    cuts = {"one segment": [], "apart": [len(answer)], "in the head's end": [head]}
    async with serving(in_pieces(answer + more, *cuts.get(where, [len(answer) - 1]))) as port:
        before = open_descriptors()
        outcome = await probe(probers, port, module={"method": method, **body})
    assert outcome.success, outcome.detail
    assert outcome.facts.http is not None
    assert outcome.facts.http.uncompressed_body_bytes == (5 if body else 0)
    assert open_descriptors() <= before + 1  # the server's own


@pytest.mark.parametrize("more", [b"", b"GARBAGE", page("forged")])
async def test_a_connection_with_more_than_the_response_is_not_used_again(probers: Probers, more: bytes) -> None:
    site = Site({"/": moved("/there") + more, "/there": page("hello")})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, module={"fail_if_body_not_matches_regexp": ["^hello$"]})
    assert outcome.success, outcome.detail
    assert len(site.connections) == (2 if more else 1)


async def test_what_follows_without_end(probers: Probers) -> None:
    async with serving(flooding(HELLO, b"x" * 9999)) as port:
        outcome = await probe(probers, port, module={"fail_if_body_not_matches_regexp": ["^hello$"]})
    assert outcome.success, outcome.detail


async def test_garbage_in_the_response_itself(probers: Probers) -> None:
    for broken in (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", CHUNKED.replace(b"\r\n0\r\n", b"GARBAGE\r\n")):
        async with serving(answering(broken + HELLO)) as port:
            outcome = await probe(probers, port)
        assert outcome.failure is Failure.PROTOCOL, outcome.detail


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([f"X-Large: {'x' * 9000}"], id="long"),
        pytest.param([f"X-{number}: {number}" for number in range(150)], id="many"),
        pytest.param([f"X-{number}: {'x' * 200}" for number in range(250)], id="long-and-many"),
    ],
)
async def test_large_heads(probers: Probers, fields: list[str]) -> None:
    async with serving(answering(page("hello", *fields))) as port:
        outcome = await probe(probers, port, module={"fail_if_body_not_matches_regexp": ["^hello$"]})
    assert outcome.success, outcome.detail
