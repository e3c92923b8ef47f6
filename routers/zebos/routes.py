"""Routes in ZebOS's `show ip bgp [ADDRESS]`, and what of them its routing table took (`show ip route`). Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from routers.jsontext import Prefix, as_address, as_number, as_prefix
from routers.model import IPV4, Route, family_of
from routers.selection import Attributes, Candidate
from routers.zebos import lines, no_such_route, of_default_vrf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENTRY = re.compile(r"BGP routing table entry for (\S{1,64}?)(?:,.{0,80})?")
_PATHS = re.compile(r"Paths: \((\d{1,6}) available.{0,200}")
_NEXT_HOP_AND_UP = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:,|\s|$)(?: ?([\w.@:-]{1,32}))?")
_METRIC = re.compile(r"\(metric (\d{1,10})\)")
_DISTANCE = re.compile(r"\[\d{1,10}/\d{1,10}\]")
_CHOSEN = {"multipath", "installed"}  # marks of a multipath member, in releases that have any
_KINDS = {"internal", "external", "confed-internal", "confed-external", "sourced", "local", "aggregated"}
_FLAGS = set("sdhSrRl*>=i ")
_CODES = set("KCSROIBLAEVNDioa")
_MAX_ROUTES = 65_536
_CLASSES = ((1, 0), (128, 8), (192, 16), (224, 24))  # first octet below, length


@dataclass(frozen=True, slots=True)
class Heard:
    """A row of `show ip bgp`, which names next hops and no peers."""

    prefix: Prefix
    next_hop: str
    valid: bool
    best: bool
    stale: bool
    internal: bool


@dataclass(frozen=True, slots=True)
class Table:
    """`show ip bgp`; `whole` is false for one that stops before its last line, the number of prefixes."""

    rows: tuple[Heard, ...]
    whole: bool

    def certain(self, vip: str, found: Sequence[Heard]) -> bool:
        """Whether the rows found for a VIP are all there are. A longer prefix, and more of the last, may be cut off."""
        if self.whole:
            return True
        own = ipaddress.ip_network(vip)
        return bool(found) and found[0].prefix == own and self.rows[-1].prefix != own


@dataclass(frozen=True, slots=True)
class Taken:
    """A next hop in the routing table. `selected`, `installed`: None where the release prints no flags."""

    prefix: Prefix
    bgp: bool
    address: str | None
    interface: str | None
    selected: bool | None
    installed: bool | None
    stale: bool


def entry_of(text: str, vip: str) -> tuple[Candidate, ...]:
    """The routes of the longest prefix that covers a VIP; none where nothing does, or only a default route.

    Raises ValueError for a text that is no such entry, is about another address, or is not the whole of it.
    """
    found = of_default_vrf(lines(text))
    heads = [(at, match) for at, line in enumerate(found) if (match := _ENTRY.fullmatch(line.strip()))]
    if not heads:
        if no_such_route(text):
            return ()
        raise ValueError("no routing table entry")
    at, match = heads[0]
    prefix = as_prefix(match[1])
    if prefix is None or ipaddress.ip_address(vip) not in prefix:
        raise ValueError(f"it is about {prefix or 'something else'}")
    if prefix.prefixlen == 0:
        return ()
    body = found[at + 1 : heads[1][0] if len(heads) > 1 else None]
    counts = [int(count[1]) for line in body if (count := _PATHS.fullmatch(line.strip()))]
    candidates = _paths(str(prefix), body)
    if not counts or counts[0] != len(candidates):
        raise ValueError(f"{len(candidates)} of {counts[0] if counts else 'an unknown number of'} routes could be read")
    return candidates


def _paths(prefix: str, body: Sequence[str]) -> tuple[Candidate, ...]:
    """Each route: the line with its AS path, that with its next hop and peer, and those with its attributes."""
    starts = [at for at, line in enumerate(body) if _peer_of(line) is not None]
    ends = [*(at - 1 for at in starts[1:]), len(body)]
    return tuple(
        _path(prefix, body[start - 1] if start else "", body[start], body[start + 1 : end])
        for start, end in zip(starts, ends, strict=False)
    )


def _peer_of(line: str) -> tuple[str, str] | None:
    """Next hop and peer of a line such as `10.0.0.11 (metric 1) from 10.0.0.11 (192.0.2.1)`.

    Of IPv6 some releases put the link-local address behind the global one, in brackets and without a blank.
    """
    words = line.split()
    if "from" not in words[1:4] or line[:1].strip():
        return None
    at = words.index("from", 1)
    next_hop = as_address(words[0].partition("(")[0])
    return (next_hop, words[at + 1]) if next_hop is not None and len(words) > at + 1 else None


def _path(prefix: str, above: str, line: str, below: Sequence[str]) -> Candidate:
    next_hop, peer = _peer_of(line) or ("", "")
    others = [address for one in below if one.strip().startswith("(") and (address := as_address(_in_brackets(one)))]
    told = " ".join(one.strip() for one in below)
    words = told.replace(",", " ").split()
    if not _KINDS & set(words):
        raise ValueError("it stops within a route")
    as_path = above.strip().partition(",")[0].partition("(")[0].split()
    valid = "valid" in words
    best = "best" in words
    metric = _METRIC.search(line[:200])
    return Candidate(
        Route(
            prefix=prefix,
            peer=_heard_from(peer),
            next_hops=(*others, next_hop),
            valid=valid,
            best=best,
            used=True if best or _CHOSEN & set(words) else None if valid else False,
            stale="stale" in f"{above} {told}".lower(),
        ),
        Attributes(
            weight=_number_after("weight", words),
            local_preference=_number_after("localpref", words),
            as_path=() if as_path[:1] == ["Local"] else tuple(as_path),
            origin=_word_after("Origin", words),
            med=_number_after("metric", words) or 0,
            internal=True if "internal" in words else False if "external" in words else None,
            igp_metric=as_number(metric[1]) if metric else None,
        ),
        None if valid else f"next hop {next_hop} cannot be resolved" if "(inaccessible)" in line else "not valid",
    )


def _heard_from(peer: str) -> str | None:
    address = as_address(peer)
    return None if address is None or ipaddress.ip_address(address).is_unspecified else address


def _in_brackets(line: str) -> str:
    return line.strip()[1:].partition(")")[0]


def _word_after(name: str, words: Sequence[str]) -> str | None:
    return next((word for before, word in pairwise(words) if before == name), None)


def _number_after(name: str, words: Sequence[str]) -> int | None:
    return as_number(_word_after(name, words))


def table_of(text: str) -> Table:
    """A table of routes. An empty network column stands for the prefix above it; a prefix or a next hop that
    fills its column is followed by the rest on the next line.

    Raises ValueError for a text that is no table, or has a row that cannot be read: a route that is not seen would
    be taken for none. An empty text is a table without routes.
    """
    found = of_default_vrf(lines(text))
    at = next((number for number, line in enumerate(found) if "Network" in line and "Next Hop" in line), None)
    if at is None:
        if text.strip() and not no_such_route(text):
            raise ValueError("no table of routes")
        return Table((), whole=True)
    second = found[at].index("Next Hop")
    heard: list[Heard] = []
    flags, prefix, whole = "", None, False
    for line in filter(str.strip, found[at + 1 :]):
        if line.startswith(("Total number of prefixes", "Displayed")):
            whole = True
            break
        start = len(line) - len(line.lstrip())
        words = line.split()
        if start < second - 4:
            if "*" in flags:
                raise ValueError(f"a row of {prefix} without a next hop")
            flags, words, indent = _flags_of(line)
            if indent < second - 4 and words and (covering := _network(words[0])) is not None:
                prefix, words = covering, words[1:]
        next_hop = as_address(words[0].partition("(")[0]) if words else None  # the link-local one stands in brackets
        if next_hop is not None and prefix is not None and flags:
            heard.append(_heard(prefix, next_hop, flags))
            flags = ""
        if len(heard) > _MAX_ROUTES:
            raise ValueError("too many routes")
    return Table(tuple(heard), whole)


def _flags_of(line: str) -> tuple[str, list[str], int]:
    """The status codes at the start of a row, the words behind them, and the column of the first of these."""
    at = 0
    while at < min(len(line), 4) and line[at] in _FLAGS:
        at += 1
    rest = line[at:]
    return line[:at] or " ", rest.split(), at + len(rest) - len(rest.lstrip())


def _network(word: str) -> Prefix | None:
    """A prefix; without a length that of its class (RFC 791 section 2.3), as ZebOS prints those."""
    if "/" in word:
        return as_prefix(word)
    address = as_address(word)
    if address is None or family_of(address) != IPV4:
        return None
    first = int(address.partition(".")[0])
    length = next((length for below, length in _CLASSES if first < below), 32)
    return as_prefix(f"{address}/{length}")


def _heard(prefix: Prefix, next_hop: str, flags: str) -> Heard:
    return Heard(
        prefix=prefix,
        next_hop=next_hop,
        valid="*" in flags,
        best=">" in flags,
        stale="S" in flags,
        internal="i" in flags,
    )


def candidates_of(rows: Iterable[Heard]) -> tuple[Candidate, ...]:
    """Routes from a table: the peer is not told, so the next hop stands for it; nor are attributes in columns."""
    return tuple(
        Candidate(
            Route(
                prefix=str(row.prefix),
                peer=_heard_from(row.next_hop),
                next_hops=(row.next_hop,),
                valid=row.valid,
                best=row.best,
                used=True if row.best else None if row.valid else False,
                stale=row.stale,
            ),
            Attributes(internal=row.internal),
            None if row.valid else "not valid",
        )
        for row in rows
    )


def taken_of(text: str) -> tuple[Taken, ...]:
    """The routing table, in ZebOS's shape (`B    *> P [200/0] via NH, eth1, 00:02:28`) or Quagga's (`B>* P ..`).

    Further next hops stand on lines of their own. Raises ValueError for a text without any route.
    """
    found: list[Taken] = []
    prefix: Prefix | None = None
    bgp = selected = seen = False
    body = of_default_vrf(lines(text))
    flagged = any(line[:1] in _CODES and ">" in line[1:8] for line in body)
    for line in body:
        left, via, right = line.partition(" via ")
        words = _DISTANCE.sub(" ", left[:200]).split()
        here = next((one for word in words if ("/" in word and (one := as_prefix(word)))), None)
        if here is not None and line[:1] in _CODES:
            prefix, bgp, seen = here, line.startswith("B"), True
        elif line[:1].strip() or prefix is None:
            prefix = None  # a legend, or a line of another kind: what follows does not go on with a route
            continue
        flags = "".join(word for word in words if set(word) <= set("BKCSROIL*>pr=q")) if left else ""
        selected = ">" in flags or (here is None and selected)
        if not via:
            continue
        hop = _NEXT_HOP_AND_UP.match(right)
        address = as_address(hop[1]) if hop else None
        if address is None or ipaddress.ip_address(address).is_unspecified:
            continue
        found.append(
            Taken(
                prefix=prefix,
                bgp=bgp,
                address=address,
                interface=_interface(right),
                selected=selected if flagged else None,
                installed="*" in flags if flagged else None,
                stale="p" in flags,
            )
        )
        if len(found) > _MAX_ROUTES:
            raise ValueError("too many routes")
    if not seen:
        raise ValueError("no route in it")
    return tuple(found)


def _interface(right: str) -> str | None:
    parts = right[:200].split(",")
    name = parts[1].strip() if len(parts) > 1 else ""
    return name if re.fullmatch(r"[A-Za-z][\w.@-]{0,31}", name) else None
