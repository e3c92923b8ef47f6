"""The text of BIRD's `show route all` and `show route export` (nest/rt-show.c). Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from routers.jsontext import as_address, as_number, as_prefix
from routers.model import Route, Session, SessionState
from routers.selection import Attributes, Candidate

_ROUTE = re.compile(
    r"(?P<prefix>[\da-fA-F:.]+/\d+)?\s+(?P<type>\w+) \[(?P<protocol>\S+) (?P<heard>[^\]]*)\]"
    r"(?P<primary> \*)?.*? \((?P<preference>\d+)(?P<stale>s)?(?:/(?P<metric>\d+))?"
)
_TABLE = re.compile(r"Table (\S+):")
_VIA = re.compile(r"\s+via (?P<address>\S+) on (?P<interface>\S+).*")
_ROUTE_FIELD = re.compile(r"\s+(?P<key>[A-Za-z_.]+)(?: \[\w+\])?: ?(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Via:
    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A route as BIRD shows it: its first line, and those below."""

    prefix: str
    heading: re.Match[str]
    below: list[str]

    @property
    def vias(self) -> tuple[Via, ...]:
        matches = (_VIA.fullmatch(line) for line in self.below)
        shown = ((as_address(match["address"]), match["interface"]) for match in matches if match)
        return tuple(Via(address, interface) for address, interface in shown if address)


@dataclass(frozen=True, slots=True)
class Heard:
    """A route of the table with what it forwards by."""

    candidate: Candidate
    vias: frozenset[Via]

    @property
    def route(self) -> Route:
        return self.candidate.route


def tables_of(text: str) -> frozenset[str]:
    """The names of the tables that a text shows routes of."""
    return frozenset(match[1] for line in text.splitlines() if (match := _TABLE.fullmatch(line)))


def of_tables(text: str, tables: Collection[str]) -> str:
    """The part of a text that shows routes of these tables."""
    kept: list[str] = []
    ours = False
    for line in text.splitlines(keepends=True):
        if match := _TABLE.fullmatch(line.rstrip()):
            ours = match[1] in tables
        if ours:
            kept.append(line)
    return "".join(kept)


def entries_of(text: str) -> Iterator[Entry]:
    """The routes of `show route`; those below the first of a prefix do not repeat it."""
    prefix: str | None = None
    last: Entry | None = None
    for line in text.splitlines():
        match = _ROUTE.match(line)
        if match is None:
            if last:
                last.below.append(line)
            continue
        if last:
            yield last
        if match["prefix"]:
            known = as_prefix(match["prefix"])
            prefix = str(known) if known else None
        last = Entry(prefix, match, []) if prefix else None
    if last:
        yield last


def heard(entry: Entry, sessions: Mapping[str, Session]) -> Heard:
    """The route of an entry, its peer named by the session (protocol name -> session) that it came through."""
    heading = entry.heading
    fields = {
        match["key"].lower().replace("bgp.", "bgp_"): match["value"]
        for line in entry.below
        if (match := _ROUTE_FIELD.fullmatch(line))
    }
    announced = fields.get("bgp_next_hop", "").split()
    session = sessions.get(heading["protocol"])
    origin = heading["heard"].rpartition("from ")[2] if "from " in heading["heard"] else None
    vias = entry.vias
    named = (*(via.address for via in vias), *map(as_address, announced))
    hops = dict.fromkeys(hop for hop in named if hop and hop != "::")  # none: only the link-local one was announced
    valid = heading["type"] == "unicast"
    best = heading["primary"] is not None
    route = Route(
        prefix=entry.prefix,
        peer=session.address if session else as_address(origin),
        next_hops=tuple(hops),
        valid=valid,
        best=best,
        used=True if best and valid else None,
        stale=heading["stale"] is not None or (session is not None and session.state is not SessionState.ESTABLISHED),
    )
    obstacle = None if valid else f"next hop {', '.join(announced) or '(none)'} cannot be resolved"
    return Heard(Candidate(route, _attributes(heading, fields, session), obstacle), frozenset(vias))


def _attributes(heading: re.Match[str], fields: Mapping[str, str], session: Session | None) -> Attributes:
    path = fields.get("bgp_as_path", fields.get("bgp_path"))
    return Attributes(
        preference=as_number(heading["preference"]),
        local_preference=as_number(fields.get("bgp_local_pref")),
        as_path=None if path is None else tuple(path.split()),
        origin=fields.get("bgp_origin"),
        med=as_number(fields.get("bgp_med")) or 0,
        internal=None if session is None else session.remote_as == session.local_as,
        igp_metric=as_number(heading["metric"]),
    )


def longest(vip: str, table: list[Heard], *, shortest: int) -> list[Heard]:
    """The routes of the longest prefix, `shortest` bits at least, that covers a VIP."""
    address = ipaddress.ip_address(vip)
    covering = [
        one for one in table if length_of(one.route) >= shortest and address in ipaddress.ip_network(one.route.prefix)
    ]
    length = max((length_of(one.route) for one in covering), default=0)
    return [one for one in covering if length_of(one.route) == length]


def length_of(route: Route) -> int:
    """The length of a route's prefix."""
    return int(route.prefix.rpartition("/")[2])
