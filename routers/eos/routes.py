"""BGP routes, FIB and link neighbors of Arista EOS, from eAPI's JSON. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from routers.jsontext import Prefix, as_address, as_dict, as_int, as_list, as_prefix, as_text, phrase
from routers.model import FibEntry, LinkNeighbor, NextHop, RemedyKind, Route
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_REASON = "noReason"
_TIES = ("routerid", "originatorid", "clusterl", "peer", "neighbor", "older", "oldest", "age", "pathid", "ecmp")
"""Parts of the reasons that keep a path from being the best without keeping it out of ECMP."""
_UNREACHABLE = {"incmpl", "incomplete", "failed"}
_MOST_DEPTH = 8
_LONGEST_MAC = 20


def routes_of(
    answer: Mapping[str, Any], vip: str, vrf: str, multipath: Multipath, *, default_routes: bool
) -> tuple[Route, ...]:
    """The routes of the longest prefix that covers a VIP, as `show ip bgp` tells them."""
    found = _longest(_entries(answer, vrf), vip, default_routes=default_routes)
    if found is None:
        return ()
    prefix, entry = found
    paths = [as_dict(path) for path in as_list(as_dict(entry).get("bgpRoutePaths"))]
    candidates = [_candidate(str(prefix), path) for path in paths]
    return tuple(
        _with_the_routers_word(route, path) for route, path in zip(explained(candidates, multipath), paths, strict=True)
    )


def has_route(answer: Mapping[str, Any], vip: str, vrf: str, *, default_routes: bool) -> bool:
    """Whether `routes_of` finds any."""
    return _longest(_entries(answer, vrf), vip, default_routes=default_routes) is not None


def _entries(answer: Mapping[str, Any], vrf: str) -> dict[str, Any]:
    return as_dict(as_dict(as_dict(answer.get("vrfs")).get(vrf)).get("bgpRouteEntries"))


def _candidate(prefix: str, path: Mapping[str, Any]) -> Candidate:
    kinds = as_dict(path.get("routeType"))
    valid = kinds.get("valid") is True
    active = kinds.get("active") is True
    route = Route(
        prefix=prefix,
        peer=as_address(as_dict(path.get("peerEntry")).get("peerAddr")),
        next_hops=(address,) if (address := as_address(path.get("nextHop"))) else (),
        valid=valid,
        best=valid and (active or kinds.get("ecmpHead") is True or _is_best_of_bgp(path, kinds)),
        used=valid and (active or kinds.get("ecmpContributor") is True),
        stale=kinds.get("stale") is True,
    )
    return Candidate(route, _attributes(path), None if valid else "not valid")


def _is_best_of_bgp(path: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    """The best path that is not active: a better route than BGP's is in the routing table."""
    return path.get("reasonNotBestpath") in (None, _NO_REASON) and "notInstalledReason" in kinds


def _attributes(path: Mapping[str, Any]) -> Attributes:
    as_path = as_dict(path.get("asPathEntry"))
    text, kind = as_text(as_path.get("asPath")), as_text(as_path.get("asPathType"))
    return Attributes(
        weight=as_int(path.get("weight")),
        local_preference=as_int(path.get("localPreference")),
        as_path=None if text is None else tuple(word for word in text.split() if word not in ("i", "e", "?")),
        origin=as_text(as_dict(path.get("routeDetail")).get("origin")),
        med=as_int(path.get("med")) or 0,
        internal=None if kind not in ("Internal", "External") else kind == "Internal",
    )


def _with_the_routers_word(route: Route, path: Mapping[str, Any]) -> Route:
    """The route with EOS's own reason beside ours; where ours is a guess at a path limit, EOS's decides."""
    kinds = as_dict(path.get("routeType"))
    if route.used:
        return route
    told = as_text(path.get("reasonNotBestpath"))
    word = phrase(told, 60) if told and told != _NO_REASON else None
    if reason := as_text(kinds.get("notInstalledReason")):
        return replace(route, unused_reason=f"not installed: {_spaced(phrase(reason, 60))}", mended_by=None)
    if word is None:
        return route
    guessed = route.mended_by is RemedyKind.PATH_LIMIT or route.unused_reason is None
    tie = kinds.get("ecmp") is True or any(part in word.lower() for part in _TIES)
    if guessed and not tie:
        return replace(route, used=False, unused_reason=f"not the best path: {_spaced(word)}", mended_by=None)
    return (
        replace(route, unused_reason=f"{route.unused_reason} (EOS: {_spaced(word)})") if route.unused_reason else route
    )


