"""Commands run on this machine behind a prefix such as `ip netns exec router`, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, cast

from routers.model import Answer
from routers.transport import PARALLEL_COMMANDS, ErrorKind, OutputLimit, RouterError, timed_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routers.model import Command

STDIN, STDOUT, STDERR = 0, 1, 2


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
        process = await self._start(command, _Process(limit))
        try:
            process.feed(command.stdin)
            await process.finished
        finally:
            await process.end()
        return process.answer()

    async def _start(self, command: Command, process: _Process) -> _Process:
        argv = (*self._prefix, *command.argv)
        loop = asyncio.get_running_loop()
        starting = asyncio.ensure_future(loop.subprocess_exec(lambda: process, *argv, start_new_session=True))
        try:
            await _in_full(starting)
        except asyncio.CancelledError:
            if process.started:
                await process.end()
            raise
        except FileNotFoundError as error:
            raise RouterError(f"{argv[0]} is not installed here", ErrorKind.NOT_FOUND) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RouterError(f"cannot start {argv[0]}: {reason}", ErrorKind.REFUSED) from error
        return process


async def _in_full(task: asyncio.Task[Any]) -> None:
    """Wait for a task; a cancellation meanwhile is raised once the task is done.

    When asyncio is cancelled while it starts a process, it kills the leader alone and then waits for all who
    hold its pipes, such as the leader's children.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from task.exception()
    task.result()


class _Process(asyncio.SubprocessProtocol):
    """A running command. asyncio's own Process cannot be waited for while unread output fills a pipe."""

    def __init__(self, limit: OutputLimit) -> None:
        loop = asyncio.get_running_loop()
        self.started = False
        self.finished: asyncio.Future[None] = loop.create_future()  # exited, and all output is here
        self._exited: asyncio.Future[None] = loop.create_future()
        self._output = {STDOUT: bytearray(), STDERR: bytearray()}
        self._limit = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.started = True

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.finished.done():
            return
        try:
            self._output[fd] += self._limit.take(data)
        except RouterError as error:
            self.finished.set_exception(error)

    def process_exited(self) -> None:
        if not self._exited.done():  # whoever waited for it may have been cancelled
            self._exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.finished.done():
            self.finished.set_result(None)

    def feed(self, text: str | None) -> None:
        """Write the whole input and close it; a command that does not read it does no harm."""
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(STDIN))
        if text:
            stdin.write(text.encode())
        stdin.close()

    async def end(self) -> None:
        """Reap the leader; if it did not come to its end, kill the process group, children included.

        A process of another user (sudo as prefix) cannot be killed: it loses its pipes and is not waited for.
        """
        ours = True
        if not self.finished.done() or self.finished.cancelled() or self.finished.exception():
            with contextlib.suppress(ProcessLookupError):
                ours = self._kill()
        with contextlib.suppress(PermissionError):
            self._transport.close()
        if ours:
            await self._exited

    def _kill(self) -> bool:
        try:
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        except PermissionError:
            return False
        return True

    def answer(self) -> Answer:
        stdout, stderr = (bytes(self._output[fd]).decode(errors="replace") for fd in (STDOUT, STDERR))
        return Answer(stdout=stdout, stderr=stderr, exit_status=self._transport.get_returncode() or 0)
