"""A monitor, its target's name at real DNS servers on loopback, and a router that forwards whatever it is asked of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from io import StringIO

import dns.rcode
import pytest
from pydantic import BaseModel
from rich.console import Console

from exporter.configfile import loads
from exporter.explain import show_explanation
from exporter.feed import RouterFeed
from exporter.monitor import Monitor
from exporter.names import GONE_SECONDS
from exporter.steering import Method
from probes.model import Flow, Outcome, Request
from probes.scout import HopAnswer
from routers.model import FibEntry, NextHop, OracleFlow, Query, Route, Session, SessionState, Snapshot
from tests.exporter.test_exporter_monitor import NODES, FakeWorld, Router
from tests.probes import nameserver
from tests.probes.nameserver import Zone

V4, OTHER, V6 = "203.0.113.10", "203.0.113.66", "2001:db8::10"
FILE = """
resolvers: [{{name: first, address: '127.0.0.1:{first}'}}, {{name: second, address: '127.0.0.1:{second}'}}]
modules: {{dns_udp: {{prober: dns, dns: {{query_name: www.example.org}}}}}}
routers: [{{name: edge, platform: frr, exec: {{prefix: []}}}}]
nodes: [{{name: leviathan1, address: 10.0.0.11}}, {{name: leviathan2, address: 10.0.0.12}}]
targets:
  - {{name: www, address: www.example.org, port: 80, module: {module}, resolvers: [first, second]{keys}}}
