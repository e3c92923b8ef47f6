"""BGP sessions in ZebOS's `show ip bgp summary` and `show ip bgp neighbors`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routers.jsontext import as_address, as_number, phrase
from routers.model import IPV4, IPV6, SessionState
from routers.zebos import UPTIME, as_of, lines, of_default_vrf, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STATES = {state.value.lower(): state for state in SessionState if state is not SessionState.UNKNOWN}
_ROUTER = re.compile(r"BGP router identifier (\S{1,64}), local AS number (\d{1,10}(?:\.\d{1,5})?)(?: .*)?")
_LIMIT = re.compile(r"\d{1,10} +Configured ([ei]bgp) ECMP multipath: Currently set at (\d{1,10})\s*")
_TOTAL = re.compile(r"Total number of neighbors (\d{1,10})\s*")
_NOBODY = re.compile(r"No IPv[46] (?:[Uu]nicast )?neighbor is configured\s*")
_NO_IDENTIFIER = "0.0.0.0"  # noqa: S104  (printed before a neighbor has told its own)
_COLUMN_OF_UPTIME = 8
_NEIGHBOR = re.compile(r"BGP neighbor is (\*?)([0-9A-Fa-f:.]{2,45}),(.{0,200})")
_RESET = re.compile(r"Last [Rr]eset:? +(?:\S{1,32}, )?due to (.{1,200})")
_IDENTIFIER = re.compile(r"BGP version 4, remote router ID ([0-9.]{7,15})")
_FAMILIES = {"IPv4 Unicast": IPV4, "IPv6 Unicast": IPV6}


@dataclass(frozen=True, slots=True)
class Row:
    """A neighbor in a summary; `prefixes` is None for a session that is not Established."""

    address: str
    remote_as: int | None
    up_seconds: int | None
    state: SessionState
    prefixes: int | None = None
    note: str = ""
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """One address family's neighbors. `limits`: "ebgp" and "ibgp", as far as the release tells them."""

    local_as: int | None = None
    limits: dict[str, int] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()


@dataclass(slots=True)
class Detail:
    """A block of `show ip bgp neighbors`."""

    remote_as: int | None = None
    local_as: int | None = None
    state: SessionState = SessionState.UNKNOWN
    admin_down: bool = False
    dynamic: bool = False
    router_id: str | None = None
    overflow: bool = False
    whole: bool = False
    reset: str | None = None
    message: str | None = None
    negotiated: set[int] = field(default_factory=set)
    activated: set[int] = field(default_factory=set)
    keeps_filtered: set[int] = field(default_factory=set)

    @property
    def last_error(self) -> str | None:
        """Why the session last ended."""
        return self.reset if not self.message else f"{self.reset or 'notification'} ({self.message})"


def summary_of(text: str) -> Summary:
    """A summary; without neighbors for an empty text, which is what a family without any prints.

    Raises ValueError when it is no summary, or not the whole of it: a neighbor that is not seen would be
    taken for one that is not configured.
    """
    found = of_default_vrf(lines(text))
    at = next((number for number, line in enumerate(found) if _is_header(line)), None)
    if at is None:
        if text.strip() and not any(_NOBODY.fullmatch(line.strip()) for line in found):
            raise ValueError("no table of neighbors")
        return Summary()
    heads = [match for line in found[:at] if (match := _ROUTER.fullmatch(line.strip()))]
    limits = [match for line in found[:at] if (match := _LIMIT.fullmatch(line.strip()))]
    end = next((number for number, line in enumerate(found) if number > at and _TOTAL.fullmatch(line.strip())), None)
    if end is None:
        raise ValueError("the table of neighbors has no end")
    rows = [_row(words) for words in _joined(found[at + 1 : end])]
    total = as_number(found[end].split()[-1])
    if total != len(rows):
        raise ValueError(f"{len(rows)} of {total} neighbors could be read")
    return Summary(
        local_as=as_of(heads[0][2]) if heads else None,
        limits={match[1]: int(match[2]) for match in limits},
        rows=tuple(row for row in rows if row),
    )


def _is_header(line: str) -> bool:
    return line.startswith("Neighbor ") and "Up/Down" in line and " AS " in line


