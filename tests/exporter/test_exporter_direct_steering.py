"""Probes past the router: of which paths, by which addresses, what is made of them, and that nothing else changes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest
from pydantic import BaseModel
from rich.console import Console

from exporter.config import Config
from exporter.configfile import loads
from exporter.direct_steering import DirectSteering
from exporter.expected import Expected, from_config
from exporter.explain import show_explanation
from exporter.metrics import Reloads, render
from exporter.monitor import Monitor
from exporter.outside import Bypassing, Machine, Outside
from exporter.status import DirectProbe, PathStatus, Status, to_json
from exporter.verdicts import Verdict
from probes.model import Failure, Outcome, Request
from tests.exporter.scenario import NOW
from tests.exporter.statuses import OUTAGE, status_of

TEXT = """
probing: {timeout: 2s, direct_steering: true}
modules: {slow: {prober: ssh, timeout: 9s}}
routers: [{name: edge, platform: frr, exec: {}}]
nodes:
  - {name: leviathan1, address: 10.0.0.11}
  - {name: leviathan2, address: 10.0.0.12}
  - {name: leviathan3, addresses: [10.0.0.13, "2001:db8::13", 10.1.0.13]}
targets:
  - {name: web, address: 203.0.113.10, port: 443, module: https_2xx}
  - {name: gitea-ssh, address: 203.0.113.22, port: 22, module: slow, nodes: [leviathan3]}
