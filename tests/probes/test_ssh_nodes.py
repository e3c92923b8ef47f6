"""Nodes that are told by their host keys: a real OpenSSH, and servers that misbehave after their banner."""

from __future__ import annotations

import asyncio
import itertools
import re
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ssh_module import SshModule
from tests.probes.openssh import running
from tests.probes.servers import abort, open_descriptors, serving
from tests.probes.test_ssh_hostkey import BLOB, fingerprint, kexinit, packet, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes.ports import Source
    from probes.table import Probers
    from tests.probes.servers import Handler

BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n"


async def probe(
    probers: Probers,
    port: int,
    rule: str = "",
    *,
    banner: str | None = None,
    seconds: float = 10.0,
    source: Source | None = None,
) -> Outcome:
    pinned = Flow("127.0.0.1", port, *source) if source else Flow("127.0.0.1", port)
    module = SshModule.model_validate({} if banner is None else {"expect_banner": banner})
    return await probers.probe("ssh", Request(pinned, "git", seconds, Identity("host_key", rule)), module)


def after_banner(data: bytes, then: Callable[[asyncio.StreamWriter], None] | None = None) -> Handler:
    """Banner and `data` at once, then silence, or as told."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER + data)
        await writer.drain()
        await reader.readuntil(b"\r\n")
        if then is not None:
            await asyncio.sleep(0.05)
            then(writer)
        else:
            while await reader.read(4096):
                pass

    return handler


# --- OpenSSH


async def test_openssh_tells_its_host_keys(probers: Probers, tmp_path: Path, source: Source) -> None:
    async with running(tmp_path, ["rsa", "ecdsa", "ed25519"]) as sshd:
        outcome = await probe(probers, sshd.port, source=source)
        assert outcome.success, outcome.detail
        assert outcome.identity == await sshd.fingerprint("ed25519")
        assert outcome.flow == Flow("127.0.0.1", sshd.port, *source)
        assert list(outcome.phases) == ["connect", "banner", "processing"]
        assert outcome.duration_seconds >= sum(outcome.phases.values())
        for rule, kind in {"ssh-rsa": "rsa", "rsa-sha2-256": "rsa", "ecdsa-sha2-nistp256": "ecdsa"}.items():
            assert (await probe(probers, sshd.port, rule)).identity == await sshd.fingerprint(kind)
        wrong = await probe(probers, sshd.port, banner="dropbear")
        assert wrong.failure is Failure.EXPECTATION
        assert wrong.identity == await sshd.fingerprint("ed25519")  # whose banner is wrong
        text = await sshd.logged("Connection closed by", 5)
    assert f"Connection closed by {source.address} port {source.port} [preauth]" in text
    assert not re.search(r"error|fatal|Bad protocol|reset|Broken pipe|userauth|Disconnected", text)


async def test_one_line_in_the_log_of_an_ordinary_openssh(probers: Probers, tmp_path: Path) -> None:
    async with running(tmp_path, level="INFO") as sshd:
        for _ in range(3):
            assert (await probe(probers, sshd.port)).success
        text = await sshd.logged("[preauth]", 3)
    lines = [line for line in text.splitlines() if "srclimit" not in line]  # OpenSSH 9.8 counts such visits
    assert len(lines) == 1 + 3  # the first one tells of the listener


@pytest.mark.parametrize(
    "kex",
    [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha1",
    ],
)
async def test_openssh_takes_every_public_number(probers: Probers, tmp_path: Path, kex: str) -> None:
    async with running(tmp_path, settings=[f"KexAlgorithms {kex}"]) as sshd:
        for _ in range(4):
            outcome = await probe(probers, sshd.port)
            assert outcome.identity == await sshd.fingerprint("ed25519"), outcome.detail


@pytest.mark.parametrize(
    ("rule", "settings"), [("ssh-rsa", []), ("", ["KexAlgorithms ecdh-sha2-nistp521"])], ids=["host key", "kex"]
)
async def test_a_service_that_has_no_such_key_is_well(
    probers: Probers, tmp_path: Path, rule: str, settings: list[str]
) -> None:
    async with running(tmp_path, settings=settings) as sshd:
        outcome = await probe(probers, sshd.port, rule)
    assert outcome.success, outcome.detail
    assert outcome.identity is None


# --- servers that misbehave


@pytest.mark.parametrize(
    ("handler", "failure", "detail"),
    [
        (after_banner(b"garbage, and more of it"), Failure.PROTOCOL, "no SSH packet after the identification string"),
        (after_banner(b"\xff" * 4000), Failure.PROTOCOL, "\\xff\\xff"),
        (after_banner(packet(b"\x02" + bytes(30_000)) * 4), Failure.PROTOCOL, "more than 65536 bytes"),
        (after_banner(kexinit() + reply(BLOB["ssh-rsa"])), Failure.PROTOCOL, "host key is ssh-rsa where ssh-ed25519"),
        (
            after_banner(packet(b"\x01\0\0\0\x0c\0\0\0\x04full\0\0\0\0")),
            Failure.CLOSED,
            "server disconnected: full",
        ),
        (after_banner(b"", lambda writer: writer.close()), Failure.CLOSED, "server closed before its host key"),
        (after_banner(kexinit(), abort), Failure.RESET, "key exchange: Connection reset by peer"),
    ],
    ids=["text", "ones", "flood", "key", "disconnect", "close", "reset"],
)
async def test_wrong_answers(probers: Probers, handler: Handler, failure: Failure, detail: str) -> None:
    async with serving(handler) as port:
        outcome = await probe(probers, port)
        # What is wrong with the banner is said first.
        wrong = await probe(probers, port, banner="dropbear")
    assert (outcome.failure, outcome.identity) == (failure, None) or (
        failure is Failure.CLOSED and outcome.failure is Failure.RESET
    )
    assert detail in outcome.detail or outcome.failure is not failure
    assert list(outcome.phases) == ["connect", "banner"]
    assert outcome.connected
    assert wrong.failure is Failure.EXPECTATION


@pytest.mark.parametrize("data", [b"", kexinit(), kexinit()[:-1], b"\0\0"], ids=["banner", "kexinit", "half", "bytes"])
async def test_silence_after_the_banner(probers: Probers, data: bytes) -> None:
    async with serving(after_banner(data)) as port:
        outcome = await probe(probers, port, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "key exchange: no end within 0.3 s"
    assert outcome.connected


async def test_endless_data_ends(probers: Probers) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(BANNER)
        while True:
            writer.write(packet(b"\x04" + bytes(1000)))
            await writer.drain()

    async with serving(handler) as port:
        await probe(probers, port)
        tracemalloc.start()
        outcome = await probe(probers, port)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert outcome.failure is Failure.PROTOCOL
    assert "more than 65536 bytes" in outcome.detail
    assert most < 3_000_000  # the server of this test included


async def test_a_server_that_speaks_slowly(probers: Probers) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in BANNER + kexinit(host_keys=["ssh-ed25519"]):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readuntil(b"\r\n")).startswith(b"SSH-2.0-ecmp-exporter_")
        for byte in reply(BLOB["ssh-ed25519"]):
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    async with serving(handler) as port:
        outcome = await probe(probers, port)
    assert outcome.success, outcome.detail
    assert outcome.identity == fingerprint(BLOB["ssh-ed25519"])


async def test_what_the_server_hears(probers: Probers) -> None:
    """Identification, KEXINIT, a public number, and the end: no login is ever tried."""
    heard = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER + kexinit() + reply(BLOB["ssh-ed25519"]))
        line = await reader.readuntil(b"\r\n")
        messages = []
        while head := await reader.read(5):
            payload = await reader.readexactly(int.from_bytes(head[:4], "big") - 1)
            messages.append(payload[0])
        heard.set_result((line, messages))

    async with serving(handler) as port:
        assert (await probe(probers, port)).success
        assert await heard == (b"SSH-2.0-ecmp-exporter_0.0.test\r\n", [20, 30])


async def test_leaks_no_descriptor(probers: Probers) -> None:
    handlers = itertools.cycle([after_banner(b""), after_banner(b"garbage"), after_banner(kexinit())])

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(handlers)(reader, writer)

    async with serving(handler) as port:
        before = open_descriptors()
        probes = [asyncio.create_task(probe(probers, port, seconds=5)) for _ in range(21)]
        await asyncio.sleep(0.2)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        await probe(probers, port, seconds=0.05)
        async with asyncio.timeout(10):
            while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
                await asyncio.sleep(0.01)
