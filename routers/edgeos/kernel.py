"""The Linux kernel's tables in the text of an old iproute2 (no `-j`, no `fibmatch`): FIB, neighbors, addresses. Pure.

EdgeOS 1.x brings the iproute2 of Debian 7, EdgeOS 2.x that of Debian 9; `ip -j` for routes came with 4.16
(iproute2's git log). Newer releases print the same text with more words in it, which are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from routers.jsontext import Prefix, as_address, as_number, as_prefix, phrase
from routers.model import (
    IPV4,
    IPV6,
    Answer,
    Command,
    FibEntry,
    LinkNeighbor,
    NextHop,
    Query,
    canonical,
    family_of,
)
from routers.zebos.longest import Longest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIB = {IPV4: "kernel routes", IPV6: "kernel IPv6 routes"}
NEIGHBORS = "kernel neighbors"
ADDRESSES = "kernel addresses"

_KINDS = {"unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "anycast"}
_UNUSABLE = {"dead", "linkdown"}
_FAILED_LINE = re.compile(r"Command failed \S*?:(\d{1,9})\s*$", re.MULTILINE)
_STATES = {"REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE", "PERMANENT", "NOARP", "NONE"}
_NO_HOP = NextHop(None)
_END = "link show dev lo"
_END_SHOWN = re.compile(r"^\d{1,9}: lo: .{0,400}\n +link/", re.MULTILINE)
"""The last question of each batch, which every Linux answers: without its answer others may be missing too."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A route as `ip route show` prints it."""

    prefix: Prefix
    kind: str
    protocol: str | None
    metric: int
    hops: list[NextHop]


def ask(query: Query) -> tuple[Command, ...]:
    """The questions that the functions below read. Raises ValueError for text that is no address."""
    return (*(_fib(query, family) for family in (IPV4, IPV6) if vips_of(query, family)), *_NEIGHBORHOOD)


_NEIGHBORHOOD = (
    Command(NEIGHBORS, ("ip", "neigh", "show")),
    Command(ADDRESSES, ("ip", "-o", "address", "show")),
)


def _fib(query: Query, family: int) -> Command:
    """Every route that covers a VIP; the longest prefix among them is the one that the kernel takes (ip-route(8))."""
    questions = "".join(f"route show match {vip}\n" for vip in vips_of(query, family))
    return Command(FIB[family], ("ip", f"-{family}", "-force", "-batch", "-"), stdin=f"{questions}{_END}\n")


def vips_of(query: Query, family: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(vip for vip in map(canonical, query.vips) if family_of(vip) == family))


def read_fib(answers: Mapping[str, Answer], query: Query) -> tuple[dict[str, FibEntry | None], list[str]]:
    """VIP -> longest match (None: nothing covers it but a default route), and what could not be read."""
    fib: dict[str, FibEntry | None] = {}
    problems: list[str] = []
    for family, name in FIB.items():
        vips = vips_of(query, family)
        if not vips:
            continue
        try:
            answer = _usable(answers.get(name))
            end = _END_SHOWN.search(answer.stdout)
            if end is None:
                raise ValueError("the list of routes has no end")  # noqa: TRY301
            routes = Longest((route.prefix, route) for route in _routes(answer.stdout[: end.start()], family))
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        failed = {int(number) - 1 for number in _FAILED_LINE.findall(answer.stderr)}
        for number, vip in enumerate(vips):
            if number in failed:
                problems.append(f"{name}: {vip}: {phrase(answer.stderr)}")
            else:
                fib[vip] = _winner(routes, vip, default_routes=query.default_routes)
    return fib, problems


def read_neighbors(answers: Mapping[str, Answer]) -> tuple[tuple[LinkNeighbor, ...] | None, list[str]]:
    """The ARP and ND tables (None if they could not be read), and what could not be read."""
    try:
        text = _usable(answers.get(NEIGHBORS)).stdout
    except ValueError as error:
        return None, [f"{NEIGHBORS}: {error}"]
    found = [neighbor for line in text.splitlines() if (neighbor := _neighbor(line.split()))]
    if text.strip() and not found:
        return None, [f"{NEIGHBORS}: no neighbor in it"]
    return tuple(found), []


