"""The tables of a Linux kernel through iproute2: FIB, neighbors and hash policy.

Every router whose kernel is Linux is read here, whatever BGP daemon it runs. Commands go through
`ip -force -batch -` (ip(8)): one process answers any number of questions. A question that fails prints
nothing on standard output and `Command failed -:LINE` on standard error, which is how answers are told apart.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from routers.jsontext import Prefix, as_address, as_dict, as_int, as_list, as_prefix, as_text, parse, phrase
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    FibEntry,
    HashPolicy,
    LinkNeighbor,
    NextHop,
    Query,
    canonical,
    family_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIB = "kernel FIB"
FIB_V6 = "kernel IPv6 FIB"
NEIGHBORS = "kernel neighbor table"
ADDRESSES = "kernel addresses"
HASH_POLICY = "kernel hash policy"
COVERING = "kernel routes that drop"
RULES = {IPV4: "kernel policy rules", IPV6: "kernel IPv6 policy rules"}
WAYS_BACK = "kernel routes to the prober"
ROUTED = {IPV4: "kernel FIB by policy", IPV6: "kernel IPv6 FIB by policy"}

BATCH = ("ip", "-j", "-force", "-batch", "-")
BATCH_V6 = ("ip", "-6", "-j", "-force", "-batch", "-")
_HASH_FILES = {version: f"/proc/sys/net/ipv{version}/fib_multipath_hash_policy" for version in (4, 6)}
_POLICIES = (HashPolicy.ADDRESSES, HashPolicy.FIVE_TUPLE, HashPolicy.INNER, HashPolicy.FIELDS)
_FAILED_LINE = re.compile(r"Command failed \S*?:(\d{1,9})\s*$")
INTERFACE = re.compile(r"[A-Za-z0-9_.:-]{1,15}")
_NO_ROUTE = "Network is unreachable"
_DROPPING = {
    "Invalid argument": "blackhole",
    "No route to host": "unreachable",
    "Permission denied": "prohibit",
}  # what the kernel answers for these route types (fib_props in net/ipv4/fib_semantics.c)
_UNKNOWN_VRF = re.compile(r'argument "[^"]{0,64}" is wrong: (?:Invalid VRF|Not a valid VRF name)')
_UNUSABLE = {"dead", "linkdown"}
_USUAL_TABLES = {"local", "main", "default", "255", "254", "253"}


def ask(query: Query) -> tuple[Command, ...]:
    """The questions about forwarding that `read_fib`, `read_neighbors` and `read_hash_policy` understand.

    Raises ValueError for text that is no address, or cannot be the name of a VRF.
    """
    vrf = in_vrf(query.vrf)
    within = "".join(f" {word}" for word in vrf)
    v4 = "".join(f"route get {vip}{within} fibmatch\n" for vip in _vips(query, IPV4))
    # For IPv6 fibmatch names another route now and then, where routes share nexthop objects (seen on 6.18
    # with FRR 8.4: rt6_info is cached per nexthop); a listing of the routes that cover the VIP does not.
    v6 = "".join(f"route show{within} match {vip}\n" for vip in _vips(query, IPV6))
    return (
        *((Command(FIB, BATCH, stdin=v4),) if v4 else ()),
        *((Command(FIB_V6, BATCH_V6, stdin=v6),) if v6 else ()),
        Command(NEIGHBORS, ("ip", "-j", "neigh", "show", *vrf)),
        Command(ADDRESSES, ("ip", "-j", "address", "show")),
        Command(HASH_POLICY, ("grep", "-H", "", *_HASH_FILES.values())),
        Command(RULES[IPV4], ("ip", "-j", "rule", "show")),
        Command(RULES[IPV6], ("ip", "-6", "-j", "rule", "show")),
        *(
            (Command(WAYS_BACK, BATCH, stdin=_each(f"route get {{}}{within}", _sources(query))),)
            if query.sources
            else ()
        ),
    )


def in_vrf(vrf: str | None) -> tuple[str, ...]:
    """The words that put a question of ip-route(8) into a VRF; none for the default one.

    Raises ValueError for what cannot be the name of an interface, which a VRF is.
    """
    if vrf in (None, "default"):
        return ()
    if not INTERFACE.fullmatch(vrf or ""):
        raise ValueError(
            f"vrf {vrf!r} cannot be the name of a VRF of Linux, which is an interface of 15 letters at most"
        )
    return "vrf", vrf or ""


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """Where policy rules lead flows to other tables: the routes that the prober's own flows to the VIPs meet.

    For IPv6, where fibmatch is not to be trusted, the next hop of one flow, which must be one of those listed. And
    where a VIP's packets are dropped, by which route: the complaint does not tell.
    """
    ways = _ways_back(query, answers)
    found = []
    if dropped := _dropped(query, answers):
        within = "".join(f" {word}" for word in in_vrf(query.vrf))
        found.append(Command(COVERING, BATCH, stdin=_each(f"route show{within} match {{}}", dropped)))
    for version, batch, more in ((IPV4, BATCH, " fibmatch"), (IPV6, BATCH_V6, "")):
        vips = [vip for vip in _vips(query, version) if _way_in(query, vip, ways)]
        if vips and _has_policy(answers.get(RULES[version])):
            lines = (f"route get {vip} from {query.sources[vip]} iif {_way_in(query, vip, ways)}{more}" for vip in vips)
            found.append(Command(ROUTED[version], batch, stdin="".join(f"{line}\n" for line in lines)))
    return tuple(found)


def read_fib(answers: Mapping[str, Answer], query: Query) -> tuple[dict[str, FibEntry | None], list[str]]:
    """VIP -> longest match (None: no route, or only a default route), and what could not be read."""
    fib: dict[str, FibEntry | None] = {}
    problems: list[str] = []
    for name, version in ((FIB, IPV4), (FIB_V6, IPV6)):
        vips = _vips(query, version)
        if not vips:
            continue
        try:
            rows, failures = aligned(answers.get(name), len(vips))
        except ValueError as error:
            problems.append(missing_vrf(answers.get(name), query.vrf) or f"{name}: {error}")
            continue
        for number, vip in enumerate(vips):
            try:
                failed = number in failures
                fib[vip] = _failed_entry(failures[number], vip) if failed else _longest(rows[number], vip, query)
            except ValueError as error:
                problems.append(f"{name}: {vip}: {error}")
    _name_dropping_routes(fib, problems, answers, query)
    _apply_policy(fib, problems, answers, query)
    return fib, problems


def missing_vrf(answer: Answer | None, vrf: str | None) -> str | None:
    """A sentence for people if the router answered that there is no such VRF."""
    if answer is None or not _UNKNOWN_VRF.search(answer.stderr[:4096]):
        return None
    return f"the router's kernel has no VRF {vrf}: see `ip vrf show` there, and vrf of this router in the configuration"


def _dropped(query: Query, answers: Mapping[str, Answer]) -> tuple[str, ...]:
    """The IPv4 VIPs whose packets some route drops; for IPv6 that route stands in the answer."""
    vips = _vips(query, IPV4)
    try:
        _, failures = aligned(answers.get(FIB), len(vips))
    except ValueError:
        return ()
    return tuple(vips[number] for number, said in failures.items() if said.endswith(tuple(_DROPPING)))


def _name_dropping_routes(
    fib: dict[str, FibEntry | None], problems: list[str], answers: Mapping[str, Answer], query: Query
) -> None:
    """A default route that drops is no route to a VIP: by custom every VRF ends with one (kernel doc vrf.rst)."""
    if COVERING not in answers:
        return
    vips = _dropped(query, answers)
    try:
        rows, _ = aligned(answers[COVERING], len(vips))
        for number, row in rows.items():
            entry = _longest(row, vips[number], query)
            if entry is None or entry.kind in _DROPPING.values():
                fib[vips[number]] = entry
    except ValueError as error:
        problems.append(f"{COVERING}: {error}")


def _apply_policy(
    fib: dict[str, FibEntry | None], problems: list[str], answers: Mapping[str, Answer], query: Query
) -> None:
    """Put the routes that the prober's flows meet in the place of those of the main table, as far as they are told.

    A question that the router's kernel refuses (its reverse path filter, say) leaves the main table's answer.
    """
    ways = _ways_back(query, answers)
    for version, name in ROUTED.items():
        if name not in answers:
            continue
        vips = [vip for vip in _vips(query, version) if _way_in(query, vip, ways)]
        try:
            rows, _ = aligned(answers[name], len(vips))
            told = {vips[number]: row for number, row in rows.items()}
            for vip, answered in told.items():
                if version == IPV4:
                    fib[vip] = _longest(answered, vip, query)
                elif fib.get(vip) is not None and not _is_one_of(answered, fib[vip]):
                    del fib[vip]
                    problems.append(f"{name}: {vip}: policy rules lead flows to a route that cannot be listed")
        except ValueError as error:
            problems.append(f"{name}: {error}")


def _is_one_of(answered: Sequence[dict[str, Any]], entry: FibEntry | None) -> bool:
    hop = next_hop_of(answered[0]) if answered else None
    return hop is not None and entry is not None and hop.address in {one.address for one in entry.next_hops}


def _has_policy(answer: Answer | None) -> bool:
    """Whether any rule leads to another table than the usual three (ip-rule(8)); False where it is not told."""
    try:
        rules = [as_dict(row) for row in as_list(parse(usable(answer)))]
    except ValueError:
        return False
    return any(str(rule.get("table", "main")) not in _USUAL_TABLES for rule in rules if "l3mdev" not in rule)


def _sources(query: Query) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, query.sources.values())))


def _ways_back(query: Query, answers: Mapping[str, Answer]) -> dict[str, str]:
    """By source address: the interface that leads back to it, where its flows enter."""
    sources = _sources(query)
    try:
        rows, _ = aligned(answers.get(WAYS_BACK), len(sources))
    except ValueError:
        return {}
    found = {sources[number]: as_text(answered[0].get("dev")) for number, answered in rows.items() if answered}
    return {source: name for source, name in found.items() if name and INTERFACE.fullmatch(name)}


def _way_in(query: Query, vip: str, ways: Mapping[str, str]) -> str | None:
    source = query.sources.get(vip)
    return None if source is None else ways.get(canonical(source))


def _each(line: str, values: Sequence[str]) -> str:
    return "".join(f"{line.format(value)}\n" for value in values)


def read_neighbors(
    answers: Mapping[str, Answer], vrf: str | None = None
) -> tuple[tuple[LinkNeighbor, ...] | None, list[str]]:
    """The ARP and ND tables (None if they could not be read), and what could not be read."""
    try:
        rows = as_list(parse(usable(answers.get(NEIGHBORS))))
    except ValueError as error:
        return None, [missing_vrf(answers.get(NEIGHBORS), vrf) or f"{NEIGHBORS}: {error}"]
    found = (_link_neighbor(as_dict(row)) for row in rows)
    return tuple(neighbor for neighbor in found if neighbor), []


def read_addresses(answers: Mapping[str, Answer]) -> tuple[frozenset[str], list[str]]:
    """The router's own addresses, and what could not be read."""
    try:
        rows = as_list(parse(usable(answers.get(ADDRESSES))))
    except ValueError as error:
        return frozenset(), [f"{ADDRESSES}: {error}"]
    found = (as_address(as_dict(one).get("local")) for row in rows for one in as_list(as_dict(row).get("addr_info")))
    return frozenset(address for address in found if address), []


