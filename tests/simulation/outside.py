"""All that a monitor needs from the world, simulated: exporter.outside.Outside over a Network."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from pydantic import BaseModel

from exporter.config import Router
from exporter.outside import Bypassing
from probes.direct import DirectResult
from probes.model import Failure, Flow, Outcome, Request
from probes.scout import HopAnswer, Seen
from tests.simulation.dice import share
from tests.simulation.faults import Fault, Kind
from tests.simulation.forwarding import Packet
from tests.simulation.loop import EndlessError
from tests.simulation.network import EPOCH, Network, Service
from tests.simulation.router import OWN, SimulatedFeed
from tests.simulation.world import Direct, Hashing, Icmp, Target

LOCAL = {4: "192.0.2.1", 6: "2001:db8:1::1"}
_REPEATS = (0.0, 1.0, 3.0, 7.0)  # when a SYN is sent (Linux: 1 s, doubled)
_TIME_WAIT = 60.0
_MOST_WORK = 30.0  # real seconds at one instant; the largest rounds need a tenth of one
_EPHEMERAL = range(32768, 61000)
_Key = tuple[str, int, str, int]


def source_addresses(family: int, count: int) -> list[str]:
    """The configured source addresses of a family."""
    return [f"192.0.2.{number + 9}" if family == 4 else f"2001:db8:1::{number + 9:x}" for number in range(1, count + 1)]


class SimulatedScout:
    """Asks the hop at a distance, as far as this machine may; every packet counts in `sent`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._world = network.world
        self.why_not = "" if self._world.traces else "no CAP_NET_RAW"
        self.sent = 0

    def can_trace(self, family: int) -> bool:
        return self._world.traces and family in (4, 6)

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        if not self._world.traces:
            return HopAnswer(Seen.LOCAL, detail="no raw socket")
        return await self._ask("segment", flow, hops, seconds)

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        return await self._ask("knock", flow, hops, seconds)

    async def _ask(self, kind: str, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        network, world = self._network, self._world
        if network.has(Kind.DEAF) is not None:
            return HopAnswer(Seen.LOCAL, detail="Network is unreachable")
        self.sent += 1
        network.happened("segment")
        asked_at = network.clock()
        family = 6 if ":" in flow.destination else 4
        source = flow.source or LOCAL[family]
        key = (world.seed, kind, source, flow.source_port, flow.destination, flow.destination_port, hops, asked_at)
        seconds_out = 0.0005 + 0.002 * share(*key, "out")
        await asyncio.sleep(seconds_out)
        packet = Packet(
            source, flow.source_port, flow.destination, flow.destination_port, (kind, *key), network.clock()
        )
        answer = self._answer(kind, packet, hops)
        late = share(*key, "late") < world.icmp_late
        lost = share(*key, "lost") < world.icmp_loss + self._loss()
        if answer.seen is Seen.SILENCE or lost or late:
            await asyncio.sleep(max(0.0, seconds - seconds_out))
            return HopAnswer(Seen.SILENCE)
        await asyncio.sleep(min(seconds - seconds_out, 0.0005 + 0.01 * share(*key, "back")))
        return answer

    def _loss(self) -> float:
        fault = self._network.has(Kind.LOSS)
        return 0.0 if fault is None else loss(fault)

    def _answer(self, kind: str, packet: Packet, hops: int) -> HopAnswer:
        network, world = self._network, self._world
        distance = world.upstream + 1  # of the router that is asked
        if hops <= distance:
            return self._router(packet, hops)
        # A knock is an attempt to connect; a segment is a packet of its own.
        via = network.connection(packet) if kind == "knock" else network.way(packet)
        if via is None or (kind == "knock" and not world.knocks):
            return HopAnswer(Seen.SILENCE)
        node = next((node for node in world.nodes if node.name == via), None)
        target = self._target(packet)
        if node is None or network.swallows_hops(node.name, target) or network.drops(node.name, target, packet):
            return HopAnswer(Seen.SILENCE)
        if kind == "knock" and packet.destination_port in world.served:
            return HopAnswer(Seen.DESTINATION, packet.destination)  # connection tracking rewrites the error
        if node.icmp is Icmp.BOUND:
            # No one has ever bound the port of a knock; a listening socket drops a segment without flags.
            return HopAnswer(Seen.DESTINATION, packet.destination) if kind == "knock" else HopAnswer(Seen.SILENCE)
        if hops > distance + 1:
            return self._router(packet, distance) if world.loops_beyond else HopAnswer(Seen.SILENCE)
        if node.icmp is Icmp.NONE or not network.may_send_icmp(node.name, packet.source):
            return HopAnswer(Seen.SILENCE)
        family = 6 if ":" in packet.destination else 4
        if node.icmp is Icmp.ALIAS:
            return HopAnswer(Seen.HOP, f"10.7.0.{int(via[1:])}" if family == 4 else f"2001:db8:7::{int(via[1:]):x}")
        return HopAnswer(Seen.HOP, node.address(family))

    def _target(self, packet: Packet) -> Target | None:
        own = [one for one in self._world.targets if one.vip == packet.destination]
        return next((one for one in own if one.port == packet.destination_port), own[0] if own else None)

    def _router(self, packet: Packet, hops: int) -> HopAnswer:
        """A router before the nodes; where there are several in a row, flows reach each by one of two links."""
        network, world = self._network, self._world
        rebooting = network.has(Kind.REBOOT) is not None and hops == world.upstream + 1
        if hops in world.silent_hops or rebooting or not network.may_send_icmp(f"hop {hops}", packet.source):
            return HopAnswer(Seen.SILENCE)
        flow = (packet.source, packet.source_port, packet.destination, packet.destination_port)
        link = 1 if world.upstream == 0 or share(world.seed, "link", hops, flow) < 0.5 else 2
        if ":" in packet.destination:
            return HopAnswer(Seen.HOP, f"2001:db8:{hops}{link}::fe")
        return HopAnswer(Seen.HOP, f"10.1.{hops}{link}.254")


class SimulatedOutside:
    """Every probe counts in `sent`, and by VIP and port in `to`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.scout = SimulatedScout(network)
        self.sent = 0
        self.to: Counter[tuple[str, int]] = Counter()
        self._world = network.world
        self._asked, self._asked_at, self._asked_since = 0, -1.0, 0.0
        self._open: set[_Key] = set()
        self._closed: dict[_Key, float] = {}

    def now(self) -> float:
        """Raises EndlessError if that is asked on and on and nothing is awaited meanwhile."""
        now = self.network.clock()
        if now != self._asked_at:
            self._asked_at, self._asked, self._asked_since = now, 0, time.perf_counter()
        self._asked += 1
        if self._asked % 256 == 0 and time.perf_counter() - self._asked_since > _MOST_WORK:
            raise EndlessError(f"asked what time it is {self._asked} times at {now:.3f} s")
        return EPOCH + now

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def feed(self, router: Router) -> SimulatedFeed:
        return SimulatedFeed(router, self.network)

    def local_source(self, vip: str) -> str | None:
        return LOCAL[6 if ":" in vip else 4]

    def gateway(self, vip: str) -> str | None:
        return OWN[6 if ":" in vip else 4]

    def busy_ports(self) -> range:
        return _EPHEMERAL

    def bypass(self) -> Bypassing:
        raise AssertionError("direct steering is off here")

    async def check(self, addresses: Collection[str], timeout_seconds: float) -> Mapping[str, DirectResult]:
        owners = {address: node for node in self._world.nodes for address in node.addresses}
        found = {address: self._alive(owners[address].name, owners[address].direct) for address in addresses}
        silent = any(not result.alive for result in found.values())
        await asyncio.sleep(timeout_seconds if silent else 0.01)
        return found

    def _alive(self, node: str, direct: Direct) -> DirectResult:
        if self.network.has(Kind.DEAF) is not None:
            return DirectResult(None, "none", "not sent")
        if self.network.dead(node) or direct is Direct.FILTERED or self.network.has(Kind.REBOOT) is not None:
            return DirectResult(False, "icmp", "no answer")
        return DirectResult(True, direct.value, "answered")

    async def probe(self, prober: str, request: Request, settings: BaseModel) -> Outcome:
        """One connection, its SYN repeated until something comes back or the time is over."""
        del prober, settings
        flow = request.flow
        family = 6 if ":" in flow.destination else 4
        source = flow.source or LOCAL[family]
        begun = self.network.clock()
        port = flow.source_port or _EPHEMERAL[int(share("port", begun, flow) * len(_EPHEMERAL))]
        real = Flow(flow.destination, flow.destination_port, source, port)
        key = (source, port, flow.destination, flow.destination_port)
        failure = self._cannot_send(key, begun)
        if failure is not None:
            await asyncio.sleep(0)
            return Outcome(real, False, failure, f"simulated {failure}", 0.0)
        self.sent += 1
        self.to[flow.destination, flow.destination_port] += 1
        self.network.happened("probe")
        self._open.add(key)
        try:
            outcome = await self._connect(real, key, request, begun)
        finally:
            self._open.discard(key)
        if outcome.connected:
            self._closed[key] = self.network.clock()  # what did not come so far is reset, and leaves nothing
        return outcome

    def _cannot_send(self, key: _Key, now: float) -> Failure | None:
        if self.network.has(Kind.DEAF) is not None:
            return Failure.LOCAL
        conflict = self.network.has(Kind.CONFLICT)
        if conflict is not None and share(conflict.begin, "port", key[1]) < 0.5 * conflict.level:
            return Failure.LOCAL_PORT
        if key in self._open:
            return Failure.LOCAL_PORT
        closed = self._closed.get(key)
        if self._world.time_wait and closed is not None and now - closed < _TIME_WAIT:
            return Failure.LOCAL_PORT
        return None

    async def _connect(self, flow: Flow, key: _Key, request: Request, begun: float) -> Outcome:
        seconds = request.timeout_seconds
        for repeat in _REPEATS:
            if repeat >= seconds:
                break
            if repeat:
                await asyncio.sleep(max(0.0, begun + repeat - self.network.clock()))
            answer = self._answer(flow, key, request, (begun, repeat))
            if answer is not None:
                back = share(self._world.seed, "back", key, begun, repeat)
                await asyncio.sleep(0.05 + 0.9 * back if self._world.slow else 0.001 + 0.008 * back)
                success, failure, detail, identity = answer
                connected = success or failure is Failure.EXPECTATION
                return Outcome(flow, success, failure, detail, self.network.clock() - begun, {}, connected, identity)
        await asyncio.sleep(max(0.0, begun + seconds - self.network.clock()))
        return Outcome(flow, False, Failure.TIMEOUT, f"no answer within {seconds:g} s", seconds)

    def _answer(
        self, flow: Flow, key: _Key, request: Request, attempt: tuple[float, float]
    ) -> tuple[bool, Failure | None, str, str | None] | None:
        """What comes back for one SYN: success, failure, detail, identity; None for silence."""
        network = self.network
        begun, _ = attempt
        fault = network.has(Kind.LOSS)
        if fault is not None and share(self._world.seed, "loss", key, attempt) < loss(fault):
            return None
        packet = Packet(*key, (key, begun), network.clock())
        if network.has(Kind.REBOOT) is not None:
            return None
        via = network.connection(packet)
        if via is None:
            return False, Failure.UNREACHABLE, "No route to host", None
        target = self._target(flow)
        if target is None or all(node.name != via for node in self._world.nodes):
            return None
        if network.drops(via, target, packet):
            return None
        if self._torn(packet):
            return False, Failure.RESET, "connection reset", None
        return self._serve(via, target, request)

    def _serve(self, via: str, target: Target, request: Request) -> tuple[bool, Failure | None, str, str | None] | None:
        named = via if request.identity is not None and target.identity else None
        service = self.network.service(via, target)
        if service is Service.SILENT:
            return None
        if service is Service.REJECT:
            return False, Failure.UNREACHABLE, "No route to host", None
        if service is Service.REFUSE:
            return False, Failure.REFUSED, "connection refused", None
        if service is Service.WRONG:
            return False, Failure.EXPECTATION, "status 503", named if target.named_in_errors else None
        return True, None, "", named

    def _torn(self, packet: Packet) -> bool:
        """Whether a connection dies because its packets go to several nodes."""
        if self._world.hashing is not Hashing.PACKET:
            return False
        moments = [packet.moment + 0.001 * number for number in range(4)]
        ways = {self.network.way(replace(packet, moment=moment)) for moment in moments}
        return len(ways) > 1

    def _target(self, flow: Flow) -> Target | None:
        return next((one for one in self._world.targets if (one.vip, one.port) == _end(flow)), None)


def loss(fault: Fault) -> float:
    """The share of packets that are lost: from 1 to 20 percent."""
    return 0.01 + 0.19 * fault.level**2


def _end(flow: Flow) -> tuple[str, int]:
    return flow.destination, flow.destination_port
