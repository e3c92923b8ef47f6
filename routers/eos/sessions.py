"""BGP neighbors of Arista EOS: summaries and details as JSON, peer groups and configuration as text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.asn import as_asn
from routers.jsontext import as_address, as_dict, as_int, as_list, as_prefix, as_text, phrase
from routers.model import IPV4, IPV6, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_VRF = "default"
NO_BGP = "BGP inactive"  # what EOS answers where it has no `router bgp`

_VRF = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_FAMILIES = {"ipv4Unicast": IPV4, "ipv6Unicast": IPV6}
_STATES = {state.value.lower(): state for state in SessionState}
_OLDEST = 1_000_000_000.0  # seconds since the epoch; a smaller time is not one
_CLOCKS_DIFFER = 86_400.0
_NOTIFICATION = re.compile(r"\s*Last (?:sent|rcvd) (?:notification|socket-error):([^,]{1,200})")
_WRONG_AS = re.compile(r"bad (?:peer )?as\b", re.IGNORECASE)
_MEMBER = re.compile(r"\s+(\S{2,64}), state: \w+")
_RANGE = re.compile(r"\s+([0-9A-Fa-f.:]{2,45}/\d{1,3}),? ?.*")


def vrf_name(vrf: str | None) -> str:
    """The name by which EOS knows a VRF. Raises ValueError for what is none: it goes into commands."""
    name = vrf or DEFAULT_VRF
    if _VRF.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a VRF")
    return name


@dataclass(slots=True)
class Configuration:
    """What the running configuration says of one VRF's BGP. `known`: it could be read; `runs`: BGP is configured."""

    known: bool = False
    runs: bool = False
    maximum_paths: int | None = None
    relaxed: bool | None = None
    ranges: list[str] = field(default_factory=list)
    shut: set[str] = field(default_factory=set)
    passive: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)  # neighbor -> its peer group

    def says(self, names: set[str], neighbor: str) -> bool:
        """Whether a neighbor itself or its peer group is among those that a setting names."""
        return neighbor in names or self.groups.get(neighbor, neighbor) in names


@dataclass(slots=True)
class PeerGroups:
    """Of one VRF: the listen ranges, and the neighbors that came from them."""

    ranges: list[str] = field(default_factory=list)
    members: set[str] = field(default_factory=set)


def configuration_of(text: str | None, vrf: str) -> Configuration:
    """The `router bgp` section as far as it concerns a VRF; lines of a VRF stand below its name, deeper indented."""
    found = Configuration(known=text is not None)
    in_vrf, vrf_depth = DEFAULT_VRF, 0
    for line in (text or "").splitlines():
        words = line.split()
        depth = len(line) - len(line.lstrip())
        if words[:2] == ["router", "bgp"]:
            found.runs, in_vrf, vrf_depth = True, DEFAULT_VRF, 0
        elif words[:1] == ["vrf"] and len(words) == 2:  # noqa: PLR2004  (the word and the name)
            in_vrf, vrf_depth = words[1], depth
        elif in_vrf != DEFAULT_VRF and depth <= vrf_depth:
            in_vrf = DEFAULT_VRF
        if in_vrf == vrf and words:
            _setting(words, found)
    if found.known and found.runs and found.relaxed is None:
        found.relaxed = True  # EOS's default
    return found


def _setting(words: list[str], found: Configuration) -> None:
    match words:
        case ["maximum-paths", paths, *_] if re.fullmatch(r"[0-9]{1,4}", paths):
            found.maximum_paths = int(paths)
        case ["no", "bgp", "bestpath", "as-path", "multipath-relax"]:
            found.relaxed = False
        case ["bgp", "listen", "range", prefix, *_] if network := as_prefix(prefix):
            found.ranges.append(str(network))
        case ["neighbor", name, "shutdown", *_]:
            found.shut.add(_name(name))
        case ["neighbor", name, "passive"] | ["neighbor", name, "transport", "connection-mode", "passive"]:
            found.passive.add(_name(name))
        case ["neighbor", name, "peer", "group", group] | ["neighbor", name, "peer-group", group]:
            found.groups[_name(name)] = group
        case _:
            pass


def _name(text: str) -> str:
    """A neighbor's address in its one spelling; the name of a peer group as it is."""
    return as_address(text) or text


def peer_groups_of(text: str, vrf: str) -> PeerGroups:
    """`show bgp peer-group`: below each of two headings the VRFs, and below each of them its entries."""
    found = PeerGroups()
    heading, in_vrf = "", ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("BGP peer-group"):
            heading, in_vrf = "", ""
        elif stripped in ("Listen-range subnets:", "Dynamic peer-group members:"):
            heading, in_vrf = stripped, ""
        elif stripped.startswith("VRF ") and stripped.endswith(":"):
            in_vrf = stripped[4:-1]
        elif in_vrf == vrf and heading.startswith("Listen") and (match := _RANGE.fullmatch(line)):
            found.ranges += [str(network)] if (network := as_prefix(match[1])) else []
        elif in_vrf == vrf and heading.startswith("Dynamic") and (match := _MEMBER.fullmatch(line)):
            found.members |= {address} if (address := as_address(match[1])) else set()
    return found


