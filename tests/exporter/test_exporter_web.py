"""The pages and handles as a client sees them, on a service that has no network to ask."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from exporter.configfile import loads
from exporter.monitor import Monitor
from exporter.outside import Machine
from exporter.serve import _Service, handed_over, listening
from exporter.web import application, prefixes
from tests.exporter.test_exporter_configfile import DESIGN

Client = TestClient[Request, Application]
SECRET = "correct horse battery staple"
TEXT = DESIGN.replace("known_hosts: /etc", "password_file: {secret}, known_hosts: /etc").replace(
    "www.example.org", "203.0.113.10"
)


@asynccontextmanager
async def serving(
    tmp_path: Path, route_prefix: str = "", external_url: str = ""
) -> AsyncIterator[tuple[Client, _Service]]:
    (tmp_path / "secret").write_text(SECRET)
    path = tmp_path / "ecmp-exporter.yml"
    path.write_text(TEXT.replace("{secret}", str(tmp_path / "secret")))
    monitor = Monitor(loads(path.read_text()), Machine("0.0.test"), "0.0.test")
    service = _Service(monitor, path, *prefixes(route_prefix, external_url))
    server = TestServer(application(service._state))
    async with TestClient(server, auto_decompress=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client, service


async def test_every_route_answers(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _):
        kinds = {
            "/": "text/html",
            "/metrics": "text/plain",
            "/api/v1/status": "application/json",
            "/api/v1/events": "application/json",
            "/config": "text/plain",
            "/-/healthy": "text/plain",
        }
        for path, kind in kinds.items():
            answer = await client.get(path)
            assert (path, answer.status, answer.content_type) == (path, 200, kind)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"
        assert (await client.get("/nothing")).status == 404
        assert (await client.get("/-/reload")).status == 405
        assert (await client.post("/metrics")).status == 405


async def test_status_before_the_first_round(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _):
        document = await (await client.get("/api/v1/status")).json()
        assert document["version"] == "0.0.test"
        assert document["routers"] == [
            {"name": "edge", "platform": "frr", "up": False, "snapshot_age_seconds": None, "error": None}
        ]
        assert document["paths"] == []
        assert (await (await client.get("/api/v1/events")).json()) == {"events": []}
        assert "The first round has not ended yet" in await (await client.get("/")).text()


async def test_ready_after_the_first_round(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, service):
        assert (await client.get("/-/ready")).status == 503
        assert (await client.get("/-/healthy")).status == 200
        service._state.ready = True
        assert (await client.get("/-/ready")).status == 200


async def test_metrics_in_the_form_that_is_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _):
        plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert b"ecmp_exporter_build_info{" in await plain.read()
        squeezed = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
        assert squeezed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in squeezed.headers["Vary"]
        assert b"ecmp_exporter_build_info{" in gzip.decompress(await squeezed.read())
        openmetrics = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert openmetrics.content_type == "application/openmetrics-text"
        together = await asyncio.gather(*(client.get("/metrics") for _ in range(5)))
        assert [answer.status for answer in together] == [200] * 5


@pytest.mark.parametrize(
    ("route_prefix", "external_url", "expected"),
    [
        ("", "", ("", "")),
        ("/", "", ("", "")),
        ("/ecmp", "", ("/ecmp", "/ecmp")),
        ("ecmp/", "", ("/ecmp", "/ecmp")),
        ("", "https://example.org/a/b/", ("/a/b", "/a/b")),
        ("", "https://example.org", ("", "")),
        ("/", "https://example.org/a", ("", "/a")),
        ("/x", "https://example.org/a", ("/x", "/a")),
    ],
)
def test_prefixes(route_prefix: str, external_url: str, expected: tuple[str, str]) -> None:
    assert prefixes(route_prefix, external_url) == expected


async def test_everything_is_under_the_prefix(tmp_path: Path) -> None:
    async with serving(tmp_path, route_prefix="/ecmp", external_url="https://example.org/out") as (client, _):
        for path in ("/ecmp/", "/ecmp/metrics", "/ecmp/api/v1/status", "/ecmp/-/healthy"):
            assert (await client.get(path)).status == 200
        assert (await client.get("/metrics")).status == 404
        for path in ("/", "/ecmp"):
            answer = await client.get(path, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (302, "/ecmp/")
        assert 'href="/out/metrics"' in await (await client.get("/ecmp/")).text()


async def test_the_configuration_is_shown_without_secrets(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, service):
        text = await (await client.get("/config")).text()
        assert SECRET not in text
        assert str(tmp_path / "secret") in text
        assert loads(text) == service._monitor.config
        assert yaml.safe_load(text)["probing"]["interval"] == "15s"


async def test_a_good_file_is_taken_over(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, service):
        path = tmp_path / "ecmp-exporter.yml"
        path.write_text(path.read_text().replace("interval: 15s", "interval: 30s", 1))
        assert (await client.post("/-/reload")).status == 200
        assert service._monitor.config.probing.interval == 30.0
        assert b"config_last_reload_successful 1.0" in await (await client.get("/metrics")).read()


async def test_a_bad_file_keeps_the_configuration_and_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, service):
        path = tmp_path / "ecmp-exporter.yml"
        good = path.read_text()
        path.write_text(good.replace("interval: 15s", "interval: 15", 1).replace("port: 443", "port: none"))
        answer = await client.post("/-/reload")
        text = await answer.text()
        assert answer.status == 500
        assert f"{path}: line 2: probing.interval: write a duration with its unit, like 15s" in text
        assert "targets[1].port" in text
        assert service._monitor.config == loads(good)
        assert b"config_last_reload_successful 0.0" in await (await client.get("/metrics")).read()
        path.unlink()
        answer = await client.post("/-/reload")
        assert (answer.status, "cannot be read" in await answer.text()) == (500, True)
        path.write_text(good)
        assert (await client.post("/-/reload")).status == 200
        assert b"config_last_reload_successful 1.0" in await (await client.get("/metrics")).read()


async def test_what_a_new_file_leaves_unchanged_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, service):
        monitor, path = service._monitor, tmp_path / "ecmp-exporter.yml"
        feed = monitor.feeds["edge"]
        path.write_text(path.read_text().replace("name: leviathan1", "name: other"))
        await client.post("/-/reload")
        assert monitor.feeds["edge"] is feed
        assert list(monitor.expected.nodes) == ["other", "leviathan3"]
        path.write_text(path.read_text().replace("username: monitor", "username: somebody"))
        await client.post("/-/reload")
        assert monitor.feeds["edge"] is not feed


@pytest.mark.parametrize("address", ["", "10179", "localhost", ":x", ":70000", "host:"])
def test_what_is_no_address_to_listen_on(address: str) -> None:
    with pytest.raises(ValueError, match="is no address to listen on; write \\[HOST\\]:PORT, like :10179"):
        listening(address)


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0"])
def test_listening(address: str) -> None:
    with listening(address) as sock:
        port = sock.getsockname()[1]
        assert port > 0
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            listening(f"127.0.0.1:{port}")


def test_no_sockets_from_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(ValueError, match="no sockets were handed over"):
        handed_over()
