"""`tcp`: a connection over one pinned flow, and what a module's `query_response` says over it.

Lines are as blackbox_exporter reads them: they end with a line feed, a carriage return before it is no part of them,
and the last one needs no end. A search gives up after SEARCH_BYTES or SEARCH_LINES: nothing endless keeps us busy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from probes import tls
from probes.attempt import Attempt
from probes.facts import ExchangeFacts
from probes.failure import ProbeError
from probes.model import Failure, Outcome, Request
from probes.pattern import Expression, Found, group
from probes.stream import Stream
from probes.tcp_module import Label, Step, TcpModule
from probes.text import excerpt, identity_text

if TYPE_CHECKING:
    from pydantic import BaseModel

LINE_BYTES = 65_536
SEARCH_BYTES = 1_048_576  # received for one `expect`
SEARCH_LINES = 4096
HIDDEN = "<hidden>"
_SHOWN_CHARACTERS = 1024  # of what was received; a transcript shows less
_SECRET_CHARACTERS = 4  # at least
_APART = re.compile(r"[\s=:;,&\"'<>()]+")


class TcpProber:
    """Keeps TLS contexts between probes, from `open` to `close`."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = TcpModule
    identities: ClassVar[tuple[str, ...]] = ("banner",)

    def __init__(self, version: str) -> None:
        del version  # it says nothing that a module does not tell it to say
        self._contexts = tls.Contexts()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """TLS contexts are made anew after the next `open`."""
        self._contexts.clear()

    async def probe(self, request: Request, module: TcpModule) -> Outcome:
        attempt = Attempt(request)
        try:
            return await attempt.run(self._exchange(attempt, module))
        finally:
            attempt.drop()

    async def _exchange(self, attempt: Attempt, module: TcpModule) -> None:
        attempt.leave_from(module.source_ip_address)
        context = None
        if module.tls or any(step.starttls for step in module.query_response):
            context = self._contexts.context(module.tls_config)
        await attempt.connect()
        stream = Stream(attempt)
        server_name = tls.server_name(module.tls_config, attempt.request.host)
        if module.tls and context is not None:
            await stream.start_tls(context, server_name)
        conversation = _Conversation(attempt, stream, Sent(module.query_response))
        for number, step in enumerate(module.query_response, start=1):
            await conversation.take(number, step)
            if step.starttls and context is not None:
                conversation.start_tls()
                await stream.start_tls(context, server_name)
        await conversation.end()
        stream.finish()


