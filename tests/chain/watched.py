"""A lab with the exporter in it, and Prometheus and Alertmanager that watch the exporter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab import commands
from lab.demo import exporter
from lab.plan import RouterKind
from tests.chain.monitoring import SHIPPED, Monitoring, monitoring
from tests.chain.rehearsal import Rehearsal, Verdicts, wait_until_ready
from tests.chain.scaled import Scale

_BUILDING = threading.Lock()  # `up` changes this process's umask for a while


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the exporter probes and reads its router, how often it is scraped, and how rules are scaled.

    Without a scale, the rules and routes in `source` keep the times that they are shipped with.
    """

    interval: str = "15s"
    timeout: str = "3s"
    poll: str = "15s"
    scrape: str = "15s"
    evaluate: str = "15s"
    scale: Scale | None = None
    source: Path = SHIPPED


class Watched:
    """The running whole. `stop` and `start` end the exporter and bring it back on the same port."""

    def __init__(self, name: str, config: Path, found: Monitoring, port: int) -> None:
        self.name = name
        self.config = config
        self.monitoring = found
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._running = ExitStack()

    def start(self, listener: socket.socket | None = None) -> None:
        with ExitStack() as stack:
            bound = stack.enter_context(listener or socket.create_server(("127.0.0.1", self.port)))
            process = stack.enter_context(exporter(self.name, str(self.config), bound, level="warn"))
            wait_until_ready(Rehearsal(self.name, self.url, self.config), process)
            self._running = stack.pop_all()

    def stop(self) -> None:
        self._running.close()

    def verdicts(self) -> Verdicts:
        """As Rehearsal.verdicts; empty while the exporter does not answer."""
        try:
            return Rehearsal(self.name, self.url, self.config).verdicts()
        except (OSError, json.JSONDecodeError):
            return {}

    def reload(self) -> None:
        """Ask for the configuration to be read anew; urllib.error.HTTPError if it cannot be used."""
        asked = urllib.request.Request(f"{self.url}/-/reload", method="POST")  # noqa: S310
        with urllib.request.urlopen(asked, timeout=30):  # noqa: S310
            pass

    def on_edge(self, *command: str) -> None:
        on_edge = commands.state_directory(self.name) / "on-edge"
        subprocess.run([str(on_edge), *command], check=True, timeout=30, capture_output=True)

    def in_prober(self, *command: str) -> None:
        inside = commands.prober_command(self.name, command)
        subprocess.run(inside, check=True, timeout=30, capture_output=True)


@contextmanager
def watched(
    label: str, directory: Path, *, router: RouterKind, pace: Pace, transport: str = "exec", nodes: int = 3
) -> Iterator[Watched]:
    """Build a lab, the exporter, Prometheus and Alertmanager; everything ends with the block, however it ends.

    Over `ssh` each reading of the router is a login, which can cost a machine much: what runs then is its own affair.
    """
    name = f"{label}-{os.getpid() % 100000}"
    try:
        with _BUILDING:
            commands.up(name, nodes=nodes, router=router)
        config = _config(name, transport, pace)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        address = f"127.0.0.1:{port}"
        with monitoring(
            [address], directory, source=pace.source, scale=pace.scale, scrape=pace.scrape, evaluate=pace.evaluate
        ) as found:
            whole = Watched(name, config, found, port)
            try:
                whole.start(listener)
                yield whole
            finally:
                whole.stop()
                listener.close()
    finally:
        commands.down(name)


def _config(name: str, transport: str, pace: Pace) -> Path:
    """The lab's own configuration at this pace."""
    state = commands.state_directory(name)
    own = state / "exporter.yml" if transport == "ssh" else state / "exporter-exec.yml"
    values = yaml.safe_load(own.read_text(encoding="utf-8"))
    values["probing"] = {"interval": pace.interval, "timeout": pace.timeout}
    for one in values["routers"]:
        one["poll_interval"] = pace.poll
    config = state / "watched.yml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    return config
