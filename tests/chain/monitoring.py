"""Debian's Prometheus and Alertmanager on this machine's loopback, and a webhook that keeps what reaches it.

Both choose their own free port and say in their log which: nobody else can take it in between.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.chain.scaled import Receiver, Scale, alertmanager, receivers, rules

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "prometheus"
JOB = "ecmp-exporter"
ANY_PORT = "127.0.0.1:0"
_START_SECONDS = 60
_STOP_SECONDS = 10
_LISTENING = re.compile(r'msg="?Listening on"? address=127\.0\.0\.1:(\d+)')
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # http_proxy is not for loopback

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert as a notification told of it; `at` by time.monotonic()."""

    at: float
    receiver: Receiver
    status: str
    fingerprint: str
    labels: Labels
    annotations: Labels

    @property
    def name(self) -> str:
        return self.labels["alertname"]


class Webhook:
    """Keeps every alert of every notification, in the order in which they came."""

    def __init__(self, receivers: Iterable[Receiver]) -> None:
        known = {receiver.name: receiver for receiver in receivers}
        self._notices: list[Notice] = []
        kept = self._notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kept.extend(_notices(body, known[body["receiver"]], time.monotonic()))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def notices(self) -> tuple[Notice, ...]:
        return tuple(self._notices)

    @contextmanager
    def serving(self) -> Iterator[Webhook]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _notices(body: dict[str, Any], receiver: Receiver, at: float) -> list[Notice]:
    return [
        Notice(at, receiver, one["status"], one["fingerprint"], one["labels"], one["annotations"])
        for one in body["alerts"]
    ]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that Prometheus holds: pending or firing."""

    state: str
    labels: Labels

    @property
    def name(self) -> str:
        return self.labels["alertname"]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Where the two are, and questions to them. An answer that is no success raises."""

    prometheus: str
    alertmanager: str
    webhook: Webhook

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query, now."""
        found: list[dict[str, Any]] = self._ask("/api/v1/query", query=expression)["result"]
        return found

    def query_range(self, expression: str, seconds: float, step: float = 1) -> list[dict[str, Any]]:
        """The series of the last `seconds`."""
        now = time.time()
        asked = self._ask("/api/v1/query_range", query=expression, start=now - seconds, end=now, step=step)
        found: list[dict[str, Any]] = asked["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health, last error and, for an alert, its state."""
        return [rule for group in self._ask("/api/v1/rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[Alert]:
        return [Alert(one["state"], one["labels"]) for one in self._ask("/api/v1/alerts")["alerts"]]

    def held(self) -> list[dict[str, Any]]:
        """The alerts that Alertmanager holds and has not seen resolved: with `fingerprint` and `status`."""
        found: list[dict[str, Any]] = _get(f"{self.alertmanager}/api/v2/alerts")
        return found

    def wait_until_ready(self) -> None:
        """Until both have read their configuration and answer questions."""
        deadline = time.monotonic() + _START_SECONDS
        for url in (self.prometheus, self.alertmanager):
            while not _answers(f"{url}/-/ready"):
                assert time.monotonic() < deadline, f"{url} never became ready"
                time.sleep(0.1)

    def _ask(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = _get(f"{self.prometheus}{path}?{urllib.parse.urlencode(parameters)}")
        data: dict[str, Any] = answer["data"]
        return data


def _get(url: str) -> Any:
    with _DIRECT.open(url, timeout=20) as answer:
        return json.load(answer)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def monitoring(
    exporters: Sequence[str],
    directory: Path,
    *,
    source: Path = SHIPPED,
    scale: Scale | None = None,
    scrape: str = "15s",
    evaluate: str = "15s",
) -> Iterator[Monitoring]:
    """Run both with the rules and routes in `source`, scraping the exporters (HOST:PORT), until the block ends.

    Without a scale the rule files are used where they lie, and only Alertmanager's receivers are changed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shipped = yaml.safe_load((source / "alertmanager.yml").read_text(encoding="utf-8"))
    with Webhook(receivers(shipped)).serving() as webhook:
        routes = alertmanager(shipped, scale, webhook.url)
        with _alertmanager(routes, directory) as manager:
            config = {
                "global": {"scrape_interval": scrape, "evaluation_interval": evaluate},
                "rule_files": [str(path) for path in _rule_files(source, directory, scale)],
                "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(exporters)}]}],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
            }
            with _prometheus(config, directory) as prometheus:
                found = Monitoring(f"http://{prometheus}", f"http://{manager}", webhook)
                found.wait_until_ready()
                yield found


def _rule_files(source: Path, directory: Path, scale: Scale | None) -> list[Path]:
    shipped = sorted((source / "rules").glob("*.yml"))
    assert shipped, f"no rules in {source}"
    if scale is None:
        return shipped
    changed = []
    for path in shipped:
        content = rules(yaml.safe_load(path.read_text(encoding="utf-8")), scale)
        changed.append(_written(content, directory / path.name))
    return changed


def _alertmanager(config: dict[str, Any], directory: Path) -> AbstractContextManager[str]:
    file = _written(config, directory / "alertmanager-scaled.yml")
    return _started(
        [
            "prometheus-alertmanager",
            f"--config.file={file}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={ANY_PORT}",
            "--cluster.listen-address=",
        ],
        directory / "alertmanager.log",
    )


def _prometheus(config: dict[str, Any], directory: Path) -> AbstractContextManager[str]:
    file = _written(config, directory / "prometheus.yml")
    return _started(
        [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={ANY_PORT}",
        ],
        directory / "prometheus.log",
    )


def _written(content: dict[str, Any], file: Path) -> Path:
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[str]:
    """Run a daemon until the block ends, however it does; gives HOST:PORT once it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield f"127.0.0.1:{_port(process, log)}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8")
        if found := _LISTENING.search(said):
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen:\n{log.read_text(encoding='utf-8')[-2000:]}")
