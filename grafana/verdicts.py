"""Verdicts in dashboards: a number for each (PromQL has no words), its word and colour, its runbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMapping, ValueMappingResult

RUNBOOKS: Final = "https://github.com/ecmp-exporter/ecmp-exporter/blob/main/docs/runbooks"

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
GREY: Final = "#8e8e8e"
BLUE: Final = "blue"


@dataclass(frozen=True, slots=True)
class Word:
    """How a verdict is shown. `rank` orders verdicts: of several the highest is shown. `alert` names its runbook."""

    rank: int
    color: str
    alert: str = ""


# What is not known ranks above ok and below what is known to be wrong, and is neither green nor red.
PATH: Final[Mapping[str, Word]] = {
    "ok": Word(1, GREEN),
    "unverified": Word(2, BLUE, "EcmpPathsUnverified"),
    "router_unknown": Word(3, GREY, "EcmpRouterUnknown"),
    "unexpected_next_hop": Word(4, "light-orange", "EcmpUnexpectedNextHop"),
    "stale_route": Word(5, ORANGE, "EcmpStaleRoute"),
    "route_unused": Word(6, "semi-dark-orange", "EcmpRouteUnused"),
    "route_not_installed": Word(7, "dark-orange", "EcmpRouteNotInstalled"),
    "route_filtered": Word(8, "dark-orange", "EcmpRouteFiltered"),
    "route_missing": Word(9, "dark-orange", "EcmpRouteMissing"),
    "service_down": Word(10, RED, "EcmpPathServiceDown"),
    "blackhole": Word(11, RED, "EcmpPathBlackhole"),
    "session_down": Word(12, RED, "EcmpBgpSessionDown"),
    "neighbor_missing": Word(13, "dark-red", "EcmpNeighborMissing"),
    "node_down": Word(14, "dark-red", "EcmpNodeDown"),
}
UNKNOWN: Final = ("unverified", "router_unknown")

# Of nodes and of targets.
SUMMARY: Final[Mapping[str, Word]] = {
    "ok": Word(1, GREEN),
    "degraded": Word(2, ORANGE),
    "unreachable": Word(3, RED),
}


def words(of: Mapping[str, Word]) -> list[ValueMapping]:
    """Turns ranks back into words."""
    return [_mapping({str(word.rank): (verdict, word.color) for verdict, word in of.items()})]


def colors(of: Mapping[str, Word]) -> list[ValueMapping]:
    """Colours for verdicts that are words already, as labels in a table are."""
    return [_mapping({verdict: (verdict, word.color) for verdict, word in of.items()})]


def either(no: str, no_color: str, yes: str, yes_color: str) -> list[ValueMapping]:
    """Words for 0 and 1."""
    return [_mapping({"0": (no, no_color), "1": (yes, yes_color)})]


def _mapping(texts: Mapping[str, tuple[str, str]]) -> ValueMap:
    return ValueMap(
        {
            value: ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )
