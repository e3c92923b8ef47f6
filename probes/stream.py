"""Bytes over an attempt's pinned socket, in the clear or, from any moment on, over TLS.

No transport and no buffer of asyncio's: TLS runs in memory (ssl.MemoryBIO) between the socket and the reader, so
that a connection may begin in the clear and go on over TLS (STARTTLS), and holds no more than it was asked for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import replace

from probes import flow, tls
from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.model import Failure
from probes.text import excerpt

CHUNK = 16_384  # also the most that one TLS record holds
HANDSHAKE_BYTES = 1_048_576  # OpenSSL takes 100 KiB of certificates; after that only a peer that plays games goes on
IDLE_BYTES = 65_536  # in one read without a byte for the reader: more than a record, so empty ones, or renewed keys


class Stream:
    """One connection. Whoever opens it calls `finish` after a good exchange; the attempt's `drop` is for all others."""

    def __init__(self, attempt: Attempt) -> None:
        """`attempt` is connected."""
        if attempt.sock is None:
            raise RuntimeError("the attempt is not connected")
        self._attempt = attempt
        self._sock: socket.socket = attempt.sock
        self._loop = asyncio.get_running_loop()
        self._session: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    @property
    def alpn(self) -> str | None:
        """The protocol that the server chose."""
        return None if self._session is None else self._session.selected_alpn_protocol()

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """The handshake, with its facts and its phase in the attempt. `context` is of `tls.Contexts`.

        Raises ProbeError (or OSError, for the attempt to classify).
        """
        self._attempt.step = "TLS handshake"
        try:
            session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except ValueError as error:
            raise ProbeError(Failure.LOCAL, f"no usable TLS server name: {excerpt(server_name)}") from error
        await self._handshake(session)
        self._session = session
        seen = tls.facts(session)
        if seen is not None:
            self._attempt.facts = replace(self._attempt.facts, tls=seen)
            self._attempt.note(tls.in_words(seen))
        self._attempt.end_phase("tls")

    async def receive(self, limit: int = CHUNK) -> bytes:
        """Some bytes, at most `limit`, none at the end of the stream.

        Raises ProbeError or OSError.
        """
        if self._session is None:
            return await self._loop.sock_recv(self._sock, limit)
        idle = 0
        while idle <= IDLE_BYTES:
            try:
                return self._session.read(limit)
            except ssl.SSLWantReadError:
                await self._flush()
                received = await self._fill()
                if not received:
                    return b""
                idle += received
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise tls.tls_error(error, self._attempt.step) from error
        raise ProbeError(Failure.PROTOCOL, f"{self._attempt.step}: TLS records without content, without end")

    async def send(self, data: bytes) -> None:
        """All of `data`. Raises ProbeError or OSError."""
        if self._session is None:
            await self._loop.sock_sendall(self._sock, data)
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._session.write(view) :]
                await self._flush()
        except ssl.SSLError as error:
            raise tls.tls_error(error, self._attempt.step) from error

    def finish(self) -> None:
        """Close in an orderly way, without waiting: close_notify where TLS is spoken, and FIN."""
        self._attempt.count_retransmits()
        if self._session is not None:
            with suppress(ssl.SSLError):
                self._session.unwrap()
            with suppress(OSError):
                self._sock.send(self._outgoing.read())
        flow.finish(self._sock)

    async def _handshake(self, session: ssl.SSLObject) -> None:
        received = 0
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                size = await self._fill()
                received += size
                if not size:
                    raise ProbeError(Failure.CLOSED, "TLS handshake: connection closed before its end") from None
                if received > HANDSHAKE_BYTES:
                    raise ProbeError(Failure.TLS, f"TLS handshake: more than {HANDSHAKE_BYTES} bytes") from None
            except ssl.SSLError as error:
                seen = tls.shown(error)
                self._attempt.facts = replace(self._attempt.facts, tls=seen)
                if seen is not None:
                    self._attempt.note(tls.in_words(seen))
                with suppress(OSError):
                    await self._flush()  # the alert that tells the server why
                raise tls.tls_error(error) from error
            else:
                await self._flush()
                return

    async def _fill(self) -> int:
        data = await self._loop.sock_recv(self._sock, CHUNK)
        self._incoming.write(data)
        return len(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._sock, self._outgoing.read())
