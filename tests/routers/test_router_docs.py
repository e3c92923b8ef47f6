"""docs/routers.md and a page for each platform: what a user has to know before pointing the exporter at a router."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.config import PLATFORMS_LATER
from routers.platforms import PLATFORMS

DOCS = Path(__file__).parents[2] / "docs"
OVERVIEW = DOCS / "routers.md"
SECTIONS = ("Tested on", "Least privilege", "Cannot tell")
ALL = sorted({*PLATFORMS, *PLATFORMS_LATER})


def rows() -> dict[str, list[str]]:
    """Platform -> the cells of its row in the table."""
    lines = re.findall(r"^\| `([a-z]+)` \|(.*)\|$", OVERVIEW.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}


def test_the_table_names_every_platform_once_and_no_other() -> None:
    assert list(rows()) == ALL


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_the_row_says_what_the_program_does(platform: str) -> None:
    _, transports, tested, oracle, *_, privilege = rows()[platform]
    assert {one.strip() for one in transports.split(",")} == PLATFORMS[platform].TRANSPORTS
    assert any(word in tested for word in ("real", "captures", "documentation"))
    assert (oracle.startswith("none")) == (PLATFORMS[platform].ORACLE is None)
    assert privilege == f"[{platform}](routers/{platform}.md#least-privilege)"


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_every_platform_has_a_page(platform: str) -> None:
    text = (DOCS / "routers" / f"{platform}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    for section in SECTIONS:
        assert section in headings, f"docs/routers/{platform}.md has no section {section!r}"


def test_no_page_is_about_nothing() -> None:
    """A page of a platform that the overview does not know is out of reach."""
    assert {path.stem for path in (DOCS / "routers").glob("*.md")} <= set(ALL)


@pytest.mark.parametrize("path", sorted([OVERVIEW, *(DOCS / "routers").glob("*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        place = (path.parent / target).resolve()
        pending = place.parent == DOCS / "routers" and place.stem in PLATFORMS_LATER
        assert place.exists() or pending, f"{path.name} leads to {target}"
