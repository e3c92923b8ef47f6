"""A dashboard from its panels: variables, links, annotations, and a place on the grid for each panel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationContainer,
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
    VariableType,
)

from grafana.panels import DATASOURCE, Link
from grafana.promql import ON_PATH, named, of_exporters, select
from grafana.verdicts import RUNBOOKS

WIDTH: Final = 24
# Grafana 10.4 writes 39. Later ones read it and bring it up to date.
SCHEMA_VERSION: Final = 39
TAG: Final = "ecmp-exporter"
TITLES: Final = {
    "ecmp-overview": "ECMP / Overview",
    "ecmp-node": "ECMP / Node",
    "ecmp-target": "ECMP / Target",
    "ecmp-router": "ECMP / Router",
    "ecmp-exporter": "ECMP / Exporter",
}
_CARRIED: Final = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a row with a title; without a title they stand at the top."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """`variable` is the label that a dashboard of one node, target or router is about, and where its values are."""

    uid: str
    description: str
    sections: Sequence[Section]
    variable: tuple[str, str] | None = None  # label and metric
    annotations: Sequence[AnnotationQuery] = ()


def to(uid: str, title: str, variable: str = "", value: str = "") -> Link:
    """A link to a dashboard of these that keeps what was chosen; `value` is Grafana's name for what was clicked."""
    chosen = f"var-{variable}={value}&" if variable else ""
    return Link(title, f"/d/{uid}?{chosen}{_CARRIED}")


def runbook(value: str) -> Link:
    return Link("Runbook: what to do", f"{RUNBOOKS}/{value}.md", new_tab=True)


def verdict_changes(*matchers: str) -> AnnotationQuery:
    """Marks where paths that match got another verdict, by node and verdict; at most 20 at a time."""
    info = select("ecmp_path_verdict_info", *matchers)
    changed = f"(time() - {select('ecmp_path_verdict_since_timestamp_seconds', *matchers)} < 90)"
    return _annotation(
        "Verdict changes",
        f"topk(20, count by (node, verdict) ({named(f'({info} and {ON_PATH} {changed})')}))",
        "{{node}}: {{verdict}}",
        "orange",
    )


def node_changes() -> AnnotationQuery:
    """Marks where nodes got another verdict: of all nodes at once, for which paths would be too many to ask about."""
    info = select("ecmp_node_verdict_info")
    changed = f"(time() - {select('ecmp_node_verdict_since_timestamp_seconds')} < 90)"
    return _annotation(
        "Verdict changes",
        f"topk(20, count by (node, verdict) ({info} and on (job, instance, node) {changed}))",
        "{{node}}: {{verdict}}",
        "orange",
    )


def session_flaps(*matchers: str) -> AnnotationQuery:
    """Marks where BGP sessions went down or came up."""
    up = select("ecmp_bgp_session_up", *matchers)
    came_up = f"time() - {select('ecmp_bgp_session_established_timestamp_seconds', *matchers)} < 90"
    by = "count by (router, neighbor, node)"
    return _annotation(
        "Session flaps",
        f"topk(20, {by} (changes({up}[2m]) > 0 or ({came_up})))",
        "{{router}}: session with {{node}} {{neighbor}}",
        "purple",
    )


def restarts() -> AnnotationQuery:
    """Marks where exporters started: from then on they know anew since when their verdicts hold."""
    started = f"time() - {of_exporters(select('process_start_time_seconds'))} < 90"
    return _annotation("Exporter starts", f"topk(20, count by (instance) ({started}))", "{{instance}} started", "blue")


def render(board: Board) -> str:
    """The dashboard's JSON, the same for the same board."""
    built = (
        builders.Dashboard(TITLES[board.uid])
        .uid(board.uid)
        .description(board.description)
        .tags([TAG, "bgp", "ecmp"])
        .timezone("browser")
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .build()
    )
    built.schema_version = SCHEMA_VERSION
    built.version = 1
    built.templating.list_val = _variables(board.variable)
    built.annotations = AnnotationContainer(list(board.annotations))
    built.links = [_dashboards_link(), *_read_more()]
    built.panels = _placed(board.sections)
    found: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    found["id"] = None
    return json.dumps(_tidy(found), indent=2, ensure_ascii=False) + "\n"


