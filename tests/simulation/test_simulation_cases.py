"""Worlds as data: those that once failed, and how a failing one becomes a case."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import main, report, smallest
from tests.simulation.cases import all_cases, dump, load, shrink
from tests.simulation.faults import Fault, Kind
from tests.simulation.play import play_world
from tests.simulation.table import Table
from tests.simulation.world import World, draw
from tests.simulation.worlds import world

CASES = all_cases()


@pytest.mark.parametrize("name", CASES)
def test_what_once_failed(name: str) -> None:
    played = play_world(CASES[name])
    assert not played.violations, report(played)


def test_a_world_is_the_same_as_a_case() -> None:
    for seed in range(200):
        ((name, found),) = load(dump('a "name"', draw(seed)))
        assert name == 'a "name"'
        assert found == draw(seed)


def test_a_case_with_an_unknown_word_is_refused() -> None:
    text = dump("name", world(Fault(Kind.DEAD, 1.0, 2.0, "n01")))
    for wrong in (text.replace("dead", "dad"), text.replace("seed", "sed"), text.replace("begin", "bgin")):
        with pytest.raises((TypeError, ValueError)):
            list(load(wrong))


def test_a_failing_world_is_made_smaller() -> None:
    kinds = (Kind.DEAD, Kind.LOSS, Kind.WITHDRAW, Kind.REFUSE)
    faults = [Fault(kind, 1.0 + number, 2.0 + number, "n01") for number, kind in enumerate(kinds)]
    whole = world(*faults, traces=True, icmp_loss=0.3, upstream=2)

    def fails(smaller: World) -> bool:
        found = {fault.kind for fault in smaller.faults}
        return {Kind.LOSS, Kind.REFUSE} <= found and smaller.upstream == 2

    assert shrink(whole, fails) == world(faults[1], faults[3], upstream=2, rounds=1)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "3-4", "--table"])
    said = capsys.readouterr().out
    assert "rounds a second" in said
    assert "| identity |" in said
    main(["--seeds", "3", "--verbose"])
    said = capsys.readouterr().out
    assert said.startswith("seed 3: ")
    assert "poll of edge since" in said
    assert "round of t1 since" in said


def test_a_failing_seed_prints_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.conclude.judge", lambda paths: ["ok" for _ in paths])
    assert main(["--seeds", "3"]) == 1
    said = capsys.readouterr().out
    assert "exception" in said
    assert "--seeds 3" in said
    assert smallest(draw(3), {"exception"}).faults == ()


def test_the_table_counts_by_condition() -> None:
    table = Table()
    for made in (world(), world(Fault(Kind.DEAD, 0.0, 1e9, "n01"), identity=False)):
        table.add(play_world(made))
    rows = {line.split(" | ")[0].strip("| "): line for line in table.lines()}
    assert "100 / -" in rows["identity"]
    assert "- / -" in rows["trace"]
