"""Juniper Junos: `show ... | display json` over SSH; BGP, routes, the forwarding table and link neighbors of a VRF.

A VRF is a routing instance. Written from Juniper's CLI reference and from captures of `show bgp neighbor`; the other
answers have not been seen on a router of ours. An exec request over SSH reaches the CLI for users whose login
class has no shell of its own; root gets a shell, which knows none of these commands.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.jsontext import digest
from routers.junos import oracle as junos_oracle
from routers.junos import questions as questions
from routers.junos import routes as junos_routes
from routers.junos import sessions as junos_sessions
from routers.junos.json import Said, below, nodes, number, text
from routers.model import IPV4, IPV6, Command, Query, RemedyFacts, RemedyKind, Snapshot, family_of
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from routers.jsontext import Prefix
    from routers.junos.json import Node
    from routers.junos.routes import Entry
    from routers.junos.sessions import Configuration
    from routers.model import Answer, FibEntry, LinkNeighbor, Session

PLATFORM = "junos"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = False
ORACLE = junos_oracle

_NO_BGP = "BGP is not running"


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address or instance."""
    families = questions.families(query)
    names = (
        questions.VERSION,
        questions.summary(query),
        questions.neighbors(query),
        questions.settings(query),
        questions.INTERFACES,
        *((questions.ARP,) if IPV4 in families else ()),
        *((questions.ND,) if IPV6 in families else ()),
        *(name for family in families if questions.few(query, family) for name in questions.one_by_one(query, family)),
    )
    return tuple(map(questions.command, names))


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The routes of many VIPs, as the size of the tables allows, and what the log says of refused neighbors."""
    said = Said(answers)
    sizes = _table_sizes(said, query)
    peers = _peers(said.about(questions.neighbors(query), "bgp-information"))
    names = (
        *(
            name
            for family in questions.families(query)
            if not questions.few(query, family)
            for name in questions.many(query, family, sizes)
        ),
        *((questions.OPEN_ERRORS,) if any(map(junos_sessions.was_refused, peers)) else ()),
    )
    return tuple(map(questions.command, names))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    said = Said(answers)
    configuration = junos_sessions.configuration_of(said.lines(questions.settings(query)), query.vrf)
    sessions = _sessions(query, said, configuration, taken_at)
    tables = _Tables(query, said)
    fib = {vip: entry[0] for vip in questions.vips(query) if (entry := tables.installed(vip)) is not None}
    by_address = {session.address: session for session in sessions or ()}
    # Unknown counts as off: where AS paths differ, the remedy sets both.
    multipath = Multipath({}, relaxed=configuration.relaxed)
    routes = {
        vip: junos_routes.routes_of(
            vip, entries, multipath, by_address, fib.get(vip), default_routes=query.default_routes
        )
        for vip in questions.vips(query)
        if (entries := tables.entries(vip)) is not None
    }
    single = configuration.known and not configuration.multipath
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=tuple(dict.fromkeys(configuration.ranges)),
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=_link_neighbors(query, said, tables),
        addresses=frozenset(
            junos_routes.own_addresses_of(said.about(questions.INTERFACES, "interface-information") or ())
        ),
        local_as=next((one.local_as for one in sessions or () if one.local_as is not None), None),
        maximum_paths=MappingProxyType({"ebgp": 1, "ibgp": 1} if single else {}),
        version=_version(said),
        problems=digest(said.problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from `configure` to `commit and-quit`.

    Which group holds the nodes is not known here. The forwarding table takes several next hops of a route only where
    a policy with load-balance per-packet (which is per flow) is exported to it.
    """
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    bgp = f"{f'routing-instances {facts.vrf} ' if facts.vrf else ''}protocols bgp"
    group = f"{bgp} group <group of the nodes>"
    neighbor = f"{group} neighbor {facts.neighbor}"
    # Families of a neighbor stand in the place of those that its group, or its address, would bring.
    families = dict.fromkeys((IPV4, facts.family) if ":" not in facts.neighbor else (facts.family,))
    balance = (
        "set policy-options policy-statement ECMP then load-balance per-packet",
        "set routing-options forwarding-table export ECMP",
    )
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"set {neighbor} peer-as {remote}",
            *(f"set {neighbor} family {'inet' if family == IPV4 else 'inet6'} unicast" for family in families),
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"delete {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"set {neighbor} peer-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f'set {neighbor} authentication-key "<the password set on the node>"',),
        RemedyKind.ROUTE_FILTERED: (
            "set policy-options policy-statement FROM-NODES then accept",
            f"delete {neighbor} import",
            f"set {neighbor} import FROM-NODES",
        ),
        RemedyKind.POLICY_MISSING: (
            "set policy-options policy-statement FROM-NODES then accept",
            f"set {neighbor} import FROM-NODES",
        ),
        RemedyKind.PATH_LIMIT: (f"set {group} multipath", *balance),
        RemedyKind.AS_PATH_RELAX: (f"set {group} multipath multiple-as", *balance),
    }
    return "\n".join(("configure", *lines[kind], "commit and-quit")) if kind in lines else None