class Sent:
    """What was sent, which may be a password: a server that repeats it must not bring it into a transcript.

    What the module expects to read, and what the server said before anything was sent, is no secret.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._plain = "\n".join(
            f"{'' if step.expect is None else step.expect.pattern}\n{step.expect_bytes}" for step in steps
        )
        self._secrets: list[str] = []

    def add(self, text: str) -> None:
        """The whole of it, and its words."""
        whole = text.strip()
        words = {whole, *whole.split(), *_APART.split(whole)}
        secrets = {word for word in words if len(word) >= _SECRET_CHARACTERS and word not in self._plain}
        self._secrets = sorted(secrets.union(self._secrets), key=len, reverse=True)

    def masked(self, received: str, *, cut: bool) -> str:
        """The beginning of what was received, without what was sent. `cut`: it may begin and end within a word."""
        text = received[:_SHOWN_CHARACTERS]
        if not self._secrets:
            if len(self._plain) < LINE_BYTES:
                self._plain += f"\n{text}"
            return text
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return self._bare(text) if cut or len(received) > _SHOWN_CHARACTERS else text

    def _bare(self, text: str) -> str:
        for secret in self._secrets:
            for length in range(min(len(secret), len(text)), _SECRET_CHARACTERS - 1, -1):
                if text.startswith(secret[-length:]):
                    text = HIDDEN + text[length:]
                if text.endswith(secret[:length]):
                    text = text[:-length] + HIDDEN
        return text


class _Conversation:
    """What is said over one connection, step by step."""

    def __init__(self, attempt: Attempt, stream: Stream, sent: Sent) -> None:
        self._attempt = attempt
        self._stream = stream
        self._sent = sent
        self._buffer = bytearray()
        self._ended = False  # by the server
        self._cut = False  # something was read that is no line
        self._first_line: str | None = None
        self._shown_line = ""
        self._spoken = False

    async def take(self, number: int, step: Step) -> None:
        self._spoken = True
        send = step.send
        if step.expect is not None:
            found = await self._expect(step.expect)
            send = found.expand(send)
            self._label(step.labels, found)
        if step.expect_bytes:
            await self._expect_bytes(step.expect_bytes.encode())
        if send:
            self._attempt.step = f"sending of step {number}"
            data = send.encode() + b"\n"
            self._sent.add(send)
            await self._stream.send(data)
            self._attempt.note(f"step {number}: sent {len(data)} bytes")  # not which: they may be a password

    def start_tls(self) -> None:
        """What came in the clear and was not read is never read as if it had come over TLS."""
        if self._buffer:
            self._attempt.note(f"discarded, as it came before TLS: {self._shown(bytes(self._buffer))}")
            self._buffer.clear()
        self._attempt.end_phase("processing")

    async def end(self) -> None:
        """Name the node, for which a line is waited for if no step has read one."""
        identity = self._attempt.request.identity
        if identity is not None and identity.kind == "banner":
            self._spoken = True
            if self._first_line is None:
                self._attempt.step = "first line"
                await self._line(SEARCH_BYTES)
            named = None if self._first_line is None else group(identity.rule, self._first_line)
            self._attempt.identity = None if named is None else identity_text(named)
        if self._spoken:
            self._attempt.end_phase("processing")

    async def _expect(self, pattern: Expression) -> Found:
        wanted = f"line that matches {excerpt(pattern.pattern)}"
        self._attempt.step = wanted
        left, last = SEARCH_BYTES, None
        for _ in range(SEARCH_LINES):
            line = await self._line(left)
            if line is None:
                break
            found = pattern.find(line)
            if found is not None:
                self._decide(by_pattern=False)
                return found
            left, last = left - len(line), line
            self._attempt.step = f"{wanted}, after {excerpt(self._shown_line)}"
        else:
            raise ProbeError(Failure.PROTOCOL, f"no {wanted} within {SEARCH_LINES} lines")
        self._decide(by_pattern=True)
        if last is None:
            raise ProbeError(Failure.CLOSED, f"connection closed before a {wanted}")
        raise ProbeError(Failure.EXPECTATION, f"no {wanted}; the last one was: {excerpt(self._shown_line)}")

    async def _expect_bytes(self, expected: bytes) -> None:
        self._attempt.step = f"{len(expected)} bytes"
        while len(self._buffer) < len(expected) and await self._more():
            pass
        if len(self._buffer) < len(expected):
            raise ProbeError(
                Failure.CLOSED, f"connection closed after {len(self._buffer)} of {len(expected)} bytes of expect_bytes"
            )
        received = bytes(self._buffer[: len(expected)])
        del self._buffer[: len(expected)]
        exchange = self._attempt.facts.exchange or ExchangeFacts()
        exchange = replace(exchange, failed_by_bytes=received != expected)
        self._attempt.facts = replace(self._attempt.facts, exchange=exchange)
        shown = self._shown(received)
        self._attempt.note(f"received {shown}")
        if received != expected:
            raise ProbeError(Failure.EXPECTATION, f"not expect_bytes, but {shown}")

    async def _line(self, limit: int) -> str | None:
        """None at the end of the stream."""
        scanned = 0
        while (end := self._buffer.find(b"\n", scanned)) < 0:
            scanned = len(self._buffer)
            if scanned > LINE_BYTES:
                raise ProbeError(Failure.PROTOCOL, f"a line of more than {LINE_BYTES} bytes")
            if scanned > limit:
                raise ProbeError(Failure.PROTOCOL, f"no {self._attempt.step} within {SEARCH_BYTES} bytes")
            if not await self._more():
                return self._last_line()
        if end > LINE_BYTES:
            raise ProbeError(Failure.PROTOCOL, f"a line of more than {LINE_BYTES} bytes")
        if end > limit:
            raise ProbeError(Failure.PROTOCOL, f"no {self._attempt.step} within {SEARCH_BYTES} bytes")
        line = self._text(end)
        del self._buffer[: end + 1]
        return line

    def _last_line(self) -> str | None:
        if not self._buffer:
            return None
        line = self._text(len(self._buffer))
        self._buffer.clear()
        return line

    def _text(self, end: int) -> str:
        line = bytes(self._buffer[:end]).removesuffix(b"\r").decode("utf-8", "replace")
        if self._first_line is None:
            self._first_line = line
        self._shown_line = self._sent.masked(line, cut=self._cut or self._ended)
        self._attempt.note(f"received {self._shown_line}")
        return line

    def _shown(self, received: bytes) -> str:
        self._cut = True
        text = received[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "surrogateescape")
        return excerpt(self._sent.masked(text, cut=True))

    async def _more(self) -> bool:
        data = b"" if self._ended else await self._stream.receive()
        self._ended = not data
        self._buffer += data
        return bool(data)

    def _decide(self, *, by_pattern: bool) -> None:
        exchange = replace(self._attempt.facts.exchange or ExchangeFacts(), failed_by_pattern=by_pattern)
        self._attempt.facts = replace(self._attempt.facts, exchange=exchange)

    def _label(self, labels: tuple[Label, ...], found: Found) -> None:
        if not labels:
            return
        exchange = self._attempt.facts.exchange or ExchangeFacts()
        given = {label.name: identity_text(found.expand(label.value)) for label in labels}
        exchange = replace(exchange, labels=MappingProxyType({**exchange.labels, **given}))
        self._attempt.facts = replace(self._attempt.facts, exchange=exchange)
