"""Rules and Alertmanager configuration with every duration divided, so that minutes of waiting pass in seconds.

Pure. Expressions keep every word but their ranges and offsets; names, labels, routes and inhibitions stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
# A string is matched first and left alone: what stands in a label matcher is no duration.
_IN_EXPRESSION = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
    rf"""|(?P<before>\[|:(?={_DURATION}\])|\boffset\s+-?)(?P<duration>{_DURATION})"""
    # An age that is compared with a number of seconds: nothing else in the rules is compared with two digits alone.
    r"""|(?P<than>[<>]\s+)(?P<age>\d{2,})(?=\s*(?:\)|$))""",
    re.MULTILINE,
)
_ROUTE_DURATIONS = ("group_wait", "group_interval", "repeat_interval")


@dataclass(frozen=True, slots=True)
class Divisor:
    """Makes a duration `least` seconds and a part of itself, or leaves it if that is longer.

    What was longer than something else stays longer: inhibitions and votes rest on it.
    """

    by: float
    least: float = 0

    def of(self, duration: str) -> str:
        """The shorter duration, in whole milliseconds."""
        whole = seconds(duration)
        return f"{round(1000 * min(whole, self.least + whole / self.by))}ms"


@dataclass(frozen=True, slots=True)
class Scale:
    """`waits` is for `for` and for ranges: they wait for rounds of probes, which cannot be made as much faster. `holds`
    is for `keep_firing_for`.

    Alerts in `as_shipped` keep their times.
    """

    waits: Divisor
    holds: Divisor
    alertmanager: Divisor
    as_shipped: frozenset[str] = frozenset()


def seconds(duration: str) -> float:
    """A Prometheus duration, such as 1h30m, in seconds; ValueError for what is none."""
    if not re.fullmatch(rf"{_DURATION}|0", duration):
        raise ValueError(f"{duration!r} is no Prometheus duration")
    return sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(duration))


def expression(text: str, divisor: Divisor) -> str:
    """The expression with ranges, subqueries, offsets and ages divided."""

    def replaced(found: re.Match[str]) -> str:
        if found["age"]:
            return f"{found['than']}{seconds(divisor.of(found['age'] + 's')):g}"
        return found["string"] or found["before"] + divisor.of(found["duration"])

    return _IN_EXPRESSION.sub(replaced, text)


def rules(document: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """A rule file's content, as YAML gives it, with the durations of its groups, rules and expressions divided."""
    return {**document, "groups": [_group(group, scale) for group in document["groups"]]}


def _group(group: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    shorter = _with_divided(group, ("interval",), Divisor(scale.waits.by))
    shorter["rules"] = [
        rule if rule.get("alert") in scale.as_shipped else _rule(rule, scale) for rule in group["rules"]
    ]
    return shorter


def _rule(rule: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    shorter = _with_divided(_with_divided(rule, ("for",), scale.waits), ("keep_firing_for",), scale.holds)
    return {**shorter, "expr": expression(str(rule["expr"]), scale.waits)}


def alertmanager(document: Mapping[str, Any], scale: Scale | None, webhook: str) -> dict[str, Any]:
    """The configuration with its waiting times divided (as they are without a scale), and every receiver, one that
    tells nobody included, pointed to `webhook`/NAME."""
    changed = dict(document) if scale is None else _shorter(document, scale)
    changed["receivers"] = [
        {
            "name": one.name,
            "webhook_configs": [{"url": f"{webhook}/{one.name}", "send_resolved": one.tells_resolved}],
        }
        for one in receivers(document)
    ]
    return changed


@dataclass(frozen=True, slots=True)
class Receiver:
    """`tells`: it tells somebody of alerts; `tells_resolved`: and that they are over."""

    name: str
    tells: bool
    tells_resolved: bool


def receivers(document: Mapping[str, Any]) -> list[Receiver]:
    """The receivers of an Alertmanager configuration."""
    return [_receiver(one) for one in document["receivers"]]


def _receiver(values: Mapping[str, Any]) -> Receiver:
    ways = [way for key, found in values.items() if key.endswith("_configs") for way in found]
    return Receiver(values["name"], bool(ways), any(way.get("send_resolved", True) for way in ways))


def _shorter(document: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    changed = dict(document)
    if "global" in changed:
        changed["global"] = _with_divided(changed["global"], ("resolve_timeout",), scale.alertmanager)
    changed["route"] = _route(changed["route"], scale)
    return changed


def _route(route: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    shorter = _with_divided(route, _ROUTE_DURATIONS, scale.alertmanager)
    if "routes" in shorter:
        shorter["routes"] = [_route(one, scale) for one in shorter["routes"]]
    return shorter


def _with_divided(values: Mapping[str, Any], keys: tuple[str, ...], divisor: Divisor) -> dict[str, Any]:
    return {key: divisor.of(str(value)) if key in keys else value for key, value in values.items()}
