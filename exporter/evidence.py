"""The join: what a router says, sorted by the path that it speaks of. Pure.

Routes belong to a node by the peer that they came from, next hops in the FIB by the node's address, the
router's neighbor table or, for an IPv6 next hop, the peer that announced it; never by spelling alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from exporter.expected import Expected, Node, Target
from routers.lookup import addresses_behind, addresses_of
from routers.model import IPV6, NextHop, Route, Session, SessionState, Snapshot, canonical, family_of


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop in use for a VIP. `via` names the path: the node's name, or the address of a stranger.

    `more`: other addresses of the same node by which the router forwards too; `weight` is that of all of them.
    """

    via: str
    node: str | None
    address: str
    weight: int = 1
    more: tuple[str, ...] = ()

    @property
    def addresses(self) -> str:
        """All of them, as one text."""
        return ", ".join((self.address, *self.more))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a router says of one path to a VIP through an expected node. None: it did not say.

    `configured` is false when no neighbor has an address of the node and no route of another peer leads
    to it; `dynamic` when a dynamic-neighbor range covers it, or one of the unnumbered neighbors that nobody answers
    for may be it.
    """

    node: Node
    configured: bool | None
    dynamic: bool
    session: Session | None
    routes: tuple[Route, ...] | None
    forwarded: bool | None
    next_hop: str | None


@dataclass(frozen=True, slots=True)
class VipEvidence:
    """What a router says of one VIP. `hops` are the next hops in use, None if the router did not say."""

    hops: tuple[Hop, ...] | None
    nodes: Mapping[str, Evidence]
    announced: int | None

    @property
    def vias(self) -> frozenset[str] | None:
        return None if self.hops is None else frozenset(hop.via for hop in self.hops)


@dataclass(frozen=True, slots=True)
class RouterView:
    """A snapshot with its sessions sorted by node, once for all VIPs.

    `peers`: the nodes of link-local peers, by their addresses. `waiting`: unnumbered neighbors that nobody answers for.
    `unsure`: who is no neighbor is not known, as some link-local peer may be any node while the answer that would name
    it is missing, or neighbors came out of a range that the router does not tell.
    """

    snapshot: Snapshot
    sessions: Mapping[str, tuple[Session, ...]]
    dynamic: frozenset[str]
    usual_remote_as: int | None
    peers: Mapping[str, Node] = field(default_factory=lambda: MappingProxyType({}))
    waiting: tuple[str, ...] = ()
    unsure: bool = False

    @classmethod
    def of(cls, snapshot: Snapshot, expected: Expected) -> Self:
        sessions: dict[str, tuple[Session, ...]] = {}
        peers: dict[str, Node] = {}
        waiting: list[str] = []
        unsure = not snapshot.dynamic_ranges and any(session.dynamic for session in snapshot.sessions or ())
        for session in snapshot.sessions or ():
            own = _canonical_all([session.address])
            node = expected.node_at(own) or expected.node_at(sorted(addresses_behind(snapshot, session)))
            if node is not None:
                sessions[node.name] = (*sessions.get(node.name, ()), session)
                peers.update(dict.fromkeys((one for one in own if one not in expected.owners), node))
            elif session.interface is not None and session.state is not SessionState.ESTABLISHED:
                waiting.append(session.interface)
            elif snapshot.neighbors is None:
                unsure = unsure or any(ipaddress.ip_address(one).is_link_local for one in own)
        ranges = _networks(snapshot.dynamic_ranges)
        dynamic = frozenset(node.name for node in expected.nodes.values() if _covered(ranges, node))
        return cls(snapshot, sessions, dynamic, _usual_remote_as(snapshot), peers, tuple(waiting), unsure)

    def configured(self, expected: Expected) -> dict[str, bool]:
        """Whether each node has a session, as far as the router tells."""
        if self.snapshot.sessions is None:
            return {}
        return {node: node in self.sessions for node in expected.nodes if node in self.sessions or not self.unsure}


def of_vip(view: RouterView, expected: Expected, target: Target, vip: str) -> VipEvidence:
    """Sort all that a snapshot holds on one VIP by the expected nodes of a target."""
    hops = _hops(view, expected, vip)
    by_node = None if hops is None else {hop.node: hop for hop in hops if hop.node is not None}
    routes = _routes(view, expected, vip)
    nodes: dict[str, Evidence] = {}
    for name in target.nodes:
        node = expected.nodes[name]
        own = None if routes is None else routes.get(name, ())
        hop = None if by_node is None else by_node.get(name)
        sessions = view.sessions.get(name, ())
        nodes[name] = Evidence(
            node=node,
            configured=_configured(view, found=bool(sessions or own)),
            dynamic=name in view.dynamic or bool(view.waiting and not sessions),
            session=min(sessions, key=lambda session: _preference(session, family_of(vip)), default=None),
            routes=own,
            forwarded=None if by_node is None else hop is not None,
            next_hop=hop.addresses if hop is not None else node.address_for(vip),
        )
    return VipEvidence(hops, nodes, _announced(nodes, routes))


def _configured(view: RouterView, *, found: bool) -> bool | None:
    """Not being found is proof only where sessions, and who may be a neighbor, are known."""
    return None if view.snapshot.sessions is None or (view.unsure and not found) else found


def _hops(view: RouterView, expected: Expected, vip: str) -> tuple[Hop, ...] | None:
    snapshot = view.snapshot
    if vip not in snapshot.fib:
        return None
    entry = snapshot.fib[vip]
    hops: dict[str, Hop] = {}
    for next_hop in entry.next_hops if entry is not None else ():
        if next_hop.address is None or not next_hop.usable:
            continue
        address = canonical(next_hop.address)
        node = expected.node_at((address,)) or _node_behind(view, expected, vip, next_hop)
        if node is None and _could_be_a_node(snapshot, expected, vip, address):
            return None
        via = node.name if node is not None else address
        known = hops.get(via)
        if known is None:
            hops[via] = Hop(via, node.name if node is not None else None, address, next_hop.weight)
            continue
        more = known.more if address in (known.address, *known.more) else (*known.more, address)
        hops[via] = replace(known, weight=known.weight + next_hop.weight, more=more)
    return tuple(hops.values())


def _routes(view: RouterView, expected: Expected, vip: str) -> dict[str, tuple[Route, ...]] | None:
    """A VIP's routes by node: by the peer, and where the peer is no node (a route reflector) by the next hop."""
    if vip not in view.snapshot.routes:
        return None
    by_node: dict[str, tuple[Route, ...]] = {}
    for route in view.snapshot.routes[vip]:
        node = _peer(view, expected, route.peer)
        if node is None:
            node = expected.node_at(_canonical_all(route.next_hops))
        if node is not None:
            by_node[node.name] = (*by_node.get(node.name, ()), route)
    return by_node