def _spaced(word: str) -> str:
    """The words of a name like asPathLength."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word).lower()


def filtered_of(answer: Mapping[str, Any], vip: str, vrf: str, peer: str, accepted: tuple[Route, ...]) -> Route | None:
    """The route for a VIP that a peer sent and policy dropped, from what was received from it."""
    found = _longest(_entries(answer, vrf), vip, default_routes=False)
    if found is None or any(route.peer == peer for route in accepted):
        return None
    prefix, entry = found
    if any((known := as_prefix(route.prefix)) and known.prefixlen > prefix.prefixlen for route in accepted):
        return None
    hops = (as_address(as_dict(path).get("nextHop")) for path in as_list(as_dict(entry).get("bgpRoutePaths")))
    next_hops = tuple(dict.fromkeys(hop for hop in hops if hop))
    return Route(prefix=str(prefix), peer=peer, next_hops=next_hops, used=False, filtered=True)


def fib_of(
    answer: Mapping[str, Any], vip: str, vrf: str, *, default_routes: bool
) -> tuple[FibEntry | None, str | None]:
    """The longest match of `show ip route`, and why it is not forwarded by although it stands there.

    IPv6 routes of older releases stand at the top, not below a VRF. Raises ValueError when the answer holds no
    table of the VRF.
    """
    table = as_dict(as_dict(answer.get("vrfs")).get(vrf)) or answer
    if not isinstance(table.get("routes"), dict):
        raise ValueError(f"no routing table of VRF {vrf}")  # noqa: TRY004  (of an answer, not of an argument)
    found = _longest(table["routes"], vip, default_routes=default_routes)
    if found is None:
        return None, None
    prefix, row = found[0], as_dict(found[1])
    for place in ("hardware", "kernel"):
        if row.get(f"{place}Programmed") is False:
            return None, f"{prefix} is not programmed in the {place}"
    if table.get("routingDisabled") is True:
        return None, f"routing is disabled in VRF {vrf}"
    vias = [as_dict(via) for via in as_list(row.get("vias"))]
    drops = row.get("routeAction") == "drop" or any(via.get("interface") == "Null0" for via in vias)
    kind = as_text(row.get("routeType"))
    return FibEntry(
        prefix=str(prefix),
        next_hops=() if drops else tuple(map(next_hop_of, vias)),
        protocol="bgp" if kind in ("eBGP", "iBGP") else kind,
        kind="blackhole" if drops else "unicast",
    ), None


def next_hop_of(via: Mapping[str, Any]) -> NextHop:
    """A next hop; behind a VXLAN tunnel it is the tunnel's end."""
    return NextHop(
        address=as_address(via.get("nexthopAddr")) or as_address(via.get("vtepAddr")),
        interface=as_text(via.get("interface")),
        weight=as_int(via.get("weight"), low=1) or 1,
    )


def _longest(entries: Mapping[str, Any], vip: str, *, default_routes: bool) -> tuple[Prefix, Any] | None:
    address, shortest = ipaddress.ip_address(vip), 0 if default_routes else 1
    covering = [
        (prefix, entry)
        for text, entry in entries.items()
        if (prefix := as_prefix(text)) and prefix.prefixlen >= shortest and address in prefix
    ]
    return max(covering, key=lambda found: found[0].prefixlen, default=None)


def arp_rows(answer: Mapping[str, Any], vrf: str) -> list[dict[str, Any]] | None:
    """The rows of `show ip arp` or `show ipv6 neighbors`, which stand at the top or below a VRF."""
    for holder in (as_dict(as_dict(answer.get("vrfs")).get(vrf)), answer):
        for key in ("ipV4Neighbors", "ipV6Neighbors"):
            if isinstance(holder.get(key), list):
                return [as_dict(row) for row in holder[key]]
    return None


def link_neighbors(rows: list[dict[str, Any]]) -> Iterator[LinkNeighbor]:
    """The interface is the one with the IP address: of `Vlan10, Ethernet3` the VLAN's."""
    for row in rows:
        if address := as_address(row.get("address")):
            interface, _ = places_of(row)
            yield LinkNeighbor(
                address=address,
                interface=interface,
                mac=_mac(as_text(row.get("hwAddress")) or ""),
                reachable=str(row.get("state", "")).lower() not in _UNREACHABLE,
            )


def _mac(text: str) -> str | None:
    """One spelling for dc38.e111.97cf and dc:38:e1:11:97:cf."""
    digits = re.sub(r"[.:-]", "", text[:_LONGEST_MAC]).lower()
    if re.fullmatch(r"[0-9a-f]{12}", digits) is None:
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def places_of(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Where a link neighbor is: its IP interface and, behind a VLAN, the port, if that is known."""
    first, _, second = (as_text(row.get("interface")) or "").partition(",")
    port = second.strip()
    known = re.fullmatch(r"[A-Za-z-]{1,40}[0-9][0-9/.:]{0,20}", port)
    return first.strip() or None, port if known else None


def own_addresses(answer: Mapping[str, Any]) -> Iterator[str]:
    """Every address in `show ip interface` or `show ipv6 interface`."""
    waiting: list[tuple[Any, int]] = [(answer.get("interfaces"), 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict):
            own = as_address(value.get("address"))
            if own and not ipaddress.ip_address(own).is_unspecified:
                yield own
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if depth < _MOST_DEPTH:
            waiting += [(one, depth + 1) for one in inner]
