"""Cisco IOS-XE (and IOS 15): text over SSH, an exec request for each question; BGP, CEF and link neighbors of a VRF.

Written from Cisco's command references, which the parts name; not yet seen on a router of ours. Many releases end
the connection after one exec request, so that every question costs a login: routes of a few VIPs are asked one by
one, those of many as a whole table where the table is small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeVar

from routers.iosxe import oracle as iosxe_oracle
from routers.iosxe import questions as questions
from routers.iosxe import routes as iosxe_routes
from routers.iosxe import sessions as iosxe_sessions
from routers.iosxe.config import configuration_of
from routers.iosxe.text import Said, not_found, refused, unique
from routers.jsontext import digest
from routers.model import IPV4, IPV6, Command, Query, RemedyFacts, RemedyKind, Snapshot, family_of
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from routers.iosxe.routes import Entry
    from routers.iosxe.sessions import Detail, Summary
    from routers.jsontext import Prefix
    from routers.model import Answer, FibEntry, LinkNeighbor, Route, Session

PLATFORM = "iosxe"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = False
ORACLE = iosxe_oracle

_VERSION_TEXT = re.compile(r"\bVersion (\d[^\s,]{0,40})")
_NO_BGP = "% BGP not active"
_T = TypeVar("_T")


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address or VRF name."""
    families = questions.families(query)
    names = (
        questions.VERSION,
        *questions.summaries(query),
        *questions.details(query),
        *(questions.link_neighbors(query, family) for family in families),
        *(questions.INTERFACES[family] for family in families),
        questions.CONFIGURATION,
        *(name for family in families if questions.few(query, family) for name in questions.one_by_one(query, family)),
    )
    return tuple(map(questions.command, names))


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The routes of many VIPs, and what an old release calls by another name."""
    old = questions.is_old(query, answers)
    sizes = questions.table_sizes(questions.told_summaries(query, answers))
    names = (
        *(questions.old_summaries(query) if old else ()),
        *(questions.old_details(query) if old else ()),
        *(
            name
            for family in questions.families(query)
            if not questions.few(query, family)
            for name in questions.many(query, family, sizes)
        ),
        *(questions.rib(query, vip) for vip in unique(query.vips) if refused(answers.get(questions.fib(query, vip)))),
    )
    return tuple(map(questions.command, names))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    said = Said(answers)
    families = questions.families(query)
    neighbors = _Neighbors.of(query, said)
    configuration = configuration_of(said.lines(questions.CONFIGURATION, optional=True), query.vrf, families)
    tables = _Tables(query, said, questions.table_sizes(neighbors.summaries))
    routes: dict[str, tuple[Route, ...]] = {}
    fib: dict[str, FibEntry | None] = {}
    for vip in unique(query.vips):
        multipath = Multipath(configuration.limits.get(family_of(vip), {}), configuration.relaxed)
        if (found := tables.routes(vip, multipath)) is not None:
            routes[vip] = found
        if (installed := tables.installed(vip)) is not None:
            prefixes = [prefix for prefix, _ in installed]
            longest = iosxe_routes.covering(vip, prefixes, default_routes=query.default_routes)
            fib[vip] = next((entry for prefix, entry in installed if prefix == longest), None)
    links = _link_neighbors(query, said)
    if links is not None and _nobody_behind(fib.values(), links):
        said.problems.append(f"{questions.link_neighbors(query, IPV6)}: empty, though link-local next hops are in use")
        links = None
    version = said.lines(questions.VERSION, optional=True) or ()
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=neighbors.sessions(taken_at),
        dynamic_ranges=tuple(dict.fromkeys((*neighbors.ranges, *configuration.ranges))),
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=links,
        addresses=_own_addresses(query, said),
        local_as=neighbors.local_as,
        maximum_paths=MappingProxyType(configuration.lowest),
        version=next((match[1] for line in version if (match := _VERSION_TEXT.search(line))), None),
        problems=digest(said.problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from configuration mode to saving."""
    neighbor = f"neighbor {facts.neighbor}"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    in_family = (f"address-family ipv{facts.family}" + (f" vrf {facts.vrf}" if facts.vrf else " unicast"),)
    # In a VRF every line of a neighbor stands in an address family, those of its session in that of its address.
    spoken = IPV6 if ":" in facts.neighbor else IPV4
    global_part = (f"address-family ipv{spoken} vrf {facts.vrf}",) if facts.vrf else ()
    paths = facts.paths or "<number of nodes>"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            *global_part,
            f"{neighbor} remote-as {remote}",
            *(() if facts.vrf and spoken == facts.family else in_family),
            f"{neighbor} activate",
        ),
        RemedyKind.SESSION_SHUTDOWN: (*global_part, f"no {neighbor} shutdown"),
        RemedyKind.SESSION_WRONG_AS: (*global_part, f"{neighbor} remote-as {remote}"),
        RemedyKind.SESSION_PASSWORD: (*global_part, f"{neighbor} password <the password set on the node>"),
        RemedyKind.ROUTE_FILTERED: (*in_family, f"no {neighbor} route-map <name of the import policy> in"),
        RemedyKind.PATH_LIMIT: (*in_family, f"maximum-paths {'ibgp ' if facts.internal else ''}{paths}"),
        RemedyKind.AS_PATH_RELAX: ("bgp bestpath as-path multipath-relax", *in_family, f"maximum-paths {paths}"),
    }
    if kind not in lines:
        return None
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    # What was dropped before is let in only when it is looked at, or sent, once more.
    where = f"ip bgp vrf {facts.vrf} ipv{facts.family} unicast" if facts.vrf else f"bgp ipv{facts.family} unicast"
    again = (f"clear {where} {facts.neighbor} soft in",) if kind is RemedyKind.ROUTE_FILTERED else ()
    return "\n".join(("configure terminal", f"router bgp {local}", *lines[kind], "end", *again, "write memory"))