"""


class Everywhere(Router):
    """Forwards each VIP over both nodes."""

    def everything(self, query: Query) -> Snapshot:
        return Snapshot(
            router="edge",
            platform="frr",
            taken_at=self.now(),
            sessions=tuple(Session(address, SessionState.ESTABLISHED, 64512, 64512) for address in NODES),
            routes={vip: tuple(Route(vip, hop, (hop,), used=True) for hop in self.hops) for vip in query.vips},
            fib={vip: FibEntry(vip, tuple(NextHop(hop) for hop in self.hops)) for vip in query.vips},
            local_as=64512,
        )


@dataclass
class Stage:
    router: Everywhere
    world: FakeWorld
    first: Zone
    second: Zone
    ports: tuple[int, int]
    asked: list[OracleFlow]

    def monitor(self, keys: str = "", module: str = "http_2xx") -> Monitor:
        text = FILE.format(first=self.ports[0], second=self.ports[1], keys=keys, module=module)
        return Monitor(loads(text), self.world, "test")


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    router = Everywhere()
    asked: list[OracleFlow] = []

    async def poll(feed: RouterFeed, query: Query) -> bool:
        await asyncio.sleep(0)
        feed.snapshot = router.everything(query)
        return True

    async def ask_oracle(_feed: RouterFeed, flows: Sequence[OracleFlow]) -> dict[OracleFlow, NextHop]:
        await asyncio.sleep(0)
        asked.extend(flows)
        return {flow: NextHop(router.way(flow.source_port)) for flow in flows}

    monkeypatch.setattr(RouterFeed, "poll", poll)
    monkeypatch.setattr(RouterFeed, "ask_oracle", ask_oracle)
    first, second = Zone(), Zone()
    async with nameserver.udp(first) as one, nameserver.udp(second) as two:
        stage = Stage(router, FakeWorld(router), first, second, (one, two), asked)
        stage.world.scout.router = router  # so that knocks show that the oracle is right
        yield stage


async def begun(stage: Stage, keys: str = "") -> Monitor:
    """After as many rounds as it takes until everything is proven."""
    monitor = stage.monitor(keys)
    for _ in range(3):
        await later(stage, monitor)
    assert {path.verdict.value for path in monitor.status().paths} == {"ok"}
    return monitor


async def later(stage: Stage, monitor: Monitor, seconds: float = 301.0) -> None:
    stage.router.later += seconds
    await monitor.full_round()


def vips(monitor: Monitor) -> tuple[str, ...]:
    return monitor.status().targets[0].vips


def target_verdict(monitor: Monitor) -> str:
    return monitor.status().targets[0].verdict.value


async def test_addresses_come_and_go(stage: Stage) -> None:
    monitor = await begun(stage)
    assert vips(monitor) == (V4,)
    assert {path.vip for path in monitor.status().paths} == {V4}
    for zone in (stage.first, stage.second):
        zone.records = {"A": [V4], "AAAA": [V6]}
    await later(stage, monitor)
    assert {path.vip for path in monitor.status().paths} == {V4, V6}
    for zone in (stage.first, stage.second):
        zone.records = {"AAAA": [V6]}
    await later(stage, monitor)
    assert {path.vip for path in monitor.status().paths} == {V6}
    await monitor.close()


async def test_a_failure_of_dns_is_a_verdict_and_takes_nothing_away(stage: Stage) -> None:
    monitor = await begun(stage)
    assert target_verdict(monitor) == "ok"
    before = [(path.vip, path.verdict) for path in monitor.status().paths]
    for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
        stage.first.rcode = stage.second.rcode = code
        for _ in range(5):
            await later(stage, monitor, 600.0)
        assert [(path.vip, path.verdict) for path in monitor.status().paths] == before
        assert (target_verdict(monitor), monitor.status().all_ok) == ("degraded", False)
        problem = monitor.status().targets[0].dns_problem
        assert problem is not None
        assert dns.rcode.to_text(code) in problem
        assert "still probed (203.0.113.10)" in problem
    stage.first.rcode = stage.second.rcode = dns.rcode.NOERROR
    await later(stage, monitor)
    assert target_verdict(monitor) == "ok"
    await monitor.close()


async def test_a_name_that_is_gone_for_long(stage: Stage) -> None:
    monitor = await begun(stage)
    stage.first.rcode = stage.second.rcode = dns.rcode.NXDOMAIN
    await later(stage, monitor)
    assert (vips(monitor), target_verdict(monitor)) == ((V4,), "degraded")
    await later(stage, monitor, 16.0)
    await later(stage, monitor, GONE_SECONDS)
    assert (vips(monitor), target_verdict(monitor)) == ((), "unreachable")
    problem = monitor.status().targets[0].dns_problem
    assert "does not exist" in str(problem)
    assert "nothing to probe" in str(problem)
    await monitor.close()


async def test_another_resolver_disagrees(stage: Stage) -> None:
    stage.second.records = {"A": [OTHER]}
    monitor = await begun(stage, ", expected_addresses: [203.0.113.0/28]")
    assert (vips(monitor), target_verdict(monitor)) == ((V4,), "degraded")
    found = monitor.status().targets[0].dns
    assert found is not None
    assert found.wrong == {"disagree", "unexpected"}
    out = StringIO()
    show_explanation(Console(file=out, width=400), monitor.status(), monitor.views, "leviathan1")
    assert f"{OTHER}, which is not in expected_addresses (says second)" in out.getvalue()
    await monitor.close()


async def test_a_reload_that_names_other_resolvers_keeps_the_addresses(stage: Stage) -> None:
    monitor = await begun(stage)
    stage.first.rcode = dns.rcode.SERVFAIL
    text = FILE.format(first=stage.ports[0], second=stage.ports[1], keys="", module="http_2xx")
    monitor.configure(loads(text.replace("[first, second]", "[first]")))
    assert vips(monitor) == (V4,)
    await later(stage, monitor)
    assert (vips(monitor), target_verdict(monitor)) == ((V4,), "degraded")
    await monitor.close()


async def test_a_reload_that_moves_a_resolver_is_followed_at_once(stage: Stage) -> None:
    stage.second.records = {"A": [OTHER]}
    monitor = await begun(stage)
    text = FILE.format(first=stage.ports[1], second=stage.ports[0], keys="", module="http_2xx")
    monitor.configure(loads(text))
    await monitor.resolve()
    assert monitor.expected.targets["www"].vips == (OTHER,)
    await monitor.close()


async def test_the_oracle_is_asked_of_datagrams_and_they_are_not_traced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router hashes the protocol, too. What knocks proved of the oracle over TCP is taken for UDP."""
    probed: list[tuple[str, int]] = []

    async def probe(prober: str, request: Request, settings: BaseModel) -> Outcome:
        del settings
        await asyncio.sleep(0)
        probed.append((prober, request.flow.source_port))
        return Outcome(request.flow, success=True, failure=None, detail="", duration_seconds=0.004, connected=True)

    monkeypatch.setattr(stage.world, "probe", probe)
    monitor = stage.monitor(module="dns_udp")
    for _ in range(3):
        await later(stage, monitor)
    assert {flow.protocol for flow in stage.asked if flow.destination_port == 80} == {"udp"}
    assert {flow.protocol for flow in stage.asked if flow.destination_port != 80} == {"tcp"}
    assert {path.method for path in monitor.status().paths} == {Method.ORACLE}
    assert target_verdict(monitor) == "ok"
    (job,) = monitor._jobs("www")
    assert monitor.endpoints.means(job).no_trace == "traces are of TCP flows"
    assert probed
    await monitor.close()


@pytest.mark.parametrize(("module", "traced"), [("http_2xx", True), ("dns_udp", False)])
async def test_nothing_is_traced_in_the_name_of_datagrams(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, module: str, traced: bool
) -> None:
    segments: list[int] = []

    async def segment(flow: Flow, hops: int, seconds: float) -> HopAnswer:
        segments.append(flow.destination_port)
        return await stage.world.scout.knock(flow, hops, seconds)

    monkeypatch.setattr(stage.world.scout, "can_trace", lambda _family: True)
    monkeypatch.setattr(stage.world.scout, "segment", segment)
    text = FILE.format(first=stage.ports[0], second=stage.ports[1], keys="", module=module)
    monitor = Monitor(loads("probing: {steering: trace}" + text), stage.world, "test")
    await monitor.full_round()
    assert segments, "experiments go on"
    assert (80 in segments) is traced
    await monitor.close()
