"""OpenBGPD through `bgpctl -j`: on OpenBSD with its FIB, elsewhere (the portable build) its tables alone.

The portable build writes no routes into a kernel and lists none: `bgpctl show fib` answers "permission denied" and
`show tables` calls Loc-RIB decoupled, `fib-update yes` or not (seen on 7.7 on Linux; the kernel routing part of
openbgpd-portable is a stub). There the kernel's own tables are read, whoever fills them. The fields of the JSON
are those of usr.sbin/bgpctl/output_json.c. The router's own AS is told by nothing but its iBGP routes.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers import linux, per_address
from routers.jsontext import as_address, as_dict, as_prefix, digest, parse, phrase
from routers.linux import oracle as linux_oracle
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    FibEntry,
    LinkNeighbor,
    NextHop,
    Query,
    Snapshot,
    canonical,
    family_of,
)
from routers.openbgpd.remedies import remedy
from routers.openbgpd.routes import Kernel, own_as, routes_of
from routers.openbgpd.sessions import ranges_of, sessions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["HAS_SHELL", "ORACLE", "PLATFORM", "TRANSPORTS", "ask", "follow_up", "read", "remedy"]

PLATFORM = "openbgpd"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle  # on OpenBSD it gets no answer, and is not believed

_VERSION = "bgpctl version"
_NEIGHBORS = "bgpctl neighbors"
_TABLES = "bgpctl tables"
_NEXT_HOPS = "bgpctl nexthops"
_ROUTES = "bgpctl routes"
_RECEIVED = "bgpctl received routes"
_FIB = "bgpctl fib"


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    return (
        Command(_VERSION, ("bgpctl", "-V")),
        Command(_NEIGHBORS, ("bgpctl", "-j", "show", "neighbor")),
        Command(_TABLES, ("bgpctl", "-j", "show", "tables")),
        Command(_NEXT_HOPS, ("bgpctl", "-j", "show", "nexthop")),
        *_route_commands(query),
        *_fib_commands(query),
        *linux.ask(query),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What those nodes sent of which the table lacks a route; and what a Linux kernel may have to be asked more."""
    return (*_received_commands(query, answers), *linux.follow_up(query, answers))


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    neighbors = _rows(_NEIGHBORS, "neighbors", answers, problems)
    tables = per_address.documents(_route_commands(query), answers, problems)
    accepted = {vip: _rib(vip, table, problems) for vip, table in tables.items()}
    told = {vip: rows for vip, rows in accepted.items() if rows is not None}
    local_as = None if neighbors is None else own_as(neighbors, (row for rows in told.values() for row in rows))
    sessions = None if neighbors is None else sessions_of(neighbors, local_as, taken_at)
    kernel = _kernel(query, answers)
    fib, links, addresses, kernel_problems = _forwarding(kernel, query, answers)
    dead = {
        address
        for row in _rows(_NEXT_HOPS, "nexthops", answers, []) or ()
        if row.get("valid") is False and (address := as_address(row.get("address")))
    }
    version = re.search(r"OpenBGPD (\S{1,40})", "".join(_out(_VERSION, answers)))
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        dynamic_ranges=ranges_of(neighbors or ()),
        routes=MappingProxyType(
            routes_of(query, told, _received(query, answers, problems), sessions or (), dead, kernel, fib)
        ),
        fib=MappingProxyType(fib),
        neighbors=links,
        addresses=addresses,
        local_as=local_as,
        maximum_paths=MappingProxyType({"ibgp": 1, "ebgp": 1} if kernel is Kernel.COUPLED else {}),
        hash_policy=MappingProxyType(linux.read_hash_policy(answers)),
        version=version[1] if version else None,
        problems=digest((*problems, *kernel_problems)),
    )


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(canonical, addresses)))


def _out(name: str, answers: Mapping[str, Answer]) -> tuple[str, str]:
    answer = answers.get(name, Answer())
    return answer.stdout, answer.stderr


def _vips(query: Query) -> Iterator[tuple[int, tuple[str, ...]]]:
    for family in (IPV4, IPV6):
        yield family, tuple(vip for vip in _unique(query.vips) if family_of(vip) == family)


def _route_commands(query: Query) -> Iterator[Command]:
    for family, vips in _vips(query):
        length = "/32" if family == IPV4 else "/128"
        program = 'bgpctl -j show rib "$a" or-shorter'
        yield from per_address.commands(f"{_ROUTES} ipv{family}", program, vips, length)


def _fib_commands(query: Query) -> Iterator[Command]:
    for family, vips in _vips(query):
        yield from per_address.commands(f"{_FIB} ipv{family}", 'bgpctl -j show fib "$a"', vips)


def _received_commands(query: Query, answers: Mapping[str, Answer]) -> Iterator[Command]:
    """Of the neighbors that are nodes, those that are up and from whom a route to some VIP is missing."""
    neighbors = _rows(_NEIGHBORS, "neighbors", answers, [])
    tables = per_address.documents(_route_commands(query), answers, [])
    heard = [
        {as_address(as_dict(row.get("neighbor")).get("remote_addr")) for row in _rib(vip, table, []) or ()}
        for vip, table in tables.items()
    ]
    everywhere = set.intersection(*heard) if heard else set()
    nodes = _unique(query.node_addresses)
    up = {
        address
        for row in neighbors or ()
        if row.get("state") == "Established" and (address := as_address(row.get("remote_addr"))) in nodes
    }
    short = tuple(address for address in nodes if address in up and address not in everywhere)
    yield from per_address.commands(_RECEIVED, 'bgpctl -j show rib in neighbor "$a"', short)


