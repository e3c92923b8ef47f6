"""What an IOS-XE router is asked, each question named by its command; its form depends on VRF and VIPs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from routers.iosxe.sessions import Summary, summary_of
from routers.iosxe.text import plain, refused, unique
from routers.model import IPV4, IPV6, Answer, Command, Query, family_of

VERSION = "show version | include Version"
INTERFACES = {IPV4: "show ip interface brief", IPV6: "show ipv6 interface brief"}
CONFIGURATION = (
    "show running-config | include ^router bgp|^ address-family|^ exit-address-family|maximum-paths|listen range"
    "|multipath-relax"
)  # by which no password leaves the router
_SUMMARY = "show bgp all summary"
_NEIGHBORS = "show bgp all neighbors"
_OLD = {  # for releases that know no `show bgp all`
    IPV4: ("show ip bgp summary", "show ip bgp neighbors"),
    IPV6: ("show bgp ipv6 unicast summary", "show bgp ipv6 unicast neighbors"),
}
_FEW_VIPS = 8  # of one family, whose routes are asked one by one
_SMALL_TABLE = 50  # prefixes for each VIP: a table that costs the router no more than its VIPs one by one
_VRF = re.compile(r"[A-Za-z0-9_.:@+/#-]{1,64}")


def command(name: str) -> Command:
    return Command(name, tuple(name.split(" ")), raw=True, alone=True)


def in_vrf(vrf: str | None) -> str:
    """The words that choose a VRF. Raises ValueError for text that is no VRF's name."""
    if vrf is None:
        return ""
    if not _VRF.fullmatch(vrf):
        raise ValueError(f"{vrf!r} is no name of a VRF")
    return f" vrf {vrf}"


def families(query: Query) -> tuple[int, ...]:
    """Those of the VIPs, and of the nodes, whose sessions may carry the others'."""
    return tuple(sorted({family_of(one) for one in (*query.vips, *query.node_addresses)}))


def few(query: Query, family: int) -> bool:
    """So few VIPs of a family that each is asked for by itself."""
    return len(_of_family(query, family)) <= _FEW_VIPS


def summaries(query: Query) -> dict[str, int | None]:
    """Summary commands, and the family that each is about alone."""
    if query.vrf is None:
        return {_SUMMARY: None}
    return {f"{_bgp(query, family)} summary": family for family in families(query)}


def details(query: Query) -> dict[str, int | None]:
    """Commands for the neighbors in detail, and the family that each is about alone."""
    if query.vrf is None:
        return {_NEIGHBORS: None}
    return {f"{_bgp(query, family)} neighbors": family for family in families(query)}


def old_summaries(query: Query) -> dict[str, int | None]:
    return {_OLD[family][0]: family for family in families(query)}


def old_details(query: Query) -> dict[str, int | None]:
    return {_OLD[family][1]: family for family in families(query)}


def is_old(query: Query, answers: Mapping[str, Answer]) -> bool:
    """The release does not know `show bgp all`. Where it knows one of the two, that one tells enough."""
    return query.vrf is None and refused(answers.get(_SUMMARY)) and refused(answers.get(_NEIGHBORS))


def link_neighbors(query: Query, family: int) -> str:
    return f"show {'ip arp' if family == IPV4 else 'ipv6 neighbors'}{in_vrf(query.vrf)}"


def route(query: Query, vip: str) -> str:
    return f"{_bgp(query, family_of(vip))} {vip}"


def route_table(query: Query, family: int) -> str:
    return f"{_bgp(query, family)} detail"


def fib(query: Query, vip: str) -> str:
    return f"show {_ip(family_of(vip))} cef{in_vrf(query.vrf)} {vip} detail"


def fib_table(query: Query, family: int) -> str:
    return f"show {_ip(family)} cef{in_vrf(query.vrf)} detail"


def rib(query: Query, vip: str) -> str:
    """For a router that does not tell of CEF."""
    return f"show {_ip(family_of(vip))} route{in_vrf(query.vrf)} {vip}"


def one_by_one(query: Query, family: int) -> Iterator[str]:
    for vip in _of_family(query, family):
        yield route(query, vip)
        yield fib(query, vip)


def many(query: Query, family: int, told: Mapping[int, int]) -> tuple[str, ...]:
    """The questions about a family with many VIPs: whole tables, unless they are large (`told`: family -> prefixes)."""
    if told.get(family, 0) > _SMALL_TABLE * len(_of_family(query, family)):
        return tuple(one_by_one(query, family))
    return (route_table(query, family), fib_table(query, family))


def table_sizes(found: list[Summary]) -> dict[int, int]:
    """Family -> how many prefixes its BGP table holds; a family of which no summary tells is left out."""
    return {family: summary.entries.get(family, 0) for summary in found for family in summary.families}


def told_summaries(query: Query, answers: Mapping[str, Answer]) -> list[Summary]:
    """What can be read of the first summaries, without complaint."""
    texts = ((answers[name].stdout, family) for name, family in summaries(query).items() if name in answers)
    return [found for text, family in texts if (found := summary_of(plain(text), family))]


def _of_family(query: Query, family: int) -> tuple[str, ...]:
    return tuple(vip for vip in unique(query.vips) if family_of(vip) == family)


def _bgp(query: Query, family: int) -> str:
    if query.vrf is None:
        return f"show bgp ipv{family} unicast"
    return f"show bgp vpnv{family} unicast{in_vrf(query.vrf)}"


def _ip(family: int) -> str:
    return "ip" if family == IPV4 else "ipv6"
