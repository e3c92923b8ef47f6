"""An EdgeRouter's BGP sessions: what two summaries, the neighbors in full and the configuration say together. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.jsontext import as_address, as_number, as_prefix
from routers.model import IPV4, IPV6, Session, SessionState
from routers.zebos import as_of
from routers.zebos.sessions import Detail, Row, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

_SET = ["set", "protocols", "bgp"]


@dataclass(slots=True)
class Configured:
    """What `show configuration commands` says of BGP."""

    local_as: int | None = None
    remote_as: dict[str, int | None] = field(default_factory=dict)
    shut_down: set[str] = field(default_factory=set)
    passive: set[str] = field(default_factory=set)
    limits: dict[str, int] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)
    relaxed: bool = False


def configured_of(text: str) -> Configured | None:
    """The lines `set protocols bgp AS ...`; None where there are none: it may be that they could not be seen."""
    found = Configured()
    for line in text.splitlines():
        words = [word.strip("'") for word in line.split()]
        if words[:3] != _SET:
            continue
        found.local_as = as_of("".join(words[3:4])) or found.local_as
        match words[4:]:
            case ["neighbor", text_of_address, *rest] if address := as_address(text_of_address):
                _neighbor(found, address, rest)
            case ["maximum-paths", ("ibgp" | "ebgp") as kind, number] if (limit := as_number(number)) is not None:
                found.limits[kind] = limit
            case ["listen", "range", prefix, *_] if as_prefix(prefix):
                found.ranges.append(str(as_prefix(prefix)))
            case ["parameters", "bestpath", "as-path", "multipath-relax", *_]:
                found.relaxed = True
    return found if found.local_as is not None else None


def _neighbor(found: Configured, address: str, rest: list[str]) -> None:
    found.remote_as.setdefault(address, None)
    match rest:
        case ["remote-as", number]:
            found.remote_as[address] = as_of(number)
        case ["shutdown", *_]:
            found.shut_down.add(address)
        case ["passive", *_]:
            found.passive.add(address)


def sessions_of(
    summaries: Mapping[int, Summary | None],
    details: Mapping[str, Detail] | None,
    configured: Configured | None,
    taken_at: float,
) -> tuple[Session, ...] | None:
    """Every neighbor that any answer names; None when the answers may leave some out.

    A summary names the neighbors of one family and `show ip bgp neighbors` all of them, so both summaries do,
    or the latter; the configuration alone would say nothing of states.
    """
    whole = all(summaries.get(family) is not None for family in (IPV4, IPV6))
    if not whole and details is None:
        return None
    rows = {family: {row.address: row for row in summary.rows} for family, summary in summaries.items() if summary}
    named = [address for family in rows.values() for address in family]
    if not whole and any(address not in (details or {}) for address in named):
        return None
    addresses = dict.fromkeys((*named, *(details or ()), *(configured.remote_as if configured else ())))
    return tuple(
        _session(
            address,
            {family: found[address] for family, found in rows.items() if address in found},
            None if details is None else details.get(address),
            configured,
            taken_at,
        )
        for address in addresses
    )


def _session(
    address: str, rows: Mapping[int, Row], detail: Detail | None, configured: Configured | None, taken_at: float
) -> Session:
    row = next(iter(rows.values()), None)
    state = _state(row, detail)
    up = state is SessionState.ESTABLISHED
    notes = {one.note for one in rows.values()}
    seconds = next((one.up_seconds for one in rows.values() if one.up_seconds is not None), None)
    families = frozenset(rows) if detail is None else frozenset(detail.negotiated if up else detail.activated)
    return Session(
        address=address,
        state=state,
        remote_as=_first(
            row.remote_as if row is not None else None,
            detail.remote_as if detail is not None else None,
            configured.remote_as.get(address) if configured is not None else None,
        ),
        local_as=_first(
            detail.local_as if detail is not None else None,
            configured.local_as if configured is not None else None,
        ),
        admin_down="(Admin)" in notes
        or (detail is not None and detail.admin_down)
        or (configured is not None and address in configured.shut_down),
        dynamic=(row is not None and row.dynamic) or (detail is not None and detail.dynamic),
        passive=configured is not None and address in configured.passive,
        last_error=None if up or detail is None else detail.last_error,
        established_at=taken_at - seconds if up and seconds is not None else None,
        prefixes_received=MappingProxyType(
            {family: one.prefixes for family, one in rows.items() if one.prefixes is not None}
        ),
        families=families or None,
        prefix_limit_hit="(PfxCt)" in notes or (detail is not None and detail.overflow and not up),
        keeps_filtered=None if detail is None else frozenset(detail.keeps_filtered),
        router_id=None if detail is None else detail.router_id,
    )


def _state(row: Row | None, detail: Detail | None) -> SessionState:
    """A summary's state; that of the neighbor in full where the summary does not name it."""
    if row is not None and row.state is not SessionState.UNKNOWN:
        return row.state
    return detail.state if detail is not None else SessionState.UNKNOWN


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
