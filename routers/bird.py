"""BIRD 2 and 3 through `birdc -r` (read-only), and forwarding from the Linux kernel.

BIRD marks the primary route of a prefix only. Which others `merge paths` adds is told by what the kernel
protocol exports, and its limit by nothing but the configuration file. Text formats: nest/proto.c,
nest/rt-show.c, proto/bgp/bgp.c.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, MINYEAR, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers import linux
from routers.jsontext import as_address, as_prefix, digest, phrase
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Session,
    SessionState,
    Snapshot,
    canonical,
    family_of,
)
from routers.selection import Attributes, Candidate, Multipath, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from routers.model import FibEntry

PLATFORM = "bird"
HAS_LINUX_ORACLE = True

_STATUS = "bird status"
_PROTOCOLS = "bird protocols"
_ROUTES = "bird routes"
_FILTERED = "bird filtered routes"
_EXPORTS = "bird exports"
_VIPS_PER_COMMAND = 64  # birdc's line buffer is 4096 bytes (CLI_RX_BUF_SIZE)
_KERNELS = 4  # of one family and table; each is a question of its own
_MULTIPATH = Multipath({})
_CHANNELS = {"Channel ipv4": IPV4, "Channel ipv6": IPV6}
_STATES = {state.value.lower(): state for state in SessionState} | {
    "down": SessionState.IDLE,
    "close": SessionState.IDLE,
    "passive": SessionState.ACTIVE,
}
_PROTOCOL = re.compile(
    r"(?P<name>\S+) +(?P<type>\S+) +\S+ +(?P<state>up|down|start|stop|flush)"
    r" +(?P<since>[\d.:-]+(?: [\d.:]+)?)(?: .*)?"
)
_ROUTE = re.compile(
    r"(?P<prefix>[\da-fA-F:.]+/\d+)?\s+(?P<type>\w+) \[(?P<protocol>\S+) (?P<heard>[^\]]*)\]"
    r"(?P<primary> \*)?.*? \((?P<preference>\d+)(?P<stale>s)?(?:/(?P<metric>\d+))?"
)
_TABLE = re.compile(r"Table (\S+):")
_SYMBOL = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # what may stand between quotes (conf/cf-lex.l)
_VIA = re.compile(r"\s+via (?P<address>\S+) on (?P<interface>\S+).*")
_ROUTE_FIELD = re.compile(r"\s+(?P<key>[A-Za-z_.]+)(?: \[\w+\])?: ?(?P<value>.*)")
_COUNTS = re.compile(r"(\d{1,10}) imported(?:, (\d{1,10}) filtered)?,")


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    return (
        _birdc(_STATUS, "show status"),
        _birdc(_PROTOCOLS, "show protocols all"),
        *_route_commands(_ROUTES, "show route all", query.vips),
        *_route_commands(_FILTERED, "show route all filtered", query.vips),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What each kernel protocol exports for the VIPs: the next hops that BIRD wants in the kernel."""
    protocols = _protocols(_said(_PROTOCOLS, answers), [])
    return tuple(
        command
        for family in (IPV4, IPV6)
        for name in _kernels(family, protocols, query, answers) or ()
        for command in _export_commands(name, family, query)
    )


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    status = _text(_STATUS, answers, problems) or ""
    protocols = _protocols(_text(_PROTOCOLS, answers, problems), problems)
    bgp = [protocol for protocol in protocols or () if protocol.type == "BGP"]
    ranges = tuple(str(prefix) for protocol in bgp if (prefix := as_prefix(protocol.fields.get("Neighbor range"))))
    sessions = {
        protocol.name: session
        for protocol in bgp
        if (session := _session(protocol, ranges, _server_time(status), taken_at))
    }
    fib, fib_problems = linux.read_fib(answers, query)
    neighbors, neighbor_problems = linux.read_neighbors(answers)
    addresses, address_problems = linux.read_addresses(answers)
    kernels = {family: _read_kernels(family, protocols, query, answers, problems) for family in (IPV4, IPV6)}
    routes = _read_routes(query, sessions, fib, kernels, answers, problems)
    version = re.search(r"BIRD v?(\d\S*)", status)
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=None if protocols is None else tuple(sessions.values()),
        dynamic_ranges=ranges,
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=addresses,
        local_as=next((one.local_as for one in sessions.values() if one.local_as is not None), None),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *neighbor_problems, *address_problems)),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The lines of bird.conf that mend a fault, and the command that loads them."""
    local = facts.local_as if facts.local_as is not None else "<AS of the router>"
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    channel = f"ipv{facts.family} {{ import all; export none; }};"
    protocol = f"# in the protocol bgp block of neighbor {facts.neighbor}"
    limit = facts.paths or "<number of nodes>"
    lines: dict[RemedyKind, tuple[str, ...]] = {
        RemedyKind.NEIGHBOR_MISSING: (
            "protocol bgp <name> {",
            f"  local as {local};",
            f"  neighbor {facts.neighbor} as {remote};",
            f"  {channel}",
            "}",
        ),
        RemedyKind.SESSION_SHUTDOWN: (f"birdc enable <protocol of neighbor {facts.neighbor}>",),
        RemedyKind.SESSION_WRONG_AS: (protocol, f"neighbor {facts.neighbor} as {remote};"),
        RemedyKind.SESSION_PASSWORD: (protocol, 'password "<the password set on the node>";'),
        RemedyKind.ROUTE_FILTERED: (protocol, channel),
        RemedyKind.PATH_LIMIT: (
            f"# in the protocol kernel block with channel ipv{facts.family}",
            f"merge paths on limit {limit};",
        ),
    }
    if kind not in lines:
        return None
    load = () if kind is RemedyKind.SESSION_SHUTDOWN else ("birdc configure",)
    return "\n".join((*lines[kind], *load))


def _birdc(name: str, question: str) -> Command:
    return Command(name, ("birdc", "-r", question))


def _route_commands(
    name: str, show: str, vips: Iterable[str], families: Sequence[int] = (IPV4, IPV6)
) -> Iterator[Command]:
    """One command for many VIPs: `P-` in a prefix set matches P and every shorter prefix that covers it."""
    for family in families:
        length = 32 if family == IPV4 else 128
        prefixes = [f"{vip}/{length}-" for vip in _unique(vips) if family_of(vip) == family]
        for number, start in enumerate(range(0, len(prefixes), _VIPS_PER_COMMAND), start=1):
            chosen = ", ".join(prefixes[start : start + _VIPS_PER_COMMAND])
            yield _birdc(f"{name} {family}.{number}", f"{show} where net ~ [ {chosen} ]")


def _export_commands(kernel: str, family: int, query: Query) -> Iterator[Command]:
    """`kernel` is a name that `_SYMBOL` knows, so nothing in it ends the quotes."""
    return _route_commands(f"{_EXPORTS} {kernel}", f"show route export '{kernel}'", query.vips, (family,))


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _said(name: str, answers: Mapping[str, Answer]) -> str | None:
    """What birdc printed; None when it could not ask BIRD."""
    answer = answers.get(name, Answer(error="not asked"))
    usable = answer.error is None and not answer.exit_status and "ready." in answer.stdout
    return answer.stdout if usable else None


def _text(name: str, answers: Mapping[str, Answer], problems: list[str]) -> str | None:
    """What birdc printed; None, and a problem, when it could not ask BIRD."""
    if (said := _said(name, answers)) is not None:
        return said
    answer = answers.get(name, Answer(error="not asked"))
    complaint = answer.error or phrase(answer.stderr) or phrase(answer.stdout) or "no answer"
    problems.append(f"{name}: {complaint}")
    return None


@dataclass(frozen=True, slots=True)
class _Protocol:
    """A block of `show protocols all`: its own fields, and those of each channel."""

    name: str
    type: str
    state: str
    since: str
    fields: dict[str, str] = field(default_factory=dict)
    channels: dict[int, dict[str, str]] = field(default_factory=dict)


def _protocols(text: str | None, problems: list[str]) -> list[_Protocol] | None:
    if text is None:
        return None
    if not re.search(r"^Name +Proto ", text, re.MULTILINE):
        problems.append(f"{_PROTOCOLS}: no table of protocols")
        return None
    found: list[_Protocol] = []
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if match := _PROTOCOL.fullmatch(line):
            found.append(_Protocol(match["name"], match["type"], match["state"], match["since"]))
            fields = found[-1].fields
        elif found and line.strip() in _CHANNELS:
            fields = found[-1].channels.setdefault(_CHANNELS[line.strip()], {})
        elif found and line.startswith("  "):
            key, _, value = line.strip().partition(":")
            fields.setdefault(key, value.strip())
    return found


def _session(protocol: _Protocol, ranges: Sequence[str], now: datetime | None, taken_at: float) -> Session | None:
    """A session; None for a block that only waits for neighbors out of a range."""
    fields, channels = protocol.fields, protocol.channels
    address = as_address(fields.get("Neighbor address"))
    if address is None:
        return None
    shown = fields.get("BGP state", "").lower()
    state = _STATES.get(shown, SessionState.UNKNOWN)
    up = state is SessionState.ESTABLISHED
    error = phrase(fields.get("Last error", "")) or None
    counts = {family: match for family, own in channels.items() if (match := _COUNTS.match(own.get("Routes", "")))}
    return Session(
        address=address,
        state=state,
        remote_as=_number(fields.get("Neighbor AS")),
        local_as=_number(fields.get("Local AS")),
        admin_down=protocol.state == "down",
        dynamic=any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in ranges),
        passive=shown == "passive",
        last_error=None if up else error,
        established_at=_established_at(protocol.since, now, taken_at) if up else None,
        prefixes_received=MappingProxyType({family: int(match[1]) for family, match in counts.items()}),
        families=frozenset(family for family, own in channels.items() if not up or own.get("State") == "UP"),
        prefix_limit_hit=not up and "limit" in (error or "").lower(),
        keeps_filtered=frozenset(family for family, match in counts.items() if match[2]) if counts else None,
        prefixes_filtered=MappingProxyType({family: int(match[2]) for family, match in counts.items() if match[2]}),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,10}", text, re.ASCII) else None


def _server_time(status: str) -> datetime | None:
    match = re.search(r"Current server time is (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", status)
    return _when(match[1]) if match else None


def _when(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None and MINYEAR + 1 < found.year < MAXYEAR else None


def _established_at(since: str, now: datetime | None, taken_at: float) -> float | None:
    """Seconds since the epoch, from the server's own clock and zone; None where BIRD shows only a date, as
    it does by default after a day.
    """
    if now is None or ":" not in since:
        return None
    start = _when(since) if " " in since else _when(f"{now.date()} {since}")
    if start is None:
        return None
    if start > now + timedelta(seconds=1):  # yesterday's time of day
        start -= timedelta(days=1)
    return taken_at - (now - start).total_seconds()


@dataclass(frozen=True, slots=True)
class _Via:
    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route as BIRD shows it: its first line, and those below."""

    prefix: str
    heading: re.Match[str]
    below: list[str]

    @property
    def vias(self) -> tuple[_Via, ...]:
        matches = (_VIA.fullmatch(line) for line in self.below)
        shown = ((as_address(match["address"]), match["interface"]) for match in matches if match)
        return tuple(_Via(address, interface) for address, interface in shown if address)


