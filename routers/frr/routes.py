"""FRR's routes of one VIP, in the JSON of `show bgp ... VIP json`, and what import policy dropped. Pure.

Field names: bgpd/bgp_route.c.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_address, as_dict, as_int, as_list, as_prefix, as_text
from routers.model import Route
from routers.selection import Attributes, Candidate, explained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routers.selection import Multipath


def routes_of(
    vip: str,
    document: Mapping[str, Any],
    filtered: Mapping[str, dict[str, Any] | None],
    multipath: Multipath,
    shortest: int,
) -> tuple[Route, ...]:
    """The VIP's routes in its document, then those that import policy dropped, out of those of each node.

    `shortest`: the least length of a prefix that counts.
    """
    prefix = as_prefix(document.get("prefix"))
    routes: tuple[Route, ...] = ()
    if prefix and prefix.prefixlen >= shortest and ipaddress.ip_address(vip) in prefix:
        shortest = prefix.prefixlen
        paths = as_list(document.get("paths"))
        routes = explained([_candidate(str(prefix), as_dict(path)) for path in paths], multipath)
    dropped = (_filtered(node, vip, shortest, answered) for node, answered in filtered.items())
    return (*routes, *(route for route in dropped if route))


def _candidate(prefix: str, path: dict[str, Any]) -> Candidate:
    peer = as_dict(path.get("peer"))
    hops = [as_dict(hop) for hop in as_list(path.get("nexthops"))]
    hops.sort(key=lambda hop: hop.get("used") is not True)  # IPv6: of global and link-local, the one in use
    valid = path.get("valid") is True
    best = as_dict(path.get("bestpath")).get("overall") is True
    route = Route(
        prefix=prefix,
        peer=as_address(peer.get("peerId")),
        next_hops=tuple(dict.fromkeys(address for hop in hops if (address := as_address(hop.get("ip"))))),
        valid=valid,
        best=best,
        used=valid and (best or path.get("multipath") is True),
        stale=path.get("stale") is True,
    )
    return Candidate(route, _attributes(path, peer, hops), _obstacle(path, hops))


def _obstacle(path: dict[str, Any], hops: list[dict[str, Any]]) -> str | None:
    if path.get("valid") is True:
        return None
    unreachable = [hop["ip"] for hop in hops if hop.get("accessible") is False and as_text(hop.get("ip"))]
    return f"next hop {unreachable[0]} cannot be resolved" if unreachable else "not valid"


def _attributes(path: dict[str, Any], peer: dict[str, Any], hops: list[dict[str, Any]]) -> Attributes:
    as_path = as_dict(path.get("aspath"))
    text = as_text(as_path.get("string")) or ""
    kind = as_text(peer.get("type"))
    return Attributes(
        weight=as_int(path.get("weight")) or 0,
        local_preference=as_int(path.get("locPrf")),
        as_path=() if text == "Local" else tuple(text.split()),
        origin=as_text(path.get("origin")),
        med=as_int(path.get("metric")) or 0,
        internal=None if kind is None else kind == "internal",
        igp_metric=as_int(hops[0].get("metric")) if hops else None,
    )


def _filtered(node: str, vip: str, shortest: int, document: dict[str, Any] | None) -> Route | None:
    """The route that import policy dropped. No warning is a problem: the peer may be unknown to the router,
    or the router keeps no filtered routes (soft-reconfiguration inbound), see `Session.keeps_filtered`.
    """
    address = ipaddress.ip_address(vip)
    covering = [
        (prefix.prefixlen, str(prefix), as_dict(row))
        for text, row in as_dict((document or {}).get("receivedRoutes")).items()
        if (prefix := as_prefix(text)) and prefix.prefixlen >= shortest and address in prefix
    ]
    if not covering:
        return None
    _, prefix_text, row = max(covering, key=lambda found: found[0])
    next_hop = as_address(row.get("nextHop")) or as_address(row.get("nextHopGlobal"))
    return Route(
        prefix=prefix_text,
        peer=node,
        next_hops=(next_hop,) if next_hop else (),
        used=False,
        filtered=True,
    )