def _joined(rows: Iterable[str]) -> list[list[str]]:
    """The words of each row; what is indented goes on with the row before it (an address that fills its column)."""
    found: list[list[str]] = []
    for line in rows:
        if not line[:1].isspace() and line.strip():
            found.append(line.split())
        elif found:
            found[-1] += line.split()
    return found


def _row(words: Sequence[str]) -> Row | None:
    """A neighbor by its uptime's place: an address that fills its column swallows the blank before the version.

    None for a peer that is no address. Raises ValueError for a row that is cut off.
    """
    at = next(
        (
            place
            for place in (_COLUMN_OF_UPTIME, _COLUMN_OF_UPTIME - 1)
            if len(words) > place and UPTIME.fullmatch(words[place])
        ),
        None,
    )
    if at is None or len(words) <= at + 1:
        raise ValueError(f"a row that is no neighbor: {phrase(' '.join(words[:12]), 60)}")
    name = words[0] if at == _COLUMN_OF_UPTIME else words[0][:-1]
    address = as_address(name.lstrip("*"))
    if address is None:
        return None
    prefixes = as_number(words[at + 1])
    return Row(
        address=address,
        remote_as=as_of(words[at - 6]),
        up_seconds=seconds_of(words[at]),
        state=SessionState.ESTABLISHED if prefixes is not None else _state(words[at + 1]),
        prefixes=prefixes,
        note=words[at + 2] if len(words) > at + 2 and words[at + 2].startswith("(") else "",
        dynamic=name.startswith("*"),
    )


def _state(text: str) -> SessionState:
    return _STATES.get(text.strip(",").lower(), SessionState.UNKNOWN)


def details_of(text: str) -> dict[str, Detail]:
    """The blocks by address. Raises ValueError for a text that is none, or that stops within a block."""
    found: dict[str, Detail] = {}
    detail: Detail | None = None
    family: int | None = None
    for line in map(str.strip, of_default_vrf(lines(text))):
        if match := _NEIGHBOR.fullmatch(line):
            address = as_address(match[2])
            detail = None
            if address is not None:
                detail = found.setdefault(address, Detail())
                detail.dynamic = bool(match[1])
                detail.remote_as, detail.local_as = _numbers(match[3])
            family = None
        elif line.startswith("For address family:"):
            family = _FAMILIES.get(line.partition(":")[2].strip())
            if detail is not None and family is not None:
                detail.activated.add(family)
        elif detail is not None:
            _take(detail, family, line)
    if text.strip() and not found:
        raise ValueError("no neighbor in it")
    if any(not detail.whole for detail in found.values()):
        raise ValueError("it stops within a neighbor")
    return found


def _numbers(text: str) -> tuple[int | None, int | None]:
    remote = re.search(r"remote AS ([\d.]{1,16})", text)
    local = re.search(r"local AS ([\d.]{1,16})", text)
    return (as_of(remote[1].rstrip(".")) if remote else None, as_of(local[1].rstrip(".")) if local else None)


def _take(detail: Detail, family: int | None, line: str) -> None:
    """What one line of a block tells."""
    if line.startswith("BGP state = "):
        words = line.removeprefix("BGP state = ").split()
        detail.state = _state(words[0]) if words else SessionState.UNKNOWN
        detail.overflow |= "(PfxCt)" in words[1:2]
        detail.admin_down |= "(Admin)" in words[1:2]
    elif line.startswith("Administratively shut down"):
        detail.admin_down = True
    elif line.startswith("Address family ") and line.endswith("advertised and received"):
        name = line.removeprefix("Address family ").partition(":")[0]
        detail.negotiated.update({_FAMILIES[name]} if name in _FAMILIES else ())
    elif line.startswith("Inbound soft reconfiguration allowed") and family is not None:
        detail.keeps_filtered.add(family)
    elif line.startswith("Connections established"):
        detail.whole = True
    elif "exceeded the maximum prefix" in line:
        detail.overflow = True
    elif match := _IDENTIFIER.fullmatch(line):
        detail.router_id = None if match[1] == _NO_IDENTIFIER else as_address(match[1])
    elif match := _RESET.fullmatch(line):
        detail.reset = phrase(match[1])
    elif line.startswith("Notification Error Message:"):
        detail.message = phrase(line.partition(":")[2].strip().removeprefix("(").removesuffix(")")) or None
