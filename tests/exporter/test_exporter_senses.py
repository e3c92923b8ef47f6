"""What the router's oracle names, as a next hop in use: by its address, or by the interface that it lies behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from exporter.config import Config
from exporter.configfile import loads
from exporter.endpoints import Endpoints
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, from_config
from exporter.feed import RouterFeed
from exporter.outside import Outside
from exporter.rounds import Round, Sent
from exporter.senses import EndpointSenses, Job
from exporter.steering import Choice, Method
from exporter.verdicts import PathResult
from probes.model import Outcome
from probes.ports import Source
from routers.model import FibEntry, NextHop, OracleFlow, Snapshot

VIP = "203.0.113.10"
FILE = """
probing: {interval: 15s, timeout: 3s}
routers: [{name: edge, platform: frr, vrf: blue, exec: {prefix: []}}]
nodes:
  - {name: leviathan1, address: 10.0.0.11}
  - {name: leviathan2, address: 10.0.0.12}
  - {name: leviathan3, address: 10.0.0.13}
targets: [{name: web, address: 203.0.113.10, port: 80, module: http_2xx}]
"""
HOPS = (NextHop("10.0.0.11", "Ethernet1"), NextHop("10.0.0.12", "Ethernet2"), NextHop("10.0.0.13", "Ethernet3"))
SHARED = (*HOPS[:2], NextHop("10.0.0.13", "Ethernet2"))
STRANGER = NextHop("10.0.0.99", "Ethernet2")
PORT = 20_000


class Feed(RouterFeed):
    """A router that says of every flow what `told` says."""

    def __init__(self, config: Config, hops: Sequence[NextHop], told: NextHop) -> None:
        super().__init__(config.routers[0])
        self.snapshot = Snapshot("edge", "frr", 0.0, fib={VIP: FibEntry(f"{VIP}/32", tuple(hops))})
        self.told = told
        self.asked: list[OracleFlow] = []

    async def ask_oracle(self, flows: Sequence[OracleFlow]) -> Mapping[OracleFlow, NextHop]:
        self.asked += flows
        return dict.fromkeys(flows, self.told)


class Here:
    """This machine, as far as it is looked at."""

    def now(self) -> float:
        return 0.0

    def busy_ports(self) -> range:
        return range(0)

    def local_source(self, vip: str) -> str | None:
        return "192.0.2.2" if vip == VIP else None


class World:
    """One endpoint behind a router that forwards to `hops`, and answers its oracle with `told`."""

    def __init__(self, hops: Sequence[NextHop], told: NextHop) -> None:
        self.config = loads(FILE)
        self.expected: Expected = from_config(self.config, {"web": (VIP,)})
        self.feed = Feed(self.config, hops, told)
        assert self.feed.snapshot is not None
        view = RouterView.of(self.feed.snapshot, self.expected)
        evidence = of_vip(view, self.expected, self.expected.targets["web"], VIP)
        target = self.config.targets[0]
        self.job = Job(("edge", "web", VIP), target, self.config.modules[target.module], evidence)

    def senses(self) -> EndpointSenses:
        outside = cast("Outside", Here())
        return EndpointSenses(outside, self.config, self.feed, self.expected, self.job, asyncio.Semaphore())

    async def via(self) -> str | None:
        return (await self.senses().ask_oracle([Source(None, PORT)])).get(Source(None, PORT))

    async def address(self) -> str | None:
        return (await self.senses().addresses([Source(None, PORT)])).get(Source(None, PORT))

    async def has_moved(self, meant: str) -> bool:
        """Whether a flow of a finished round, which was meant for this path, is said to go elsewhere now."""
        endpoints = Endpoints(cast("Outside", Here()), self.config)
        endpoints.configure(self.config, {"edge": self.feed}, self.expected, [self.job.place])
        assert self.job.evidence is not None
        endpoint = endpoints.at(self.job.place)
        endpoint.rebase(self.job.evidence.hops or (), 0.0)
        result = cast("PathResult", None)
        done = Round(
            basis=endpoint.map.basis,
            started=0.0,
            ended=0.0,
            choice=Choice(Method.ORACLE, 1.0, ""),
            results={meant: result},
            no_flow={},
            sent=(Sent(Source(None, PORT), meant, None, cast("Outcome", None)),),
        )
        moved = await endpoints.wandered("edge", [(self.job, done)])
        assert moved <= {(self.job.place, meant)}
        return bool(moved)


@pytest.mark.parametrize(
    ("hops", "told", "via"),
    [
        (HOPS, NextHop("10.0.0.12", "Ethernet2"), "leviathan2"),
        (HOPS, NextHop(None, "Ethernet2"), "leviathan2"),
        (HOPS, NextHop(None, "Et2"), "leviathan2"),
        (HOPS, NextHop(None, "Ethernet9"), None),
        (HOPS, NextHop(None, None), None),
        (HOPS, NextHop("10.0.0.99", "Ethernet2"), None),
        (SHARED, NextHop(None, "Ethernet1"), "leviathan1"),
        (SHARED, NextHop(None, "Ethernet2"), None),
        (SHARED, NextHop("10.0.0.13", "Ethernet2"), "leviathan3"),
        ((*HOPS[:2], NextHop("10.0.0.13")), NextHop(None, "Ethernet2"), None),
        (
            (NextHop("10.0.0.11", "Ethernet1"), NextHop("10.0.0.99", "Ethernet2")),
            NextHop(None, "Ethernet2"),
            "10.0.0.99",
        ),
    ],
)
async def test_the_path_that_an_answer_names(hops: Sequence[NextHop], told: NextHop, via: str | None) -> None:
    """An interface stands for the next hop behind it; what two share names neither of them."""
    world = World(hops, told)
    assert await world.via() == via
    owner = {"leviathan1": "10.0.0.11", "leviathan2": "10.0.0.12", "leviathan3": "10.0.0.13"}
    if told.address is None:
        assert await world.address() == (None if via is None else owner.get(via, via))


async def test_two_addresses_of_one_node_behind_an_interface_are_one_path() -> None:
    file = FILE.replace("address: 10.0.0.12", "addresses: [10.0.0.12, 10.0.0.22]")
    hops = (HOPS[0], HOPS[1], NextHop("10.0.0.22", "Ethernet2"))
    world = World(hops, NextHop(None, "Ethernet2"))
    world.config = loads(file)
    world.expected = from_config(world.config, {"web": (VIP,)})
    assert world.feed.snapshot is not None
    view = RouterView.of(world.feed.snapshot, world.expected)
    evidence = of_vip(view, world.expected, world.expected.targets["web"], VIP)
    world.job = Job(world.job.place, world.job.target, world.job.module, evidence)
    assert await world.via() == "leviathan2"
    assert await world.address() is None, "it is not told by which of the two"


@pytest.mark.parametrize("forget", ["snapshot", "vip"])
async def test_an_interface_says_nothing_without_the_fib(forget: str) -> None:
    world = World(HOPS, NextHop(None, "Ethernet2"))
    world.feed.snapshot = None if forget == "snapshot" else Snapshot("edge", "frr", 0.0)
    assert await world.via() is None


@pytest.mark.parametrize(
    ("hops", "told", "meant", "moved"),
    [
        (HOPS, NextHop("10.0.0.12"), "leviathan2", False),
        (HOPS, NextHop("10.0.0.12"), "leviathan1", True),
        (HOPS, NextHop(None, "Ethernet2"), "leviathan2", False),
        (HOPS, NextHop(None, "Ethernet2"), "leviathan1", True),
        (HOPS, NextHop(None, "Ethernet9"), "leviathan1", True),
        (SHARED, NextHop(None, "Ethernet2"), "leviathan2", False),
        (SHARED, NextHop(None, "Ethernet2"), "leviathan3", False),
        (SHARED, NextHop(None, "Ethernet2"), "leviathan1", True),
    ],
)
async def test_a_flow_has_moved_only_if_its_path_is_not_among_those_named(
    hops: Sequence[NextHop], told: NextHop, meant: str, *, moved: bool
) -> None:
    assert await World(hops, told).has_moved(meant) is moved


async def test_the_router_is_asked_in_its_vrf() -> None:
    world = World(HOPS, HOPS[0])
    await world.via()
    assert [(flow.source, flow.source_port, flow.vrf) for flow in world.feed.asked] == [("192.0.2.2", PORT, "blue")]
    other: Any = world.senses().oracle_flow(Source(None, PORT), 22)
    assert (other.destination_port, other.vrf) == (22, "blue")
