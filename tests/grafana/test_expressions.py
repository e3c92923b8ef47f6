"""Every expression parses, names what the exporter has, and yields the labels that its panel shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab.faults import KINDS
from tests.grafana.labels import problems, result_labels
from tests.grafana.queries import (
    NEEDS_FAULT,
    NOT_IN_LAB,
    annotation_queries,
    dashboards,
    fill,
    panel_queries,
    panels,
)

CHOSEN = {"node": "leviathan3", "target": "web", "router": "edge"}
# What a query may add to the rows that a table joins on other labels: there is one value for each row.
ADDED = {"runbook", "method", "hash", "version", "software"}
# Labels with as many values as there are nodes or targets. On a dashboard about one of them that one is no longer many.
MANY = {"node", "target", "vip", "next_hop", "neighbor"}
FIXED = {"ecmp-node": {"node", "neighbor"}, "ecmp-target": {"target", "vip"}}
GRAPHS = {"bargauge", "stat", "state-timeline", "timeseries"}

each = pytest.mark.parametrize("uid", sorted(dashboards()))


def test_everything_asked_is_promql_and_known_to_the_exporter() -> None:
    asked = [*panel_queries(CHOSEN), *annotation_queries(CHOSEN)]
    assert len(asked) > 100
    assert [(one.key, found) for one in asked for found in problems(one.expression)] == []


def test_what_the_exporter_does_not_have_is_found() -> None:
    wrong = {
        "ecmp_path_upp": ["no metric ecmp_path_upp"],
        "sum by (node) (ecmp_router_up)": ["ecmp_router_up has no label node"],
        'ecmp_node_verdict_info{vip="a"}': ["ecmp_node_verdict_info has no label vip"],
        "ecmp_path_up and on (node) topk(1, max by (vip) (ecmp_path_up))": ["nothing of node is left to match on"],
        "node:ecmp_reachable_vantages:count": ["no metric node:ecmp_reachable_vantages:count"],
    }
    assert {expression: problems(expression) for expression in wrong} == wrong


def test_variables_are_read_from_metrics_that_there_are() -> None:
    asked = [
        found[1]
        for dashboard in dashboards().values()
        for one in dashboard["templating"]["list"]
        if one["type"] == "query" and (found := re.search(r"label_values\((.+), \w+\)", one["query"]["query"]))
    ]
    assert len(asked) == 2 * len(dashboards()) + 3
    assert [(one, found) for one in asked for found in problems(fill(one, CHOSEN))] == []


def test_a_variable_that_nobody_filled_in_is_an_error() -> None:
    with pytest.raises(KeyError, match="node"):
        panel_queries({})
    assert fill('a{x="$x", y="${y:regex}"}, "$1"', {"x": "1", "y": "2"}) == 'a{x="1", y="2"}, "$1"'


def test_labels_of_a_result_are_told() -> None:
    known = {
        "ecmp_router_up * 2": {"job", "instance", "router"},
        "sum by (node) (ecmp_path_up) / sum by (node) (ecmp_path_verdict_info)": {"node"},
        "topk(3, max by (node, target) (ecmp_path_up))": {"node", "target"},
        "time() - min by (instance) (ecmp_router_up)": {"instance"},
        "count without (job, instance) (ecmp_router_up)": {"router"},
        "ecmp_router_up * on (router) ecmp_router_up": {"router"},
        "max by (a) (up) and on (b) max by (b) (up)": {"a"},
        'label_replace(sum(up), "x", "1", "y", "")': {"x"},
    }
    assert {expression: set(result_labels(expression)) for expression in known} == known


def test_panels_that_need_a_fault_are_there_and_so_are_the_faults() -> None:
    titles = {(one.dashboard, one.panel) for one in panel_queries(CHOSEN)}
    assert NEEDS_FAULT.keys() | NOT_IN_LAB.keys() <= titles
    assert set(NEEDS_FAULT.values()) <= KINDS.keys()


@each
def test_legends_and_links_name_labels_that_the_query_leaves(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        left = [_labels(target) for target in panel["targets"]]
        for target, labels in zip(panel["targets"], left, strict=True):
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            for label in re.findall(r"__field\.labels\.(\w+)", link["url"]):
                assert all(label in labels for labels in left), panel["title"]


@each
def test_columns_are_labels_or_values_of_the_queries(uid: str) -> None:
    for panel, columns in _tables(uid):
        targets = panel["targets"]
        left = {f"Value #{one['refId']}" if len(targets) > 1 else "Value": _labels(one) for one in targets}
        assert columns <= left.keys() | frozenset[str]().union(*left.values()), panel["title"]
        for_labels = {value for value, labels in left.items() if labels & ADDED}
        assert left.keys() <= columns | for_labels, f"{panel['title']} asks for what it does not show"


@each
def test_the_queries_of_a_table_join_on_the_labels_that_they_share(uid: str) -> None:
    for panel, _ in _tables(uid):
        sets = [_labels(target) for target in panel["targets"]]
        shared = frozenset[str].intersection(*sets)
        assert shared, panel["title"]
        assert all(labels - shared <= ADDED for labels in sets), panel["title"]


@each
def test_graphs_stay_readable_with_a_hundred_nodes_and_fifty_targets(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        if panel["type"] not in GRAPHS:
            continue
        for target in panel["targets"]:
            many = (_labels(target) & MANY) - FIXED.get(uid, set())
            assert not many or re.search(r"\b(topk|bottomk)\(", target["expr"]), f"{panel['title']}: all {many}"


def _tables(uid: str) -> Iterator[tuple[Mapping[str, Any], set[str]]]:
    """Each table of columns, and the fields that it keeps."""
    for panel in panels(dashboards()[uid]):
        for step in panel.get("transformations", ()):
            if step["id"] == "filterFieldsByName":
                yield panel, set(step["options"]["include"]["names"])


def _labels(target: Mapping[str, Any]) -> frozenset[str]:
    return result_labels(fill(target["expr"], CHOSEN))
