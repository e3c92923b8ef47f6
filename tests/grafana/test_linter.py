"""No rule of Grafana's linter has anything to say, and each of them would have."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.grafana import linter
from tests.grafana.queries import dashboards, panels

Spoil = Callable[[Any], None]


@pytest.mark.parametrize("uid", sorted(dashboards()))
def test_the_linter_has_nothing_to_say(uid: str) -> None:
    assert linter.offences(dashboards()[uid]) == []


def test_an_exclusion_is_of_an_offence_that_there_is() -> None:
    for rule, exclusion in linter.exclusions().items():
        assert exclusion["reason"]
        found = [sentence for one in dashboards().values() for sentence in linter.RULES[rule](one)]
        assert [entry["panel"] for entry in exclusion["entries"]] == [sentence.split("'")[1] for sentence in found]


def _drop_variable(name: str) -> Spoil:
    def spoil(dashboard: Any) -> None:
        kept = [one for one in dashboard["templating"]["list"] if one["name"] != name]
        dashboard["templating"]["list"] = kept

    return spoil


def _change_variable(name: str, key: str, value: object) -> Spoil:
    def spoil(dashboard: Any) -> None:
        next(one for one in dashboard["templating"]["list"] if one["name"] == name)[key] = value

    return spoil


def _change_panel(key: str, value: object) -> Spoil:
    return lambda dashboard: _first(dashboard).update({key: value})


def _change_expression(expression: str) -> Spoil:
    return lambda dashboard: _first(dashboard)["targets"][0].update({"expr": expression})


def _first(dashboard: Any) -> Any:
    return next(iter(panels(dashboard)))


_CHOSEN = 'job=~"$job", instance=~"$instance"'
SPOILT: Mapping[str, tuple[Spoil, ...]] = {
    "template-datasource-rule": (
        _drop_variable("datasource"),
        _change_variable("datasource", "name", "prometheus"),
        _change_variable("datasource", "query", "loki"),
    ),
    "template-job-rule": (
        _drop_variable("job"),
        _change_variable("job", "multi", False),
        _change_variable("job", "allValue", ".*"),
        _change_variable("job", "datasource", {"uid": "P1"}),
    ),
    "template-instance-rule": (_drop_variable("instance"), _change_variable("instance", "label", "instance")),
    "template-label-promql-rule": (
        _change_variable("instance", "query", {"query": "label_values(up{, instance)"}),
        _change_variable("instance", "query", {"query": "up"}),
    ),
    "template-on-time-change-reload-rule": (_change_variable("job", "refresh", 1),),
    "panel-datasource-rule": (_change_panel("datasource", {"type": "prometheus", "uid": "P1"}),),
    "panel-title-description-rule": (_change_panel("title", ""), _change_panel("description", "")),
    "panel-units-rule": (
        lambda dashboard: _first(dashboard)["fieldConfig"]["defaults"].pop("unit"),
        lambda dashboard: _first(dashboard)["fieldConfig"]["defaults"].update({"unit": "seconds"}),
    ),
    "panel-no-targets-rule": (_change_panel("targets", []),),
    "target-promql-rule": (_change_expression("sum by (node ("),),
    "target-rate-interval-rule": (
        _change_expression(f"rate(ecmp_path_probes_total{{{_CHOSEN}}}[5m])"),
        _change_expression(f"sum(increase(ecmp_path_probes_total{{{_CHOSEN}}}[1h]))"),
    ),
    "target-job-rule": (
        _change_expression('up{instance=~"$instance"}'),
        _change_expression('up{job="$job", instance=~"$instance"}'),
        _change_expression(f"sum(up{{{_CHOSEN}}} and on (job) up)"),
    ),
    "target-instance-rule": (
        _change_expression('up{job=~"$job"}'),
        _change_expression('up{job=~"$job", instance=~"a"}'),
    ),
    "target-counter-agg-rule": (
        _change_expression(f"sum(ecmp_path_probes_total{{{_CHOSEN}}})"),
        _change_expression(f"max_over_time(ecmp_path_probes_total{{{_CHOSEN}}}[$__rate_interval])"),
    ),
    "uneditable-dashboard-rule": (lambda dashboard: dashboard.update({"editable": True}),),
}


def test_each_rule_is_shown_to_fail() -> None:
    assert SPOILT.keys() == linter.RULES.keys()


@pytest.mark.parametrize(("rule", "spoil"), [(rule, spoil) for rule, spoils in SPOILT.items() for spoil in spoils])
def test_a_rule_finds_what_it_is_for(rule: str, spoil: Spoil) -> None:
    dashboard = copy.deepcopy(dict(dashboards()["ecmp-overview"]))
    assert list(linter.RULES[rule](dashboard)) == []
    spoil(dashboard)
    assert list(linter.RULES[rule](dashboard)) != []
