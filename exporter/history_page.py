"""The page of the last results and failures, and the page of one probe with its transcript. Everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from exporter.durations import format_duration, timestamp
from exporter.history import Kept, Record
from exporter.page import document, table

GONE = "no probe of this number is kept any more"

_COLUMNS = ["", "at", "target", "module", "router", "node", "VIP", "from port", "took", "result", "why"]


def render(kept: Kept, prefix: str) -> str:
    """Both lists; `prefix` stands before the links to the exporter's own paths."""
    body = (
        f"<h2>The last failures ({len(kept.failures)})</h2>{_list(kept.failures, prefix)}"
        f"<h2>The last results ({len(kept.results)})</h2>{_list(kept.results, prefix)}"
    )
    return document("probes", "The last probes", body, _links(prefix, "/", "/api/v1/history"))


def render_record(record: Record | None, prefix: str) -> str:
    """One probe with all that is known of it; None: it is not kept any more."""
    links = _links(prefix, "/", "/history")
    if record is None:
        return document("gone", "A probe", f'<div class="card warn"><p>{GONE}</p></div>', links)
    told = record.outcome
    kind = "ok" if told.success else "bad"
    facts = [
        f"{name} {value}"
        for name, value in (
            ("module", record.module),
            ("router", record.router),
            ("node", record.node or "unknown"),
            ("flow", _flow(record)),
            ("took", format_duration(told.duration_seconds)),
            *((name, format_duration(seconds)) for name, seconds in told.phases.items()),
        )
    ]
    body = (
        f'<div class="card {kind}"><p>{_result(record)} <b>{escape(record.target)}</b> '
        f'<span class="dim">{escape(timestamp(record.at))}</span></p><p>{escape(told.detail)}</p>'
        f'<p class="dim">{escape(" · ".join(facts))}</p>'
        f"<pre>{escape(chr(10).join(told.transcript) or 'no transcript was kept')}</pre></div>"
    )
    return document(f"probe {record.number}", f"Probe {record.number}", body, links)


def _list(records: Iterable[Record], prefix: str) -> str:
    rows = [
        [
            f'<a href="{escape(prefix)}/history?id={record.number}">{record.number}</a>',
            escape(timestamp(record.at)),
            escape(record.target),
            escape(record.module),
            escape(record.router),
            escape(record.node or "-"),
            escape(record.outcome.flow.destination),
            str(record.outcome.flow.source_port or "-"),
            format_duration(record.outcome.duration_seconds),
            _result(record),
            escape(record.outcome.detail),
        ]
        for record in records
    ]
    return table(_COLUMNS, rows)


def _result(record: Record) -> str:
    failure = record.outcome.failure
    if failure is None:
        return '<span class="v ok">success</span>'
    return f'<span class="v bad">{escape(failure.value)}</span>'


def _flow(record: Record) -> str:
    flow = record.outcome.flow
    return f"{flow.source or '*'} port {flow.source_port} to {flow.destination} port {flow.destination_port}"


def _links(prefix: str, *paths: str) -> str:
    return " · ".join(f'<a href="{escape(prefix)}{path}">{path}</a>' for path in paths)
