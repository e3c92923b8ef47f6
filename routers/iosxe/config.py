"""What a running configuration of IOS says of ECMP: path limits, listen ranges, multipath-relax. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from routers.jsontext import as_prefix
from routers.model import IPV4, IPV6

_FAMILY = re.compile(r"address-family ipv(?P<family>[46])(?: unicast)?(?: vrf (?P<vrf>\S{1,64}))?")
_LIMIT = re.compile(r"maximum-paths (?P<kind>ibgp |eibgp )?(?P<limit>\d{1,4})\b.*")
_RANGE = re.compile(r"bgp listen range (\S{1,60}) peer-group .*")
_DEFAULT_LIMIT = 1  # Cisco IOS IP Routing: BGP Command Reference, maximum-paths


@dataclass(slots=True)
class Configuration:
    """Empty and `relaxed` None where the user may not see it."""

    limits: dict[int, dict[str, int]] = field(default_factory=dict)  # family -> "ibgp" or "ebgp" -> paths
    ranges: list[str] = field(default_factory=list)
    relaxed: bool | None = None

    @property
    def lowest(self) -> dict[str, int]:
        """The limits that hold for every family."""
        found: dict[str, int] = {}
        for limits in self.limits.values():
            for kind, limit in limits.items():
                found[kind] = min(limit, found.get(kind, limit))
        return found


def configuration_of(lines: Iterable[str] | None, vrf: str | None, families: Iterable[int]) -> Configuration:
    """The settings of one VRF; what stands before any address family counts for IPv4 in the default one."""
    found = Configuration()
    here: tuple[int, str | None] | None = None
    for text in map(str.strip, lines or ()):
        if text.startswith("router bgp "):
            here = (IPV4, None)
            found.relaxed = bool(found.relaxed)
            found.limits = {family: {"ebgp": _DEFAULT_LIMIT, "ibgp": _DEFAULT_LIMIT} for family in families}
        elif here is None:
            continue
        elif match := _FAMILY.fullmatch(text):
            here = (IPV6 if match["family"] == "6" else IPV4, match["vrf"])
        elif text.startswith("address-family "):
            here = (0, None)
        elif text == "exit-address-family":
            here = (IPV4, None)
        elif text == "bgp bestpath as-path multipath-relax":
            found.relaxed = True
        elif (match := _LIMIT.fullmatch(text)) and here[1] == vrf and here[0] in found.limits:
            kinds = {"ibgp ": ("ibgp",), "eibgp ": ("ibgp", "ebgp")}.get(match["kind"] or "", ("ebgp",))
            found.limits[here[0]].update(dict.fromkeys(kinds, int(match["limit"])))
        elif (match := _RANGE.fullmatch(text)) and here[1] == vrf and (prefix := as_prefix(match[1])):
            found.ranges.append(str(prefix))
    return found
