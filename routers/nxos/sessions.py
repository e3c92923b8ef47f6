"""BGP neighbors of NX-OS: `show bgp ... neighbors` and `summary` as JSON, the configuration as text. Pure.

Field names: Cisco Nexus 9000 Series NX-OS Show Command Reference, 9.3(x), `show bgp neighbors`, and captures in napalm
(test/nxos/mocked_data).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.asn import as_asn
from routers.jsontext import as_address, as_prefix, as_text, phrase
from routers.model import IPV4, IPV6, Session, SessionState
from routers.nxos.cli import first, number, rows, truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_VRF = "default"

_VRF = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_FAMILIES = {"ipv4 unicast": IPV4, "ipv6 unicast": IPV6}
_STATES = {state.value.lower(): state for state in SessionState} | {
    "shut": SessionState.IDLE,
    "admin": SessionState.IDLE,
}
_WRONG_AS = re.compile(r"\bbad (?:remote|peer)[- ]as\b", re.IGNORECASE)
_DATE = r"P(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?"
_TIME = r"(?:T(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})S)?)?"
_ISO = re.compile(_DATE + _TIME)
_CLOCK = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2})")
_SHORT = re.compile(r"(?:([0-9]{1,4})y)?(?:([0-9]{1,4})w)?(?:([0-9]{1,4})d)?(?:([0-9]{1,4})h)?")
_HOUR, _DAY = 3600, 86_400


def vrf_name(vrf: str | None) -> str:
    """The name by which NX-OS knows a VRF. Raises ValueError for what is none: it goes into commands."""
    name = vrf or DEFAULT_VRF
    if _VRF.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a VRF")
    return name


@dataclass(slots=True)
class Configuration:
    """What the running configuration says of one VRF's BGP."""

    known: bool = False
    maximum_paths: dict[int, dict[str, int]] = field(default_factory=lambda: {IPV4: {}, IPV6: {}})
    relaxed: bool | None = None
    ranges: list[str] = field(default_factory=list)

    def limits(self) -> dict[str, int]:
        """The lowest limit of both families, by kind of session."""
        found: dict[str, int] = {}
        for family in self.maximum_paths.values():
            for kind, limit in family.items():
                found[kind] = min(limit, found.get(kind, limit))
        return found


def configuration_of(text: str | None, vrf: str) -> Configuration:
    """The lines of `show running-config bgp` that concern a VRF; those of another VRF stand below its name."""
    found = Configuration(known=bool(text and re.search(r"^router bgp ", text, re.MULTILINE)))
    in_vrf, vrf_depth, family = DEFAULT_VRF, 0, 0
    for line in (text or "").splitlines():
        words, depth = line.split(), len(line) - len(line.lstrip())
        if words[:1] == ["vrf"] and len(words) == 2:  # noqa: PLR2004  (the word and the name)
            in_vrf, vrf_depth, family = words[1], depth, 0
        elif in_vrf != DEFAULT_VRF and words and depth <= vrf_depth:
            in_vrf = DEFAULT_VRF
        if in_vrf != vrf:
            continue
        match words:
            case ["address-family", version, "unicast"]:
                family = {"ipv4": IPV4, "ipv6": IPV6}.get(version, 0)
            case ["maximum-paths", *kind, limit] if family and re.fullmatch(r"[0-9]{1,4}", limit):
                kinds = {"ibgp": ["ibgp"], "mixed": ["ebgp", "ibgp"], "eibgp": ["ebgp", "ibgp"]}.get(
                    kind[0] if kind else "", ["ebgp"]
                )
                found.maximum_paths[family] |= dict.fromkeys(kinds, int(limit))
            case ["bestpath", "as-path", "multipath-relax"]:
                found.relaxed = True
            case ["neighbor", prefix, *_] if "/" in prefix and (network := as_prefix(prefix)):
                found.ranges.append(str(network))
            case _:
                pass
    if found.known and found.relaxed is None:
        found.relaxed = False
    return found


Summary = dict[str, dict[int, dict[str, Any]]]
"""Address -> family -> row."""


def summary_of(table: Mapping[str, Any] | None, vrf: str) -> tuple[int | None, Summary] | None:
    """The local AS and the rows of `show bgp ... summary`; None when it does not name the VRF."""
    here = [row for row in rows(table, "vrf") if first(row, "vrf-name-out", "vrf-name") == vrf]
    if not here:
        return None
    found: Summary = {}
    for family_row in (row for one in here for row in rows(one, "saf")):
        family = _FAMILIES.get((as_text(family_row.get("af-name")) or "").lower())
        for row in rows(family_row, "neighbor") if family else ():
            if family and (address := as_address(row.get("neighborid"))):
                found.setdefault(address, {})[family] = row
    return next((one for row in here if (one := as_asn(row.get("vrf-local-as")))), None), found


@dataclass(slots=True)
class Details:
    """`show bgp ... neighbors`: rows by address, and the ranges of prefix peers."""

    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)


def details_of(table: Mapping[str, Any] | None) -> Details | None:
    """None without a table of neighbors."""
    found = Details()
    neighbors = rows(table, "neighbor")
    for row in neighbors:
        if network := as_prefix(first(row, "ipv4prefixneighbor", "ipv6prefixneighbor")):
            found.ranges.append(str(network))
            continue
        # An interface peer (unnumbered) is known by the address at its other end.
        keys = ("neighbor", "ipv6neighbor", "remoteaddr", "ipv6remoteaddr")
        address = next((one for key in keys if (one := as_address(row.get(key)))), None)
        if address is not None:
            found.peers[address] = row
    return found if neighbors else None