@dataclass(frozen=True, slots=True)
class _Heard:
    """A route of the table with what it forwards by."""

    candidate: Candidate
    vias: frozenset[_Via]

    @property
    def route(self) -> Route:
        return self.candidate.route


@dataclass(frozen=True, slots=True)
class _Kernels:
    """The kernel protocols that take a family's routes, and prefix -> the next hops that they export."""

    names: tuple[str, ...]
    exported: Mapping[str, frozenset[_Via]]

    def __str__(self) -> str:
        return f"kernel protocol {' or '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class _Shares:
    """How many of the routes that no attribute sets back are used."""

    used: int
    equal: int

    def __str__(self) -> str:
        return f"{self.used} of {self.equal} equal paths"


def _kernels(
    family: int, protocols: Sequence[_Protocol] | None, query: Query, answers: Mapping[str, Answer]
) -> tuple[str, ...] | None:
    """The kernel protocols in charge of the tables in which the VIPs' routes stand; None when not told.

    Those that are down export nothing, and are left out.
    """
    texts = [_said(command.name, answers) for command in _route_commands(_ROUTES, "", query.vips, (family,))]
    tables = {match[1] for text in texts if text for line in text.splitlines() if (match := _TABLE.fullmatch(line))}
    names = tuple(
        one.name
        for one in protocols or ()
        if one.type == "Kernel" and one.state == "up" and one.channels.get(family, {}).get("Table") in tables
    )
    told = protocols is not None and None not in texts and len(names) <= _KERNELS
    return names if told and all(map(_SYMBOL.fullmatch, names)) else None


