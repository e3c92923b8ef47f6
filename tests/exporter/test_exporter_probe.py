"""`/probe` as a client sees it: what is probed, what is refused, and in which words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from exporter import adhoc
from exporter.cli import _parser
from exporter.configfile import loads
from exporter.metrics import Reloads
from exporter.monitor import Monitor
from exporter.outside import Machine
from exporter.web import State, application
from tests.probes.servers import Handler, answering, serving, silent

OK = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
Client = TestClient[Request, Application]
CONFIG = """
probing: {{timeout: 500ms}}
modules:
  shouting: {{prober: http, http: {{headers: {{X-Token: sesame, Host: a.example}}}}}}
  patient: {{prober: http, timeout: 60s}}
  keyed: {{prober: http, http: {{path: "/x?token=sesame"}}}}
routers: [{{name: edge, platform: frr, exec: {{prefix: ["false"]}}}}]
nodes: [{{name: n1, address: 127.0.0.1}}]
targets: [{{name: web, address: 127.0.0.1, port: {port}, module: http_2xx}}]
"""


@asynccontextmanager
async def serving_probes(
    handler: Handler = OK, *, anything: bool = False
) -> AsyncIterator[tuple[Client, int, Monitor]]:
    """A client of an exporter that has one target, at a server with this handler."""
    machine = Machine("0.0.test")
    await machine.open()

    async def reload() -> None:
        raise NotImplementedError

    async with serving(handler) as port:
        monitor = Monitor(loads(CONFIG.format(port=port)), machine, "0.0.test")
        state = State(monitor, reload, Reloads(successful=True, last_success=0.0), adhoc_probes=anything)
        try:
            async with TestClient(TestServer(application(state))) as client:
                yield client, port, monitor
        finally:
            await monitor.close()
            await machine.close()


async def ask(client: Client, status: int = 200, /, **query: str) -> str:
    return await ask_with({}, client, status, **query)


async def ask_with(headers: Mapping[str, str], client: Client, status: int = 200, /, **query: str) -> str:
    answer = await client.get("/probe", params=query, headers=headers)
    text = await answer.text()
    assert answer.status == status, text
    return text


async def test_a_configured_target_by_its_name() -> None:
    async with serving_probes() as (client, _, _):
        text = await ask(client, target="web")
        assert "probe_success 1.0" in text
        assert 'probe_http_duration_seconds{phase="connect"}' in text
        assert "# TYPE probe_success gauge" in text
        other = await ask(client, target="web", module="ssh_banner")
        assert "probe_success 0.0" in other
        assert "probe_http" not in other
        answer = await client.get(
            "/probe", params={"target": "web"}, headers={"Accept": "application/openmetrics-text"}
        )
        assert answer.content_type == "application/openmetrics-text"


async def test_anything_else_is_refused_unless_the_operator_opens_it() -> None:
    async with serving_probes() as (client, port, _):
        for target in (f"http://127.0.0.1:{port}", "127.0.0.1", "web2", "<script>"):
            text = await ask(client, 403, target=target)
            assert "--web.enable-adhoc-probes" in text
            assert target not in text
            assert text.count("\n") == 1
    async with serving_probes(anything=True) as (client, port, _):
        assert "probe_success 1.0" in await ask(client, target=f"http://127.0.0.1:{port}/", module="http_2xx")
        assert "probe_success 1.0" in await ask(client, target=f"127.0.0.1:{port}")
        assert "probe_success 1.0" in await ask(client, target="web")


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "parameter target is missing"),
        (
            {"target": "web", "module": "none"},
            400,
            "there are http_2xx, https_2xx, keyed, patient, shouting, ssh_banner",
        ),
        ({"target": "http://u:sesame@127.0.0.1"}, 400, "basic_auth"),
        ({"target": "web", "module": "shouting", "hostname": "b.example"}, 400, "Host header"),
        ({"target": "web", "hostname": "b\r\nc"}, 400, "no host"),
        ({"target": "web", "paths": "some"}, 400, "value all"),
        ({"target": "127.0.0.1:1", "paths": "all"}, 404, "none has this name"),
        ({"target": "web", "paths": "all", "module": "patient"}, 400, "by module http_2xx"),
    ],
)
async def test_what_cannot_be_probed(query: dict[str, str], status: int, words: str) -> None:
    async with serving_probes(anything=True) as (client, _, monitor):
        text = await ask(client, status, **query)
        assert words in text
        assert "sesame" not in text
        assert monitor.history.results.newest_first() == []


async def test_the_scrape_timeout_is_honoured() -> None:
    async with serving_probes(silent) as (client, _, monitor):
        for module, header, seconds in (
            ("patient", "0.7", 0.2),
            ("patient", "0.3", 0.3),
            ("http_2xx", "", 0.5),
        ):
            headers = {"X-Prometheus-Scrape-Timeout-Seconds": header} if header else {}
            assert "probe_success 0.0" in await ask_with(headers, client, target="web", module=module)
            assert f"no end within {seconds:g}" in monitor.history.failures.newest_first()[0].outcome.detail
        await ask_with({"X-Prometheus-Scrape-Timeout-Seconds": "soon"}, client, 400, target="web")


async def test_debug_tells_all_but_secrets() -> None:
    async with serving_probes() as (client, _, monitor):
        text = await ask(client, target="web", module="shouting", debug="true")
        logs, values, module = text.index("Logs for"), text.index("Metrics that"), text.index("Module configuration:")
        assert logs < text.index("connecting to 127.0.0.1") < values < text.index("probe_success 1.0") < module
        assert "X-Token: <hidden>" in text[module:]
        assert "Host: a.example" in text[module:]
        assert "sesame" not in text
        kept = monitor.history.results.newest_first()
        assert [(record.target, record.router, record.node) for record in kept] == [("web", "/probe", None)]


async def test_the_query_of_a_modules_path_is_told_to_nobody() -> None:
    async with serving_probes() as (client, _, _):
        told = [await ask(client, target="web", module="keyed", debug="true")]
        pages = ("/config", "/history?id=1", "/api/v1/history?id=1")
        told += [await (await client.get(page)).text() for page in pages]
    assert all("sesame" not in text for text in told)
    assert "> GET /x?<hidden>" in told[0]
    assert "path: /x?<hidden>" in told[0]


async def test_a_query_is_not_kept() -> None:
    async with serving_probes(anything=True) as (client, port, _):
        await ask(client, target=f"http://127.0.0.1:{port}/a?token=sesame")
        for path in ("/history", "/api/v1/history", "/history?id=1", "/api/v1/history?id=1"):
            text = await (await client.get(path)).text()
            assert f"http://127.0.0.1:{port}/a" in text
            assert "sesame" not in text


async def test_history_over_http() -> None:
    async with serving_probes() as (client, _, _):
        assert await (await client.get("/api/v1/history")).json() == {"results": [], "failures": []}
        await ask(client, target="web", module="ssh_banner")
        document: dict[str, Sequence[dict[str, Any]]] = await (await client.get("/api/v1/history")).json()
        assert document["failures"] == document["results"]
        own = await (await client.get("/api/v1/history", params={"id": "1"})).json()
        assert own["target"] == "web"
        assert own["success"] is False
        assert any("connecting to 127.0.0.1" in line for line in own["transcript"])
        for number in ("2", "-1", "x", "9" * 5000, ""):
            for path in ("/history", "/api/v1/history"):
                assert (await client.get(path, params={"id": number})).status == 404
        page = await client.get("/history")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adhoc, "MOST_AT_ONCE", 2)
    async with serving_probes(silent) as (client, _, _):
        statuses = await asyncio.gather(*(client.get("/probe", params={"target": "web"}) for _ in range(4)))
        assert sorted(answer.status for answer in statuses) == [200, 200, 429, 429]
        assert "under way already" in await next(one for one in statuses if one.status == 429).text()
        assert "probe_success 0.0" in await ask(client, target="web"), "and then again"


async def test_a_name_that_is_none() -> None:
    async with serving_probes(anything=True) as (client, _, _):
        text = await ask(client, target="http://no..name/")
        assert "probe_success 0.0" in text
        assert 'probe_failure_info{reason="dns"} 1.0' in text
        assert "probe_ip_protocol 0.0" in text


async def test_every_path_of_a_target() -> None:
    async with serving_probes() as (client, _, monitor):
        assert "probe_success{" not in await ask(client, target="web", paths="all"), "no round was made yet"
        await monitor.full_round()
        text = await ask(client, target="web", paths="all")
        assert 'probe_success{next_hop="",node="n1",router="edge",vip="127.0.0.1"} 1.0' in text
        assert 'phase="connect",router="edge",vip="127.0.0.1"' in text
        (kept,) = monitor.history.results.newest_first()
        assert (kept.target, kept.module, kept.router, kept.node) == ("web", "http_2xx", "edge", "n1")
        assert any("connected from" in line for line in kept.outcome.transcript)
        assert "last rounds" in await ask(client, target="web", paths="all", debug="true")


async def test_nothing_is_probed_by_asking_for_the_head() -> None:
    async with serving_probes() as (client, _, _):
        assert (await client.head("/probe", params={"target": "web"})).status == 405


def test_flags() -> None:
    closed, opened = (_parser().parse_args(["serve", *flags]) for flags in ([], ["--web.enable-adhoc-probes"]))
    assert (closed.adhoc_probes, closed.timeout_offset, opened.adhoc_probes) == (False, 0.5, True)
    assert _parser().parse_args(["serve", "--timeout-offset=1.5"]).timeout_offset == 1.5


@pytest.mark.parametrize("value", ["-1", "nan", "61", "1s"])
def test_what_is_no_offset(value: str) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["serve", f"--timeout-offset={value}"])
