"""`ssh`: the version exchange of RFC 4253, section 4.2, with a real server, and nothing after it, unless the
target tells its nodes by their host keys: then the key exchange, as far as the host key.

Our identification is sent at once. Observed with OpenSSH 9.2: a client that closes without one is logged as
`error: kex_exchange_identification`; with one, a FIN after it costs one line at level INFO ("Connection
closed by ... [preauth]"), and a SSH_MSG_DISCONNECT costs two. So: identification, banner, FIN, and what the
server still sends (its KEXINIT) is read until it closes, because unread bytes would turn the FIN into a RST.
With the host key it is the same: one line at level INFO. OpenSSH 9.8 and later keep a client out for a while
that comes and goes without a login more than 15 times in as many seconds (PerSourcePenalties, noauth).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from probes import flow
from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.model import Failure, Outcome, Request
from probes.pattern import Pattern, group
from probes.ssh_banner import BannerError, BannerParser
from probes.ssh_hostkey import HostKeyError, HostKeyExchange
from probes.text import excerpt, identity_text

FAREWELL_SECONDS = 1.0  # how long the server may take to close after us
FAREWELL_BYTES = 16_384  # a KEXINIT is 1 to 3 KiB
_CHUNK = 2048


class SshModule(BaseModel):
    """What a banner must look like; `expect_banner` is searched in the whole identification string."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    expect_banner: Pattern | None = None


class SshProber:
    """Keeps nothing between probes."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = SshModule
    identities: ClassVar[tuple[str, ...]] = ("banner", "host_key")

    def __init__(self, version: str) -> None:
        # Section 4.2: the software version holds no space and no minus sign.
        software = re.sub(r"[^!-,.-~]", "_", version)
        self._identification = f"SSH-2.0-ecmp-exporter_{software}\r\n".encode("ascii")

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def probe(self, request: Request, module: SshModule) -> Outcome:
        attempt = Attempt(request)
        try:
            outcome = await attempt.run(self._exchange(attempt, module))
            if attempt.sock is not None and outcome.failure in (None, Failure.EXPECTATION):
                await _part(attempt.sock)
        finally:
            attempt.drop()
        return outcome

    async def _exchange(self, attempt: Attempt, module: SshModule) -> None:
        sock = await attempt.connect()
        attempt.step = "identification string"
        await asyncio.get_running_loop().sock_sendall(sock, self._identification)
        line, rest = await _banner(sock)
        attempt.end_phase("banner")
        expected = module.expect_banner is None or module.expect_banner.search(line)
        identity = attempt.request.identity
        if identity is not None and identity.kind == "banner":
            named = group(identity.rule, line)
            attempt.identity = None if named is None else identity_text(named)
        elif identity is not None and identity.kind == "host_key":
            attempt.step = "key exchange"
            try:
                attempt.identity = await _fingerprint(sock, rest, identity.rule)
                attempt.end_phase("processing")
            except (ProbeError, OSError):
                if expected:  # else the wrong banner is what is wrong
                    raise
        if not expected:
            raise ProbeError(Failure.EXPECTATION, f"banner does not match expect_banner: {excerpt(line)}")


async def _banner(sock: socket.socket) -> tuple[str, bytes]:
    """The identification string, and what the server said right after it."""
    loop = asyncio.get_running_loop()
    parser = BannerParser()
    rest = b""
    try:
        while parser.banner is None:
            rest = await loop.sock_recv(sock, _CHUNK)
            if not rest:
                after = f" after: {excerpt(parser.seen)}" if parser.seen else ""
                raise ProbeError(Failure.CLOSED, f"server closed before its identification string{after}")
            while rest and parser.banner is None:
                line, end, rest = rest.partition(b"\n")
                parser.feed(line + end)
    except BannerError as error:
        raise ProbeError(Failure.PROTOCOL, str(error)) from error
    return parser.banner.line, rest


async def _fingerprint(sock: socket.socket, data: bytes, algorithm: str) -> str | None:
    """The host key's fingerprint; `data` is what has come already. None: no algorithm in common."""
    loop = asyncio.get_running_loop()
    exchange = HostKeyExchange(algorithm, secrets.token_bytes)
    await loop.sock_sendall(sock, exchange.opening)
    try:
        while True:
            answer = exchange.feed(data)
            if answer:
                await loop.sock_sendall(sock, answer)
            if exchange.done:
                return exchange.fingerprint
            data = await loop.sock_recv(sock, _CHUNK)
            if not data:
                raise ProbeError(Failure.CLOSED, "server closed before its host key")
    except HostKeyError as error:
        raise ProbeError(Failure.CLOSED if error.ended else Failure.PROTOCOL, str(error)) from error


async def _part(sock: socket.socket) -> None:
    """Close in good order; what the server does now is no part of the outcome."""
    loop = asyncio.get_running_loop()
    read = 0
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(FAREWELL_SECONDS):
            while read < FAREWELL_BYTES:
                data = await loop.sock_recv(sock, _CHUNK)
                if not data:
                    flow.finish(sock)
                    return
                read += len(data)
    except OSError:  # TimeoutError included; the caller resets what is still open
        return
