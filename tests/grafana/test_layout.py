"""What a dashboard's JSON must be for Grafana 10.4 to 12 to take it, from a file or by import."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.grafana.queries import DIRECTORY, dashboards, panels

UIDS = ("ecmp-exporter", "ecmp-node", "ecmp-overview", "ecmp-router", "ecmp-target")
ABOUT = {"ecmp-node": ["node"], "ecmp-target": ["target"], "ecmp-router": ["router"]}
WIDTH = 24
# Of Grafana's core, in each version from 10.4 on.
PANELS = {"bargauge", "heatmap", "row", "stat", "state-timeline", "table", "timeseries"}
TRANSFORMATIONS = {"filterFieldsByName", "groupingToMatrix", "merge", "organize", "sortBy"}

each = pytest.mark.parametrize(
    "dashboard", [dashboards()[uid] for uid in sorted(dashboards())], ids=sorted(dashboards())
)
Json = Mapping[str, Any]


def test_the_dashboards_are_those_that_alerts_and_provisioning_name() -> None:
    assert tuple(sorted(dashboards())) == UIDS
    assert sorted(path.stem for path in DIRECTORY.glob("*.json")) == list(UIDS)
    assert len({one["title"] for one in dashboards().values()}) == len(UIDS)


@each
def test_it_can_be_provisioned_and_imported(dashboard: Json) -> None:
    assert dashboard["id"] is None
    assert dashboard.keys().isdisjoint({"__inputs", "__requires", "__elements"})
    assert "DS_" not in str(dashboard)
    assert dashboard["schemaVersion"] == 39
    assert "ecmp-exporter" in dashboard["tags"]
    assert dashboard["timezone"] == "browser"
    assert re.fullmatch(r"\d+[sm]", dashboard["refresh"])
    assert dashboard["time"] == {"from": "now-6h", "to": "now"}
    assert dashboard["description"]


@each
def test_its_variables_are_those_that_links_set(dashboard: Json) -> None:
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names == ["datasource", "job", "instance", *ABOUT.get(dashboard["uid"], [])]


@each
def test_ids_and_titles_are_unique(dashboard: Json) -> None:
    ids = Counter(panel["id"] for panel in _everything(dashboard))
    titles = Counter(panel["title"] for panel in _everything(dashboard))
    assert [one for one, count in (ids + titles).items() if count > 1] == []


@each
def test_panels_cover_the_grid_once(dashboard: Json) -> None:
    places = [panel["gridPos"] for panel in _everything(dashboard)]
    cells = Counter(
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    bottom = max(y for _, y in cells) + 1
    assert cells == Counter((x, y) for x in range(WIDTH) for y in range(bottom))


@each
def test_only_what_grafana_has_in_its_core_is_used(dashboard: Json) -> None:
    assert {panel["type"] for panel in _everything(dashboard)} <= PANELS
    used = {step["id"] for panel in panels(dashboard) for step in panel.get("transformations", ())}
    assert used <= TRANSFORMATIONS
    assert not any(panel.get("repeat") or panel.get("libraryPanel") for panel in _everything(dashboard))


@each
def test_every_data_source_is_the_variable(dashboard: Json) -> None:
    sources = [value for key, value in _entries(dashboard) if key == "datasource"]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@each
def test_what_only_grafana_12_3_knows_is_left_out(dashboard: Json) -> None:
    assert "inControlsMenu" not in str(dashboard)


@each
def test_queries_have_letters_of_their_own(dashboard: Json) -> None:
    for panel in panels(dashboard):
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]
        assert all(target["instant"] != target["range"] for target in panel["targets"]), panel["title"]


def test_the_first_screen_says_who_why_and_what_to_do() -> None:
    """Below 13 rows of the grid nothing is seen on a small screen without scrolling."""
    first = [
        panel for panel in panels(dashboards()["ecmp-overview"]) if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= 13
    ]
    titles = [panel["title"] for panel in first]
    assert titles[0] == "Nodes unreachable"
    broken = next(panel for panel in first if panel["type"] == "table")
    names = [override["matcher"]["options"] for override in broken["fieldConfig"]["overrides"]]
    assert names == ["Node", "State", "Why", "Since", "Paths ok", "Targets", "Seen by", "Runbook"]


def _everything(dashboard: Json) -> list[Json]:
    found: list[Json] = dashboard["panels"]
    return found


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _entries(item)