def read_hash_policy(answers: Mapping[str, Answer]) -> dict[int, HashPolicy]:
    """IP version -> fib_multipath_hash_policy (kernel doc ip-sysctl); a version without it is left out."""
    answer = answers.get(HASH_POLICY, Answer())
    values = dict(line.split(":", 1) for line in answer.stdout.splitlines() if ":" in line)
    policies = {}
    for version, file in _HASH_FILES.items():
        value = values.get(file, "").strip()
        if value in {"0", "1", "2", "3"}:
            policies[version] = _POLICIES[int(value)]
    return policies


def _vips(query: Query, version: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(vip for vip in map(canonical, query.vips) if family_of(vip) == version))


def usable(answer: Answer | None) -> str:
    """The standard output of an answer that has one. Raises ValueError with the reason otherwise."""
    if answer is None:
        raise ValueError("not asked")
    if answer.error:
        raise ValueError(answer.error)
    if answer.exit_status and not answer.stdout.strip():
        complaint = phrase(answer.stderr) or "no message"
        raise ValueError(f"exit status {answer.exit_status}: {complaint}")
    return answer.stdout


def aligned(answer: Answer | None, count: int) -> tuple[dict[int, list[dict[str, Any]]], dict[int, str]]:
    """Question number (from 0) -> the rows of its answer, and number -> complaint of each that failed.

    Raises ValueError when answers and complaints together are not `count`.
    """
    if answer is None or answer.error:
        raise ValueError(answer.error if answer and answer.error else "not asked")
    failures = _failures(answer.stderr)
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    answered = [number for number in range(count) if number not in failures]
    if len(failures) + len(answered) != count or len(lines) != len(answered):
        complaint = phrase(answer.stderr) or "no message"
        raise ValueError(f"{len(lines)} answers and {len(failures)} failures for {count} questions ({complaint})")
    rows = {}
    for number, line in zip(answered, lines, strict=True):
        rows[number] = [as_dict(row) for row in as_list(parse(line))]
    return rows, failures


