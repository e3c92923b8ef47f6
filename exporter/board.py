"""What is known now, and since when: results in, the published status out."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.dns_status import DnsStatus
from exporter.evidence import RouterView
from exporter.expected import Expected, Target
from exporter.feed import RouterFeed
from exporter.rounds import Round
from exporter.status import (
    DURATION_BUCKETS,
    DurationStatus,
    Event,
    NodeStatus,
    PathStatus,
    RouterStatus,
    Status,
    Tally,
    TargetStatus,
    relevant,
)
from exporter.steering import Method
from exporter.steering_status import Steered, TrustStatus
from exporter.verdicts import PathResult, Summary, Sweep, Verdict, summarize
from routers.model import Session

_MOST_EVENTS = 1000
_Place = tuple[str, str, str]


@dataclass(slots=True)
class _Held:
    """What the rounds of one endpoint left, by via. `blind` are results that no router's word confirmed: they say
    up or down while the router cannot be asked, and prove nothing once it can.
    """

    results: dict[str, PathResult] = field(default_factory=dict)
    blind: Mapping[str, PathResult] = field(default_factory=dict)
    no_flow: Mapping[str, str] = field(default_factory=dict)
    method: str = Method.NONE
    sweep: Sweep | None = None
    probes: int = 0  # sent in the last round
    tallies: dict[str, Tally] = field(default_factory=dict)


class Board:
    """Keeps confirmed results and counters, and judges targets by them."""

    def __init__(self, version: str) -> None:
        self.direct: Mapping[str, bool | None] = {}
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self.rounds_missed = 0
        self._version = version
        self._held: dict[_Place, _Held] = {}
        self._targets: dict[str, TargetStatus] = {}
        self._nodes: dict[str, NodeStatus] = {}
        self._working: dict[str, frozenset[str]] = {}
        self._durations: dict[tuple[str, str], list[int]] = {}
        self._duration_sums: dict[tuple[str, str], float] = {}
        self._answered: set[str] = set()  # nodes that have answered a direct check before
        self._lost: dict[str, float] = {}  # those that do not any more, since when
        self._checked_at = float("-inf")
        self._last_round: float | None = None

    def commit(self, place: _Place, finished: Round, prober: str, nodes: Collection[str], *, confirmed: bool) -> None:
        """A confirmed round replaces what was known of its endpoint's next hops; `nodes` are the expected ones."""
        held = self._held.setdefault(place, _Held())
        vias = {via for via, _ in finished.basis} | set(finished.results)
        if confirmed:
            held.results = dict(finished.results)
            held.blind = {}
            held.sweep = finished.sweep
        else:
            held.blind = finished.results
        held.no_flow = finished.no_flow
        held.method = finished.choice.method
        held.probes = len(finished.sent)
        held.tallies = {via: tally for via, tally in held.tallies.items() if via in vias or via in nodes}
        for via, result in finished.results.items():
            held.tallies[via] = held.tallies.get(via, Tally()).after(result)
            if via in nodes:
                self._observe(via, prober, result)

    def is_blind(self, place: _Place) -> bool:
        """Whether the newest results of an endpoint are some that nothing confirmed."""
        return place in self._held and bool(self._held[place].blind)

    def forget(self, place: _Place) -> None:
        """The router forwards this VIP nowhere: no flow exercises anything. Counters stay."""
        if place in self._held:
            self._held[place].results = {}
            self._held[place].blind = {}
            self._held[place].sweep = None

    def forwarded(self, place: _Place, vias: Collection[str]) -> None:
        """The router forwards to these now: what was known of other next hops says nothing once they come back."""
        held = self._held.get(place)
        if held is not None and not held.results.keys() <= set(vias):
            held.results = {via: result for via, result in held.results.items() if via in vias}
            held.sweep = None

    def last_round(self, place: _Place) -> tuple[int, int]:
        """Probes that the last round of an endpoint sent, and paths that have a result from it."""
        held = self._held.get(place)
        return (0, 0) if held is None else (held.probes, len(held.results))

    def checked(self, direct: Mapping[str, bool | None], began: float) -> None:
        """Take over the nodes' direct checks, which began at a time."""
        self.direct = direct
        self._checked_at = began
        self._answered |= {name for name, alive in direct.items() if alive}
        gone = {name for name, alive in direct.items() if alive is False and name in self._answered}
        self._lost = {name: self._lost.get(name, began) for name in gone}

    def keep(self, places: Collection[_Place], expected: Expected) -> None:
        """Drop everything that is not expected any more, so that its series disappear."""
        self._held = {place: held for place, held in self._held.items() if place in places}
        self._targets = {name: status for name, status in self._targets.items() if name in expected.targets}
        self._nodes = {name: status for name, status in self._nodes.items() if name in expected.nodes}
        self._working = {name: targets for name, targets in self._working.items() if name in expected.nodes}
        self._durations = {key: value for key, value in self._durations.items() if key[0] in expected.nodes}
        self.direct = {name: alive for name, alive in self.direct.items() if name in expected.nodes}
        self._answered &= set(expected.nodes)
        self._lost = {name: since for name, since in self._lost.items() if name in expected.nodes}

    def exercise(self, place: _Place, oldest: float, *, blind: bool) -> Exercise:
        """The results of an endpoint that are not older than `oldest` (seconds since the epoch).

        `blind`, while the router cannot be asked: those that nothing confirmed as well.
        """
        held = self._held.get(place)
        if held is None:
            return Exercise()
        results = {**held.results, **held.blind} if blind else held.results
        fresh = {via: result for via, result in results.items() if result.at >= oldest}
        sweep = held.sweep if held.sweep is not None and held.sweep.at >= oldest and not blind else None
        return Exercise(fresh, held.no_flow, held.method, dict(held.tallies), sweep)

    def judge(
        self,
        expected: Expected,
        target: Target,
        standpoints: Sequence[Standpoint],
        now: float,
        dns: DnsStatus | None,
    ) -> None:
        """Conclude on one target and note what changed."""
        self._note_working(target, standpoints)
        before = self._targets.get(target.name)
        around = Surroundings(self.direct, self._working, self._lost, self._checked_at)
        status = conclude(expected, target, standpoints, around, now, before, dns)
        self._targets[target.name] = status
        self._note_events(before, status, now)

    def paths(self) -> Iterator[PathStatus]:
        """Every path as it was last judged."""
        for target in self._targets.values():
            yield from target.paths

    def round_ended(self, now: float) -> None:
        self._last_round = now

    def status(
        self,
        expected: Expected,
        feeds: Mapping[str, RouterFeed],
        views: Mapping[str, RouterView],
        steered: Steered,
        now: float,
    ) -> Status:
        """Everything, as one immutable value."""
        targets = tuple(self._targets[name] for name in expected.targets if name in self._targets)
        return Status(
            generated_at=now,
            version=self._version,
            routers=tuple(_router(feed, views.get(name), expected, steered.trust, now) for name, feed in feeds.items()),
            nodes=self._node_statuses(expected, targets, now),
            targets=targets,
            durations=tuple(
                DurationStatus(node, prober, tuple(buckets), self._duration_sums[node, prober])
                for (node, prober), buckets in self._durations.items()
            ),
            rounds_missed=self.rounds_missed,
            last_round=self._last_round,
            steering=steered.vips,
            trust=steered.trust,
            traffic=steered.traffic,
        )

    def _observe(self, via: str, prober: str, result: PathResult) -> None:
        buckets = self._durations.setdefault((via, prober), [0] * (len(DURATION_BUCKETS) + 1))
        buckets[bisect.bisect_left(DURATION_BUCKETS, result.duration_seconds)] += 1
        total = self._duration_sums.get((via, prober), 0.0)
        self._duration_sums[via, prober] = total + result.duration_seconds

    def _note_working(self, target: Target, standpoints: Sequence[Standpoint]) -> None:
        good = {
            via
            for standpoint in standpoints
            for exercise in standpoint.exercises.values()
            for via, result in exercise.results.items()
            if result.success
        }
        for node in target.nodes:
            others = self._working.get(node, frozenset()) - {target.name}
            self._working[node] = others | {target.name} if node in good else others

    def _note_events(self, before: TargetStatus | None, after: TargetStatus, now: float) -> None:
        was_wrong = before.dns.wrong if before is not None and before.dns is not None else frozenset()
        if was_wrong != (after.dns.wrong if after.dns is not None else frozenset()):
            self.events.append(_dns_event(before, after, now))
        old = {path.key: path.verdict for path in before.paths} if before is not None else {}
        for path in after.paths:
            was = old.get(path.key)
            if was is not path.verdict:
                self.events.append(
                    Event(
                        at=now,
                        target=path.target,
                        vip=path.vip,
                        router=path.router,
                        node=path.node,
                        next_hop=path.next_hop,
                        before=was,
                        after=path.verdict,
                        reason=path.reason,
                    )
                )

    def _node_statuses(self, expected: Expected, targets: Sequence[TargetStatus], now: float) -> tuple[NodeStatus, ...]:
        paths: dict[str, list[PathStatus]] = {name: [] for name in expected.nodes}
        reached: dict[str, float] = {}
        for target in targets:
            for path in target.paths:
                if path.node not in paths or not path.expected:
                    continue
                paths[path.node].append(path)
                last = path.tally.last_success
                if last is not None:
                    reached[path.node] = max(last, reached.get(path.node, last))
        for name, node in expected.nodes.items():
            own = [path.verdict for path in relevant(paths[name])]
            # A node that no target expects has nothing that could be unreachable.
            verdict = summarize(own) if own else Summary.OK
            before = self._nodes.get(name)
            self._nodes[name] = NodeStatus(
                name=name,
                address=node.address,
                verdict=verdict,
                paths_ok=own.count(Verdict.OK),
                paths_expected=len(own),
                direct=self.direct.get(name),
                since=before.since if before is not None and before.verdict is verdict else now,
                last_reachable=reached.get(name),
            )
        return tuple(self._nodes[name] for name in expected.nodes)


