"""What a Junos router is asked, each question named by its command; its form depends on VRF and VIPs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from routers.junos.json import PIPE
from routers.model import IPV4, Command, Query, canonical, family_of

VERSION = f"show version{PIPE}"
ARP = f"show arp no-resolve{PIPE}"
ND = f"show ipv6 neighbors{PIPE}"
INTERFACES = f"show interfaces terse{PIPE}"
OPEN_ERRORS = 'show log messages | match "Open Message Error" | last 100 | no-more'
_SETTINGS = '| display set | match "(type|multipath|allow|shutdown|passive)( |$)" | no-more'  # and no password
_FEW_VIPS = 8  # of one family, whose routes are asked one by one
_SMALL_TABLE = 50  # routes for each VIP: a table that costs the router no more than its VIPs one by one
_VRF = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def command(name: str) -> Command:
    return Command(name, tuple(name.split(" ")), raw=True)


def instance(vrf: str | None) -> str | None:
    """The routing instance's name. Raises ValueError for text that is none."""
    if vrf is not None and not _VRF.fullmatch(vrf):
        raise ValueError(f"{vrf!r} is no name of a routing instance")
    return vrf


def neighbors(query: Query) -> str:
    return f"show bgp neighbor{_instance(query)}{PIPE}"


def summary(query: Query) -> str:
    return f"show bgp summary{_instance(query)}{PIPE}"


def settings(query: Query) -> str:
    """The settings of BGP groups that matter, as text."""
    place = f"routing-instances {query.vrf} " if instance(query.vrf) else ""
    return f"show configuration {place}protocols bgp {_SETTINGS}"


def families(query: Query) -> tuple[int, ...]:
    """Those of the VIPs, and of the nodes, whose sessions may carry the others'."""
    return tuple(sorted({family_of(one) for one in (*query.vips, *query.node_addresses)}))


def vips(query: Query, family: int | None = None) -> tuple[str, ...]:
    """Each VIP once. Raises ValueError for text that is no address."""
    return tuple(vip for vip in dict.fromkeys(map(canonical, query.vips)) if family in {None, family_of(vip)})


def few(query: Query, family: int) -> bool:
    """So few VIPs of a family that each is asked for by itself."""
    return len(vips(query, family)) <= _FEW_VIPS


def route(query: Query, vip: str) -> str:
    return f"show route {vip} table {_table(query, family_of(vip))} protocol bgp all detail{PIPE}"


def route_table(query: Query, family: int) -> str:
    return f"show route table {_table(query, family)} protocol bgp all detail{PIPE}"


def fib(vrf: str | None, address: str) -> str:
    return f"show route forwarding-table destination {address} table {instance(vrf) or 'default'}{PIPE}"


def fib_table(query: Query, family: int) -> str:
    inet = "inet" if family == IPV4 else "inet6"
    return f"show route forwarding-table family {inet} table {instance(query.vrf) or 'default'}{PIPE}"


def one_by_one(query: Query, family: int) -> Iterator[str]:
    for vip in vips(query, family):
        yield route(query, vip)
        yield fib(query.vrf, vip)


def many(query: Query, family: int, told: Mapping[int, int]) -> tuple[str, ...]:
    """The questions about a family with many VIPs: whole tables, unless they are large (`told`: family -> routes)."""
    if told.get(family, 0) > _SMALL_TABLE * len(vips(query, family)):
        return tuple(one_by_one(query, family))
    return (route_table(query, family), fib_table(query, family))


def _table(query: Query, family: int) -> str:
    inet = "inet.0" if family == IPV4 else "inet6.0"
    return f"{query.vrf}.{inet}" if instance(query.vrf) else inet


def _instance(query: Query) -> str:
    return f" instance {query.vrf}" if instance(query.vrf) else ""
