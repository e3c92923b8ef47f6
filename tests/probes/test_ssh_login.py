"""Logins: a real OpenSSH, and asyncssh servers that misbehave."""

from __future__ import annotations

import asyncio
import getpass
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from probes import ssh_files, ssh_login
from probes.facts import SshFacts
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ssh_files import LoginFiles
from probes.ssh_module import SshModule
from tests.probes.openssh import login_settings, make_key, running
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from probes.ports import Source
    from probes.table import Probers
    from tests.probes.servers import Handler

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


# --- OpenSSH


async def test_openssh(probers: Probers, tmp_path: Path, source: Source) -> None:
    key = tmp_path / "id"
    settings = login_settings(tmp_path, await make_key(key))
    async with running(tmp_path, ["ed25519", "rsa"], level="INFO", settings=settings) as sshd:
        mine = await sshd.fingerprint("ed25519")
        asked = module(
            key,
            {"command": "echo hello; echo trouble >&2", "expect_output": "hello\n"},
            host_keys=[OTHER_KEY, mine],
            expect_banner="OpenSSH",
        )
        outcome = await probe(probers, sshd.port, asked, source=source, identity=Identity("host_key", ""))
        assert outcome.success, outcome.detail
        assert outcome.identity == mine
        assert outcome.flow == Flow("127.0.0.1", sshd.port, *source)
        assert list(outcome.phases) == ["connect", "banner", "processing", "login", "transfer"]
        assert outcome.duration_seconds >= sum(outcome.phases.values())
        assert outcome.facts.ssh is not None
        assert outcome.facts.ssh.software.startswith("OpenSSH_")
        assert outcome.facts.ssh.host_key == mine
        assert outcome.facts.tcp is not None
        text = "\n".join(outcome.transcript)
        for step in ("connected from", "identification: SSH-2.0-", f"host key {mine}", "logged in", "status 0"):
            assert step in text
        only = await probe(probers, sshd.port, module(key, host_keys=[mine]))
        assert only.success, only.detail
        assert list(only.phases) == ["connect", "banner", "processing", "login"]
        rsa = await probe(
            probers, sshd.port, module(key, host_key="ssh-rsa", host_keys=[await sshd.fingerprint("rsa")])
        )
        assert rsa.success, rsa.detail
        log = await sshd.logged("Disconnected from user", 3)
    assert f"Accepted publickey for {USER} from {source.address} port {source.port}" in log
    assert not re.search(r"error|fatal|reset|Broken pipe", log)


@pytest.mark.parametrize(
    ("login", "detail"),
    [
        ({"command": "echo no; exit 3"}, r"the command ended with status 3: no\x0a"),
        ({"command": "kill -9 $$"}, "the command ended by signal KILL"),
        ({"command": "yes"}, "the command printed more than 65536 bytes"),
        (
            {"command": "echo 1.21", "expect_output": "^1.22"},
            r"what the command printed does not match expect_output ^1.22: 1.21\x0a",
        ),
        ({"command": "true", "username": "nobody-at-all"}, "server refuses the login of user nobody-at-all"),
    ],
    ids=["status", "signal", "endless", "output", "user"],
)
async def test_openssh_does_not_do_as_expected(
    probers: Probers, tmp_path: Path, login: dict[str, object], detail: str
) -> None:
    key = tmp_path / "id"
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        outcome = await probe(probers, sshd.port, module(key, login, host_keys=[await sshd.fingerprint("ed25519")]))
        assert outcome.failure is Failure.EXPECTATION
        assert outcome.detail.startswith(detail)
        assert outcome.connected
        log = await sshd.logged(
            "Connection closed by invalid user" if "username" in login else "Disconnected from user"
        )
    assert not re.search(r"reset|Broken pipe", log)


async def test_openssh_knows_another_key(probers: Probers, tmp_path: Path) -> None:
    key, other = tmp_path / "id", tmp_path / "other"
    await make_key(other)
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        outcome = await probe(probers, sshd.port, module(other, host_keys=[await sshd.fingerprint("ed25519")]))
    assert failed(outcome) == (Failure.EXPECTATION, f"server refuses the login of user {USER} with this key")
    assert list(outcome.phases) == ["connect", "banner", "processing"]


async def test_nothing_is_sent_to_an_unknown_host_key(probers: Probers, tmp_path: Path) -> None:
    key = tmp_path / "id"
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        mine = await sshd.fingerprint("ed25519")
        outcome = await probe(probers, sshd.port, module(key, {"command": "true"}, host_keys=[OTHER_KEY]))
        log = await sshd.logged("isconnect")
    assert failed(outcome) == (
        Failure.EXPECTATION,
        f"host key {mine} (ssh-ed25519) is not one of host_keys ({OTHER_KEY})",
    )
    assert outcome.facts.ssh is not None
    assert outcome.facts.ssh.host_key == mine
    assert not re.search(r"userauth|Accepted|Failed publickey", log)


