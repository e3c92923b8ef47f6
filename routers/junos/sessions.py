"""BGP neighbors of Junos: `show bgp neighbor`, `show bgp summary`, and what a configuration says of groups. Pure.

Field names: Junos OS CLI Reference (show bgp neighbor, show bgp summary), and captures of real routers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from routers.asn import as_asn
from routers.jsontext import as_address, as_prefix, phrase
from routers.junos.json import Node, has, nodes, number, seconds, text, words
from routers.model import IPV4, IPV6, Session, SessionState

DEFAULT = "master"  # the default routing instance's name
_STATES = {state.value.lower(): state for state in SessionState} | {"establ": SessionState.ESTABLISHED}
_NLRI = {"inet-unicast": IPV4, "inet6-unicast": IPV6}
_TABLE = re.compile(r"(?:(?P<instance>\S{1,128})\.)?inet(?P<six>6?)\.0")
_SETTING = re.compile(
    r"(?P<do>set|deactivate) (?:routing-instances (?P<instance>\S{1,128}) )?protocols bgp"
    r"(?: group (?P<group>\"[^\"]{1,128}\"|\S{1,128}))?(?: neighbor (?P<neighbor>\S{1,60}))?(?P<rest>(?: \S.*)?)"
)
_OPEN_ERROR = "Open Message Error"
_NOTIFIED = re.compile(  # Juniper, System Log Explorer: rpd's BGP NOTIFICATION messages
    r"NOTIFICATION (?:sent to|received from) (?P<peer>[0-9A-Fa-f.:+]{2,60}) [^\n]{0,80}?"
    r"code 2 \(Open Message Error\) subcode \d{1,2} \((?P<subcode>[\w /-]{1,60})\)"
)


@dataclass(slots=True)
class Configuration:
    """What the configuration says; `known` is false where the user may not see it."""

    known: bool = False
    multipath: bool = False
    relaxed: bool = False
    ranges: list[str] = field(default_factory=list)
    shut: set[str] = field(default_factory=set)  # neighbors, and groups as "group NAME"
    passive: set[str] = field(default_factory=set)


def configuration_of(lines: Iterable[str] | None, vrf: str | None) -> Configuration:
    """The lines of `show configuration protocols bgp | display set`. Only their last words are looked at."""
    found = Configuration()
    for line in lines or ():
        match = _SETTING.fullmatch(line.strip())
        if match is None or match["do"] != "set" or match["instance"] not in {vrf, None}:
            continue
        found.known = True
        own = as_address(match["neighbor"])
        who = own or f"group {(match['group'] or '').strip(chr(34))}"
        match match["rest"].split():
            case ["multipath", *more]:
                found.multipath = True
                found.relaxed = found.relaxed or "multiple-as" in more
            case ["allow", "all", *_]:
                found.ranges += ("0.0.0.0/0", "::/0")
            case ["allow", word, *_] if prefix := as_prefix(word):
                found.ranges.append(str(prefix))
            case ["shutdown", *_]:
                found.shut.add(who)
            case ["passive"]:
                found.passive.add(who)
            case _:
                pass
    return found


def table_family(name: str | None, vrf: str | None) -> int | None:
    """The family of a routing table of the instance; None for any other table."""
    match = _TABLE.fullmatch(name or "")
    if match is None or match["instance"] != vrf:
        return None
    return IPV6 if match["six"] else IPV4


def sessions_of(
    details: Sequence[Node],
    summary: Sequence[Node],
    configuration: Configuration,
    open_errors: Mapping[str, str],
    vrf: str | None,
    taken_at: float,
) -> tuple[Session, ...]:
    """The sessions of one routing instance, from the peers of both answers. `open_errors`: address -> subcode."""
    rows: dict[str, Node] = {}
    for peer in summary:
        if (address := peer_address(peer)) and _among(peer, vrf):
            rows.setdefault(address, peer)
    found: dict[str, Node] = {}
    for peer in details:
        if (address := peer_address(peer)) and _instance(peer, vrf) == (vrf or DEFAULT):
            found.setdefault(address, peer)
    foreign = {one for peer in details if (one := peer_address(peer))} - set(found)
    return tuple(
        _session(
            address,
            found.get(address, {}),
            rows.get(address, {}),
            configuration,
            open_errors.get(address),
            vrf,
            taken_at,
        )
        for address in dict.fromkeys((*found, *(row for row in rows if row not in foreign)))
    )


def peer_address(peer: Node) -> str | None:
    """A peer's address, without the port that stands behind it while there is a connection."""
    return as_address((text(peer, "peer-address") or "").partition("+")[0])


