"""What goes wrong in a world, when, and for how long."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    BLACKHOLE = "blackhole"  # the node loses what goes to the target; probes are met with silence
    REJECT = "reject"  # the same, and the node says so (ICMP unreachable)
    DEAD = "dead"  # the node is off; the router goes on forwarding to it
    REFUSE = "refuse"
    WRONG = "wrong"  # the service answers, and not what is expected
    ALL_DOWN = "all_down"  # the target is silent on every node
    WITHDRAW = "withdraw"  # the node announces the VIP no more
    SESSION = "session"  # its BGP session goes down, and its routes with it
    NEIGHBOR = "neighbor"  # it is no neighbor of the router any more
    STALE = "stale"  # its session goes down, and the router goes on forwarding
    NOT_INSTALLED = "not_installed"  # BGP has the route, the FIB does not
    WEIGHTS = "weights"  # the router spreads by other weights
    STRANGER = "stranger"  # the FIB holds one next hop more, that nobody expects and that answers nothing
    LOSS = "loss"  # some packets of probes are lost
    UNREACHABLE = "unreachable"  # the router cannot be asked; it forwards
    MUMBLE = "mumble"  # it leaves out what it is asked about the VIP's forwarding
    REBOOT = "reboot"  # it forwards nothing and cannot be asked; then sessions return, and flows are hashed anew
    REHASH = "rehash"  # flows are hashed anew, and nothing shows it
    ORACLE = "oracle"  # the oracle lies
    NO_ICMP = "no_icmp"  # the node sends no ICMP
    CONFLICT = "conflict"  # other programs of this machine use some of the ports
    DEAF = "deaf"  # this machine cannot send
    PARTIAL = "partial"  # the node loses half of its flows
    RELOAD = "reload"  # the exporter takes over another configuration


_LIKELY = {
    Kind.BLACKHOLE: 10,
    Kind.REJECT: 2,
    Kind.DEAD: 4,
    Kind.REFUSE: 4,
    Kind.WRONG: 2,
    Kind.ALL_DOWN: 2,
    Kind.WITHDRAW: 7,
    Kind.SESSION: 4,
    Kind.NEIGHBOR: 1,
    Kind.STALE: 2,
    Kind.NOT_INSTALLED: 1,
    Kind.WEIGHTS: 1,
    Kind.STRANGER: 1,
    Kind.LOSS: 2,
    Kind.UNREACHABLE: 3,
    Kind.MUMBLE: 1,
    Kind.REBOOT: 3,
    Kind.REHASH: 1,
    Kind.ORACLE: 1,
    Kind.NO_ICMP: 1,
    Kind.CONFLICT: 2,
    Kind.DEAF: 1,
    Kind.PARTIAL: 2,
    Kind.RELOAD: 1,
}
_OF_A_NODE = frozenset(
    {
        Kind.BLACKHOLE,
        Kind.REJECT,
        Kind.DEAD,
        Kind.REFUSE,
        Kind.WRONG,
        Kind.WITHDRAW,
        Kind.SESSION,
        Kind.NEIGHBOR,
        Kind.STALE,
        Kind.NOT_INSTALLED,
        Kind.NO_ICMP,
        Kind.PARTIAL,
    }
)
_OF_A_TARGET = frozenset(
    {
        Kind.BLACKHOLE,
        Kind.REJECT,
        Kind.REFUSE,
        Kind.WRONG,
        Kind.ALL_DOWN,
        Kind.WITHDRAW,
        Kind.NOT_INSTALLED,
        Kind.STRANGER,
        Kind.MUMBLE,
    }
)
_FOR_GOOD = frozenset({Kind.REHASH, Kind.RELOAD})
EVENTS = ("probe", "poll", "oracle", "segment")


@dataclass(frozen=True, slots=True)
class Fault:
    """From `begin` until `end` (seconds; the end may be infinite). `node` and `target` None: of all of them.

    `level` is drawn from [0, 1): what it means is the kind's. With `on`, one of EVENTS, it begins and ends so long
    after the `after`th of these.
    """

    kind: Kind
    begin: float
    end: float
    node: str | None = None
    target: str | None = None
    level: float = 0.0
    on: str = ""
    after: int = 0

    def __str__(self) -> str:
        end = "on" if math.isinf(self.end) else f"{self.end:.3f}"
        where = " ".join(word for word in (self.node, self.target) if word is not None)
        when = f"{self.begin:.3f}-{end}" + (f" after {self.on} {self.after}" if self.on else "")
        return f"{when} {self.kind} {where}".rstrip() + f" ({self.level:.2f})"

    def hits(self, node: str, target: str) -> bool:
        return self.node in (None, node) and self.target in (None, target)


def draw_faults(
    rng: random.Random, nodes: Sequence[str], targets: Mapping[str, Sequence[str]], length: float
) -> list[Fault]:
    """The faults of a world of so many seconds, by when they begin. `targets` are the announcers of each one."""
    low, high = rng.choices([(0, 0), (1, 2), (3, 6), (7, 12)], [10, 40, 38, 12])[0]
    kinds = list(_LIKELY)
    found = [
        _draw(rng, kind, nodes, targets, length)
        for kind in rng.choices(kinds, [_LIKELY[kind] for kind in kinds], k=rng.randint(low, high))
    ]
    if rng.random() < 0.3:
        found += rng.choice(_STORIES)(rng, nodes, rng.uniform(0.0, 0.7 * length))
    return sorted(found, key=lambda fault: (fault.begin, fault.kind))


def _draw(
    rng: random.Random, kind: Kind, nodes: Sequence[str], targets: Mapping[str, Sequence[str]], length: float
) -> Fault:
    target = rng.choice(list(targets)) if kind in _OF_A_TARGET else None
    node = rng.choice(targets[target] if target is not None else nodes) if kind in _OF_A_NODE else None
    if target is not None and kind is not Kind.ALL_DOWN and rng.random() < 0.4:
        target = None
    longest = rng.choices([1.5, 20.0, 90.0, 0.6 * length, math.inf], [3, 3, 3, 4, 2])[0]
    if kind is Kind.REBOOT:
        longest = 90.0
    seconds = longest if math.isinf(longest) else rng.uniform(0.1, longest)
    if kind in _FOR_GOOD:
        seconds = math.inf
    begin = rng.uniform(0.0, 0.8 * length) if rng.random() < 0.85 else 0.0
    on, after = "", 0
    if rng.random() < 0.35:
        # So that it comes in the midst of a round, of a snapshot, or between a question and its use.
        begin = rng.choice([0.0, rng.uniform(0.0, 0.02), rng.uniform(0.0, 3.0)])
        on, after = rng.choices(EVENTS, [6, 2, 2, 2])[0], int(10 ** rng.uniform(0.0, 3.0))
        after = 1 + after // 10 if on in ("poll", "oracle") else after
    return Fault(kind, round(begin, 3), round(begin + seconds, 3), node, target, rng.random(), on, after)


def _storm(rng: random.Random, nodes: Sequence[str], begin: float) -> list[Fault]:
    """Next hops come and go, again and again."""
    found = []
    few = rng.sample(list(nodes), min(len(nodes), rng.choice([1, 1, 2, 5])))
    for _ in range(rng.randint(5, 25)):
        begin += rng.expovariate(1 / rng.choice([1.0, 5.0, 15.0]))
        seconds = rng.choice([0.2, 1.0, 4.0])
        kind = rng.choice([Kind.WITHDRAW, Kind.SESSION])
        found.append(Fault(kind, round(begin, 3), round(begin + seconds * rng.random(), 3), rng.choice(few)))
    return found


def _rolling_restart(rng: random.Random, nodes: Sequence[str], begin: float) -> list[Fault]:
    """One node after the other goes down, is missed by BGP a little later, and comes back."""
    found = []
    hold, away = rng.choice([0.9, 9.0, 90.0]), rng.uniform(5.0, 60.0)
    for node in list(nodes)[:8]:
        found.append(Fault(Kind.DEAD, round(begin, 3), round(begin + away, 3), node))
        if hold < away:
            found.append(Fault(Kind.SESSION, round(begin + hold, 3), round(begin + away + 2.0, 3), node))
        begin += away + rng.uniform(0.0, 20.0)
    return found


def _swap(rng: random.Random, nodes: Sequence[str], begin: float) -> list[Fault]:
    """One node breaks at the very moment at which another is mended."""
    first, second = (rng.choice(list(nodes)) for _ in range(2))
    middle = round(begin + rng.uniform(30.0, 120.0), 3)
    return [
        Fault(Kind.BLACKHOLE, round(begin, 3), middle, first, level=rng.random()),
        Fault(Kind.BLACKHOLE, middle, math.inf, second, level=rng.random()),
    ]


def _reboot_with_a_broken_node(rng: random.Random, nodes: Sequence[str], begin: float) -> list[Fault]:
    node = rng.choice(list(nodes))
    end = round(begin + rng.uniform(5.0, 80.0), 3)
    kind = rng.choice([Kind.BLACKHOLE, Kind.DEAD, Kind.REFUSE])
    since = round(begin + rng.uniform(-60.0, 90.0), 3)
    return [
        Fault(Kind.REBOOT, round(begin, 3), end),
        Fault(kind, max(0.0, since), max(0.0, since) + rng.uniform(60.0, 300.0), node, level=rng.random()),
    ]


_STORIES = (_storm, _rolling_restart, _swap, _reboot_with_a_broken_node)
