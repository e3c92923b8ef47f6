"""Which metrics and labels PromQL expressions name, and which of them the exporter does not have.

promql-parser reads the expressions, so aggregations, matching clauses and functions are understood, not guessed at. A
label counts for each metric that it can come from: a matcher for its own metric, `by`, `on` and the like for every
metric below them. Labels that a function writes (label_replace, label_join) are known above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import promql_parser as promql
import yaml

from exporter.metrics import catalogue

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "prometheus" / "rules"
# Labels that Prometheus or its configuration adds to every series; `cluster` and `vantage` are this project's habit.
TARGET_LABELS: Final = frozenset({"job", "instance", "cluster", "vantage"})
# What Prometheus itself and prometheus_client's ProcessCollector expose.
FOREIGN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "up": frozenset[str](),
        "scrape_duration_seconds": frozenset[str](),
        "scrape_samples_scraped": frozenset[str](),
        "process_cpu_seconds_total": frozenset[str](),
        "process_resident_memory_bytes": frozenset[str](),
        "process_virtual_memory_bytes": frozenset[str](),
        "process_open_fds": frozenset[str](),
        "process_max_fds": frozenset[str](),
        "process_start_time_seconds": frozenset[str](),
    }
)
_WRITERS: Final = frozenset({"label_replace", "label_join"})
_NO_LABELS: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it stands in a file; `alert` is None for a recording rule, `record` for an alert."""

    group: str
    record: str | None
    alert: str | None
    expression: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    hold: str | None
    keep: str | None


def names(expression: str) -> Mapping[str, frozenset[str]]:
    """Each metric that the expression names, with every label that the expression asks of it.

    Raises ValueError if the expression is not PromQL. A selector without a fixed name counts as metric "".
    """
    found: dict[str, set[str]] = {}
    _walk(promql.parse(expression), _NO_LABELS, found)
    return {metric: frozenset(labels) for metric, labels in found.items()}


def unknown(expression: str, recorded: Mapping[str, frozenset[str]] | None = None) -> list[str]:
    """One sentence for each metric or label that nothing exposes; empty if all is known.

    `recorded` are the recording rules' results with their labels, by default those of the shipped rules.
    """
    known = {**_exposed(), **(recorded_metrics() if recorded is None else recorded)}
    problems = _lost(promql.parse(expression), _NO_LABELS)
    for metric, labels in names(expression).items():
        if metric not in known:
            problems.append(f"no metric {metric or 'without a name'}")
            continue
        if metric in ("ALERTS", "ALERTS_FOR_STATE"):
            continue  # they carry the labels of every alert
        problems += [f"{metric} has no label {label}" for label in sorted(labels - known[metric] - TARGET_LABELS)]
    return problems


