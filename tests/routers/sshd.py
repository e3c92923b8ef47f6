"""A small SSH server on loopback that behaves as the tests ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

PASSWORD = "correct horse"


class _Login(asyncssh.SSHServer):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._server.connections.append(conn)
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        self._conn.send_auth_banner(f"Welcome, {username}. Trespassers will be shot.\r\n")
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("monitor", PASSWORD)


@dataclass
class Server:
    directory: Path
    host_key: asyncssh.SSHKey
    client_key: Path
    known_hosts: Path
    port: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most_running: int = 0
    drop_next: int = 0

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        self.commands.append(command)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        with contextlib.suppress(OSError, asyncssh.Error):
            await self._answer(command, process)
        self.running -= 1

    async def _answer(self, command: str, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if command == "hang":
            self.hanging.set()
            await process.wait_closed()
            await self._note_signal(process)
        elif command == "endless":
            while True:
                process.stdout.write(b"x" * 65_536)
                await process.stdout.drain()
        elif command == "drop" and self.drop_next:
            self.drop_next -= 1
            process.stdout.write(b"half an ans")
            process.channel.get_connection().abort()
        elif command == "half":  # ends in the middle, without an exit status, and the connection lives
            process.stdout.write(b"half an ans")
            process.close()
        elif command == "cat":
            process.stdout.write(await process.stdin.read())
            process.exit(0)
        else:
            await asyncio.sleep(0.02)  # long enough for others to come
            process.stdout.write(command.encode())
            process.stderr.write(b"complaint")
            process.exit(3 if command == "fail" else 0)

    async def _note_signal(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            await process.stdin.read()
        except asyncssh.SignalReceived as received:
            self.signals.append(received.signal)


def write_key(path: Path, passphrase: str | None = None) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path, "pkcs8-pem" if passphrase else "openssh", passphrase=passphrase)
    return key


@asynccontextmanager
async def serving(directory: Path, **options: Any) -> AsyncIterator[Server]:
    key = write_key(directory / "id")
    server = Server(
        directory,
        asyncssh.generate_private_key("ssh-ed25519"),
        directory / "id",
        directory / "known_hosts",
    )
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Login(server),
        server_host_keys=[server.host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
        process_factory=server.handle,
        encoding=None,
        **options,
    )
    server.port = listener.get_port()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.host_key.export_public_key().decode()}")
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.abort()
        await listener.wait_closed()
        for connection in server.connections:
            await connection.wait_closed()
