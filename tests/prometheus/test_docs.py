"""What docs/alerts.md says of links to dashboards can be done as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.prometheus import expressions
from tests.prometheus.expressions import ROOT, RULES

TEXT = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
SECTION = TEXT.split("\n## Links to dashboards\n")[1].split("\n## ")[0]


def test_amtool_takes_the_receiver_that_puts_grafana_before_the_path(tmp_path: Path) -> None:
    (receivers,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert "https://grafana.example.net{{ .Annotations.dashboard_url }}" in receivers
    whole = {
        "global": {"slack_api_url": "http://127.0.0.1:9/"},
        "route": {"receiver": "pager"},
        **yaml.safe_load(receivers),
    }
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    subprocess.run(["amtool", "check-config", str(path)], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("source", [*sorted(RULES.glob("*.yml")), RULES.parent / "prometheusrule.yaml"])
def test_sed_makes_every_dashboard_url_whole(source: Path) -> None:
    (script,) = re.findall(r"`sed '([^']+)'`", SECTION)
    said = subprocess.run(["sed", script, str(source)], check=True, capture_output=True, text=True, timeout=30).stdout
    urls = re.findall(r"dashboard_url: (\S+)", said)
    assert urls
    assert all(url.startswith("https://grafana.example.net/d/ecmp-") for url in urls)


def test_without_that_it_is_a_path() -> None:
    urls = [rule.annotations["dashboard_url"] for rule in expressions.rules() if rule.alert is not None]
    assert {url.split("ecmp-")[0] for url in urls} == {"/d/"}