def _placed(sections: Sequence[Section]) -> list[Panel | RowPanel]:
    found: list[Panel | RowPanel] = []
    top = 0
    for section in sections:
        if section.title:
            place = GridPos(x=0, y=top, w=WIDTH, h=1)
            found.append(RowPanel(title=section.title, grid_pos=place, id_val=len(found) + 1))
            top += 1
        left = height = 0
        for panel in section.panels:
            size = panel.grid_pos or GridPos()
            if left + size.w > WIDTH:
                top, left, height = top + height, 0, 0
            panel.grid_pos = GridPos(x=left, y=top, w=size.w, h=size.h)
            panel.id_val = len(found) + 1
            found.append(panel)
            left, height = left + size.w, max(height, size.h)
        top += height
    return found


def _variables(about: tuple[str, str] | None) -> list[VariableModel]:
    build = "ecmp_exporter_build_info"
    found = [
        VariableModel(
            type_val=VariableType.DATASOURCE,
            name="datasource",
            label="Data source",
            query="prometheus",
            refresh=VariableRefresh.ON_DASHBOARD_LOAD,
        ),
        _values("job", "Job", f"label_values({build}, job)", multiple=True),
        _values("instance", "Instance", f'label_values({build}{{job=~"$job"}}, instance)', multiple=True),
    ]
    if about is not None:
        label, metric = about
        found.append(_values(label, label.title(), f"label_values({select(metric)}, {label})", multiple=False))
    return found


def _values(name: str, label: str, query: str, *, multiple: bool) -> VariableModel:
    return VariableModel(
        type_val=VariableType.QUERY,
        name=name,
        label=label,
        datasource=DATASOURCE,
        query={"query": query, "refId": "StandardVariableQuery"},
        definition=query,
        refresh=VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=VariableSort.ALPHABETICAL_ASC,
        multi=multiple,
        include_all=multiple,
        all_value=".+" if multiple else None,
        current=VariableOption(selected=True, text=["All"], value=["$__all"]) if multiple else None,
    )


def _annotation(name: str, expr: str, title: str, color: str) -> AnnotationQuery:
    return AnnotationQuery(
        name=name,
        datasource=DATASOURCE,
        enable=True,
        icon_color=color,
        expr=expr,
        step="60s",
        title_format=name,
        text_format=title,
        tag_keys="node,verdict,router,instance",
    )


def _dashboards_link() -> DashboardLink:
    return DashboardLink(
        title="ECMP dashboards",
        type_val=DashboardLinkType.DASHBOARDS,
        icon="dashboard",
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )


def _read_more() -> list[DashboardLink]:
    docs = RUNBOOKS.removesuffix("/runbooks")
    places = {"Runbooks": RUNBOOKS.replace("/blob/", "/tree/"), "About these dashboards": f"{docs}/dashboards.md"}
    return [
        DashboardLink(title=title, type_val=DashboardLinkType.LINK, icon="doc", url=url, target_blank=True)
        for title, url in places.items()
    ]


def _tidy(value: Any) -> Any:
    """Without what only some versions know: the SDK would put each link and annotation into a menu of Grafana 12.3."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _tidy(item) for key, item in value.items() if (key, item) != ("placement", "inControlsMenu")}
    if kept.get("type") in {"query", "datasource"} and "name" in kept:
        kept = {key: item for key, item in kept.items() if not key.startswith("auto")}
    if "targetBlank" in kept and kept.get("type") == "link" and not kept.get("icon"):
        kept = {key: kept[key] for key in ("title", "url", "targetBlank")}
    return kept
