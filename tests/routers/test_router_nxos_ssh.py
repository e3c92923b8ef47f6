"""Cisco NX-OS over the real SSH transport: whole lines go out as they are, and what a login adds does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from routers import nxos
from routers.model import NextHop, OracleFlow, Snapshot
from routers.nxos import oracle as nxos_oracle
from routers.reader import ask_oracle, take_snapshot
from routers.ssh import SshSettings, SshTransport
from tests.routers.captured import QUERY, TAKEN_AT, VIP, snapshot
from tests.routers.sshd import PASSWORD, Server, serving
from tests.routers.test_router_nxos_answers import Switch
from tests.routers.test_router_nxos_oracle import NODES
from tests.routers.test_router_nxos_oracle import Switch as Hashing

TIMEOUT = 4.0


def transport(server: Server) -> SshTransport:
    where = SshSettings("127.0.0.1", "monitor", str(server.known_hosts), server.port, password=PASSWORD)
    return SshTransport(where)


def answering(server: Server, answer: Callable[[str], str | None]) -> None:
    """Let the server print what `answer` says of a line; None: it says nothing and hangs."""

    async def handle(command: str, process: asyncssh.SSHServerProcess[bytes]) -> None:
        text = answer(command)
        if text is None:
            await asyncio.sleep(60)
            return
        process.stdout.write(text.encode())
        process.exit(0)

    server._answer = handle  # type: ignore[method-assign]


def said(line: str) -> str:
    switch = Switch()
    parts = line.split(" ; ")
    return "".join(f"{part[5:] if part.startswith('echo ') else switch.known[part]}\n" for part in parts)


async def read(directory: Path, answer: Callable[[str], str | None]) -> Snapshot:
    async with serving(directory) as server:
        answering(server, answer)
        ssh = transport(server)
        try:
            return await take_snapshot("edge", nxos, ssh, QUERY, lambda: TAKEN_AT, timeout_seconds=TIMEOUT)
        finally:
            await ssh.close()


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\r\nCisco Nexus Operating System\r\nedge# terminal dont-ask\r\n{text}\r\nedge# ",
    ],
    ids=["plain", "CRLF", "banner and prompt"],
)
async def test_a_poll(dress: Callable[[str], str], tmp_path: Path) -> None:
    assert await read(tmp_path, lambda line: dress(said(line))) == snapshot("nxos", "healthy")


async def test_a_slow_line_costs_its_own_part(tmp_path: Path) -> None:
    taken = await read(tmp_path, lambda line: None if "forwarding" in line else said(line))
    assert taken == snapshot("nxos", "healthy"), "the routing table stands for the forwarding table"


async def test_a_line_cut_in_the_middle(tmp_path: Path) -> None:
    def cut(line: str) -> str:
        return said(line)[: said(line).index("ECMP7\n") + 100] if "summary" in line else said(line)

    taken = await read(tmp_path, cut)
    assert taken.sessions == snapshot("nxos", "healthy").sessions
    assert all(problem.endswith("cut off") for problem in taken.problems)
    assert len(taken.problems) == 1, "those behind the cut were asked again"


async def test_the_oracle(tmp_path: Path) -> None:
    hashing = Hashing()

    def answer(line: str) -> str:
        parts = line.split(" ; ")
        return "".join(f"{part[5:] if part.startswith('echo ') else hashing.answer(part)}\n" for part in parts)

    flows = [OracleFlow("192.0.2.2", 20_000 + number, VIP, 443) for number in range(60)]
    async with serving(tmp_path) as server:
        answering(server, answer)
        ssh = transport(server)
        try:
            found = await ask_oracle(nxos_oracle, ssh, flows, has_shell=False)
        finally:
            await ssh.close()
    assert found == {flow: NextHop(NODES[number % 3]) for number, flow in enumerate(flows)}
