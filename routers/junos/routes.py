"""Routes, forwarding and link neighbors of Junos, from its JSON. Pure.

Field names: Junos OS CLI Reference (show route detail, show route forwarding-table, show arp, show ipv6 neighbors,
show interfaces terse) and Cisco's genieparser, whose junos parsers mirror the XML elements.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from routers.jsontext import Prefix, as_address, as_prefix, phrase
from routers.junos.json import Node, below, has, nodes, number, text, words
from routers.junos.sessions import table_family
from routers.model import (
    IPV4,
    FibEntry,
    LinkNeighbor,
    NextHop,
    RemedyKind,
    Route,
    Session,
    SessionState,
    canonical,
)
from routers.selection import Attributes, Candidate, Multipath, explained

_ORIGINS = {"I": "IGP", "E": "EGP", "?": "incomplete"}
_TIE_BREAKS = ("active preferred", "router id", "update source", "cluster list", "peer address")
"""Reasons of equal routes (Junos OS, Understanding BGP Path Selection); with multipath they share the load."""
_MEMBERS = frozenset({"Multipath", "MultipathContrib"})
_KINDS = {"rjct": "unreachable", "dscd": "blackhole", "locl": "local", "recv": "local"}
_NO_EXPORT = (
    "the FIB takes one next hop of each route, as no policy with load-balance per-packet is exported to the "
    "forwarding table"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An rt-entry of BGP and the prefix above it."""

    prefix: Prefix
    node: Node

    @property
    def flags(self) -> frozenset[str]:
        return words(self.node, "bgp-rt-flag")

    @property
    def state(self) -> frozenset[str]:
        return words(self.node, "rt-entry-state")

    @property
    def active(self) -> bool:
        return text(self.node, "active-tag") == "*" or "Active" in self.state or has(self.node, "current-active")

    @property
    def hidden(self) -> bool:
        return "Hidden" in self.state or text(self.node, "hidden-reason") is not None

    @property
    def filtered(self) -> bool:
        """Import policy rejected it: an accepted route that is hidden lacks something else."""
        why = (text(self.node, "hidden-reason") or "").lower()
        return self.hidden and ("policy" in why or (not why and "Accepted" not in self.flags))

    @property
    def peer(self) -> str | None:
        return as_address(text(self.node, "gateway") or text(self.node, "learned-from"))

    @property
    def hops(self) -> tuple[str, ...]:
        """The addresses by which the entry forwards."""
        return _unique(text(hop, "to") for hop in nodes(self.node, "nh"))

    @property
    def announced(self) -> tuple[str, ...]:
        """The next hop that BGP told, where another route leads to it."""
        return _unique(text(hop, "to") for hop in nodes(self.node, "protocol-nh"))


def entries_of(informations: Iterable[Node], family: int, vrf: str | None) -> list[Entry]:
    """The BGP entries of the instance's table, out of `show route ... detail`."""
    return [
        Entry(prefix, entry)
        for information in informations
        for table in nodes(information, "route-table")
        if table_family(text(table, "table-name"), vrf) == family
        for route in nodes(table, "rt")
        if (prefix := _prefix(route)) is not None
        for entry in nodes(route, "rt-entry")
        if (text(entry, "protocol-name") or "BGP") == "BGP"
    ]


def _prefix(route: Node) -> Prefix | None:
    """The length stands in an element of its own, or behind the destination."""
    destination, length = text(route, "rt-destination") or "", text(route, "rt-prefix-length")
    return as_prefix(destination if "/" in destination or length is None else f"{destination}/{length}")


def _unique(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for one in texts if (address := as_address(one))))


def covering(vip: str, prefixes: Iterable[Prefix], *, shortest: int) -> Prefix | None:
    """The longest of the prefixes, `shortest` bits at least, that covers a VIP."""
    address = ipaddress.ip_address(vip)
    return max(
        (one for one in prefixes if one.version == address.version and one.prefixlen >= shortest and address in one),
        key=lambda one: one.prefixlen,
        default=None,
    )


