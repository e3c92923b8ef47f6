"""The table of paths that the dashboards of a node and of a target share."""

from __future__ import annotations

from typing import Literal

from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import runbook, to
from grafana.panels import Column, Look, Query, table_panel
from grafana.promql import ON_PATH, select, since, with_runbook, worst_path
from grafana.verdicts import GREEN, PATH, RED, colors, either


def paths_table(about: str, *, columns_for: Literal["node", "target"]) -> Panel:
    """A row for each path that matches `about`, the worst first, with why, since when and what to do."""
    labels = "instance, target, vip, port, router, node, next_hop, verdict"
    by = f"by ({labels})"
    verdict = f"{select('ecmp_path_verdict_info', about)} * {ON_PATH} group_left ()"
    queries = [
        f"{with_runbook(f'max {by} ({since(about)})')} * 1000",
        worst_path(labels, about),
        f"max {by} ({verdict} {select('ecmp_path_up', about)})",
        f"max {by} ({verdict} {select('ecmp_path_last_success_timestamp_seconds', about)}) * 1000",
    ]
    look = Look(
        "Paths",
        "Each path, by exporter: the verdict, since when, the last probe, and when one last succeeded. No probe: no "
        "flow is known to take the path. The runbook tells what to type.",
        "short",
        (24, 10),
    )
    other = (
        Column("target", "Target", links=[to("ecmp-target", "This target", "target", "${__value.raw}")])
        if columns_for == "node"
        else Column("node", "Node", links=[to("ecmp-node", "This node", "node", "${__value.raw}")])
    )
    columns = [
        other,
        Column("verdict", "Verdict", mappings=colors(PATH)),
        Column("Value #A", "Since", "dateTimeFromNow"),
        Column("vip", "VIP"),
        Column("port", "Port", width=80),
        Column("router", "Router", links=[to("ecmp-router", "This router", "router", "${__value.raw}")]),
        Column("next_hop", "Next hop"),
        Column("Value #C", "Last probe", "none", mappings=either("failed", RED, "worked", GREEN), width=110),
        Column("Value #D", "Last success", "dateTimeFromNow"),
        Column("runbook", "Runbook", links=[runbook("${__value.raw}")]),
        Column("instance", "Exporter"),
        Column("Value #B", "Rank", "short", width=70),
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="Rank", descending=True)
