"""Links lead to dashboards and variables that there are, and to this project's own pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.grafana.queries import dashboards, panels

DOCS = "https://github.com/ecmp-exporter/ecmp-exporter/blob/main/docs"
# What Grafana puts into a link to say what was clicked.
CLICKED = re.compile(r"\$\{(__value\.raw|__field\.name|__field\.labels\.\w+|__data\.fields\.\w+)\}")
CARRIED = {"${datasource:queryparam}", "${job:queryparam}", "${instance:queryparam}", "${__url_time_range}"}

each = pytest.mark.parametrize("uid", sorted(dashboards()))


@each
def test_links_to_dashboards_keep_what_was_chosen_and_set_variables_that_there_are(uid: str) -> None:
    for url in _urls(dashboards()[uid]):
        if not url.startswith("/"):
            continue
        place, _, query = url.partition("?")
        destination = dashboards()[place.removeprefix("/d/")]
        known = {one["name"] for one in destination["templating"]["list"]}
        parts = set(query.split("&"))
        assert parts >= CARRIED, url
        for part in parts - CARRIED:
            name, _, value = part.partition("=")
            assert name.removeprefix("var-") in known, url
            assert CLICKED.fullmatch(value), url


@each
def test_other_links_are_to_the_documentation(uid: str) -> None:
    for url in _urls(dashboards()[uid]):
        if url.startswith("/"):
            continue
        assert url.startswith((f"{DOCS}/", f"{DOCS.replace('/blob/', '/tree/')}/")), url
        name = url.rpartition("/")[2].removesuffix(".md")
        assert CLICKED.fullmatch(name) or name in {"dashboards", "runbooks"}, url


@each
def test_a_link_by_a_column_names_a_column(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        columns = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        for url in _strings(panel["fieldConfig"], "url"):
            assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= columns, panel["title"]


@each
def test_each_dashboard_leads_to_the_others(uid: str) -> None:
    menu = next(one for one in dashboards()[uid]["links"] if one["type"] == "dashboards")
    assert all(set(menu["tags"]) <= set(one["tags"]) for one in dashboards().values())
    assert menu["includeVars"]
    assert menu["keepTime"]


def test_the_overview_leads_to_each_kind_and_to_runbooks() -> None:
    urls = list(_urls(dashboards()["ecmp-overview"]))
    for uid in dashboards().keys() - {"ecmp-overview"}:
        assert any(url.startswith(f"/d/{uid}?") for url in urls), uid
    assert any(url == f"{DOCS}/runbooks/${{__value.raw}}.md" for url in urls)


def _urls(dashboard: Any) -> Iterator[str]:
    return (url for url in _strings(dashboard, "url") if url)


def _strings(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == key and isinstance(item, str):
                yield item
            else:
                yield from _strings(item, key)
