"""Every PromQL expression of the committed dashboards, with their variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

DIRECTORY: Final = Path(__file__).parents[2] / "grafana" / "dashboards"
# What Grafana itself fills in; a caller's variables may name others. Four scrapes of 15 s are its $__rate_interval.
GLOBALS: Final[Mapping[str, str]] = MappingProxyType(
    {"__rate_interval": "1m", "__interval": "15s", "__range": "1h", "job": ".+", "instance": ".+"}
)
# Panels that have nothing to show while all is well, by dashboard and title, and a fault of the rehearsal network
# (lab/faults.py), on leviathan3, under which they have. $node is leviathan3 then, and $target web-v6: of that target
# the lab has everything, also flows that were followed from before a change of next hops.
NEEDS_FAULT: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("ecmp-overview", "Which node is broken, since when, and why"): "neighbor_missing",
        ("ecmp-overview", "Which target is hurt"): "neighbor_missing",
        ("ecmp-target", "Flows moved by the last change of next hops"): "neighbor_missing",
        ("ecmp-node", "Failures by reason"): "blackhole",
        ("ecmp-target", "Failures by reason"): "blackhole",
        ("ecmp-exporter", "Failed probes by reason"): "blackhole",
    }
)
_NO_NAME: Final = "the lab's targets are addresses, and it has no name server"
_NO_TLS: Final = "the lab's servers speak no TLS"
_NOT_SSH: Final = "$target is not an SSH server, and without TLS nothing else of it is compared"
# Panels that the rehearsal network never has anything for, and why.
NOT_IN_LAB: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("ecmp-target", "DNS"): _NO_NAME,
        ("ecmp-target", "Look-ups by resolver"): _NO_NAME,
        ("ecmp-target", "Look-up time"): _NO_NAME,
        ("ecmp-target", "Addresses of the name"): _NO_NAME,
        ("ecmp-overview", "Names with a mismatch"): _NO_NAME,
        ("ecmp-overview", "Certificates: days left"): _NO_TLS,
        ("ecmp-overview", "Certificates that expire first"): _NO_TLS,
        ("ecmp-target", "Certificate: days left"): _NO_TLS,
        ("ecmp-target", "TLS sessions"): _NO_TLS,
        ("ecmp-target", "What the last answers show"): "two of its columns are about TLS and about servers to compare",
        (
            "ecmp-overview",
            "Targets with unlike servers",
        ): "its SSH servers are single, and nothing else can be compared",
        ("ecmp-target", "Unlike servers"): _NOT_SSH,
        ("ecmp-target", "Unlike servers over time"): _NOT_SSH,
        ("ecmp-target", "SSH servers"): _NOT_SSH,
    }
)
_VARIABLE: Final = re.compile(r"\$([A-Za-z_]\w*)|\$\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query as a panel asks it: at one moment if `instant`, else over the time that the dashboard shows."""

    dashboard: str
    panel: str
    ref: str
    expression: str
    instant: bool

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.dashboard, self.panel, self.ref)

    @property
    def needs_fault(self) -> str | None:
        """The fault without which there is nothing to show; None if there always is, or never in the lab."""
        return NEEDS_FAULT.get((self.dashboard, self.panel))

    @property
    def not_in_lab(self) -> str | None:
        """Why the lab has nothing to show here; None if it has."""
        return NOT_IN_LAB.get((self.dashboard, self.panel))


@cache
def dashboards() -> Mapping[str, Mapping[str, Any]]:
    """The committed dashboards by uid."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("*.json")))
    return {one["uid"]: one for one in found}


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel but the rows, those inside collapsed rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def panel_queries(variables: Mapping[str, str]) -> tuple[PanelQuery, ...]:
    """Every query of every panel. KeyError if one uses a variable that is neither given nor in GLOBALS."""
    return tuple(
        PanelQuery(uid, panel["title"], target["refId"], fill(target["expr"], variables), bool(target.get("instant")))
        for uid, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    )


def annotation_queries(variables: Mapping[str, str]) -> tuple[PanelQuery, ...]:
    """Every query that marks events; they have data only where something happened."""
    return tuple(
        PanelQuery(uid, one["name"], "annotation", fill(one["expr"], variables), instant=False)
        for uid, dashboard in dashboards().items()
        for one in dashboard["annotations"]["list"]
    )


def fill(text: str, variables: Mapping[str, str]) -> str:
    """The text with `$name` and `${name}` replaced as Grafana does."""
    known = {**GLOBALS, **variables}
    return _VARIABLE.sub(lambda found: known[found[1] or found[2]], text)
