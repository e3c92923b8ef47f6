"""The tcp prober against servers that behave: blackbox_exporter's documented modules, word for word."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from probes.facts import ExchangeFacts
from probes.model import Failure, Flow, Identity, Outcome, Request
from probes.ports import Source
from probes.table import Probers
from probes.tcp_module import TcpModule
from tests.probes.certificates import authority
from tests.probes.issued import issue
from tests.probes.servers import Handler, close_at_once, closed_port, dripping, saying, serving, silent

NAME = "mail.example.org"
TRUSTED = {"ca": authority().pem().decode()}
SMTP_STARTTLS: list[dict[str, Any]] = [
    {"expect": "^220 ([^ ]+) ESMTP (.+)$"},
    {"send": "EHLO prober\r"},
    {"expect": "^250-STARTTLS"},
    {"send": "STARTTLS\r"},
    {"expect": "^220"},
    {"starttls": True},
    {"send": "EHLO prober\r"},
    {"expect": "^250-AUTH"},
    {"send": "QUIT\r"},
]
IMAP_STARTTLS: list[dict[str, Any]] = [
    {"expect": "OK.*STARTTLS"},
    {"send": ". STARTTLS"},
    {"expect": "OK"},
    {"starttls": True},
    {"send": ". capability"},
    {"expect": "CAPABILITY IMAP4rev1"},
]
IRC_BANNER: list[dict[str, Any]] = [
    {"send": "NICK prober"},
    {"send": "USER prober prober prober :prober"},
    {"expect": "PING :([^ ]+)", "send": "PONG ${1}"},
    {"expect": "^:[^ ]+ 001"},
]
SSH_BANNER: list[dict[str, Any]] = [{"expect": "^SSH-2.0-"}, {"send": "SSH-2.0-blackbox-ssh-check"}]


async def probe(
    probers: Probers, port: int, *steps: dict[str, Any], identity: Identity | None = None, **section: Any
) -> Outcome:
    module = TcpModule.model_validate({"query_response": list(steps), **section})
    return await probers.probe("tcp", Request(Flow("127.0.0.1", port), NAME, 20.0, identity), module)


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return issue(NAME, NAME).server(tmp_path)


def exchanging(*lines: tuple[bytes, bytes], first: bytes = b"") -> Handler:
    """Say `first`; then for each pair, await a line that is the first one, say the second."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for expected, answer in lines:
            assert await reader.readline() == expected
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return handler


async def test_a_connection_is_enough(probers: Probers, source: Source) -> None:
    async with serving(silent) as port:
        flow = Flow("127.0.0.1", port, source.address, source.port)
        outcome = await probers.probe("tcp", Request(flow, NAME, 20.0), TcpModule())
    assert outcome.success
    assert outcome.flow == flow
    assert list(outcome.phases) == ["connect"]
    assert outcome.facts.tcp is not None
    assert outcome.facts.exchange is None


@pytest.mark.parametrize("over_tls", [False, True])
async def test_a_good_connection_ends_in_good_order(probers: Probers, context: ssl.SSLContext, over_tls: bool) -> None:
    ends: list[str] = []
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        try:
            ends.append(f"FIN after {await reader.read()!r}")
        except ConnectionResetError:
            ends.append("RST")
        ended.set()

    section: dict[str, Any] = {"tls": True, "tls_config": TRUSTED} if over_tls else {}
    async with serving(handler, tls=context if over_tls else None) as port:
        outcome = await probe(probers, port, {"send": "bye"}, **section)
        async with asyncio.timeout(10):
            await ended.wait()
    assert outcome.success, outcome.detail
    assert ends == ["FIN after b'bye\\n'"]


async def test_refused(probers: Probers) -> None:
    assert (await probe(probers, closed_port())).failure is Failure.REFUSED


class _Mail:
    """What the controller of aiosmtpd would be told; nothing is ever sent."""


