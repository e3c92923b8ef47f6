"""The rules do what they are for (promtool's unit tests), and are complete: texts, runbooks, names, manifest."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import expressions
from tests.prometheus.expressions import ROOT, RULES, Rule

PROMETHEUS = ROOT / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
REPOSITORY = "https://github.com/ecmp-exporter/ecmp-exporter/blob/main/"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
DASHBOARDS = {
    "ecmp-overview": set[str](),
    "ecmp-node": {"node"},
    "ecmp-target": {"target"},
    "ecmp-router": {"router"},
    "ecmp-exporter": set[str](),
}
OF_THE_ISSUE = {
    "critical": "TargetUnreachable NodeUnreachable PathBlackhole",
    "warning": "NeighborMissing BgpSessionDown RouteMissing RouteUnused RouteNotInstalled StaleRoute "
    "UnexpectedNextHop RedundancyLost DnsMismatch",
    "info": "FlowShareUneven PathsUnverified",
}

UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = [rule for rule in expressions.rules() if rule.alert is not None]
NAMES = sorted({str(rule.alert) for rule in ALERTS})


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unit_tests() -> Iterator[dict[str, Any]]:
    for path in UNIT_TESTS:
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]


def test_promtool_takes_the_rules() -> None:
    said = promtool("check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(expressions.rules())


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(path: Path) -> None:
    promtool("test", "rules", str(path))


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_is_seen_to_fire_and_not_to_fire(alert: str) -> None:
    expected = [
        check["exp_alerts"]
        for one in unit_tests()
        for check in one.get("alert_rule_test", ())
        if check["alertname"] == alert
    ]
    assert any(expected), "no unit test in which it fires"
    assert not all(expected), "no unit test in which it does not fire"


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_meets_a_restart_and_a_removal(alert: str) -> None:
    if alert == "EcmpExporterAbsent":
        return  # it is about nothing being there
    about = " ".join(
        one["name"] for one in unit_tests() if any(c["alertname"] == alert for c in one.get("alert_rule_test", ()))
    )
    assert re.search(r"restart", about)
    assert re.search(r"gone|removed|removal|ends with|end them", about)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule.alert}-{rule.labels.get('severity')}")
def test_each_alert_has_its_texts(rule: Rule) -> None:
    assert re.fullmatch(r"Ecmp([A-Z][a-z]+)+", str(rule.alert))
    assert rule.labels["severity"] in {"critical", "warning", "info"}
    assert rule.annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert rule.annotations["runbook_url"] == f"{REPOSITORY}docs/runbooks/{rule.alert}.md"
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["description"] != rule.annotations["summary"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule.alert}-{rule.labels.get('severity')}")
def test_each_description_tells_the_labels_of_its_evidence(rule: Rule) -> None:
    text = rule.annotations["summary"] + rule.annotations["description"]
    labels = expressions.labels_of(rule.expression, {**expressions.recorded_metrics()})
    told = set(re.findall(r"\$labels\.(\w+)", text)) | set(re.findall(r"\$sample\.Labels\.(\w+)", text))
    assert labels - expressions.TARGET_LABELS <= told
    assert told <= labels | expressions.TARGET_LABELS | {"verdict", "router", "node", "next_hop", "vip", "resolver"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule.alert}-{rule.labels.get('severity')}")
def test_each_alert_leads_to_a_dashboard(rule: Rule) -> None:
    found = re.fullmatch(r"/d/([\w-]+)\?(.*)", rule.annotations["dashboard_url"])
    assert found is not None
    variables = dict(re.findall(r"var-(\w+)=\{\{ \$labels\.(\w+) \| urlquery \}\}", found[2]))
    assert all(variable == label for variable, label in variables.items())
    assert DASHBOARDS[found[1]] <= variables.keys() <= DASHBOARDS[found[1]] | {"job", "instance"}


def test_the_alerts_of_the_issue_are_there() -> None:
    severities = {rule.alert: rule.labels["severity"] for rule in ALERTS}
    for severity, names in OF_THE_ISSUE.items():
        assert {severities.get(f"Ecmp{name}") for name in names.split()} == {severity}


@pytest.mark.parametrize("rule", expressions.rules(), ids=lambda rule: str(rule.alert or rule.record))
def test_every_metric_and_label_is_known(rule: Rule) -> None:
    queries = [query for text in rule.annotations.values() for query in expressions.queries_in(text)]
    assert sum(text.count("| query") for text in rule.annotations.values()) == len(queries)
    assert list(expressions.problems_of([rule.expression, *queries])) == []


def test_recorded_names_are_level_metric_operation() -> None:
    for rule in expressions.rules():
        if rule.record is not None:
            assert re.fullmatch(r"[a-z_]+:ecmp_[a-z_]+:[a-z0-9]+", rule.record)


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_has_its_runbook(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_each_runbook_has_its_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == NAMES


def test_the_table_of_alerts_says_what_the_rules_say() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/\w+\.md\) \| (\w+) \| .* \| (\S+), (\S+) \|.*\|$", table(), re.MULTILINE
    )
    said = {(rule.alert, rule.labels["severity"], rule.hold or "0s", rule.keep or "0s") for rule in ALERTS}
    assert set(rows) == said
    assert len(rows) == len(said)


def table() -> str:
    return (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_the_manifest_is_what_the_rules_say(tmp_path: Path) -> None:
    script = PROMETHEUS / "generate.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
    manifest = yaml.safe_load((PROMETHEUS / "prometheusrule.yaml").read_text(encoding="utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    sources = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    assert manifest["spec"]["groups"] == [group for source in sources for group in source["groups"]]
    plain = tmp_path / "rules.yml"
    plain.write_text(yaml.safe_dump(manifest["spec"]), encoding="utf-8")
    promtool("check", "rules", str(plain))


def test_drift_of_the_manifest_is_found(tmp_path: Path) -> None:
    for name in ("generate.py", "prometheusrule.yaml"):
        (tmp_path / name).write_bytes((PROMETHEUS / name).read_bytes())
    (tmp_path / "rules").mkdir()
    for path in RULES.glob("*.yml"):
        changed = path.read_text(encoding="utf-8").replace("for: 20s", "for: 21s")
        (tmp_path / "rules" / path.name).write_text(changed, encoding="utf-8")
    check = [sys.executable, str(tmp_path / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "+      for: 21s" in done.stdout
    subprocess.run(check[:-1], check=True, timeout=60)
    subprocess.run(check, check=True, timeout=60)
