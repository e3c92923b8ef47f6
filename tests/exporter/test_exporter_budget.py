# ruff: noqa: S311  (chance is simulated here, not secrets)

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.budget import BURST, SILENCES, SLOWEST, IcmpBudget

HERE = "192.0.2.1"
THERE = "192.0.2.2"
Key = tuple[str, str]


class Linux:
    """One node's limiter for one receiver, line by line as inet_peer_xrlim_allow: unsigned integers of jiffies."""

    def __init__(self, hz: int, ratelimit_ms: int = 1000) -> None:
        self.hz = hz
        self.timeout = ratelimit_ms * hz // 1000
        self.rate_tokens = 0
        self.rate_last = -60 * hz  # inet_getpeer

    def allow(self, now: float) -> bool:
        jiffies = int(now * self.hz)
        token = self.rate_tokens + jiffies - self.rate_last
        self.rate_last = jiffies
        token = min(token, 6 * self.timeout)
        allowed = token >= self.timeout
        if allowed:
            token -= self.timeout
        self.rate_tokens = token
        return allowed


@dataclass(frozen=True)
class Packet:
    """Which node it meets; whether that is known beforehand; how long it takes there and back; how late it leaves."""

    node: int
    source: str = HERE
    known: bool = False
    there: float = 0.0005
    back: float = 0.0005
    late: float = 0.0


@dataclass
class World:
    """Workers that send packets as the budget allows, in virtual time."""

    nodes: int
    hz: int = 250
    budget: IcmpBudget = field(default_factory=IcmpBudget)
    now: float = 0.0
    answers: Counter[Key] = field(default_factory=Counter)
    answered_at: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    suppressed: int = 0
    tries: int = 0

    def __post_init__(self) -> None:
        self._limiters: dict[Key, Linux] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), action))

    def run(self, packets: Iterator[Packet], workers: int) -> None:
        for _ in range(workers):
            self.at(self.now, lambda: self._next(packets))
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()

    def keys(self, packet: Packet) -> list[Key]:
        nodes = [packet.node] if packet.known else range(self.nodes)
        return [(packet.source, f"node{node}") for node in nodes]

    def _next(self, packets: Iterator[Packet]) -> None:
        packet = next(packets, None)
        if packet is not None:
            self._try(packet, packets)

    def _try(self, packet: Packet, packets: Iterator[Packet]) -> None:
        self.tries += 1
        wait = self.budget.wait(self.keys(packet), self.now)
        assert 0 <= wait < 60
        if wait:
            self.at(self.now + wait + packet.late, lambda: self._try(packet, packets))
            return
        ticket = self.budget.reserve(self.keys(packet), self.now)
        asked = (packet.source, f"node{packet.node}")

        def arrive() -> None:
            if self._limiters.setdefault(asked, Linux(self.hz)).allow(self.now):
                self.at(self.now + packet.back, lambda: end(answered=True))
            else:
                self.suppressed += 1
                self.at(self.now + 1.0, lambda: end(answered=False))

        def end(*, answered: bool) -> None:
            if answered:
                self.answers[asked] += 1
                self.answered_at[asked].append(self.now)
                self.budget.answered(ticket, asked, self.now)
            else:
                self.budget.silent(ticket, self.now)
            self._next(packets)

        self.at(self.now + packet.there, arrive)


delays = st.sampled_from([0.0, 0.0004, 0.01, 0.3]) | st.floats(0, 3)
packets = st.builds(
    Packet,
    node=st.integers(0, 3),
    source=st.sampled_from([HERE, THERE]),
    known=st.booleans(),
    there=delays,
    back=delays,
    late=st.sampled_from([0.0, 0.0, 0.004, 1.0]),
)


def test_the_limiter_of_linux() -> None:
    """What was measured: a burst of 6, then one a second."""
    limiter = Linux(250)
    assert [limiter.allow(5.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert [limiter.allow(second) for second in (5.996, 6.0, 6.5, 7.0, 7.0)] == [False, True, False, True, False]
    assert [limiter.allow(900.0) for _ in range(8)] == [True] * 6 + [False] * 2


@settings(deadline=None, max_examples=200)
@given(st.lists(packets, max_size=120), st.integers(1, 4), st.integers(1, 8), st.sampled_from([100, 250, 300, 1000]))
def test_no_answer_is_ever_suppressed(sent: list[Packet], nodes: int, workers: int, hz: int) -> None:
    met = [
        Packet(one.node % nodes, one.source, one.known, one.there, one.back, one.late) for one in sent
    ]  # fmt: skip
    world = World(nodes, hz)
    world.run(iter(met), workers)
    assert world.suppressed == 0
    assert world.answers.total() == len(sent)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 7), st.integers(1, 8), delays, delays, st.sampled_from([100, 250, 1000]))
