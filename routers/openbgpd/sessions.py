"""The neighbors of `bgpctl -j show neighbor` (usr.sbin/bgpctl/output_json.c). Pure."""

from __future__ import annotations

import ipaddress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_address, as_dict, as_int, as_list, as_number, as_prefix, as_text, phrase
from routers.model import IPV4, IPV6, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATES = {state.value.lower(): state for state in SessionState}
_FAMILIES = {"IPv4 unicast": IPV4, "IPv6 unicast": IPV6}
_HALF = 2**16


def as_number_of(value: object) -> int | None:
    """An AS number, as a number or a text, in plain notation or with a dot (RFC 5396)."""
    if isinstance(value, int):
        return as_int(value, low=1, high=2**32 - 1)
    high, dot, low = (as_text(value) or "").partition(".")
    if not dot:
        return as_int(as_number(high), low=1, high=2**32 - 1)
    halves = as_number(high), as_number(low)
    if halves[0] is None or halves[1] is None or max(halves[0], halves[1]) >= _HALF:
        return None
    return as_int(halves[0] * _HALF + halves[1], low=1, high=2**32 - 1)


def ranges_of(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The networks of templates: whoever connects from one becomes a neighbor (bgpd.conf(5), NEIGHBORS AND GROUPS)."""
    found = (as_prefix(row.get("remote_addr")) for row in rows if _is_template(row))
    return tuple(str(prefix) for prefix in found if prefix)


def sessions_of(rows: Sequence[dict[str, Any]], local_as: int | None, taken_at: float) -> tuple[Session, ...]:
    """The neighbors that are no templates."""
    ranges = [ipaddress.ip_network(one) for one in ranges_of(rows)]
    found = (_session(row, ranges, local_as, taken_at) for row in rows if not _is_template(row))
    return tuple(session for session in found if session)


def _is_template(row: dict[str, Any]) -> bool:
    return as_dict(row.get("config")).get("template") is True or "/" in (as_text(row.get("remote_addr")) or "")


def _session(
    row: dict[str, Any],
    ranges: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    local_as: int | None,
    taken_at: float,
) -> Session | None:
    address = as_address(row.get("remote_addr"))
    if address is None:
        return None
    config, stats = as_dict(row.get("config")), as_dict(row.get("stats"))
    state = _STATES.get((as_text(row.get("state")) or "").lower(), SessionState.UNKNOWN)
    up = state is SessionState.ESTABLISHED
    own = config if not up else as_dict(row.get("session"))
    offered = as_list(as_dict(own.get("capabilities")).get("multiprotocol"))
    families = frozenset(_FAMILIES[name] for name in offered if isinstance(name, str) and name in _FAMILIES)
    since = as_int(row.get("last_updown_sec"), high=2**40)
    error = _last_error(row)
    received = as_int(as_dict(stats.get("prefixes")).get("received"))
    return Session(
        address=address,
        state=state,
        remote_as=as_number_of(row.get("remote_as")),
        local_as=as_number_of(row.get("local_as")) or local_as,
        admin_down=config.get("down") is True,
        dynamic=_is_cloned(config, address, ranges),
        passive=config.get("passive") is True,
        last_error=None if up else error,
        established_at=taken_at - since if up and since is not None else None,
        prefixes_received=MappingProxyType(
            {next(iter(families)): received} if up and received is not None and len(families) == 1 else {}
        ),  # of several families only the sum is told
        families=families or None,
        prefix_limit_hit=not up and "max-prefix exceeded" in (error or ""),
        keeps_filtered=frozenset((IPV4, IPV6)),  # Adj-RIB-In holds everything
    )


def _is_cloned(
    config: dict[str, Any], address: str, ranges: list[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    if isinstance(cloned := config.get("cloned"), bool):
        return cloned
    return any(ipaddress.ip_address(address) in network for network in ranges)


def _last_error(row: dict[str, Any]) -> str | None:
    told = {
        "sent": as_text(row.get("last_error_sent")),
        "received": as_text(row.get("last_error_received")),
    }
    # its name in RFC 4271, section 6.2, which verdicts go by
    named = {way: text.replace("AS unacceptable", "Bad Peer AS") for way, text in told.items() if text}
    parts = [f"{text} ({way})" for way, text in named.items()]
    parts += [text for name in ("last_shutdown_reason", "my_shutdown_reason") if (text := as_text(row.get(name)))]
    return phrase("; ".join(parts)) or None
