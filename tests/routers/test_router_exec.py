from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from routers.exec import ExecTransport
from routers.model import Answer, Command
from routers.transport import ErrorKind, RouterError

LIMIT = 1_000_000


def script(text: str, stdin: str | None = None) -> Command:
    return Command("script", ("sh", "-c", text), stdin=stdin)


async def test_an_answer_carries_output_and_status() -> None:
    answer = await ExecTransport().run(script("cat; echo oops >&2; exit 3", "hello\n"), 5, LIMIT)
    assert answer == Answer(stdout="hello\n", stderr="oops\n", exit_status=3)


async def test_the_prefix_comes_first() -> None:
    answer = await ExecTransport(["env", "GREETING=good day"]).run(script('echo "$GREETING"'), 5, LIMIT)
    assert answer.stdout == "good day\n"


async def test_input_that_nobody_reads() -> None:
    answer = await ExecTransport().run(script("exec 0<&-; echo done", "x" * 2_000_000), 5, LIMIT)
    assert answer.stdout == "done\n"


async def test_bytes_that_are_no_text() -> None:
    answer = await ExecTransport().run(script(r"printf '\377\n'"), 5, LIMIT)
    assert answer.stdout == "\ufffd\n"


async def test_a_hanging_command_dies_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(f"sleep 600 & echo $! $$ > {pids}; wait")
    started = time.monotonic()
    with pytest.raises(RouterError, match=r"no complete answer to 'script' within 0.5 s") as caught:
        await ExecTransport().run(command, 0.5, LIMIT)
    assert caught.value.kind is ErrorKind.TIMEOUT
    assert time.monotonic() - started < 5
    for pid in pids.read_text().split():
        _wait(lambda pid=int(pid): _gone(pid))  # type: ignore[misc]


async def test_cancellation_kills_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(
        ExecTransport().run(script(f"echo $$ > {pids}.new; mv {pids}.new {pids}; sleep 600"), 60, LIMIT)
    )
    await asyncio.to_thread(_wait, pids.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _gone(int(pids.read_text()))


@pytest.mark.parametrize("turns", range(2, 8))
async def test_cancellation_while_the_command_starts(turns: int, tmp_path: Path) -> None:
    """The process runs already, and asyncio still connects its pipes, one turn of the event loop after another."""
    pids = tmp_path / "pids"
    command = script(f"sleep 600 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait")
    task = asyncio.create_task(ExecTransport().run(command, 60, LIMIT))
    for _ in range(turns):
        await asyncio.sleep(0)
    _wait(pids.exists)  # meanwhile the event loop stands still
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    for pid in pids.read_text().split():
        _wait(lambda pid=int(pid): _gone(pid))  # type: ignore[misc]


def _gone(pid: int) -> bool:
    """An orphan is reaped by init, some moments after it was killed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_endless_output_is_cut_off(stream: str) -> None:
    started = time.monotonic()
    with pytest.raises(RouterError, match="longer than 100000 bytes") as caught:
        await ExecTransport().run(script(f"exec yes >&{stream}"), 30, 100_000)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert time.monotonic() - started < 10


async def test_a_daemon_that_keeps_the_pipe_open_costs_the_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(RouterError, match="no complete answer"):
        await ExecTransport().run(script("setsid sleep 8 & exit"), 0.3, LIMIT)
    assert time.monotonic() - started < 5


async def test_a_process_that_may_not_be_killed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.killpg", refuse)
    monkeypatch.setattr("subprocess.Popen.kill", refuse)
    started = time.monotonic()
    with pytest.raises(RouterError, match="no complete answer"):
        await ExecTransport().run(script("sleep 1.5"), 0.2, LIMIT)
    assert time.monotonic() - started < 1.3
    await asyncio.sleep(1.5)  # the process ends by itself, while its event loop still runs


async def test_a_missing_command_is_named() -> None:
    with pytest.raises(RouterError, match="vtysh-of-nowhere is not installed here") as caught:
        await ExecTransport().run(Command("sessions", ("vtysh-of-nowhere", "-c", "x")), 5, LIMIT)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    with pytest.raises(RouterError, match=r"cannot start .*plain: Permission denied") as caught:
        await ExecTransport().run(Command("plain", (str(plain),)), 5, LIMIT)
    assert caught.value.kind is ErrorKind.REFUSED


async def test_many_commands_run_a_few_at_a_time() -> None:
    transport = ExecTransport([sys.executable, "-c", "import os; print(os.getpid())"])
    answers = await asyncio.gather(*(transport.run(Command(str(n), ()), 30, LIMIT) for n in range(8)))
    assert len({answer.stdout for answer in answers}) == 8
    assert str(os.getpid()) + "\n" not in {answer.stdout for answer in answers}
    await transport.close()