def _peer(view: RouterView, expected: Expected, address: str | None) -> Node | None:
    own = _canonical_all([address]) if address is not None else ()
    return expected.node_at(own) or next((view.peers[one] for one in own if one in view.peers), None)


def _announced(nodes: Iterable[str], routes: Mapping[str, tuple[Route, ...]] | None) -> int | None:
    if routes is None:
        return None
    return sum(any(route.valid and not route.filtered for route in routes.get(name, ())) for name in nodes)


def _preference(session: Session, family: int) -> tuple[bool, bool, bool]:
    """Of a node's sessions, the one that should carry the family first; the working one before the others."""
    carries = session.families is None or family in session.families
    spoken = next((family_of(text) for text in _canonical_all([session.address])), None)
    return (not carries, spoken != family, session.state is not SessionState.ESTABLISHED)


def _usual_remote_as(snapshot: Snapshot) -> int | None:
    """The AS number of most neighbors that work, else of most neighbors; the router's own if it has none.

    None where no number is that of the majority: nodes with an AS each.
    """
    sessions = snapshot.sessions or ()
    for group in ([one for one in sessions if one.state is SessionState.ESTABLISHED], list(sessions)):
        numbers = [session.remote_as for session in group if session.remote_as]
        if numbers:
            usual = max(sorted(set(numbers)), key=numbers.count)
            return usual if 2 * numbers.count(usual) > len(numbers) else None
    return snapshot.local_as


def _node_behind(view: RouterView, expected: Expected, vip: str, next_hop: NextHop) -> Node | None:
    """The node behind a next hop that is none of its configured addresses: the same MAC, else the same peer."""
    (address,) = _canonical_all([next_hop.address or ""]) or (None,)
    if address is None or family_of(address) != IPV6:
        return None
    snapshot = view.snapshot
    node = expected.node_at(addresses_of(snapshot, next_hop)) or view.peers.get(address)
    if node is not None:
        return node
    peers = {
        peer
        for route in snapshot.routes.get(vip, ())
        if route.peer is not None and not route.filtered and address in _canonical_all(route.next_hops)
        for peer in _canonical_all([route.peer])
    }
    node = _peer(view, expected, next(iter(peers))) if len(peers) == 1 else None
    if node is None:
        return None
    return node if ipaddress.ip_address(address).is_link_local or node.address_for(vip) is None else None


def _could_be_a_node(snapshot: Snapshot, expected: Expected, vip: str, address: str) -> bool:
    """Nobody is a stranger while the answer that would name the node behind an address is missing: the neighbor table
    or the routes for a link-local one, the routes for an IPv6 address where some node is configured without any.
    """
    if ipaddress.ip_address(address).is_link_local:
        return snapshot.neighbors is None or vip not in snapshot.routes
    if family_of(address) != IPV6 or vip in snapshot.routes:
        return False
    return any(node.address_for(address) is None for node in expected.nodes.values())


def _networks(ranges: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for text in ranges:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue  # a parser let something through that is no prefix; it covers nobody
    return networks


def _covered(networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network], node: Node) -> bool:
    """Whether a session of the node could come out of a range; out of one of link-local addresses it always could."""
    return any(
        (network.version == IPV6 and network.is_link_local)
        or any(ipaddress.ip_address(address) in network for address in node.addresses)
        for network in networks
    )


def _canonical_all(addresses: Iterable[str]) -> tuple[str, ...]:
    """The canonical forms; a text that is no address (an unnumbered neighbor's interface) is left out."""
    found = []
    for address in addresses:
        try:
            found.append(canonical(address))
        except ValueError:
            continue
    return tuple(found)
