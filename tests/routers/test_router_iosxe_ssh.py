"""IOS-XE over SSH: a server that knows one exec request a connection, and hangs up behind its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from routers import iosxe
from routers.model import Answer
from routers.reader import take_snapshot
from routers.ssh import LONE_CONNECTIONS, SshSettings, SshTransport
from routers.transport import ErrorKind, RouterError
from tests.routers.captured import QUERY, TAKEN_AT, answers, snapshot

ROUTE = "show bgp ipv4 unicast 203.0.113.10"


@dataclass
class Ios:
    """`farewell`: how it hangs up. Of the answers in `cut` only half is sent."""

    farewell: str
    answers: dict[str, Answer]
    cut: frozenset[str] = frozenset()
    connections: int = 0
    open: int = 0
    most_open: int = 0
    asked: list[str] = field(default_factory=list)

    async def handle(self, process: asyncssh.SSHServerProcess[str]) -> None:
        command = process.command or ""
        self.asked.append(command)
        text = self.answers[command].stdout
        await asyncio.sleep(0.01)
        process.stdout.write(text[: len(text) // 2] if command in self.cut else text)
        connection = process.channel.get_connection()
        if self.farewell == "status":
            process.exit(0)
        elif self.farewell == "end":
            process.stdout.write_eof()
            process.close()
        else:
            await process.stdout.drain()
            await asyncio.sleep(0.05)
            connection.abort()
            return
        connection.close()


class _Login(asyncssh.SSHServer):
    def __init__(self, router: Ios) -> None:
        self._router = router
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        del conn
        self._router.connections += 1
        self._router.open += 1
        self._router.most_open = max(self._router.most_open, self._router.open)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._router.open -= 1

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("monitor", "secret")

    def session_requested(self) -> asyncssh.SSHServerProcess[str] | bool:
        self._sessions += 1
        if self._sessions > 1:
            return False
        return asyncssh.SSHServerProcess(self._router.handle, None, 3, False)


@asynccontextmanager
async def transport_to(router: Ios, directory: Path) -> AsyncIterator[SshTransport]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=lambda: _Login(router), server_host_keys=[key])
    port = server.get_port()
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    transport = SshTransport(SshSettings("127.0.0.1", "monitor", str(known_hosts), port, password="secret"))
    try:
        yield transport
    finally:
        await transport.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("farewell", ["status", "end", "none"])
async def test_every_question_has_a_connection_of_its_own(farewell: str, tmp_path: Path) -> None:
    router = Ios(farewell, answers("iosxe", "healthy"))
    async with transport_to(router, tmp_path) as transport:
        found = await take_snapshot("edge", iosxe, transport, QUERY, lambda: TAKEN_AT)
    assert found == snapshot("iosxe", "healthy")
    assert router.connections == len(router.asked) == len(iosxe.ask(QUERY))
    assert router.most_open <= LONE_CONNECTIONS


async def test_an_answer_cut_by_hanging_up_costs_its_part(tmp_path: Path) -> None:
    router = Ios("none", answers("iosxe", "healthy"), frozenset({ROUTE}))
    async with transport_to(router, tmp_path) as transport:
        found = await take_snapshot("edge", iosxe, transport, QUERY, lambda: TAKEN_AT)
    assert QUERY.vips[0] not in found.routes
    assert [problem.split(":")[0] for problem in found.problems] == [ROUTE]
    assert "closed the connection" in found.problems[0]


async def test_hanging_up_without_an_answer_is_an_error(tmp_path: Path) -> None:
    router = Ios("none", dict.fromkeys(answers("iosxe", "healthy"), Answer("")))
    async with transport_to(router, tmp_path) as transport:
        with pytest.raises(RouterError) as failed:
            await take_snapshot("edge", iosxe, transport, QUERY, time.time)
    assert failed.value.kind is ErrorKind.CLOSED


async def test_a_closed_transport_asks_no_more(tmp_path: Path) -> None:
    router = Ios("status", answers("iosxe", "healthy"))
    async with transport_to(router, tmp_path) as transport:
        await transport.close()
        with pytest.raises(RouterError):
            await transport.run(iosxe.ask(QUERY)[0], 5.0, 1 << 20)
    assert router.connections == 0
