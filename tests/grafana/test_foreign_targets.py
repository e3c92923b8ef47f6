"""Prometheus scrapes others too: no panel takes one of them for an exporter. promtool answers the queries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.grafana.labels import result_labels
from tests.grafana.queries import PanelQuery, annotation_queries, panel_queries
from tests.prometheus.expressions import FOREIGN, names

CHOSEN: Final = {"node": "leviathan3", "target": "web", "router": "edge"}
# Alertmanager is stopped, Prometheus runs; of the exporters one runs, one has stopped, one never answered.
OTHERS: Final = {'job="alertmanager", instance="am:9093"': "0x60", 'job="prometheus", instance="p:9090"': "1x60"}
RUNS: Final = 'job="probe", instance="a:10179"'
STOPPED: Final = 'job="probe", instance="b:10179"'
NEVER: Final = 'job="ecmp-exporter", instance="c:10179"'
ASKED: Final = [
    one
    for one in (*panel_queries(CHOSEN), *annotation_queries(CHOSEN))
    if names(one.expression).keys() & FOREIGN.keys()
]


def series() -> Iterator[tuple[str, str]]:
    for metric in FOREIGN.keys() - {"up", "process_start_time_seconds"}:
        for labels in (RUNS, *OTHERS):
            yield f"{metric}{{{labels}}}", "1+1x60"
    for labels in (RUNS, *OTHERS):  # both started just before they are asked
        yield f"process_start_time_seconds{{{labels}}}", "590x60"
    for labels, values in {**OTHERS, RUNS: "1x60", STOPPED: "1x3 0x60", NEVER: "0x60"}.items():
        yield f"up{{{labels}}}", values
    yield f'ecmp_exporter_build_info{{{RUNS}, version="1"}}', "1x60"
    yield f'ecmp_exporter_build_info{{{STOPPED}, version="1"}}', "1x3 stale"


def answers(path: Path, wanted: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Fails with what promtool says unless, at ten minutes, each expression has these samples."""
    checks = [{"expr": expr, "eval_time": "10m", "exp_samples": list(samples)} for expr, samples in wanted.items()]
    given = [{"series": name, "values": values} for name, values in series()]
    text = yaml.safe_dump({"tests": [{"interval": "15s", "input_series": given, "promql_expr_test": checks}]})
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_every_target_has_is_asked_of_exporters_only(tmp_path: Path) -> None:
    by_instance = [one for one in ASKED if "instance" in result_labels(one.expression)]
    assert len(by_instance) >= 10
    counts = {
        f"count(({one.expression}) and on (instance) up{{instance{match}}}) or vector(0)": number
        for one in by_instance
        for match, number in (('=~"am:9093|p:9090"', 0), ('="a:10179"', 1))
    }
    answers(tmp_path / "test.yml", {expr: [{"labels": "{}", "value": number}] for expr, number in counts.items()})


def test_exporters_that_are_silent_are_counted_and_others_are_not(tmp_path: Path) -> None:
    answers(tmp_path / "test.yml", {asked("Exporters silent").expression: [{"labels": "{}", "value": 2}]})


@pytest.mark.parametrize(("title", "up", "down"), [("Scraped", 1, 0), ("Missing scrapes", 0, 1)])
def test_an_exporter_that_stopped_or_never_answered_keeps_its_place(
    tmp_path: Path, title: str, up: int, down: int
) -> None:
    values = {"a:10179": up, "b:10179": down, "c:10179": down}
    samples = [{"labels": f'{{instance="{name}"}}', "value": value} for name, value in values.items()]
    answers(tmp_path / "test.yml", {asked(title).expression: samples})


def asked(title: str) -> PanelQuery:
    (found,) = [one for one in ASKED if one.panel == title]
    return found
