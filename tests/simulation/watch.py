"""The invariants, held against every status that a monitor publishes.

A *fair look* at a path is a round that began after the path became what it is, between two snapshots that hold the same
next hops: one that had ended before the round, and one that was begun after it. No flow of the VIP moved from the first
to the last of these, and nothing disturbed the round or the snapshots.

- false ok: a path is `ok` by a round during the whole of which it was broken.
- stale ok: a path is `ok` though broken, after a fair look.
- absent ok: a path is `ok` though the router does not forward to it, or only because it forgot to stop, and has said
  so in a snapshot.
- false blame: a path is called anything but `ok` or `unverified` by a round during the whole of which it was up, or by
  a snapshot that was begun after it was up (`router_unknown`: while snapshots do come).
- stale blame: the same, after a fair look, or after so long that no round counts any more.
- ghost ok, ghost blame: a path is `ok`, or blamed though it is up, by a round from before a snapshot in which the
  router did not forward to it.
- node blame: a node is `unreachable` though one of its paths is up, after a fair look.
- one verdict: each path has exactly one.
- greedy: while all paths of a target have long been up and nothing has changed, a round takes more probes than a search
  for all next hops would, or rounds take on the average more than half again as many as there are paths; or, while that
  is so of all targets, more packets with a short life are sent than one a second for each node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter.coverage import flows_needed_for
from exporter.status import PathStatus, Status
from exporter.verdicts import Summary, Verdict
from tests.simulation.network import EPOCH, Network, State, Truth
from tests.simulation.world import Hashing, Target

_OF_PROBES = frozenset({Verdict.NODE_DOWN, Verdict.SERVICE_DOWN, Verdict.BLACKHOLE})
_CALM = frozenset({Verdict.OK, Verdict.UNVERIFIED})
_STALE_AFTER_POLLS = 3  # after as many without an answer the router is unknown
_QUERY_SECONDS = 10.0
_SETTLED_SECONDS = 120.0
_SOME_PROBES = 80  # that compare a method with answers, now and then
_SOME_MORE = 2  # that look further in every round
_ENOUGH_ROUNDS = 10
_MOST_FOR_A_PATH = 1.5
_MOST_PACKETS = 1.0
_STEADY = frozenset({Hashing.FIVE_TUPLE, Hashing.RESILIENT, Hashing.GRADUAL})  # where flows can be told apart


@dataclass(frozen=True, slots=True)
class Violation:
    """What was published and must never be. `at` in seconds of virtual time."""

    kind: str
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.kind}: {self.what}"


@dataclass(slots=True)
class Span:
    """When a round or a poll began and ended, in seconds of virtual time."""

    begin: float
    end: float


@dataclass(slots=True)
class Watch:
    """Is told of rounds and polls, and looks at each status. `shares` counts verdicts by what was true."""

    network: Network
    rounds: dict[str, list[Span]] = field(default_factory=dict)
    answered: list[Span] = field(default_factory=list)  # polls of the router that flows pass, answered as a whole
    whole: bool = False  # the last poll was one of these
    violations: list[Violation] = field(default_factory=list)
    shares: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    settled: dict[str, list[float]] = field(default_factory=dict)  # by target: probes for each path in such rounds
    calm: list[tuple[float, int]] = field(default_factory=list)  # when all were settled, and packets sent until then
    _told: set[tuple[str, str, str]] = field(default_factory=set)

    def look(self, status: Status, *, count: bool = False) -> None:
        """Hold a status against what is true now; `count` takes it into `shares`."""
        now = self.network.clock()
        blamed: dict[str, bool] = {}
        seen: Counter[tuple[str, str, str, str]] = Counter()
        for path in status.paths:
            via = path.node or path.next_hop or ""
            seen[path.target, path.vip, path.router, via] += 1
            truth = self.network.truth.get((path.target, path.node or ""))
            if path.router != "edge":
                if path.verdict is Verdict.OK:
                    self._tell("absent ok", path.target, via, now, f"{_text(path)}: no flow passes {path.router}")
                continue
            if truth is None:
                if path.verdict is Verdict.OK:
                    self._tell("absent ok", path.target, via, now, f"{_text(path)}: not expected")
                continue
            fair = self._had_fair_look(path, truth)
            for kind, why in self._wrongs(path, truth, now, fair=fair):
                self._tell(
                    kind, path.target, via, now, f"{_text(path)}; it is {truth.state} since {truth.since:.3f}: {why}"
                )
            if fair and truth.state is State.UP and path.expected:
                blamed[path.node or ""] = True
            if count and fair:
                self.shares[path.target, truth.state.value, path.verdict.value] += 1
        self._look_at_nodes(status, blamed, now)
        self._look_for_one_verdict(seen, now)

    def count_probes(self, status: Status, name: str, probes: int, packets: int) -> None:
        """Take in how many probes a round of a target has sent, and all packets with a short life until now."""
        now = self.network.clock()
        targets = self.network.world.targets
        if all(self._is_settled(target, now) for target in targets):
            self.calm.append((now, packets))
        else:
            self.calm.clear()
        target = next(one for one in targets if one.name == name)
        if not self._is_settled(target, now):
            return
        hops = self.network.forwarding.fib.get(target.vip, ())
        total = sum(weight for _, weight in hops)
        most = len(hops) + _SOME_PROBES + flows_needed_for([weight / total for _, weight in hops], 0.99)
        if probes > most:
            self._tell("greedy", name, "", now, f"{probes} probes in one round over {len(hops)} paths")
        sweeps = any(path.method in ("sweep", "none") for path in status.paths if path.target == name)
        if self.network.world.hashing in _STEADY and not sweeps:
            self.settled.setdefault(name, []).append((probes - _SOME_MORE) / len(hops))

    def _is_settled(self, target: Target, now: float) -> bool:
        truths = [self.network.truth[target.name, node] for node in target.announcers]
        since = max(self.network.quiet_since(target.vip), *(truth.since for truth in truths))
        return now - since >= _SETTLED_SECONDS and all(truth.state is State.UP for truth in truths)

    def finish(self) -> None:
        """Judge what only the whole can tell."""
        if len(self.calm) >= _ENOUGH_ROUNDS:
            (begin, before), (end, after) = self.calm[0], self.calm[-1]
            rate = (after - before) / (end - begin) / len(self.network.world.nodes)
            if rate > _MOST_PACKETS:
                self._tell("greedy", "", "", end, f"{rate:.2f} packets with a short life for each node and second")
        for name, rounds in self.settled.items():
            mean = sum(rounds) / len(rounds)
            if len(rounds) >= _ENOUGH_ROUNDS and mean > _MOST_FOR_A_PATH:
                self._tell(
                    "greedy", name, "", self.network.clock(), f"{mean:.2f} probes for a path, {len(rounds)} rounds"
                )

    def _wrongs(self, path: PathStatus, truth: Truth, now: float, *, fair: bool) -> Iterator[tuple[str, str]]:
        if path.verdict is Verdict.OK:
            yield from self._wrong_ok(path, truth, now, fair=fair)
        elif truth.state is not State.UP or not path.expected or path.verdict in _CALM:
            return
        elif path.verdict in _OF_PROBES:
            yield from self._wrong_blame(path, truth, now, fair=fair)
        elif path.verdict is Verdict.ROUTER_UNKNOWN:
            if self._router_tells(now):
                yield "false blame", f"the router last answered {now - self.answered[-1].end:.1f} s ago"
        elif self._snapshot_since(truth.since):
            yield "false blame", f"by a snapshot begun at {self.answered[-1].begin:.3f}"

    def _wrong_blame(self, path: PathStatus, truth: Truth, now: float, *, fair: bool) -> Iterator[tuple[str, str]]:
        began = self._round_of(path)
        if began is not None and began >= truth.since:
            yield "false blame", f"by a round begun at {began:.3f}"
        elif self._is_ghost(path, truth):
            yield "ghost blame", f"by a round from before it was gone from {truth.gone[0]:.3f} on"
        elif fair:
            yield "stale blame", "after a fair look"
        elif now - truth.since > self._longest():
            yield "stale blame", f"after {now - truth.since:.0f} s"

    def _wrong_ok(self, path: PathStatus, truth: Truth, now: float, *, fair: bool) -> Iterator[tuple[str, str]]:
        began = self._round_of(path)
        if truth.state in (State.BROKEN, State.UP) and self._is_ghost(path, truth):
            yield "ghost ok", f"by a round from before it was gone from {truth.gone[0]:.3f} on"
        elif truth.state is State.BROKEN:
            if began is not None and began >= truth.since:
                yield "false ok", f"by a round begun at {began:.3f}"
            elif fair:
                yield "stale ok", "after a fair look"
            elif now - truth.since > self._longest():
                yield "stale ok", f"after {now - truth.since:.0f} s"
        elif truth.state in (State.ABSENT, State.UNSOUND) and self._snapshot_since(truth.since):
            yield "absent ok", f"by a snapshot begun at {self.answered[-1].begin:.3f}"

    def _is_ghost(self, path: PathStatus, truth: Truth) -> bool:
        """Whether a snapshot showed that the path was gone after the round by which it is judged."""
        if path.result is None:
            return False
        (left, came), at = truth.gone, path.result.at - EPOCH
        return any(max(left, at) < poll.begin and poll.end < came for poll in self.answered)

    def _round_of(self, path: PathStatus) -> float | None:
        """When the round began by which the path is judged; None if the status does not tell."""
        if path.result is None:
            return None
        at = path.result.at - EPOCH
        return next((span.begin for span in reversed(self.rounds.get(path.target, [])) if span.begin <= at), None)

    def _snapshot_since(self, moment: float) -> bool:
        return bool(self.answered) and self.answered[-1].begin > moment

    def _router_tells(self, now: float) -> bool:
        """Whether the last answer is young and was whole, and nothing has happened to answers since."""
        if not self.whole or self.network.disturbed > self.answered[-1].begin:
            return False
        return now - self.answered[-1].begin < self._young()

    def _had_fair_look(self, path: PathStatus, truth: Truth) -> bool:
        quiet = self.network.quiet_since(path.vip)
        if not self.answered or max(quiet, truth.since) >= self.answered[-1].begin:
            return False
        for span in reversed(self.rounds.get(path.target, [])):
            if span.begin <= max(quiet, truth.since):
                return False
            if span.end < self.answered[-1].begin and self._knew(span.begin, quiet):
                return True
        return False

    def _knew(self, moment: float, quiet: float) -> bool:
        """Whether a snapshot of the present next hops was there and young enough to go by."""
        last = next((poll for poll in reversed(self.answered) if poll.end <= moment), None)
        return last is not None and last.begin > quiet and moment - last.begin < self._young()

    def _young(self) -> float:
        return _STALE_AFTER_POLLS * self.network.world.poll_interval

    def _longest(self) -> float:
        """Seconds for which a result may count: two polls, and four rounds, and the one that it came from."""
        world = self.network.world
        return 2 * (world.poll_interval + _QUERY_SECONDS) + 6 * (world.interval + 3.0)

    def _look_at_nodes(self, status: Status, healthy: dict[str, bool], now: float) -> None:
        for node in status.nodes:
            if node.verdict is Summary.UNREACHABLE and healthy.get(node.name):
                self._tell("node blame", "", node.name, now, f"{node.name} is unreachable, and one of its paths is up")

    def _look_for_one_verdict(self, seen: Counter[tuple[str, str, str, str]], now: float) -> None:
        for key, times in seen.items():
            if times != 1:
                self._tell("one verdict", key[0], key[3], now, f"{key} has {times}")
        for target in self.network.world.targets:
            for node in target.nodes:
                if seen and not seen[target.name, target.vip, "edge", node] and self._judged(target.name, seen):
                    self._tell("one verdict", target.name, node, now, f"{target.name} {node} has none")

    def _judged(self, target: str, seen: Counter[tuple[str, str, str, str]]) -> bool:
        return any(key[0] == target for key in seen)

    def _tell(self, kind: str, target: str, via: str, now: float, what: str) -> None:
        """Note a violation, once for each path and kind."""
        if (kind, target, via) not in self._told:
            self._told.add((kind, target, via))
            self.violations.append(Violation(kind, now, what))


def _text(path: PathStatus) -> str:
    how = "" if path.result is None else f", {path.result.method} {path.result.confidence:.2f}"
    return f"{path.target} {path.node or path.next_hop} {path.verdict}{how} ({path.reason})"
