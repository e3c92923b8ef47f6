"""The simulated router as it is asked: snapshots of its tables, and what its oracle says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from exporter.config import Router
from exporter.feed import RouterFeed
from routers import bird, frr, platforms
from routers.model import (
    Answer,
    Command,
    FibEntry,
    HashPolicy,
    LinkNeighbor,
    NextHop,
    OracleFlow,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Session,
    SessionState,
    Snapshot,
)
from tests.simulation.dice import share
from tests.simulation.faults import Kind
from tests.simulation.forwarding import Packet
from tests.simulation.network import EPOCH, Network
from tests.simulation.world import Hashing, Node, Oracle, Target

_POLICIES = {
    Hashing.FIVE_TUPLE: HashPolicy.FIVE_TUPLE,
    Hashing.ADDRESSES: HashPolicy.ADDRESSES,
    Hashing.RESILIENT: HashPolicy.FIVE_TUPLE,
    Hashing.GRADUAL: HashPolicy.FIVE_TUPLE,
    Hashing.CARRIED: HashPolicy.FIVE_TUPLE,
}
_PATIENCE = 10.0  # seconds that the exporter waits for an answer
OWN = {4: "10.0.0.254", 6: "2001:db8::fe"}


class NoOracle:
    """A platform whose kernel cannot be asked about a flow; the rest is FRR's."""

    TRANSPORTS = frr.TRANSPORTS
    HAS_SHELL = True
    ORACLE: platforms.Oracle | None = None

    def ask(self, query: Query) -> tuple[Command, ...]:
        return frr.ask(query)

    def follow_up(self, query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
        return frr.follow_up(query, answers)

    def read(self, router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
        return frr.read(router, query, answers, taken_at)

    def remedy(self, kind: RemedyKind, facts: RemedyFacts) -> str | None:
        return frr.remedy(kind, facts)


class SimulatedFeed(RouterFeed):
    """`edge` is the router that all flows pass; any other has the same tables and forwards nothing."""

    def __init__(self, config: Router, network: Network) -> None:
        super().__init__(config, lambda: EPOCH + network.clock())
        self._network = network
        self._world = network.world
        if self._world.oracle is Oracle.ABSENT:
            self.platform = NoOracle()
        else:
            self.platform = bird if self._world.platform == "bird" else frr

    async def poll(self, query: Query) -> bool:
        """Each part of the snapshot is read at a moment of its own, as from a real router."""
        begun = self._network.clock()
        self._network.happened("poll")
        try:
            if not await self._reached(begun):
                return False
            sessions = self._sessions()
            await asyncio.sleep(self._world.query_seconds / 3)
            routes = {target.vip: self._routes(target) for target in self._world.targets}
            await asyncio.sleep(self._world.query_seconds / 3)
            fib = {target.vip: self._fib(target) for target in self._world.targets}
            mumbling = self._network.has(Kind.MUMBLE)
            await asyncio.sleep(self._world.query_seconds / 3)
            if self._hidden():
                self.error = "the connection was lost"
                return False
        finally:
            self.query_seconds = self._network.clock() - begun
        for target in self._world.targets:
            if mumbling is not None and mumbling.target in (None, target.name):
                fib.pop(target.vip, None)
        self.error = None
        self.snapshot = Snapshot(
            router=self.config.name,
            platform=self.config.platform,
            taken_at=EPOCH + begun,
            sessions=sessions,
            routes={vip: found for vip, found in routes.items() if vip in query.vips},
            fib={vip: found for vip, found in fib.items() if vip in query.vips},
            neighbors=tuple(self._neighbors()),
            addresses=frozenset(OWN.values()) if self.config.name == "edge" else frozenset({"10.0.1.254"}),
            local_as=64512,
            hash_policy=self._policies(),
        )
        return True

    async def ask_oracle(self, flows: Sequence[OracleFlow]) -> Mapping[OracleFlow, NextHop]:
        if self.platform.ORACLE is None or not flows:
            return {}
        if not await self._reached(self._network.clock()):
            return {}
        await asyncio.sleep(self._world.query_seconds / 3)
        if self._world.oracle is Oracle.MUTE:
            self.error = "the router does not tell where flows enter it"
            return {}
        found = {}
        for flow in flows:
            via = self._told(flow)
            if via is not None:
                found[flow] = NextHop(self._address(via, 6 if ":" in flow.destination else 4))
        self._network.happened("oracle")
        return found

    async def close(self) -> None:
        """Nothing is open."""

    def _hidden(self) -> bool:
        network = self._network
        return network.has(Kind.UNREACHABLE) is not None or network.has(Kind.REBOOT) is not None

    async def _reached(self, now: float) -> bool:
        """Whether the router takes the question; where it does not, that is told at once or after a long silence."""
        if not self._hidden():
            return True
        silent = share(self._world.seed, "silent", now) < 0.5
        await asyncio.sleep(_PATIENCE if silent else 0.05)
        self.error = "it did not answer within 10 s" if silent else "connection refused"
        return False

    def _told(self, flow: OracleFlow) -> str | None:
        network, oracle = self._network, self._world.oracle
        hops = network.forwarding.fib.get(flow.destination, ())
        if not hops:
            return None
        if oracle is Oracle.CONSTANT:
            return hops[0][0]
        lies = oracle is Oracle.LYING or network.has(Kind.ORACLE) is not None
        if oracle is Oracle.LYING_V6 and ":" in flow.destination:
            lies = lies or share(self._world.seed, "lie", flow) >= 5 / 12
        if oracle is Oracle.MOSTLY:
            lies = lies or share(self._world.seed, "lie", flow) >= 0.97
        packet = Packet(
            flow.source, flow.source_port, flow.destination, flow.destination_port, "oracle", network.clock()
        )
        if lies:
            packet = replace(packet, source=f"not {flow.source}")
        return network.forwarding.way(packet)

    def _sessions(self) -> tuple[Session, ...]:
        network = self._network
        found = []
        for node in self._world.nodes:
            if not network.configured(node.name):
                continue
            up = network.session_up(node.name)
            found.append(
                Session(
                    node.addresses[0],
                    SessionState.ESTABLISHED if up else SessionState.ACTIVE,
                    remote_as=64512,
                    local_as=64512,
                    established_at=EPOCH + network.established[node.name] if up else None,
                )
            )
        return tuple(found)

    def _routes(self, target: Target) -> tuple[Route, ...]:
        network = self._network
        return tuple(
            Route(
                f"{target.vip}/{32 if target.family == 4 else 128}",
                node.addresses[0],
                self._next_hops(node, target.family),
                used=True,
                best=True,
                stale=network.stale(node.name),
            )
            for node in self._world.nodes
            if network.announces(node.name, target)
        )

    def _fib(self, target: Target) -> FibEntry | None:
        hops = self._network.forwarding.fib.get(target.vip, ())
        if not hops:
            return None
        return FibEntry(
            f"{target.vip}/{32 if target.family == 4 else 128}",
            tuple(NextHop(self._address(via, target.family), "eth0", weight) for via, weight in hops),
            "bgp",
        )

    def _address(self, via: str, family: int) -> str:
        """The address by which a next hop stands in the FIB."""
        for number, node in enumerate(self._world.nodes, start=1):
            if node.name == via:
                return f"fe80::{number:x}" if family == 6 and self._world.link_local else node.address(family)
        return via  # a stranger stands for itself

    def _next_hops(self, node: Node, family: int) -> tuple[str, ...]:
        own = node.address(family)
        told = self._address(node.name, family)
        return (own,) if told == own else (told, own)

    def _neighbors(self) -> list[LinkNeighbor]:
        found = []
        for number, node in enumerate(self._world.nodes, start=1):
            mac = f"02:00:00:00:00:{number:02x}"
            found += [LinkNeighbor(address, "eth0", mac, reachable=True) for address in node.addresses]
            found.append(LinkNeighbor(f"fe80::{number:x}", "eth0", mac, reachable=True))
        return found

    def _policies(self) -> Mapping[int, HashPolicy]:
        policy = _POLICIES.get(self._world.hashing, HashPolicy.UNKNOWN)
        return {4: policy, 6: policy} if self._world.tells_hashing else {}
