"""A whole status for what renders it: made from scenarios, through a board, as the service does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from exporter.board import Board
from exporter.config import Router
from exporter.feed import RouterFeed
from exporter.rounds import Round
from exporter.status import Status
from exporter.steering import Agreement, Choice, Method
from exporter.verdicts import PathResult
from tests.exporter.scenario import NOW, World, build

OUTAGE: Mapping[str, Any] = {
    "targets": {
        "web": {"vips": ["203.0.113.10"]},
        "gitea-ssh": {"vips": ["203.0.113.22"], "port": 22, "nodes": ["leviathan3"]},
    },
    "routers": {"edge": {"sessions": {"leviathan3": "absent"}, "fib": {"203.0.113.22": "default"}}},
    "direct": {"leviathan2": "unknown"},
}


def feed_of(world: World, name: str = "edge") -> RouterFeed:
    feed = RouterFeed(Router.model_validate({"name": name, "platform": "frr", "exec": {}}))
    view = next(point.view for point in world.standpoints if point.router == name)
    feed.snapshot = None if view is None else view.snapshot
    feed.query_seconds = 0.05
    return feed


def commit(board: Board, place: tuple[str, str, str], results: Mapping[str, PathResult]) -> None:
    """A confirmed round with these results."""
    board.commit(
        place,
        Round(
            basis=tuple((via, 1) for via in results),
            started=NOW,
            ended=NOW,
            choice=Choice(Method.ORACLE, 1.0),
            results=results,
            no_flow={},
            sent=(),
        ),
        "http",
        ("leviathan1", "leviathan2", "leviathan3"),
        confirmed=True,
    )


def run(board: Board, world: World, now: float = NOW) -> Status:
    """Commit the world's results, judge every target and give the status."""
    for point in world.standpoints:
        for target in world.expected.targets.values():
            for vip in target.vips:
                results = {
                    via: replace(result, phases=MappingProxyType({"connect": 0.001, "tls": 0.002}), at=now)
                    for via, result in point.exercises[vip].results.items()
                }
                commit(board, (point.router, target.name, vip), results)
    board.direct = world.around.direct
    for target in world.expected.targets.values():
        points = [
            replace(
                point,
                exercises={
                    vip: board.exercise((point.router, target.name, vip), now - 60, blind=False) for vip in target.vips
                },
            )
            for point in world.standpoints
        ]
        board.judge(world.expected, target, points, now, target.name == "web" or None)
    board.round_ended(now)
    trust = Agreement()
    trust.record([True, True, True, False])
    feeds = {point.router: feed_of(world, point.router) for point in world.standpoints}
    views = {point.router: point.view for point in world.standpoints if point.view is not None}
    return board.status(world.expected, feeds, views, {("edge", 4): trust}, now)


def status_of(case: Mapping[str, Any] = OUTAGE) -> Status:
    return run(Board("0.0.test"), build(case))


def verdicts(status: Status) -> Sequence[str]:
    return [path.verdict.value for path in status.paths]
