"""Durations are divided, and nothing else is changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chain.scaled import Scale, alertmanager, divided, expression, receivers, rules, seconds

TENTH = Scale(rules=10, alertmanager=20, shortest=4)


@pytest.mark.parametrize(("text", "value"), [("15s", 15), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86400), ("0", 0)])
def test_durations_are_prometheus_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "m", "1.5s", "5 m", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no Prometheus duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("before", "after"), [("1h", "360000ms"), ("30s", "4000ms"), ("4s", "4000ms"), ("1s", "1000ms"), ("0s", "0ms")]
)
def test_what_is_short_already_is_not_divided(before: str, after: str) -> None:
    assert divided(before, 10, 4) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(a_total[5m])", "rate(a_total[30000ms])"),
        ("rate(a_total[30s])", "rate(a_total[4000ms])"),
        ("rate(a_total[2s])", "rate(a_total[2000ms])"),
        ("max_over_time(a[1h:1m] offset 10m)", "max_over_time(a[360000ms:6000ms] offset 60000ms)"),
        ("a offset -10m", "a offset -60000ms"),
        ("node:a:count offset 1m", "node:a:count offset 6000ms"),
        ("""a{b="[5m]", c='it\\'s [5m]'} > 300""", """a{b="[5m]", c='it\\'s [5m]'} > 300"""),
        ("time() - a > 300", "time() - a > 300"),
        ("level:5m:rate5m / 2", "level:5m:rate5m / 2"),
    ],
)
def test_expressions_keep_everything_but_ranges_and_offsets(before: str, after: str) -> None:
    assert expression(before, TENTH) == after


def test_rules_are_divided_and_keep_the_rest() -> None:
    alert = {"alert": "A", "expr": "a == 0", "for": "2m", "keep_firing_for": "5m", "labels": {"severity": "warning"}}
    record = {"record": "a:b:c", "expr": "avg(a)"}
    document = {"groups": [{"name": "g", "interval": "30s", "rules": [alert, record]}]}
    assert rules(document, TENTH) == {
        "groups": [
            {
                "name": "g",
                "interval": "3000ms",
                "rules": [{**alert, "for": "12000ms", "keep_firing_for": "30000ms"}, record],
            }
        ]
    }


def test_every_receiver_reaches_the_webhook_and_routes_stay() -> None:
    inhibit = [{"source_matchers": ['a="1"'], "target_matchers": ['a="2"'], "equal": ["node"]}]
    document: dict[str, Any] = {
        "global": {"resolve_timeout": "5m", "smtp_from": "a@example.org"},
        "route": {
            "receiver": "tickets",
            "group_wait": "30s",
            "group_by": ["node"],
            "routes": [{"receiver": "nowhere", "matchers": ['severity="info"'], "group_interval": "5m"}],
        },
        "receivers": [
            {"name": "tickets", "email_configs": [{"to": "b@example.org"}]},
            {"name": "notes", "webhook_configs": [{"url": "http://127.0.0.1:9", "send_resolved": False}]},
            {"name": "nowhere"},
        ],
        "inhibit_rules": inhibit,
    }
    assert alertmanager(document, TENTH, "http://127.0.0.1:1") == {
        "global": {"resolve_timeout": "15000ms", "smtp_from": "a@example.org"},
        "route": {
            "receiver": "tickets",
            "group_wait": "4000ms",
            "group_by": ["node"],
            "routes": [{"receiver": "nowhere", "matchers": ['severity="info"'], "group_interval": "15000ms"}],
        },
        "receivers": [
            {"name": name, "webhook_configs": [{"url": f"http://127.0.0.1:1/{name}", "send_resolved": resolved}]}
            for name, resolved in (("tickets", True), ("notes", False), ("nowhere", False))
        ],
        "inhibit_rules": inhibit,
    }
    assert document["receivers"][2] == {"name": "nowhere"}
    assert [one.tells for one in receivers(document)] == [True, True, False]
