"""Routers that lie, hang or refuse, and a service that says nothing: one clear error each, the rest goes on."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import commands
from tests.chain.rehearsal import Rehearsal, config_of

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="FRR's vtysh and the namespace of a pod are there for root only"),
]

WEB = {("web", "leviathan1"), ("web", "leviathan2"), ("web", "leviathan3")}


@pytest.fixture(scope="module")
def chain() -> Iterator[Rehearsal]:
    name = f"badinput-{os.getpid() % 100000}"
    commands.up(name)
    try:
        yield Rehearsal(name, "", config_of(name, "ssh"))
    finally:
        commands.down(name)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def with_vtysh(state: Path, folder: Path, text: str) -> list[str]:
    """A prefix to the lab's router, on which vtysh is this script."""
    folder.mkdir()
    script(folder / "vtysh", text)
    return [str(state / "on-edge"), "env", f"PATH={folder}:{os.environ['PATH']}"]


@pytest.fixture
def bad_routers(chain: Rehearsal, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Each router that cannot be read, by the words that its error must hold."""
    good = yaml.safe_load(chain.config.read_text())["routers"][0]["ssh"]
    other = tmp_path / "other"
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True)
    wrong_host = tmp_path / "known_hosts"
    key = other.with_suffix(".pub").read_text()
    wrong_host.write_text(f"{good['host']} {key}")
    state = commands.state_directory(chain.name)
    garbage = with_vtysh(state, tmp_path / "garbage", "printf '\\033[31mnot json {{{'")
    cut = with_vtysh(state, tmp_path / "cut", f'{state}/bin/vtysh "$@" | head -c 200')
    return {
        "host key": {"ssh": good | {"known_hosts": str(wrong_host)}},
        "connect": {"ssh": good | {"host": "198.51.100.77"}},
        "pass": {"ssh": good | {"client_keys": [str(locked)]}},
        "log": {"ssh": good | {"client_keys": [str(other)]}},
        "No such file": {"ssh": good | {"client_keys": [str(tmp_path / "nowhere")]}},
        "JSON": {"exec": {"prefix": garbage}},
        "json": {"exec": {"prefix": cut}},
        "no complete answer": {"exec": {"prefix": [script(tmp_path / "hanging", "exec sleep 60")]}},
        "not installed": {"exec": {"prefix": [str(tmp_path / "missing")]}},
    }


def test_bad_routers_stop_nothing(chain: Rehearsal, bad_routers: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    values = yaml.safe_load(chain.config.read_text())
    values["routers"] += [
        {"name": f"bad{number}", "platform": "frr", "poll_interval": "2s", **transport}
        for number, transport in enumerate(bad_routers.values())
    ]
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump(values))
    done = run(chain, "check", "--output=json", f"--config.file={config}")
    assert done.returncode == 1, done.stderr
    status = json.loads(done.stdout)
    routers = {router["name"]: router for router in status["routers"]}
    assert routers["edge"]["up"]
    assert routers["edge"]["error"] is None
    for number, words in enumerate(bad_routers):
        router = routers[f"bad{number}"]
        assert words.lower() in (router["error"] or "").lower(), (words, router)
        assert "secret" not in router["error"]
        assert "Traceback" not in router["error"]
    for path in status["paths"]:
        # The two with a broken vtysh are the router on the way, and what its kernel forwards by was read and proven.
        proven = path["router"] == "edge" or path["bgp"]["fib"] == "installed"
        wanted = "ok" if proven else "router_unknown"
        assert path["verdict"] == wanted, json.dumps(path)
    assert "Traceback" not in done.stderr


def test_a_service_that_accepts_and_never_speaks(chain: Rehearsal) -> None:
    """Packets arrive, the handshake ends, nothing follows: the service is down, and only that."""
    pod = f"/run/netns/ecmplab-{chain.name}-leviathan3-pod"
    listen = (
        "import socket,time;s=socket.create_server(('::',2222),family=socket.AF_INET6,dualstack_ipv6=True);"
        "print('up',flush=True);time.sleep(60)"
    )
    inside = ["nsenter", f"--net={pod}"]
    mute = subprocess.Popen([*inside, sys.executable, "-c", listen], stdout=subprocess.PIPE)
    rules = "table inet mute { chain in { type nat hook prerouting priority -100; tcp dport 22 redirect to :2222; }; }"
    try:
        assert mute.stdout is not None
        assert mute.stdout.readline() == b"up\n"
        subprocess.run([*inside, "nft", "-f", "-"], input=rules, text=True, check=True)
        done = run(chain, "check", "--output=json", f"--config.file={chain.config}")
        verdicts = {(path["target"], path["node"]): path for path in json.loads(done.stdout)["paths"]}
        for target in ("gitea-ssh", "gitea-ssh-v6"):
            path = verdicts[target, "leviathan3"]
            assert path["verdict"] == "service_down", path
            assert path["probe"]["failure"] == "timeout"
        assert all(verdicts[key]["verdict"] == "ok" for key in WEB)
    finally:
        subprocess.run([*inside, "nft", "delete", "table", "inet", "mute"], check=False)
        mute.kill()
        mute.communicate()


def test_a_wrong_key_in_the_file(chain: Rehearsal, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(chain.config.read_text().replace("port: 80", "prot: 80", 1))
    done = run(chain, "check", f"--config.file={config}")
    assert done.returncode == 2
    assert "prot" in done.stderr
    assert "did you mean port" in done.stderr
    assert str(config) in done.stderr
    assert "Traceback" not in done.stderr


def run(chain: Rehearsal, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = commands.prober_command(chain.name, [sys.executable, "-m", "exporter", *arguments])
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
