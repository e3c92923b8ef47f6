"""A router's API over HTTPS on loopback, byte by byte, so that it can misbehave in any way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.probes.certificates import authority

USERNAME = "monitor"
SECRET = "correct horse: battery"
PAGE = "<!DOCTYPE html>\n<html><head><title>Webfig</title></head><body><h1>Sign in</h1></body></html>\n"
ELSEWHERE = '{"detail": "Unbekannter Befehl", "error": 400, "message": "Ungültige Anfrage"}'


class Fault(StrEnum):
    """How the server misbehaves towards the questions that it is told to misbehave for."""

    NONE = "none"
    PACKED = "packed although nobody asked"
    CLOSES_AFTER_EACH = "connection closed after each answer without a word"
    ERROR_PAGE = "error page with status 200"
    BAD_GATEWAY = "error page with status 502"
    EMPTY = "empty body"
    OTHER_LANGUAGE = "error in another language"
    LOGIN_REFUSED = "login refused"
    FORBIDDEN = "no right to read it"
    REDIRECT = "redirect to the login page"
    SLOW = "no answer"
    CUT = "cut in the middle"
    CUT_HARD = "cut in the middle by a reset"
    CUT_UNSEEN = "cut in the middle without having told the length"
    BOMB = "gzip bomb"
    ENDLESS = "endless body"
    HEADERS = "endless headers"
    GARBAGE = "not HTTP"


HARMLESS = frozenset({Fault.NONE, Fault.PACKED, Fault.CLOSES_AFTER_EACH})


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Api:
    """The server. `answers`: what a request gets, None for 404; `faulty`: which requests the fault is for."""

    answers: Callable[[Request], str | None]
    fault: Fault = Fault.NONE
    faulty: Callable[[Request], bool] = lambda _: True
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._answer(await _request(reader), reader, writer):
                    pass
        finally:
            self.open_now -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        self.requests.append(request)
        self.asked.set()
        fault = self.fault if self.faulty(request) else Fault.NONE
        if request.headers.get("authorization") != _login() or fault is Fault.LOGIN_REFUSED:
            return await _send(writer, 401, b'{"error": 401, "message": "Unauthorized"}')
        body = self.answers(request)
        if body is None and fault in HARMLESS:
            return await _send(writer, 404, b'{"error": 404, "message": "Not Found"}')
        return await self._misbehave(fault, (body or "").encode(), reader, writer)

    async def _misbehave(
        self, fault: Fault, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if fault is Fault.SLOW:
            await reader.read()
            return False
        if fault in (Fault.CUT, Fault.CUT_HARD, Fault.CUT_UNSEEN):
            length = "" if fault is Fault.CUT_UNSEEN else f"Content-Length: {len(body)}\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode() + body[: len(body) // 2])
            await writer.drain()
            if fault is Fault.CUT_HARD:
                writer.transport.abort()
            return False
        if fault in (Fault.ENDLESS, Fault.HEADERS):
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n[" if fault is Fault.ENDLESS else b""))
            while not writer.is_closing():
                writer.write((b"{}," if fault is Fault.ENDLESS else b"X-A: b\r\n") * 20_000)
                await writer.drain()
            return False
        if fault is Fault.GARBAGE:
            writer.write(b"SSH-2.0-ROSSSH\r\n")
            await writer.drain()
            return False
        status, content, header = _replies(fault, body)
        await _send(writer, status, content, header)
        return fault is not Fault.CLOSES_AFTER_EACH


def _replies(fault: Fault, body: bytes) -> tuple[int, bytes, str]:
    """Status, body and a header of an answer that comes to its end."""
    html = "Content-Type: text/html\r\n"
    if fault is Fault.BOMB:
        return 200, gzip.compress(b"[" + b" " * 200_000_000 + b"]", 1), "Content-Encoding: gzip\r\n"
    return {
        Fault.ERROR_PAGE: (200, PAGE.encode(), html),
        Fault.BAD_GATEWAY: (502, PAGE.encode(), html),
        Fault.EMPTY: (200, b"", ""),
        Fault.OTHER_LANGUAGE: (400, ELSEWHERE.encode(), ""),
        Fault.FORBIDDEN: (403, PAGE.encode(), html),
        Fault.REDIRECT: (302, PAGE.encode(), f"{html}Location: /login?next=/\r\n"),
        Fault.PACKED: (200, gzip.compress(body), "Content-Encoding: gzip\r\n"),
    }.get(fault, (200, body, ""))


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, header: str = "") -> bool:
    writer.write(f"HTTP/1.1 {status} Reason {status}\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return True


def _login() -> str:
    return "Basic " + base64.b64encode(f"{USERNAME}:{SECRET}".encode()).decode()


async def _request(reader: asyncio.StreamReader) -> Request:
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    method, path, _ = head.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body.decode())


@asynccontextmanager
async def serving_api(api: Api, directory: Path, context: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    """On a free port of 127.0.0.1, with a certificate of the test authority; `directory` gets ca.pem and secret."""
    (directory / "ca.pem").write_bytes(authority().pem())
    (directory / "secret").write_text(f"{SECRET}\n")
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await api.serve(reader, writer)
        finally:
            serving.discard(task)

    context = context or authority().server_context(directory, "127.0.0.1")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