def routes_of(
    vip: str,
    entries: Sequence[Entry],
    multipath: Multipath,
    sessions: Mapping[str, Session],
    fib: FibEntry | None,
    *,
    default_routes: bool,
) -> tuple[Route, ...]:
    """The routes of the longest prefix that covers a VIP, filtered ones last. `sessions`: by address."""
    shortest = 0 if default_routes else 1
    longest = covering(vip, (one.prefix for one in entries if not one.filtered), shortest=shortest)
    accepted = [one for one in entries if one.prefix == longest and not one.filtered]
    least = longest.prefixlen if longest else shortest
    dropped = covering(vip, (one.prefix for one in entries if one.filtered), shortest=least)
    candidates = [_candidate(one, accepted, sessions) for one in accepted]
    routes = [
        _explained(route, entry, accepted)
        for route, entry in zip(explained(candidates, multipath), accepted, strict=True)
    ]
    filtered = (one for one in entries if one.filtered and one.prefix == dropped)
    return (
        *_installed(routes, fib),
        *(Route(str(one.prefix), one.peer, _own(one, ()), used=False, filtered=True) for one in filtered),
    )


def _own(entry: Entry, others: Sequence[Entry]) -> tuple[str, ...]:
    """The next hops of a route itself: below the active one stand those of all that share its load."""
    if entry.announced:
        return entry.announced
    foreign = {hop for other in others if other is not entry and not other.active for hop in other.hops}
    return tuple(hop for hop in entry.hops if hop not in foreign) or entry.hops


def _candidate(entry: Entry, others: Sequence[Entry], sessions: Mapping[str, Session]) -> Candidate:
    valid = not entry.hidden and text(entry.node, "nh-type") != "Unusable"
    session = sessions.get(entry.peer or "")
    lost = session is not None and session.state not in (SessionState.ESTABLISHED, SessionState.UNKNOWN)
    hops = _own(entry, others)
    route = Route(
        prefix=str(entry.prefix),
        peer=entry.peer,
        next_hops=hops,
        valid=valid,
        best=valid and entry.active,
        used=valid and (entry.active or bool(entry.flags & _MEMBERS)),
        stale=lost or any("stale" in word.lower() for word in (*entry.flags, *entry.state)),
    )
    return Candidate(route, _attributes(entry), None if valid else _obstacle(entry, hops))


def _obstacle(entry: Entry, hops: Sequence[str]) -> str:
    if why := text(entry.node, "hidden-reason"):
        return f"hidden: {phrase(why)}"
    if text(entry.node, "nh-type") == "Unusable":
        return f"next hop {', '.join(hops) or f'that {entry.peer} told'} cannot be resolved"
    return f"hidden: {phrase(text(entry.node, 'inactive-reason') or 'no reason given')}"


def _attributes(entry: Entry) -> Attributes:
    as_path, origin = _as_path(entry.node)
    return Attributes(
        local_preference=number(entry.node, "local-preference"),
        as_path=as_path,
        origin=origin,
        med=number(entry.node, "metric") or 0,
        internal="Int" in entry.state if entry.state & {"Int", "Ext"} else None,
        igp_metric=number(entry.node, "metric2") or 0,
    )


def _as_path(entry: Node) -> tuple[tuple[str, ...] | None, str | None]:
    """The AS path and the origin behind it, of `AS path: [64512] 64513 I (Originator)`."""
    told = text(entry, "as-path")
    if told is None:
        effective = below(entry, "bgp-path-attributes", "attr-as-path-effective")
        told = next((one for node in effective if (one := text(node, "attr-value"))), None)
    if told is None:
        return None, None
    path: list[str] = []
    origin = None
    for word in told.removeprefix("AS path:").split():
        if word in _ORIGINS:
            origin = _ORIGINS[word]
            break
        if re.fullmatch(r"[({]?\d[\d.]{0,20}[)}]?", word):
            path.append(word)
    return tuple(path), origin


def _explained(route: Route, entry: Entry, others: Sequence[Entry]) -> Route:
    """An unused route with Junos' own reason, unless the attributes already tell it."""
    why = text(entry.node, "inactive-reason")
    if route.used or why is None or not route.valid:
        return route
    tie = any(word in why.lower() for word in _TIE_BREAKS)
    if route.unused_reason is None or (route.mended_by is RemedyKind.PATH_LIMIT and not tie):
        return replace(route, unused_reason=f"Junos prefers another: {phrase(why)}", mended_by=None)
    if route.mended_by is RemedyKind.AS_PATH_RELAX:
        told = route.unused_reason.replace("as-path multipath-relax is off", "multipath multiple-as is not set")
        return replace(route, unused_reason=told)
    if not any(one.flags & _MEMBERS for one in others):
        equal = sum(1 for one in others if not one.hidden)
        return replace(route, unused_reason=f"no BGP multipath: one of {equal} equal routes is taken")
    return route


