"""The two sides of a comparison: Debian's prometheus-blackbox-exporter, and this exporter's /probe."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import yaml
from aiohttp import ClientSession
from aiohttp.test_utils import BaseTestServer, TestServer
from prometheus_client.parser import text_string_to_metric_families

from exporter.configfile import loads
from exporter.metrics import Reloads
from exporter.monitor import Monitor
from exporter.outside import Machine
from exporter.web import State, application
from tests.probes.servers import closed_port

Labels = frozenset[tuple[str, str]]
_SKELETON: Mapping[str, Any] = {
    "routers": [{"name": "edge", "platform": "frr", "exec": {}}],
    "nodes": [{"name": "n1", "address": "127.0.0.1"}],
    "targets": [{"name": "nothing", "address": "127.0.0.1", "port": 9, "module": "http_2xx"}],
}


@dataclass(frozen=True)
class Answer:
    """What one side said of a probe."""

    text: str
    samples: Mapping[tuple[str, Labels], float]

    def value(self, name: str) -> float | None:
        """Of a metric without labels."""
        return self.samples.get((name, frozenset()))

    def names(self) -> dict[str, frozenset[str]]:
        """The metrics, with the names of their labels."""
        return {name: frozenset(label for label, _ in labels) for name, labels in self.samples}

    def phases(self) -> dict[tuple[str, str], float]:
        """Seconds by metric and phase."""
        return {
            (name, dict(labels)["phase"]): value
            for (name, labels), value in self.samples.items()
            if "phase" in dict(labels)
        }


def parsed(text: str) -> Answer:
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Answer(text, found)


@dataclass(frozen=True)
class Blackbox:
    """Debian's, running."""

    url: str

    async def probe(self, module: str, target: str) -> Answer:
        async with (
            ClientSession() as session,
            session.get(f"{self.url}/probe", params={"module": module, "target": target}) as answer,
        ):
            text = await answer.text()
            assert answer.status == 200, text
            return parsed(text)


@contextmanager
def blackbox(directory: Path, modules: Mapping[str, Any]) -> Iterator[Blackbox]:
    """Start it with these modules; its absence is a failure, not a reason to skip."""
    program = shutil.which("prometheus-blackbox-exporter")
    assert program is not None, "install prometheus-blackbox-exporter: /probe is compared with it"
    config = directory / "blackbox.yml"
    config.write_text(yaml.safe_dump({"modules": dict(modules)}))
    port = closed_port()
    with (directory / "blackbox.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _answers(f"{url}/-/healthy"):
            assert process.poll() is None, (directory / "blackbox.log").read_text()
        yield Blackbox(url)
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Ours:
    """This exporter, with --web.enable-adhoc-probes."""

    server: BaseTestServer
    session: ClientSession

    async def probe(self, module: str, target: str, **more: str) -> Answer:
        query = {"module": module, "target": target, **more}
        async with self.session.get(self.server.make_url("/probe"), params=query) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return parsed(text)


@asynccontextmanager
async def ours(modules: Mapping[str, Any]) -> AsyncIterator[Ours]:
    """Start it with the same modules; no round is made."""
    config = loads(yaml.safe_dump({**_SKELETON, "modules": dict(modules)}))
    machine = Machine("0.0.test")
    await machine.open()
    monitor = Monitor(config, machine, "0.0.test")

    async def reload() -> None:
        raise NotImplementedError

    state = State(monitor, reload, Reloads(successful=True, last_success=0.0), adhoc_probes=True)
    try:
        async with TestServer(application(state)) as server, ClientSession() as session:
            yield Ours(server, session)
    finally:
        await monitor.close()
        await machine.close()
