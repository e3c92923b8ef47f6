"""`ssh`: the version exchange of RFC 4253, section 4.2, with a real server; where the host key matters the key
exchange as far as that (probes.ssh_hostkey); where a login is asked for, a whole session (probes.ssh_login).

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
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from probes import flow, ssh_login
from probes.attempt import Attempt
from probes.facts import SshFacts
from probes.failure import ProbeError
from probes.model import Failure, Outcome, Request
from probes.pattern import group
from probes.ssh_banner import Banner, BannerError, BannerParser
from probes.ssh_files import LoginFiles
from probes.ssh_hostkey import ALGORITHMS, HostKeyError, HostKeyExchange
from probes.ssh_module import SshModule
from probes.text import excerpt, identity_text

if TYPE_CHECKING:
    from pydantic import BaseModel

    from probes.ssh_login import Login

FAREWELL_SECONDS = 1.0  # how long the server may take to close after us
FAREWELL_BYTES = 16_384  # a KEXINIT is 1 to 3 KiB
_CHUNK = 2048
_IN_GOOD_ORDER = (None, Failure.EXPECTATION)


class SshProber:
    """Keeps nothing between probes but the files that logins need."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = SshModule
    identities: ClassVar[tuple[str, ...]] = ("banner", "host_key")

    def __init__(self, version: str) -> None:
        # Section 4.2: the software version holds no space and no minus sign.
        self._software = "ecmp-exporter_" + re.sub(r"[^!-,.-~]", "_", version)
        self._identification = f"SSH-2.0-{self._software}\r\n".encode("ascii")
        self._files = LoginFiles()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def probe(self, request: Request, module: SshModule) -> Outcome:
        login = await self._prepared(request, module)
        attempt = Attempt(request)
        try:
            if login is None:
                outcome = await attempt.run(self._exchange(attempt, module))
            else:
                outcome = await attempt.run(self._log_in(attempt, module, login))
            # What a session said last has to arrive: that its command is to be killed.
            if attempt.sock is not None and (outcome.failure in _IN_GOOD_ORDER or "login" in outcome.phases):
                await _part(attempt.sock)
        finally:
            attempt.drop()
        return outcome

    async def _prepared(self, request: Request, module: SshModule) -> Login | ProbeError | None:
        """Read files before the clock of the probe starts; None where the module does not log in."""
        if module.login is None:
            return None
        try:
            async with asyncio.timeout(request.timeout_seconds):
                algorithm = _algorithm(request, module)
                return await ssh_login.prepare(request, module, self._files, algorithm, self._software)
        except ProbeError as error:
            return error
        except TimeoutError:
            return ProbeError(Failure.LOCAL, f"cannot read the files of the login within {request.timeout_seconds:g} s")

    async def _log_in(self, attempt: Attempt, module: SshModule, login: Login | ProbeError) -> None:
        if isinstance(login, ProbeError):
            raise login
        await attempt.connect()
        attempt.note(f"sending identification SSH-2.0-{self._software}")
        await login.go(attempt, partial(_judge_banner, attempt, module))

    async def _exchange(self, attempt: Attempt, module: SshModule) -> None:
        sock = await attempt.connect()
        banner, rest = await self._greet(attempt, sock)
        _saw_banner(attempt, banner)
        identity = attempt.request.identity
        others: tuple[str, ...] = ()
        if module.wants_host_key or (identity is not None and identity.kind == "host_key"):
            attempt.step = "key exchange"
            try:
                others = await _look_at_host_key(attempt, module, sock, rest)
            except (ProbeError, OSError):
                _expect_banner(module, banner)  # else the wrong banner is what is wrong
                raise
        _expect_banner(module, banner)
        if module.host_keys and (identity is None or identity.kind != "host_key"):
            await self._look_at_others(attempt, module, others)
        _expect_host_key(attempt, module)

    async def _greet(self, attempt: Attempt, sock: socket.socket) -> tuple[Banner, bytes]:
        attempt.step = "identification string"
        attempt.note(f"sending identification SSH-2.0-{self._software}")
        await asyncio.get_running_loop().sock_sendall(sock, self._identification)
        return await _banner(sock)

    async def _look_at_others(self, attempt: Attempt, module: SshModule, others: tuple[str, ...]) -> None:
        """A server shows one key a connection: until an expected one is seen ask, over the same flow, for the others
        that it has. What fails meanwhile leaves it at the key that was seen.
        """
        seen = attempt.facts.ssh
        while others and seen is not None and seen.host_key not in module.host_keys and attempt.sock is not None:
            attempt.note(f"not the expected host key; asking for {', '.join(others)}")
            try:
                sock = await attempt.connect_again(flow.used_flow(attempt.sock, attempt.request.flow))
                _, rest = await self._greet(attempt, sock)
                attempt.end_phase("banner")
                attempt.step = "key exchange"
                exchange = await _exchanged(sock, rest, others)
            except (ProbeError, OSError) as error:
                attempt.note(f"the other host keys could not be seen: {error}")
                return
            attempt.end_phase("processing")
            attempt.note(f"host key {exchange.fingerprint}")
            if exchange.fingerprint in module.host_keys:
                seen = replace(seen, host_key=exchange.fingerprint, host_key_expected=True)
                attempt.facts = replace(attempt.facts, ssh=seen)
            others = exchange.others


