"""A lab with the real exporter inside it, as `ecmp-exporter demo` runs it: what these tests look at."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import commands
from lab.demo import exporter
from lab.plan import BesideKind, HashMode, RouterKind

INTERVAL = 2
POLL = 1
TIMEOUT = 1
# Two rounds, each probe and its repeat timing out, and the snapshot that confirms the second round. What
# the machine itself needs (a loaded runner, SSH) comes on top.
TWO_ROUNDS = 2 * (INTERVAL + 2 * TIMEOUT) + 2 * POLL
SLACK = 8

Verdicts = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A running lab and the exporter's address on this machine's localhost."""

    name: str
    url: str
    config: Path
    router: RouterKind = "frr"
    beside: tuple[BesideKind, ...] = ()

    @property
    def patience(self) -> float:
        """Seconds within which a change of the network is concluded; more where more routers are to be probed."""
        return TWO_ROUNDS + SLACK * (1 + len(self.beside))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310
            return bytes(answer.read())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/api/v1/status"))
        return found

    def verdicts(self) -> Verdicts:
        """By (target, node); an unexpected next hop without a node goes by its address.

        What a daemon beside the router concludes goes by its name and the target's: "edge-gobgp web".
        """
        return {_key(path): path["verdict"] for path in self.status()["paths"]}

    def why(self, wanted: Verdicts) -> str:
        """The reason of each path whose verdict is not the wanted one, for a failure's message."""
        return "\n".join(
            f"{' '.join(_key(path))}: {path['verdict']}: {path['reason']}"
            for path in self.status()["paths"]
            if wanted.get(_key(path)) != path["verdict"]
        )

    def wait_for(self, wanted: Callable[[Verdicts], bool], seconds: float) -> tuple[Verdicts, float]:
        """The first verdicts that are as wanted, and how long they took; the last ones if they never were."""
        begun = time.monotonic()
        while True:
            verdicts = self.verdicts()
            passed = time.monotonic() - begun
            if wanted(verdicts) or passed > seconds:
                return verdicts, passed
            time.sleep(0.2)


def _key(path: dict[str, Any]) -> tuple[str, str]:
    target = path["target"] if path["router"] == "edge" else f"{path['router']} {path['target']}"
    return target, path["node"] or path["next_hop"]


@contextmanager
def rehearsal(
    label: str,
    *,
    router: RouterKind,
    transport: str,
    nodes: int = 3,
    hash_mode: HashMode = "five-tuple",
    beside: Sequence[BesideKind] = (),
) -> Iterator[Rehearsal]:
    """Build a lab of its own, run the exporter in it until it is ready, and take everything down again."""
    name = f"{label}-{os.getpid() % 100000}"
    commands.up(name, nodes=nodes, router=router, hash_mode=hash_mode, beside=beside)
    try:
        config = config_of(name, transport)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with listener, exporter(name, str(config), listener, level="info") as process:
            found = Rehearsal(name, url, config, router, tuple(beside))
            wait_until_ready(found, process)
            yield found
    finally:
        commands.down(name)


def config_of(name: str, transport: str) -> Path:
    """The lab's own configuration, with rounds short enough for tests."""
    state = commands.state_directory(name)
    own = state / "exporter.yml" if transport == "ssh" else state / "exporter-exec.yml"
    values = yaml.safe_load(own.read_text())
    values["probing"] = {"interval": f"{INTERVAL}s", "timeout": f"{TIMEOUT}s"}
    for router in values["routers"]:
        router["poll_interval"] = f"{POLL}s"
    config = state / "chain.yml"
    config.write_text(yaml.safe_dump(values))
    return config


def wait_until_ready(found: Rehearsal, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the exporter ended with {process.returncode}"
        try:
            found.get("/-/ready")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the exporter never became ready")
