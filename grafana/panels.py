"""Panels of Grafana's core, each with what the tests of these dashboards ask for: title, description, unit, queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.models import common, prometheus
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides,
    DashboardLink,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    FieldConfig,
    FieldConfigSource,
    GridPos,
    MatcherConfig,
    Panel,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMapping,
)

DATASOURCE: Final = common.DataSourceRef("prometheus", "${datasource}")
Steps = Sequence[tuple[float | None, str]]
# Points over the time shown: one a minute in six hours. More would ask Prometheus for ten thousand series too often.
_POINTS: Final = 360
PLAIN: Final[Steps] = ((None, "text"),)


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel; `legend` may name labels."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    title: str
    url: str
    new_tab: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What is the same for all panels. `size` is width, of 24, and height; without a `unit` values are words."""

    title: str
    description: str
    unit: str
    size: tuple[int, int]
    mappings: Sequence[ValueMapping] = ()
    steps: Steps = PLAIN
    links: Sequence[Link] = ()
    no_value: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    decimals: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `field` as the query calls it, a label or `Value #A`; `name` as the reader sees it."""

    field: str
    name: str
    unit: str = "string"
    mappings: Sequence[ValueMapping] = ()
    steps: Steps = ()
    links: Sequence[Link] = ()
    width: int | None = None


def stat_panel(look: Look, queries: Sequence[Query], *, graph: bool = False) -> Panel:
    """The value of now, large, and on its colour if its value says one."""
    colored = look.mappings or look.steps is not PLAIN
    builder = (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.AREA if graph else common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.BACKGROUND if colored else common.BigValueColorMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )
    return _dress(builder.build(), look, queries, instant=not graph)


def bars_panel(look: Look, queries: Sequence[Query]) -> Panel:
    """A bar for each series, as it is now."""
    builder = (
        bargauge.Panel()
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )
    return _dress(builder.build(), look, queries, instant=True)


def lines_panel(look: Look, queries: Sequence[Query], *, stacked: bool = False) -> Panel:
    mode = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    builder = (
        timeseries.Panel()
        .max_data_points(_POINTS)
        .line_width(1)
        .fill_opacity(40 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(StackingConfig().mode(mode))
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    panel = _dress(builder.build(), look, queries)
    if look.steps is PLAIN:
        _defaults(panel).color = FieldColor(FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    return panel


def timeline_panel(look: Look, queries: Sequence[Query]) -> Panel:
    """A row for each series, a colour and a word for each value."""
    builder = (
        statetimeline.Panel()
        .max_data_points(_POINTS)
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.85)
        .fill_opacity(85)
        .line_width(0)
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE).sort(common.SortOrder.NONE))
    )
    return _dress(builder.build(), look, queries)


def heatmap_panel(look: Look, query: Query) -> Panel:
    """A histogram over time; the query returns a series for each bucket, by `le`."""
    builder = (
        heatmap.Panel()
        .max_data_points(_POINTS)
        .calculate(False)
        .cell_gap(1)
        .show_value(common.VisibilityMode.NEVER)
        .show_legend()
    )
    panel = _dress(builder.build(), look, [query], form=prometheus.PromQueryFormat.HEATMAP)
    options = panel.options
    if isinstance(options, heatmap_model.Options):
        options.y_axis.unit = look.unit
        options.cell_values = heatmap_model.CellValues(unit="reqps")
    return panel


def table_panel(
    look: Look, columns: Sequence[Column], queries: Sequence[Query], *, sort: str, descending: bool = False
) -> Panel:
    """The queries' rows joined on the labels that they share; only `columns` are shown, in this order."""
    builder = (
        table.Panel()
        .filterable(True)
        .cell_height(common.TableCellHeight.SM)
        .sort_by([TableSortByFieldState().display_name(sort).desc(descending)])
    )
    panel = _dress(builder.build(), look, queries, instant=True, form=prometheus.PromQueryFormat.TABLE)
    only = {"include": {"names": [column.field for column in columns]}}
    organize = {
        "excludeByName": {},
        "indexByName": {column.field: index for index, column in enumerate(columns)},
        "renameByName": {column.field: column.name for column in columns if column.field != column.name},
    }
    joined = [DataTransformerConfig("merge", options={})] if len(queries) > 1 else []
    panel.transformations = [
        *joined,
        DataTransformerConfig("filterFieldsByName", options=only),
        DataTransformerConfig("organize", options=organize),
    ]
    _overrides(panel, {column.name: column_properties(column) for column in columns})
    return panel


