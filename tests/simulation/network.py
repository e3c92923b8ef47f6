"""The whole of a simulated network at any moment of virtual time, and the truth about every path in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.simulation.dice import number, share
from tests.simulation.faults import Fault, Kind
from tests.simulation.forwarding import Forwarding, Hops, Packet
from tests.simulation.world import Hashing, Target, World

EPOCH = 1_795_384_400.0
STRANGER = "10.0.9.9"
STRANGER_V6 = "2001:db8:9::9"
_RETURN_SECONDS = 15.0  # in which all sessions are back after a reboot
_AFTER_BOOT = 1.0  # before the first of them
# ICMP errors to one receiver, at once and then each second (Linux: inet_peer_xrlim_allow; for IPv6 icmpv6_xrlim_allow,
# where the way back is a route of 64 bits).
_BURST = 6.0
_RATES = {4: 1.0, 6: 4.0}

Place = tuple[str, str]
"""(target, node): a path behind the router."""


class State(StrEnum):
    """What is true of a path."""

    UP = "up"  # forwarded to, and every probe through it succeeds
    BROKEN = "broken"  # forwarded to, and none does
    ABSENT = "absent"  # not forwarded to
    UNSOUND = "unsound"  # forwarded to, though the router's tables say that it should not
    MURKY = "murky"  # some probes through it succeed; nobody can be held to a judgement


class Service(StrEnum):
    """How a node answers a connection to a target."""

    OK = "ok"
    SILENT = "silent"
    REJECT = "reject"
    REFUSE = "refuse"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Truth:
    state: State
    since: float  # seconds of virtual time
    gone: tuple[float, float] = (-math.inf, -math.inf)  # when it was last not forwarded to


@dataclass(slots=True)
class _Tokens:
    """A node's or router's budget of ICMP errors for one receiver."""

    left: float = _BURST
    at: float = -math.inf


@dataclass(slots=True)
class Network:
    """`clock` tells the virtual time in seconds. Faults come and go by `turn`, at the moments of `turns`."""

    world: World
    clock: Callable[[], float]
    plan: Callable[[float], object] = lambda _: None  # to have `turn` called at that moment
    faults: list[Fault] = field(default_factory=list)  # whose times are known
    active: list[Fault] = field(default_factory=list)
    forwarding: Forwarding = field(init=False)
    established: dict[str, float] = field(default_factory=dict)  # by node: when its session came up
    truth: dict[Place, Truth] = field(default_factory=dict)
    disturbed: float = 0.0  # when something last came or went that makes looks unfair everywhere
    _tokens: dict[tuple[str, str], _Tokens] = field(default_factory=dict)
    _booted: float = -math.inf
    _counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.faults = [fault for fault in self.world.faults if not fault.on]
        for fault in self.faults:
            self._plan(fault)
        self.forwarding = Forwarding(self.world.hashing, self.world.shape, self.world.seed)
        self.established = {node.name: -3600.0 for node in self.world.nodes}
        self.turn()

    def happened(self, event: str) -> None:
        """Count an event; some faults begin by it."""
        self._counts[event] += 1
        for fault in self.world.faults:
            if fault.on == event and fault.after == self._counts[event]:
                now = self.clock()
                begun = replace(fault, begin=now + fault.begin, end=now + fault.end, on="", after=0)
                self.faults.append(begun)
                self._plan(begun)

    def _plan(self, fault: Fault) -> None:
        moments = [fault.begin, fault.end]
        if fault.kind is Kind.REBOOT:
            moments += [self._back(node.name, fault.end) for node in self.world.nodes]
        for moment in moments:
            if not math.isinf(moment):
                self.plan(moment)

    def turn(self) -> list[Fault]:
        """Take in what comes and goes now; returns the faults that began or ended."""
        now = self.clock()
        before = self.active
        self.active = [fault for fault in self.faults if fault.begin <= now < fault.end]
        turned = [fault for fault in self.faults if (fault in before) is not (fault in self.active)]
        for fault in turned:
            self._note(fault, began=fault in self.active, now=now)
        for target in self.world.targets:
            if target is self.world.owner(target.vip):
                self.forwarding.install(target.vip, self._hops(target), now)
        for target in self.world.targets:
            for node in {*target.nodes, *target.announcers}:
                state = self._state(target, node)
                known = self.truth.get((target.name, node))
                if known is None or known.state is not state:
                    gone = known.gone if known is not None else (-math.inf, -math.inf)
                    if known is not None and known.state is State.ABSENT:
                        gone = (known.since, now)
                    self.truth[target.name, node] = Truth(state, now, gone)
        return turned

    def _note(self, fault: Fault, *, began: bool, now: float) -> None:
        if fault.kind is Kind.REBOOT and not began:
            self._booted = fault.end
            for node in self.world.nodes:
                self.established[node.name] = self._back(node.name, fault.end)
        if (fault.kind is Kind.REBOOT and not began) or (fault.kind is Kind.REHASH and began):
            self.forwarding.rehash((self.world.seed, fault.begin), now)
        if fault.kind is Kind.SESSION and not began and fault.node is not None:
            self.established[fault.node] = now
        if fault.kind in _UNFAIR or fault.kind is Kind.RELOAD:
            self.disturbed = now

    def has(self, kind: Kind) -> Fault | None:
        """The first active fault of a kind."""
        return next((fault for fault in self.active if fault.kind is kind), None)

    def _of(self, kind: Kind, node: str, target: str) -> Fault | None:
        return next((fault for fault in self.active if fault.kind is kind and fault.hits(node, target)), None)

    def _back(self, node: str, booted: float) -> float:
        return booted + _AFTER_BOOT + _RETURN_SECONDS * share(self.world.seed, "back", node, booted)

    # What BGP and the FIB hold.

    def configured(self, node: str) -> bool:
        return not any(fault.kind is Kind.NEIGHBOR and fault.node == node for fault in self.active)

    def session_up(self, node: str) -> bool:
        down = any(fault.kind in (Kind.SESSION, Kind.STALE) and fault.node == node for fault in self.active)
        return not down and self.configured(node) and not self._away(node)

    def _away(self, node: str) -> bool:
        """Whether the router has booted and the node's session is not back yet."""
        return self.clock() < self._back(node, self._booted)

    def announces(self, node: str, target: Target) -> bool:
        """Whether the router has a route for the target's VIP from the node."""
        owner = self.world.owner(target.vip) or target
        if node not in target.announcers or self._of(Kind.WITHDRAW, node, owner.name):
            return False
        return self.session_up(node) or self.stale(node)

    def stale(self, node: str) -> bool:
        """Whether routes stay although the session is down."""
        return any(fault.kind is Kind.STALE and fault.node == node for fault in self.active) and self.configured(node)

    def installed(self, node: str, target: Target) -> bool:
        owner = self.world.owner(target.vip) or target
        return self.announces(node, target) and not self._of(Kind.NOT_INSTALLED, node, owner.name)

    def _hops(self, target: Target) -> Hops:
        # A router that boots holds on to the last FIB here: it forwards nothing anyhow.
        if self.has(Kind.REBOOT) is not None:
            return self.forwarding.fib.get(target.vip, ())
        weights = self.has(Kind.WEIGHTS)
        hops = [
            (
                node.name,
                node.weight if weights is None else 1 + number(weights.begin, node.name) % 4,
            )
            for node in self.world.nodes
            if self.installed(node.name, target)
        ]
        if self._of(Kind.STRANGER, "", target.name):
            hops.append((STRANGER if target.family == 4 else STRANGER_V6, 1))
        return tuple(hops)

    # What nodes do.

    def dead(self, node: str) -> bool:
        return any(fault.kind is Kind.DEAD and fault.node == node for fault in self.active)

    def service(self, node: str, target: Target) -> Service:
        """How a node answers a connection."""
        if self.dead(node) or self._of(Kind.ALL_DOWN, node, target.name) or node not in target.announcers:
            return Service.SILENT
        for kind, service in _SERVICES.items():
            if self._of(kind, node, target.name):
                return service
        return Service.OK

    def swallows_hops(self, node: str, target: Target | None) -> bool:
        """Whether packets to the target whose TTL ends at the node stay without an answer too."""
        if self.dead(node) or any(fault.kind is Kind.NO_ICMP and fault.node == node for fault in self.active):
            return True
        fault = self._of(Kind.BLACKHOLE, node, target.name) if target is not None else None
        return fault is not None and fault.level < 0.5

    def drops(self, node: str, target: Target | None, packet: Packet) -> bool:
        """Whether the node is one that loses some flows, and this is one of them."""
        fault = self._of(Kind.PARTIAL, node, "" if target is None else target.name)
        flow = (packet.source, packet.source_port, packet.destination, packet.destination_port)
        return fault is not None and share("drops", fault.level, flow) < 0.5

    def may_send_icmp(self, who: str, receiver: str) -> bool:
        """Whether the kernel of `who` lets one more ICMP error go to `receiver` now; it counts."""
        if not self.world.icmp_limited:
            return True
        now = self.clock()
        tokens = self._tokens.setdefault((who, receiver), _Tokens())
        tokens.left = min(_BURST, tokens.left + (now - tokens.at) * _RATES[6 if ":" in receiver else 4])
        tokens.at = now
        if tokens.left < 1.0:
            return False
        tokens.left -= 1.0
        return True

    # What is true.

    def _state(self, target: Target, node: str) -> State:
        hops = self.forwarding.fib.get(target.vip, ())
        if self.has(Kind.REBOOT) is not None:
            return State.MURKY
        if all(via != node for via, _ in hops):
            return State.ABSENT
        if not self.session_up(node):
            return State.UNSOUND
        if self.has(Kind.LOSS) is not None or (self.world.hashing is Hashing.PACKET and len(hops) > 1):
            return State.MURKY
        if self._of(Kind.PARTIAL, node, target.name) and self.service(node, target) is Service.OK:
            return State.MURKY
        return State.UP if self.service(node, target) is Service.OK else State.BROKEN

    def quiet_since(self, vip: str) -> float:
        """Since when flows to the VIP have stayed where they are, and every look has been a fair one."""
        if any(fault.kind in _UNFAIR for fault in self.active):
            return math.inf
        return max(self.disturbed, self.forwarding.changed.get(vip, 0.0))

    def way(self, packet: Packet) -> str | None:
        """The next hop of a packet without a hash of its own; None if it is lost at the router."""
        return None if self.has(Kind.REBOOT) is not None else self.forwarding.way(packet)

    def connection(self, packet: Packet) -> str | None:
        """The next hop of a packet of a connection; None if it is lost at the router."""
        return None if self.has(Kind.REBOOT) is not None else self.forwarding.connection(packet)


_UNFAIR = frozenset(
    {
        Kind.LOSS,
        Kind.UNREACHABLE,
        Kind.MUMBLE,
        Kind.REBOOT,
        Kind.ORACLE,
        Kind.CONFLICT,
        Kind.DEAF,
        Kind.NO_ICMP,
        Kind.PARTIAL,
    }
)
_SERVICES = {
    Kind.BLACKHOLE: Service.SILENT,
    Kind.REJECT: Service.REJECT,
    Kind.REFUSE: Service.REFUSE,
    Kind.WRONG: Service.WRONG,
}