def _instance(peer: Node, vrf: str | None) -> str:
    """Old releases, and summaries, do not tell it: then it is the one that was asked for."""
    return text(peer, "peer-cfg-rti") or text(peer, "peer-fwd-rti") or vrf or DEFAULT


def _among(row: Node, vrf: str | None) -> bool:
    """Whether a row of the summary is of the instance, as far as the tables in it tell."""
    tables = [
        match["instance"] for one in nodes(row, "bgp-rib") if (match := _TABLE.fullmatch(text(one, "name") or ""))
    ]
    return not tables or vrf in tables


def _session(
    address: str,
    peer: Node,
    row: Node,
    configuration: Configuration,
    open_error: str | None,
    vrf: str | None,
    taken_at: float,
) -> Session:
    options = next(iter(nodes(peer, "bgp-option-information")), {})
    set_to = words(options, "bgp-options", "bgp-options2", "bgp-options-extended")
    flags = words(peer, "peer-flags")
    state = _state(peer, row)
    up = state is SessionState.ESTABLISHED
    elapsed = seconds(row, "elapsed-time") if up else None
    names = {address, f"group {text(peer, 'peer-group')}"}
    tables = {
        family: table
        for source in (row, peer)
        for table in nodes(source, "bgp-rib")
        if (family := table_family(text(table, "name"), vrf)) is not None
    }
    return Session(
        address=address,
        state=state,
        remote_as=as_asn(text(peer, "peer-as") or text(row, "peer-as")),
        local_as=as_asn(text(peer, "local-as")),
        admin_down=not up and ("Shutdown" in set_to | flags or bool(names & configuration.shut)),
        dynamic="Unconfigured" in flags,
        passive="Passive" in set_to or bool(names & configuration.passive),
        last_error=None if up else _last_error(peer, open_error),
        established_at=None if elapsed is None else taken_at - elapsed,
        prefixes_received=_counts({family: number(one, "received-prefix-count") for family, one in tables.items()}),
        families=_families(peer, options, tables, up=up),
        prefix_limit_hit=not up and _limit_hit(peer),
        keeps_filtered=frozenset() if "KeepNone" in set_to else frozenset((IPV4, IPV6)) if peer else None,
        prefixes_filtered=_counts({family: _filtered(table) for family, table in tables.items()}),
    )


def _state(peer: Node, row: Node) -> SessionState:
    shown = text(peer, "peer-state") or text(row, "peer-state") or ""
    return _STATES.get(shown.split(" ", 1)[0].lower(), SessionState.UNKNOWN)


def was_refused(peer: Node) -> bool:
    """Its last OPEN message was wrong, or ours to it; which part of it only the log says."""
    return text(peer, "last-error") == _OPEN_ERROR and text(peer, "peer-state") != "Established"


def open_errors_of(lines: Iterable[str] | None) -> dict[str, str]:
    """Neighbor -> the subcode of the last OPEN error in the log, such as `bad peer AS number`."""
    found: dict[str, str] = {}
    for line in lines or ():
        match = _NOTIFIED.search(line[:1000])
        if match and (address := as_address(match["peer"].partition("+")[0])):
            found[address] = match["subcode"]
    return found


def _last_error(peer: Node, open_error: str | None) -> str | None:
    """`Cease` and the like; Junos does not say here which subcode a notification had."""
    error = text(peer, "last-error")
    told = None if error in {None, "None"} else error
    known = open_error if was_refused(peer) else None
    parts = (told, known, text(peer, "notification-message"), text(peer, "last-flap-event") if told else None)
    return phrase(": ".join(part for part in parts if part)) or None


def _limit_hit(peer: Node) -> bool:
    told = (text(peer, name) or "" for name in ("last-event", "last-flap-event", "last-error", "notification-message"))
    return any("prefix" in one.lower() and ("limit" in one.lower() or "max" in one.lower()) for one in told)


def _counts(values: Mapping[int, int | None]) -> Mapping[int, int]:
    return MappingProxyType({family: count for family, count in values.items() if count is not None})


def _filtered(table: Node) -> int | None:
    """Received and not accepted: what import policy rejected is counted, and kept as hidden routes."""
    received, accepted = number(table, "received-prefix-count"), number(table, "accepted-prefix-count")
    return None if received is None or accepted is None else max(received - accepted, 0)


def _families(peer: Node, options: Node, tables: Mapping[int, Node], *, up: bool) -> frozenset[int] | None:
    told = words(peer, "nlri-type-session") if up else words(options, "address-families")
    if up and has(peer, "nlri-type-session"):
        return frozenset(_NLRI[word] for word in told if word in _NLRI)
    return frozenset(_NLRI[word] for word in told if word in _NLRI) or frozenset(tables) or None
