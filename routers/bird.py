"""BIRD 2 and 3 through `birdc -r` (read-only), and forwarding from the Linux kernel.

BIRD marks the primary route of a prefix only. Which others `merge paths` adds is told by the FIB alone, and
its limit by nothing but the configuration file. Text formats: nest/proto.c, nest/rt-show.c, proto/bgp/bgp.c.
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
_VIPS_PER_COMMAND = 64  # birdc's line buffer is 4096 bytes (CLI_RX_BUF_SIZE)
_MULTIPATH = Multipath({}, doubt=" (merge paths) or export filter of the kernel protocol")
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
_VIA = re.compile(r"\s+via (?P<address>\S+) on \S+.*")
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
    routes = _read_routes(query, sessions, fib, answers, problems)
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
        local_as=next((one.local_as for one in sessions.values() if one.local_as is not None), None),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *fib_problems, *neighbor_problems)),
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


def _route_commands(name: str, show: str, vips: Iterable[str]) -> Iterator[Command]:
    """One command for many VIPs: `P-` in a prefix set matches P and every shorter prefix that covers it."""
    for family, length in ((IPV4, 32), (IPV6, 128)):
        prefixes = [f"{vip}/{length}-" for vip in _unique(vips) if family_of(vip) == family]
        for number, start in enumerate(range(0, len(prefixes), _VIPS_PER_COMMAND), start=1):
            chosen = ", ".join(prefixes[start : start + _VIPS_PER_COMMAND])
            yield _birdc(f"{name} {family}.{number}", f"{show} where net ~ [ {chosen} ]")


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _text(name: str, answers: Mapping[str, Answer], problems: list[str]) -> str | None:
    """What birdc printed; None, and a problem, when it could not ask BIRD."""
    answer = answers.get(name, Answer(error="not asked"))
    if answer.error is None and not answer.exit_status and "ready." in answer.stdout:
        return answer.stdout
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


def _read_routes(
    query: Query,
    sessions: Mapping[str, Session],
    fib: Mapping[str, FibEntry | None],
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
        accepted = [one for name in names for one in _candidates(tables[name] or "", sessions)]
        dropped = [
            one
            for name, text in tables.items()
            if name.startswith(f"{_FILTERED} {family}.")
            for one in _candidates(text or "", sessions)
        ]
        for vip in _unique(query.vips):
            if family_of(vip) == family:
                found[vip] = _routes_of(vip, accepted, dropped, fib.get(vip))
    return found


def _routes_of(
    vip: str, accepted: list[Candidate], dropped: list[Candidate], entry: FibEntry | None
) -> tuple[Route, ...]:
    covering = _longest(vip, accepted, shortest=1)
    shortest = _length(covering[0].route) if covering else 1
    routes = explained([_marked(one, covering, entry) for one in covering], _MULTIPATH)
    filtered = (
        replace(one.route, used=False, filtered=True, best=False) for one in _longest(vip, dropped, shortest=shortest)
    )
    return (*routes, *filtered)


def _marked(candidate: Candidate, together: list[Candidate], entry: FibEntry | None) -> Candidate:
    """Whether a route is used, as the FIB tells when it forwards by the same prefix."""
    route = candidate.route
    installed = {hop.address for hop in entry.next_hops} if entry and entry.prefix == route.prefix else set()
    if not any(installed.intersection(one.route.next_hops) for one in together):
        return candidate
    return replace(candidate, route=replace(route, used=bool(installed.intersection(route.next_hops))))


def _longest(vip: str, candidates: list[Candidate], *, shortest: int) -> list[Candidate]:
    address = ipaddress.ip_address(vip)
    covering = [
        one
        for one in candidates
        if _length(one.route) >= shortest and address in ipaddress.ip_network(one.route.prefix)
    ]
    longest = max((_length(one.route) for one in covering), default=0)
    return [one for one in covering if _length(one.route) == longest]


def _length(route: Route) -> int:
    return int(route.prefix.rpartition("/")[2])


def _candidates(text: str, sessions: Mapping[str, Session]) -> Iterator[Candidate]:
    """The routes of `show route all`, each with the lines below its own first line."""
    prefix: str | None = None
    heading: re.Match[str] | None = None
    below: list[str] = []
    for line in text.splitlines():
        match = _ROUTE.match(line)
        if match is None:
            below.append(line)
            continue
        if heading and prefix:
            yield _candidate(prefix, heading, below, sessions)
        if match["prefix"]:
            known = as_prefix(match["prefix"])
            prefix = str(known) if known else None
        heading, below = match, []
    if heading and prefix:
        yield _candidate(prefix, heading, below, sessions)


def _candidate(prefix: str, heading: re.Match[str], below: list[str], sessions: Mapping[str, Session]) -> Candidate:
    vias = [as_address(match["address"]) for line in below if (match := _VIA.fullmatch(line))]
    fields = {
        match["key"].lower().replace("bgp.", "bgp_"): match["value"]
        for line in below
        if (match := _ROUTE_FIELD.fullmatch(line))
    }
    announced = fields.get("bgp_next_hop", "").split()
    session = sessions.get(heading["protocol"])
    origin = heading["heard"].rpartition("from ")[2] if "from " in heading["heard"] else None
    hops = dict.fromkeys(hop for hop in (*vias, *map(as_address, announced)) if hop)
    valid = heading["type"] == "unicast"
    best = heading["primary"] is not None
    route = Route(
        prefix=prefix,
        peer=session.address if session else as_address(origin),
        next_hops=tuple(hops),
        valid=valid,
        best=best,
        used=True if best and valid else None,
        stale=heading["stale"] is not None or (session is not None and session.state is not SessionState.ESTABLISHED),
    )
    obstacle = None if valid else f"next hop {', '.join(announced) or '(none)'} cannot be resolved"
    return Candidate(route, _attributes(heading, fields, session), obstacle)


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
