"""EdgeOS (EdgeRouter): ZebOS's command line for BGP, and forwarding from the Linux kernel underneath.

`ubnt_vtysh` needs root, which users of the level admin get by sudo without a password; where sudo refuses, the
same questions go through the operational mode's wrapper, as if typed at the prompt.
"""

from __future__ import annotations

import re
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from routers import linux
from routers.edgeos import kernel as kernel
from routers.edgeos import oracle as edgeos_oracle
from routers.edgeos.routes import filtered_of, routes_of
from routers.edgeos.sessions import Configured, configured_of, sessions_of
from routers.jsontext import digest, phrase
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    FibEntry,
    NextHop,
    Query,
    RemedyFacts,
    RemedyKind,
    Snapshot,
    canonical,
    family_of,
)
from routers.selection import Multipath
from routers.zebos import first_said, said
from routers.zebos.longest import Longest
from routers.zebos.routes import candidates_of, entry_of, table_of, taken_of
from routers.zebos.sessions import details_of, summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from routers.model import Route, Session
    from routers.selection import Candidate
    from routers.zebos.routes import Heard, Taken
    from routers.zebos.sessions import Summary

PLATFORM = "edgeos"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = edgeos_oracle

_FAMILIES = (IPV4, IPV6)
_SUMMARY = {IPV4: "show ip bgp summary", IPV6: "show bgp ipv6 summary"}
_TABLE = {IPV4: "show ip bgp", IPV6: "show bgp ipv6"}
_TAKEN = {IPV4: "show ip route", IPV6: "show ipv6 route"}
_NEIGHBORS = "show ip bgp neighbors"
_CONFIGURATION = "configuration of BGP"
_VERSION = "version of EdgeOS"
_BY_WRAPPER = " (operational mode)"
_VTYSH = ("sudo", "-n", "/opt/vyatta/sbin/ubnt_vtysh", "-c")
_WRAPPER = "/opt/vyatta/bin/vyatta-op-cmd-wrapper"
_RELEASE = re.compile(r"\bv(\d{1,3}(?:\.\d{1,3}){1,2}(?:-[a-z]{1,16}\.?\d{0,4})?)")
_ASKED_ONE_BY_ONE = 16  # VIPs of a family; beyond that the whole table costs the router less
_SHOW_CONFIGURATION = (
    f"{_WRAPPER} show configuration commands | grep '^set protocols bgp ' | grep -v -i -e password -e ' key '"
)
_NO_VRF = "EdgeOS has no VRFs, so nothing can be read of the one that the configuration names"

