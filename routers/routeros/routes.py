"""Routes of RouterOS 7, from /routing/route (or /ip/route and /ipv6/route, which know less): the BGP table and the FIB.

Property names: manual.mikrotik.com, CLI reference, /routing/route. An active route is the one that is elected for the
FIB; several active ones of one prefix are its ECMP group. The order of BGP's attributes and the defaults of those that
are absent: wiki.mikrotik.com, "Manual:BGP Best Path Selection Algorithm".
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routers.jsontext import as_address, as_prefix, as_text
from routers.model import FibEntry, LinkNeighbor, NextHop, Route
from routers.prefixtable import PrefixTable
from routers.routeros.api import bare, number, words, yes
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routers.routeros.api import Row
    from routers.routeros.sessions import Peering

_PROTOCOLS = ("bgp", "static", "connect", "ospf", "rip", "isis", "dhcp", "vpn", "modem", "slaac")
_PEER_IN_OWNER = re.compile(r"(?:bgp-ip6?-|from )([0-9a-f.:]+)(?:%\S+)?$", re.IGNORECASE)
_STALE = {"llgr-stale", "65535:6"}  # RFC 9494 section 4.1
_DEAD = {"failed", "incomplete"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table: a route of one prefix over one gateway, or over several (static ones)."""

    prefix: str
    row: Row
    active: bool

    @property
    def is_bgp(self) -> bool:
        owner = (as_text(self.row.get("belongs-to")) or "").lower()
        return yes(self.row.get("bgp")) or owner.startswith("bgp")

    @property
    def filtered(self) -> bool:
        return self.row.get("contribution") == "filtered" or yes(self.row.get("filtered"))


Table = PrefixTable[Entry]


def is_heard(row: Row) -> bool:
    """Whether it is a route that a BGP neighbor announced."""
    return Entry("", row, active=False).is_bgp and not yes(row.get("bgp-net"))


def entries_of(rows: Iterable[Row], table: str, *, default_routes: bool) -> Table:
    """The routes of one routing table; disabled ones and, unless they count, default ones are left out."""
    found = Table(default_routes)
    for row in rows:
        if yes(row.get("disabled")) or (as_text(row.get("routing-table")) or "main") != table:
            continue
        told = as_text(row.get("contribution"))
        active = yes(row.get("active")) if told is None else told == "active"
        text = row.get("dst-address")
        found.add(text, Entry(str(text), row, active))
    return found


def fib_of(vip: str, table: Table) -> FibEntry | None:
    """The active routes of the longest prefix that covers a VIP; None when there is none."""
    elected = ((prefix, [entry for entry in entries if entry.active]) for prefix, entries in table.covering(vip))
    prefix, active = next(((prefix, entries) for prefix, entries in elected if entries), (None, []))
    if prefix is None:
        return None
    hops = [hop for entry in active for hop in _next_hops(entry.row)]
    first = active[0]
    protocol = next((name for name in _PROTOCOLS if yes(first.row.get(name))), None)
    weights = Counter((hop.address, hop.interface) for hop in hops)
    return FibEntry(
        prefix=str(prefix),
        next_hops=tuple(NextHop(address, interface, weight) for (address, interface), weight in weights.items()),
        protocol=protocol or ("bgp" if first.is_bgp else None),
        kind="blackhole" if yes(first.row.get("blackhole")) else "unicast",
    )


def routes_of(vip: str, table: Table, peering: Peering) -> tuple[Route, ...]:
    """The BGP routes of the longest prefix that covers a VIP, and the filtered ones of at least its length."""
    accepted: list[Entry] = []
    dropped: list[Entry] = []
    rival = None
    for _, entries in table.covering(vip):
        told = [entry for entry in entries if entry.is_bgp]
        dropped = dropped or [entry for entry in told if entry.filtered]
        accepted = [entry for entry in told if not entry.filtered]
        if accepted:
            rival = next((entry for entry in entries if entry.active and not entry.is_bgp), None)
            break
    best = next((entry for entry in accepted if entry.active), None) or next(
        (entry for entry in accepted if entry.row.get("contribution") == "best-candidate"), None
    )
    candidates = [_candidate(entry, peering, rival, is_best=entry is best) for entry in accepted]
    routes = explained(candidates, Multipath(peering.maximum_paths))
    return (*routes, *(_route(entry, peering, is_best=False) for entry in dropped))


