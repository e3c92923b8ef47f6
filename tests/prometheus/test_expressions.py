"""The reader of PromQL finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.prometheus import expressions


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("ecmp_path_up", {"ecmp_path_up": set()}),
        ('ecmp_path_up{node="x", vip!~"y"}', {"ecmp_path_up": {"node", "vip"}}),
        ('{__name__="ecmp_path_up", node="x"}', {"ecmp_path_up": {"node"}}),
        ("sum by (node) (rate(ecmp_path_probes_total[5m]))", {"ecmp_path_probes_total": {"node"}}),
        ("sum without (port) (ecmp_path_up)", {"ecmp_path_up": {"port"}}),
        ("topk(3, max_over_time(ecmp_path_up[1h:1m] offset 1d))", {"ecmp_path_up": set()}),
        ("ecmp_path_up and on (node) ecmp_node_direct_up", {"ecmp_path_up": {"node"}, "ecmp_node_direct_up": {"node"}}),
        ("up * on (job) group_left (version) ecmp_b", {"up": {"job"}, "ecmp_b": {"job", "version"}}),
        ("ecmp_b * on (job) group_right (version) up", {"up": {"job"}, "ecmp_b": {"job", "version"}}),
        ("max by (node) (a or b)", {"a": {"node"}, "b": {"node"}}),
        ("max by (node) (a unless b)", {"a": {"node"}, "b": set()}),
        ('max by (x) (label_replace(a, "x", "$1", "y", "(.*)"))', {"a": {"y"}}),
        ('max by (x) (label_join(a, "x", "-", "y", "z"))', {"a": {"y", "z"}}),
        ("time() - 3", {}),
    ],
)
def test_names(expression: str, found: dict[str, set[str]]) -> None:
    assert expressions.names(expression) == found


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("ecmp_path_upp", "no metric ecmp_path_upp"),
        ('ecmp_path_up{nodes="x"}', "ecmp_path_up has no label nodes"),
        ("sum by (verdict) (ecmp_path_up)", "ecmp_path_up has no label verdict"),
        ("ecmp_node_probe_duration_seconds", "no metric ecmp_node_probe_duration_seconds"),
        ('{job="x"}', "no metric without a name"),
        ("node:ecmp_reachable_vantages:count{target='x'}", "node:ecmp_reachable_vantages:count has no label target"),
        ("sum by (node) (ecmp_path_up) * on (vip) up", "vip is aggregated away in sum by (node) (ecmp_path_up)"),
    ],
)
def test_what_nothing_exposes_is_found(expression: str, problem: str) -> None:
    assert problem in expressions.unknown(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "histogram_quantile(0.9, sum by (le, node) (rate(ecmp_node_probe_duration_seconds_bucket[5m])))",
        'up{job="x", instance="y"} unless on (cluster, vantage) ecmp_path_up',
        "node:ecmp_reachable_vantages:count{node='x'}",
        'ALERTS{alertname="EcmpNodeDown", node="x"}',
        'rate(process_cpu_seconds_total{job="x"}[5m])',
    ],
)
def test_what_is_exposed_is_known(expression: str) -> None:
    assert expressions.unknown(expression) == []


def test_what_is_not_promql_is_said() -> None:
    with pytest.raises(ValueError, match=r"."):
        expressions.names("sum by (")
    assert "not PromQL" in next(expressions.problems_of(["sum by ("]))


def test_queries_in_annotations_are_found() -> None:
    template = r"""{{ range printf "max by (x) (up{job=%q,node=\"n\"})" $labels.job | query }}{{ .Value }}{{ end }}"""
    assert expressions.queries_in(template) == ['max by (x) (up{job="x",node="n"})']
