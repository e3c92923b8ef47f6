"""Answers with something wrong somewhere: no exception, no warning, and nothing unprintable."""

from __future__ import annotations

import asyncio
import gzip
import random

import pytest

from probes.model import Failure
from probes.table import Probers
from tests.probes.http_probe import moved, page, probe
from tests.probes.servers import serving

PACKED = gzip.compress(b"hello" * 500)
ANSWERS = (
    page("hello", "Set-Cookie: a=b", "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"),
    moved("/x?y=\xe9#z"),
    moved("http://www.example.org/%zz"),
    moved("//[::1]:80/", "Set-Cookie: ="),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PACKED), PACKED),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\n\r\nx",
)
PIECES = (b"\r\n", b"\n", b"\0", b":", b" ", b"http://", b"\xff", b"9" * 20, b"-1", b"%")


def mutated(answer: bytes, chance: random.Random) -> bytes:
    changed = bytearray(answer)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        place = chance.randrange(len(changed))
        what = chance.randrange(4)
        if what == 0:
            changed[place] = chance.randrange(256)
        elif what == 1:
            changed[place:place] = chance.randbytes(chance.randrange(6))
        elif what == 2:
            del changed[place : place + chance.randrange(8)]
        else:
            changed[place:place] = chance.choice(PIECES)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_answers(probers: Probers, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same answers every time

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(mutated(chance.choice(ANSWERS), chance))
            await writer.drain()
            if chance.random() < 0.5:
                return

    module = {
        "fail_if_body_matches_regexp": ["never"],
        "fail_if_header_matches": [{"header": "X", "regexp": "never", "allow_missing": True}],
    }
    found: set[Failure | None] = set()
    async with serving(handler) as port:
        for _ in range(150):
            compression = chance.choice(["", "gzip", "br", "deflate"])
            outcome = await probe(probers, port, seconds=0.2, module={**module, "compression": compression})
            assert len(outcome.detail) < 400
            assert all(line.isprintable() for line in (outcome.detail, *outcome.transcript))
            assert outcome.failure is None or not outcome.failure.local, outcome.detail
            found.add(outcome.failure)
    assert {None, Failure.EXPECTATION, Failure.PROTOCOL} <= found
