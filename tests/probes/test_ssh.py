from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from probes import ssh
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ssh import SshProber
from probes.ssh_module import SshModule
from tests.probes.openssh import running
from tests.probes.servers import (
    abort,
    close_at_once,
    closed_port,
    dripping,
    open_descriptors,
    reset_at_once,
    saying,
    serving,
    silent,
    unanswered_port,
)

if TYPE_CHECKING:
    from probes.ports import Source
    from probes.table import Probers
    from tests.probes.servers import Handler

MODULE = SshModule()


def expecting(banner: str) -> SshModule:
    return SshModule.model_validate({"expect_banner": banner})


async def probe(
    probers: Probers,
    port: int,
    module: SshModule = MODULE,
    *,
    identity: Identity | None = None,
    seconds: float = 10.0,
    source: Source | None = None,
) -> Outcome:
    pinned = Flow("127.0.0.1", port, *source) if source else Flow("127.0.0.1", port)
    return await probers.probe("ssh", Request(pinned, "git.example.org", seconds, identity), module)


async def test_exchange(probers: Probers, source: Source) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1 leviathan3\r\n")
        heard.set_result(await reader.read())  # until the prober closes

    async with serving(handler) as port:
        outcome = await probe(probers, port, source=source, identity=Identity("banner", r"p1 (\S+)"))
        assert await heard == b"SSH-2.0-ecmp-exporter_0.0.test\r\n"
    assert outcome.success
    assert outcome.failure is None
    assert outcome.connected
    assert outcome.flow == Flow("127.0.0.1", port, *source)
    assert outcome.identity == "leviathan3"
    assert list(outcome.phases) == ["connect", "banner"]
    assert all(seconds >= 0 for seconds in outcome.phases.values())
    assert outcome.duration_seconds >= sum(outcome.phases.values())


@pytest.mark.parametrize(
    ("handler", "failure", "detail"),
    [
        (close_at_once, Failure.CLOSED, "server closed before its identification string"),
        (saying(b"Exceeded MaxStartups\r\n"), Failure.CLOSED, "Exceeded MaxStartups"),
        (reset_at_once, Failure.RESET, "identification string: Connection reset by peer"),
        (saying(b"SSH-1.5-old\r\n"), Failure.PROTOCOL, "neither 2.0 nor 1.99"),
        (saying(b"\x00\xff\x01garbage"), Failure.PROTOCOL, "\\x00\\xff\\x01garbage"),
        (saying(b"a" * 20_000), Failure.PROTOCOL, "more than 8192 bytes"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n" * 60), Failure.PROTOCOL, "more than 50 lines"),
    ],
    ids=["closed", "closed-with-words", "reset", "version", "garbage", "flood", "lines"],
)
async def test_wrong_answers(probers: Probers, handler: Handler, failure: Failure, detail: str) -> None:
    async with serving(handler) as port:
        outcome = await probe(probers, port)
    assert not outcome.success
    assert outcome.connected
    assert outcome.failure is not None
    # A server that closes with our identification unread may be seen to reset.
    assert outcome.failure is failure or (failure is Failure.CLOSED and outcome.failure is Failure.RESET)
    assert detail in outcome.detail or outcome.failure is not failure
    assert list(outcome.phases) == ["connect"]


async def test_refused(probers: Probers) -> None:
    outcome = await probe(probers, closed_port())
    assert outcome.failure is Failure.REFUSED
    assert not outcome.connected
    assert outcome.phases == {}


@pytest.mark.parametrize("handler", [silent, dripping(b"SSH-2.0-drip" * 20, 0.05)], ids=["silent", "drip"])
async def test_timeout_after_the_handshake(probers: Probers, handler: Handler) -> None:
    async with serving(handler) as port:
        outcome = await probe(probers, port, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "identification string: no end within 0.3 s"
    assert outcome.connected


async def test_timeout_of_the_handshake(probers: Probers) -> None:
    with unanswered_port() as port:
        outcome = await probe(probers, port, seconds=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "TCP handshake: no end within 0.3 s"
    assert not outcome.connected


async def test_expectation(probers: Probers) -> None:
    identity = Identity("banner", "node=(.*)")
    async with serving(saying(b"SSH-2.0-dropbear\r\n")) as port:
        outcome = await probe(probers, port, expecting("OpenSSH"), identity=identity)
        assert (await probe(probers, port, expecting("^SSH-2.0-drop"))).success
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == "banner SSH-2.0-dropbear does not match expect_banner OpenSSH"
    assert list(outcome.phases) == ["connect", "banner"]
    assert outcome.identity is None


async def test_busy_port_is_not_the_path(probers: Probers, source: Source) -> None:
    async with serving(silent) as port:
        first = asyncio.create_task(probe(probers, port, source=source))
        await asyncio.sleep(0.05)
        outcome = await probe(probers, port, source=source)
        first.cancel()
    assert outcome.failure is Failure.LOCAL_PORT
    assert outcome.failure.local


@pytest.mark.parametrize("end", ["floods", "resets", "stays"])
async def test_what_follows_the_banner_is_no_part_of_the_outcome(
    probers: Probers, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(ssh, "FAREWELL_SECONDS", 0.2)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-a\r\n")
        await reader.read()
        if end == "resets":
            abort(writer)
        while end == "floods":
            writer.write(bytes(4096))
            await writer.drain()
        await asyncio.sleep(30)

    async with serving(handler) as port:
        open_descriptors()
        outcome = await probe(probers, port)
        assert outcome.success
        assert outcome.duration_seconds < 10


async def test_leaks_no_descriptor(probers: Probers) -> None:
    async with serving(silent) as port:
        before = open_descriptors()
        probes = [asyncio.create_task(probe(probers, port, seconds=5)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in probes:
            task.cancel()
        ended = await asyncio.gather(*probes, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        await probe(probers, port, seconds=0.05)
        async with asyncio.timeout(10):
            while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
                await asyncio.sleep(0.01)


def test_identification_holds_no_space_and_no_minus() -> None:
    assert SshProber("1.0-rc 1")._identification == b"SSH-2.0-ecmp-exporter_1.0_rc_1\r\n"


@pytest.mark.parametrize("section", [{"expect_baner": "x"}, {"expect_banner": "("}, {"expect_banner": 1}])
def test_module_is_strict(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SshModule.model_validate(section)


async def test_openssh_takes_it_for_a_well_behaved_client(probers: Probers, tmp_path: Path, source: Source) -> None:
    async with running(tmp_path) as sshd:
        identity = Identity("banner", r"OpenSSH_(\d+)")
        outcome = await probe(probers, sshd.port, source=source, identity=identity)
        assert outcome.success, outcome.detail
        assert outcome.identity is not None
        assert outcome.identity.isdecimal()
        rejected = await probe(probers, sshd.port, expecting("dropbear"))
        assert rejected.failure is Failure.EXPECTATION
        text = await sshd.logged("Connection closed by", 2)
    assert "remote software version ecmp-exporter_0.0.test" in text
    assert f"Connection closed by {source.address} port {source.port} [preauth]" in text
    assert not re.search(r"error|fatal|Bad protocol|kex_exchange_identification|reset|Broken pipe", text)
