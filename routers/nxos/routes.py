"""BGP routes, routing and forwarding tables and link neighbors of NX-OS: its JSON tables and its text. Pure.

Field names: Cisco Nexus 9000 Series NX-OS Show Command Reference, 9.3(x), `show bgp`; for the other commands the
answers that Cisco's own test scripts on GitHub show. As text `show bgp ipv4 unicast PREFIX` says more than as JSON: why
a path is not the best one, and which paths were received only, that is, kept although a policy dropped them.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from routers.jsontext import Prefix, as_address, as_prefix, as_text, phrase
from routers.model import FibEntry, LinkNeighbor, NextHop, RemedyKind, Route
from routers.nxos.cli import first, number, rows, truth
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ENTRY = re.compile(r"BGP routing table entry for (\S+), version")
_PATH = re.compile(r"\s+Path type: (\w+), (.*)")
_AS_PATH = re.compile(r"\s+AS-Path: ([^,]*)")
_FROM = re.compile(r"\s+(\S+) (?:\(metric (\d{1,10})\) )?from (\S+)")
_ORIGIN = re.compile(r"\s+Origin (\w+), MED (\d{1,10}|not set), localpref (\d{1,10}), weight (\d{1,10})")
_NOT_BEST = re.compile(r"not best reason: ([^,]{1,80})")
_RIB_HEADER = re.compile(r'IPv?6? ?Rout(?:e|ing) Table for VRF "([^"]{1,64})"')
_RIB_PREFIX = re.compile(r"(\S+/\d{1,3}), ubest/mbest: \d+/\d+.*")
_RIB_VIA = re.compile(r"\s+\*via ([^,]{1,60}),(?: ([A-Za-z][\w./-]{0,30}),)? \[\d+/\d+\], [^,]*, ([\w-]{1,40}).*")
_PREFIX_KEYS = ("ipprefix", "ipv6prefix", "ip_prefix", "ipv6_prefix", "ip-prefix")
_HOP_KEYS = ("ipnexthop", "ipv6nexthop", "ip_nexthop", "ipv6_nexthop")
_NO_MAC = {"000000000000", ""}
_TIES = ("router id", "neighbor address", "newer", "older", "path-id", "path id", "cluster", "originator", "peer")
"""Parts of the reasons that keep a path from being the best without keeping it out of ECMP."""


@dataclass(frozen=True, slots=True)
class Path:
    """A path of a BGP table, with NX-OS's own reason why it is not the best."""

    candidate: Candidate
    filtered: bool = False
    word: str | None = None


def paths_of(table: Mapping[str, Any] | None, vip: str, *, default_routes: bool) -> list[Path]:
    """The paths of the longest prefix that covers a VIP, from JSON."""
    found = _longest(((first(row, *_PREFIX_KEYS), row) for row in rows(table, "prefix")), vip, default_routes)
    if found is None:
        return []
    prefix, row = found
    return [Path(_from_json(str(prefix), path)) for path in rows(row, "path")]


def _from_json(prefix: str, row: Mapping[str, Any]) -> Candidate:
    valid = truth(row.get("pathvalid")) is True
    best = truth(row.get("pathbest")) is True
    as_path = as_text(row.get("aspath"))
    source = (as_text(row.get("source")) or as_text(row.get("type")) or "").lower()
    peer = as_address(first(row, "neighbor", "ipv6neighbor"))
    route = Route(
        prefix=prefix,
        peer=None if peer is None or ipaddress.ip_address(peer).is_unspecified else peer,
        next_hops=tuple(hop for key in _HOP_KEYS if (hop := as_address(row.get(key)))),
        valid=valid,
        best=valid and best,
        used=valid and (best or truth(row.get("pathmultipath")) is True),
        stale=truth(row.get("pathstaled")) is True,
    )
    attributes = Attributes(
        weight=number(row.get("weight")),
        local_preference=number(row.get("localpref")),
        as_path=None if as_path is None else _as_path(as_path),
        origin=as_text(row.get("origin")),
        med=number(row.get("metric")) or 0,
        internal={"internal": True, "external": False}.get(source),
        igp_metric=number(row.get("nexthopmetric")),
    )
    return Candidate(route, attributes, None if valid else "not valid")


def _as_path(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split() if word.upper() != "NONE")


def paths_in(text: str, vip: str, *, default_routes: bool) -> list[Path]:
    """The paths of the longest prefix that covers a VIP, from text."""
    entries: dict[str, list[list[str]]] = {}
    blocks: list[list[str]] | None = None
    for line in text.splitlines():
        if match := _ENTRY.match(line):
            blocks = entries.setdefault(match[1], [])
        elif blocks is not None and _PATH.match(line):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
    found = _longest(entries.items(), vip, default_routes)
    if found is None:
        return []
    return [_from_text(str(found[0]), block) for block in found[1]]


