"""The tcp prober against servers that do not behave: bounded time, bounded memory, an honest outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from probes import tcp
from probes.facts import ExchangeFacts
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.table import Probers
from probes.tcp_module import TcpModule
from tests.probes.servers import Handler, abort, open_descriptors, saying, serving, silent

BANNER = Identity("banner", "(.*)")


async def probe(
    probers: Probers, port: int, *steps: dict[str, Any], seconds: float = 20.0, identity: Identity | None = None
) -> Outcome:
    module = TcpModule.model_validate({"query_response": list(steps)})
    return await probers.probe("tcp", Request(Flow("127.0.0.1", port), "localhost", seconds, identity), module)


def endless(data: bytes, first: bytes = b"") -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(first)
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)

    return handler


def resetting(said: bytes, then: Callable[[asyncio.StreamWriter], None] = abort) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.readline()
        then(writer)

    return handler


async def test_silence_says_what_was_waited_for(probers: Probers) -> None:
    async with serving(silent) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, seconds=0.2)
        named = await probe(probers, port, seconds=0.2, identity=BANNER)
        counted = await probe(probers, port, {"expect_bytes": "12345"}, seconds=0.2)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "line that matches ^220: no end within 0.2 s"
    assert outcome.facts.exchange is None
    assert named.detail == "first line: no end within 0.2 s"
    assert counted.detail == "5 bytes: no end within 0.2 s"


async def test_silence_after_the_wrong_line_says_which(probers: Probers) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 \x1b[31mgo away\r\n")
        await reader.read()

    async with serving(handler) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == r"line that matches ^220, after 554 \x1b[31mgo away: no end within 0.3 s"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * 10_000, f"a line of more than {tcp.LINE_BYTES} bytes"),
        (b"\x00" * 10_000, f"a line of more than {tcp.LINE_BYTES} bytes"),
        (b"\n" * 10_000, f"no line that matches ^220 within {tcp.SEARCH_LINES} lines"),
        (b"x" * 4000 + b"\n", f"within {tcp.SEARCH_BYTES} bytes"),
    ],
)
async def test_endless(probers: Probers, data: bytes, words: str) -> None:
    before = open_descriptors()
    async with serving(endless(data)) as port:
        outcome = await probe(probers, port, {"expect": "^220"})
    assert outcome.failure is Failure.PROTOCOL
    assert words in outcome.detail
    assert len(repr(outcome)) < 30_000
    assert open_descriptors() <= before


async def test_a_line_of_just_the_length_that_is_allowed(probers: Probers) -> None:
    async with serving(saying(b"x" * (tcp.LINE_BYTES - 1) + b"y\n")) as port:
        assert (await probe(probers, port, {"expect": "y$"})).success
    async with serving(saying(b"x" * tcp.LINE_BYTES + b"y\n")) as port:
        outcome = await probe(probers, port, {"expect": "y$"})
    assert outcome.failure is Failure.PROTOCOL


async def test_an_endless_first_line_names_nobody(probers: Probers) -> None:
    async with serving(endless(b"x" * 10_000)) as port:
        outcome = await probe(probers, port, identity=BANNER)
    assert outcome.failure is Failure.PROTOCOL
    assert outcome.identity is None


async def test_reset_in_the_middle(probers: Probers) -> None:
    async with serving(resetting(b"220 ready\r\n")) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, {"send": "EHLO"}, {"expect": "^250"})
    assert outcome.failure is Failure.RESET
    assert outcome.detail == "line that matches ^250: Connection reset by peer"
    assert outcome.facts.exchange == ExchangeFacts()


async def test_nobody_reads(probers: Probers) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read(1)
        await asyncio.sleep(30)

    many = [{"send": "x" * 1_000_000}] * 20
    async with serving(handler) as port:
        outcome = await probe(probers, port, *many, seconds=0.5)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail.startswith("sending of step ")


async def test_bytes_that_are_no_text(probers: Probers) -> None:
    async with serving(saying(bytes(range(128, 256)) + b"220\n")) as port:
        outcome = await probe(probers, port, {"expect": "(220)$", "send": "${0}"}, identity=BANNER)
    assert outcome.success, outcome.detail
    assert outcome.identity is not None
    assert outcome.identity.isprintable()
    assert all(line.isascii() and line.isprintable() for line in outcome.transcript)


async def test_cancelled_in_the_middle_leaves_nothing_behind(probers: Probers) -> None:
    before = open_descriptors()
    async with serving(silent) as port:
        task = asyncio.create_task(probe(probers, port, {"expect": "^220"}))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert open_descriptors() <= before
