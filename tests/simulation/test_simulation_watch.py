"""The invariants fail when the exporter does: each kind of violation, by a fault of the exporter made on purpose."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from exporter import conclude
from exporter.board import Board
from exporter.monitor import Monitor
from exporter.verdicts import PathFacts, Summary, Verdict, judge
from tests.simulation.faults import Fault, Kind
from tests.simulation.play import Played, play_world
from tests.simulation.world import World
from tests.simulation.worlds import world

FOREVER = 1e9


def kinds(made: World) -> set[str]:
    return {violation.kind for violation in play_world(made).violations}


def with_verdicts(monkeypatch: pytest.MonkeyPatch, verdict: Verdict, *instead_of: Verdict) -> None:
    """The exporter says `verdict` whenever it would say one of the others."""

    def wrong(paths: Sequence[PathFacts]) -> tuple[Verdict, ...]:
        return tuple(verdict if found in instead_of else found for found in judge(paths))

    monkeypatch.setattr(conclude, "judge", wrong)


def test_an_exporter_without_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kinds(world(Fault(Kind.BLACKHOLE, 100.0, 300.0, "n02"))) == set()
    with_verdicts(monkeypatch, Verdict.UNVERIFIED, Verdict.OK)
    assert kinds(world()) == set()


def test_false_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    with_verdicts(monkeypatch, Verdict.OK, Verdict.BLACKHOLE)
    assert "false ok" in kinds(world(Fault(Kind.BLACKHOLE, 100.0, 300.0, "n02")))


def test_absent_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    with_verdicts(monkeypatch, Verdict.OK, Verdict.ROUTE_MISSING)
    assert "absent ok" in kinds(world(Fault(Kind.WITHDRAW, 100.0, 300.0, "n02")))


@pytest.mark.parametrize("verdict", [Verdict.BLACKHOLE, Verdict.SESSION_DOWN, Verdict.ROUTER_UNKNOWN])
def test_false_blame(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    with_verdicts(monkeypatch, verdict, Verdict.OK)
    found = kinds(world())
    assert "false blame" in found
    assert ("node blame" in found) is (verdict is not Verdict.ROUTER_UNKNOWN)


def test_what_was_seen_once_and_is_never_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Board.commit
    first = itertools.count()

    def commit(board: Board, *arguments: Any, **more: Any) -> None:
        if next(first) < 2:
            whole(board, *arguments, **more)

    monkeypatch.setattr(Board, "commit", commit)
    assert "stale ok" in kinds(world(Fault(Kind.BLACKHOLE, 40.0, FOREVER, "n02")))


def test_a_node_that_is_called_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.board.summarize", lambda _: Summary.UNREACHABLE)
    assert kinds(world()) == {"node blame"}


def test_a_path_without_a_verdict_and_one_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    one = conclude._facts

    def none(*arguments: Any) -> Any:
        return list(one(*arguments))[1:]

    def twice(*arguments: Any) -> Any:
        return [*one(*arguments)] * 2

    for wrong in (none, twice):
        monkeypatch.setattr(conclude, "_facts", wrong)
        assert "one verdict" in kinds(world())


def test_an_exception_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(_monitor: Monitor) -> None:
        raise KeyError("n99")

    monkeypatch.setattr(Monitor, "check_nodes", wrong)
    (violation,) = play_world(world()).violations
    assert violation.kind == "exception"
    assert "n99" in violation.what


def test_a_task_that_fails_unseen_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Monitor.check_nodes

    async def wrong(monitor: Monitor) -> None:
        asyncio.get_running_loop().call_soon(int, "n99")
        await whole(monitor)

    monkeypatch.setattr(Monitor, "check_nodes", wrong)
    assert kinds(world()) == {"exception"}


def test_what_was_concluded_is_counted() -> None:
    played: Played = play_world(world(Fault(Kind.BLACKHOLE, 300.0, FOREVER, "n02")))
    assert played.rounds >= 40
    assert played.shares["t1", "up", "ok"] > 90
    assert played.shares["t1", "broken", "blackhole"] > 10
    assert all(state == "up" or verdict != "ok" for _, state, verdict in played.shares)