def _from_text(prefix: str, block: list[str]) -> Path:
    heading = _PATH.match(block[0])
    kind, told = (heading[1], heading[2]) if heading else ("", "")
    marks = {part.strip() for part in told.split(",")}
    as_path = next((match[1] for line in block if (match := _AS_PATH.match(line))), None)
    way = next((match for line in block if (match := _FROM.match(line))), None)
    origin = next((match for line in block if (match := _ORIGIN.match(line))), None)
    peer = as_address(way[3]) if way else None
    valid, best = "path is valid" in marks, "is best path" in marks
    route = Route(
        prefix=prefix,
        peer=None if peer is None or ipaddress.ip_address(peer).is_unspecified else peer,
        next_hops=(hop,) if way and (hop := as_address(way[1])) else (),
        valid=valid,
        best=best,
        used=valid and (best or "multipath" in marks),
        stale="stale" in marks or "path is stale" in marks,
    )
    attributes = Attributes(
        weight=int(origin[4]) if origin else None,
        local_preference=int(origin[3]) if origin else None,
        as_path=None if as_path is None else _as_path(as_path),
        origin=origin[1] if origin else None,
        med=int(origin[2]) if origin and origin[2] != "not set" else 0,
        internal={"internal": True, "external": False}.get(kind),
        igp_metric=int(way[2]) if way and way[2] else None,
    )
    word = _NOT_BEST.search(told)
    obstacle = None if valid else "not valid"
    return Path(Candidate(route, attributes, obstacle), "received only" in marks, phrase(word[1]) if word else None)


def is_bgp_table(text: str) -> bool:
    """Whether a text is NX-OS's answer about a BGP table, which names no entry where it has none."""
    return "BGP routing table information for VRF" in text


def routes_of(paths: Iterable[Path], multipath: Multipath) -> tuple[Route, ...]:
    """The routes, each unused one with a reason; those that policy dropped last, of peers that have no other."""
    paths = list(paths)
    accepted = [path for path in paths if not path.filtered]
    routes = explained([path.candidate for path in accepted], multipath)
    peers = {route.peer for route in routes}
    dropped = {path.candidate.route.peer: path.candidate.route for path in paths if path.filtered}
    return (
        *(_with_the_routers_word(route, path.word) for route, path in zip(routes, accepted, strict=True)),
        *(
            replace(route, used=False, best=False, filtered=True, unused_reason=None)
            for peer, route in dropped.items()
            if peer not in peers
        ),
    )


def _with_the_routers_word(route: Route, word: str | None) -> Route:
    """The route with NX-OS's own reason beside ours; where ours is a guess at a path limit, NX-OS's decides."""
    if route.used or word is None:
        return route
    guessed = route.mended_by is RemedyKind.PATH_LIMIT or route.unused_reason is None
    if guessed and not any(tie in word.lower() for tie in _TIES):
        return replace(route, used=False, unused_reason=f"not the best path: {word}", mended_by=None)
    return replace(route, unused_reason=f"{route.unused_reason} (NX-OS: {word})" if route.unused_reason else None)


def rib_of(table: Mapping[str, Any] | None, vip: str, vrf: str, *, default_routes: bool) -> FibEntry | None:
    """The longest match of `show ip route` as JSON; None: no route. Raises ValueError for another answer."""
    if table is None or not any(first(row, "vrf-name-out", "vrf_name_out") == vrf for row in rows(table, "vrf")):
        raise ValueError(f"no routing table of VRF {vrf}")
    found = _longest(((first(row, *_PREFIX_KEYS), row) for row in rows(table, "prefix")), vip, default_routes)
    if found is None:
        return None
    prefix, row = found
    paths = rows(row, "path")
    chosen = [path for path in paths if truth(path.get("ubest"))] or [one for one in paths if "ubest" not in one]
    hops = [(first(path, *_HOP_KEYS), as_text(path.get("ifname"))) for path in chosen]
    return _entry(prefix, hops, next((first(path, "clientname") for path in chosen), None))


def rib_in(text: str, vip: str, vrf: str, *, default_routes: bool) -> FibEntry | None:
    """The longest match of `show ip route` as text; None: no route. Raises ValueError for another answer."""
    header = _RIB_HEADER.search(text)
    if header is None or header[1] != vrf:
        raise ValueError(f"no routing table of VRF {vrf}")
    entries: dict[str, list[re.Match[str]]] = {}
    hops: list[re.Match[str]] | None = None
    for line in text.splitlines():
        if match := _RIB_PREFIX.fullmatch(line):
            hops = entries.setdefault(match[1], [])
        elif hops is not None and (match := _RIB_VIA.fullmatch(line)):
            hops.append(match)
    found = _longest(entries.items(), vip, default_routes)
    if found is None:
        return None
    return _entry(found[0], [(via[1], via[2]) for via in found[1]], found[1][0][3] if found[1] else None)