"""
VIPS = {"web": ("203.0.113.10",), "gitea-ssh": ("203.0.113.22",)}
WEB = ("web", "203.0.113.10", 443, "leviathan3")
GITEA = ("gitea-ssh", "203.0.113.22", 22, "leviathan3")


class World:
    """An outside that bypasses by numbers, as far as addresses are `reachable`, and answers as told."""

    def __init__(self) -> None:
        self.reachable = ["10.0.0.13"]
        self.why: Mapping[str, str] = {}
        self.calls: list[tuple[str, ...]] = []
        self.vips: Sequence[str] = ()
        self.sent: list[Request] = []
        self.failure: Failure | None = None
        self.running = self.most = 0

    def now(self) -> float:
        return NOW + 7

    def bypass(self) -> Bypassing:
        self.calls.append(("made",))
        return self

    async def install(self, addresses: Sequence[str], vips: Sequence[str]) -> Mapping[str, int]:
        await asyncio.sleep(0)
        self.calls.append(("install", *addresses))
        self.vips = vips
        self.why = {address: f"no way to {address}" for address in addresses if address not in self.reachable}
        return {address: 7000 + number for number, address in enumerate(addresses) if address in self.reachable}

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.calls.append(("closed",))

    async def probe(self, prober: str, request: Request, settings: BaseModel) -> Outcome:
        assert prober in ("http", "ssh")
        assert isinstance(settings, BaseModel)
        self.sent.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return Outcome(request.flow, self.failure is None, self.failure, "so it was", 0.0031)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def steering(world: World) -> DirectSteering:
    return DirectSteering(cast("Outside", world))


def configured(text: str = TEXT) -> tuple[Config, Expected]:
    config = loads(text)
    return config, from_config(config, {target.name: VIPS.get(target.name, ()) for target in config.targets})


def probes(status: Status) -> dict[tuple[str, str, int, str | None], DirectProbe]:
    return {
        (path.target, path.vip, path.port, path.node): path.direct for path in status.paths if path.direct is not None
    }


async def test_one_probe_of_each_path_that_is_not_forwarded(world: World, steering: DirectSteering) -> None:
    status = status_of()
    await steering.round(*configured(), status.paths)
    assert world.calls == [("made",), ("install", "10.0.0.13", "10.1.0.13")]
    assert world.vips == ["203.0.113.10", "203.0.113.22"]
    assert [(sent.flow.destination, sent.flow.destination_port, sent.flow.mark) for sent in world.sent] == [
        ("203.0.113.10", 443, 7000),
        ("203.0.113.22", 22, 7000),
    ]
    assert {(sent.flow.source, sent.flow.source_port, sent.identity) for sent in world.sent} == {(None, 0, None)}
    assert [(sent.host, sent.timeout_seconds) for sent in world.sent] == [("203.0.113.10", 2), ("203.0.113.22", 9)]
    found = probes(steering.onto(status))
    assert found == dict.fromkeys((WEB, GITEA), DirectProbe(NOW + 7, True, "", 0.0031))


async def test_nothing_else_of_a_status_changes(steering: DirectSteering) -> None:
    status = status_of()
    await steering.round(*configured(), status.paths)
    after = steering.onto(status)
    assert after != status
    assert to_json(after) == to_json(status)
    bare = [
        replace(target, paths=tuple(replace(path, direct=None) for path in target.paths)) for target in after.targets
    ]
    assert replace(after, targets=tuple(bare)) == status


async def test_without_such_a_path_the_machine_is_left_alone(world: World, steering: DirectSteering) -> None:
    """Also again, once there is none any more."""
    good = status_of({})
    await steering.round(*configured(), good.paths)
    assert world.calls == []
    broken = status_of()
    for _ in range(2):
        await steering.round(*configured(), broken.paths)
        await steering.round(*configured(), broken.paths)
        await steering.round(*configured(), good.paths)
        assert probes(steering.onto(broken)) == {}
    once = [("made",), *[("install", "10.0.0.13", "10.1.0.13")] * 2, ("closed",)]
    assert world.calls == once * 2


async def test_switched_off_by_a_reload_and_closed(world: World, steering: DirectSteering) -> None:
    status = status_of()
    await steering.round(*configured(TEXT.replace(", direct_steering: true", "")), status.paths)
    assert world.calls == []
    await steering.round(*configured(), status.paths)
    await steering.round(*configured(TEXT.replace(", direct_steering: true", "")), status.paths)
    assert world.calls[-1] == ("closed",)
    await steering.round(*configured(), status.paths)
    for _ in range(2):
        await steering.close()
        assert probes(steering.onto(status)) == {}
    assert world.calls.count(("closed",)) == world.calls.count(("made",)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"fib": None},
        {"fib": "installed", "verdict": Verdict.BLACKHOLE},
        {"verdict": Verdict.ROUTER_UNKNOWN},
        {"expected": False},
        {"target": "unknown"},
        {"vip": "203.0.113.99"},
        {"node": "leviathan9"},
        {"node": None},
    ],
)
async def test_which_paths_are_none_of_them(
    world: World, steering: DirectSteering, change: Mapping[str, object]
) -> None:
    path = next(path for path in status_of().paths if path.fib == "missing")
    await steering.round(*configured(), [replace(path, **change)])  # type: ignore[arg-type]
    assert world.calls == []


async def test_an_old_probe_says_nothing_of_a_path_that_is_forwarded_now(steering: DirectSteering) -> None:
    await steering.round(*configured(), status_of().paths)
    assert probes(steering.onto(status_of({}))) == {}


async def test_the_first_address_that_can_be_reached_is_taken(world: World, steering: DirectSteering) -> None:
    world.reachable = ["10.1.0.13"]
    await steering.round(*configured(), status_of().paths)
    assert {sent.flow.mark for sent in world.sent} == {7001}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TEXT, "no way to 10.0.0.13"),
        (TEXT.replace("10.0.0.13, ", "").replace(", 10.1.0.13", ""), "no IPv4 address of leviathan3 is configured"),
    ],
)
async def test_why_it_could_not_be_tried(world: World, steering: DirectSteering, text: str, why: str) -> None:
    world.reachable = []
    status = status_of()
    await steering.round(*configured(text), status.paths)
    assert world.sent == []
    found = probes(steering.onto(status))
    assert found == dict.fromkeys((WEB, GITEA), DirectProbe(NOW + 7, None, why, 0.0))


async def test_what_this_machine_cannot_send_says_nothing(world: World, steering: DirectSteering) -> None:
    world.failure = Failure.LOCAL
    await steering.round(*configured(), status_of().paths)
    assert {(one.success, one.detail) for one in probes(steering.onto(status_of())).values()} == {
        (None, "this machine could not send a probe: so it was")
    }


async def test_so_many_at_a_time(world: World, steering: DirectSteering) -> None:
    targets = "".join(f"\n  - {{name: t{n}, address: 203.0.113.22, port: {n}, module: slow}}" for n in range(1, 101))
    config = loads(TEXT.rstrip() + targets)
    path = next(path for path in status_of().paths if path.target == "gitea-ssh")
    expected = from_config(config, {f"t{n}": ("203.0.113.22",) for n in range(1, 101)})
    await steering.round(config, expected, [replace(path, target=f"t{n}") for n in range(1, 101)])
    assert len(world.sent) == 100
    assert world.most == 32


def with_probe(success: bool | None, detail: str = "", verdict: Verdict = Verdict.NEIGHBOR_MISSING) -> Status:
    def changed(path: PathStatus) -> PathStatus:
        if path.node != "leviathan3":
            return path
        return replace(path, verdict=verdict, direct=DirectProbe(NOW, success, detail, 0.003))

    status = status_of(OUTAGE)
    targets = [replace(target, paths=tuple(map(changed, target.paths))) for target in status.targets]
    return replace(status, targets=tuple(targets))


@pytest.mark.parametrize(
    ("success", "detail", "verdict", "said"),
    [
        (True, "", Verdict.NEIGHBOR_MISSING, "ok the service answers in 3ms: it would serve if the router knew it"),
        (True, "", Verdict.ROUTE_FILTERED, "ok the service answers in 3ms: it would serve if the router forwarded to"),
        (False, "timeout, no answer", Verdict.NEIGHBOR_MISSING, "FAIL the service does not answer either (timeout, no"),
        (None, "no CAP_NET_ADMIN", Verdict.NEIGHBOR_MISSING, "? could not be tried: no CAP_NET_ADMIN"),
    ],
)
def test_what_explain_says(success: bool | None, detail: str, verdict: Verdict, said: str) -> None:
    out = Console(file=io.StringIO(), width=160)
    show_explanation(out, with_probe(success, detail, verdict), {}, "leviathan3")
    lines = " ".join(cast("io.StringIO", out.file).getvalue().replace("straight through leviathan3:", "").split())
    mark, _, text = said.partition(" ")
    assert lines.count(f"{mark} past the router, {text}") == 2


def test_explain_without_it() -> None:
    out = Console(file=io.StringIO(), width=160)
    show_explanation(out, status_of(), {}, "leviathan3")
    assert "past the router" not in cast("io.StringIO", out.file).getvalue()


@pytest.mark.parametrize(("success", "value"), [(True, "1.0"), (False, "0.0"), (None, None)])
def test_the_metric(success: bool | None, value: str | None) -> None:
    body = render(with_probe(success), Reloads(successful=True, last_success=NOW), "")[0].decode()
    lines = [line for line in body.splitlines() if line.startswith("ecmp_path_direct_probe_success{")]
    labels = '{{node="leviathan3",port="{}",router="edge",target="{}",vip="{}"}}'
    series = [labels.format(443, "web", "203.0.113.10"), labels.format(22, "gitea-ssh", "203.0.113.22")]
    assert lines == ([] if value is None else [f"ecmp_path_direct_probe_success{one} {value}" for one in series])


class NoBypass(Machine):
    def bypass(self) -> Bypassing:
        raise AssertionError("it is not configured")


async def test_a_monitor_that_is_not_asked_to_does_nothing() -> None:
    text = TEXT.replace(", direct_steering: true", "").replace("exec: {}", "exec: {prefix: [/nonexistent/vtysh]}")
    monitor = Monitor(loads(text), NoBypass("test"), "test")
    await monitor.go_straight()
    await monitor.close()
