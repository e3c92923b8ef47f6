"""Routes, forwarding and link neighbors of IOS and IOS-XE: `show bgp .. P`, `show ip cef P detail`, ARP and ND. Pure.

Formats: Cisco IOS IP Routing: BGP Command Reference (show ip bgp), IP Switching Command Reference (show ip cef),
IPv6 Command Reference; shapes compared with the captures in Cisco's genieparser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from routers.asn import as_asn
from routers.iosxe.text import address_of, interface_of, mac_of
from routers.jsontext import Prefix, as_number, as_prefix
from routers.model import FibEntry, LinkNeighbor, NextHop, RemedyKind, Route
from routers.selection import Attributes, Candidate, Multipath, explained

_ENTRY = re.compile(r"\s{0,16}BGP routing table entry for (?P<name>\S{1,120}), version \d")
_DISTINGUISHER = re.compile(r"^(?:\[[\d.:]{1,40}\]|[\d.]{1,20}:\d{1,10}:(?=\d{1,3}(?:\.\d{1,3}){3}/))")
_AVAILABLE = re.compile(r"Paths: \((\d{1,5}) available")
_RIB_FAILURE = re.compile(r"RIB-failure\((\d{1,3})\)")
_IDLE = frozenset({"unusable:", "repair"})  # Cisco IOS IP Routing: BGP, BGP PIC Edge for IP and MPLS-VPN
_NEXT_HOP = re.compile(r"\s+(?P<first>\S{1,80})(?P<between>[^\n]{0,200}?) from (?P<peer>\S{1,80}) \(")
_METRIC = re.compile(r"\(metric (\d{1,10})\)")
_IN_PARENTHESES = re.compile(r"\(([0-9A-Fa-f:.]{2,60})\)")
_FIELD = {
    "weight": re.compile(r"\bweight (\d{1,10})\b"),
    "localpref": re.compile(r"\blocalpref (\d{1,10})\b"),
    "metric": re.compile(r"\bmetric (\d{1,10})\b"),
    "origin": re.compile(r"\bOrigin (\w{1,12})\b"),
}
_DROPPED = {"drop": "blackhole", "discard": "blackhole", "null": "blackhole", "attached to null0": "blackhole"}
_ARP = re.compile(r"Internet +(\S{1,40}) +(?:\d{1,10}|-) +(\S{1,20})(?: +\S{1,12}(?: +(\S{1,60}))?)?")
_ND = re.compile(r"([0-9A-Fa-f:]{2,60}) +(?:\d{1,10}|-) +(\S{1,20}) +([A-Z]{3,12}) +(\S{1,60})")
_TABLE = re.compile(r"\s{0,8}(?:Protocol +Address|IPv6 Address) ")
_RELAX = "as-path multipath-relax"
_NOBODY = frozenset({"0.0.0.0", "::"})  # noqa: S104  (the peer of the router's own routes)


@dataclass(slots=True)
class Path:
    """One path of an entry: the line with its AS path, that of its next hop, and the attributes below."""

    as_path: str
    match: re.Match[str]
    attributes: str = ""

    @property
    def received_only(self) -> bool:
        """Kept for soft reconfiguration, as it came: import policy changed or dropped it."""
        return "(received-only)" in self.as_path


@dataclass(slots=True)
class Entry:
    """A prefix of the BGP table with its paths."""

    prefix: Prefix
    failure: str | None = None
    available: int = 0
    paths: list[Path] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """As many paths as its heading counts could be read, the last one to its attributes."""
        return 0 < self.available <= len(self.paths) and bool(self.paths[-1].attributes)


def entries_of(lines: Iterable[str]) -> list[Entry]:
    """The entries of `show bgp ... P` or `show bgp ... detail`; those whose prefix cannot be read are left out."""
    found: list[Entry] = []
    current: Entry | None = None
    before = ""
    for line in lines:
        if match := _ENTRY.match(line):
            prefix = as_prefix(_DISTINGUISHER.sub("", match["name"], count=1))
            current = Entry(prefix) if prefix else None
            if current is not None:
                found.append(current)
        elif current is not None:
            _take(current, line, before)
        before = line
    return found


def _take(entry: Entry, line: str, before: str) -> None:
    text = line.strip()
    if text.startswith("Paths: ("):
        available = _AVAILABLE.match(text)
        entry.available = int(available[1]) if available else 0
        failure = _RIB_FAILURE.search(text)
        entry.failure = failure[1] if failure else None
    elif text.startswith("Origin ") and entry.paths:
        entry.paths[-1].attributes = entry.paths[-1].attributes or text
    elif (match := _NEXT_HOP.match(line)) and address_of(match["peer"]):
        entry.paths.append(Path(before.strip(), match))


def covering(vip: str, prefixes: Iterable[Prefix], *, default_routes: bool) -> Prefix | None:
    """The longest of the prefixes that covers a VIP; a default route only where it counts."""
    address = ipaddress.ip_address(vip)
    shortest = 0 if default_routes else 1
    return max(
        (one for one in prefixes if one.version == address.version and one.prefixlen >= shortest and address in one),
        key=lambda one: one.prefixlen,
        default=None,
    )


def routes_of(
    vip: str, entries: Sequence[Entry], multipath: Multipath, *, default_routes: bool
) -> tuple[Route, ...] | None:
    """The routes of the longest prefix that covers a VIP, filtered ones last; None where its entry is cut."""
    longest = covering(vip, (entry.prefix for entry in entries), default_routes=default_routes)
    chosen = [entry for entry in entries if entry.prefix == longest]
    if not chosen:
        return ()
    entry = chosen[0]
    if not entry.whole:
        return None
    accepted = [path for path in entry.paths if not path.received_only]
    heard = {_peer(path) for path in accepted}
    filtered = [path for path in entry.paths if path.received_only and _peer(path) not in heard]
    candidates = [_candidate(entry, path) for path in accepted]
    routes = zip(explained(candidates, multipath), candidates, strict=True)
    best = next((one for one in candidates if one.route.best), None)
    return (
        *(_corrected(route, one, best, entry, multipath) for route, one in routes),
        *(_filtered(entry, path) for path in filtered),
    )


def _corrected(route: Route, candidate: Candidate, best: Candidate | None, entry: Entry, multipath: Multipath) -> Route:
    """A route with what keeps it out on IOS, where it looks as good as the best one.

    With another AS path no load is shared, even by way of the same neighbor AS (Cisco, "BGP Best Path Selection
    Algorithm", BGP multipath).
    """
    if route.mended_by is not RemedyKind.PATH_LIMIT or best is None:
        return route
    if failure := _rib_failure(entry):
        return replace(route, unused_reason=failure, mended_by=None)
    ours, theirs = candidate.attributes.as_path, best.attributes.as_path
    if multipath.relaxed or ours is None or theirs is None or ours == theirs:
        return route
    why = f"different AS path ({' '.join(ours)} against {' '.join(theirs)}), which multipath allows only with {_RELAX}"
    return replace(route, unused_reason=why, mended_by=RemedyKind.AS_PATH_RELAX)


def _peer(path: Path) -> str | None:
    peer = address_of(path.match["peer"])
    return None if peer in _NOBODY else peer


def _next_hops(path: Path) -> tuple[str, ...]:
    """The next hop, and in parentheses behind it the link-local address that IPv6 is forwarded by."""
    texts = (*_IN_PARENTHESES.findall(path.match["between"]), path.match["first"])
    hops = dict.fromkeys(hop for text in texts if (hop := address_of(text)) and hop not in _NOBODY)
    return tuple(hops)


def _filtered(entry: Entry, path: Path) -> Route:
    return Route(str(entry.prefix), _peer(path), _next_hops(path), used=False, filtered=True)


def _candidate(entry: Entry, path: Path) -> Candidate:
    flags = {word.strip().partition("(")[0] for word in path.attributes.split(",")}
    reachable = "(inaccessible)" not in path.match["between"]
    valid = "valid" in flags and reachable
    best = "best" in flags
    used = valid and (best or "multipath" in flags)
    route = Route(
        prefix=str(entry.prefix),
        peer=_peer(path),
        next_hops=_next_hops(path),
        valid=valid,
        best=best,
        used=used,
        stale="(stale)" in path.as_path or "stale" in flags or "(stale)" in path.attributes,
        unused_reason=_rib_failure(entry) if used else None,
    )
    obstacle = None
    if not valid:
        obstacle = "not valid" if reachable else f"next hop {', '.join(route.next_hops)} cannot be resolved"
    return Candidate(route, _attributes(path, flags), obstacle)


def _rib_failure(entry: Entry) -> str | None:
    return None if entry.failure is None else f"RIB-failure({entry.failure}): the routing table took another route"


def _attributes(path: Path, flags: set[str]) -> Attributes:
    text = path.as_path.partition(",")[0].strip()  # `64513, (received & used)`, `64513, imported path from ...`
    told = {key: match[1] for key, pattern in _FIELD.items() if (match := pattern.search(path.attributes))}
    metric = _METRIC.search(path.match["between"])
    internal = True if "internal" in flags else False if "external" in flags else None
    known = text == "Local" or all(as_asn(word.strip("(){},")) is not None for word in text.split())
    return Attributes(
        weight=as_number(told.get("weight")) or 0,
        local_preference=as_number(told.get("localpref")),
        as_path=None if not known or not text else () if text == "Local" else tuple(text.split()),
        origin=told.get("origin"),
        med=as_number(told.get("metric")) or 0,
        internal=internal,
        igp_metric=as_number(metric[1]) if metric else None,
    )


def fib_of(lines: Iterable[str]) -> list[tuple[Prefix, FibEntry | None]]:
    """The entries of `show ip cef`, with `detail` or without; None for a prefix that CEF has no route for."""
    found: list[tuple[Prefix, list[str]]] = []
    for line in lines:
        word = line.split(",", 1)[0].split(" ", 1)[0]
        if line[:1].isspace():
            if found:
                found[-1][1].append(line)
        elif "/" in word and (prefix := as_prefix(word)):
            found.append((prefix, []))
    return [(prefix, _entry(prefix, below)) for prefix, below in found]


def _entry(prefix: Prefix, below: Sequence[str]) -> FibEntry | None:
    """What stands below a prefix. Paths have the smallest indent; how a recursive one resolves stands below it."""
    hops: list[NextHop] = []
    kind = "unicast"
    indents = [len(line) - len(line.lstrip()) for line in below if line.strip()]
    top = min(indents, default=0)
    recursive = False
    for line in below:
        text = line.strip()
        if len(line) - len(line.lstrip()) > top:
            if recursive:
                hops[-1] = _resolved(hops[-1], text)
            continue
        recursive = False
        if hop := _hop(text):
            hops.append(hop)
            recursive = text.startswith(("recursive via ", "via "))
        elif text.startswith("receive"):
            kind = "local"
        elif text.lower() in _DROPPED:
            kind = _DROPPED[text.lower()]
    if not hops and kind == "unicast":
        return None
    return FibEntry(str(prefix), tuple(hops) if kind == "unicast" else (), None, kind)


def _hop(text: str) -> NextHop | None:
    """A path; one that waits for the others to fail (`repair`, BGP prefix-independent convergence) is not in use."""
    words = text.replace(",", " ").split()
    match words:
        case ["nexthop", address, interface, *more] if address_of(address):
            return NextHop(address_of(address), interface_of(interface), usable=_IDLE.isdisjoint(more))
        case ["nexthop", address] if address_of(address):
            return NextHop(address_of(address))
        case ["recursive", "via", address, *more] if address_of(address):
            return NextHop(address_of(address), usable=_IDLE.isdisjoint(more))
        case ["via", address, *_] if address_of(address):  # 12.2 and older
            return NextHop(address_of(address))
        case ["attached", "to", interface] if interface.lower() != "null0":
            return NextHop(None, interface_of(interface))
        case _:
            return None


def _resolved(hop: NextHop, text: str) -> NextHop:
    """A recursive next hop with what one line below says: by which interface it is reached, or that it is not."""
    words = text.replace(",", " ").split()
    match words:
        case ["attached", "to", interface]:
            return replace(hop, interface=interface_of(interface))
        case ["nexthop", _, interface, *_]:
            return replace(hop, interface=interface_of(interface))
        case ["next", "hop", _, interface, *_]:
            return replace(hop, interface=interface_of(interface))
        case ["drop" | "discard"] | ["no", "route"] | ["unresolved"]:
            return replace(hop, usable=False)
        case _:
            return hop


def neighbors_of(lines: Sequence[str]) -> list[LinkNeighbor] | None:
    """The rows of `show ip arp` and `show ipv6 neighbors`; None for text that is no such table."""
    rows = list(_neighbor_rows(lines))
    told = rows or not any(map(str.strip, lines)) or any(_TABLE.match(line) for line in lines)
    return rows if told else None


def _neighbor_rows(lines: Iterable[str]) -> Iterator[LinkNeighbor]:
    for line in lines:
        text = line.strip()
        if match := _ARP.match(text):
            mac = mac_of(match[2])
            interface = interface_of(match[3]) if match[3] else None
            if address := address_of(match[1]):
                yield LinkNeighbor(address, interface, mac, reachable=mac is not None)
        elif (match := _ND.match(text)) and (address := address_of(match[1])):
            yield LinkNeighbor(address, interface_of(match[4]), mac_of(match[2]), reachable=match[3] != "INCMP")


def own_addresses_of(lines: Iterable[str]) -> Iterator[str]:
    """The addresses in `show ip interface brief` and `show ipv6 interface brief`."""
    for line in lines:
        match line.split():
            case [word] if line[:1].isspace() and (address := address_of(word)):
                yield address
            case [_, word, "YES" | "NO", *_] if address := address_of(word):
                yield address


def rib_of(lines: Iterable[str]) -> list[tuple[Prefix, FibEntry | None]]:
    """The entry of `show ip route P` or `show ipv6 route P`, for routers that do not tell of CEF."""
    prefix: Prefix | None = None
    protocol: str | None = None
    hops: dict[tuple[str | None, str | None], NextHop] = {}
    listing = False
    for line in lines:
        text = line.strip()
        if text.startswith("Routing entry for "):
            prefix = as_prefix(text.removeprefix("Routing entry for ").split(",", 1)[0].split(" ", 1)[0])
        elif text.startswith("Known via "):
            protocol = text.removeprefix('Known via "').split('"', 1)[0].split(" ", 1)[0][:20] or None
        elif text in {"Routing Descriptor Blocks:", "Routing paths:"}:
            listing = True
        elif listing and (hop := _descriptor(text.removeprefix("* "))):
            hops.setdefault((hop.address, hop.interface), hop)
    return [] if prefix is None else [(prefix, FibEntry(str(prefix), tuple(hops.values()), protocol))]


def _descriptor(text: str) -> NextHop | None:
    """`10.0.0.13, from 10.0.0.13, 00:01:00 ago, via GigabitEthernet1`, `FE80::11, GigabitEthernet1`."""
    words = [word.strip() for word in text.split(",")]
    address = address_of(words[0])
    if address is None:
        return None
    by = next((word.removeprefix("via ") for word in words[1:] if word.startswith("via ")), None)
    if by is None and len(words) == 2 and " " not in words[1]:  # noqa: PLR2004  (address and interface)
        by = words[1]
    return NextHop(address, interface_of(by) if by else None)