def _algorithm(request: Request, module: SshModule) -> str:
    """The host key's algorithm to ask for: the one that names nodes comes first."""
    identity = request.identity
    named = identity.rule if identity is not None and identity.kind == "host_key" else ""
    return named or module.algorithm


def _judge_banner(attempt: Attempt, module: SshModule, banner: Banner) -> None:
    """The identification string of a session that goes on."""
    _saw_banner(attempt, banner)
    attempt.step = "key exchange"
    _expect_banner(module, banner)


def _saw_banner(attempt: Attempt, banner: Banner) -> None:
    attempt.end_phase("banner")
    attempt.note(f"identification: {banner.line}")
    comment = identity_text(banner.comments)
    attempt.facts = replace(attempt.facts, ssh=SshFacts(banner.version, banner.software, comment))
    identity = attempt.request.identity
    if identity is not None and identity.kind == "banner":
        named = group(identity.rule, banner.line)
        attempt.identity = None if named is None else identity_text(named)


def _expect_banner(module: SshModule, banner: Banner) -> None:
    expected = module.expect_banner
    if expected is not None and not expected.search(banner.line):
        raise ProbeError(
            Failure.EXPECTATION,
            f"banner {excerpt(banner.line)} does not match expect_banner {excerpt(expected.pattern)}",
        )


def _expect_host_key(attempt: Attempt, module: SshModule) -> None:
    seen = attempt.facts.ssh.host_key if attempt.facts.ssh is not None else None
    if module.host_keys and seen not in module.host_keys:
        found = f"host key {seen}" if seen else "the host key, of an algorithm that was not asked for,"
        raise ProbeError(Failure.EXPECTATION, f"{found} {ssh_login.one_of(module.host_keys)}")


async def _banner(sock: socket.socket) -> tuple[Banner, bytes]:
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
    return parser.banner, rest


async def _look_at_host_key(attempt: Attempt, module: SshModule, sock: socket.socket, data: bytes) -> tuple[str, ...]:
    """Take the key exchange as far as the host key; `data` is what has come already. Gives the algorithms of the
    server's other keys.
    """
    exchange = await _exchanged(sock, data, ALGORITHMS[_algorithm(attempt.request, module)])
    fingerprint = exchange.fingerprint
    attempt.end_phase("processing")
    attempt.note(f"host key {fingerprint}" if fingerprint else "server has no host key that was asked for")
    if attempt.facts.ssh is not None:
        expected = fingerprint in module.host_keys
        seen = replace(attempt.facts.ssh, host_key=fingerprint, host_key_expected=expected)
        attempt.facts = replace(attempt.facts, ssh=seen)
    identity = attempt.request.identity
    if identity is not None and identity.kind == "host_key":
        attempt.identity = fingerprint
    return exchange.others


async def _exchanged(sock: socket.socket, data: bytes, algorithms: tuple[str, ...]) -> HostKeyExchange:
    """A key exchange that is done; `data` is what has come already."""
    loop = asyncio.get_running_loop()
    exchange = HostKeyExchange(algorithms, secrets.token_bytes)
    await loop.sock_sendall(sock, exchange.opening)
    try:
        while True:
            answer = exchange.feed(data)
            if answer:
                await loop.sock_sendall(sock, answer)
            if exchange.done:
                return exchange
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
