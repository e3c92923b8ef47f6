"""TCP servers: SMTP with STARTTLS (aiosmtpd), OpenSSH, TLS, and some that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiosmtpd.smtp import SMTP, AuthResult

from tests.parity.cases import Server
from tests.parity.certificates import Certificates
from tests.parity.http_servers import on
from tests.probes import openssh
from tests.probes.servers import close_at_once, saying, silent


def smtp(tls: str = "") -> Server:
    """A mail server that offers STARTTLS with this certificate, and logins once TLS is spoken."""

    @asynccontextmanager
    async def start(found: Certificates) -> AsyncIterator[int]:
        context = getattr(found, tls) if tls else None
        loop = asyncio.get_running_loop()

        def made() -> SMTP:
            return SMTP(
                object(),
                hostname="mail.test",
                tls_context=context,
                authenticator=lambda *_: AuthResult(success=False),
                loop=loop,
            )

        server = await loop.create_server(made, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()

    return start


@asynccontextmanager
async def sshd(_: Certificates) -> AsyncIterator[int]:
    with TemporaryDirectory() as directory:
        async with openssh.running(Path(directory)) as found:
            yield found.port


SERVERS: dict[str, Server] = {
    "smtp": smtp("good"),
    "smtp_expired": smtp("expired"),
    "smtp_plain": smtp(),
    "sshd": sshd,
    "silent": on(silent),
    "closing": on(close_at_once),
    "irc": on(saying(b":irc.test NOTICE * :hello\r\nPING :12345\r\n")),
    "not_ssh": on(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    "tls": on(silent, tls="good"),
    "tls_expired": on(silent, tls="expired"),
    "tls_self_signed": on(silent, tls="self_signed"),
}
