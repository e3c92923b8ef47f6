"""A network as one seed draws it: routers, nodes, targets, what can be asked of them, and which faults will come."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tests.simulation.faults import Fault, draw_faults

ROUNDS = 40  # of each target
FEW_ROUNDS = 20  # where there are many next hops
MANY = 16


class Hashing(StrEnum):
    """What the router puts a packet on a next hop by."""

    FIVE_TUPLE = "five-tuple"
    ADDRESSES = "addresses"
    RANDOM = "random"  # a connection keeps its next hop, the next one of the same 5-tuple has another
    PACKET = "packet"  # every packet goes elsewhere: no connection over several next hops lives
    RESILIENT = "resilient"  # buckets; a change moves only the flows that it must, at once
    GRADUAL = "gradual"  # buckets; those that a new next hop gets move to it over half a minute
    CARRIED = "carried"  # connections carry a hash of their own; segments and the oracle follow the 5-tuple


class Oracle(StrEnum):
    HONEST = "honest"
    LYING = "lying"
    LYING_V6 = "lying-v6"  # right for 5 in 12 flows of IPv6
    MOSTLY = "mostly"  # right for 97 in 100 flows
    CONSTANT = "constant"
    MUTE = "mute"
    ABSENT = "absent"


class Icmp(StrEnum):
    """What a node does with a packet whose TTL ends at it."""

    ANSWERS = "answers"
    NONE = "none"
    BOUND = "bound"  # the VIP is its own address: the packet has arrived, its TTL does not matter
    ALIAS = "alias"  # it answers from an address that no configuration names


class Direct(StrEnum):
    """How a node answers a direct check."""

    ICMP = "icmp"
    TCP = "tcp"
    FILTERED = "filtered"  # never


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    addresses: tuple[str, ...]
    icmp: Icmp = Icmp.ANSWERS
    direct: Direct = Direct.ICMP
    weight: int = 1

    def address(self, family: int) -> str:
        return next(address for address in self.addresses if (":" in address) is (family == 6))


@dataclass(frozen=True, slots=True)
class Target:
    """`announcers` are the nodes that announce its VIP; `nodes` those that are expected to."""

    name: str
    vip: str
    port: int
    nodes: tuple[str, ...]
    announcers: tuple[str, ...]
    identity: bool = False
    named_in_errors: bool = False  # a wrong answer names its node too

    @property
    def family(self) -> int:
        return 6 if ":" in self.vip else 4


@dataclass(frozen=True, slots=True)
class World:
    """`shape` is how a hash becomes a next hop: threshold (Linux) or modulo; times are seconds."""

    seed: int
    nodes: tuple[Node, ...]
    targets: tuple[Target, ...]
    faults: tuple[Fault, ...] = ()
    hashing: Hashing = Hashing.FIVE_TUPLE
    shape: str = "threshold"
    tells_hashing: bool = False
    oracle: Oracle = Oracle.HONEST
    platform: str = "frr"
    traces: bool = False
    knocks: bool = False  # no packet filter drops what goes to ports of no service
    upstream: int = 0  # routers before the one that is asked
    silent_hops: tuple[int, ...] = ()  # distances at which a router sends no ICMP
    loops_beyond: bool = False  # a node sends back what outlives it, so that the router answers for it
    icmp_limited: bool = True
    icmp_loss: float = 0.0
    icmp_late: float = 0.0
    sources: int = 0  # configured source addresses of each family
    time_wait: bool = False  # a port that was just used cannot be used again for a minute
    link_local: bool = False  # IPv6 next hops stand in the FIB by their link-local addresses
    beside: bool = False  # a second router is read that no flow passes
    interval: float = 15.0
    poll_interval: float = 15.0
    query_seconds: float = 0.2
    slow: bool = False  # answers take up to a second
    served: tuple[int, ...] = ()  # ports of every VIP that services use which no configuration names
    rounds: int = ROUNDS

    @property
    def length(self) -> float:
        return self.rounds * self.interval

    def owner(self, vip: str) -> Target | None:
        """The target by whose name the routes of a VIP go, where several have it."""
        return next((target for target in self.targets if target.vip == vip), None)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def lines(self) -> Iterator[str]:
        """The world in a few lines."""
        kinds: dict[str, list[str]] = {}
        for node in self.nodes:
            kind = f"icmp {node.icmp}, direct {node.direct}"
            kinds.setdefault(kind, []).append(node.name + (f" (weight {node.weight})" if node.weight != 1 else ""))
        can = [name for name, it in (("trace", self.traces), ("knock", self.knocks)) if it] or ["nothing"]
        yield (
            f"seed {self.seed}: {len(self.nodes)} nodes, hashing {self.hashing} ({self.shape}"
            f"{', told' if self.tells_hashing else ''}), oracle {self.oracle} on {self.platform}, "
            f"can {' and '.join(can)}"
        )
        yield (
            f"  {self.upstream} routers before it, silent at {list(self.silent_hops) or 'none'}, "
            f"{'loops' if self.loops_beyond else 'nothing'} beyond the nodes, ICMP "
            f"{'limited' if self.icmp_limited else 'unlimited'}, {self.icmp_loss:.0%} lost, {self.icmp_late:.0%} late"
        )
        yield (
            f"  {self.sources} source addresses, interval {self.interval:g} s, polls every {self.poll_interval:g} s "
            f"in {self.query_seconds:.2f} s"
            f"{', TIME_WAIT' if self.time_wait else ''}{', link-local' if self.link_local else ''}"
            f"{', a second router' if self.beside else ''}{', slow' if self.slow else ''}"
            f"{', ports in use: ' + ' '.join(map(str, self.served)) if self.served else ''}"
        )
        for kind, names in kinds.items():
            yield f"  {kind}: {' '.join(names)}"
        for target in self.targets:
            who = "all" if len(target.nodes) == len(self.nodes) else " ".join(target.nodes)
            more = sorted(set(target.announcers) - set(target.nodes))
            yield (
                f"  {target.name} at {target.vip} {target.port}, {'identity' if target.identity else 'no identity'}"
                f"{' (in errors too)' if target.named_in_errors else ''}, nodes {who}"
                f"{', announced by ' + ' '.join(more) + ' as well' if more else ''}"
            )
        for fault in self.faults:
            yield f"  {fault}"


def draw(seed: int) -> World:
    """The world of a seed."""
    rng = random.Random(seed)  # noqa: S311
    families = rng.choices([(4,), (6,), (4, 6)], [60, 15, 25])[0]
    count = _next_hops(rng)
    hashing = rng.choices(list(Hashing), [44, 12, 8, 4, 14, 8, 10])[0]
    traces = rng.random() < 0.55
    nodes = _nodes(rng, count, families)
    targets = _targets(rng, nodes, families)
    interval = rng.choices([15.0, 5.0, 30.0], [8, 1, 1])[0]
    upstream = rng.choices([0, 1, 2], [6, 3, 1])[0]
    limited = rng.random() < 0.8
    world = World(
        seed=seed,
        nodes=nodes,
        targets=targets,
        hashing=hashing,
        shape=rng.choice(["threshold", "modulo"]),
        tells_hashing=rng.random() < 0.5,
        oracle=rng.choices(list(Oracle), [38, 14, 14, 6, 5, 7, 16])[0],
        platform=rng.choice(["frr", "bird"]),
        traces=traces,
        knocks=rng.random() < 0.8,
        upstream=upstream,
        silent_hops=tuple(hop for hop in range(1, upstream + 2) if rng.random() < 0.2),
        loops_beyond=rng.random() < 0.3,
        icmp_limited=limited,
        icmp_loss=rng.choices([0.0, 0.05, 0.3], [6, 3, 1])[0],
        icmp_late=rng.choices([0.0, 0.05, 0.3], [6, 3, 1])[0],
        sources=rng.choices([0, 8, 30], [6, 2, 2])[0],
        time_wait=rng.random() < 0.15,
        link_local=6 in families and rng.random() < 0.5,
        beside=rng.random() < 0.1,
        interval=interval,
        poll_interval=rng.choices([15.0, 5.0, 30.0], [8, 1, 1])[0],
        query_seconds=rng.choice([0.02, 0.2, 1.5]),
        slow=rng.random() < 0.1,
        rounds=ROUNDS if count <= MANY else FEW_ROUNDS,
        served=tuple(sorted(rng.sample(range(33434, 33440), rng.randint(1, 6)))) if rng.random() < 0.1 else (),
    )
    faults = draw_faults(
        rng, [node.name for node in nodes], {one.name: one.announcers for one in targets}, world.length
    )
    return replace(world, faults=tuple(faults))


def _next_hops(rng: random.Random) -> int:
    low, high = rng.choices(
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 32), (33, 64)], [8, 21, 26, 13, 20, 8, 3, 1]
    )[0]
    return rng.randint(low, high)


def _nodes(rng: random.Random, count: int, families: Sequence[int]) -> tuple[Node, ...]:
    unequal = rng.random() < 0.2
    usual = rng.choices(list(Icmp), [70, 8, 15, 7])[0]
    odd = rng.choice([0.0, 0.0, 0.3])
    nodes = []
    for number in range(1, count + 1):
        icmp = rng.choices(list(Icmp), [4, 4, 1, 1])[0] if rng.random() < odd else usual
        direct = rng.choices(list(Direct), [0, 2, 1] if icmp is Icmp.NONE else [8, 1, 1])[0]
        addresses = tuple(f"10.0.0.{number}" if family == 4 else f"2001:db8::{number:x}" for family in families)
        nodes.append(Node(f"n{number:02}", addresses, icmp, direct, rng.choice([1, 1, 2, 5]) if unequal else 1))
    return tuple(nodes)


def _targets(rng: random.Random, nodes: Sequence[Node], families: Sequence[int]) -> tuple[Target, ...]:
    names = [node.name for node in nodes]
    identities = rng.choice([0.0, 0.5, 1.0])
    targets: list[Target] = []
    for number in range(1, rng.choices([1, 2, 3], [5, 3, 2] if len(nodes) <= MANY else [4, 1, 0])[0] + 1):
        family = rng.choice(families)
        announcers = names
        if len(names) > 1 and rng.random() < 0.25:
            announcers = sorted(rng.sample(names, rng.randint(1, len(names))))
        expected = announcers
        if rng.random() < 0.1:
            expected = sorted({*rng.sample(announcers, rng.randint(1, len(announcers))), rng.choice(names)})
        vip, port = f"203.0.113.{number}" if family == 4 else f"2001:db8:ffff::{number:x}", 80
        if targets and rng.random() < 0.25:  # another port of the same VIP
            vip, port, announcers = targets[0].vip, 80 + number, list(targets[0].announcers)
            expected = announcers
        targets.append(
            Target(
                name=f"t{number}",
                vip=vip,
                port=port,
                nodes=tuple(expected),
                announcers=tuple(announcers),
                identity=rng.random() < identities,
                named_in_errors=rng.random() < 0.5,
            )
        )
    return tuple(targets)