async def test_smtp_with_starttls(probers: Probers, context: ssl.SSLContext) -> None:
    def protocol() -> SMTP:
        return SMTP(
            _Mail(),
            hostname=NAME,
            ident="ESMTP test",
            tls_context=context,
            authenticator=lambda *_: AuthResult(success=False),
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await probe(probers, port, *SMTP_STARTTLS, tls_config=TRUSTED)
        untrusted = await probe(probers, port, *SMTP_STARTTLS)
        await asyncio.sleep(0.05)
    assert outcome.success, outcome.transcript
    assert list(outcome.phases) == ["connect", "processing", "tls"]
    assert outcome.facts.tls is not None
    assert outcome.facts.tls.subject == f"CN={NAME}"
    assert outcome.facts.exchange == ExchangeFacts()
    assert any("received 220 mail.example.org ESMTP test" in line for line in outcome.transcript)
    assert untrusted.failure is Failure.TLS
    assert untrusted.facts.tls is not None


async def test_imap_with_starttls(probers: Probers, context: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready.\r\n")
        assert await reader.readline() == b". STARTTLS\n"
        writer.write(b". OK Begin TLS negotiation now.\r\n")
        await writer.start_tls(context)
        assert await reader.readline() == b". capability\n"
        writer.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n. OK done.\r\n")
        await reader.read()

    async with serving(handler) as port:
        outcome = await probe(probers, port, *IMAP_STARTTLS, tls_config=TRUSTED)
    assert outcome.success, outcome.transcript


async def test_what_came_in_the_clear_is_not_read_over_tls(probers: Probers, context: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b". OK Begin TLS negotiation now.\r\n* CAPABILITY IMAP4rev1 injected\r\n")
        await writer.start_tls(context)
        await reader.readline()
        writer.write(b". NO\r\n")

    async with serving(handler) as port:
        outcome = await probe(probers, port, *IMAP_STARTTLS[1:], tls_config=TRUSTED)
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.endswith("; the last one was: . NO")
    assert any("discarded, as it came before TLS: * CAPABILITY" in line for line in outcome.transcript)


async def test_irc_answers_with_what_was_found(probers: Probers) -> None:
    handler = exchanging(
        (b"NICK prober\n", b":irc NOTICE * :Looking up your hostname\r\n"),
        (b"USER prober prober prober :prober\n", b"PING :F00D\r\n"),
        (b"PONG F00D\n", b":irc.example.org 001 prober :Welcome\r\n"),
    )
    async with serving(handler) as port:
        outcome = await probe(probers, port, *IRC_BANNER)
    assert outcome.success, outcome.transcript
    assert list(outcome.phases) == ["connect", "processing"]


async def test_ssh_banner_with_labels(probers: Probers) -> None:
    labels = [{"name": "version", "value": "$1"}, {"name": "software", "value": "${software}!"}]
    steps: list[dict[str, Any]] = [{"expect": r"^SSH-([0-9.]+)-(?P<software>\S+)", "labels": labels}, SSH_BANNER[1]]
    banner = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
    async with serving(exchanging((b"SSH-2.0-blackbox-ssh-check\n", b""), first=banner)) as port:
        outcome = await probe(probers, port, *steps)
    assert outcome.success, outcome.transcript
    assert outcome.facts.exchange is not None
    assert dict(outcome.facts.exchange.labels) == {"version": "2.0", "software": "OpenSSH_9.2p1!"}


async def test_over_tls_from_the_start(probers: Probers, context: ssl.SSLContext) -> None:
    async with serving(exchanging(first=b"+OK ready\r\n"), tls=context) as port:
        outcome = await probe(probers, port, {"expect": "^.OK"}, tls=True, tls_config=TRUSTED)
    assert outcome.success, outcome.transcript
    assert list(outcome.phases) == ["connect", "tls", "processing"]


async def test_bytes(probers: Probers) -> None:
    step = {"expect_bytes": "\x00\x01é", "send": "next"}
    good = exchanging((b"next\n", b"line\n"), first=b"\x00\x01\xc3\xa9")
    async with serving(good) as port:
        outcome = await probe(probers, port, step, {"expect": "^line$"})
    assert outcome.success, outcome.transcript
    async with serving(dripping(b"\x00\x01\xc3\xa9line\n", 0.001)) as port:
        assert (await probe(probers, port, {"expect_bytes": "\x00\x01é"}, {"expect": "^line$"})).success
    async with serving(saying(b"\x00\x02\xc3\xa9")) as port:
        wrong = await probe(probers, port, step)
    assert wrong.failure is Failure.EXPECTATION
    assert wrong.facts.exchange == ExchangeFacts(failed_by_bytes=True)
    assert wrong.detail == r"not expect_bytes, but \x00\x02\xc3\xa9"
    async with serving(saying(b"\x00\x01")) as port:
        short = await probe(probers, port, step)
    assert short.failure is Failure.CLOSED
    assert short.detail == "connection closed after 2 of 4 bytes of expect_bytes"


async def test_lines_end_as_blackbox_exporter_reads_them(probers: Probers) -> None:
    for said in (b"one\ntwo\n", b"one\r\ntwo\r\n", b"one\ntwo", b"\r\n\none\rtwo\none\ntwo\r\n"):
        async with serving(saying(said)) as port:
            outcome = await probe(probers, port, {"expect": "^one$"}, {"expect": "^two$"})
        assert outcome.success, (said, outcome.transcript)


async def test_no_line_matches(probers: Probers) -> None:
    async with serving(saying(b"220 ready\r\n554 go away\r\n")) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, {"expect": "^250"})
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == "no line that matches ^250; the last one was: 554 go away"
    assert outcome.facts.exchange == ExchangeFacts(failed_by_pattern=True)
    async with serving(close_at_once) as port:
        outcome = await probe(probers, port, {"expect": "^220"})
    assert outcome.failure is Failure.CLOSED
    assert outcome.facts.exchange == ExchangeFacts(failed_by_pattern=True)


async def test_what_is_sent_is_not_in_the_transcript(probers: Probers) -> None:
    async with serving(exchanging((b"AUTH PLAIN c2VjcmV0\n", b"535 no\r\n"), first=b"220\r\n")) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, {"send": "AUTH PLAIN c2VjcmV0"}, {"expect": "^535"})
    assert outcome.success
    assert any("step 2: sent 20 bytes" in line for line in outcome.transcript)
    assert "c2VjcmV0" not in repr(outcome)