def errors_of(text: str) -> str | None:
    """The last notifications and socket errors that `show bgp neighbors ADDRESS` tells, newest kinds first."""
    found = [match[1].strip() for line in text.splitlines() if (match := _NOTIFICATION.match(line))]
    shown = phrase("; ".join(dict.fromkeys(one for one in found if one)))
    if not shown:
        return None
    wrong_as = _WRONG_AS.search(shown) and "bad peer as" not in shown.lower()
    return f"{shown} (Bad Peer AS)" if wrong_as else shown


def peers_of(summary: Mapping[str, Any], vrf: str) -> dict[str, dict[str, Any]] | None:
    """Address -> row of `show ip bgp summary`; None when the answer does not hold the VRF."""
    peers = as_dict(as_dict(summary.get("vrfs")).get(vrf)).get("peers")
    if not isinstance(peers, dict):
        return None
    return {address: as_dict(row) for peer, row in peers.items() if (address := as_address(peer))}


def details_of(detail: Mapping[str, Any], vrf: str) -> dict[str, dict[str, Any]] | None:
    """Address -> row of `show bgp neighbors`; None when the answer does not hold the VRF."""
    rows = as_dict(as_dict(detail.get("vrfs")).get(vrf)).get("peerList")
    if not isinstance(rows, list):
        return None
    return {address: as_dict(row) for row in as_list(rows) if (address := as_address(as_dict(row).get("peerAddress")))}


@dataclass(frozen=True, slots=True)
class Told:
    """All that EOS said of the neighbors of one VRF, by address; `errors` are the phrases of `errors_of`."""

    rows: Mapping[int, Mapping[str, dict[str, Any]]]
    details: Mapping[str, dict[str, Any]]
    errors: Mapping[str, str]
    groups: PeerGroups
    configuration: Configuration
    local_as: int | None
    taken_at: float

    def sessions(self) -> Iterator[Session]:
        """A session for each neighbor that any of the answers names."""
        addresses = dict.fromkeys((*(peer for rows in self.rows.values() for peer in rows), *self.details))
        return map(self._session, addresses)

    def _session(self, address: str) -> Session:
        rows = {family: rows[address] for family, rows in self.rows.items() if address in rows}
        row, detail = next(iter(rows.values()), {}), self.details.get(address, {})
        state = _STATES.get((as_text(row.get("peerState")) or as_text(detail.get("state")) or "").lower())
        up = state is SessionState.ESTABLISHED
        idle = f"{row.get('peerStateIdleReason') or ''} {detail.get('idleReason') or ''}".lower()
        return Session(
            address=address,
            state=state or SessionState.UNKNOWN,
            remote_as=as_asn(row.get("asn", detail.get("asn"))),
            local_as=as_asn(detail.get("localAsn")) or self.local_as,
            admin_down=not up and ("admin" in idle or self.configuration.says(self.configuration.shut, address)),
            dynamic=address in self.groups.members,
            passive=self.configuration.says(self.configuration.passive, address),
            last_error=None if up else self._last_error(address, row, detail),
            established_at=self._since(row) if up else None,
            prefixes_received=_counts(rows, "prefixReceived"),
            families=self._negotiated(detail) if up and detail else frozenset(rows) or None,
            prefix_limit_hit="maxpath" in idle or "maximum" in idle,
            prefixes_filtered=_dropped(rows),
            router_id=_identifier(detail.get("routerId")) if up else None,
        )

    def _last_error(self, address: str, row: Mapping[str, Any], detail: Mapping[str, Any]) -> str | None:
        hints = (detail.get("establishFailHint"), detail.get("idleReason"), row.get("peerStateIdleReason"))
        hint = next((phrase(text) for text in map(as_text, hints) if text), None)
        return "; ".join(dict.fromkeys(text for text in (self.errors.get(address), hint) if text)) or None

    def _since(self, row: Mapping[str, Any]) -> float | None:
        """`upDownTime` is the time of the last change, in seconds since the epoch."""
        since = row.get("upDownTime")
        if isinstance(since, bool) or not isinstance(since, int | float):
            return None
        return float(since) if _OLDEST <= since <= self.taken_at + _CLOCKS_DIFFER else None

    @staticmethod
    def _negotiated(detail: Mapping[str, Any]) -> frozenset[int] | None:
        offers = as_dict(as_dict(detail.get("neighborCapabilities")).get("multiprotocolCaps"))
        if not offers:
            return None
        return frozenset(f for name, f in _FAMILIES.items() if as_dict(offers.get(name)).get("enabled") is True)


def _identifier(value: object) -> str | None:
    """A BGP identifier; 0.0.0.0 stands where none was heard."""
    address = as_address(value)
    return None if address == "0.0.0.0" else address  # noqa: S104  (compared, not bound)


def _counts(rows: Mapping[int, Mapping[str, Any]], key: str) -> Mapping[int, int]:
    counts = {family: as_int(row.get(key)) for family, row in rows.items()}
    return MappingProxyType({family: count for family, count in counts.items() if count is not None})


def _dropped(rows: Mapping[int, Mapping[str, Any]]) -> Mapping[int, int]:
    received, accepted = _counts(rows, "prefixReceived"), _counts(rows, "prefixAccepted")
    return MappingProxyType({f: max(0, received[f] - accepted[f]) for f in received if f in accepted})