def _entry(prefix: Prefix, hops: Iterable[tuple[str | None, str | None]], client: str | None) -> FibEntry:
    """A next hop in another VRF is written ADDRESS%VRF."""
    told = [(as_address(address), interface) for address, interface in hops]
    drops = any((interface or "").lower() == "null0" for _, interface in told)
    return FibEntry(
        prefix=str(prefix),
        next_hops=() if drops else tuple(NextHop(address, interface) for address, interface in dict.fromkeys(told)),
        protocol="bgp" if client and client.startswith("bgp") else client,
        kind="blackhole" if drops else "unicast",
    )


def programmed(table: Mapping[str, Any] | None, entry: FibEntry) -> tuple[FibEntry | None, str | None]:
    """What the modules forward by, from `show forwarding ... route PREFIX`, and why that is less than the route.

    The route itself where the answer does not tell.
    """
    modules = []
    for row in rows(table, "module"):
        prefixes = [(as_prefix(first(one, *_PREFIX_KEYS)), one) for one in rows(row, "prefix")]
        if any(prefix is None for prefix, _ in prefixes) or not rows(row, "vrf"):
            return entry, None
        here = next((one for prefix, one in prefixes if str(prefix) == entry.prefix), None)
        name = as_text(row.get("module_number")) or str(number(row.get("module_number")) or "?")
        modules.append((phrase(name, 20), _hops(here)))
    if not modules or entry.kind != "unicast":
        return entry, None
    for name, hops in modules:
        if hops is None:
            return None, f"{entry.prefix} is not in the forwarding table of module {name}"
    common = [hop for hop in modules[0][1] or () if all(hop in (hops or ()) for _, hops in modules)]
    return (replace(entry, next_hops=tuple(common)), None) if common else (entry, None)


def _hops(row: Mapping[str, Any] | None) -> list[NextHop] | None:
    """None: the module does not have the prefix. What is no address (Attached, Drop) is no next hop."""
    if row is None:
        return None
    paths = rows(row, "path")
    told = ((as_address(first(path, *_HOP_KEYS)), as_text(path.get("ifname"))) for path in paths)
    return list(dict.fromkeys(NextHop(address, interface) for address, interface in told if address))


def link_neighbors(table: Mapping[str, Any]) -> Iterator[LinkNeighbor]:
    """The rows of `show ip arp` or `show ipv6 neighbor`; one without a MAC does not answer."""
    for row in rows(table, "adj"):
        address = as_address(first(row, "ip-addr-out", "ipv6-addr"))
        if address is None:
            continue
        digits = re.sub(r"[^0-9a-f]", "", (as_text(row.get("mac")) or "").lower()[:20])
        known = len(digits) == len("000000000000") and digits not in _NO_MAC
        yield LinkNeighbor(
            address=address,
            interface=first(row, "intf-out"),
            mac=":".join(digits[at : at + 2] for at in range(0, 12, 2)) if known else None,
            reachable=known,
        )


def with_interfaces(entry: FibEntry, neighbors: Iterable[LinkNeighbor]) -> FibEntry:
    """BGP's next hops stand in the routing table without an interface: it is the one where the neighbor is."""
    where: dict[str, set[str | None]] = {}
    for row in neighbors:
        where.setdefault(row.address, set()).add(row.interface)
    hops = []
    for hop in entry.next_hops:
        places = where.get(hop.address or "", set())
        known = next(iter(places)) if hop.interface is None and len(places) == 1 else hop.interface
        hops.append(replace(hop, interface=known))
    return replace(entry, next_hops=tuple(hops))


def own_addresses(table: Mapping[str, Any] | None) -> Iterator[str]:
    """Every address in `show ip interface` or `show ipv6 interface`."""
    for row in (*rows(table, "intf"), *rows(table, "addr"), *rows(table, "secondary_address")):
        for key in ("prefix", "prefix1", "addr", "linklocal-addr"):
            if own := as_address(row.get(key)):
                yield own


def _longest(entries: Iterable[tuple[object, Any]], vip: str, default_routes: bool) -> tuple[Prefix, Any] | None:
    address, shortest = ipaddress.ip_address(vip), 0 if default_routes else 1
    covering = [
        (prefix, entry)
        for text, entry in entries
        if (prefix := as_prefix(text)) and prefix.prefixlen >= shortest and address in prefix
    ]
    return max(covering, key=lambda found: found[0].prefixlen, default=None)