def neighbors_of(rows: Iterable[Row]) -> list[LinkNeighbor]:
    """The rows of /ip/arp or /ipv6/neighbor."""
    found = []
    for row in rows:
        address = as_address(row.get("address"))
        if address is None or yes(row.get("disabled")) or yes(row.get("invalid")):
            continue
        mac = as_text(row.get("mac-address"))
        dead = row.get("status") in _DEAD or row.get("complete") in ("false", False)
        if "status" not in row and "complete" not in row:
            dead = mac is None
        found.append(LinkNeighbor(address, as_text(row.get("interface")), mac.lower() if mac else None, not dead))
    return found


def addresses_of(rows: Iterable[Row]) -> frozenset[str]:
    """The rows of /ip/address or /ipv6/address."""
    return frozenset(
        address for row in rows if not yes(row.get("disabled")) and (address := as_address(row.get("address")))
    )


def _next_hops(row: Row) -> list[NextHop]:
    """What the route resolves to; its gateway where a release does not show that."""
    return [_hop(text) for text in words(row.get("immediate-gw")) or words(row.get("gateway"))]


def _hop(text: str) -> NextHop:
    """`10.0.0.11%ether2`, `fe80::11%[ether2]`, `10.0.0.11@main`, or a bare interface."""
    place = text.partition("@")[0]
    address, _, interface = place.partition("%")
    if (known := as_address(address)) is not None:
        return NextHop(known, interface.strip("[]") or None)
    return NextHop(None, place)


def _candidate(entry: Entry, peering: Peering, rival: Entry | None, *, is_best: bool) -> Candidate:
    route = _route(entry, peering, is_best=is_best)
    return Candidate(
        route, _attributes(entry.row, route.peer, peering), None if entry.active else _obstacle(entry, rival)
    )


def _obstacle(entry: Entry, rival: Entry | None) -> str | None:
    if _unreachable(entry):
        gateways = ", ".join(dict.fromkeys(hop.address or hop.interface or "" for hop in _gateways(entry.row)))
        return f"next hop {gateways} cannot be resolved" if gateways else "not valid"
    if rival is None:
        return None
    kind = next((name for name in _PROTOCOLS if yes(rival.row.get(name))), "other")
    distances = [number(one.row.get("distance")) for one in (entry, rival)]
    shown = f" (distance {distances[1]} against {distances[0]})" if None not in distances else ""
    return f"a {kind} route of the same prefix is active{shown}"


def _unreachable(entry: Entry) -> bool:
    return entry.row.get("contribution") == "unreachable" or yes(entry.row.get("unreachable"))


def _gateways(row: Row) -> list[NextHop]:
    return [_hop(text) for text in words(row.get("gateway"))]


def _route(entry: Entry, peering: Peering, *, is_best: bool) -> Route:
    row = entry.row
    told = [hop.address for hop in _gateways(row)]
    told += [as_address(bare(text)) for text in words(row.get("bgp.nexthop"))]
    known = [address for address in dict.fromkeys(told) if address]
    forwarded = [hop.address for hop in _next_hops(row) if hop.address in known]
    return Route(
        prefix=str(as_prefix(entry.prefix)),
        peer=_peer(row, known, peering),
        next_hops=tuple(address for address in dict.fromkeys((*forwarded, *known)) if address),
        valid=not _unreachable(entry),
        best=is_best and not entry.filtered,
        used=entry.active and not entry.filtered,
        stale=yes(row.get("stale")) or not _STALE.isdisjoint(words(row.get("bgp.communities"))),
        filtered=entry.filtered,
    )


def _peer(row: Row, next_hops: Sequence[str], peering: Peering) -> str | None:
    """By the name of its session (newer releases), by who it belongs to, or else by its next hop."""
    if yes(row.get("bgp-net")):
        return None
    if (session := as_text(row.get("bgp.session"))) and session in peering.peers:
        return peering.peers[session]
    owner = _PEER_IN_OWNER.search((as_text(row.get("belongs-to")) or "")[-80:])
    told = [address for address in ((as_address(owner[1]) if owner else None), *next_hops) if address]
    return next((address for address in told if address in peering.known), told[0] if told else None)


def _attributes(row: Row, peer: str | None, peering: Peering) -> Attributes:
    """An AS path that is absent is empty only where others of its kind are told, so /ip/route compares nothing."""
    told = any(key.startswith("bgp.") for key in row)
    if not told:
        return Attributes()
    local_preference = number(row.get("bgp.local-pref"))
    return Attributes(
        weight=number(row.get("bgp.weight")) or 0,
        local_preference=100 if local_preference is None else local_preference,
        as_path=None if peer in peering.ignoring else words(row.get("bgp.as-path")),
        origin=as_text(row.get("bgp.origin")),
        med=number(row.get("bgp.med")) or 0,
        internal=peering.internal.get(peer) if peer else None,
        igp_metric=number(row.get("bgp.igp-metric")),
    )