T = TypeVar("T")


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    return (
        *(Command(question, (*_VTYSH, question)) for question in _questions(query)),
        Command(_CONFIGURATION, ("sh", "-c", _SHOW_CONFIGURATION)),
        Command(_VERSION, ("cat", "/etc/version")),
        *kernel.ask(query),
        *(command for command in linux.ask(Query((), ())) if command.name == linux.HASH_POLICY),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What vtysh refused, asked in operational mode; and what those neighbors announced that give no route to some
    VIP, where the router remembers it.
    """
    heard = {
        family: [{one.route.peer for one in routes} for _, routes in _candidates(family, query, answers, None, [])]
        for family in _families(query)
    }
    refused = [question for question in _questions(query) if question in answers and _is_refused(answers[question])]
    return (
        *(Command(question + _BY_WRAPPER, (_WRAPPER, *_operational(question))) for question in refused),
        *(
            Command(question, (*_VTYSH, question))
            for question, peer, family in _received(query, answers)
            if any(peer not in peers for peers in heard[family])
        ),
    )


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    if query.vrf not in (None, "default"):
        return Snapshot(router=router, platform=PLATFORM, taken_at=taken_at, neighbors=None, problems=(_NO_VRF,))
    problems: list[str] = []
    taken = {family: _taken(family, answers, problems) for family in _families(query)}
    summaries = {family: _parsed(question, summary_of, answers, problems) for family, question in _SUMMARY.items()}
    details = _parsed(_NEIGHBORS, details_of, answers, problems)
    if details == {} and any(summary.rows for summary in summaries.values() if summary is not None):
        problems.append(f"{_NEIGHBORS}: no neighbor in it, although the summary has some")
        details = None
    configured = configured_of(answers.get(_CONFIGURATION, Answer()).stdout)
    sessions = sessions_of(summaries, details, configured, taken_at)
    if sessions == () and (all(table is None for table in taken.values()) or _forwards_by_bgp(query, taken)):
        # No neighbor at all is told by silence, which is believed of a router that says nothing else against it.
        sessions = None
        problems.append(f"{_SUMMARY[IPV4]}: no answer")
    fib, fib_problems = kernel.read_fib(answers, query)
    _fill_in(fib, taken, query)
    neighbors, neighbor_problems = kernel.read_neighbors(answers)
    addresses, address_problems = kernel.read_addresses(answers)
    limits = _limits(summaries, configured)
    multipath = Multipath(limits, None if configured is None else configured.relaxed)
    version = _RELEASE.search(answers.get(_VERSION, Answer()).stdout)
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=tuple(configured.ranges) if configured is not None else (),
        routes=MappingProxyType(_routes(query, answers, sessions, taken, fib, multipath, problems)),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=addresses,
        local_as=_local_as(summaries, sessions, configured),
        maximum_paths=MappingProxyType(limits),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *neighbor_problems, *address_problems)),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The commands that mend a fault, from `configure` to `save`; None where EdgeOS does not know the fault."""
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    bgp = f"protocols bgp {local}"
    neighbor = f"{bgp} neighbor {facts.neighbor}"
    in_family = neighbor if facts.family == IPV4 else f"{neighbor} address-family ipv6-unicast"
    peering = "ibgp" if facts.internal else "ebgp"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"set {neighbor} remote-as {remote}",
            *((f"set {in_family}",) if facts.family != IPV4 else ()),
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"delete {neighbor} shutdown",),
        RemedyKind.SESSION_WRONG_AS: (f"set {neighbor} remote-as {remote}",),
        RemedyKind.SESSION_PASSWORD: (f"set {neighbor} password <the password set on the node>",),
        RemedyKind.ROUTE_FILTERED: (f"delete {in_family} route-map import",),
        RemedyKind.PATH_LIMIT: (f"set {bgp} maximum-paths {peering} {facts.paths or '<number of nodes>'}",),
        RemedyKind.AS_PATH_RELAX: (
            "# a release that does not know this setting needs one AS number for all nodes",
            f"set {bgp} parameters bestpath as-path multipath-relax",
        ),
    }
    if kind not in lines:
        return None
    return "\n".join(("configure", *lines[kind], "commit ; save"))


def _families(query: Query) -> tuple[int, ...]:
    return tuple(family for family in _FAMILIES if kernel.vips_of(query, family))


def _questions(query: Query) -> Iterator[str]:
    yield from (*_SUMMARY.values(), _NEIGHBORS)
    for family in _families(query):
        vips = kernel.vips_of(query, family)
        yield _TAKEN[family]
        yield from (_entry(vip) for vip in vips) if len(vips) <= _ASKED_ONE_BY_ONE else (_TABLE[family],)


def _entry(vip: str) -> str:
    return f"{_TABLE[family_of(vip)]} {vip}"


def _operational(question: str) -> list[str]:
    """The words by which operational mode knows a question: `show bgp ipv6 X` is `show ipv6 bgp X` there."""
    return question.replace("show bgp ipv6", "show ipv6 bgp").split()


def _is_refused(answer: Answer) -> bool:
    """Whether the router itself would not answer, so that another way of asking may help."""
    try:
        said(answer)
    except ValueError:
        return answer.error is None
    return False


def _received(query: Query, answers: Mapping[str, Answer]) -> Iterator[tuple[str, str, int]]:
    """The question, peer and family of each expected neighbor whose announcements the router keeps as they came."""
    try:
        details = details_of(first_said((_NEIGHBORS, _NEIGHBORS + _BY_WRAPPER), answers))
    except ValueError:
        return
    for peer in dict.fromkeys(map(canonical, query.node_addresses)):
        for family in sorted(details[peer].keeps_filtered) if peer in details else ():
            if family in _families(query):
                yield f"{_TABLE[family]} neighbors {peer} received-routes", peer, family


def _parsed(question: str, parse: Callable[[str], T], answers: Mapping[str, Answer], problems: list[str]) -> T | None:
    """A question's answer as `parse` reads it; None, and a problem, when it cannot be read."""
    reasons: list[str] = []
    for name in (question, question + _BY_WRAPPER):
        try:
            return parse(said(answers.get(name)))
        except ValueError as error:
            reasons += [str(error)] if name in answers or name == question else []
    problems.append(f"{question}: {phrase('; '.join(dict.fromkeys(reasons)))}")
    return None