@dataclass(frozen=True, slots=True)
class _Neighbors:
    """What the summaries and the neighbors in detail say; `known` is false where that is not all."""

    summaries: list[Summary]
    details: list[Detail]
    vrf: str | None
    known: bool

    @classmethod
    def of(cls, query: Query, said: Said) -> Self:
        old = questions.is_old(query, said.answers)
        asked = questions.old_summaries(query) if old else questions.summaries(query)
        described = questions.old_details(query) if old else questions.details(query)
        summaries = [
            summary
            for name, family in asked.items()
            if (lines := said.lines(name)) is not None
            and (summary := said.known(name, iosxe_sessions.summary_of(lines, family)))
        ]
        texts = {name: said.lines(name) for name in described}
        details = [
            detail
            for name, lines in texts.items()
            for detail in iosxe_sessions.details_of(lines or (), described[name])
        ]
        idle = any(_NO_BGP in line for name in asked for line in said.plain(name))
        whole = len(summaries) == len(asked) and None not in texts.values()
        # One list alone does not show where it was cut, and a neighbor that it lacks would be called missing.
        sure = whole or all(said.answers[name].ended for name in (*asked, *texts) if name in said.answers)
        found = cls(summaries, details, query.vrf, known=idle or (sure and bool(summaries or details)))
        lone = iosxe_sessions.apart(summaries, details, query.vrf) if whole else frozenset()
        if lone:
            said.problems.append(f"{next(iter(asked))}: {len(lone)} neighbors stand in one list only, the other is cut")
        return found

    @property
    def local_as(self) -> int | None:
        return next((one.local_as for one in self.summaries if one.local_as is not None), None)

    @property
    def ranges(self) -> list[str]:
        return [prefix for summary in self.summaries for prefix in summary.ranges]

    def sessions(self, taken_at: float) -> tuple[Session, ...] | None:
        if not self.known:
            return None
        return iosxe_sessions.sessions_of(self.summaries, self.details, self.vrf, self.local_as, taken_at)


class _Tables:
    """The BGP table and the FIB, as far as they were asked; whole tables are read once."""

    def __init__(self, query: Query, said: Said, sizes: Mapping[int, int]) -> None:
        self._query = query
        self._said = said
        self._sizes = sizes
        self._entries: dict[str, list[Entry] | None] = {}
        self._installed: dict[str, list[tuple[Prefix, FibEntry | None]] | None] = {}

    def routes(self, vip: str, multipath: Multipath) -> tuple[Route, ...] | None:
        """A VIP's routes; None if they were not told, or not all of them."""
        entries = self._table(vip)
        if entries is None:
            return None
        found = iosxe_routes.routes_of(vip, entries, multipath, default_routes=self._query.default_routes)
        if found is None:
            self._said.problems.append(
                f"{questions.route(self._query, vip)}: cut, it lacks some of the paths that it counts"
            )
        return found

    def _table(self, vip: str) -> list[Entry] | None:
        name, family = questions.route(self._query, vip), family_of(vip)
        if name not in self._said.answers and not questions.few(self._query, family):
            name = questions.route_table(self._query, family)
            if self._sizes.get(family) == 0:
                return []
        if name not in self._entries:
            self._entries[name] = self._read(name, iosxe_routes.entries_of)
        return self._entries[name]

    def installed(self, vip: str) -> list[tuple[Prefix, FibEntry | None]] | None:
        """The FIB as far as it may concern a VIP; None if it was not told."""
        name, family = questions.fib(self._query, vip), family_of(vip)
        reader = iosxe_routes.fib_of
        if name not in self._said.answers and not questions.few(self._query, family):
            name = questions.fib_table(self._query, family)
        elif refused(self._said.answers.get(name)):
            name, reader = questions.rib(self._query, vip), iosxe_routes.rib_of
        if name not in self._installed:
            self._installed[name] = self._read(name, reader)
        return self._installed[name]

    def _read(self, name: str, reader: Callable[[list[str]], list[_T]]) -> list[_T] | None:
        lines = self._said.lines(name)
        if lines is None:
            return None
        found = reader(lines)
        if found or not_found(lines):
            return found
        self._said.problems.append(f"{name}: nothing that can be read")
        return None


def _link_neighbors(query: Query, said: Said) -> tuple[LinkNeighbor, ...] | None:
    """None where one of the tables could not be read; that of a family which is not in use may be empty."""
    rows: list[LinkNeighbor] = []
    known = True
    for family in questions.families(query):
        name = questions.link_neighbors(query, family)
        lines = said.table(name)
        found = None if lines is None else said.known(name, iosxe_routes.neighbors_of(lines))
        known = known and found is not None
        rows += found or ()
    return tuple(rows) if known else None


def _nobody_behind(fib: Iterable[FibEntry | None], links: tuple[LinkNeighbor, ...]) -> bool:
    """Whether CEF forwards to link-local addresses of which neighbor discovery, without a single row, knows none."""
    hops = [hop.address for entry in fib if entry is not None for hop in entry.next_hops]
    used = any(address is not None and ip_address(address).is_link_local for address in hops)
    return used and all(family_of(row.address) != IPV6 for row in links)


def _own_addresses(query: Query, said: Said) -> frozenset[str]:
    texts = (said.table(questions.INTERFACES[family]) for family in questions.families(query))
    return frozenset(own for lines in texts for own in iosxe_routes.own_addresses_of(lines or ()))