def _document(name: str, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, Any] | None:
    answer = answers.get(name, Answer(error="not asked"))
    if answer.error is not None:
        problems.append(f"{name}: {answer.error}")
        return None
    try:
        document = parse(answer.stdout)
    except ValueError as error:
        said = phrase(answer.stderr, 120) or phrase(answer.stdout, 120)
        problems.append(f"{name}: {error}{f' ({said})' if said else ''}")
        return None
    if isinstance(document, dict) and not _is_refusal(document):
        return document
    problems.append(f"{name}: {phrase(str(as_dict(document).get('error') or 'not in the expected shape'))}")
    return None


def _is_refusal(document: object) -> bool:
    """What bgpctl prints where the daemon refused or does not know the question."""
    return as_dict(document).get("status") == "FAILED"


def _rows(name: str, key: str, answers: Mapping[str, Answer], problems: list[str]) -> tuple[dict[str, Any], ...] | None:
    """The rows of a listing: an empty object where there are none; None, and a problem, where it was not answered."""
    document = _document(name, answers, problems)
    if document is None:
        return None
    rows = document.get(key, [])
    if (
        not isinstance(rows, list)
        or not all(isinstance(row, dict) for row in rows)
        or (document and key not in document)
    ):
        problems.append(f"{name}: not in the expected shape")
        return None
    return tuple(rows)


def _rib(address: str, document: object, problems: list[str]) -> tuple[dict[str, Any], ...] | None:
    rows = as_dict(document).get("rib", [])
    usable = isinstance(document, dict) and isinstance(rows, list) and not _is_refusal(document)
    if not usable or (as_dict(document) and "rib" not in as_dict(document)):
        problems.append(f"{_ROUTES}: {address}: {phrase(str(as_dict(document).get('error') or 'no table of routes'))}")
        return None
    return tuple(map(as_dict, rows))


def _received(
    query: Query, answers: Mapping[str, Answer], problems: list[str]
) -> dict[str, tuple[dict[str, Any], ...]]:
    """Neighbor -> what it sent, before any filter."""
    found = per_address.documents(_received_commands(query, answers), answers, problems)
    read = {address: _rib(address, document, problems) for address, document in found.items()}
    return {address: rows for address, rows in read.items() if rows is not None}


def _kernel(query: Query, answers: Mapping[str, Answer]) -> Kernel:
    """Who tells what is forwarded by: OpenBGPD itself on OpenBSD, elsewhere only the kernel.

    A socket for restricted use refuses the question on OpenBSD too, so that a Linux has to show itself.
    """
    told = per_address.documents(_fib_commands(query), answers, [], optional=True)
    if not any(isinstance(document, dict) and not _is_refusal(document) for document in told.values()):
        is_linux = not linux.read_addresses(answers)[1]
        return Kernel.PORTABLE if is_linux else Kernel.UNKNOWN
    tables = _rows(_TABLES, "fibtables", answers, []) or ()
    decoupled = any(row.get("rtableid") == 0 and row.get("coupled") is False for row in tables)
    return Kernel.DECOUPLED if decoupled else Kernel.COUPLED


def _forwarding(
    kernel: Kernel, query: Query, answers: Mapping[str, Answer]
) -> tuple[dict[str, FibEntry | None], tuple[LinkNeighbor, ...] | None, frozenset[str], list[str]]:
    """FIB, neighbor table, the router's own addresses, and what could not be read of them.

    On OpenBSD there is no iproute2, and nobody expects an answer from it.
    """
    problems: list[str] = []
    if kernel is not Kernel.PORTABLE:
        fib = _bsd_fib(query, answers, problems)
        if kernel is not Kernel.UNKNOWN:
            return fib, None, frozenset(), problems
    fib, fib_problems = linux.read_fib(answers, query)
    links, link_problems = linux.read_neighbors(answers)
    addresses, address_problems = linux.read_addresses(answers)
    return fib, links, addresses, [*problems, *fib_problems, *link_problems, *address_problems]


def _bsd_fib(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, FibEntry | None]:
    found: dict[str, FibEntry | None] = {}
    for vip, document in per_address.documents(_fib_commands(query), answers, problems).items():
        rows = as_dict(document).get("fib", [])
        if _is_refusal(document) or not isinstance(rows, list):
            problems.append(f"{_FIB}: {phrase(str(as_dict(document).get('error') or 'no table of routes'))}")
            continue
        found[vip] = _bsd_entry(vip, [as_dict(row) for row in rows], default_routes=query.default_routes)
    return found


def _bsd_entry(vip: str, rows: list[dict[str, Any]], *, default_routes: bool) -> FibEntry | None:
    """The longest prefix that covers the VIP; of several routes to it those of the lowest (best) priority."""
    address = ipaddress.ip_address(vip)
    covering = [
        (prefix, row)
        for row in rows
        if (prefix := as_prefix(row.get("prefix"))) and address in prefix and (default_routes or prefix.prefixlen)
    ]
    if not covering:
        return None

    def rank(one: tuple[Any, dict[str, Any]]) -> tuple[int, int]:
        priority = one[1].get("priority")
        return (-one[0].prefixlen, priority if isinstance(priority, int) else 0)

    chosen = min(map(rank, covering))
    best = [(prefix, row) for prefix, row in covering if rank((prefix, row)) == chosen]
    kinds = {"blackhole": "blackhole", "reject": "unreachable"}
    kind = next((kinds[key] for _, row in best for key in kinds if row.get(key) is True), "unicast")
    hops = [row.get("nexthop") for _, row in best] if kind == "unicast" else []
    origin = best[0][1].get("origin")
    return FibEntry(
        prefix=str(best[0][0]),
        next_hops=tuple(NextHop(as_address(hop)) for hop in hops),
        protocol=origin if isinstance(origin, str) else None,
        kind=kind,
    )
