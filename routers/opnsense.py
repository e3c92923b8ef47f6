"""OPNsense with the plugin os-frr, through its API: FRR's sessions and routes, zebra's FIB, ARP and ND.

Paths and shapes: net/frr in github.com/opnsense/plugins (DiagnosticsController.php, actions_quagga.conf): the answers
are those of FRR's `show ... json`, the routes with one row for each next hop. A search is a POST that reads; without
`rowCount` it is cut at 9999 rows (searchRecordsetBase in opnsense/core). The list of configured neighbors
(/api/quagga/bgp/searchNeighbor) is not asked for, as it has the passwords in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.frr.routes import routes_of
from routers.frr.sessions import DEFAULT_VRF, instance, sessions_of
from routers.jsontext import as_address, as_dict, as_int, as_list, as_text, digest, parse, phrase
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    FibEntry,
    LinkNeighbor,
    NextHop,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Session,
    Snapshot,
    canonical,
    family_of,
)
from routers.prefixtable import PrefixTable
from routers.selection import Multipath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from routers.jsontext import Prefix
    from routers.platforms import Oracle

PLATFORM = "opnsense"
TRANSPORTS = frozenset({"https"})
HAS_SHELL = False
ORACLE: Oracle | None = None

Row = dict[str, Any]
Table = PrefixTable[Row]

_SUMMARY = "opnsense bgpsummary"
_NEIGHBORS = "opnsense bgpneighbors"
_BGP = {IPV4: "opnsense searchBgproute4", IPV6: "opnsense searchBgproute6"}
_ZEBRA = {IPV4: "opnsense searchGeneralroute4", IPV6: "opnsense searchGeneralroute6"}
_ARP, _NDP = "opnsense getArp", "opnsense getNdp"
_INTERFACES = "opnsense interfacesInfo"
_RENAMED = {  # Diagnostics/ACL/ACL.xml in opnsense/core
    _ARP: "/api/diagnostics/interface/get_arp",
    _NDP: "/api/diagnostics/interface/get_ndp",
    _INTERFACES: "/api/interfaces/overview/interfaces_info",
}
_ALL_ROWS = json.dumps({"current": 1, "rowCount": -1, "searchPhrase": ""})
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_DROPPING = {"blackhole": "blackhole", "reject": "unreachable", "unreachable": "unreachable"}
_FROM_RANGES = (
    f"{_NEIGHBORS}: some neighbors connect from listen ranges, which are not told: one that is absent may be allowed to"
)


def ask(query: Query) -> tuple[Command, ...]:
    """The requests whose answers `read` understands. Raises ValueError for text that is no address."""
    families = sorted({family_of(vip) for vip in query.vips})
    return (
        _get(_SUMMARY, "/api/quagga/diagnostics/bgpsummary"),
        _get(_NEIGHBORS, "/api/quagga/diagnostics/bgpneighbors"),
        *(_search(_BGP[family], f"/api/quagga/diagnostics/searchBgproute{family}") for family in families),
        *(_search(_ZEBRA[family], f"/api/quagga/diagnostics/searchGeneralroute{family}") for family in families),
        _get(_ARP, "/api/diagnostics/interface/getArp"),
        _get(_NDP, "/api/diagnostics/interface/getNdp"),
        _get(_INTERFACES, "/api/interfaces/overview/interfacesInfo"),
    )


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What was refused, under the name that its rights are spelled with in newer releases (`get_arp`)."""
    asked = [command for command in ask(query) if command.name in _RENAMED]
    if all(_is_refused(command.name, answers) for command in ask(query)):
        return ()
    return tuple(
        Command(_again(command.name), ("GET", _RENAMED[command.name]))
        for command in asked
        if _is_refused(command.name, answers)
    )


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`."""
    problems: list[str] = []
    neighbors = _link_neighbors(answers, problems)
    addresses = frozenset(_own_addresses(_rows(_INTERFACES, answers, problems) or ()))
    sessions: tuple[Session, ...] | None = None
    local_as: int | None = None
    routes: dict[str, tuple[Route, ...]] = {}
    fib: dict[str, FibEntry | None] = {}
    if query.vrf not in (None, DEFAULT_VRF):
        problems.append(
            f"OPNsense has no VRF {phrase(str(query.vrf), 64)}: see vrf of this router in the configuration"
        )
    else:
        summary = _response(_SUMMARY, answers, problems)
        sessions = _sessions(summary, _response(_NEIGHBORS, answers, problems), problems)
        local_as, relaxed = instance(summary)
        if sessions is not None:
            accepted = frozenset(_BGP) if summary is None else _accepted(sessions)  # the summary alone tells how many
            routes = _routes(query, answers, Multipath({}, relaxed), accepted, problems)
        fib = _fib(query, answers, problems)
    return Snapshot(
        router=router,
        platform=PLATFORM,
        taken_at=taken_at,
        sessions=sessions,
        routes=MappingProxyType(routes),
        fib=MappingProxyType(fib),
        neighbors=neighbors,
        addresses=addresses,
        local_as=local_as,
        problems=digest(problems),
    )


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """Where to click and what to enter. None for `policy_missing`: the plugin sets `no bgp ebgp-requires-policy`.

    The fields: forms/bgp.xml and forms/dialogEditBGPNeighbor.xml of the plugin, and its pull request 5340.
    """
    remote = facts.remote_as if facts.remote_as is not None else "<AS of the node>"
    neighbor = f"Routing > BGP > Neighbors > {facts.neighbor}"
    kind_of_peer = "iBGP" if facts.internal else "eBGP"
    paths = facts.paths or "<number of nodes>"
    general = "Routing > BGP > General (advanced mode)"
    lines: dict[RemedyKind, str] = {
        RemedyKind.NEIGHBOR_MISSING: (
            f"Routing > BGP > Neighbors > Add: Peer-IP {facts.neighbor}, Remote AS {remote}; "
            "or tick Enabled if it is listed"
        ),
        RemedyKind.SESSION_SHUTDOWN: f"{neighbor}: tick Enabled",
        RemedyKind.SESSION_WRONG_AS: f"{neighbor}: Remote AS {remote}",
        RemedyKind.SESSION_PASSWORD: (f"{neighbor} (advanced mode): BGP MD5 Password <the password set on the node>"),
        RemedyKind.ROUTE_FILTERED: (
            f"{neighbor}: Prefix-List In and Route-Map In none, or such as permit the IPv{facts.family} VIPs"
        ),
        RemedyKind.PATH_LIMIT: f"{general}: maximum paths of {kind_of_peer} {paths} (os-frr 1.52 or newer)",
        RemedyKind.AS_PATH_RELAX: f"{general}: best path as-path multipath-relax (in newer releases of os-frr)",
    }
    return f"{lines[kind]}; Save, Apply" if kind in lines else None


def _again(name: str) -> str:
    return f"{name} again"


def _is_refused(name: str, answers: Mapping[str, Answer]) -> bool:
    answer = answers.get(name)
    return answer is not None and (answer.error is not None or answer.exit_status != 0)


def _get(name: str, path: str) -> Command:
    return Command(name, ("GET", path))


def _search(name: str, path: str) -> Command:
    return Command(name, ("POST", path), stdin=_ALL_ROWS)


def _document(name: str, answers: Mapping[str, Answer], problems: list[str]) -> Any:
    """What an answer says; None, and a problem, when it is none."""
    answer = answers.get(_again(name), answers.get(name, Answer(error="not asked")))
    try:
        document = parse(answer.stdout) if answer.error is None else None
    except ValueError as error:
        document, answer = None, replace(answer, error=None if answer.exit_status else str(error))
    told = as_dict(document)
    complaint = as_text(told.get("errorMessage")) or (as_text(told.get("message")) if "status" in told else None)
    if answer.error is None and not answer.exit_status and complaint is None and document is not None:
        return document
    status = f"HTTP status {answer.exit_status}: " if answer.exit_status else ""
    problems.append(f"{name}: {status}{phrase(answer.error or complaint or answer.stderr or 'no reason given')}")
    return None


def _response(name: str, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, Any] | None:
    """What FRR said, as if for every VRF. The plugin makes an empty list of no answer, and of an empty one."""
    document = _document(name, answers, problems)
    if document is None:
        return None
    told = as_dict(as_dict(document).get("response"))
    if not told:
        problems.append(f"{name}: FRR told nothing: is BGP running?")
        return None
    return {DEFAULT_VRF: told}


def _rows(name: str, answers: Mapping[str, Answer], problems: list[str]) -> list[Row] | None:
    """The rows of a search or a list; None, and a problem, when there is none or some are missing."""
    document = _document(name, answers, problems)
    if document is None:
        return None
    rows = document.get("rows") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(f"{name}: no list of rows")
        return None
    total = as_int(as_dict(document).get("total"))
    if total is not None and total > len(rows):
        problems.append(f"{name}: {len(rows)} of {total} rows")
        return None
    return rows


def _sessions(
    summary: dict[str, Any] | None, detail: dict[str, Any] | None, problems: list[str]
) -> tuple[Session, ...] | None:
    """FRR's sessions. What `soft-reconfiguration inbound` keeps cannot be seen through this API."""
    sessions = sessions_of(summary, detail, problems)
    if sessions is None:
        return None
    if any(session.dynamic for session in sessions):
        problems.append(_FROM_RANGES)
    return tuple(replace(session, keeps_filtered=None) for session in sessions)


def _tables(rows: Iterable[Row], *, default_routes: bool) -> Table:
    found = Table(default_routes)
    for row in rows:
        found.add(row.get("network") or row.get("prefix"), row)
    return found


def _routes(
    query: Query, answers: Mapping[str, Answer], multipath: Multipath, accepted: frozenset[int], problems: list[str]
) -> dict[str, tuple[Route, ...]]:
    """VIP -> routes, of the families whose table could be read. A table that holds nothing at all is that of a daemon
    that did not answer where a session says, or may say, that prefixes of its family were accepted.
    """
    found: dict[str, tuple[Route, ...]] = {}
    tables = _by_family(_BGP, query, answers, problems)
    for family in accepted & tables.keys():
        if not _rows(_BGP[family], answers, []):
            problems.append(f"{_BGP[family]}: not one route, although sessions have accepted some")
            del tables[family]
    for vip in dict.fromkeys(map(canonical, query.vips)):
        if (table := tables.get(family_of(vip))) is not None:
            prefix, rows = next(table.covering(vip), (None, ()))
            found[vip] = () if prefix is None else routes_of(vip, _as_shown(prefix, rows), {}, multipath, 0)
    return found


def _accepted(sessions: Iterable[Session]) -> frozenset[int]:
    """The families of which some session has accepted a prefix."""
    return frozenset(family for one in sessions for family, count in one.prefixes_received.items() if count)


def _by_family(
    names: Mapping[int, str], query: Query, answers: Mapping[str, Answer], problems: list[str]
) -> dict[int, Table]:
    read = {
        family: _rows(names[family], answers, problems) for family in sorted({family_of(vip) for vip in query.vips})
    }
    return {
        family: _tables(rows, default_routes=query.default_routes) for family, rows in read.items() if rows is not None
    }


def _as_shown(prefix: Prefix, rows: Sequence[Row]) -> dict[str, Any]:
    """The rows of one prefix as FRR shows it alone, a path for each peer (with its next hops again in one list)."""
    paths: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in rows:
        peer, as_path = as_text(row.get("peerId")), as_text(row.get("path")) or ""
        path = paths.setdefault(
            (peer, as_path, row.get("bestpath") is True, row.get("multipath") is True),
            {
                **row,
                "bestpath": {"overall": row.get("bestpath") is True},
                "aspath": {
                    "string": "Local" if as_path == "Internal" else as_path
                },  # what the plugin calls an empty one
                "peer": {"peerId": peer, "type": as_text(row.get("pathFrom"))},
                "nexthops": [],
            },
        )
        path["nexthops"].append({"ip": row.get("ip"), "used": row.get("used")})
    return {"prefix": str(prefix), "paths": list(paths.values())}


def _fib(query: Query, answers: Mapping[str, Answer], problems: list[str]) -> dict[str, FibEntry | None]:
    """VIP -> what zebra says that it installed, of the families that it told something of."""
    found: dict[str, FibEntry | None] = {}
    for family in sorted({family_of(vip) for vip in query.vips}):
        rows = _rows(_ZEBRA[family], answers, problems)
        if rows is not None and not rows:
            problems.append(f"{_ZEBRA[family]}: not one route, so zebra was not asked")
        if rows:
            table = _tables(rows, default_routes=query.default_routes)
            vips = [vip for vip in dict.fromkeys(map(canonical, query.vips)) if family_of(vip) == family]
            found |= {vip: _entry(vip, table) for vip in vips}
    return found


def _entry(vip: str, table: Table) -> FibEntry | None:
    """A route that zebra selected, but could not install, is passed over as the kernel does."""
    for prefix, rows in table.covering(vip):
        installed = [row for row in rows if row.get("selected") is True and row.get("fib") is True]
        if not installed:
            continue
        first = installed[0]
        kind = next((kind for name, kind in _DROPPING.items() if first.get(name) is True), "unicast")
        hops = () if kind != "unicast" else tuple(dict.fromkeys(map(_next_hop, installed)))
        return FibEntry(str(prefix), hops, as_text(first.get("protocol")), kind)
    return None


def _next_hop(row: Row) -> NextHop:
    return NextHop(
        address=as_address(row.get("ip")),
        interface=as_text(row.get("interfaceName")),
        weight=as_int(row.get("weight"), 1) or 1,
        usable=row.get("linkDown") is not True,
    )


def _link_neighbors(answers: Mapping[str, Answer], problems: list[str]) -> tuple[LinkNeighbor, ...] | None:
    """ARP and ND; FreeBSD writes `(incomplete)` in place of the MAC of one that does not answer."""
    told = [rows for name in (_ARP, _NDP) if (rows := _rows(name, answers, problems)) is not None]
    found = []
    for row in (row for rows in told for row in rows):
        address = as_address(row.get("ip"))
        mac = (as_text(row.get("mac")) or "").lower()
        known = _MAC.fullmatch(mac) is not None
        if address is not None:
            found.append(LinkNeighbor(address, as_text(row.get("intf")), mac if known else None, known))
    return tuple(found) if told else None


def _own_addresses(interfaces: Iterable[Row]) -> Iterator[str]:
    for row in interfaces:
        listed = [as_dict(one).get("ipaddr") for key in ("ipv4", "ipv6") for one in as_list(row.get(key))]
        for text in (row.get("addr4"), row.get("addr6"), *listed):
            if (address := as_address(text)) is not None:
                yield address
