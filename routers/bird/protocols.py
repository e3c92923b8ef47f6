"""The text of BIRD's `show protocols all` and `show status` (nest/proto.c, proto/bgp/bgp.c). Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, datetime, timedelta
from types import MappingProxyType

from routers.jsontext import as_address, as_number, phrase
from routers.model import IPV4, IPV6, Session, SessionState

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
_COUNTS = re.compile(r"(\d{1,10}) imported(?:, (\d{1,10}) filtered)?,")


@dataclass(frozen=True, slots=True)
class Protocol:
    """A block of `show protocols all`: its own fields, and those of each channel."""

    name: str
    type: str
    state: str
    since: str
    fields: dict[str, str] = field(default_factory=dict)
    channels: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def vrf(self) -> str | None:
        """The VRF that it is confined to; None for the default one, which BIRD may name."""
        name = self.fields.get("VRF")
        return None if name in (None, "", "default") else name

    @property
    def tables(self) -> frozenset[str]:
        """The tables that its channels are connected to."""
        return frozenset(own["Table"] for own in self.channels.values() if own.get("Table"))


def protocols_of(text: str) -> list[Protocol] | None:
    """The blocks of `show protocols all`; None where there is no table of them."""
    if not re.search(r"^Name +Proto ", text, re.MULTILINE):
        return None
    found: list[Protocol] = []
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if match := _PROTOCOL.fullmatch(line):
            found.append(Protocol(match["name"], match["type"], match["state"], match["since"]))
            fields = found[-1].fields
        elif found and line.strip() in _CHANNELS:
            fields = found[-1].channels.setdefault(_CHANNELS[line.strip()], {})
        elif found and line.startswith("  "):
            key, _, value = line.strip().partition(":")
            fields.setdefault(key, value.strip())
    return found


def session_of(protocol: Protocol, ranges: Sequence[str], now: datetime | None, taken_at: float) -> Session | None:
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
        remote_as=as_number(fields.get("Neighbor AS")),
        local_as=as_number(fields.get("Local AS")),
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
        router_id=as_address(fields.get("Neighbor ID")) if up else None,
    )


def server_time(status: str) -> datetime | None:
    """The router's own time of day in `show status`; None where it is not told, or no time that can be."""
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
