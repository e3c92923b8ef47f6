from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from probes.http_module import HttpModule
from probes.model import Failure, Flow, Outcome, Request
from tests.probes.certificates import authority
from tests.probes.servers import abort, answering, close_at_once, open_descriptors, saying, serving, silent

if TYPE_CHECKING:
    from pathlib import Path

    from probes.table import Probers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority().pem())
    return path


async def probe(probers: Probers, port: int, host: str, *, seconds: float = 20.0, **section: object) -> Outcome:
    request = Request(Flow("127.0.0.1", port), host, seconds)
    return await probers.probe("http", request, HttpModule.model_validate(section))


async def test_verified_by_name_whatever_the_address(probers: Probers, tmp_path: Path, ca_file: Path) -> None:
    names: list[str | None] = []
    context = authority().server_context(tmp_path, "www.example.org", "127.0.0.1")
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    tls = {"ca_file": str(ca_file)}
    async with serving(answering(OK), tls=context) as port:
        before = open_descriptors()
        outcome = await probe(probers, port, "www.example.org", tls_config=tls)
        assert outcome.success, outcome.detail
        by_address = await probe(probers, port, "127.0.0.1", tls_config=tls)
        assert by_address.success, by_address.detail
        by_header = await probe(probers, port, "127.0.0.9", tls_config=tls, headers={"host": "www.example.org:8443"})
        assert by_header.success, by_header.detail
        by_server_name = await probe(
            probers, port, "other.example", tls_config={**tls, "server_name": "www.example.org"}
        )
        assert by_server_name.success, by_server_name.detail
        async with asyncio.timeout(10):
            while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
                await asyncio.sleep(0.01)
    assert names == ["www.example.org", None, "www.example.org", "www.example.org"]
    assert list(outcome.phases) == ["connect", "tls", "processing", "transfer"]


async def test_wrong_name(probers: Probers, tmp_path: Path, ca_file: Path) -> None:
    context = authority().server_context(tmp_path, "www.example.org")
    async with serving(answering(OK), tls=context) as port:
        outcome = await probe(probers, port, "evil.example", tls_config={"ca_file": str(ca_file)})
    assert outcome.failure is Failure.TLS
    assert outcome.detail.startswith("TLS handshake: certificate not accepted: Hostname mismatch")
    assert outcome.connected
    assert list(outcome.phases) == ["connect"]


async def test_unknown_authority(probers: Probers, tmp_path: Path) -> None:
    context = authority().server_context(tmp_path, "www.example.org")
    async with serving(answering(OK), tls=context) as port:
        outcome = await probe(probers, port, "www.example.org", fail_if_not_ssl=True)
        accepted = await probe(probers, port, "any.example", tls_config={"insecure_skip_verify": True})
    assert outcome.failure is Failure.TLS
    assert outcome.detail == ("TLS handshake: certificate not accepted: unable to get local issuer certificate")
    assert accepted.success, accepted.detail


async def test_no_tls_on_the_other_side(probers: Probers) -> None:
    async with serving(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        outcome = await probe(probers, port, "a.example", fail_if_not_ssl=True)
    # The server closes with our hello unread, so a reset may overtake what it said.
    assert outcome.failure in {Failure.TLS, Failure.RESET}, outcome.detail


async def test_closed_in_the_handshake(probers: Probers) -> None:
    async with serving(close_at_once) as port:
        outcome = await probe(probers, port, "a.example", fail_if_not_ssl=True)
    assert outcome.failure in {Failure.CLOSED, Failure.RESET}, outcome.detail
    assert outcome.detail.startswith("TLS handshake: ")


async def test_silence_in_the_handshake(probers: Probers) -> None:
    async with serving(silent) as port:
        before = open_descriptors()
        outcome = await probe(probers, port, "a.example", fail_if_not_ssl=True, seconds=0.3)
        async with asyncio.timeout(10):
            while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
                await asyncio.sleep(0.01)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "TLS handshake: no end within 0.3 s"


async def test_reset_in_the_handshake(probers: Probers) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        abort(writer)

    async with serving(handler) as port:
        outcome = await probe(probers, port, "a.example", fail_if_not_ssl=True)
    assert outcome.failure is Failure.RESET
    assert outcome.detail == "TLS handshake: Connection reset by peer"


async def test_client_certificate_demanded_after_the_handshake(probers: Probers, tmp_path: Path, ca_file: Path) -> None:
    context = authority().server_context(tmp_path, "www.example.org")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca_file)

    def serve_one(listener: socket.socket) -> None:  # asyncio's own TLS server sends no alert
        connection, _ = listener.accept()
        with connection.dup() as still_open, suppress(OSError):
            with suppress(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)
            while still_open.recv(4096):  # or what is unread would turn the close into a reset
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving_one = asyncio.create_task(asyncio.to_thread(serve_one, listener))
        port = listener.getsockname()[1]
        outcome = await probe(probers, port, "www.example.org", tls_config={"ca_file": str(ca_file)})
        await serving_one
    # With TLS 1.3 our handshake is over before the server has seen that there is no certificate.
    assert outcome.failure is Failure.TLS, outcome.detail
    assert "CERTIFICATE_REQUIRED" in outcome.detail


@pytest.mark.parametrize("name", ["a..example", "a" * 70 + ".example"])
async def test_server_name_that_cannot_be_sent(probers: Probers, name: str) -> None:
    async with serving(silent) as port:
        outcome = await probe(probers, port, "a.example", tls_config={"server_name": name})
    assert outcome.failure is Failure.LOCAL, outcome.detail


async def test_plain_where_tls_is_forbidden(probers: Probers) -> None:
    async with serving(answering(OK)) as port:
        assert (await probe(probers, port, "a.example", fail_if_ssl=True)).success


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_unreadable_ca_file(probers: Probers, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text, encoding="ascii")
    outcome = await probe(probers, 9, "a.example", tls_config={"ca_file": str(path)})
    assert outcome.failure is Failure.LOCAL
    assert str(path) in outcome.detail


async def test_old_protocol_version(probers: Probers, tmp_path: Path, ca_file: Path) -> None:
    context = authority().server_context(tmp_path, "www.example.org")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    async with serving(answering(OK), tls=context) as port:
        outcome = await probe(probers, port, "www.example.org", tls_config={"ca_file": str(ca_file)})
    assert outcome.success, outcome.detail
