"""Every method of steering on a real router, kernel and ICMP rate limit: what is concluded under which condition.

In none of them is a healthy node anything but ok or unverified, nor a broken one ok. docs/steering.md has the
table that these tests hold to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import commands
from lab.plan import PROBER_MORE_V4, PROBER_MORE_V6, HashMode, RouterKind

pytestmark = pytest.mark.lab

ROUTER: RouterKind = "frr" if os.geteuid() == 0 else "bird"
# Root without the right to open raw sockets: all else, such as entering the router's namespace, stays.
WITHOUT_RAW = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"]
WEB = ("web", "web-v6")


@dataclass(frozen=True, slots=True)
class Look:
    """What one `check` of a lab concluded."""

    paths: list[dict[str, Any]]

    def of(self, target: str) -> dict[str, str]:
        """Verdicts by node."""
        return {path["node"]: path["verdict"] for path in self.paths if path["target"] == target}

    def method(self, target: str) -> str:
        """The method of all the target's paths."""
        (method,) = {path["steering"]["method"] for path in self.paths if path["target"] == target}
        return str(method)

    def blamed(self) -> set[str]:
        return {path["node"] for path in self.paths if path["verdict"] not in ("ok", "unverified")}


@dataclass(frozen=True, slots=True)
class Lab:
    name: str

    def config(self, *, identity: bool = True, addresses: bool = False, steering: str = "auto") -> Path:
        """The lab's own configuration with these changes, Gitea left out: it has one next hop only."""
        state = commands.state_directory(self.name)
        values = yaml.safe_load((state / "exporter-exec.yml").read_text())
        values["targets"] = [target for target in values["targets"] if target["name"] in WEB]
        for target in values["targets"]:
            if not identity:
                del target["identity"]
        values["probing"] |= {"steering": steering, "timeout": "1s"}
        if addresses:
            values["probing"]["source_addresses"] = [*PROBER_MORE_V4, *PROBER_MORE_V6]
        config = state / "steering.yml"
        config.write_text(yaml.safe_dump(values))
        return config

    def run(self, config: Path, *arguments: str, raw: bool = True) -> dict[str, Any]:
        argv = [sys.executable, "-m", "exporter", *arguments, f"--config.file={config}", "--output=json"]
        argv = commands.prober_command(self.name, [*([] if raw else WITHOUT_RAW), *argv])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode in (0, 1), done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def look(self, *, raw: bool = True, **changes: Any) -> Look:
        return Look(self.run(self.config(**changes), "check", raw=raw)["paths"])

    def paths(self, target: str, *, raw: bool = True, **changes: Any) -> dict[str, Any]:
        (vip,) = self.run(self.config(**changes), "paths", target, raw=raw)["vips"]
        return dict(vip)


@contextmanager
def built(label: str, nodes: int, hash_mode: HashMode = "five-tuple", **more: Any) -> Iterator[Lab]:
    name = f"{label}-{os.getpid() % 100000}"
    commands.up(name, nodes=nodes, router=ROUTER, hash_mode=hash_mode, **more)
    try:
        yield Lab(name)
    finally:
        commands.down(name)


@pytest.fixture(scope="module")
def four() -> Iterator[Lab]:
    with built("steer4", 4) as lab:
        yield lab


@pytest.fixture
def lab(four: Lab) -> Iterator[Lab]:
    yield four
    commands.heal(name=four.name)


def all_ok(count: int) -> dict[str, str]:
    return {f"leviathan{number}": "ok" for number in range(1, count + 1)}


def but(node: str, verdict: str, count: int = 4) -> Mapping[str, str]:
    return all_ok(count) | {node: verdict}


def test_with_every_right(lab: Lab) -> None:
    look = lab.look(identity=False)
    assert (look.of("web"), look.of("web-v6")) == (all_ok(4), all_ok(4))
    assert look.method("web") == "oracle"
    assert look.method("web-v6") == "trace", "Linux' oracle is wrong for IPv6"


def test_without_raw_sockets(lab: Lab) -> None:
    """Attempts to connect prove the oracle all the same, and disprove it for IPv6."""
    look = lab.look(raw=False)
    assert (look.of("web"), look.of("web-v6")) == (all_ok(4), all_ok(4))
    assert (look.method("web"), look.method("web-v6")) == ("oracle", "identity")
    look = lab.look(raw=False, identity=False)
    assert look.of("web") == all_ok(4)
    assert look.of("web-v6") == dict.fromkeys(all_ok(4), "unverified")
    assert look.method("web-v6") == "sweep"
    assert "0 failed" in look.paths[-1]["reason"]


def test_a_method_that_is_asked_for(lab: Lab) -> None:
    look = lab.look(steering="trace")
    assert {look.method(target) for target in WEB} == {"trace"}
    assert {verdict for target in WEB for verdict in look.of(target).values()} == {"ok"}


def test_a_node_that_sends_no_icmp(lab: Lab) -> None:
    commands.break_("no_icmp", "leviathan2", name=lab.name)
    look = lab.look(identity=False)
    assert look.of("web") == all_ok(4)
    assert look.of("web-v6") == but("leviathan2", "unverified"), "no trace names it, and it is blamed for nothing"
    look = lab.look()
    assert (look.of("web"), look.of("web-v6")) == (all_ok(4), all_ok(4)), "its own answers name it"


