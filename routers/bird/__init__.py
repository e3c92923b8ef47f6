"""BIRD 2 and 3 through `birdc -r` (read-only), and forwarding from the Linux kernel."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers import linux
from routers.bird.exports import Kernels, routes_of
from routers.bird.protocols import protocols_of, server_time, session_of
from routers.bird.routes import entries_of, heard, of_tables, tables_of
from routers.jsontext import as_prefix, digest, phrase
from routers.linux import oracle as linux_oracle
from routers.model import IPV4, IPV6, Answer, Command, Query, RemedyFacts, RemedyKind, Snapshot, canonical, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from routers.bird.protocols import Protocol
    from routers.bird.routes import Via
    from routers.model import FibEntry, Route, Session

PLATFORM = "bird"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_STATUS = "bird status"
_PROTOCOLS = "bird protocols"
_ROUTES = "bird routes"
_FILTERED = "bird filtered routes"
_EXPORTS = "bird exports"
_VIPS_PER_COMMAND = 64  # birdc's line buffer is 4096 bytes (CLI_RX_BUF_SIZE)
_KERNELS = 4  # of one family and table; each is a question of its own
_SYMBOL = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # what may stand between quotes (conf/cf-lex.l)


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    return (
        _birdc(_STATUS, "show status"),
        _birdc(_PROTOCOLS, "show protocols all"),
        *_route_commands(_ROUTES, f"show route all{_tables_asked(query)}", query.vips),
        *_route_commands(_FILTERED, f"show route all filtered{_tables_asked(query)}", query.vips),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What each kernel protocol exports for the VIPs: the next hops that BIRD wants in the kernel."""
    protocols = _of_vrf(_protocols(_said(_PROTOCOLS, answers), []), query)
    exports = (
        command
        for family in (IPV4, IPV6)
        for name in _kernels(family, protocols, query, answers) or ()
        for command in _export_commands(name, family, query)
    )
    return (*exports, *linux.follow_up(query, answers))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    status = _text(_STATUS, answers, problems) or ""
    protocols = _protocols(_text(_PROTOCOLS, answers, problems), problems)
    ours = _of_vrf(protocols, query)
    no_kernel_vrf = any(linux.missing_vrf(answer, query.vrf) for answer in answers.values())
    if protocols is not None and ours is None and not no_kernel_vrf:
        problems.append(f"BIRD has no protocol in VRF {query.vrf}: see vrf of this router in the configuration")
    bgp = [protocol for protocol in ours or () if protocol.type == "BGP"]
    ranges = tuple(str(prefix) for protocol in bgp if (prefix := as_prefix(protocol.fields.get("Neighbor range"))))
    sessions = {
        protocol.name: session
        for protocol in bgp
        if (session := session_of(protocol, ranges, server_time(status), taken_at))
    }
    fib, fib_problems = linux.read_fib(answers, query)
    neighbors, neighbor_problems = linux.read_neighbors(answers, query.vrf)
    addresses, address_problems = linux.read_addresses(answers)
    kernels = {family: _read_kernels(family, ours, query, answers, problems) for family in (IPV4, IPV6)}
    routes = _read_routes(query, ours, sessions, fib, kernels, answers, problems)
    version = re.search(r"BIRD v?(\d\S*)", status)
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=None if ours is None else tuple(sessions.values()),
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
            *((f'  vrf "{facts.vrf}";',) if facts.vrf not in (None, "default") else ()),
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


def _vrf(query: Query) -> str | None:
    return None if query.vrf == "default" else query.vrf


def _tables_asked(query: Query) -> str:
    """Which tables a VRF has is told together with their routes, so routes are asked for in every table."""
    return "" if _vrf(query) is None else " table all"


def _of_vrf(protocols: Sequence[Protocol] | None, query: Query) -> Sequence[Protocol] | None:
    """The protocols of the VRF that is asked about; None where they are not told, or it has none.

    Without one all of them: BIRD's default tables are asked, whoever fills them.
    """
    vrf = _vrf(query)
    if protocols is None or vrf is None:
        return protocols
    return [one for one in protocols if one.vrf == vrf] or None


