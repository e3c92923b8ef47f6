"""Every verdict has a number, a word and a colour of its own kind; what is unknown is neither green nor red."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.verdicts import Summary, Verdict
from grafana.answers import DAYS
from grafana.verdicts import PATH, SUMMARY, UNKNOWN, Word
from tests.grafana.queries import dashboards, panels
from tests.prometheus.expressions import rules


def test_all_verdicts_are_there() -> None:
    assert PATH.keys() == {str(verdict) for verdict in Verdict}
    assert SUMMARY.keys() == {str(verdict) for verdict in Summary}


@pytest.mark.parametrize("words", [PATH, SUMMARY])
def test_ok_ranks_lowest_and_no_rank_is_taken_twice(words: dict[str, Word]) -> None:
    assert sorted(word.rank for word in words.values()) == list(range(1, len(words) + 1))
    assert words["ok"].rank == 1


def test_only_ok_is_green_and_the_unknown_is_neither_green_nor_red() -> None:
    for verdict, word in {**PATH, **SUMMARY}.items():
        kind = "ok" if verdict == "ok" else "unknown" if verdict in UNKNOWN else "wrong"
        wanted = {"ok": ("green",), "unknown": ("blue", "#8e8e8e"), "wrong": ("red", "orange")}[kind]
        assert word.color.endswith(wanted), verdict
    assert all(
        PATH[unknown].rank < word.rank
        for unknown in UNKNOWN
        for name, word in PATH.items()
        if name not in {"ok", *UNKNOWN}
    )


def test_every_verdict_but_ok_leads_to_the_runbook_of_an_alert_that_there_is() -> None:
    alerts = {rule.alert for rule in rules()}
    assert [verdict for verdict, word in PATH.items() if word.alert not in alerts] == ["ok"]


def test_shares_of_what_is_ok_are_not_red_as_the_unknown_is_not_ok_either() -> None:
    shares = [
        panel["fieldConfig"]
        for dashboard in dashboards().values()
        for panel in panels(dashboard)
        if any(word in str(panel["targets"]) for word in ("ecmp_node_reachability_ratio", 'stage="ok"'))
    ]
    assert len(shares) > 5
    steps = [step for config in shares for step in config["defaults"]["thresholds"]["steps"]]
    for config in shares:
        values = {one["id"]: one["value"] for override in config["overrides"] for one in override["properties"]}
        steps += values.get("thresholds", {}).get("steps", [])
    assert not any("red" in step["color"] for step in steps)


def test_wherever_verdicts_are_shown_all_of_them_are_words() -> None:
    shown = [mapping for dashboard in dashboards().values() for mapping in _mappings(dashboard)]
    of_paths = [one for one in shown if _texts(one) & {"blackhole", "neighbor_missing"}]
    assert len(of_paths) > 5
    assert all(_texts(one) == PATH.keys() for one in of_paths)
    for one in of_paths:
        for value, result in one.items():
            assert result["color"] == PATH[result["text"]].color
            assert value in {result["text"], str(PATH[result["text"]].rank)}


def test_days_left_change_their_colour_where_the_alerts_fire() -> None:
    fires = {
        rule.labels["severity"]: int(found[1])
        for rule in rules()
        if rule.alert == "EcmpCertificateExpiring"
        and (found := re.search(r"< time\(\) \+ (\d+) \* 86400", rule.expression))
    }
    assert [limit for limit, _ in DAYS] == [None, fires["critical"], fires["warning"]]


def _mappings(dashboard: Any) -> Iterator[dict[str, dict[str, str]]]:
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        found = [*config["defaults"].get("mappings", ())]
        for override in config["overrides"]:
            for one in override["properties"]:
                found += one["value"] if one["id"] == "mappings" else []
        yield from (mapping["options"] for mapping in found)


def _texts(mapping: dict[str, dict[str, str]]) -> set[str]:
    return {result["text"] for result in mapping.values()}
