"""Logins on servers that misbehave."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from probes import ssh_login
from probes.facts import SshFacts
from probes.model import Failure
from tests.probes.openssh import make_key
from tests.probes.servers import (
    close_at_once,
    closed_port,
    dripping,
    open_descriptors,
    reset_at_once,
    saying,
    serving,
    silent,
)
from tests.probes.ssh_logins import OTHER_KEY, USER, Login, Odd, failed, module, odd, probe
from tests.probes.test_ssh_hostkey import kexinit, packet

if TYPE_CHECKING:
    from pathlib import Path

    from probes.table import Probers
    from tests.probes.servers import Handler
    from tests.probes.ssh_logins import Process


async def test_an_odd_server_that_is_well(probers: Probers, tmp_path: Path) -> None:
    async with odd(tmp_path, server_version="Odd_1") as server:
        server.greeting = "Trespassers\x1b[1m will be shot\r\n"
        outcome = await probe(probers, server.port, server.module({"command": "anything"}))
    assert outcome.success, outcome.detail
    assert outcome.facts.ssh == SshFacts("2.0", "Odd_1", "", server.fingerprint, host_key_expected=True)
    assert any(r"server says before the login: Trespassers\x1b[1m will" in line for line in outcome.transcript)


async def test_it_lets_nobody_in(probers: Probers, tmp_path: Path) -> None:
    async def no() -> bool:
        return False

    async with odd(tmp_path) as server:
        server.lets_in = no
        outcome = await probe(probers, server.port, server.module())
    assert failed(outcome) == (Failure.EXPECTATION, f"server refuses the login of user {USER} with this key")


async def test_it_hangs_at_the_login(probers: Probers, tmp_path: Path) -> None:
    async def later() -> bool:
        await asyncio.sleep(30)
        return True

    async with odd(tmp_path) as server:
        server.lets_in = later
        outcome = await probe(probers, server.port, server.module(), seconds=2.0)
    assert failed(outcome) == (Failure.TIMEOUT, "login: no end within 2 s")


@pytest.mark.parametrize("command", ["hang", "drip"])
async def test_it_hangs_after_the_login(probers: Probers, tmp_path: Path, command: str) -> None:
    signals: list[str] = []
    gone = asyncio.Event()

    async def handle(process: Process) -> None:
        try:
            while True:
                if process.command == "drip":
                    process.stdout.write(b".")
                    await process.stdout.drain()
                    await asyncio.sleep(0.05)
                else:
                    await process.stdin.read()
                    await asyncio.sleep(0)
        except asyncssh.SignalReceived as received:
            signals.append(received.signal)
        except OSError:
            pass
        finally:
            gone.set()

    async with odd(tmp_path, handle) as server:
        outcome = await probe(probers, server.port, server.module({"command": command}), seconds=2.0)
        async with asyncio.timeout(20):
            await gone.wait()
    assert failed(outcome) == (Failure.TIMEOUT, "command: no end within 2 s")
    assert outcome.phases.keys() == {"connect", "banner", "processing", "login"}


async def test_endless_output(probers: Probers, tmp_path: Path) -> None:
    written = 0

    async def handle(process: Process) -> None:
        nonlocal written
        while True:
            process.stderr.write(bytes(32_768))
            await process.stderr.drain()
            written += 32_768

    async with odd(tmp_path, handle) as server:
        outcome = await probe(probers, server.port, server.module({"command": "x"}))
    assert failed(outcome) == (Failure.EXPECTATION, "the command printed more than 65536 bytes")
    assert written < 4_000_000  # it was held back


@pytest.mark.parametrize(
    ("end", "failure", "detail"),
    [
        ("no status", Failure.EXPECTATION, "the command ended without an exit status: said"),
        ("status", Failure.EXPECTATION, "the command ended with status 1: said"),
        ("lost", Failure.CLOSED, "command: server ended the connection: "),
        ("disconnect", Failure.CLOSED, "command: server ended the connection: too busy"),
    ],
)
async def test_ends_of_a_command(probers: Probers, tmp_path: Path, end: str, failure: Failure, detail: str) -> None:
    async def handle(process: Process) -> None:
        process.stdout.write(b"said")
        await process.stdout.drain()
        connection = process.channel.get_connection()
        if end == "no status":
            process.close()
        elif end == "status":
            process.exit(1)
        elif end == "lost":
            connection.abort()
        else:
            connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, "too busy")

    async with odd(tmp_path, handle) as server:
        outcome = await probe(probers, server.port, server.module({"command": "x"}))
    assert outcome.failure in (failure, Failure.RESET if end == "lost" else failure)
    assert outcome.detail.startswith(detail) or outcome.failure is Failure.RESET


async def test_it_has_no_sessions(probers: Probers, tmp_path: Path) -> None:
    class Nobody(Login):
        def session_requested(self) -> bool:
            return False

    server = Odd(tmp_path)
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: Nobody(server), server_host_keys=[server.host_key]
    )
    async with listener:
        outcome = await probe(probers, listener.get_port(), server.module({"command": "x"}))
        assert (await probe(probers, listener.get_port(), server.module())).success
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.startswith("server refuses to run a command: ")


async def test_the_host_key_changes_between_probes(probers: Probers, tmp_path: Path) -> None:
    async with odd(tmp_path) as server:
        asked = server.module()
        assert (await probe(probers, server.port, asked)).success
        other = asyncssh.generate_private_key("ssh-ed25519")
    server.host_key = other
    listener = await asyncssh.listen(
        "127.0.0.1", server.port, server_factory=lambda: Login(server), server_host_keys=[other], reuse_address=True
    )
    async with listener:
        outcome = await probe(probers, server.port, asked)
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.startswith(f"host key {server.fingerprint} (ssh-ed25519) is not one of host_keys")


async def test_the_host_key_changes_within_a_session(probers: Probers, tmp_path: Path) -> None:
    """A server may exchange keys anew at any time, and then show another host key."""
    other = asyncssh.load_keypairs([asyncssh.generate_private_key("ssh-ed25519")])[0]

    async def handle(process: Process) -> None:
        connection: Any = process.channel.get_connection()
        connection._server_host_keys[b"ssh-ed25519"] = other
        connection._server_host_key = other
        for _ in range(200):
            process.stdout.write(bytes(16))
            await process.stdout.drain()
            await asyncio.sleep(0.01)
        process.exit(0)

    async with odd(tmp_path, handle, rekey_bytes=512) as server:
        outcome = await probe(probers, server.port, server.module({"command": "x"}))
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.startswith("host key SHA256:")
    assert server.fingerprint in outcome.detail.partition("is not one of")[2]
    assert outcome.facts.ssh is not None
    assert outcome.facts.ssh.host_key == server.fingerprint


BANNER = b"SSH-2.0-a\r\n"
KINDS = (1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 53, 60, 80, 90, 100)


@pytest.mark.parametrize(
    ("handler", "failure", "detail"),
    [
        (close_at_once, Failure.CLOSED, "server closed before its identification string"),
        (saying(b"Exceeded MaxStartups\r\n"), Failure.CLOSED, "Exceeded MaxStartups"),
        (reset_at_once, Failure.RESET, "identification string: Connection reset by peer"),
        (saying(b"SSH-1.5-old\r\n"), Failure.PROTOCOL, "neither 2.0 nor 1.99"),
        (saying(b"\x00\xff\x01garbage"), Failure.PROTOCOL, "\\x00\\xff\\x01garbage"),
        (saying(b"a" * 20_000), Failure.PROTOCOL, "more than 8192 bytes"),
        (saying(BANNER + b"garbage, and more of it than a block holds"), Failure.PROTOCOL, "key exchange: "),
        (saying(BANNER + b"\xff" * 400), Failure.PROTOCOL, "key exchange: "),
        (saying(BANNER), Failure.CLOSED, "key exchange: server ended the connection"),
    ],
    ids=["closed", "words", "reset", "version", "garbage", "flood", "text", "ones", "banner only"],
)
async def test_no_ssh_server(probers: Probers, tmp_path: Path, handler: Handler, failure: Failure, detail: str) -> None:
    await make_key(tmp_path / "id")
    async with serving(handler) as port:
        outcome = await probe(probers, port, module(tmp_path / "id", host_keys=[OTHER_KEY]))
    assert outcome.connected
    # A server that closes with our identification unread may be seen to reset.
    assert outcome.failure is failure or outcome.failure is Failure.RESET
    assert detail in outcome.detail or outcome.failure is not failure


@pytest.mark.parametrize(
    ("handler", "step"),
    [(silent, "identification string"), (dripping(BANNER * 90, 0.05), "identification string")],
    ids=["silent", "drip"],
)
async def test_it_never_gets_on(probers: Probers, tmp_path: Path, handler: Handler, step: str) -> None:
    await make_key(tmp_path / "id")
    async with serving(handler) as port:
        outcome = await probe(probers, port, module(tmp_path / "id", host_keys=[OTHER_KEY]), seconds=0.3)
    assert failed(outcome) == (Failure.TIMEOUT, f"{step}: no end within 0.3 s")


async def test_endless_data_ends(probers: Probers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_login, "MOST_BYTES", 100_000)
    await make_key(tmp_path / "id")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(BANNER)
        ignored = b"\x04" + bytes(1000)
        while True:
            writer.write((len(ignored) + 7).to_bytes(4, "big") + b"\x06" + ignored + bytes(6))
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(handler) as port:
        outcome = await probe(probers, port, module(tmp_path / "id", host_keys=[OTHER_KEY]))
    assert outcome.failure is Failure.PROTOCOL


@pytest.mark.parametrize("seed", range(40))
async def test_hostile_messages(probers: Probers, tmp_path: Path, seed: int) -> None:
    """Well framed, and nonsense inside: whatever asyncssh trips over is the server's fault."""
    random = Random(seed)  # noqa: S311 - reproducible nonsense, not a secret
    await make_key(tmp_path / "id")
    nonsense = [packet(bytes([random.choice(KINDS)]) + random.randbytes(random.randrange(300))) for _ in range(3)]
    sound = kexinit() if random.random() < 0.5 else b""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER + sound + b"".join(nonsense))
        while await reader.read(4096):
            pass

    async with serving(handler) as port:
        outcome = await probe(probers, port, module(tmp_path / "id", host_keys=[OTHER_KEY]), seconds=1.0)
    assert outcome.failure in {Failure.PROTOCOL, Failure.CLOSED, Failure.TIMEOUT, Failure.EXPECTATION}
    assert outcome.detail.isascii()
    assert len(outcome.detail) < 300