def _taken(family: int, answers: Mapping[str, Answer], problems: list[str]) -> Longest[Taken] | None:
    rows = _parsed(_TAKEN[family], taken_of, answers, problems)
    return None if rows is None else Longest((row.prefix, row) for row in rows)


def _forwards_by_bgp(query: Query, taken: Mapping[int, Longest[Taken] | None]) -> bool:
    tables = {vip: taken.get(family_of(vip)) for vip in map(canonical, query.vips)}
    return any(row.bgp for vip, table in tables.items() if table is not None for row in table.of(vip))


def _limits(summaries: Mapping[int, Summary | None], configured: Configured | None) -> dict[str, int]:
    """What the summaries say is in force, else what is configured."""
    limits = dict(configured.limits) if configured is not None else {}
    told: dict[str, int] = {}
    for summary in summaries.values():
        for kind, limit in (summary.limits if summary is not None else {}).items():
            told[kind] = min(limit, told.get(kind, limit))
    return limits | told


def _local_as(
    summaries: Mapping[int, Summary | None], sessions: Sequence[Session] | None, configured: Configured | None
) -> int | None:
    told = [
        *(summary.local_as for summary in summaries.values() if summary is not None),
        *(session.local_as for session in sessions or ()),
        configured.local_as if configured is not None else None,
    ]
    return next((number for number in told if number is not None), None)


def _fill_in(fib: dict[str, FibEntry | None], taken: Mapping[int, Longest[Taken] | None], query: Query) -> None:
    """Where the kernel did not tell: the next hops that ZebOS marks as being in the FIB, if the release marks any."""
    for vip in map(canonical, query.vips):
        rows = taken.get(family_of(vip))
        if vip in fib or rows is None:
            continue
        own = rows.of(vip)
        if own and all(row.installed is not None for row in own):
            hops = tuple(NextHop(row.address, row.interface) for row in own if row.installed)
            fib[vip] = FibEntry(str(own[0].prefix), hops, "bgp" if own[0].bgp else None) if hops else None


def _routes(
    query: Query,
    answers: Mapping[str, Answer],
    sessions: Sequence[Session] | None,
    taken: Mapping[int, Longest[Taken] | None],
    fib: Mapping[str, FibEntry | None],
    multipath: Multipath,
    problems: list[str],
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    received: dict[int, dict[str, Longest[Heard] | None]] = {IPV4: {}, IPV6: {}}
    for question, peer, family in _received(query, answers):
        if question not in answers:
            continue  # there was no need, or it came to light only by the second round of questions, the last
        table = _parsed(question, table_of, answers, problems)
        received[family][peer] = _by_prefix(table.rows) if table is not None and table.whole else None
    found: dict[str, tuple[Route, ...]] = {}
    for family in _families(query):
        for vip, candidates in _candidates(family, query, answers, sessions, problems):
            routes = routes_of(vip, candidates, taken[family], fib.get(vip), multipath)
            dropped = None if routes is None else filtered_of(vip, received[family], routes)
            if routes is not None and dropped is not None:
                found[vip] = (*routes, *dropped)
    return found


def _candidates(
    family: int,
    query: Query,
    answers: Mapping[str, Answer],
    sessions: Sequence[Session] | None,
    problems: list[str],
) -> Iterable[tuple[str, tuple[Candidate, ...]]]:
    vips = kernel.vips_of(query, family)
    if len(vips) > _ASKED_ONE_BY_ONE:
        table = _parsed(_TABLE[family], table_of, answers, problems)
        if table is None:
            return []
        if not table.rows and any(one.prefixes_received.get(family) for one in sessions or ()):
            problems.append(f"{_TABLE[family]}: not one route, although sessions have accepted some")
            return []
        if not table.whole:
            problems.append(f"{_TABLE[family]}: the table has no end")
        heard = _by_prefix(table.rows)
        return [(vip, candidates_of(heard.of(vip))) for vip in vips if table.certain(vip, heard.of(vip))]
    found: list[tuple[str, tuple[Candidate, ...]]] = []
    for vip in vips:
        if sessions == () and not answers.get(_entry(vip), Answer(error="not asked")).stdout.strip():
            found.append((vip, ()))  # without BGP there is nothing to print
            continue
        candidates = _parsed(_entry(vip), partial(entry_of, vip=vip), answers, problems)
        found += [] if candidates is None else [(vip, candidates)]
    return found


def _by_prefix(rows: Iterable[Heard]) -> Longest[Heard]:
    return Longest((row.prefix, row) for row in rows)
