from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from routers.model import Answer, Command
from routers.ssh import SshSettings, SshTransport
from routers.transport import PARALLEL_COMMANDS, ErrorKind, RouterError
from tests.routers.sshd import PASSWORD, Server, serving, write_key

LIMIT = 1_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as running:
        yield running


def settings(server: Server, **changes: Any) -> SshSettings:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "username": "monitor",
        "known_hosts": str(server.known_hosts),
        "client_keys": (str(server.client_key),),
    }
    return SshSettings(**values | changes)


@pytest.fixture
async def transport(server: Server) -> AsyncIterator[SshTransport]:
    made = SshTransport(settings(server))
    yield made
    await made.close()


def command(*argv: str, stdin: str | None = None) -> Command:
    return Command(argv[0], argv, stdin=stdin)


async def refusal(chosen: SshSettings, timeout_seconds: float = 5) -> RouterError:
    transport = SshTransport(chosen)
    try:
        with pytest.raises(RouterError) as caught:
            await transport.run(command("show"), timeout_seconds, LIMIT)
    finally:
        await transport.close()
    return caught.value


async def test_one_connection_carries_many_commands(server: Server, transport: SshTransport) -> None:
    answers = await asyncio.gather(*(transport.run(command("show", str(n)), 5, LIMIT) for n in range(12)))
    assert answers == [Answer(stdout=f"show {n}", stderr="complaint") for n in range(12)]
    assert len(server.connections) == 1
    assert 1 < server.most_running <= PARALLEL_COMMANDS


async def test_arguments_are_quoted_and_input_is_sent(server: Server, transport: SshTransport) -> None:
    await transport.run(command("vtysh", "-c", "show bgp; reboot"), 5, LIMIT)
    assert server.commands == ["vtysh -c 'show bgp; reboot'"]
    text = "route get 203.0.113.10\n" * 5000
    assert (await transport.run(command("cat", stdin=text), 5, LIMIT)).stdout == text


async def test_a_failing_command_is_an_answer(transport: SshTransport) -> None:
    assert await transport.run(command("fail"), 5, LIMIT) == Answer("fail", "complaint", 3)


async def test_password_login_that_never_shows(server: Server) -> None:
    chosen = settings(server, client_keys=(), password=PASSWORD)
    transport = SshTransport(chosen)
    assert (await transport.run(command("show"), 5, LIMIT)).stdout == "show"
    await transport.close()
    assert PASSWORD not in repr(chosen)
    error = await refusal(settings(server, client_keys=(), password="wrong horse"))
    assert error.kind is ErrorKind.AUTHENTICATION
    assert "wrong horse" not in str(error)


async def test_refused_login_names_the_user(server: Server, tmp_path: Path) -> None:
    write_key(tmp_path / "other")
    error = await refusal(settings(server, client_keys=(str(tmp_path / "other"),)))
    assert error.kind is ErrorKind.AUTHENTICATION
    assert "refuses the login of user 'monitor'" in str(error)


async def test_unknown_host_key(server: Server) -> None:
    server.known_hosts.write_text("")
    error = await refusal(settings(server))
    assert error.kind is ErrorKind.HOST_KEY
    assert f"is unknown: add the output of `ssh-keyscan -p {server.port} 127.0.0.1`" in str(error)


async def test_changed_host_key(server: Server) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {other}")
    error = await refusal(settings(server))
    assert error.kind is ErrorKind.HOST_KEY
    assert f"`ssh-keygen -R [127.0.0.1]:{server.port}" in str(error)
    assert server.commands == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the known_hosts file .*: No such file"),
        ("127.0.0.1\n", "the known_hosts file .* is broken"),
    ],
)
async def test_bad_known_hosts_file(server: Server, content: str | None, message: str) -> None:
    server.known_hosts.unlink()
    if content is not None:
        server.known_hosts.write_text(content)
    error = await refusal(settings(server))
    assert error.kind is ErrorKind.KEY_FILE
    assert re.search(message, str(error))


async def test_locked_client_key(server: Server, tmp_path: Path) -> None:
    write_key(tmp_path / "locked", passphrase="a secret")
    error = await refusal(settings(server, client_keys=(str(tmp_path / "locked"),)))
    assert error.kind is ErrorKind.KEY_FILE
    assert f"{tmp_path / 'locked'} is protected by a passphrase" in str(error)
    assert "ssh-agent" in str(error)


async def test_missing_and_broken_client_key(server: Server, tmp_path: Path) -> None:
    missing = await refusal(settings(server, client_keys=(str(tmp_path / "none"),)))
    assert (missing.kind, "No such file" in str(missing)) == (ErrorKind.KEY_FILE, True)
    (tmp_path / "broken").write_text("not a key")
    broken = await refusal(settings(server, client_keys=(str(tmp_path / "broken"),)))
    assert (broken.kind, "no private key" in str(broken)) == (ErrorKind.KEY_FILE, True)


async def test_nobody_listens(server: Server, unused_tcp_port: int) -> None:
    error = await refusal(settings(server, port=unused_tcp_port))
    assert error.kind is ErrorKind.UNREACHABLE
    assert f"cannot connect to 127.0.0.1 port {unused_tcp_port}: " in str(error)


