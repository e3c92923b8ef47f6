"""Commands run on this machine behind a prefix such as `ip netns exec router`, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, cast

from routers.model import Answer
from routers.transport import (
    PARALLEL_COMMANDS,
    ErrorKind,
    OutputLimit,
    RouterError,
    read_all,
    timed_out,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routers.model import Command


class ExecTransport:
    """Runs each command as a process group of its own, which is killed and reaped whatever happens."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._prefix = tuple(prefix)
        self._slots = asyncio.Semaphore(PARALLEL_COMMANDS)

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        """See `Transport.run`."""
        try:
            async with asyncio.timeout(timeout_seconds), self._slots:
                return await self._run(command, OutputLimit(command, max_bytes))
        except TimeoutError as error:
            raise timed_out(command, timeout_seconds) from error

    async def close(self) -> None:
        """Nothing outlives a call of `run`."""

    async def _run(self, command: Command, limit: OutputLimit) -> Answer:
        process = await self._start(command)
        try:
            stdout, stderr, _ = await together(
                read_all(cast("asyncio.StreamReader", process.stdout), limit),
                read_all(cast("asyncio.StreamReader", process.stderr), limit),
                _feed(cast("asyncio.StreamWriter", process.stdin), command.stdin),
            )
            status = await process.wait()
        finally:
            await _end(process)
        return Answer(
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
            exit_status=status,
        )

    async def _start(self, command: Command) -> asyncio.subprocess.Process:
        argv = (*self._prefix, *command.argv)
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise RouterError(f"{argv[0]} is not installed here", ErrorKind.NOT_FOUND) from error
        except OSError as error:
            raise RouterError(f"cannot start {argv[0]}: {error.strerror}", ErrorKind.REFUSED) from error


async def _feed(stream: asyncio.StreamWriter, text: str | None) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the command need not read it
        if text:
            stream.write(text.encode())
            await stream.drain()
    stream.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process group, children included, and reap its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
