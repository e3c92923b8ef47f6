"""BGP neighbors of RouterOS 7: what is configured (`connection`) joined with what runs (`session`).

Property names: manual.mikrotik.com, CLI reference, /routing/bgp/connection, /routing/bgp/session and
/routing/bgp/instance. Releases differ: a connection has `as`, or its instance has; `address-families` or `afi`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.asn import as_asn
from routers.jsontext import as_address, as_prefix, as_text
from routers.model import IPV4, IPV6, Session, SessionState
from routers.routeros.api import bare, no, number, seconds, words, yes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from routers.jsontext import Prefix
    from routers.routeros.api import Row

DEFAULT_VRF = "main"
_FAMILIES = {"ip": IPV4, "ip4": IPV4, "ipv4": IPV4, "ipv6": IPV6}
_MARKER = b"\xff" * 16
_NOTIFICATION = 3  # the message type (RFC 4271 section 4.1)
_CEASE = 6
_CUTTING = ("input.accept-", "input.filter-")
_CODES = {  # RFC 4271 section 4.5, RFC 7313
    1: "Message Header Error",
    2: "OPEN Message Error",
    3: "UPDATE Message Error",
    4: "Hold Timer Expired",
    5: "Finite State Machine Error",
    6: "Cease",
    7: "ROUTE-REFRESH Message Error",
}
_SUBCODES = {
    (1, 1): "Connection Not Synchronized",
    (1, 2): "Bad Message Length",
    (1, 3): "Bad Message Type",
    (2, 1): "Unsupported Version Number",
    (2, 2): "Bad Peer AS",
    (2, 3): "Bad BGP Identifier",
    (2, 4): "Unsupported Optional Parameter",
    (2, 6): "Unacceptable Hold Time",
    (2, 7): "Unsupported Capability",  # RFC 5492
    (2, 11): "Role Mismatch",  # RFC 9234
    (3, 1): "Malformed Attribute List",
    (3, 6): "Invalid ORIGIN Attribute",
    (3, 8): "Invalid NEXT_HOP Attribute",
    (3, 11): "Malformed AS_PATH",
    (6, 1): "Maximum Number of Prefixes Reached",  # RFC 4486 and, from 9 on, RFC 8538 and RFC 9384
    (6, 2): "Administrative Shutdown",
    (6, 3): "Peer De-configured",
    (6, 4): "Administrative Reset",
    (6, 5): "Connection Rejected",
    (6, 6): "Other Configuration Change",
    (6, 7): "Connection Collision Resolution",
    (6, 8): "Out of Resources",
    (6, 9): "Hard Reset",
    (6, 10): "BFD Down",
}


@dataclass(frozen=True, slots=True)
class Peering:
    """The neighbors of the VRF in question, and what routes are read with.

    `peers`: session name -> address. `known`: the addresses of all neighbors. `internal`: address -> iBGP.
    `ignoring`: addresses whose routes are compared without regard to the length of their AS path.
    """

    sessions: tuple[Session, ...] = ()
    ranges: tuple[str, ...] = ()
    local_as: int | None = None
    maximum_paths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    peers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    known: frozenset[str] = frozenset()
    internal: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    ignoring: frozenset[str] = frozenset()


def peering_of(
    connections: Sequence[Row],
    running: Sequence[Row] | None,
    instances: Sequence[Row],
    vrf: str | None,
    taken_at: float,
) -> Peering:
    """The neighbors of a VRF, of every VRF if none is named (the default one's stand first, and win).

    `running` is None when it could not be read: the state of neighbors that are not shut down is unknown then.
    """
    known = {name: row for row in instances if (name := as_text(row.get("name")))}
    ours = _of_vrf([row for row in connections if "remote.address" in row], known, vrf)
    alive = _of_vrf(running or (), known, vrf)
    hosts, ranges = _configured(ours)
    by_address: dict[str, Row] = {}
    for row in sorted(alive, key=lambda row: not yes(row.get("established"))):
        if address := as_address(bare(as_text(row.get("remote.address")) or "")):
            by_address.setdefault(address, row)
    joined = tuple(
        _session(address, hosts.get(address), by_address.get(address), ranges, known, taken_at)
        for address in dict.fromkeys((*hosts, *by_address))
    )
    untold = [replace(one, state=SessionState.UNKNOWN) if not one.admin_down else one for one in joined]
    sessions = joined if running is not None else tuple(untold)
    named = {one.get("instance") for one in (*ours, *alive)}
    mine = [row for name, row in known.items() if name in named] or list(known.values())
    told = (one.local_as for one in sessions if one.local_as is not None)
    limits = [limit for row in mine if (limit := number(row.get("multipath")))]
    return Peering(
        sessions=sessions,
        ranges=tuple(dict.fromkeys(str(prefix) for prefix, row in ranges if not yes(row.get("disabled")))),
        local_as=next(told, next((asn for row in mine if (asn := as_asn(row.get("as")))), None)),
        maximum_paths=MappingProxyType({"ebgp": min(limits), "ibgp": min(limits)} if limits else {}),
        peers=MappingProxyType({name: key for key, row in by_address.items() if (name := as_text(row.get("name")))}),
        known=frozenset(one.address for one in sessions),
        internal=MappingProxyType(
            {key: kind for key in dict.fromkeys((*hosts, *by_address)) for kind in _internal(key, hosts, by_address)}
        ),
        ignoring=frozenset(
            key
            for key, row in by_address.items()
            if yes(row.get("input.ignore-as-path-len"))
            or yes(known.get(str(row.get("instance")), {}).get("ignore-as-path-len"))
        ),
    )


def have_received(running: Sequence[Row]) -> bool:
    """Whether a session that is up tells of prefixes. One that is down keeps an old count."""
    return any(yes(row.get("established")) and (number(row.get("prefix-count")) or 0) > 0 for row in running)


def _of_vrf(rows: Sequence[Row], instances: Mapping[str, Row], vrf: str | None) -> list[Row]:
    placed = [(row, _vrfs(row, instances)) for row in rows]
    if vrf is not None:
        return [row for row, vrfs in placed if vrf in vrfs]
    return [row for row, vrfs in sorted(placed, key=lambda pair: DEFAULT_VRF not in pair[1])]


def _vrfs(row: Row, instances: Mapping[str, Row]) -> set[str]:
    """The VRF and the routing table of a neighbor; those of its instance where it has none of its own."""
    for told in (row, instances.get(str(row.get("instance")), {})):
        if found := {name for key in ("vrf", "routing-table") if (name := as_text(told.get(key)))}:
            return found
    return {DEFAULT_VRF}


def _configured(connections: Sequence[Row]) -> tuple[dict[str, Row], list[tuple[Prefix, Row]]]:
    """Neighbors with an address, and ranges from which any may connect (`remote.address` is a subnet)."""
    hosts: dict[str, Row] = {}
    ranges: list[tuple[Prefix, Row]] = []
    for row in connections:
        for text in words(row["remote.address"]):
            prefix = as_prefix(_without_zone(text))
            if prefix is None:
                continue
            if prefix.prefixlen == prefix.max_prefixlen:
                address = str(prefix.network_address)
                if address not in hosts or yes(hosts[address].get("disabled")):
                    hosts[address] = row
            else:
                ranges.append((prefix, row))
    return hosts, ranges


def _without_zone(text: str) -> str:
    """`fe80::1%ether1/128` -> `fe80::1/128`."""
    _, slash, length = text.partition("/")
    return f"{bare(text.partition('/')[0])}{slash}{bare(length)}"


def _session(
    address: str,
    configured: Row | None,
    running: Row | None,
    ranges: Sequence[tuple[Prefix, Row]],
    instances: Mapping[str, Row],
    taken_at: float,
) -> Session:
    of_range = None if configured is not None else _range_of(address, ranges)
    settings = configured or of_range or {}
    now = running or {}
    up = yes(now.get("established"))
    disabled = yes(settings.get("disabled")) or yes(now.get("stopped"))
    sent = _code(now.get("output.last-notification"))
    over_limit = yes(now.get("limit-exceeded")) or (not up and sent == (_CEASE, 1))
    uptime = seconds(now.get("uptime")) if up else None
    families = _families(settings, now)
    count = number(now.get("prefix-count")) if up else None  # a session that is down keeps an old one
    only = next(iter(families)) if families is not None and len(families) == 1 else None
    instance = instances.get(str(settings.get("instance") or now.get("instance")), {})
    return Session(
        address=address,
        state=_state(up=up, idle=disabled or over_limit),
        remote_as=_first_asn(settings.get("remote.as"), now.get("remote.as")),
        local_as=_first_asn(now.get("local.as"), settings.get("as"), settings.get("local.as"), instance.get("as")),
        admin_down=disabled and not up,
        dynamic=of_range is not None,
        passive=no(settings.get("connect")),
        last_error=_last_error(now),
        established_at=None if uptime is None else taken_at - uptime,
        prefixes_received=MappingProxyType({} if count is None or only is None else {only: count}),
        families=families,
        prefix_limit_hit=over_limit,
        keeps_filtered=_keeps_filtered(settings),
    )


def _state(*, up: bool, idle: bool) -> SessionState:
    """RouterOS tells Established or not. It tries to connect to, or waits for, a neighbor that is not shut down."""
    if up:
        return SessionState.ESTABLISHED
    return SessionState.IDLE if idle else SessionState.ACTIVE


def _range_of(address: str, ranges: Sequence[tuple[Prefix, Row]]) -> Row | None:
    host = as_prefix(address)
    covering = [
        (one.prefixlen, row)
        for one, row in ranges
        if host and host.version == one.version and host.network_address in one
    ]
    return max(covering, key=lambda found: found[0])[1] if covering else None


def _first_asn(*values: object) -> int | None:
    return next((asn for value in values if (asn := as_asn(value))), None)


def _internal(address: str, hosts: Mapping[str, Row], running: Mapping[str, Row]) -> Iterator[bool]:
    """Whether a neighbor is iBGP, once; nothing if not told."""
    for row in (running.get(address, {}), hosts.get(address, {})):
        role = as_text(row.get("local.role"))
        if yes(row.get("ibgp")) or yes(row.get("ebgp")) or role:
            yield yes(row.get("ibgp")) or (not yes(row.get("ebgp")) and (role or "").startswith("ibgp"))
            return


def _families(settings: Row, now: Row) -> frozenset[int] | None:
    sides = [_named(now.get(key)) for key in ("local.afi", "remote.afi")]
    if all(sides):
        return sides[0] & sides[1]
    return _named(settings.get("afi")) or _named(settings.get("address-families")) or None


def _named(value: object) -> frozenset[int]:
    return frozenset(_FAMILIES[word] for word in words(value) if word in _FAMILIES)


def _keeps_filtered(settings: Row) -> frozenset[int] | None:
    """Routes that a filter chain rejects stay in /routing/route; those that `accept-*` and `filter-*` cut do not."""
    cut = any(key.startswith(_CUTTING) and value for key, value in settings.items())
    return None if cut else frozenset({IPV4, IPV6})


def _last_error(now: Row) -> str | None:
    """The notifications in words. Which of the two is the later one is not told."""
    told = [
        f"{way} {_words_of(code)}"
        for way, key in (("received", "input.last-notification"), ("sent", "output.last-notification"))
        if (code := _code(now.get(key)))
    ]
    return ", ".join(told) or None


def _code(value: object) -> tuple[int, int] | None:
    """Code and subcode of a BGP NOTIFICATION message in hex."""
    try:
        message = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    body = message[18:] if message.startswith(_MARKER) else message
    return (body[1], body[2]) if len(body) >= 3 and body[0] == _NOTIFICATION else None  # noqa: PLR2004


def _words_of(code: tuple[int, int]) -> str:
    name = _CODES.get(code[0], f"notification {code[0]}")
    detail = _SUBCODES.get(code) or (f"subcode {code[1]}" if code[1] else None)
    return f"{name}/{detail}" if detail else name