async def test_a_wrong_banner_ends_it_before_the_host_key(probers: Probers, tmp_path: Path) -> None:
    key = tmp_path / "id"
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        asked = module(key, host_keys=[await sshd.fingerprint("ed25519")], expect_banner="dropbear")
        outcome = await probe(probers, sshd.port, asked)
    assert outcome.failure is Failure.EXPECTATION
    assert re.fullmatch(r"banner SSH-2.0-OpenSSH_.* does not match expect_banner dropbear", outcome.detail)
    assert outcome.facts.ssh is not None
    assert outcome.facts.ssh.host_key is None


async def test_a_command_without_end_is_ended(probers: Probers, tmp_path: Path) -> None:
    key = tmp_path / "id"
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        asked = module(key, {"command": "sleep 20"}, host_keys=[await sshd.fingerprint("ed25519")])
        outcome = await probe(probers, sshd.port, asked, seconds=5.0)
        await sshd.logged("Disconnected from user")
    assert failed(outcome) == (Failure.TIMEOUT, "command: no end within 5 s")
    assert list(outcome.phases) == ["connect", "banner", "processing", "login"]


async def test_a_forced_command(probers: Probers, tmp_path: Path) -> None:
    """As a git server has it: whatever is asked for, another command runs."""
    key = tmp_path / "id"
    settings = login_settings(tmp_path, 'restrict,command="echo $SSH_ORIGINAL_COMMAND" ' + await make_key(key))
    async with running(tmp_path, settings=settings) as sshd:
        login: dict[str, object] = {"command": "info 'a b'", "expect_output": "^info 'a b'\n$"}
        outcome = await probe(probers, sshd.port, module(key, login, host_keys=[await sshd.fingerprint("ed25519")]))
    assert outcome.success, outcome.detail


# --- known hosts, and none


async def test_known_hosts(probers: Probers, tmp_path: Path) -> None:
    key, file = tmp_path / "id", tmp_path / "known_hosts"
    settings = login_settings(tmp_path, await make_key(key))
    async with running(tmp_path, ["ed25519", "rsa"], settings=settings) as sshd:
        asked = module(key, {"known_hosts": str(file), "command": "true"})
        lines = {kind: path.with_name(f"{path.name}.pub").read_text("utf-8") for kind, path in sshd.keys.items()}
        missing = await probe(probers, sshd.port, asked)
        assert failed(missing) == (Failure.LOCAL, f"cannot read {file}: No such file or directory")
        trusted = [
            f"git.example.org {lines['ed25519']}",
            f"[git.example.org]:{sshd.port} {lines['rsa']}",  # decides which of its keys is asked for
            f"[127.0.0.1]:{sshd.port} {lines['ed25519']}",
            f"* {lines['ed25519']}",
        ]
        for text in trusted:
            file.write_text(text, "utf-8")
            outcome = await probe(probers, sshd.port, asked)
            assert outcome.success, f"{text}: {outcome.detail}"
        nothing = f"{file} holds no host key of git.example.org port {sshd.port} that could be used"
        for text in ("", f"elsewhere {lines['ed25519']}", f"@revoked * {lines['ed25519']}* {lines['ed25519']}"):
            file.write_text(text, "utf-8")
            assert failed(await probe(probers, sshd.port, asked)) == (Failure.LOCAL, nothing)
        wrong = await make_key(tmp_path / "wrong")
        file.write_text(f"* {wrong}", "utf-8")
        outcome = await probe(probers, sshd.port, asked)
        assert outcome.failure is Failure.EXPECTATION
        assert f"is not what {file} has for git.example.org" in outcome.detail
        file.write_bytes(b"\xff")
        assert failed(await probe(probers, sshd.port, asked)) == (
            Failure.LOCAL,
            f"the known_hosts file {file} is broken",
        )


async def test_no_host_key_is_taken_unseen(probers: Probers, tmp_path: Path) -> None:
    key = tmp_path / "id"
    with pytest.raises(ValueError, match="needs one way to check the host key"):
        module(key)
    async with running(tmp_path, settings=login_settings(tmp_path, await make_key(key))) as sshd:
        outcome = await probe(probers, sshd.port, module(key, {"insecure_ignore_host_key": True}))
        assert outcome.success, outcome.detail
        assert outcome.facts.ssh is not None
        assert outcome.facts.ssh.host_key == await sshd.fingerprint("ed25519")


