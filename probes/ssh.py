"""`ssh`: the version exchange of RFC 4253, section 4.2, with a real server, and nothing after it.

Our identification is sent at once. Observed with OpenSSH 9.2: a client that closes without one is logged as
`error: kex_exchange_identification`; with one, a FIN after it costs one line at level INFO ("Connection
closed by ... [preauth]"), and a SSH_MSG_DISCONNECT costs two. So: identification, banner, FIN, and what the
server still sends (its KEXINIT) is read until it closes, because unread bytes would turn the FIN into a RST.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from probes import flow
from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.model import Failure, Outcome, Request
from probes.pattern import Pattern, group
from probes.ssh_banner import BannerError, BannerParser
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

    module: ClassVar[type[BaseModel]] = SshModule
    identities: ClassVar[tuple[str, ...]] = ("banner",)

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
            if attempt.sock is not None and "banner" in outcome.phases:
                await _part(attempt.sock)
        finally:
            attempt.drop()
        return outcome

    async def _exchange(self, attempt: Attempt, module: SshModule) -> None:
        sock = await attempt.connect()
        attempt.step = "identification string"
        await asyncio.get_running_loop().sock_sendall(sock, self._identification)
        line = await _banner(sock)
        attempt.end_phase("banner")
        identity = attempt.request.identity
        if identity is not None and identity.kind == "banner":
            named = group(identity.rule, line)
            attempt.identity = None if named is None else identity_text(named)
        if module.expect_banner is not None and not module.expect_banner.search(line):
            raise ProbeError(Failure.EXPECTATION, f"banner does not match expect_banner: {excerpt(line)}")


async def _banner(sock: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    parser = BannerParser()
    try:
        while parser.banner is None:
            data = await loop.sock_recv(sock, _CHUNK)
            if not data:
                after = f" after: {excerpt(parser.seen)}" if parser.seen else ""
                raise ProbeError(Failure.CLOSED, f"server closed before its identification string{after}")
            parser.feed(data)
    except BannerError as error:
        raise ProbeError(Failure.PROTOCOL, str(error)) from error
    return parser.banner.line


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
