"""Durations are divided, and nothing else is changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chain.scaled import Divisor, Scale, alertmanager, expression, receivers, rules, seconds

TENTH = Divisor(by=10, least=4)
SCALE = Scale(waits=TENTH, holds=Divisor(by=10), alertmanager=Divisor(by=20, least=4), as_shipped=frozenset({"B"}))


@pytest.mark.parametrize(("text", "value"), [("15s", 15), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86400), ("0", 0)])
def test_durations_are_prometheus_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "m", "1.5s", "5 m", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no Prometheus duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("before", "after"), [("1h", "364000ms"), ("30s", "7000ms"), ("4s", "4000ms"), ("1s", "1000ms"), ("0s", "0ms")]
)
def test_what_is_short_already_stays(before: str, after: str) -> None:
    assert TENTH.of(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(a_total[5m])", "rate(a_total[34000ms])"),
        ("rate(a_total[30s])", "rate(a_total[7000ms])"),
        ("rate(a_total[2s])", "rate(a_total[2000ms])"),
        ("max_over_time(a[1h:1m] offset 10m)", "max_over_time(a[364000ms:10000ms] offset 64000ms)"),
        ("a offset -10m", "a offset -64000ms"),
        ("node:a:count offset 1m", "node:a:count offset 10000ms"),
        ("""a{b="[5m]", c='it\\'s [5m]'} > 3""", """a{b="[5m]", c='it\\'s [5m]'} > 3"""),
        ("time() - a > 300", "time() - a > 34"),
        ("level:5m:rate5m / 2", "level:5m:rate5m / 2"),
    ],
)
def test_expressions_keep_everything_but_ranges_offsets_and_ages(before: str, after: str) -> None:
    assert expression(before, TENTH) == after


def test_rules_are_divided_and_keep_the_rest() -> None:
    alert = {"alert": "A", "expr": "a == 0", "for": "2m", "keep_firing_for": "5m", "labels": {"severity": "warning"}}
    kept = {"alert": "B", "expr": "a[5m]", "for": "2m"}
    record = {"record": "a:b:c", "expr": "avg(a)"}
    document = {"groups": [{"name": "g", "interval": "30s", "rules": [alert, record, kept]}]}
    assert rules(document, SCALE) == {
        "groups": [
            {
                "name": "g",
                "interval": "3000ms",
                "rules": [{**alert, "for": "16000ms", "keep_firing_for": "30000ms"}, record, kept],
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
    assert alertmanager(document, SCALE, "http://127.0.0.1:1") == {
        "global": {"resolve_timeout": "19000ms", "smtp_from": "a@example.org"},
        "route": {
            "receiver": "tickets",
            "group_wait": "5500ms",
            "group_by": ["node"],
            "routes": [{"receiver": "nowhere", "matchers": ['severity="info"'], "group_interval": "19000ms"}],
        },
        "receivers": [
            {"name": name, "webhook_configs": [{"url": f"http://127.0.0.1:1/{name}", "send_resolved": resolved}]}
            for name, resolved in (("tickets", True), ("notes", False), ("nowhere", False))
        ],
        "inhibit_rules": inhibit,
    }
    assert document["receivers"][2] == {"name": "nowhere"}
    assert [one.tells for one in receivers(document)] == [True, True, False]


def test_ages_in_seconds_are_divided_and_other_numbers_are_not() -> None:
    by = Divisor(10, 2)
    assert expression('time() - max by (job) (x_seconds) < 40\n  and y{code="> 40"} > 3\n', by) == (
        'time() - max by (job) (x_seconds) < 6\n  and y{code="> 40"} > 3\n'
    )
    assert expression("(time() - x > 120)", by) == "(time() - x > 14)"
    assert expression("x - time() < 21 * 86400", by) == "x - time() < 21 * 86400"