def test_a_node_that_sends_no_icmp_and_another_that_is_broken(lab: Lab) -> None:
    commands.break_("no_icmp", "leviathan2", name=lab.name)
    commands.break_("service_down", "leviathan3", name=lab.name)
    look = lab.look(identity=False)
    assert look.blamed() == {"leviathan3"}
    assert look.of("web") == but("leviathan3", "service_down")
    assert look.of("web-v6")["leviathan3"] == "service_down"


@pytest.mark.parametrize(
    ("fault", "raw", "identity"),
    [
        ("blackhole", True, False),
        ("blackhole", False, True),
        ("service_down", True, False),
        ("node_down", False, False),
    ],
)
def test_broken_before_anything_was_learned(lab: Lab, fault: str, *, raw: bool, identity: bool) -> None:
    commands.break_(fault, "leviathan3", name=lab.name)
    look = lab.look(raw=raw, identity=identity)
    assert look.blamed() <= {"leviathan3"}, look.paths
    # Linux puts no flow on a next hop from which it gets no answer, though the FIB lists it.
    assert look.of("web")["leviathan3"] in ((fault, "unverified") if fault == "node_down" else (fault,))
    assert look.of("web-v6")["leviathan3"] in (fault, "unverified")


def test_everything_is_down_and_nothing_names_a_path(lab: Lab) -> None:
    for node in all_ok(4):
        commands.break_("service_down", node, name=lab.name)
    look = lab.look(raw=False, identity=False)
    assert set(look.of("web-v6").values()) <= {"service_down", "unverified"}
    assert set(look.of("web").values()) == {"service_down"}


def test_a_hash_over_addresses() -> None:
    """With 30 source addresses all four nodes are met, with one it is one; no port changes that."""
    with built("steera", 4, "addresses") as lab:
        look = lab.look(identity=False)
        for target in WEB:
            assert sorted(look.of(target).values()) == ["ok", "unverified", "unverified", "unverified"], look.paths
        found = lab.paths("web", identity=False, addresses=True)
        assert found["hash"] == "addresses"
        assert all(hop["sources"] for hop in found["next_hops"]), "with 30 addresses all four nodes are covered"
        commands.break_("service_down", "leviathan3", name=lab.name)
        look = lab.look(identity=False, addresses=True)
        assert look.blamed() == {"leviathan3"}
        assert look.of("web") == but("leviathan3", "service_down")


def test_a_random_hash() -> None:
    """Packets with a hash of their sender's socket: oracle and traces agree with each other, and both are wrong."""
    with built("steerr", 4, "random") as lab:
        assert lab.paths("web")["hash"] == "random"
        commands.break_("blackhole", "leviathan3", name=lab.name)
        look = lab.look(identity=False)
        assert {look.method(target) for target in WEB} == {"sweep"}
        assert {verdict for target in WEB for verdict in look.of(target).values()} == {"unverified"}
        look = lab.look()
        assert {look.method(target) for target in WEB} == {"identity"}
        assert look.blamed() == set()
        assert all(look.of(target)["leviathan3"] == "unverified" for target in WEB)


def test_eight_next_hops_are_learned_by_traces_alone() -> None:
    with built("steer8", 8, transit=True) as lab:
        found = lab.paths("web", steering="trace", identity=False)
        assert found["method"] == "trace"
        assert all(len(hop["sources"]) >= 2 for hop in found["next_hops"]), "and the way is one hop longer"
        commands.break_("blackhole", "leviathan5", name=lab.name)
        look = lab.look(steering="trace", identity=False)
        assert look.blamed() == set()
        assert look.of("web") == but("leviathan5", "unverified", 8)


def test_thirty_two_next_hops() -> None:
    with built("steer32", 32) as lab:
        commands.break_("blackhole", "leviathan7", name=lab.name)
        look = lab.look(identity=False)
        assert look.of("web") == but("leviathan7", "blackhole", 32)
        assert look.blamed() == {"leviathan7"}
        assert list(look.of("web-v6").values()).count("ok") >= 20
        assert look.of("web-v6")["leviathan7"] in ("blackhole", "unverified")


def test_a_next_hop_goes_while_flows_are_learned(lab: Lab) -> None:
    """What was learned of other next hops counts for nothing: nobody is blamed, and what is lost is named."""
    config = lab.config(steering="trace", identity=False)
    argv = [sys.executable, "-m", "exporter", "check", f"--config.file={config}", "--output=json"]
    command = commands.prober_command(lab.name, argv)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as checking:
        time.sleep(2.5)  # it has asked the router by now, and learns
        commands.break_("neighbor_missing", "leviathan2", name=lab.name)
        text, _ = checking.communicate(timeout=90)
    look = Look(json.loads(text)["paths"])
    assert look.blamed() <= {"leviathan2"}
    assert look.of("web")["leviathan2"] in ("neighbor_missing", "unverified"), look.paths
