"""Logins on a real OpenSSH, their files, and their section of a configuration."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncssh
import pytest

from probes import ssh_files
from probes.model import Failure, Flow, Identity
from probes.ssh_files import LoginFiles
from probes.ssh_module import SshModule
from tests.probes.openssh import login_settings, make_key, running
from tests.probes.servers import closed_port
from tests.probes.ssh_logins import OTHER_KEY, SECRET, USER, failed, module, probe

if TYPE_CHECKING:
    from pathlib import Path

    from probes.ports import Source
    from probes.table import Probers


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
    async with running(tmp_path, level="INFO", settings=login_settings(tmp_path, await make_key(key))) as sshd:
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
        assert not outcome.facts.ssh.host_key_expected


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
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    asked: list[asyncio.StreamWriter] = []

    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        asked.append(writer)
        writer.close()

    agent = await asyncio.start_unix_server(answer, tmp_path / "agent")
    async with agent, running(tmp_path, settings=login_settings(tmp_path, public)) as sshd:
        mine = await sshd.fingerprint("ed25519")
        outcome = await probe(probers, sshd.port, module(key, host_keys=[mine]))
    assert failed(outcome) == (Failure.EXPECTATION, f"server refuses the login of user {USER} with this key")
    assert not asked


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


# --- the section of a configuration


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ({"host_keys": "SHA256:x"}, "must be a list of fingerprints"),
        ({"host_keys": []}, "must be a list of fingerprints"),
        ({"host_keys": ["MD5:aa:bb"]}, "'MD5:aa:bb' is no fingerprint"),
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
