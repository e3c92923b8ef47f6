"""Which labels the result of an expression has, and what it asks for that the exporter does not have.

Recording rules do not count as known: a dashboard has to work without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import promql_parser as promql

from exporter.metrics import catalogue
from tests.prometheus.expressions import FOREIGN, names

_NONE: Final = frozenset[str]()
_SCRAPED: Final = frozenset({"job", "instance"})
_KEEP_SERIES: Final = frozenset({"topk", "bottomk"})
_SETS: Final = frozenset({"and", "unless"})


def result_labels(expression: str) -> frozenset[str]:
    """Those that the result can have; ValueError if the expression is not PromQL."""
    return _of(promql.parse(expression))


def problems(expression: str) -> list[str]:
    """One sentence for each metric or label that nothing exposes, and for each that is matched on and not there."""
    unknown = []
    for metric, labels in names(expression).items():
        if metric not in _exposed():
            unknown.append(f"no metric {metric}")
            continue
        unknown += [f"{metric} has no label {label}" for label in sorted(labels - _exposed()[metric] - _SCRAPED)]
    return unknown or list(_lost(promql.parse(expression)))


def _lost(node: Any) -> Iterator[str]:
    match node:
        case promql.BinaryExpr():
            for side in (node.lhs, node.rhs):
                yield from (f"nothing of {label} is left to match on" for label in sorted(_matched(node) - _of(side)))
                yield from _lost(side)
        case promql.Call():
            for argument in node.args:
                yield from _lost(argument)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _lost(node.expr)


def _matched(node: promql.BinaryExpr) -> frozenset[str]:
    if node.modifier is None or node.modifier.matching is None:
        return _NONE
    return frozenset(node.modifier.matching.labels)


def _of(node: Any) -> frozenset[str]:
    match node:
        case promql.VectorSelector():
            return _exposed()[node.name or ""] | _SCRAPED
        case promql.MatrixSelector():
            return _of(node.vector_selector)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _of(node.expr)
        case promql.AggregateExpr():
            return _of_aggregation(node)
        case promql.BinaryExpr():
            return _of_operation(node)
        case promql.Call():
            written = {node.args[1].val} if node.func.name in {"label_replace", "label_join"} else _NONE
            return _NONE.union(written, *(_of(argument) for argument in node.args))
        case _:
            return _NONE


def _of_aggregation(node: promql.AggregateExpr) -> frozenset[str]:
    if str(node.op) in _KEEP_SERIES:
        return _of(node.expr)
    if node.modifier is None:
        return _NONE
    named = frozenset(node.modifier.labels)
    return named if node.modifier.type == promql.AggModifierType.By else _of(node.expr) - named


def _of_operation(node: promql.BinaryExpr) -> frozenset[str]:
    left, right, modifier = _of(node.lhs), _of(node.rhs), node.modifier
    if str(node.op) == "or":
        return left | right
    if str(node.op) in _SETS:
        return left
    if modifier is None or modifier.matching is None:
        return left | right  # equal, or one side is a number
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(modifier.group_labels or ())
    return frozenset(modifier.matching.labels)


@cache
def _exposed() -> Mapping[str, frozenset[str]]:
    known: dict[str, frozenset[str]] = {**FOREIGN}
    for one in catalogue():
        if one.kind == "histogram":
            known[one.name + "_bucket"] = frozenset({*one.labels, "le"})
        else:
            known[one.name] = frozenset(one.labels)
    return known