SENT_SECRET = {"send": "AUTH PLAIN s3cr3t_smtp\r"}


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (b"250 got AUTH PLAIN s3cr3t_smtp\r\n", {"expect": "^250"}),
        (b"250 got AUTH PLAIN s3cr3t_smtp\r\n", {"expect": "^354"}),
        (b"250 got=s3cr3t_smtp;\r\n", {"expect": "^250"}),
        (b"250 ok s3cr3t_s", {"expect": "^250"}),
        (b"250 " + b"x" * 80 + b" s3cr3t_smtp\r\n", {"expect": "^354"}),
        (b"250 ok s3cr3t_smtp\r\n", {"expect_bytes": "?" * 12}),
        (b"250 ok s3cr3t_smtp\r\n", {"expect_bytes": "?" * 18}),
        (b"250 s3cr3t_smtp s3cr3t_smtp\r\n", {"expect": "^25.", "starttls": True}),
        (b"250 ok\r\ns3cr3t_smtp\r\n", {"expect": "^250", "starttls": True}),
    ],
)
async def test_what_was_sent_is_told_to_nobody_when_it_is_repeated(
    probers: Probers, answer: bytes, step: dict[str, Any]
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.readline()
        writer.write(answer)

    async with serving(handler) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, SENT_SECRET, step)
    told = "\n".join([outcome.detail, *outcome.transcript])
    assert "<hidden>" in told
    assert "s3cr" not in told
    assert "smtp" not in told


async def test_what_was_sent_is_not_in_a_timeout(probers: Probers) -> None:
    handler = exchanging((b"AUTH PLAIN s3cr3t_smtp\r\n", b"250 got s3cr3t_smtp\r\n"))
    module = TcpModule.model_validate({"query_response": [SENT_SECRET, {"expect": "^354"}]})
    async with serving(handler) as port:
        outcome = await probers.probe("tcp", Request(Flow("127.0.0.1", port), NAME, 0.5), module)
    assert outcome.failure is Failure.TIMEOUT
    assert "after 250 got <hidden>: no end" in outcome.detail
    assert "s3cr3t" not in repr(outcome)


async def test_what_is_expected_and_what_was_said_first_is_no_secret(probers: Probers) -> None:
    handler = exchanging((b"EHLO prober\n", b"500 prober EHLO nobody\r\n"), first=b"220 prober here\r\n")
    async with serving(handler) as port:
        outcome = await probe(probers, port, {"expect": "^220"}, {"send": "EHLO prober"}, {"expect": "^5.*EHLO"})
    assert outcome.success
    assert any(line.endswith("received 500 prober EHLO nobody") for line in outcome.transcript)


@pytest.mark.parametrize("steps", [(), ({"expect": "ready"},), ({"expect": "more"},)])
async def test_the_first_line_names_the_node(probers: Probers, steps: tuple[dict[str, Any], ...]) -> None:
    identity = Identity("banner", r"^220 (\S+)")
    async with serving(exchanging(first=b"220 node7.example.org ready\r\n250 more\r\n")) as port:
        outcome = await probe(probers, port, *steps, identity=identity)
    assert outcome.success, outcome.detail
    assert outcome.identity == "node7.example.org"
    assert list(outcome.phases) == ["connect", "processing"]


async def test_a_first_line_that_names_nobody(probers: Probers) -> None:
    for handler in (close_at_once, saying(b"hello\r\n")):
        async with serving(handler) as port:
            outcome = await probe(probers, port, identity=Identity("banner", r"^220 (\S+)"))
        assert outcome.identity is None


async def test_a_source_of_the_modules_own(probers: Probers, source: Source) -> None:
    module = TcpModule(source_ip_address="127.0.0.77")
    async with serving(silent) as port:
        outcome = await probers.probe("tcp", Request(Flow("127.0.0.1", port), NAME, 20.0), module)
        assert outcome.success, outcome.detail
        assert outcome.flow.source == "127.0.0.77"
        pinned = Flow("127.0.0.1", port, source.address, source.port)
        contradicted = await probers.probe("tcp", Request(pinned, NAME, 20.0), module)
    assert contradicted.failure is Failure.LOCAL
    assert contradicted.flow == pinned
    assert "source_ip_address 127.0.0.77 of the module contradicts" in contradicted.detail
    assert "probing.source_addresses" in contradicted.detail