def _told(name: str, protocols: Sequence[Protocol] | None, query: Query, answers: Mapping[str, Answer]) -> str | None:
    """What birdc printed on the tables of the VRF that is asked about."""
    text = _said(name, answers)
    if text is None or _vrf(query) is None:
        return text
    return of_tables(text, frozenset(table for one in protocols or () for table in one.tables))


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


def _protocols(text: str | None, problems: list[str]) -> list[Protocol] | None:
    if text is None:
        return None
    if (found := protocols_of(text)) is None:
        problems.append(f"{_PROTOCOLS}: no table of protocols")
    return found


def _kernels(
    family: int, protocols: Sequence[Protocol] | None, query: Query, answers: Mapping[str, Answer]
) -> tuple[str, ...] | None:
    """The kernel protocols in charge of the tables in which the VIPs' routes stand; None when not told.

    Those that are down export nothing, and are left out.
    """
    names_asked = [command.name for command in _route_commands(_ROUTES, "", query.vips, (family,))]
    texts = [_told(name, protocols, query, answers) for name in names_asked]
    tables = {table for text in texts if text for table in tables_of(text)}
    names = tuple(
        one.name
        for one in protocols or ()
        if one.type == "Kernel" and one.state == "up" and one.channels.get(family, {}).get("Table") in tables
    )
    told = protocols is not None and None not in texts and len(names) <= _KERNELS
    return names if told and all(map(_SYMBOL.fullmatch, names)) else None


def _read_kernels(
    family: int,
    protocols: Sequence[Protocol] | None,
    query: Query,
    answers: Mapping[str, Answer],
    problems: list[str],
) -> Kernels | None:
    """What BIRD wants in the kernel; None when an answer is missing."""
    names = _kernels(family, protocols, query, answers)
    if names is None:
        return None
    texts = [
        _text(command.name, answers, problems) for name in names for command in _export_commands(name, family, query)
    ]
    if None in texts:
        return None
    exported: dict[str, frozenset[Via]] = {}
    for entry in (entry for text in texts for entry in entries_of(text or "")):
        exported[entry.prefix] = exported.get(entry.prefix, frozenset()).union(entry.vias)
    return Kernels(names, exported)


def _read_routes(
    query: Query,
    protocols: Sequence[Protocol] | None,
    sessions: Mapping[str, Session],
    fib: Mapping[str, FibEntry | None],
    kernels: Mapping[int, Kernels | None],
    answers: Mapping[str, Answer],
    problems: list[str],
) -> dict[str, tuple[Route, ...]]:
    """VIP -> its routes, filtered ones last; a VIP whose table could not be read is left out."""
    found: dict[str, tuple[Route, ...]] = {}
    tables = {}
    for show in (_ROUTES, _FILTERED):
        for command in _route_commands(show, "", query.vips):
            told = _text(command.name, answers, problems)
            tables[command.name] = None if told is None else _told(command.name, protocols, query, answers)
    if protocols is None:
        return {}  # whose routes they are is told by the protocols alone
    for family in (IPV4, IPV6):
        names = [name for name in tables if name.startswith(f"{_ROUTES} {family}.")]
        if any(tables[name] is None for name in names):
            continue
        accepted = [heard(entry, sessions) for name in names for entry in entries_of(tables[name] or "")]
        dropped = [
            heard(entry, sessions)
            for name, text in tables.items()
            if name.startswith(f"{_FILTERED} {family}.")
            for entry in entries_of(text or "")
        ]
        shortest = 0 if query.default_routes else 1
        for vip in _unique(query.vips):
            if family_of(vip) != family:
                continue
            routes = routes_of(vip, accepted, dropped, kernels[family], fib.get(vip), shortest=shortest)
            if routes is not None:
                found[vip] = routes
            else:
                problems.append(f"{_EXPORTS}: not told for IPv{family}, so why a route is not in the FIB is not known")
    return found
