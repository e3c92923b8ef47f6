"""Every case of tests/scenarios: evidence in, verdicts out, through RouterView.of and conclude."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.board import Board
from exporter.status import PathStatus, Status
from exporter.steering_status import Steered
from exporter.verdicts import Verdict
from tests.exporter.scenario import NOW, Case, ScenarioError, World, all_cases, build, load, picked, words_of

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case) -> None:
    world = build(case.data)
    targets = world.concluded()
    paths = [path for target in targets.values() for path in target.paths]
    _check_verdicts(case.data["verdicts"], paths)
    for key, parts in case.data.get("reason", {}).items():
        for path in _pick(key, paths):
            for part in [parts] if isinstance(parts, str) else parts:
                assert part in path.reason
    for key, part in case.data.get("remedy", {}).items():
        for path in _pick(key, paths):
            _check_remedy(path.remedy, part)
    for key, platforms in case.data.get("elsewhere", {}).items():
        for path in _pick(key, paths):
            for platform, part in platforms.items():
                _check_remedy(None if path.cure is None else path.cure.on(platform), part)
    summaries = {name: target.verdict.value for name, target in targets.items()}
    status = _on_board(world)
    assert {target.name: target.verdict.value for target in status.targets} == summaries
    summaries |= {node.name: node.verdict.value for node in status.nodes}
    for name, verdict in case.data.get("summary", {}).items():
        assert (name, summaries[name]) == (name, verdict)
    _check_stages(case.data.get("stages", {}), status)


def test_every_verdict_has_a_case() -> None:
    expected = {verdict for case in CASES for verdict in case.data["verdicts"].values()}
    assert expected == {verdict.value for verdict in Verdict}


def test_every_sentence_is_one_line_with_its_evidence_in_it() -> None:
    told: dict[Verdict, list[str]] = {}
    for case in CASES:
        for target in build(case.data).concluded().values():
            for path in target.paths:
                assert "\n" not in path.reason
                assert "None" not in path.reason
                evidence = {path.next_hop, path.node, path.router} - {None}
                assert any(str(word) in path.reason for word in evidence) or "probe" in path.reason, path.reason
                told.setdefault(path.verdict, []).append(path.reason)
    assert set(told) == set(Verdict)
    for verdict, sentences in told.items():
        assert len(set(sentences)) > 1, f"{verdict} always says the same"


def test_the_names_of_cases_are_told_apart() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[case]]\nname="x"\nverdict={}\n', "unknown keys verdict"),
        ('[[case]]\nname="x"\n', "needs a name and verdicts"),
        ('[[cases]]\nname="x"\n', "unknown keys cases"),
    ],
)
def test_a_file_that_says_something_unknown(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ScenarioError, match=message):
        load(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"routers": {"edge": {"session": {}}}}, "unknown keys session"),
        ({"probes": {"leviathan9": "ok"}}, "probes pick nothing"),
        ({"routers": {"edge": {"routes": {"leviathan9": "used"}}}}, "routes pick nothing"),
        ({"direct": {"leviathan9": True}}, "unknown keys leviathan9"),
        ({"probes": {"leviathan1": {"fail": "timeout"}}}, "unknown keys fail"),
        ({"targets": {"a": {"vip": "203.0.113.1"}}}, "unknown keys vip"),
    ],
)
def test_a_case_that_says_something_unknown(case: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build(case)


def _check_verdicts(expected: Mapping[str, str], paths: list[PathStatus]) -> None:
    # The most specific words decide, so that one line may speak of all other paths.
    found, wanted = {}, {}
    for path in paths:
        words = words_of(path)
        keys = [key for key in expected if picked(key, words)]
        assert keys, f"no expectation for {sorted(words)}, which is {path.verdict.value}: {path.reason}"
        name = " ".join((path.router, path.target, path.vip, path.node or path.next_hop or ""))
        wanted[name] = expected[max(keys, key=lambda key: len(key.split()))]
        found[name] = path.verdict.value
    assert found == wanted, [path.reason for path in paths]
    for key in expected:
        _pick(key, paths)


def _pick(key: str, paths: list[PathStatus]) -> list[PathStatus]:
    found = [path for path in paths if picked(key, words_of(path))]
    assert found, f"{key!r} picks no path"
    return found


def _check_remedy(remedy: str | None, part: str | bool) -> None:
    if part is False:
        assert remedy is None
        return
    assert remedy is not None
    assert str(part) in remedy


def _check_stages(expected: Mapping[str, Any], status: Status) -> None:
    for key, counts in expected.items():
        stages = [
            stage
            for target in status.targets
            for stage in target.stages
            if picked(key, frozenset({target.name, stage.vip, stage.router}))
        ]
        assert stages
        for stage in stages:
            found = {name: getattr(stage, name) for name in counts}
            assert found == {name: None if count == "unknown" else count for name, count in counts.items()}


def _on_board(world: World) -> Status:
    """The same through the board, which also sums up nodes; twice, as targets learn of each other."""
    board = Board("test")
    board.direct = world.around.direct
    for _ in range(2):
        for target in world.expected.targets.values():
            board.judge(world.expected, target, _own(world, target.vips), NOW, None)
    return board.status(world.expected, {}, {}, Steered(), NOW)


def _own(world: World, vips: tuple[str, ...]) -> list[Any]:
    return [
        replace(standpoint, exercises={vip: one for vip, one in standpoint.exercises.items() if vip in vips})
        for standpoint in world.standpoints
    ]