def _failures(stderr: str) -> dict[int, str]:
    failures: dict[int, str] = {}
    complaint: list[str] = []
    for line in stderr.splitlines():
        failed = _FAILED_LINE.search(line)
        if failed is None:
            complaint.append(line.strip())
            continue
        failures[int(failed[1]) - 1] = phrase(" ".join(complaint))
        complaint = []
    return failures


def _failed_entry(complaint: str, vip: str) -> FibEntry | None:
    if _NO_ROUTE in complaint:
        return None
    for message, kind in _DROPPING.items():
        if complaint.endswith(message):
            return FibEntry(prefix=str(ipaddress.ip_network(vip)), next_hops=(), kind=kind)
    raise ValueError(complaint or "failed without a message")


def _longest(rows: Sequence[dict[str, Any]], vip: str, query: Query) -> FibEntry | None:
    """The entry that wins: the longest prefix, and of equal ones the lowest metric. None: only default routes, and
    those do not count.
    """
    found = [(_covering(row.get("dst"), vip), row) for row in rows]
    specific = [(prefix, row) for prefix, row in found if prefix.prefixlen > 0 or query.default_routes]
    if not specific:
        return None
    prefix, row = min(specific, key=lambda one: (-one[0].prefixlen, as_int(one[1].get("metric")) or 0))
    return _entry(prefix, row)


