"""Debian's nginx through both: redirects, basic auth, gzip, ranges of status, TLS, HTTP/2."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.parity.cases import Case, Group, Server, group
from tests.parity.certificates import Certificates, ca_file
from tests.probes.servers import closed_port

CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    types {{ text/plain txt; }}
    gzip on;
    gzip_types text/plain;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port}{tls};
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        root {directory}/files;
        location / {{ }}
        location = /moved {{ return 301 /plain.txt; }}
        location = /gone {{ return 410; }}
        location = /empty {{ return 204; }}
        location = /loop {{ return 302 /loop; }}
        location = /private.txt {{ auth_basic private; auth_basic_user_file {directory}/users; }}
    }}
}}
"""


def nginx(tls: str) -> Server:
    @asynccontextmanager
    async def start(found: Certificates) -> AsyncIterator[int]:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        assert program is not None, "install nginx-light: /probe is compared on it"
        with TemporaryDirectory() as name:
            directory, port = Path(name), closed_port()
            _write(directory, port, tls, found.directory / "good.pem")
            process = await asyncio.create_subprocess_exec(program, "-c", str(directory / "nginx.conf"))
            try:
                while not await _listens(port):
                    assert process.returncode is None, (directory / "error.log").read_text()
                yield port
            finally:
                process.terminate()
                await process.wait()

    return start


def _write(directory: Path, port: int, tls: str, certificate: Path) -> None:
    directory.chmod(0o755)  # started by root, its worker is nobody's
    (directory / "files").mkdir()
    for file in ("plain.txt", "private.txt"):
        (directory / "files" / file).write_text("hello, world\n" * 100)
    (directory / "users").write_text("monitor:{PLAIN}sesame\n")
    text = CONFIG.format(directory=directory, port=port, tls=tls, certificate=certificate)
    (directory / "nginx.conf").write_text(text)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        await asyncio.sleep(0.02)
        return False
    writer.close()
    await writer.wait_closed()
    return True


def cases(directory: Path) -> list[Case]:
    trusting = {"tls_config": {"ca_file": str(ca_file(directory))}}
    plain, private = "http://127.0.0.1:{port}/plain.txt", "http://127.0.0.1:{port}/private.txt"
    gzip = {"compression": "gzip", "headers": {"Accept-Encoding": "gzip"}}
    basic = {"basic_auth": {"username": "monitor", "password": "sesame"}}
    plainly = partial(Case, server="plain")
    return [
        plainly("nginx", success=True, settings={}, target=plain),
        plainly("nginx by head", success=True, settings={"method": "HEAD"}, target=plain),
        plainly("nginx with gzip", success=True, settings=gzip, target=plain),
        plainly("gzip that is not asked for", success=False, settings={"compression": "gzip"}, target=plain),
        plainly(
            "nginx and a pattern in gzip",
            success=False,
            settings={**gzip, "fail_if_body_matches_regexp": ["world\nhello"]},
            target=plain,
        ),
        plainly("nginx has moved it", success=True, settings={}, target="http://127.0.0.1:{port}/moved"),
        plainly(
            "nginx has moved it, and is not followed",
            success=False,
            settings={"follow_redirects": False},
            target="http://127.0.0.1:{port}/moved",
        ),
        plainly("nginx in circles", success=False, settings={}, target="http://127.0.0.1:{port}/loop"),
        plainly("nginx has it no more", success=False, settings={}, target="http://127.0.0.1:{port}/gone"),
        plainly("nginx has nothing to say", success=True, settings={}, target="http://127.0.0.1:{port}/empty"),
        plainly("nginx wants a password", success=False, settings={}, target=private),
        plainly("nginx takes the password", success=True, settings=basic, target=private),
        plainly("TLS to nginx that has none", success=False, settings=trusting, target="https://127.0.0.1:{port}/"),
        Case("nginx over TLS", "tls", True, trusting, "https://127.0.0.1:{port}/plain.txt"),
        Case("nginx over HTTP/2", "http2", True, trusting, "https://127.0.0.1:{port}/plain.txt"),
        Case("nginx over HTTP/2, moved", "http2", True, trusting, "https://127.0.0.1:{port}/moved"),
        Case(
            "nginx without HTTP/2",
            "http2",
            True,
            {**trusting, "enable_http2": False, "valid_http_versions": ["HTTP/1.1"]},
            "https://127.0.0.1:{port}/plain.txt",
        ),
        Case("nginx without TLS", "tls", False, {}, "http://127.0.0.1:{port}/plain.txt"),
    ]


SERVERS = {"plain": nginx(""), "tls": nginx(" ssl"), "http2": nginx(" ssl http2")}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(tmp_path_factory.mktemp("nginx"), cases, SERVERS) as found:
        yield found


@pytest.mark.parametrize("name", [case.name for case in cases(Path())])
async def test_nginx(name: str, compared: Group) -> None:
    await compared.compare(name)