def rules(directory: Path = RULES) -> tuple[Rule, ...]:
    """Every rule of the files in a directory, in the order in which they stand."""
    return tuple(
        Rule(
            group=group["name"],
            record=rule.get("record"),
            alert=rule.get("alert"),
            expression=rule["expr"],
            labels=rule.get("labels", {}),
            annotations=rule.get("annotations", {}),
            hold=rule.get("for"),
            keep=rule.get("keep_firing_for"),
        )
        for path in sorted(directory.glob("*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    )


@cache
def recorded_metrics(directory: Path = RULES) -> Mapping[str, frozenset[str]]:
    """The recording rules' results, with the labels that their outermost aggregation leaves."""
    known = _exposed()
    for rule in rules(directory):
        if rule.record is not None:
            known[rule.record] = labels_of(rule.expression, known)
    return {rule.record: known[rule.record] for rule in rules(directory) if rule.record is not None}


def labels_of(expression: str, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels that the result of an expression may have; `known` are the labels of each metric."""
    return _result(promql.parse(expression), known)


def queries_in(template: str) -> list[str]:
    """The PromQL of the `printf ... | query` pipelines in an annotation, with a value for each %q."""
    return [
        re.sub(r"\\(.)", r"\1", found).replace("%q", '"x"')
        for found in re.findall(r'printf "((?:[^"\\]|\\.)*)"[^{}]*\|\s*query', template)
    ]


@cache
def _exposed_once() -> Mapping[str, frozenset[str]]:
    known: dict[str, frozenset[str]] = {**FOREIGN, "ALERTS": _NO_LABELS, "ALERTS_FOR_STATE": _NO_LABELS}
    for one in catalogue():
        labels = frozenset(one.labels)
        if one.kind == "histogram":
            known |= {one.name + "_bucket": labels | {"le"}, one.name + "_count": labels, one.name + "_sum": labels}
        else:
            known[one.name] = labels
    return known


def _exposed() -> dict[str, frozenset[str]]:
    return dict(_exposed_once())


def _walk(node: Any, asked: frozenset[str], found: dict[str, set[str]]) -> None:
    """Note the metrics below a node; `asked` are the labels that what stands above wants of all of them."""
    match node:
        case promql.VectorSelector():
            metric, own = _selector(node)
            found.setdefault(metric, set()).update(own | asked)
        case promql.MatrixSelector():
            _walk(node.vector_selector, asked, found)
        case promql.AggregateExpr():
            own = _NO_LABELS if node.modifier is None else frozenset(node.modifier.labels)
            kept = own if node.modifier is None or _is_by(node.modifier) else asked | own
            _walk(node.expr, kept, found)
        case promql.BinaryExpr():
            _walk_operation(node, asked, found)
        case promql.Call():
            _walk_call(node, asked, found)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            _walk(node.expr, asked, found)
        case _:
            return


def _lost(node: Any, asked: frozenset[str]) -> list[str]:
    """One sentence for each label that a matching clause asks of an aggregation which drops it."""
    match node:
        case promql.AggregateExpr():
            own = _NO_LABELS if node.modifier is None else frozenset(node.modifier.labels)
            keeps = node.modifier is not None and _is_by(node.modifier)
            gone = (asked - own if keeps or node.modifier is None else asked & own) - TARGET_LABELS
            found = [f"{label} is aggregated away in {_flat(node)}" for label in sorted(gone)]
            return found + _lost(node.expr, _NO_LABELS)
        case promql.BinaryExpr():
            matching, grouped = _matching(node)
            return _lost(node.lhs, matching) + _lost(node.rhs, matching | grouped)
        case promql.Call():
            below = _NO_LABELS if node.func.name in _WRITERS else asked
            return [problem for argument in node.args for problem in _lost(argument, below)]
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _lost(node.expr, asked)
        case _:
            return []


def _flat(node: promql.Expr) -> str:
    return " ".join(node.prettify().split())


def _walk_operation(node: promql.BinaryExpr, asked: frozenset[str], found: dict[str, set[str]]) -> None:
    matching, grouped = _matching(node)
    # What is asked of the result may come from either side of `or`, else from the left, or from what group_left names.
    either = str(node.op) == "or"
    left = (asked - grouped) | matching
    right = (left if either else matching) | grouped
    many_right = node.modifier is not None and node.modifier.card == promql.VectorMatchCardinality.OneToMany
    sides = (right, left) if many_right else (left, right)
    for side, labels in zip((node.lhs, node.rhs), sides, strict=True):
        _walk(side, labels, found)


def _walk_call(node: promql.Call, asked: frozenset[str], found: dict[str, set[str]]) -> None:
    texts = [argument.val for argument in node.args if isinstance(argument, promql.StringLiteral)]
    if node.func.name in _WRITERS:
        written, read = _written(node.func.name, texts)
        asked = (asked - {written}) | read
    for argument in node.args:
        _walk(argument, asked, found)


def _written(function: str, texts: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The label that label_replace or label_join writes, and those that it reads."""
    return texts[0], frozenset({texts[2]} if function == "label_replace" else texts[2:])


def _selector(node: promql.VectorSelector) -> tuple[str, frozenset[str]]:
    matchers = [*node.matchers.matchers, *(one for group in node.matchers.or_matchers for one in group)]
    named = node.name or next((one.value for one in matchers if one.name == "__name__"), "")
    return named, frozenset(one.name for one in matchers) - {"__name__"}


def _matching(node: promql.BinaryExpr) -> tuple[frozenset[str], frozenset[str]]:
    modifier = node.modifier
    if modifier is None:
        return _NO_LABELS, _NO_LABELS
    matching = _NO_LABELS if modifier.matching is None else frozenset(modifier.matching.labels)
    return matching, frozenset(modifier.group_labels or ())


def _is_by(modifier: promql.AggModifier) -> bool:
    return bool(modifier.type == promql.AggModifierType.By)


def _result(node: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    match node:
        case promql.VectorSelector():
            return known.get(_selector(node)[0], _NO_LABELS) | TARGET_LABELS
        case promql.MatrixSelector():
            return _result(node.vector_selector, known)
        case promql.AggregateExpr():
            if node.modifier is None:
                return _NO_LABELS
            own = frozenset(node.modifier.labels)
            return own if _is_by(node.modifier) else _result(node.expr, known) - own
        case promql.BinaryExpr():
            return _result_of_operation(node, known)
        case promql.Call():
            texts = [argument.val for argument in node.args if isinstance(argument, promql.StringLiteral)]
            written = {texts[0]} if node.func.name in _WRITERS else set[str]()
            return frozenset[str]().union(*(_result(argument, known) for argument in node.args)) | written
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _result(node.expr, known)
        case _:
            return _NO_LABELS


def _result_of_operation(node: promql.BinaryExpr, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    left, right = _result(node.lhs, known), _result(node.rhs, known)
    if str(node.op) == "or":
        return left | right
    scalar = isinstance(node.lhs, promql.NumberLiteral)
    many_right = node.modifier is not None and node.modifier.card == promql.VectorMatchCardinality.OneToMany
    return (right if scalar or many_right else left) | _matching(node)[1]


def problems_of(expressions: Iterable[str]) -> Iterator[str]:
    """`unknown` of several expressions, and of those that cannot be read; each sentence ends with the expression."""
    for expression in expressions:
        try:
            found = unknown(expression)
        except ValueError as error:
            found = [f"not PromQL: {error}"]
        yield from (f"{problem}: {expression}" for problem in found)
