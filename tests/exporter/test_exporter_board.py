from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.board import Board
from exporter.steering_status import Steered
from exporter.verdicts import Summary, Verdict
from probes.model import Failure
from tests.exporter.scenario import NOW, build
from tests.exporter.statuses import OUTAGE, commit, run

PLACE = ("edge", "git", "203.0.113.22")
DOWN: Mapping[str, Any] = {"probes": {"leviathan3": "timeout"}}
IDLE: Mapping[str, Any] = {"routers": {"edge": {"sessions": {"leviathan3": "Idle"}}}}


def test_since_stays_while_the_verdict_does() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    run(board, build({}), NOW + 15)
    later = run(board, build(DOWN), NOW + 30)
    assert [path.since for path in later.paths] == [NOW, NOW, NOW + 30]
    assert [node.since for node in later.nodes] == [NOW, NOW, NOW + 30]
    again = run(board, build(DOWN), NOW + 45)
    assert [path.since for path in again.paths] == [NOW, NOW, NOW + 30]
    back = run(board, build({}), NOW + 60)
    assert back.paths[2].since == NOW + 60


def test_a_verdict_that_changes_is_an_event_and_one_that_stays_is_none() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    assert [(event.node, event.before, event.after) for event in board.events] == [
        (f"leviathan{number}", None, Verdict.OK) for number in (1, 2, 3)
    ]
    board.events.clear()
    run(board, build({}), NOW + 15)
    assert not board.events
    run(board, build(DOWN), NOW + 30)
    run(board, build(IDLE), NOW + 45)
    assert [(event.at, event.before, event.after) for event in board.events] == [
        (NOW + 30, Verdict.OK, Verdict.BLACKHOLE),
        (NOW + 45, Verdict.BLACKHOLE, Verdict.SESSION_DOWN),
    ]
    assert "2 probes failed" in board.events[0].reason
    assert board.events[1].next_hop == "10.0.0.13"


def test_events_are_bounded() -> None:
    board = Board("test")
    for number in range(700):
        run(board, build(DOWN if number % 2 else {}), NOW + number)
    assert len(board.events) <= 1000
    assert board.events[-1].at == NOW + 699


def test_nodes_and_targets_are_summed_up() -> None:
    status = run(Board("test"), build(OUTAGE))
    assert [(node.name, node.verdict, node.paths_ok, node.paths_expected, node.direct) for node in status.nodes] == [
        ("leviathan1", Summary.OK, 1, 1, True),
        ("leviathan2", Summary.OK, 1, 1, None),
        ("leviathan3", Summary.UNREACHABLE, 0, 2, True),
    ]
    assert [(target.name, target.verdict) for target in status.targets] == [
        ("web", Summary.DEGRADED),
        ("gitea-ssh", Summary.UNREACHABLE),
    ]
    assert not status.all_ok
    assert run(Board("test"), build({})).all_ok


def test_last_reachable() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    status = run(board, build(DOWN), NOW + 15)
    assert [node.last_reachable for node in status.nodes] == [NOW + 15, NOW + 15, NOW]


def test_counters_grow_over_rounds() -> None:
    board = Board("test")
    for number in range(3):
        run(board, build({}), NOW + number)
    status = run(board, build(DOWN), NOW + 3)
    tallies = [path.tally for path in status.paths]
    assert [tally.probes for tally in tallies] == [4, 4, 5]
    assert tallies[2].failures == {Failure.TIMEOUT: 2}
    histogram = {one.node: sum(one.counts) for one in status.durations}
    assert histogram == {"leviathan1": 4, "leviathan2": 4, "leviathan3": 4}


def test_results_of_next_hops_that_are_gone_are_dropped_and_counters_kept() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    results = build({}).standpoints[0].exercises[PLACE[2]].results
    commit(board, PLACE, {"leviathan1": results["leviathan1"]})
    exercise = board.exercise(PLACE, 0, blind=False)
    assert set(exercise.results) == {"leviathan1"}
    assert set(exercise.tallies) == {"leviathan1", "leviathan2", "leviathan3"}


def test_old_results_prove_nothing() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    assert set(board.exercise(PLACE, NOW, blind=False).results) == {"leviathan1", "leviathan2", "leviathan3"}
    assert board.exercise(PLACE, NOW + 1, blind=False).results == {}
    assert board.exercise(("edge", "other", "203.0.113.9"), 0, blind=False).results == {}


def test_forget() -> None:
    board = Board("test")
    run(board, build({}), NOW)
    board.forget(PLACE)
    board.forget(("edge", "nobody", "203.0.113.9"))
    assert board.exercise(PLACE, 0, blind=False).results == {}
    assert board.exercise(PLACE, 0, blind=False).tallies["leviathan1"].probes == 1


def test_keep_drops_what_is_not_expected_any_more() -> None:
    board = Board("test")
    run(board, build(OUTAGE), NOW)
    smaller = build({"nodes": {"leviathan1": ["10.0.0.11"]}, "targets": {"web": {"vips": ["203.0.113.10"]}}})
    board.keep({("edge", "web", "203.0.113.10")}, smaller.expected)
    status = board.status(smaller.expected, {}, {}, Steered(), NOW)
    assert [target.name for target in status.targets] == ["web"]
    assert [node.name for node in status.nodes] == ["leviathan1"]
    assert [one.node for one in status.durations] == ["leviathan1"]
    assert set(board.direct) == {"leviathan1"}
    assert board.exercise(("edge", "gitea-ssh", "203.0.113.22"), 0, blind=False).results == {}


def test_a_status_does_not_change_afterwards() -> None:
    board = Board("test")
    before = run(board, build({}), NOW)
    tallies = [path.tally.probes for path in before.paths]
    run(board, build(DOWN), NOW + 15)
    assert [path.tally.probes for path in before.paths] == tallies
    assert before.all_ok
    assert [sum(one.counts) for one in before.durations] == [1, 1, 1]


def test_a_node_that_no_target_expects_is_ok() -> None:
    case = {"targets": {"git": {"vips": ["203.0.113.22"], "nodes": ["leviathan1"]}}}
    status = run(Board("test"), build(case))
    third = status.nodes[2]
    assert (third.verdict, third.paths_expected, third.last_reachable) == (Summary.OK, 0, None)
