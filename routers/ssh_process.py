"""One command on an SSH connection: its streams read to their end, which not every router marks."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from routers.model import Answer, Command

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from routers.transport import OutputLimit

READ_CHUNK = 65_536


class _Process(asyncssh.SSHClientProcess[bytes]):
    """Remembers whether the server said that the answer is complete; asyncssh says so itself of what was lost."""

    whole = False
    _lost = False

    def eof_received(self) -> bool:
        self.whole = self.whole or not self._lost
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)


async def execute(
    connection: asyncssh.SSHClientConnection, command: Command, limit: OutputLimit
) -> tuple[Answer, bool]:
    """Run a command to its end on a connection: its answer, and whether the router told how it ended. Raises what
    asyncssh does, and RouterError beyond the limit.
    """
    _, session = await connection.create_session(_Process, _line(command), encoding=None)
    process = cast("_Process", session)
    try:
        with contextlib.suppress(BrokenPipeError):  # the command need not read its input
            if command.stdin:
                process.stdin.write(command.stdin.encode())
            process.stdin.write_eof()
        streams = (process.stdout, process.stderr)
        stdout, stderr = await _together(*(_read_all(one, limit, until_lost=command.alone) for one in streams))
        await process.wait_closed()
    except BaseException:
        with contextlib.suppress(OSError):  # without a signal OpenSSH lets a silent command run on
            process.kill()
        raise
    finally:
        process.close()
    # One that answers and hangs up may do so without a word: then only an answer that ends with its line can be whole.
    whole = process.whole or (command.alone and stdout.endswith(b"\n"))
    if connection.is_closed() and process.returncode is None and not whole:
        raise asyncssh.ConnectionLost("in the middle of an answer")
    answer = Answer(
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        exit_status=process.returncode or 0,  # RFC 4254 section 6.10: a server need not send it
        ended=process.whole or process.returncode is not None,
    )
    return answer, process.returncode is not None


def _line(command: Command) -> str:
    return " ".join(command.argv) if command.raw else shlex.join(command.argv)


async def _read_all(stream: asyncssh.SSHReader[bytes], limit: OutputLimit, *, until_lost: bool) -> bytes:
    chunks = bytearray()
    with contextlib.suppress(*((asyncssh.DisconnectError, ConnectionError) if until_lost else ())):
        while chunk := await stream.read(READ_CHUNK):
            chunks += limit.take(chunk)
    return bytes(chunks)


async def _together(*work: Coroutine[Any, Any, bytes]) -> list[bytes]:
    """Like asyncio.gather, but the first failure ends the others before it is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