async def test_nothing_of_the_user_takes_part(
    probers: Probers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither their keys, nor their agent, nor their configuration, nor whom they know."""
    key, home = tmp_path / "id", tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    public = await make_key(home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "config").write_text("Host *\n  User somebody\n  ProxyCommand false\n  Port 9\n", "utf-8")
    await make_key(key)
    monkeypatch.setenv("HOME", str(home))
    async with running(tmp_path, settings=login_settings(tmp_path, public)) as sshd:
        mine = await sshd.fingerprint("ed25519")
        outcome = await probe(probers, sshd.port, module(key, host_keys=[mine]))
    assert failed(outcome) == (Failure.EXPECTATION, f"server refuses the login of user {USER} with this key")


# --- key files


async def test_passphrase(probers: Probers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, passphrase = tmp_path / "id", tmp_path / "passphrase"
    public = await make_key(key, SECRET)
    read: list[str] = []
    original = ssh_files._key

    def reading(path: str, passphrase_file: str | None) -> asyncssh.SSHKey:
        read.append(path)
        return original(path, passphrase_file)

    monkeypatch.setattr(ssh_files, "_key", reading)
    async with running(tmp_path, settings=login_settings(tmp_path, public)) as sshd:
        mine = await sshd.fingerprint("ed25519")
        bare = await probe(probers, sshd.port, module(key, host_keys=[mine]))
        assert failed(bare) == (
            Failure.LOCAL,
            f"the client key {key} is protected by a passphrase: say passphrase_file",
        )
        asked = module(key, {"passphrase_file": str(passphrase)}, host_keys=[mine])
        missing = await probe(probers, sshd.port, asked)
        assert failed(missing) == (Failure.LOCAL, f"cannot read {passphrase}: No such file or directory")
        passphrase.write_text("wrong\n", "utf-8")
        read.clear()
        for _ in range(3):
            wrong = await probe(probers, sshd.port, asked)
            assert failed(wrong) == (
                Failure.LOCAL,
                f"the passphrase in {passphrase} does not open the client key {key}",
            )
        passphrase.write_text(f"{SECRET}\n", "utf-8")
        outcomes = await asyncio.gather(*(probe(probers, sshd.port, asked) for _ in range(3)))
        assert all(outcome.success for outcome in outcomes), outcomes
        assert len(read) == 2  # once wrong, once right
        log = sshd.text()
    assert log.count("Connection from") == 3  # without a key nobody was asked


@pytest.mark.parametrize("text", ["", "no key at all\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
async def test_a_file_that_holds_no_key(probers: Probers, tmp_path: Path, text: str) -> None:
    key = tmp_path / "id"
    key.write_text(text, "utf-8")
    outcome = await probe(probers, closed_port(), module(key, host_keys=[OTHER_KEY]))
    assert failed(outcome) == (Failure.LOCAL, f"the client key {key} is no private key that can be read")
    assert outcome.phases == {}


async def test_a_changed_key_is_read_anew(tmp_path: Path) -> None:
    key, files = tmp_path / "id", LoginFiles()
    await make_key(key)
    first = await files.client_key(str(key), None)
    assert await files.client_key(str(key), None) is first
    await make_key(tmp_path / "next")
    (tmp_path / "next").replace(key)
    assert (await files.client_key(str(key), None)).get_fingerprint() != first.get_fingerprint()


# --- servers that misbehave


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


class _Login(asyncssh.SSHServer):
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
        server_factory=lambda: _Login(server),
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


async def test_an_odd_server_that_is_well(probers: Probers, tmp_path: Path) -> None:
    async with odd(tmp_path, server_version="Odd_1") as server:
        server.greeting = "Trespassers\x1b[1m will be shot\r\n"
        outcome = await probe(probers, server.port, server.module({"command": "anything"}))
    assert outcome.success, outcome.detail
    assert outcome.facts.ssh == SshFacts("2.0", "Odd_1", "", server.fingerprint)
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
    class Nobody(_Login):
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
        "127.0.0.1", server.port, server_factory=lambda: _Login(server), server_host_keys=[other], reuse_address=True
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


# --- the section of a configuration


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ({"host_keys": "SHA256:x"}, "must be a list of fingerprints"),
        ({"host_keys": []}, "must be a list of fingerprints"),
        ({"host_keys": ["MD5:aa:bb"]}, "should match pattern"),
        ({"host_key": "ssh-dss"}, "write true, or the algorithm"),
        ({"host_key": ["SHA256:x"]}, "expected fingerprints go to host_keys"),
        ({"login": {"username": "a", "client_key": "k"}}, "needs one way to check the host key"),
        (
            {"login": {"username": "a", "client_key": "k", "known_hosts": "h", "insecure_ignore_host_key": True}},
            "needs one way to check the host key",
        ),
        (
            {"host_keys": [OTHER_KEY], "login": {"username": "a", "client_key": "k", "known_hosts": "h"}},
            "needs one way to check the host key",
        ),
        (
            {"host_keys": [OTHER_KEY], "login": {"username": "a", "client_key": "k", "expect_output": "x"}},
            "expect_output needs a command",
        ),
        ({"host_keys": [OTHER_KEY], "login": {"username": "a\n", "client_key": "k"}}, "cannot be printed"),
        ({"host_keys": [OTHER_KEY], "login": {"username": "a", "client_key": "k", "password": "p"}}, "password"),
        ({"login": {"username": "a"}}, "client_key"),
    ],
)
def test_section(section: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        SshModule.model_validate(section)