@dataclass(frozen=True, slots=True)
class Told:
    """All that NX-OS said of the neighbors of one VRF, by address."""

    summary: Mapping[str, Mapping[int, dict[str, Any]]]
    details: Mapping[str, dict[str, Any]]
    local_as: int | None
    taken_at: float

    def sessions(self) -> Iterator[Session]:
        """A session for each neighbor that either answer names."""
        return map(self._session, dict.fromkeys((*self.details, *self.summary)))

    def _session(self, address: str) -> Session:
        detail, in_families = self.details.get(address, {}), self.summary.get(address, {})
        row = next(iter(in_families.values()), {})
        shown = (as_text(detail.get("state")) or as_text(row.get("state")) or "").lower()
        state = _STATES.get(re.split(r"[ (]", shown.strip(), maxsplit=1)[0], SessionState.UNKNOWN)
        up = state is SessionState.ESTABLISHED
        per_family = {family: one for one in rows(detail, "persaf") if (family := _family(one, "per-af-name"))}
        keeps = frozenset(f for f, one in per_family.items() if truth(one.get("insoftreconfigallowed")))
        return Session(
            address=address,
            state=state,
            remote_as=as_asn(detail.get("remoteas", row.get("neighboras"))),
            local_as=as_asn(detail.get("localas")) or self.local_as,
            admin_down="admin" in shown,
            dynamic="prefix-parent" in detail or "ipv6prefix-parent" in detail,
            passive=truth(detail.get("passiveonly")) is True,
            last_error=None if up else _last_error(shown, detail),
            established_at=self._since(detail, row) if up else None,
            prefixes_received=_counts(per_family, in_families),
            families=_negotiated(detail) if up and detail else frozenset((*per_family, *in_families)) or None,
            prefix_limit_hit=not up and ("pfx" in shown or "prefix" in shown or _limit_hit(detail)),
            keeps_filtered=keeps if per_family else None,
            router_id=_identifier(detail.get("remote-id")) if up else None,
        )

    def _since(self, detail: Mapping[str, Any], row: Mapping[str, Any]) -> float | None:
        seconds = seconds_of(as_text(detail.get("elapsedtime")) or as_text(row.get("time")))
        return None if seconds is None else self.taken_at - seconds


def _identifier(value: object) -> str | None:
    """A BGP identifier; 0.0.0.0 stands where none was heard."""
    address = as_address(value)
    return None if address == "0.0.0.0" else address  # noqa: S104  (compared, not bound)


def _family(row: Mapping[str, Any], key: str) -> int | None:
    return _FAMILIES.get((as_text(row.get(key)) or "").lower())


def _negotiated(detail: Mapping[str, Any]) -> frozenset[int] | None:
    offers = {family: one for one in rows(detail, "saf") if (family := _family(one, "af-name"))}
    if not offers:
        return None
    return frozenset(f for f, one in offers.items() if truth(one.get("af-advertised")) and truth(one.get("af-recvd")))


def _counts(per_family: Mapping[int, dict[str, Any]], in_families: Mapping[int, dict[str, Any]]) -> Mapping[int, int]:
    counts = {family: number(row.get("prefixreceived")) for family, row in in_families.items()}
    counts |= {family: number(row["pfxrecvd"]) for family, row in per_family.items() if "pfxrecvd" in row}
    return MappingProxyType({family: count for family, count in counts.items() if count is not None})


def _reasons(detail: Mapping[str, Any]) -> list[str]:
    shown = (as_text(detail.get(key)) for key in ("resetreason", "peerresetreason"))
    return [phrase(text) for text in shown if text and text.lower() != "no error"]


def _limit_hit(detail: Mapping[str, Any]) -> bool:
    return any("maximum" in one.lower() and "prefix" in one.lower() for one in _reasons(detail))


def _last_error(shown: str, detail: Mapping[str, Any]) -> str | None:
    inside = shown.partition("(")[2].rpartition(")")[0]
    parts = [*_reasons(detail), *([phrase(inside)] if inside and inside != "admin" else [])]
    text = "; ".join(dict.fromkeys(parts))
    if not text:
        return None
    wrong_as = _WRONG_AS.search(text) and "bad peer as" not in text.lower()
    return f"{text} (Bad Peer AS)" if wrong_as else text


def seconds_of(text: str | None) -> float | None:
    """A duration: PT34M9S, 00:03:35, 1d04h, 6w3d; None for `never` and what is none."""
    if not text:
        return None
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(int, match.groups())
        return float(hours * _HOUR + minutes * 60 + seconds)
    if (match := _ISO.fullmatch(text)) and any(match.groups()):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float((weeks * 7 + days) * _DAY + hours * _HOUR + minutes * 60 + seconds)
    if (match := _SHORT.fullmatch(text)) and any(match.groups()):
        years, weeks, days, hours = (int(part or 0) for part in match.groups())
        return float((years * 365 + weeks * 7 + days) * _DAY + hours * _HOUR)
    return None
