"""The policy routes of direct steering as text: which are wanted, which are there, what leads from one to the other.

Pure; exporter.bypass carries it out and says what it is for. Sources: ip-rule(8), ip-route(8).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from routers.model import canonical, family_of

PROTOCOL: Final = 236
PRIORITY: Final = 2360
MARKS: Final = range(0xECB0001, 0xECB1000)
NO_RIGHT: Final = "no CAP_NET_ADMIN"

_LAST_METRIC: Final = 4_000_000_000  # IPv6 routes get 1024 by themselves
_UNREACHABLE: Final = ("7", "unreachable")  # RTN_UNREACHABLE, linux/rtnetlink.h; `ip -N` writes numbers
_NO_LINK: Final = frozenset({"LOOPBACK", "NOARP", "POINTOPOINT"})


class OffLinkError(Exception):
    """No link of this machine leads straight to the node; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """One address of this machine and the subnet that it shares with others by `device`."""

    device: str
    own: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    up: bool
    link: bool  # an Ethernet-like link, on which one can choose the next hop


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule or route of ours: `text` is what follows `add` or `del` on the line of `ip -batch`."""

    family: int
    kind: str  # rule or route
    text: str

    def line(self, verb: str) -> str:
        return f"{self.kind} {verb} {self.text}"


def subnets(addresses: str) -> tuple[Subnet, ...]:
    """From the output of `ip -json address show`. Raises ValueError when it is something else."""
    found = []
    for interface in json.loads(addresses or "[]"):
        flags = frozenset(interface.get("flags", ()))
        for one in interface.get("addr_info", ()):
            if "local" in one:
                network = ipaddress.ip_network(f"{one.get('address', one['local'])}/{one['prefixlen']}", strict=False)
                name = str(interface["ifname"])
                own = canonical(one["local"])
                found.append(Subnet(name, own, network, "UP" in flags, not flags & _NO_LINK))
    return tuple(found)


def device_to(node: str, here: Sequence[Subnet]) -> str:
    """The interface on whose link the node is: of the most specific subnet that holds it, the first.

    Raises OffLinkError.
    """
    address = ipaddress.ip_address(node)
    if address.is_link_local:
        raise OffLinkError(f"{node} is a link-local address, which does not tell on which link")
    if any(subnet.own == node for subnet in here):
        raise OffLinkError(f"{node} is this machine itself")
    around = [subnet for subnet in here if address in subnet.network]
    if not around:
        raise OffLinkError(f"no interface of this machine is in a subnet with {node}")
    around.sort(key=lambda subnet: (not subnet.up, -subnet.network.prefixlen))
    best = around[0]
    if not best.up:
        raise OffLinkError(f"{best.device}, which shares a subnet with {node}, is down")
    if not best.link:
        raise OffLinkError(f"{best.device}, which shares a subnet with {node}, is no link with several hosts")
    return best.device


def entries(node: str, device: str, mark: int) -> tuple[Entry, Entry, Entry]:
    """Rule, route and the route below it, for one node."""
    family = family_of(node)
    return (
        _rule(family, mark),
        _route(family, mark, f"default via {node} dev {device} onlink"),
        _route(family, mark, f"unreachable default metric {_LAST_METRIC}"),
    )


def _rule(family: int, mark: int) -> Entry:
    return Entry(family, "rule", f"fwmark {mark:#x} lookup {mark} priority {PRIORITY} protocol {PROTOCOL}")


def _route(family: int, table: int, words: str) -> Entry:
    return Entry(family, "route", f"{words} table {table} proto {PROTOCOL}")


def rules_of_ours(family: int, rules: str) -> frozenset[Entry]:
    """From `ip -N -json rule show`. Raises ValueError when it is something else."""
    found = set()
    for rule in json.loads(rules or "[]"):
        mark = int(rule.get("fwmark", "0"), 0)
        ours = mark in MARKS and str(rule.get("protocol")) == str(PROTOCOL) and str(rule.get("table")) == str(mark)
        if ours and rule.get("priority") == PRIORITY:
            found.add(_rule(family, mark))
    return frozenset(found)


def routes_of_ours(family: int, routes: str) -> frozenset[Entry]:
    """From `ip -N -json route show table all proto 236`. Raises ValueError when it is something else."""
    found = set()
    for route in json.loads(routes or "[]"):
        table = str(route.get("table", ""))
        if not table.isdecimal() or int(table) not in MARKS or route.get("dst") != "default":
            continue
        if "gateway" in route and "dev" in route:
            words = f"default via {canonical(route['gateway'])} dev {route['dev']} onlink"
        elif route.get("type") in _UNREACHABLE:
            words = f"unreachable default metric {route.get('metric', 0)}"
        else:
            continue
        found.add(_route(family, int(table), words))
    return frozenset(found)


def gateways(answers: str) -> frozenset[str]:
    """Whom `ip -json -batch` names as next hops, one answer to `route get` a line. Raises ValueError."""
    routes = [route for line in answers.splitlines() if line.strip() for route in json.loads(line)]
    return frozenset(canonical(route["gateway"]) for route in routes if "gateway" in route)


def changes(present: frozenset[Entry], wanted: frozenset[Entry]) -> dict[int, list[str]]:
    """By family the lines for `ip -batch`. At no time does a rule point at an empty table."""

    def order(entry: Entry) -> tuple[bool, str]:
        return entry.kind == "rule", entry.text

    gone = sorted(present - wanted, key=order, reverse=True)
    new = sorted(wanted - present, key=order)
    found: dict[int, list[str]] = {}
    for verb, some in (("del", gone), ("add", new)):
        for entry in some:
            found.setdefault(entry.family, []).append(entry.line(verb))
    return found


def refusals(lines: Sequence[str], errors: str) -> dict[str, str]:
    """Which lines of an `ip -force -batch -` failed, and the kernel's words for it, from its standard error."""
    found = {}
    words: list[str] = []
    for line in errors.splitlines():
        if match := re.fullmatch(r"Command failed -:(\d+)", line.strip()):
            said = "; ".join(words) or "it failed"
            found[lines[int(match[1]) - 1]] = NO_RIGHT if "not permitted" in said else said
            words = []
        elif line.strip():
            words.append(re.sub(r"^(RTNETLINK answers|Error): ", "", line.strip()).rstrip("."))
    return found
