"""BGP neighbors of IOS and IOS-XE: `show bgp all summary`, `show bgp all neighbors` and their forms for a VRF. Pure.

Formats: Cisco IOS IP Routing: BGP Command Reference (show ip bgp summary, show ip bgp neighbors), and BGP
Configuration Guide, "BGP Dynamic Neighbors"; shapes compared with the captures in Cisco's genieparser
(iosxe/tests/ShowBgpAllNeighbors and others).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from routers.asn import as_asn
from routers.iosxe.text import address_of, seconds_of
from routers.jsontext import as_number, as_prefix, phrase
from routers.model import IPV4, IPV6, Session, SessionState

FAMILIES = {"IPv4 Unicast": IPV4, "IPv6 Unicast": IPV6}
_IN_VRF = {"VPNv4 Unicast": IPV4, "VPNv6 Unicast": IPV6}
BAD_PEER_AS = "Bad Peer AS"
"""The name that RFC 4271 section 4.5 gives subcode 2/2, which IOS calls `peer in wrong AS`."""

_SECTION = "For address family: "
_OWN_AS = re.compile(r"BGP router identifier \S{1,64}, local AS number (\S{1,20})")
_ENTRIES = re.compile(r"(\d{1,10}) network entries using ")
_RANGES = "listen range group members:"
_NEIGHBOR = re.compile(r"BGP neighbor is (?P<address>[^\s,]{1,80}),(?P<rest>.*)")
_VRF = re.compile(r"\bvrf (\S{1,64}?),")
_REMOTE_AS = re.compile(r"\bremote AS (\d[\d.]{0,20})")
_LOCAL_AS = re.compile(r"\blocal AS (\d[\d.]{0,20})")
_STATE = re.compile(r"BGP state = (?P<state>[A-Za-z]+)(?:, (?:up|down) for (?P<since>[\w:]+))?")
_LAST_RESET = re.compile(r"Last reset (?P<since>[\w:]+), due to (?P<why>.+)")
_COUNTED = re.compile(r"Prefixes Current: +(?:\d{1,10}|n/a) +(\d{1,10})\b")
_DENIED = re.compile(r"(?:route-map|prefix-list|filter-list|distribute-list): +(?:\d{1,10}|n/a) +(\d{1,10})")
_STATES = {state.value.lower(): state for state in SessionState} | {"closing": SessionState.IDLE}
_COLUMNS = 9  # of a summary's row in front of State/PfxRcd, the neighbor included


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the summary. `received` is None while the session is down, and `word` says then how."""

    address: str
    family: int
    remote_as: int | None
    since: str
    word: str
    received: int | None
    dynamic: bool


@dataclass(slots=True)
class Summary:
    """What a summary tells of its `families`; `entries` counts the prefixes in a table that is not empty."""

    local_as: int | None = None
    rows: list[Row] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    entries: dict[int, int] = field(default_factory=dict)
    families: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Detail:
    """A block of `show bgp ... neighbors`: one neighbor in one address family."""

    address: str
    vrf: str | None
    heading: str
    family: int | None
    dynamic: bool
    lines: list[str] = field(default_factory=list)


def summary_of(lines: Iterable[str], family: int | None = None) -> Summary | None:
    """What a summary says; None if the text is none. `family` is that of a command about one alone (of a VRF)."""
    found = Summary()
    only = family
    known, ranges, waiting = False, False, ""
    for line in lines:
        text = line.strip()
        if text.startswith(_SECTION):
            family = only or FAMILIES.get(text.removeprefix(_SECTION))
            known, ranges = True, False
        elif match := _OWN_AS.match(text):
            found.local_as = as_asn(match[1]) or found.local_as
            found.families |= {family} if family is not None else set()
            known = True
        elif match := _ENTRIES.match(text):
            if family is not None:
                found.entries[family] = int(match[1])
        elif text.endswith(_RANGES):
            ranges = True
        elif ranges and (prefix := as_prefix(text)) and "/" in text:
            found.ranges.append(str(prefix))
        elif text:
            ranges = False
            if family is not None and (row := _row(f"{waiting} {text}", family)):
                found.rows.append(row)
        waiting = text if address_of(text) else ""  # a long IPv6 address has a line of its own
    return found if known else None


def _row(text: str, family: int) -> Row | None:
    words = text.split(maxsplit=_COLUMNS)
    if len(words) <= _COLUMNS or words[1] != "4":
        return None
    address, remote_as = address_of(words[0]), as_asn(words[2])
    if address is None or remote_as is None:
        return None
    last = " ".join(words[_COLUMNS].split())
    return Row(address, family, remote_as, words[8], last, as_number(last), words[0].startswith("*"))


def details_of(lines: Iterable[str], family: int | None = None) -> list[Detail]:
    """The neighbors' blocks, in the order of the text."""
    found: list[Detail] = []
    current: Detail | None = None
    heading = ""
    for line in lines:
        match = _NEIGHBOR.match(line)
        if match:
            vrf = _VRF.search(match["rest"])
            current = None
            if address := address_of(match["address"]):
                own = vrf[1] if vrf else None
                of = family or (_IN_VRF.get(heading) if own else None)
                current = Detail(address, own, match["rest"], of, match["address"].startswith("*"))
                found.append(current)
        elif line.startswith(_SECTION):
            heading = line.strip().removeprefix(_SECTION)
            family = FAMILIES.get(heading)
            current = None
        elif current is not None:
            current.lines.append(line.strip())
    return found