def matrix_panel(look: Look, row: str, column: str, query: Query, *, row_links: Sequence[Link]) -> Panel:
    """A row for each value of one label, a column for each of another, and the query's value where they meet."""
    panel = _dress(
        table.Panel().filterable(False).cell_height(common.TableCellHeight.SM).min_width(110).build(),
        look,
        [query],
        instant=True,
        form=prometheus.PromQueryFormat.TABLE,
    )
    corner = f"{row}\\{column}"
    panel.transformations = [
        DataTransformerConfig(
            "groupingToMatrix",
            options={"columnField": column, "rowField": row, "valueField": "Value", "emptyValue": "null"},
        ),
        DataTransformerConfig("sortBy", options={"fields": {}, "sort": [{"field": corner, "desc": False}]}),
    ]
    custom = _defaults(panel).custom
    if isinstance(custom, common.TableFieldOptions):
        custom.cell_options = common.TableColoredBackgroundCellOptions(common.TableCellBackgroundDisplayMode.BASIC)
    plain = {"type": common.TableCellDisplayMode.AUTO}
    _overrides(
        panel,
        {corner: [DynamicConfigValue("custom.cellOptions", plain), DynamicConfigValue("links", _links(row_links))]},
    )
    return panel


def column_properties(column: Column) -> list[DynamicConfigValue]:
    found = [DynamicConfigValue("unit", column.unit)]
    if column.mappings:
        found.append(DynamicConfigValue("mappings", list(column.mappings)))
    if column.steps:
        found.append(DynamicConfigValue("thresholds", _thresholds(column.steps)))
    if column.mappings or column.steps:
        background = {"type": common.TableCellDisplayMode.COLOR_BACKGROUND, "mode": "basic"}
        found.append(DynamicConfigValue("custom.cellOptions", background))
    if column.links:
        found.append(DynamicConfigValue("links", _links(column.links)))
    if column.width is not None:
        found.append(DynamicConfigValue("custom.width", column.width))
    return found


def _dress(
    panel: Panel,
    look: Look,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    form: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> Panel:
    panel.title = look.title
    panel.description = look.description
    panel.datasource = DATASOURCE
    panel.grid_pos = GridPos(w=look.size[0], h=look.size[1])
    panel.targets = [
        prometheus.Dataquery(
            datasource=DATASOURCE,
            expr=query.expr,
            legend_format=query.legend or "__auto",
            ref_id="ABCDEFGHIJ"[index],
            instant=instant,
            range_val=not instant,
            format_val=form,
        )
        for index, query in enumerate(queries)
    ]
    defaults = _defaults(panel)
    defaults.unit = look.unit
    defaults.mappings = list(look.mappings) or None
    defaults.thresholds = _thresholds(look.steps)
    defaults.color = FieldColor(FieldColorModeId.THRESHOLDS)
    defaults.links = [DashboardLink(title=one.title, url=one.url, target_blank=one.new_tab) for one in look.links]
    defaults.no_value = look.no_value
    defaults.min_val = look.minimum
    defaults.max_val = look.maximum
    defaults.decimals = look.decimals
    return panel


def _defaults(panel: Panel) -> FieldConfig:
    if panel.field_config is None:
        panel.field_config = FieldConfigSource()
    return panel.field_config.defaults


def _overrides(panel: Panel, properties: Mapping[str, list[DynamicConfigValue]]) -> None:
    if panel.field_config is None:
        panel.field_config = FieldConfigSource()
    panel.field_config.overrides = [
        DashboardFieldConfigSourceOverrides(matcher=MatcherConfig("byName", name), properties=values)
        for name, values in properties.items()
    ]


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return ThresholdsConfig(ThresholdsMode.ABSOLUTE, [Threshold(value, color) for value, color in steps])


def _links(links: Sequence[Link]) -> list[dict[str, object]]:
    return [{"title": one.title, "url": one.url, "targetBlank": one.new_tab} for one in links]
