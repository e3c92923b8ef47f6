"""A monitor whose router and targets are simulated at their seams: what is confirmed, thrown away, kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from exporter.configfile import loads
from exporter.feed import RouterFeed
from exporter.monitor import Monitor
from exporter.names import Names
from exporter.outside import Machine
from probes.direct import DirectResult
from probes.model import Failure, Flow, Outcome, Request
from probes.scout import HopAnswer, Scout, Seen
from routers.model import FibEntry, NextHop, OracleFlow, Query, Route, Session, SessionState, Snapshot

VIP = "203.0.113.10"
FILE = """
probing: {interval: 15s, timeout: 3s}
routers: [{name: edge, platform: frr, exec: {prefix: []}}]
nodes:
  - {name: leviathan1, address: 10.0.0.11}
  - {name: leviathan2, address: 10.0.0.12}
targets: [{name: web, address: 203.0.113.10, port: 80, module: http_2xx, identity: {header: X-Node}}]
"""
NODES = {"10.0.0.11": "leviathan1", "10.0.0.12": "leviathan2"}


class Router:
    """Forwards by `hops`; flows alternate over them by their source port. Unreachable while `error` is set."""

    def __init__(self) -> None:
        self.hops = list(NODES)
        self.error: str | None = None
        self.asked = 0
        self.later = 0.0  # seconds that were not really waited

    def now(self) -> float:
        return time.time() + self.later

    def way(self, port: int) -> str:
        return self.hops[port % len(self.hops)]

    def snapshot(self) -> Snapshot:
        return Snapshot(
            router="edge",
            platform="frr",
            taken_at=self.now(),
            sessions=tuple(Session(address, SessionState.ESTABLISHED, 64512, 64512) for address in NODES),
            routes={VIP: tuple(Route(f"{VIP}/32", hop, (hop,), used=True) for hop in self.hops)},
            fib={VIP: FibEntry(f"{VIP}/32", tuple(NextHop(hop) for hop in self.hops))},
            local_as=64512,
        )


class FakeScout(Scout):
    """Hears nothing; `router` lets the nodes answer packets that reach them."""

    router: Router | None = None

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        del flow, hops, seconds
        await asyncio.sleep(0)
        return HopAnswer(Seen.LOCAL, None, "no CAP_NET_RAW")

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        del seconds
        await asyncio.sleep(0)
        if self.router is None:
            return HopAnswer(Seen.SILENCE)
        return HopAnswer(Seen.HOP, "10.0.0.1" if hops == 1 else self.router.way(flow.source_port))


class FakeWorld(Machine):
    """Answers from the node that the router puts the flow on; `broken` nodes stay silent."""

    def __init__(self, router: Router) -> None:
        super().__init__("test")
        self.scout: FakeScout = FakeScout()
        self.router = router
        self.broken: set[str] = set()
        self.during: list[Any] = []

    def now(self) -> float:
        return self.router.now()

    async def pause(self, seconds: float) -> None:
        self.router.later += seconds
        await asyncio.sleep(0)

    def local_source(self, vip: str) -> str | None:
        del vip
        return "192.0.2.1"

    async def check(self, addresses: Collection[str], timeout_seconds: float) -> Mapping[str, DirectResult]:
        del timeout_seconds
        return dict.fromkeys(addresses, DirectResult(True, "icmp", "echo answered"))

    async def probe(self, prober: str, request: Request, settings: BaseModel) -> Outcome:
        del prober, settings
        await asyncio.sleep(0)
        while self.during:
            self.during.pop()()
        node = NODES[self.router.way(request.flow.source_port)]
        if node in self.broken:
            return Outcome(request.flow, False, Failure.TIMEOUT, "silence", 3.0)
        return Outcome(request.flow, True, None, "", 0.004, {}, True, node)


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    simulated = Router()

    async def poll(feed: RouterFeed, _query: Query) -> bool:
        await asyncio.sleep(0)
        simulated.asked += 1
        feed.error = simulated.error
        if simulated.error is None:
            feed.snapshot = simulated.snapshot()
        return simulated.error is None

    async def ask_oracle(_feed: RouterFeed, flows: Sequence[OracleFlow]) -> Mapping[OracleFlow, NextHop]:
        await asyncio.sleep(0)
        return {flow: NextHop(simulated.way(flow.source_port)) for flow in flows}

    monkeypatch.setattr(RouterFeed, "poll", poll)
    monkeypatch.setattr(RouterFeed, "ask_oracle", ask_oracle)
    return simulated


@pytest.fixture
def probers(router: Router) -> FakeWorld:
    return FakeWorld(router)


@pytest.fixture
def monitor(probers: FakeWorld) -> Monitor:
    return Monitor(loads(FILE), probers, "test")


def verdicts(monitor: Monitor) -> dict[str, str]:
    return {path.node or path.next_hop or "": path.verdict.value for path in monitor.status().paths}


async def test_from_nothing_to_verdicts(monitor: Monitor) -> None:
    await monitor.full_round()
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "ok"}
    assert monitor.status().all_ok


async def test_a_broken_node_is_seen_in_one_round(monitor: Monitor, probers: FakeWorld) -> None:
    probers.broken = {"leviathan2"}
    await monitor.full_round()
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}


async def test_nothing_is_judged_before_the_router_confirmed_it(monitor: Monitor, probers: FakeWorld) -> None:
    await monitor.full_round()
    probers.broken = {"leviathan2"}
    await monitor.round("web")
    assert verdicts(monitor)["leviathan2"] == "ok"
    await monitor.poll("edge")
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}


async def test_a_round_over_other_next_hops_is_thrown_away(
    monitor: Monitor, probers: FakeWorld, router: Router
) -> None:
    """While the probes run leviathan1 goes: every flow lands on leviathan2, which is silent."""
    await monitor.full_round()
    probers.broken = {"leviathan2"}
    probers.during = [lambda: router.hops.remove("10.0.0.11")]
    await monitor.round("web")
    assert await monitor.poll("edge") == ["web"]
    assert verdicts(monitor) == {"leviathan1": "route_missing", "leviathan2": "ok"}
    await monitor.round("web")
    await monitor.poll("edge")
    # The probes come again, on flows that take the one next hop that is left.
    assert verdicts(monitor)["leviathan2"] in ("blackhole", "service_down")


async def test_rounds_wait_for_a_slow_router_and_none_is_lost(monitor: Monitor) -> None:
    await monitor.full_round()
    before = {path.node: path.tally.probes for path in monitor.status().paths}
    for _ in range(3):
        await monitor.round("web")
    await monitor.poll("edge")
    after = {path.node: path.tally.probes for path in monitor.status().paths}
    assert all(after[node] >= before[node] + 3 for node in before)


async def test_a_router_that_falls_silent(monitor: Monitor, router: Router) -> None:
    """Its last word holds for a while; then probes alone say up or down, and no verdict is ok."""
    await monitor.full_round()
    router.error = "edge does not answer"
    await monitor.poll("edge")
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "ok"}
    assert not monitor.status().routers[0].up
    feed = monitor.feeds["edge"]
    assert feed.snapshot is not None
    feed.snapshot = replace(feed.snapshot, taken_at=router.now() - 3600)
    await monitor.round("web")
    paths = monitor.status().paths
    assert {path.verdict.value for path in paths} == {"router_unknown"}
    assert all(path.result is not None and path.result.success for path in paths)


async def test_what_was_seen_blind_proves_nothing_when_the_router_is_back(router: Router, probers: FakeWorld) -> None:
    """Meanwhile its flows were rehashed: those that took the broken node land on the healthy one."""
    monitor = Monitor(loads(FILE.replace(", identity: {header: X-Node}", "")), probers, "test")
    probers.scout.router = router
    probers.broken = {"leviathan2"}
    await monitor.full_round()
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}
    feed = monitor.feeds["edge"]
    assert feed.snapshot is not None
    feed.snapshot = replace(feed.snapshot, taken_at=router.now() - 3600)
    router.error = "edge does not answer"
    router.hops.reverse()
    await monitor.round("web")
    assert {
        (path.node, path.verdict.value): path.result and path.result.success for path in monitor.status().paths
    } == {
        ("leviathan1", "router_unknown"): False,
        ("leviathan2", "router_unknown"): True,
    }
    router.error = None
    assert await monitor.poll("edge") == ["web"]  # to be probed again at once
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}
    await monitor.round("web")
    assert await monitor.poll("edge") == []
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}


async def test_a_round_waits_while_the_router_does_not_tell_of_its_vip(
    monitor: Monitor, router: Router, probers: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await monitor.full_round()
    probers.broken = {"leviathan2"}
    await monitor.round("web")
    whole = router.snapshot
    monkeypatch.setattr(router, "snapshot", lambda: replace(whole(), fib={}))
    await monitor.poll("edge")
    assert set(verdicts(monitor).values()) == {"router_unknown"}
    router.hops.reverse()
    monkeypatch.setattr(router, "snapshot", whole)
    # Now it tells, and of other next hops than those that the round was made for.
    assert await monitor.poll("edge") == ["web"]
    await monitor.round("web")
    await monitor.poll("edge")
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "blackhole"}


async def test_another_configuration_in_mid_round(monitor: Monitor, probers: FakeWorld) -> None:
    await monitor.full_round()
    other = loads(FILE.replace("name: web", "name: www").replace("15s", "20s"))
    probers.during = [lambda: monitor.configure(other)]
    await monitor.round("web")
    await monitor.poll("edge")
    assert verdicts(monitor) == {"leviathan1": "unverified", "leviathan2": "unverified"}
    await monitor.full_round()
    assert [path.target for path in monitor.status().paths] == ["www", "www"]
    assert verdicts(monitor) == {"leviathan1": "ok", "leviathan2": "ok"}
    await monitor.round("web")


async def test_a_name_without_an_address_is_not_ok(probers: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refresh(_names: Names, _hosts: Sequence[str], _now: float) -> bool:
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(Names, "refresh", refresh)
    target = "{name: www, address: www.example.org, port: 80, module: http_2xx}"
    monitor = Monitor(loads(FILE.replace("targets: [", f"targets: [{target}, ")), probers, "test")
    await monitor.full_round()
    status = monitor.status()
    assert {target.name: target.verdict.value for target in status.targets} == {"web": "ok", "www": "unreachable"}
    assert not status.all_ok


async def test_of_two_routers_none_known_to_be_on_the_way(probers: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tables are sound and nothing is proven: neither ok nor unreachable."""
    monkeypatch.setattr(probers, "gateway", lambda _vip: None)
    second = "{name: core, platform: frr, exec: {prefix: []}}"
    monitor = Monitor(loads(FILE.replace("routers: [", f"routers: [{second}, ")), probers, "test")
    await monitor.full_round()
    status = monitor.status()
    assert {path.verdict.value for path in status.paths} == {"unverified"}
    assert {node.verdict.value for node in status.nodes} == {"degraded"}
    assert {target.verdict.value for target in status.targets} == {"degraded"}
    assert not status.all_ok


async def test_a_router_that_tells_nothing_is_not_up() -> None:
    text = FILE.replace("exec: {prefix: []}", "exec: {prefix: [/bin/false]}")
    feed = RouterFeed(loads(text).routers[0])
    assert not await feed.poll(Query((VIP,), tuple(NODES)))
    assert feed.snapshot is None
    assert "exit status 1" in (feed.error or "")
    assert feed.trouble(time.time()) == feed.error
    await feed.close()