def _sessions(query: Query, said: Said, configuration: Configuration, taken_at: float) -> tuple[Session, ...] | None:
    """Sessions from whichever of the two answers could be read; None when neither could."""
    names = (questions.neighbors(query), questions.summary(query))
    asked = {name: said.about(name, "bgp-information") for name in names}
    if any(said.says(name, _NO_BGP) for name in asked):
        return ()
    if all(not informations for informations in asked.values()):
        said.problems += [f"{name}: nothing about BGP" for name, found in asked.items() if found is not None]
        return None
    details, summary = (_peers(asked[name]) for name in names)
    log = junos_sessions.open_errors_of(said.lines(questions.OPEN_ERRORS))
    return junos_sessions.sessions_of(details, summary, configuration, log, query.vrf, taken_at)


def _peers(informations: list[Node] | None) -> list[Node]:
    return [peer for information in informations or () for peer in nodes(information, "bgp-peer")]


def _table_sizes(said: Said, query: Query) -> dict[int, int]:
    """Family -> how many routes its BGP table holds, as far as the summary tells."""
    informations = said.about(questions.summary(query), "bgp-information") or ()
    return {
        family: size
        for information in informations
        for table in nodes(information, "bgp-rib")
        if (family := junos_sessions.table_family(text(table, "name"), query.vrf)) is not None
        and (size := number(table, "total-prefix-count")) is not None
    }


def _link_neighbors(query: Query, said: Said, forwarding: _Tables) -> tuple[LinkNeighbor, ...] | None:
    """None where one of the tables could not be read. Those tables leave out what nobody answered for."""
    families = questions.families(query)
    asked = {IPV4: (questions.ARP, "arp-table-information"), IPV6: (questions.ND, "ipv6-nd-information")}
    tables = [said.about(*asked[family]) for family in families]
    if None in tables:
        return None
    rows = {row.address: row for row in forwarding.unresolved()}
    known = [row for table in tables for row in junos_routes.neighbors_of(table or ())]
    return (*known, *(row for row in rows.values() if row.address not in {one.address for one in known}))


def _version(said: Said) -> str | None:
    """Releases before 15 tell it only in the comment of a package."""
    for information in said.about(questions.VERSION, "software-information") or ():
        if told := text(information, "junos-version"):
            return told
        for comment in (text(package, "comment") for package in below(information, "package-information")):
            if comment and "[" in comment:
                return comment.partition("[")[2].partition("]")[0] or None
    return None


class _Tables:
    """The BGP table and the forwarding table, as far as they were asked; whole tables are read once."""

    def __init__(self, query: Query, said: Said) -> None:
        self._query = query
        self._said = said
        self._entries: dict[str, list[Entry] | None] = {}
        self._installed: dict[str, list[tuple[Prefix, FibEntry | None]] | None] = {}

    def entries(self, vip: str) -> list[Entry] | None:
        """The BGP routes that may cover a VIP; None if they were not told."""
        family = family_of(vip)
        name = self._name(questions.route(self._query, vip), questions.route_table(self._query, family), family)
        if name not in self._entries:
            found = self._about(name, "route-information")
            read = None if found is None else junos_routes.entries_of(found, family, self._query.vrf)
            self._entries[name] = read
        return self._entries[name]

    def installed(self, vip: str) -> tuple[FibEntry | None] | None:
        """The entry of the FIB in a tuple; None if it was not told."""
        family = family_of(vip)
        name = self._name(questions.fib(self._query.vrf, vip), questions.fib_table(self._query, family), family)
        if name not in self._installed:
            found = self._about(name, "forwarding-table-information")
            read = None if found is None else junos_routes.fib_of(found, family, self._query.vrf)
            self._installed[name] = read
        entries = self._installed[name]
        if entries is None:
            return None
        prefixes = [prefix for prefix, _ in entries]
        shortest = 0 if self._query.default_routes else 1
        longest = junos_routes.covering(vip, prefixes, shortest=shortest)
        return (next((entry for prefix, entry in entries if prefix == longest), None),)

    def unresolved(self) -> Iterator[LinkNeighbor]:
        """Next hops of the VIPs' entries whose link address the router does not know."""
        for name in self._installed:
            yield from junos_routes.unresolved_of(self._said.about(name, "forwarding-table-information") or ())

    def _name(self, own: str, table: str, family: int) -> str:
        return own if own in self._said.answers or questions.few(self._query, family) else table

    def _about(self, name: str, element: str) -> list[Node] | None:
        """As `Said.about`; an answer that holds something else is none."""
        found = self._said.about(name, element)
        if found == []:
            self._said.problems.append(f"{name}: no {element}")
            return None
        return found