def _read_kernels(
    family: int,
    protocols: Sequence[_Protocol] | None,
    query: Query,
    answers: Mapping[str, Answer],
    problems: list[str],
) -> _Kernels | None:
    """What BIRD wants in the kernel; None when an answer is missing."""
    names = _kernels(family, protocols, query, answers)
    if names is None:
        return None
    texts = [
        _text(command.name, answers, problems) for name in names for command in _export_commands(name, family, query)
    ]
    if None in texts:
        return None
    exported: dict[str, frozenset[_Via]] = {}
    for entry in (entry for text in texts for entry in _entries(text or "")):
        exported[entry.prefix] = exported.get(entry.prefix, frozenset()).union(entry.vias)
    return _Kernels(names, exported)


def _read_routes(
    query: Query,
    sessions: Mapping[str, Session],
    fib: Mapping[str, FibEntry | None],
    kernels: Mapping[int, _Kernels | None],
    answers: Mapping[str, Answer],
    problems: list[str],
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    found: dict[str, tuple[Route, ...]] = {}
    tables = {
        command.name: _text(command.name, answers, problems)
        for show in (_ROUTES, _FILTERED)
        for command in _route_commands(show, "", query.vips)
    }
    for family in (IPV4, IPV6):
        names = [name for name in tables if name.startswith(f"{_ROUTES} {family}.")]
        if any(tables[name] is None for name in names):
            continue
        accepted = [_heard(entry, sessions) for name in names for entry in _entries(tables[name] or "")]
        dropped = [
            _heard(entry, sessions)
            for name, text in tables.items()
            if name.startswith(f"{_FILTERED} {family}.")
            for entry in _entries(text or "")
        ]
        for vip in _unique(query.vips):
            if family_of(vip) == family:
                found[vip] = _routes_of(vip, accepted, dropped, kernels[family], fib.get(vip))
    return found


def _routes_of(
    vip: str, accepted: list[_Heard], dropped: list[_Heard], kernels: _Kernels | None, entry: FibEntry | None
) -> tuple[Route, ...]:
    covering = _longest(vip, accepted, shortest=1)
    shortest = _length(covering[0].route) if covering else 1
    if kernels is None:
        routes = explained([_marked_by_fib(one, entry) for one in covering], _MULTIPATH)
    else:
        routes = _marked_by_export(covering, kernels)
    filtered = (
        replace(one.route, used=False, filtered=True, best=False) for one in _longest(vip, dropped, shortest=shortest)
    )
    return (*routes, *filtered)


def _marked_by_fib(one: _Heard, entry: FibEntry | None) -> Candidate:
    """What the FIB forwards by is used. What is not there may be held back by BIRD or lost on the way."""
    installed = {hop.address for hop in entry.next_hops} if entry and entry.prefix == one.route.prefix else set()
    known = True if installed.intersection(one.route.next_hops) else one.route.used
    return replace(one.candidate, route=replace(one.route, used=known))


def _marked_by_export(covering: list[_Heard], kernels: _Kernels) -> tuple[Route, ...]:
    """The routes of one prefix: those are used whose next hop BIRD wants in the kernel."""
    if not covering:
        return ()
    wanted = kernels.exported.get(covering[0].route.prefix, frozenset())
    candidates = [
        replace(one.candidate, route=replace(one.route, used=True if one.vias & wanted else None)) for one in covering
    ]
    routes = explained(candidates, _MULTIPATH)
    equal = [route.used is True for route in routes if _equal(route)]
    shares = _Shares(sum(equal), len(equal))
    return tuple(
        _left_out(route, one.vias, wanted, kernels, shares) if _equal(route) and not route.used else route
        for one, route in zip(covering, routes, strict=True)
    )


def _equal(route: Route) -> bool:
    return route.valid and route.unused_reason is None


def _left_out(
    route: Route, vias: frozenset[_Via], wanted: frozenset[_Via], kernels: _Kernels, shares: _Shares
) -> Route:
    """A route that no attribute sets back, and that BIRD does not want in the kernel."""
    mended_by = None
    if not kernels.names:
        reason = "no kernel protocol of BIRD that is up takes the routes of this table"
    elif not wanted:
        what = "it" if route.best else "the best route, and its equals go with it"
        reason = f"the export filter of {kernels} rejects {what}"
    elif not shares.used:
        others = ", ".join(sorted({via.address for via in wanted}))
        reason = f"{kernels} exports other next hops ({others})"
    elif shares.used == 1:
        mended_by = RemedyKind.PATH_LIMIT
        reason = f"path limit: {shares}, merge paths is off or has a limit of 1 (or an export filter) in {kernels}"
    elif _order(vias) < _order(wanted):
        reason = f"export filter of {kernels}: {shares}, and a path limit would leave out a higher next hop"
    else:
        mended_by = RemedyKind.PATH_LIMIT
        reason = f"path limit (merge paths) or export filter of {kernels}: {shares}"
    return replace(route, used=False, unused_reason=reason, mended_by=mended_by)


def _order(vias: frozenset[_Via]) -> int:
    """By which next hops of one weight fill the limit, the lowest first (nexthop_merge in nest/rt-attr.c)."""
    return max((int(ipaddress.ip_address(via.address)) for via in vias), default=0)


def _longest(vip: str, heard: list[_Heard], *, shortest: int) -> list[_Heard]:
    address = ipaddress.ip_address(vip)
    covering = [
        one for one in heard if _length(one.route) >= shortest and address in ipaddress.ip_network(one.route.prefix)
    ]
    longest = max((_length(one.route) for one in covering), default=0)
    return [one for one in covering if _length(one.route) == longest]


def _length(route: Route) -> int:
    return int(route.prefix.rpartition("/")[2])


def _entries(text: str) -> Iterator[_Entry]:
    """The routes of `show route`; those below the first of a prefix do not repeat it."""
    prefix: str | None = None
    last: _Entry | None = None
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
        last = _Entry(prefix, match, []) if prefix else None
    if last:
        yield last


def _heard(entry: _Entry, sessions: Mapping[str, Session]) -> _Heard:
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
    hops = dict.fromkeys(hop for hop in (*(via.address for via in vias), *map(as_address, announced)) if hop)
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
    return _Heard(Candidate(route, _attributes(heading, fields, session), obstacle), frozenset(vias))


def _attributes(heading: re.Match[str], fields: Mapping[str, str], session: Session | None) -> Attributes:
    path = fields.get("bgp_as_path", fields.get("bgp_path"))
    return Attributes(
        preference=_number(heading["preference"]),
        local_preference=_number(fields.get("bgp_local_pref")),
        as_path=None if path is None else tuple(path.split()),
        origin=fields.get("bgp_origin"),
        med=_number(fields.get("bgp_med")) or 0,
        internal=None if session is None else session.remote_as == session.local_as,
        igp_metric=_number(heading["metric"]),
    )