def sessions_of(
    summaries: Sequence[Summary], details: Sequence[Detail], vrf: str | None, local_as: int | None, taken_at: float
) -> tuple[Session, ...]:
    """The sessions of one VRF, each from its rows and blocks in every family."""
    rows: dict[str, list[Row]] = {}
    for summary in summaries:
        for row in summary.rows:
            rows.setdefault(row.address, []).append(row)
    blocks: dict[str, list[Detail]] = {}
    for detail in details:
        if detail.vrf == vrf and detail.family is not None:
            blocks.setdefault(detail.address, []).append(detail)
    return tuple(
        _session(address, rows.get(address, []), blocks.get(address, []), local_as, taken_at)
        for address in dict.fromkeys((*rows, *blocks))
    )


def apart(summaries: Sequence[Summary], details: Sequence[Detail], vrf: str | None) -> frozenset[str]:
    """The neighbors that only one of the two answers lists: the other one was cut."""
    listed = {row.address for summary in summaries for row in summary.rows}
    described = {detail.address for detail in details if detail.vrf == vrf and detail.family is not None}
    return frozenset(listed ^ described)


def _session(address: str, rows: list[Row], blocks: list[Detail], local_as: int | None, taken_at: float) -> Session:
    heading = blocks[0].heading if blocks else ""
    lines = [line for block in blocks for line in block.lines]
    state, since = _state(rows, lines)
    up = state is SessionState.ESTABLISHED
    age = seconds_of(since) if up else None
    own = _LOCAL_AS.search(heading)
    remote = _REMOTE_AS.search(heading)
    words = {row.word for row in rows}
    dynamic = any(row.dynamic for row in rows) or any(block.dynamic for block in blocks)
    return Session(
        address=address,
        state=state,
        remote_as=as_asn(remote[1]) if remote else rows[0].remote_as if rows else None,
        local_as=as_asn(own[1]) if own else local_as,
        admin_down="Idle (Admin)" in words or any("dministratively shut down" in line for line in lines),
        dynamic=dynamic or any(line.startswith("Belongs to the subnet range group") for line in lines),
        passive=any("opened passively" in line for line in lines),
        last_error=None if up else _last_error(lines),
        established_at=None if age is None else taken_at - age,
        prefixes_received=_received(rows, blocks),
        families=_families(rows, blocks, lines, up=up),
        prefix_limit_hit="Idle (PfxCt)" in words or any("exceeded the max" in line for line in lines),
        keeps_filtered=_keeping(blocks),
        prefixes_filtered=_filtered(blocks),
    )


def _state(rows: list[Row], lines: list[str]) -> tuple[SessionState, str]:
    """The state, and since when; where two families tell of the session, the better one."""
    for line in lines:
        if (match := _STATE.match(line)) and (state := _STATES.get(match["state"].lower())):
            return state, match["since"] or ""
    told = [
        (SessionState.ESTABLISHED if row.received is not None else _word(row.word), row.since)
        for row in sorted(rows, key=lambda row: row.received is None)
    ]
    return told[0] if told else (SessionState.UNKNOWN, "")


def _word(text: str) -> SessionState:
    return _STATES.get(text.split(" ", 1)[0].lower(), SessionState.UNKNOWN)


def _last_error(lines: list[str]) -> str | None:
    for line in lines:
        if match := _LAST_RESET.match(line):
            why = phrase(match["why"])
            wrong = "wrong AS" in why or "2/2" in why or "AS number" in why
            return f"{why} ({BAD_PEER_AS})" if wrong and BAD_PEER_AS not in why else why
    return None


def _received(rows: list[Row], blocks: list[Detail]) -> Mapping[int, int]:
    counts = {row.family: row.received for row in rows if row.received is not None}
    for family, lines in _by_family(blocks):
        match = next((match for line in lines if (match := _COUNTED.match(line))), None)
        if match and family not in counts:
            counts[family] = int(match[1])
    return MappingProxyType(counts)


def _filtered(blocks: list[Detail]) -> Mapping[int, int]:
    """Prefixes that import policy denied. IOS lists only kinds of denial that there were."""
    counts: dict[int, int] = {}
    for family, lines in _by_family(blocks):
        if any(line.startswith("Local Policy Denied Prefixes") for line in lines):
            counts[family] = sum(int(match[1]) for line in lines if (match := _DENIED.match(line)))
    return MappingProxyType(counts)


def _keeping(blocks: list[Detail]) -> frozenset[int] | None:
    parts = list(_by_family(blocks))
    if not parts:
        return None
    return frozenset(
        family for family, lines in parts if any("Inbound soft reconfiguration allowed" in x for x in lines)
    )


def _by_family(blocks: list[Detail]) -> Iterator[tuple[int, list[str]]]:
    """The lines below each ` For address family: ...` within the blocks."""
    for block in blocks:
        family: int | None = None
        lines: list[str] = []
        for line in (*block.lines, f"{_SECTION}end"):
            if not line.startswith(_SECTION):
                lines.append(line)
                continue
            if family is not None:
                yield family, lines
            name = line.removeprefix(_SECTION)
            family, lines = FAMILIES.get(name) or _IN_VRF.get(name), []


def _families(rows: list[Row], blocks: list[Detail], lines: list[str], *, up: bool) -> frozenset[int] | None:
    agreed = frozenset(
        family
        for name, family in FAMILIES.items()
        if any(line.startswith(f"Address family {name}: advertised and received") for line in lines)
    )
    if up and agreed:
        return agreed
    return frozenset((*(row.family for row in rows), *(one.family for one in blocks if one.family))) or None
