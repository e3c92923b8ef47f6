"""`http` where the server chooses HTTP/2; what a server may do wrong there is tried in test_http2.py."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from h2.connection import H2Connection

from probes.http_module import MAX_BODY_BYTES
from probes.model import Failure, Identity, Outcome
from probes.ports import Source
from probes.table import Probers
from tests.probes.certificates import authority
from tests.probes.h2servers import DATA, answering_h2, frame, hang_up, head, repeating, writing
from tests.probes.http_probe import Site, page, probe
from tests.probes.servers import Handler, closed_port, open_descriptors, serving, silent


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    context = authority().server_context(tmp_path, "www.example.org")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def module(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority().pem())
    return {"tls_config": {"ca_file": str(path)}}


async def test_spoken_where_the_server_chooses_it(
    probers: Probers, tls: ssl.SSLContext, module: dict[str, object], source: Source
) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    def answer(connection: H2Connection, stream: int, asked: dict[str, str], body: bytes) -> None:
        seen.append((asked, body))
        connection.send_headers(stream, [(":status", "201"), ("x-node", "leviathan3"), ("set-cookie", "a=b")])
        connection.send_data(stream, b"hello", end_stream=True)

    wanted = {
        **module,
        "method": "POST",
        "body": "ping",
        "headers": {"Host": "www.example.org", "X-Probe": "yes"},
        "valid_http_versions": ["HTTP/2.0"],
        "fail_if_body_not_matches_regexp": ["^hello$"],
        "fail_if_header_not_matches": [{"header": "X-Node", "regexp": "leviathan"}],
    }
    async with serving(answering_h2(answer), tls=tls) as port:
        identity = Identity("header", "X-Node")
        outcome = await probe(probers, port, module=wanted, source=source, identity=identity, path="/a?b=c")
    assert outcome.success, outcome.detail
    assert outcome.identity == "leviathan3"
    assert list(outcome.phases) == ["connect", "tls", "processing", "transfer"]
    assert outcome.facts.http is not None
    assert (outcome.facts.http.version, outcome.facts.http.status_code, outcome.facts.http.tls) == (2.0, 201, True)
    assert outcome.facts.http.uncompressed_body_bytes == 5
    assert outcome.facts.tls is not None
    ((asked, body),) = seen
    assert body == b"ping"
    assert asked == {
        ":method": "POST",
        ":authority": "www.example.org",
        ":scheme": "https",
        ":path": "/a?b=c",
        "x-probe": "yes",
        "user-agent": "ecmp-exporter/0.0.test",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-length": "4",
    }


@pytest.mark.parametrize(
    "section",
    [{"enable_http2": False}, {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}],
)
async def test_not_offered(
    probers: Probers, tls: ssl.SSLContext, module: dict[str, object], section: dict[str, object]
) -> None:
    async with serving(Site({"/": page()}).serve, tls=tls) as port:
        outcome = await probe(probers, port, module={**module, **section})
    assert outcome.success, outcome.detail
    assert outcome.facts.http is not None
    assert outcome.facts.http.version == 1.1


async def test_not_chosen(probers: Probers, tls: ssl.SSLContext, module: dict[str, object]) -> None:
    tls.set_alpn_protocols(["http/1.1"])
    async with serving(Site({"/": page()}).serve, tls=tls) as port:
        outcome = await probe(probers, port, module={**module, "valid_http_versions": ["HTTP/2"]})
    assert outcome.detail == "HTTP/1.1, which valid_http_versions does not hold"


async def test_redirects_on_one_connection(probers: Probers, tls: ssl.SSLContext, module: dict[str, object]) -> None:
    streams: list[tuple[int, str]] = []

    def answer(connection: H2Connection, stream: int, asked: dict[str, str], _body: bytes) -> None:
        streams.append((stream, asked[":path"]))
        if len(streams) < 3:
            connection.send_headers(stream, [(":status", "302"), ("location", f"/{stream}")])
            connection.send_data(stream, b"moved", end_stream=True)
        else:
            connection.send_headers(stream, [(":status", "204")], end_stream=True)

    async with serving(answering_h2(answer), tls=tls) as port:
        outcome = await probe(probers, port, module=module)
    assert outcome.success, outcome.detail
    assert streams == [(1, "/"), (3, "/1"), (5, "/3")]
    assert outcome.facts.http is not None
    assert outcome.facts.http.redirects == 2


ENDLESS = repeating(frame(DATA, 0, 1, b"x" * 16_000))


@pytest.mark.parametrize(
    ("handler", "failure", "words"),
    [
        (writing(head(), then=hang_up), Failure.CLOSED, "body: connection closed"),
        (writing(then=hang_up), Failure.CLOSED, "HTTP/2 response: connection closed"),
        (writing(head(), then=ENDLESS), Failure.EXPECTATION, "body is longer than"),
        (silent, Failure.TIMEOUT, "HTTP/2 response: no end within"),
    ],
)
async def test_wrong_answers(
    probers: Probers,
    tls: ssl.SSLContext,
    module: dict[str, object],
    handler: Handler,
    failure: Failure,
    words: str,
) -> None:
    async with serving(handler, tls=tls) as port:
        before = open_descriptors()
        outcome = await probe(probers, port, module=module, seconds=1.0 if failure is Failure.TIMEOUT else 30.0)
        async with asyncio.timeout(10):
            while open_descriptors() > before:  # noqa: ASYNC110 - the server's side closes a moment later
                await asyncio.sleep(0.01)
    assert outcome.failure is failure, outcome.detail
    assert words in outcome.detail


NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path .; proxy_temp_path .; fastcgi_temp_path .; uwsgi_temp_path .; scgi_temp_path .;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    server_name www.example.org;
    ssl_certificate www.example.org.pem; ssl_certificate_key www.example.org.pem;
    gzip on; gzip_min_length 1; gzip_types text/plain;
    default_type text/plain;
    root {root};
    location = / {{ return 301 /index.txt; }}
    location = /away {{ return 302 https://www.example.org/; }}
  }}
}}
"""


