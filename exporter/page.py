"""The status page: one HTML document from one status, without scripts. Everything shown is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from exporter.durations import format_duration
from exporter.status import NodeStatus, PathStatus, RouterStatus, Status, TargetStatus, relevant
from exporter.steering_status import SteeringStatus
from exporter.verdicts import Summary, Verdict

_REFRESH_SECONDS = 5
_NOT_STRONGER = "why none stronger"
_CALM = {"ok": "ok", "unverified": "warn", "router_unknown": "warn", "degraded": "warn"}

_STYLE = """
:root{color-scheme:light dark;--line:#d5d9e0;--dim:#667085;--card:#fff;--page:#f5f6f8;--ink:#1c2330;
--ok:#177245;--warn:#a15c00;--bad:#c0262d}
@media(prefers-color-scheme:dark){:root{--line:#333b4a;--dim:#98a2b3;--card:#1b212c;--page:#12161d;--ink:#e6e9ef;
--ok:#4cc38a;--warn:#f0b429;--bad:#ff6b6b}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
header,main,footer{max-width:1440px;margin:0 auto;padding:0 20px}header{padding-top:24px}
h1{font-size:20px;margin:0}h2{font-size:15px;margin:28px 0 8px;color:var(--dim);font-weight:600}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:12px 0}
.card.bad{border-left:5px solid var(--bad)}.card.warn{border-left:5px solid var(--warn)}
.card.ok{border-left:5px solid var(--ok)}.card p{margin:4px 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:8px 12px;vertical-align:top;white-space:nowrap}
th{color:var(--dim);font-weight:600;font-size:13px}tr+tr td,thead+tbody td{border-top:1px solid var(--line)}
td.wide{white-space:normal;min-width:320px}.v{font-weight:600}.ok .v,.v.ok{color:var(--ok)}
.v.warn{color:var(--warn)}.v.bad{color:var(--bad)}.dim{color:var(--dim)}
pre{background:var(--page);border:1px solid var(--line);border-radius:6px;padding:8px 12px;overflow-x:auto}
a{color:inherit}footer{padding:24px 20px;color:var(--dim)}
"""


def render(status: Status, prefix: str, ready: bool) -> str:
    """The whole page; `prefix` stands before the links to the exporter's own paths."""
    wrong = [path for path in relevant(status.paths) if path.verdict is not Verdict.OK]
    body = [
        _headline(status, ready),
        *(_problem(group, status.generated_at) for group in _grouped(wrong)),
        *(_name_problem(target) for target in status.targets if target.dns_problem is not None),
        "<h2>Nodes and targets</h2>",
        _matrix(status),
        "<h2>Next hops</h2>",
        _targets(status.targets),
        "<h2>Steering</h2>",
        _steering(status.steering),
        "<h2>Paths</h2>",
        _paths(status.paths, status.generated_at),
        "<h2>Routers</h2>",
        _routers(status.routers, status.generated_at),
    ]
    links = " · ".join(
        f'<a href="{escape(prefix)}{path}">{path}</a>'
        for path in ("/history", "/metrics", "/api/v1/status", "/api/v1/events", "/config")
    )
    footer = f"{links} · version {escape(status.version)}"
    return document(_title(status), "ecmp-exporter", "".join(body), footer, refresh=True)


def document(title: str, heading: str, body: str, footer: str, *, refresh: bool = False) -> str:
    """A whole page; `body` and `footer` are HTML already."""
    again = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if refresh else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{again}'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{escape(heading)}</h1></header><main>{body}</main><footer>{footer}</footer></body></html>"
    )


def _title(status: Status) -> str:
    bad = [node.name for node in status.nodes if node.verdict is not Summary.OK]
    return f"{len(bad)} of {len(status.nodes)} nodes not ok" if bad else "all nodes ok"


def _headline(status: Status, ready: bool) -> str:
    if not ready:
        return '<div class="card warn"><p class="v">The first round has not ended yet.</p></div>'
    bad = [node for node in status.nodes if node.verdict is not Summary.OK]
    if not bad and status.all_ok:
        good = f"All {len(status.nodes)} nodes can be reached on every path."
        return f'<div class="card ok"><p class="v">{good}</p></div>'
    said = "; ".join(f"{node.name} is {node.verdict.value}" for node in bad) or "Some paths are not ok"
    kind = "bad" if any(node.verdict is Summary.UNREACHABLE for node in bad) else "warn"
    return f'<div class="card {kind}"><p class="v {kind}">{escape(said)}</p></div>'


def _grouped(paths: Iterable[PathStatus]) -> list[list[PathStatus]]:
    groups: dict[tuple[str | None, Verdict, str | None], list[PathStatus]] = {}
    for path in paths:
        groups.setdefault((path.node or path.next_hop, path.verdict, path.remedy), []).append(path)
    return list(groups.values())


def _problem(group: list[PathStatus], now: float) -> str:
    first = group[0]
    targets = ", ".join(dict.fromkeys(path.target for path in group))
    age = format_duration(max(0.0, now - min(path.since for path in group)))
    remedy = f"<p>Type on {escape(first.router)}:</p><pre>{escape(first.remedy)}</pre>" if first.remedy else ""
    return (
        f'<div class="card {_kind(first.verdict.value)}"><p>{_verdict(first.verdict.value)} '
        f'<b>{escape(first.node or first.next_hop or "")}</b> <span class="dim">for {escape(targets)}, '
        f"since {age}</span></p><p>{escape(first.reason)}</p>{remedy}</div>"
    )


def _name_problem(target: TargetStatus) -> str:
    verdict = _verdict(target.verdict.value)
    return (
        f'<div class="card {_kind(target.verdict.value)}"><p>{verdict} <b>{escape(target.name)}</b> '
        f'<span class="dim">DNS</span></p><p>{escape(target.dns_problem or "")}</p></div>'
    )


def _matrix(status: Status) -> str:
    verdicts: dict[tuple[str, str], list[str]] = {}
    for path in status.paths:
        if path.node is not None:
            verdicts.setdefault((path.node, path.target), []).append(path.verdict.value)
    rows = [_node_row(node, status, verdicts) for node in status.nodes]
    return table(["node", "address", "verdict", "direct check", *(target.name for target in status.targets)], rows)


def _node_row(node: NodeStatus, status: Status, verdicts: dict[tuple[str, str], list[str]]) -> list[str]:
    direct = {True: "answers", False: "silent", None: "not made"}[node.direct]
    cells = [f"<b>{escape(node.name)}</b>", escape(node.address), _verdict(node.verdict.value), direct]
    for target in status.targets:
        found = dict.fromkeys(verdicts.get((node.name, target.name), ()))
        cells.append(" ".join(_verdict(verdict) for verdict in found) or '<span class="dim">-</span>')
    return cells


def _targets(targets: Iterable[TargetStatus]) -> str:
    rows = []
    for target in targets:
        if not target.vips:
            where = escape(f"{target.address}:{target.port}")
            rows.append([f"<b>{escape(target.name)}</b>", where, _verdict(target.verdict.value), *["?"] * 5])
        for stage in target.stages:
            where = f"[{stage.vip}]" if ":" in stage.vip else stage.vip
            numbers = (stage.expected, stage.announced, stage.installed, stage.exercised, stage.ok)
            rows.append(
                [
                    f"<b>{escape(target.name)}</b>",
                    escape(f"{where}:{target.port}"),
                    _verdict(target.verdict.value),
                    *("?" if number is None else str(number) for number in numbers),
                ]
            )
    return table(["target", "VIP", "verdict", "expected", "announced", "installed", "exercised", "ok"], rows)


def _steering(found: Iterable[SteeringStatus]) -> str:
    rows = []
    for one in found:
        where = f"[{one.vip}]" if ":" in one.vip else one.vip
        several = len(one.hops) > 1
        sure = [hop.confidence for hop in one.hops if hop.sources and hop.confidence > 0]
        rows.append(
            [
                escape(one.target),
                escape(f"{where}:{one.port}"),
                escape(one.router),
                escape(one.method),
                f"{min(sure):.2f}" if sure else "-",
                f"{len(sure)} of {len(one.hops)}",
                escape(one.hashing.replace("_", " ")) if several else "-",
                _spread(one) if several else "-",
                f'<span class="dim">{escape(one.why_not_stronger)}</span>',
            ]
        )
    columns = ["target", "VIP", "router", "method", "confidence", "with flows", "hashes on", "spread", _NOT_STRONGER]
    return table(columns, rows)


def _spread(one: SteeringStatus) -> str:
    if one.polarised is None:
        return '<span class="dim">too few flows</span>'
    return '<span class="v warn">polarised</span>' if one.polarised else "even"


def _paths(paths: Iterable[PathStatus], now: float) -> str:
    rows = []
    for path in paths:
        result = path.result
        steering = f"{result.method} {result.confidence:.2f}" if result is not None else "-"
        rows.append(
            [
                escape(path.target),
                escape(path.vip),
                escape(path.node or "-"),
                escape(path.next_hop or "-"),
                _verdict(path.verdict.value),
                format_duration(max(0.0, now - path.since)),
                escape(steering),
                escape(path.reason),
            ]
        )
    return table(["target", "VIP", "node", "next hop", "verdict", "since", "steering", "why"], rows)


def _routers(routers: Iterable[RouterStatus], now: float) -> str:
    rows = []
    for router in routers:
        age = "never" if router.taken_at is None else f"{format_duration(max(0.0, now - router.taken_at))} ago"
        state = '<span class="v ok">up</span>' if router.up else '<span class="v bad">down</span>'
        rows.append([escape(router.name), escape(router.platform), state, age, escape(router.error or "")])
    return table(["router", "platform", "state", "tables read", "trouble"], rows)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Cells are HTML already; the last column of a wide table may wrap."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    wide = columns[-1] in ("why", "trouble", _NOT_STRONGER)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=wide' if wide and position == len(row) - 1 else ''}>{cell}</td>"
            for position, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _verdict(text: str) -> str:
    return f'<span class="v {_kind(text)}">{escape(text)}</span>'


def _kind(text: str) -> str:
    return _CALM.get(text, "bad")