async def test_a_hanging_command_costs_its_time_only(server: Server, transport: SshTransport) -> None:
    await transport.run(command("show"), 5, LIMIT)  # the time for the login is not what is tested
    started = time.monotonic()
    with pytest.raises(RouterError, match=r"no complete answer to 'hang' within 1 s") as caught:
        await transport.run(command("hang"), 1, LIMIT)
    assert caught.value.kind is ErrorKind.TIMEOUT
    assert time.monotonic() - started < 5
    assert (await transport.run(command("show"), 5, LIMIT)).stdout == "show"
    assert len(server.connections) == 1
    assert server.signals == ["KILL"]


async def test_a_silent_server_costs_the_timeout_and_leaves_nothing(server: Server) -> None:
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    before = asyncio.all_tasks()
    transport = SshTransport(settings(server, port=port))
    calls = [transport.run(command("show"), 0.3, LIMIT) for _ in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {one.kind for one in results if isinstance(one, RouterError)} == {ErrorKind.TIMEOUT}
    assert len(results) == 6
    silent.close()
    await silent.wait_closed()
    while leftover := [task for task in asyncio.all_tasks() - before if "_say_nothing" in repr(task)]:
        await asyncio.gather(*leftover)
    assert asyncio.all_tasks() == before
    await transport.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_the_connect_timeout_has_its_own_words(server: Server) -> None:
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    error = await refusal(settings(server, port=port, connect_timeout_seconds=0.2))
    assert error.kind is ErrorKind.UNREACHABLE
    assert str(error) == f"cannot connect to 127.0.0.1 port {port} within 0.2 s"
    silent.close()
    await silent.wait_closed()


async def test_endless_output_is_cut_off(server: Server, transport: SshTransport) -> None:
    with pytest.raises(RouterError, match="longer than 100000 bytes") as caught:
        await transport.run(command("endless"), 10, 100_000)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert (await transport.run(command("show"), 5, LIMIT)).stdout == "show"
    assert len(server.connections) == 1


async def test_a_connection_dropped_in_mid_command_is_made_again(server: Server, transport: SshTransport) -> None:
    server.drop_next = 1
    assert (await transport.run(command("drop"), 5, LIMIT)).stdout == "drop"
    assert len(server.connections) == 2


async def test_a_router_that_always_drops_is_asked_twice(server: Server, transport: SshTransport) -> None:
    server.drop_next = 100
    with pytest.raises(RouterError, match="closed the connection") as caught:
        await transport.run(command("drop"), 5, LIMIT)
    assert caught.value.kind is ErrorKind.CLOSED
    assert len(server.connections) == 2


async def test_a_connection_that_died_in_between(server: Server, transport: SshTransport) -> None:
    await transport.run(command("show"), 5, LIMIT)
    server.connections[0].abort()
    assert (await transport.run(command("show"), 5, LIMIT)).stdout == "show"
    assert len(server.connections) == 2


async def test_close_is_final(server: Server, transport: SshTransport) -> None:
    await transport.run(command("show"), 5, LIMIT)
    await transport.close()
    await transport.close()
    with pytest.raises(RouterError, match="was given up here"):
        await transport.run(command("show"), 5, LIMIT)
    assert len(server.connections) == 1


@pytest.mark.parametrize("waiting_for", ["connection", "answer"])
async def test_close_in_mid_command(server: Server, waiting_for: str) -> None:
    """Whoever waits is told, neither cancelled nor connected anew."""
    transport = SshTransport(settings(server))
    if waiting_for == "answer":
        await transport.run(command("show"), 5, LIMIT)
    task = asyncio.create_task(transport.run(command("hang"), 5, LIMIT))
    await asyncio.sleep(0)
    if waiting_for == "answer":
        await asyncio.wait_for(server.hanging.wait(), 5)
    await transport.close()
    with pytest.raises(RouterError, match="was given up here"):
        await task
    assert len(server.connections) <= 1


async def test_a_caller_that_leaves_does_not_disturb_the_others(server: Server) -> None:
    transport = SshTransport(settings(server))
    leaving, staying = (asyncio.create_task(transport.run(command("show"), 5, LIMIT)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).stdout == "show"
    assert len(server.connections) == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await transport.close()


async def test_a_home_directory_that_may_not_be_read_is_left_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service is often started with the HOME of another user; asyncssh looks for certificates there by default."""

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    transport = SshTransport(settings(server))
    try:
        assert (await transport.run(command("show"), 5, LIMIT)).exit_status == 0
    finally:
        await transport.close()


async def test_who_comes_while_an_attempt_is_given_up_is_told_so(server: Server) -> None:
    """An attempt that timed out is being ended; whoever joins it then is not cancelled with it."""
    transport = SshTransport(settings(server))
    attempt = asyncio.create_task(asyncio.sleep(60))
    transport._attempt = attempt  # type: ignore[assignment]
    joined = asyncio.create_task(transport.run(command("show"), 5, LIMIT))
    await asyncio.sleep(0.05)
    attempt.cancel()
    with pytest.raises(RouterError, match="was given up here"):
        await joined
    await transport.close()


async def test_an_answer_without_an_end_is_cut_where_others_have_one(transport: SshTransport) -> None:
    """A server need not tell an exit status (RFC 4254 section 6.10); one that does tells it of every command."""
    assert (await transport.run(command("half"), 5, LIMIT)).stdout == "half an ans"
    await transport.run(command("show"), 5, LIMIT)
    with pytest.raises(RouterError, match="broke its answer to 'half' off") as caught:
        await transport.run(command("half"), 5, LIMIT)
    assert caught.value.kind is ErrorKind.CLOSED
    assert (await transport.run(command("show"), 5, LIMIT)).stdout == "show"