def _entry(prefix: Prefix, row: dict[str, Any]) -> FibEntry:
    kind = as_text(row.get("type")) or "unicast"
    hops = [as_dict(hop) for hop in as_list(row.get("nexthops"))] or [row]
    return FibEntry(
        prefix=str(prefix),
        next_hops=() if kind in _DROPPING.values() else tuple(next_hop_of(hop) for hop in hops),
        protocol=as_text(row.get("protocol")),
        kind=kind,
    )


def _covering(value: object, vip: str) -> Prefix:
    """The prefix of an answer. Raises ValueError when it does not cover the VIP."""
    address = ipaddress.ip_address(vip)
    default = "0.0.0.0/0" if address.version == IPV4 else "::/0"
    prefix = as_prefix(default if value == "default" else value)
    if prefix is None or address not in prefix:
        raise ValueError(f"the answer is about {prefix or 'something else'}")
    return prefix


def next_hop_of(row: dict[str, Any]) -> NextHop:
    """A next hop; `via` stands for `gateway` where an IPv6 address forwards IPv4 (RFC 8950)."""
    flags = {flag for flag in as_list(row.get("flags")) if isinstance(flag, str)}
    return NextHop(
        address=as_address(row.get("gateway")) or as_address(as_dict(row.get("via")).get("host")),
        interface=as_text(row.get("dev")),
        weight=as_int(row.get("weight"), low=1) or 1,
        usable=not flags & _UNUSABLE,
    )


def _link_neighbor(row: dict[str, Any]) -> LinkNeighbor | None:
    address = as_address(row.get("dst"))
    if address is None:
        return None
    states = as_list(row.get("state"))
    return LinkNeighbor(
        address=address,
        interface=as_text(row.get("dev")),
        mac=as_text(row.get("lladdr")),
        reachable="FAILED" not in states and "INCOMPLETE" not in states,
    )
