"""What tests of SSH logins share: a probe that logs in, and asyncssh servers that can be made to misbehave."""

from __future__ import annotations

import getpass
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ssh_module import SshModule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from probes.ports import Source
    from probes.table import Probers

    Process = asyncssh.SSHServerProcess[bytes]

USER = getpass.getuser()
OTHER_KEY = "SHA256:" + "A" * 43
SECRET = "correct horse battery"


def module(client_key: Path, login: dict[str, object] | None = None, **settings: object) -> SshModule:
    whole = {"username": USER, "client_key": str(client_key), **(login or {})}
    return SshModule.model_validate({**settings, "login": whole})


async def probe(
    probers: Probers,
    port: int,
    asked: SshModule,
    *,
    seconds: float = 20.0,
    source: Source | None = None,
    identity: Identity | None = None,
    host: str = "git.example.org",
) -> Outcome:
    pinned = Flow("127.0.0.1", port, *source) if source else Flow("127.0.0.1", port)
    outcome = await probers.probe("ssh", Request(pinned, host, seconds, identity), asked)
    assert outcome.success == (outcome.failure is None)
    told = f"{outcome.detail} {outcome.facts} {outcome.transcript}"
    assert SECRET not in told
    assert "PRIVATE KEY" not in told
    return outcome


def failed(outcome: Outcome) -> tuple[Failure | None, str]:
    return outcome.failure, outcome.detail


class Odd:
    """An asyncssh server; `login` says whom it lets in, `handle` what commands do."""

    def __init__(self, directory: Path) -> None:
        self.client_key = directory / "odd_id"
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.lets_in: Callable[[], Awaitable[bool]] | None = None
        self.greeting = ""
        self.port = 0
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.client_key)

    @property
    def fingerprint(self) -> str:
        return self.host_key.get_fingerprint()

    def module(self, login: dict[str, object] | None = None) -> SshModule:
        return module(self.client_key, login, host_keys=[self.fingerprint])


class Login(asyncssh.SSHServer):
    def __init__(self, server: Odd) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._server.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        del username
        if self._server.greeting:
            self._conn.send_auth_banner(self._server.greeting)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        del username, key
        return True if self._server.lets_in is None else await self._server.lets_in()


async def _well(process: Process) -> None:
    process.exit(0)


@asynccontextmanager
async def odd(
    directory: Path, handle: Callable[[Process], Awaitable[None]] | None = None, **options: Any
) -> AsyncIterator[Odd]:
    server = Odd(directory)

    async def safely(process: Process) -> None:
        with suppress(OSError, asyncssh.Error):
            await (handle or _well)(process)

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Login(server),
        server_host_keys=[server.host_key],
        process_factory=safely,
        encoding=None,
        **options,
    )
    server.port = listener.get_port()
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.abort()
        await listener.wait_closed()
        for connection in server.connections:
            await connection.wait_closed()