def test_nor_if_all_flows_meet_one_node(node: int, workers: int, there: float, back: float, hz: int) -> None:
    world = World(8, hz)
    world.run((Packet(node, there=there, back=back) for _ in range(40)), workers)
    assert world.suppressed == 0
    assert world.answers == {(HERE, f"node{node}"): 40}


def test_late_packets_that_arrive_together_do_not_exceed_the_burst() -> None:
    """Had they been counted when they left, five more would have been allowed before the first five arrived."""
    world = World(1)
    slow = [Packet(0, there=6.0 - number / 1000) for number in range(5)]
    world.run(iter([*slow, *[Packet(0)] * 10]), 15)
    assert (world.suppressed, world.answers.total()) == (0, 15)


def search(seed: int, nodes: int, wanted: int, workers: int) -> float:
    """Flows of unknown way: when each node has answered `wanted` of them."""
    world, way = World(nodes), random.Random(seed)

    def blind() -> Iterator[Packet]:
        while min(world.answers[HERE, f"node{node}"] for node in range(nodes)) < wanted:
            yield Packet(way.randrange(nodes))

    world.run(blind(), workers)
    assert world.suppressed == 0
    return max(times[wanted - 1] for times in world.answered_at.values())


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_how_long_a_search_takes(workers: int) -> None:
    took = sorted(search(seed, 8, 5, workers) for seed in range(100))
    print(f"8 next hops, 5 flows of each, {workers} at once: median {took[50]:.1f} s, worst of 100 {took[-1]:.1f} s")  # noqa: T201
    assert took[50] < 12
    assert took[-1] < 30


def test_the_allowance_is_used() -> None:
    """One node, asked for a minute: its burst and nearly one a second."""
    world = World(1)
    world.run(itertools.takewhile(lambda _: world.now < 60, itertools.repeat(Packet(0))), 2)
    assert 57 <= world.answers.total() <= 61
    assert world.tries < 3 * world.answers.total()


def test_waiting_as_long_as_told_is_enough() -> None:
    budget, now = IcmpBudget(), 1e9 + 0.1  # seconds since the epoch, where a float is coarse
    for number in range(40):
        wait = budget.wait(["a", "b"], now)
        assert wait == 0 if number < BURST else 0.9 < wait < 1.2
        now += wait
        assert budget.wait(["a", "b"], now) == 0
        budget.answered(budget.reserve(["a", "b"], now), "a", now)
    assert budget.wait(["b"], now) == 0


def test_a_packet_under_way_is_held_against_all_whom_it_may_ask() -> None:
    budget = IcmpBudget(burst=2)
    first, second = budget.reserve(["a", "b"], 0.0), budget.reserve(["b", "b"], 0.0)
    assert budget.wait(["a"], 0.0) == 0
    assert 0 < budget.wait(["b"], 0.0) < 0.2  # what is under way decides
    assert budget.wait(["a", "b"], 0.0) == budget.wait(["b"], 0.0)
    assert budget.wait(["c"], 0.0) == 0
    assert budget.wait([], 0.0) == 0
    budget.answered(first, "a", 0.1)
    assert budget.wait(["b"], 0.1) == 0
    budget.answered(second, None, 0.1)
    assert budget.wait(["a"], 0.1) == 0
    budget.answered(budget.reserve(["a"], 0.1), "a", 0.1)
    assert budget.wait(["a"], 0.1) == pytest.approx(1 / 0.9)


@pytest.mark.parametrize("key", [None, "stranger", (THERE, "a")])
def test_who_was_not_asked_is_not_charged_nor_remembered(key: object) -> None:
    budget = IcmpBudget()
    for _ in range(50):
        budget.answered(budget.reserve(["a", "b"], 0.0), key, 0.0)
    assert budget.wait(["a", "b", "stranger"], 0.0) == 0
    assert not budget._known


def test_a_ticket_is_settled_once() -> None:
    budget = IcmpBudget(burst=1)
    ticket = budget.reserve(["a"], 0.0)
    budget.answered(ticket, None, 0.0)
    budget.answered(ticket, "a", 0.0)
    budget.silent(ticket, 0.0)
    assert budget.wait(["a"], 0.0) == 0
    assert budget._used["a"].held == 0


def test_silence_of_somebody_is_shared() -> None:
    budget = IcmpBudget()
    for _ in range(20):
        budget.silent(budget.reserve("abcd", 0.0), 0.0)
    for key in "abcd":
        assert budget.wait(key, 0.0) == pytest.approx(1 / 0.9)