def _dns_event(before: TargetStatus | None, after: TargetStatus, now: float) -> Event:
    return Event(
        at=now,
        target=after.name,
        vip=None,
        router=None,
        node=None,
        next_hop=None,
        before=None if before is None else before.verdict,
        after=after.verdict,
        reason=after.dns_problem or f"nothing is wrong with the look-ups of {after.address} any more",
    )


def _router(
    feed: RouterFeed,
    view: RouterView | None,
    expected: Expected,
    trust: Sequence[TrustStatus],
    now: float,
) -> RouterStatus:
    name = feed.config.name
    seen = [one for one in trust if one.router == name]
    total = sum(one.oracle_compared for one in seen)
    right = sum((one.oracle_agreement or 0.0) * one.oracle_compared for one in seen)
    return RouterStatus(
        name=name,
        platform=feed.config.platform,
        up=feed.error is None and feed.trouble(now) is None,
        taken_at=feed.snapshot.taken_at if feed.snapshot is not None else None,
        error=feed.error or "; ".join(feed.snapshot.problems if feed.snapshot is not None else ()) or None,
        query_seconds=feed.query_seconds,
        sessions=_sessions(view, expected) if view is not None else (),
        configured=view.configured(expected) if view is not None else {},
        oracle_agreement=right / total if total else None,
    )


def _sessions(view: RouterView, expected: Expected) -> tuple[tuple[Session, str | None], ...]:
    owners = {id(session): node for node, sessions in view.sessions.items() for session in sessions}
    return tuple(
        (session, owners.get(id(session)))
        for session in view.snapshot.sessions or ()
        if owners.get(id(session)) in expected.nodes or id(session) not in owners
    )
