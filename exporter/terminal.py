"""What a person sees in a terminal: tables of verdicts and of routers, with rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.durations import format_duration
from exporter.status import NodeStatus, PathStatus, RouterStatus, Status, TargetStatus
from exporter.verdicts import Summary, Verdict
from routers.model import NextHop, OracleFlow, Snapshot

_STYLE = {"ok": "green", "unverified": "yellow", "degraded": "yellow", "router_unknown": "yellow"}
_WIDTH_IN_PIPE = 160


def console(*, stderr: bool = False) -> Console:
    """A console that does not fold tables to 80 columns when its output goes into a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDTH_IN_PIPE, highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """A document on standard output."""
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


def show_status(out: Console, status: Status) -> None:
    """Nodes, targets and paths, then why each path that is not ok is so, and what mends it."""
    out.print(_nodes(status.nodes, status.generated_at))
    out.print(_targets(status.targets))
    out.print(_paths(status.paths))
    for router in status.routers:
        if router.error is not None:
            out.print(Text.assemble((f"router {router.name}: ", "bold red"), router.error))
    for target in status.targets:
        if target.dns_problem is not None:
            out.print(Text.assemble((f"target {target.name}: ", "bold red"), target.dns_problem))
    show_reasons(out, [path for path in status.paths if path.verdict is not Verdict.OK or path.differs])


def show_reasons(out: Console, paths: Iterable[PathStatus]) -> None:
    """The evidence behind verdicts, equal ones of several paths said once, each remedy under it."""
    said: dict[tuple[str, str | None], list[PathStatus]] = {}
    for path in paths:
        said.setdefault((path.reason, path.remedy), []).append(path)
    for (reason, remedy), group in said.items():
        names = ", ".join(dict.fromkeys(path.target for path in group))
        who = group[0].node or group[0].next_hop or "?"
        out.print()
        out.print(Text.assemble(_verdict(group[0].verdict), (f" {who}", "bold"), f" ({names})"))
        out.print(Text(f"  why:  {reason}"))
        if remedy is not None:
            out.print(Text("  type: on the router"))
            for line in remedy.splitlines():
                out.print(Text(f"          {line}", style="cyan"))


def show_routers(out: Console, routers: Iterable[RouterStatus], snapshots: dict[str, Snapshot | None]) -> None:
    """Neighbors, routes and FIB as parsed."""
    for router in routers:
        state = "up" if router.up else "down"
        out.print(Text.assemble((f"{router.name} ", "bold"), f"({router.platform}) is {state}"))
        if router.error is not None:
            out.print(Text(f"  {router.error}", style="red"))
        snapshot = snapshots.get(router.name)
        if snapshot is not None:
            _show_snapshot(out, router, snapshot)


def show_flows(out: Console, flows: Mapping[OracleFlow, NextHop | None]) -> None:
    """The next hop that a router says each flow takes."""
    table = _table("flow", "next hop")
    for flow, hop in flows.items():
        ends = [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in _ends(flow)]
        told = "not told" if hop is None else f"{hop.address or 'on link'} dev {hop.interface or '?'}"
        _add(table, f"{flow.protocol} {ends[0]} to {ends[1]}", told)
    out.print(table)


def _ends(flow: OracleFlow) -> tuple[tuple[str, int], tuple[str, int]]:
    return (flow.source, flow.source_port), (flow.destination, flow.destination_port)


def _show_snapshot(out: Console, router: RouterStatus, snapshot: Snapshot) -> None:
    sessions = _table("neighbor", "node", "state", "remote AS", "prefixes", "last error")
    for session, node in router.sessions:
        prefixes = ", ".join(f"IPv{family}: {count}" for family, count in sorted(session.prefixes_received.items()))
        state = f"{session.state}{' (shut down)' if session.admin_down else ''}"
        remote = "" if session.remote_as is None else str(session.remote_as)
        _add(sessions, session.address, node or "", state, remote, prefixes, session.last_error or "")
    routes = _table("VIP", "peer", "next hops", "used", "why not")
    for vip, heard in snapshot.routes.items():
        for route in heard:
            used = "filtered" if route.filtered else {True: "yes", False: "no", None: "not told"}[route.used]
            stale = " (stale)" if route.stale else ""
            why = route.unused_reason or ""
            _add(routes, vip, route.peer or "this router", ", ".join(route.next_hops), used + stale, why)
    fib = _table("VIP", "prefix", "next hops")
    for vip, entry in snapshot.fib.items():
        hops = [f"{hop.address or 'on link'} dev {hop.interface or '?'}" for hop in entry.next_hops] if entry else []
        _add(fib, vip, entry.prefix if entry else "no route but a default one", "\n".join(hops))
    policies = ", ".join(f"IPv{family}: {policy}" for family, policy in sorted(snapshot.hash_policy.items()))
    out.print(sessions, routes, fib)
    if policies:
        out.print(f"multipath hash: {policies}")


def _add(table: Table, *cells: str) -> None:
    """A row of what a router said, which moves no cursor and changes no colour."""
    table.add_row(*(Text("".join(one if one.isprintable() or one == "\n" else "?" for one in cell)) for cell in cells))


def _nodes(nodes: Iterable[NodeStatus], now: float) -> Table:
    table = _table("node", "address", "verdict", "paths ok", "direct check", "since")
    for node in nodes:
        direct = {True: "answers", False: "silent", None: "not made"}[node.direct]
        paths = f"{node.paths_ok} of {node.paths_expected}"
        since = format_duration(max(0.0, now - node.since))
        table.add_row(node.name, node.address, _verdict(node.verdict), paths, direct, since)
    return table


def _targets(targets: Iterable[TargetStatus]) -> Table:
    table = _table("target", "address", "verdict", "expected", "announced", "installed", "exercised", "ok")
    for target in targets:
        if not target.vips:
            table.add_row(target.name, f"{target.address}:{target.port}", _verdict(target.verdict), *["?"] * 5)
        for stage in target.stages:
            counts = [stage.expected, stage.announced, stage.installed, stage.exercised, stage.ok]
            shown = ["?" if count is None else str(count) for count in counts]
            where = f"[{stage.vip}]" if ":" in stage.vip else stage.vip
            table.add_row(target.name, f"{where}:{target.port}", _verdict(target.verdict), *shown)
    return table


def _paths(paths: Iterable[PathStatus]) -> Table:
    table = _table("target", "VIP", "node", "next hop", "verdict", "probe", "steering")
    for path in paths:
        result = path.result
        if result is None:
            probe = "-"
        elif result.success:
            probe = format_duration(result.duration_seconds)
        else:
            probe = str(result.failure)
        steering = "-" if result is None else f"{result.method} {result.confidence:.2f}"
        table.add_row(
            path.target, path.vip, path.node or "-", path.next_hop or "-", _verdict(path.verdict), probe, steering
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _verdict(verdict: Verdict | Summary) -> Text:
    return Text(verdict.value, style=_STYLE.get(verdict.value, "red"))
