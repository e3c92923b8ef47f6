"""What inhibits keeps firing longer than what it inhibits: nothing is told as new when all is over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import yaml

from tests.prometheus import expressions
from tests.prometheus.expressions import ROOT

CONFIG: Final = ROOT / "prometheus" / "alertmanager.yml"
ALERTS: Final = [rule for rule in expressions.rules() if rule.alert is not None]
# They silence an exporter, not a fault: the rules themselves leave out what it says, and nothing is held back for long
# after it.
OF_THE_MONITOR: Final = {"EcmpProberIsolated", "EcmpExporterDown", "EcmpExporterRoundsStopped"}
# Their expressions are false while what inhibits them is true; or they remember on purpose.
OVER_BY_THEN: Final = {
    "EcmpRedundancyLost",
    "EcmpNodeUnreachableFromVantage",
    "EcmpTargetUnreachableFromVantage",
    "EcmpPathFailsFromVantage",
    "EcmpPathFlapping",
    "EcmpBgpSessionFlapping",
}


def test_what_inhibits_keeps_firing_longer_than_what_it_inhibits() -> None:
    """By more than two rounds: they end by turns, and what ends last would be told as new."""
    inhibitions = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["inhibit_rules"]
    pairs = {
        (str(source.alert), str(target.alert)): seconds(source.keep) - seconds(target.keep)
        for inhibition in inhibitions
        for source in chosen(inhibition["source_matchers"])
        for target in chosen(inhibition["target_matchers"])
        if source.alert not in OF_THE_MONITOR
        and target.alert not in OVER_BY_THEN
        and target.labels["severity"] != "info"
    }
    assert len(pairs) > 20
    assert {pair: longer for pair, longer in pairs.items() if longer < 60} == {}


def chosen(matchers: list[str]) -> list[expressions.Rule]:
    """The alerts that the matchers for name and severity let through."""
    return [
        rule
        for rule in ALERTS
        if all(matches(matcher, {**rule.labels, "alertname": str(rule.alert)}) for matcher in matchers)
    ]


def matches(matcher: str, labels: Mapping[str, str]) -> bool:
    found = re.fullmatch(r"(\w+) (=~|!~|=|!=) \"(.*)\"", matcher)
    assert found is not None, matcher
    name, operator, value = found.groups()
    if name not in labels:
        return True  # a label of the alert's own, which it may have
    pattern = value if "~" in operator else re.escape(value)
    return (re.fullmatch(pattern, labels[name]) is not None) is operator.startswith("=")


def seconds(duration: str | None) -> int:
    return 0 if duration is None else int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]