async def test_a_name_that_cannot_be_sent(probers: Probers, tmp_path: Path) -> None:
    await make_key(tmp_path / "id")
    async with serving(silent) as port:
        await probe(probers, port, module(tmp_path / "id", host_keys=[OTHER_KEY]), seconds=0.1)
        before = open_descriptors()
        outcome = await probe(probers, port, module(tmp_path / "id", {"username": "\u0627a"}, host_keys=[OTHER_KEY]))
        assert outcome.failure is Failure.LOCAL
        assert outcome.detail.startswith("this machine cannot log in: ")
        assert open_descriptors() <= before + 1  # the server's side may live a moment longer


async def test_refused(probers: Probers, tmp_path: Path) -> None:
    await make_key(tmp_path / "id")
    outcome = await probe(probers, closed_port(), module(tmp_path / "id", host_keys=[OTHER_KEY]))
    assert outcome.failure is Failure.REFUSED
    assert not outcome.connected


async def test_leaks_nothing(probers: Probers, tmp_path: Path) -> None:
    async def handle(process: Process) -> None:
        await process.channel.wait_closed()

    async with odd(tmp_path, handle) as server:
        asked = server.module({"command": "hang"})
        await probe(probers, server.port, asked, seconds=1.0)
        for connection in server.connections:
            connection.abort()
        before, tasks = open_descriptors(), len(asyncio.all_tasks())
        probes = [asyncio.create_task(probe(probers, server.port, asked)) for _ in range(10)]
        await asyncio.sleep(0.3)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for connection in server.connections:
            connection.abort()
        async with asyncio.timeout(20):
            while open_descriptors() > before or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 - the server's side
                await asyncio.sleep(0.02)