def quiet(budget: IcmpBudget, count: int, keys: str = "a") -> None:
    for _ in range(count):
        budget.silent(budget.reserve(keys, 0.0), 0.0)


def loud(budget: IcmpBudget, count: int, key: str = "a") -> None:
    for _ in range(count):
        budget.answered(budget.reserve(key, 0.0), key, 0.0)


def test_silence_of_who_had_answered_slows_down_and_answers_speed_up() -> None:
    budget = IcmpBudget()
    loud(budget, 1)
    quiet(budget, int(SILENCES) - 1)
    loud(budget, 1)
    quiet(budget, int(SILENCES) - 1)
    assert budget.pace("a") == 1
    quiet(budget, 1)
    assert budget.pace("a") == 0.5
    quiet(budget, 100)
    assert budget.pace("a") == SLOWEST
    before = budget.wait("a", 0.0)
    loud(budget, int(SILENCES))
    assert budget.pace("a") == 2 * SLOWEST
    assert budget.wait("a", 0.0) < before
    loud(budget, 50)
    assert budget.pace("a") == 1
    assert budget.pace("b") == 1


def test_who_never_answered_is_not_waited_for_longer() -> None:
    """A node that sends no ICMP is no sign that somebody else uses its allowance up."""
    budget = IcmpBudget()
    loud(budget, 1)
    quiet(budget, 100, "ab")
    assert (budget.pace("a"), budget.pace("b")) == (1, 1)
    loud(budget, 1, "b")
    quiet(budget, 2 * int(SILENCES), "ab")  # half a silence of each
    assert (budget.pace("a"), budget.pace("b")) == (0.5, 0.5)


def test_left_alone_until_it_is_whole_a_key_begins_anew() -> None:
    budget = IcmpBudget()
    loud(budget, 1)
    quiet(budget, 5)
    assert budget.pace("a") == 0.5
    budget.wait("a", 12.0)
    assert budget.pace("a") == 0.5
    budget.wait("a", 14.0)
    assert budget.pace("a") == 1


class Shared(Linux):
    """A limiter that somebody else drains as well."""

    def __init__(self, hz: int, others: float) -> None:
        super().__init__(hz)
        self._others, self._then = others, 0.0

    def allow(self, now: float) -> bool:
        while self._then + 1 / self._others <= now:
            self._then += 1 / self._others
            super().allow(self._then)
        return super().allow(now)


def test_somebody_else_who_asks_the_same_node_is_left_something() -> None:
    world = World(1)
    shared = world._limiters[HERE, "node0"] = Shared(250, others=2.0)
    world.run(itertools.takewhile(lambda _: world.now < 300, itertools.repeat(Packet(0))), 2)
    asked = world.answers.total() + world.suppressed
    assert world.suppressed > 0
    assert asked < 0.6 * 300  # alone it asks 0.9 times a second
    assert shared.rate_last > 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(0, 5), max_size=4),
            st.sampled_from(["answered", "elsewhere", "silent", "never"]),
            st.floats(-1, 3),
        ),
        max_size=60,
    )
)
def test_whatever_happens_it_can_go_on(events: list[tuple[set[int], str, float]]) -> None:
    budget, now = IcmpBudget(), 0.0
    for keys, end, later in events:
        now += later  # a clock that is set back does no harm
        wait = budget.wait(keys, now)
        assert 0 <= wait < 60
        ticket = budget.reserve(keys, now)
        if end == "silent":
            budget.silent(ticket, now)
        elif end != "never":
            budget.answered(ticket, min(keys, default=None) if end == "answered" else 99, now)
        assert all(allowance.level <= BURST for allowance in budget._used.values())
        assert all(SLOWEST <= budget.pace(key) <= 1 for key in keys)


def test_memory_is_bounded() -> None:
    budget = IcmpBudget()
    for number in range(20_000):
        budget.answered(budget.reserve([f"node{number}", "busy"], float(number)), f"node{number}", float(number))
    assert len(budget._used) < 1000
    assert len(budget._known) == 4096


def test_busy_keys_are_not_forgotten() -> None:
    budget = IcmpBudget()
    held = [budget.reserve([number], 0.0) for number in range(1000)]
    for number in range(1000):
        budget.reserve([1000 + number], 1000.0)
    assert all(budget._used[ticket.keys[0]].held == 1 for ticket in held)


@pytest.mark.parametrize(("burst", "rate"), [(0.5, 1.0), (5.0, 0.0), (5.0, -1.0)])
def test_budgets_that_there_are_not(burst: float, rate: float) -> None:
    with pytest.raises(ValueError, match="burst of at least 1"):
        IcmpBudget(burst, rate)