def _installed(routes: Sequence[Route], fib: FibEntry | None) -> list[Route]:
    """Routes that share a load in BGP, of which the FIB holds one alone: the forwarding table lacks its policy."""
    used = [route for route in routes if route.used]
    hops = {hop.address for hop in fib.next_hops} if fib is not None else set()
    alone = len(hops) == 1 and len(used) > 1 and any(hops & set(route.next_hops) for route in used)
    return [
        replace(route, unused_reason=_NO_EXPORT, mended_by=RemedyKind.PATH_LIMIT)
        if alone and route.used and not hops & set(route.next_hops)
        else route
        for route in routes
    ]


def fib_of(informations: Iterable[Node], family: int, vrf: str | None) -> list[tuple[Prefix, FibEntry | None]]:
    """The entries of `show route forwarding-table`; None for a prefix that the router has no route for."""
    inet = "inet" if family == IPV4 else "inet6"
    names = {f"{vrf}.{inet}"} if vrf else {f"default.{inet}", inet}
    return [
        (prefix, _fib_entry(prefix, entry))
        for information in informations
        for table in nodes(information, "route-table")
        if text(table, "table-name") in names
        for entry in nodes(table, "rt-entry")
        if (prefix := _fib_prefix(text(entry, "rt-destination"), family)) is not None
    ]


def _fib_prefix(destination: str | None, family: int) -> Prefix | None:
    if destination == "default":
        return as_prefix("0.0.0.0/0" if family == IPV4 else "::/0")
    return as_prefix(destination)


def _fib_entry(prefix: Prefix, entry: Node) -> FibEntry | None:
    """Lists and indirections (ulst, indr) stand in the same row as the next hops that they lead to."""
    rows = nodes(entry, "nh")
    kinds = [text(row, "nh-type") or "" for row in rows]
    hops: dict[tuple[str | None, str | None], NextHop] = {}
    for row, kind in zip(rows, kinds, strict=True):
        address, interface = as_address(text(row, "to")), text(row, "via")
        if address is not None:
            hops.setdefault((address, interface), NextHop(address, interface))
        elif kind in {"rslv", "ucst"} and interface is not None:
            hops.setdefault((None, interface), NextHop(None, interface))
    if hops:
        return FibEntry(str(prefix), tuple(hops.values()))
    dropping = next((_KINDS[kind] for kind in kinds if kind in _KINDS), None)
    if dropping is None or (prefix.prefixlen == 0 and dropping == "unreachable"):  # what stands for no route at all
        return None
    return FibEntry(str(prefix), (), None, dropping)


def unresolved_of(informations: Iterable[Node]) -> Iterator[LinkNeighbor]:
    """Next hops that the forwarding table holds back packets for, as nobody answered for their address."""
    for information in informations:
        for row in below(information, "route-table", "rt-entry", "nh"):
            address = as_address(text(row, "to"))
            if address is not None and text(row, "nh-type") == "hold":
                yield LinkNeighbor(address, text(row, "via"), None, reachable=False)


def neighbors_of(tables: Iterable[Node]) -> Iterator[LinkNeighbor]:
    """The rows of `show arp no-resolve` and `show ipv6 neighbors`."""
    for table in tables:
        for row in nodes(table, "arp-table-entry"):
            yield from _neighbor(text(row, "ip-address"), text(row, "interface-name"), text(row, "mac-address"), "")
        for row in nodes(table, "ipv6-nd-entry"):
            yield from _neighbor(
                text(row, "ipv6-nd-neighbor-address"),
                text(row, "ipv6-nd-interface-name"),
                text(row, "ipv6-nd-neighbor-l2-address"),
                text(row, "ipv6-nd-state") or "",
            )


def _neighbor(address: str | None, interface: str | None, mac: str | None, state: str) -> Iterator[LinkNeighbor]:
    """`irb.10 [ge-0/0/1.0]` names the port behind a routed interface, too; `none` stands for no answer."""
    own = as_address(address)
    if own is None:
        return
    known = mac if mac and re.fullmatch(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}", mac) else None
    reachable = known is not None and state not in {"incomplete", "unreachable"}
    yield LinkNeighbor(own, interface.split(" ", 1)[0] if interface else None, known and known.lower(), reachable)


def own_addresses_of(informations: Iterable[Node]) -> Iterator[str]:
    """The addresses in `show interfaces terse`."""
    for information in informations:
        for logical in (
            *below(information, "physical-interface", "logical-interface"),
            *nodes(information, "logical-interface"),
        ):
            for address in below(logical, "address-family", "interface-address"):
                if own := as_address(text(address, "ifa-local")):
                    yield canonical(own)