def read_addresses(answers: Mapping[str, Answer]) -> tuple[frozenset[str], list[str]]:
    """The router's own addresses, and what could not be read."""
    try:
        words = [line.split() for line in _usable(answers.get(ADDRESSES)).stdout.splitlines()]
    except ValueError as error:
        return frozenset(), [f"{ADDRESSES}: {error}"]
    found = [as_address(after) for line in words for after in (after_word("inet", line), after_word("inet6", line))]
    known = frozenset(address for address in found if address)
    return known, [] if known else [f"{ADDRESSES}: no address in it"]


def after_word(name: str, words: Sequence[str]) -> str | None:
    """The word behind another one."""
    return next((word for before, word in pairwise(words) if before == name), None)


def next_hop_of(words: Sequence[str]) -> NextHop:
    """The next hop in a route's words; `via inet6 ADDRESS` where an IPv6 address forwards IPv4 (RFC 8950)."""
    via = after_word("via", words)
    if via in {"inet", "inet6"}:
        via = after_word(via, words)
    return NextHop(
        address=as_address(via),
        interface=after_word("dev", words),
        weight=as_number(after_word("weight", words)) or 1,
        usable=not _UNUSABLE & set(words),
    )


def _usable(answer: Answer | None) -> Answer:
    """An answer that says something, or that there is nothing. Raises ValueError with the reason otherwise."""
    if answer is None:
        raise ValueError("not asked")
    if answer.error:
        raise ValueError(answer.error)
    if answer.exit_status and not answer.stdout.strip() and not _FAILED_LINE.search(answer.stderr):
        raise ValueError(f"exit status {answer.exit_status}: {phrase(answer.stderr) or 'no message'}")
    return answer


def _routes(text: str, family: int) -> list[_Line]:
    """The routes of all questions together. Raises ValueError for a text that holds anything else."""
    found: list[_Line] = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "nexthop" and line[:1].isspace() and found:
            found[-1].hops.append(next_hop_of(words))
            continue
        if (route := _route(words, family)) is None:
            raise ValueError(f"a line that is no route: {phrase(line, 60)}")
        found.append(route)
    return found


def _route(words: Sequence[str], family: int) -> _Line | None:
    kind = words[0] if words[0] in _KINDS else "unicast"
    rest = words[1:] if words[0] in _KINDS else words
    default = "0.0.0.0/0" if family == IPV4 else "::/0"
    prefix = as_prefix(default if rest[:1] == ["default"] else rest[0] if rest else None)
    if prefix is None or prefix.version != family:
        return None
    hop = next_hop_of(rest)
    hops = [hop] if kind in {"unicast", "local"} and replace(hop, weight=1, usable=True) != _NO_HOP else []
    return _Line(prefix, kind, after_word("proto", rest), as_number(after_word("metric", rest)) or 0, hops)


def _winner(routes: Longest[_Line], vip: str, *, default_routes: bool) -> FibEntry | None:
    """The entry that wins: the longest prefix, and of equal ones the lowest metric.

    Kernels before 4.11 print each next hop of an IPv6 route as a route of its own (commit beb1afac518d).
    """
    found = routes.of(vip, 0 if default_routes else 1)
    if not found:
        return None
    best = min(found, key=lambda one: one.metric)
    hops = best.hops
    if best.prefix.version == IPV6 and best.kind == "unicast":
        same = [one for one in found if (one.kind, one.protocol, one.metric) == (best.kind, best.protocol, best.metric)]
        hops = list(dict.fromkeys(hop for one in same for hop in one.hops))
    return FibEntry(str(best.prefix), tuple(dict.fromkeys(hops)), best.protocol, best.kind)


def _neighbor(words: Sequence[str]) -> LinkNeighbor | None:
    address = as_address(words[0]) if words else None
    states = _STATES & set(words[1:])
    if address is None or not states:
        return None
    return LinkNeighbor(
        address=address,
        interface=after_word("dev", words),
        mac=after_word("lladdr", words),
        reachable=not states & {"FAILED", "INCOMPLETE"},
    )
