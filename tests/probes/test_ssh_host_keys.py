"""Expected host keys, and what is told of a server: two real OpenSSH that differ, and servers without such keys."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from probes.facts import SshFacts
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ssh_module import SshModule
from tests.probes.openssh import running
from tests.probes.servers import saying, serving
from tests.probes.ssh_logins import OTHER_KEY
from tests.probes.test_ssh_hostkey import BLOB, fingerprint, kexinit, packet, reply

if TYPE_CHECKING:
    from pathlib import Path

    from probes.ports import Source
    from probes.table import Probers
    from tests.probes.servers import Handler


async def probe(probers: Probers, port: int, settings: dict[str, object], identity: Identity | None = None) -> Outcome:
    module = SshModule.model_validate(settings)
    return await probers.probe("ssh", Request(Flow("127.0.0.1", port), "git.example.org", 20.0, identity), module)


def ssh(outcome: Outcome) -> SshFacts:
    assert outcome.facts.ssh is not None
    return outcome.facts.ssh


async def test_two_servers(probers: Probers, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    async with (
        running(first, ["ed25519", "rsa"], level="INFO", settings=["VersionAddendum leviathan1"]) as one,
        running(second, level="INFO", settings=["VersionAddendum none"]) as two,
    ):
        key, other = await one.fingerprint("ed25519"), await two.fingerprint("ed25519")
        assert key != other
        for settings in ({"host_keys": [key]}, {"host_keys": [OTHER_KEY, key]}):
            outcome = await probe(probers, one.port, dict(settings))
            assert outcome.success, outcome.detail
            assert list(outcome.phases) == ["connect", "banner", "processing"]
            assert (ssh(outcome).host_key, ssh(outcome).host_key_expected) == (key, True)
            assert ssh(outcome).comment.endswith("leviathan1")
            wrong = await probe(probers, two.port, dict(settings))
            assert wrong.failure is Failure.EXPECTATION
            assert wrong.detail == f"host key {other} is not one of host_keys ({', '.join(settings['host_keys'])})"
            assert (ssh(wrong).host_key, ssh(wrong).host_key_expected) == (other, False)
        only = await probe(probers, two.port, {"host_key": True})
        assert only.success
        assert (ssh(only).host_key, ssh(only).host_key_expected) == (other, False)
        assert not ssh(only).comment.endswith("none")
        # The algorithm decides which of its keys a server shows.
        rsa = await one.fingerprint("rsa")
        ed25519: dict[str, object] = {"host_keys": [rsa], "host_key": "ssh-ed25519"}
        assert (await probe(probers, one.port, ed25519)).failure is Failure.EXPECTATION
        assert (await probe(probers, one.port, {"host_keys": [rsa], "host_key": "ssh-rsa"})).success
        named = await probe(
            probers, one.port, {"host_keys": [rsa], "host_key": "ssh-ed25519"}, Identity("host_key", "ssh-rsa")
        )
        assert named.success
        assert named.identity == rsa
        missing = await probe(probers, two.port, {"host_keys": [rsa], "host_key": "ssh-rsa"})
        assert missing.failure is Failure.EXPECTATION
        assert missing.detail.startswith(
            "the host key, of an algorithm that was not asked for, is not one of host_keys"
        )
        assert (await probe(probers, two.port, {"host_key": "ssh-rsa"})).success  # nothing was expected of it
        log = await one.logged("[preauth]", 5) + two.text()
    assert not re.search(r"error|fatal|reset|userauth", log)


async def test_a_server_is_asked_for_all_its_keys(probers: Probers, source: Source, tmp_path: Path) -> None:
    """It shows one a connection; each of them may be the only one that is expected. The flow stays the same."""
    async with running(tmp_path, ["ed25519", "ecdsa", "rsa"], level="INFO") as sshd:
        flow = Flow("127.0.0.1", sshd.port, source.address, source.port)
        for asked, kind in enumerate(("ed25519", "ecdsa", "rsa")):
            key = await sshd.fingerprint(kind)
            module = SshModule.model_validate({"host_keys": [key]})
            outcome = await probers.probe("ssh", Request(flow, "git.example.org", 20.0), module)
            assert outcome.success, outcome.transcript
            assert outcome.flow == flow
            assert (ssh(outcome).host_key, ssh(outcome).host_key_expected) == (key, True)
            words = f"connected from {source.address} port {source.port}"
            assert sum(words in line for line in outcome.transcript) == asked + 1
        wrong = await probe(probers, sshd.port, {"host_keys": [OTHER_KEY]})
        first = await sshd.fingerprint("ed25519")
    assert wrong.detail == f"host key {first} is not one of host_keys ({OTHER_KEY})"
    assert sum("connected from" in line for line in wrong.transcript) == 3
    assert len({line.partition("connected from")[2] for line in wrong.transcript if "connected from" in line}) == 1
    assert not re.search(r"error|fatal", sshd.text())


async def test_a_server_that_is_asked_again_and_does_not_answer(probers: Probers) -> None:
    asked = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            kinds = ["ssh-ed25519", "rsa-sha2-512"]
            writer.write(b"SSH-2.0-a\r\n" + kexinit(host_keys=kinds) + reply(BLOB["ssh-ed25519"]))
            await reader.read()

    async with serving(handler) as port:
        outcome = await probe(probers, port, {"host_keys": [OTHER_KEY]})
    assert asked == 2
    assert outcome.failure is Failure.EXPECTATION
    assert fingerprint(BLOB["ssh-ed25519"]) in outcome.detail


async def test_a_wrong_banner_is_said_before_a_wrong_key(probers: Probers, tmp_path: Path) -> None:
    async with running(tmp_path) as sshd:
        key = await sshd.fingerprint("ed25519")
        outcome = await probe(probers, sshd.port, {"host_keys": [OTHER_KEY], "expect_banner": "dropbear"})
        assert outcome.failure is Failure.EXPECTATION
        assert re.fullmatch(r"banner SSH-2.0-OpenSSH_.* does not match expect_banner dropbear", outcome.detail)
        assert ssh(outcome).host_key == key  # it was seen all the same
        well = await probe(probers, sshd.port, {"host_keys": [key], "expect_banner": "^SSH-2.0-OpenSSH"})
        assert well.success


async def test_without_being_asked_for_no_key_is_fetched(probers: Probers, tmp_path: Path) -> None:
    async with running(tmp_path) as sshd:
        outcome = await probe(probers, sshd.port, {})
    assert outcome.success
    assert ssh(outcome).host_key is None
    assert list(outcome.phases) == ["connect", "banner"]


async def test_a_key_that_changes_between_two_probes(probers: Probers) -> None:
    shown = iter(("ssh-ed25519", "ecdsa-sha2-nistp256"))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = next(shown)
        writer.write(b"SSH-2.0-a\r\n" + kexinit(host_keys=[kind]) + reply(BLOB[kind]))
        await reader.read()

    async with serving(handler) as port:
        settings: dict[str, object] = {"host_keys": [fingerprint(BLOB["ssh-ed25519"])]}
        assert (await probe(probers, port, settings)).success
        outcome = await probe(probers, port, settings)
    assert outcome.failure is Failure.EXPECTATION
    assert fingerprint(BLOB["ecdsa-sha2-nistp256"]) in outcome.detail
    assert fingerprint(BLOB["ssh-ed25519"]) in outcome.detail


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (saying(b"SSH-2.0-banner_only\r\n"), Failure.CLOSED),
        (saying(b"SSH-2.0-garbage\r\n" + b"\xff" * 400), Failure.PROTOCOL),
        (saying(b"SSH-2.0-full\r\n" + packet(b"\x01\0\0\0\x0c\0\0\0\x04full\0\0\0\0")), Failure.CLOSED),
    ],
    ids=["banner only", "garbage", "disconnect"],
)
async def test_a_server_without_a_key_exchange(probers: Probers, handler: Handler, failure: Failure) -> None:
    async with serving(handler) as port:
        outcome = await probe(probers, port, {"host_keys": [OTHER_KEY]})
    # A server that closes with our identification unread may be seen to reset.
    assert outcome.failure in (failure, Failure.RESET)
    if outcome.facts.ssh is not None:
        assert outcome.facts.ssh.host_key is None


async def test_what_is_told_is_printable(probers: Probers) -> None:
    async with serving(saying("SSH-1.99-Old_1 caf\u00e9\u202e x".encode() + b"\xff\r\n")) as port:
        outcome = await probe(probers, port, {})
    assert outcome.success, outcome.detail
    assert outcome.facts.ssh == SshFacts("1.99", "Old_1", "caf\u00e9\ufffd x\ufffd")
    text = "\n".join(outcome.transcript)
    assert "identification: SSH-1.99-Old_1 caf" in text
    assert text.isascii()
