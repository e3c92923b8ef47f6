"""The rules of Grafana's dashboard-linter, written anew from its documentation; each gives a sentence per offence.

Not here: target-logql-rule and target-logql-auto-rule (there is no Loki), element-reference-rule and the other rules of
the second dashboard schema, and target-required-matchers-rule and template-required-variables-rule, which only do what
a user's settings say. The linter itself was not run: it is a Go program, and these are its rules as documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import promql_parser as promql
import yaml

from tests.grafana.queries import DIRECTORY, fill, panels

Dashboard = Mapping[str, Any]
Rule = Callable[[Dashboard], Iterator[str]]

# A range that nobody writes by hand stands for $__rate_interval.
_RATE_INTERVAL: Final = timedelta(seconds=433)
_FILLED: Final = {
    "__rate_interval": "433s",
    "node": "n",
    "target": "t",
    "router": "r",
    "job": "$job",
    "instance": "$instance",
}
_RATES: Final = frozenset({"rate", "irate", "increase"})
_DATASOURCES: Final = frozenset({"$datasource", "${datasource}"})
# Of the identifiers in Grafana's list of units those that these dashboards may use.
_UNITS: Final = frozenset({"none", "string", "short", "percentunit", "bytes", "s", "ops", "reqps", "dateTimeFromNow"})
_ON_TIME_RANGE_CHANGE: Final = 2


@dataclass(frozen=True, slots=True)
class Selector:
    """A series selector with the calls and ranges that it stands in, the nearest last."""

    node: promql.VectorSelector
    above: tuple[Any, ...]


def offences(dashboard: Dashboard) -> list[str]:
    """What all rules have to say, but for the exclusions in grafana/dashboards/.lint."""
    return [
        f"{name}: {found}"
        for name, rule in RULES.items()
        for found in rule(dashboard)
        if not _excluded(name, dashboard["title"], found)
    ]


def exclusions() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((DIRECTORY / ".lint").read_text(encoding="utf-8"))["exclusions"]
    return found


def template_datasource(dashboard: Dashboard) -> Iterator[str]:
    sources = [one for one in _variables(dashboard) if one["type"] == "datasource"]
    if len(sources) != 1:
        yield f"{len(sources)} variables for a data source, not one"
    for one in sources:
        if (one["name"], one["label"], one["query"]) != ("datasource", "Data source", "prometheus"):
            yield f"the data source variable is {one['name']}, {one['label']}, {one['query']}"


def template_job(dashboard: Dashboard) -> Iterator[str]:
    yield from _standard_variable(dashboard, "job", "Job")


def template_instance(dashboard: Dashboard) -> Iterator[str]:
    yield from _standard_variable(dashboard, "instance", "Instance")


def template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for one in _query_variables(dashboard):
        found = re.fullmatch(r"label_values\((?:(.+), )?(\w+)\)", one["query"]["query"])
        if found is None:
            yield f"variable {one['name']} asks for no label_values"
        elif found[1] is not None and _parsed(found[1]) is None:
            yield f"variable {one['name']} asks for what is not PromQL"


def template_on_time_change_reload(dashboard: Dashboard) -> Iterator[str]:
    for one in _query_variables(dashboard):
        if one["refresh"] != _ON_TIME_RANGE_CHANGE:
            yield f"variable {one['name']} is not read again when the time changes"


def panel_datasource(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        for place in (panel, *panel.get("targets", ())):
            if place.get("datasource", {}).get("uid") not in _DATASOURCES:
                yield f"panel '{panel['title']}' has a data source of its own"


def panel_title_description(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel '{panel.get('title')}' lacks a title or a description"


def panel_units(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        of_columns = [
            one["value"] for override in config["overrides"] for one in override["properties"] if one["id"] == "unit"
        ]
        for unit in (config["defaults"].get("unit"), *of_columns):
            if unit not in _UNITS:
                yield f"panel '{panel['title']}' has the unit {unit}"


def panel_no_targets(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("targets"):
            yield f"panel '{panel['title']}' asks nothing"


def target_promql(dashboard: Dashboard) -> Iterator[str]:
    for panel, expression in _targets(dashboard):
        if _parsed(expression) is None:
            yield f"panel '{panel}' asks what is not PromQL: {expression}"


def target_rate_interval(dashboard: Dashboard) -> Iterator[str]:
    for panel, one in _selectors(dashboard):
        match one.above:
            case (*_, promql.Call() as call, promql.MatrixSelector() as window) if call.func.name in _RATES:
                if window.range != _RATE_INTERVAL:
                    yield f"panel '{panel}' takes a rate over something else than $__rate_interval"


def target_job(dashboard: Dashboard) -> Iterator[str]:
    yield from _without_matcher(dashboard, "job")


def target_instance(dashboard: Dashboard) -> Iterator[str]:
    yield from _without_matcher(dashboard, "instance")


def target_counter_agg(dashboard: Dashboard) -> Iterator[str]:
    for panel, one in _selectors(dashboard):
        if not (one.node.name or "").endswith("_total"):
            continue
        match one.above:
            case (*_, promql.Call() as call, promql.MatrixSelector()) if call.func.name in _RATES:
                pass
            case _:
                yield f"panel '{panel}' shows the counter {one.node.name} itself"


def uneditable_dashboard(dashboard: Dashboard) -> Iterator[str]:
    if dashboard.get("editable", True):
        yield "the dashboard can be edited"


RULES: Final[Mapping[str, Rule]] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard-rule": uneditable_dashboard,
}


def _excluded(rule: str, title: str, found: str) -> bool:
    return any(
        entry["dashboard"] == title and f"panel '{entry['panel']}'" in found
        for entry in exclusions().get(rule, {}).get("entries", ())
    )


def _variables(dashboard: Dashboard) -> list[Any]:
    found: list[Any] = dashboard["templating"]["list"]
    return found


def _query_variables(dashboard: Dashboard) -> list[Any]:
    return [one for one in _variables(dashboard) if one["type"] == "query"]


def _standard_variable(dashboard: Dashboard, name: str, label: str) -> Iterator[str]:
    found = [one for one in _query_variables(dashboard) if one["name"] == name]
    if len(found) != 1:
        yield f"{len(found)} variables {name}, not one"
        return
    one = found[0]
    if one["label"] != label:
        yield f"{name} is labelled {one['label']}"
    if one["datasource"]["uid"] not in _DATASOURCES:
        yield f"{name} has a data source of its own"
    if not one["multi"] or not one["includeAll"] or one["allValue"] != ".+":
        yield f"{name} does not take several values, and .+ for all"


def _without_matcher(dashboard: Dashboard, label: str) -> Iterator[str]:
    for panel, one in _selectors(dashboard):
        held = (match for match in one.node.matchers.matchers if match.name == label and match.value == f"${label}")
        if not any(match.op == promql.MatchOp.Re for match in held):
            yield f"panel '{panel}' does not hold {one.node.name} to {label}=~\"${label}\""


def _targets(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def _selectors(dashboard: Dashboard) -> Iterator[tuple[str, Selector]]:
    for panel, expression in _targets(dashboard):
        for one in _within(_parsed(expression), ()):
            yield panel, one


def _parsed(expression: str) -> Any:
    """What promql-parser makes of it; None if it is not PromQL."""
    try:
        return promql.parse(fill(expression, _FILLED))
    except ValueError:
        return None


def _within(node: Any, above: tuple[Any, ...]) -> Iterator[Selector]:
    match node:
        case promql.VectorSelector():
            yield Selector(node, above)
        case promql.MatrixSelector():
            yield from _within(node.vector_selector, (*above, node))
        case promql.Call():
            for argument in node.args:
                yield from _within(argument, (*above, node))
        case promql.BinaryExpr():
            yield from _within(node.lhs, ())
            yield from _within(node.rhs, ())
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _within(node.expr, ())