@contextmanager
def nginx(directory: Path) -> Iterator[int]:
    port = closed_port()
    (directory / "nginx.conf").write_text(NGINX.format(port=port, root=directory), encoding="ascii")
    (directory / "index.txt").write_bytes(b"It works. " * 20_000)
    with (directory / "zeros.txt").open("wb") as file:
        file.truncate(200_000_000)
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "nginx is not installed"
    process = subprocess.Popen([program, "-p", str(directory), "-c", str(directory / "nginx.conf")])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
async def nginx_port(
    probers: Probers, tmp_path: Path, tls: ssl.SSLContext, module: dict[str, object]
) -> AsyncIterator[int]:
    assert tls is not None  # its certificate is nginx's
    with nginx(tmp_path) as port:
        async with asyncio.timeout(20):
            while (await probe(probers, port, module=module)).failure is Failure.REFUSED:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield port


@pytest.mark.parametrize("http2", [True, False])
async def test_nginx(probers: Probers, nginx_port: int, module: dict[str, object], http2: bool) -> None:
    async def ask(path: str, **section: object) -> Outcome:
        return await probe(probers, nginx_port, path=path, module={**module, "enable_http2": http2, **section})

    redirected = await ask("/", fail_if_body_not_matches_regexp=["It works"])
    packed = await ask("/", compression="gzip", fail_if_body_not_matches_regexp=["It works"])
    bomb = await ask("/zeros.txt", compression="gzip")
    large = await ask("/zeros.txt")
    away = await ask("/away")
    posted = await ask("/index.txt", method="POST", body="x" * 300_000, valid_status_codes=[405])
    for outcome in (redirected, packed):
        assert outcome.success, outcome.detail
        assert outcome.facts.http is not None
        assert outcome.facts.http.redirects == 1
        assert outcome.facts.http.version == (2.0 if http2 else 1.1)
        assert outcome.facts.http.uncompressed_body_bytes == 200_000
        assert outcome.facts.http.last_modified is not None
        assert not any("once more" in line for line in outcome.transcript)
    for outcome in (bomb, large):
        assert outcome.failure is Failure.EXPECTATION
        assert outcome.detail == f"body is longer than {MAX_BODY_BYTES} bytes"
    assert "leaves the path (another port)" in away.detail
    assert posted.success, posted.detail
