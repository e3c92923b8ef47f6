from __future__ import annotations

from dataclasses import replace

import pytest

from routers.lookup import addresses_of, next_hops_behind
from routers.model import FibEntry, LinkNeighbor, NextHop, Snapshot
from tests.routers.captured import QUERY_OVER_IPV6, snapshot

LINK_LOCAL = "fe80::483b:89ff:fe9f:48ca"
TAKEN = snapshot("frr", "ipv6_link_local", QUERY_OVER_IPV6)


def test_a_global_next_hop_is_itself() -> None:
    assert addresses_of(TAKEN, NextHop("2001:DB8::13", "br0")) == {"2001:db8::13"}


def test_a_connected_route_has_no_next_hop() -> None:
    assert addresses_of(TAKEN, NextHop(None, "br0")) == frozenset()


def test_a_link_local_next_hop_goes_by_the_announcing_peer() -> None:
    assert addresses_of(TAKEN, NextHop(LINK_LOCAL, "br0")) == {LINK_LOCAL, "2001:db8::13"}


@pytest.mark.parametrize(("interface", "others"), [("br0", {"10.0.0.13", "2001:db8::13"}), ("cli0", set())])
def test_a_link_local_next_hop_goes_by_its_mac_on_its_interface(interface: str, others: set[str]) -> None:
    mac = "02:00:00:00:00:13"
    rows = [LinkNeighbor(address, "br0", mac, reachable=True) for address in (LINK_LOCAL, "10.0.0.13", "2001:db8::13")]
    rows += [
        LinkNeighbor("10.0.0.12", "br0", "02:00:00:00:00:12", reachable=True),
        LinkNeighbor("192.0.2.2", "cli0", mac, reachable=True),
        LinkNeighbor("10.0.0.14", "br0", None, reachable=False),
    ]
    taken = replace(Snapshot("edge", "frr", 0.0), neighbors=tuple(rows))
    assert addresses_of(taken, NextHop(LINK_LOCAL, interface)) == {LINK_LOCAL} | others


def entry(*hops: NextHop) -> FibEntry:
    return FibEntry("203.0.113.10/32", hops)


ONE, TWO, THREE = (NextHop(f"10.0.0.1{number}", f"Ethernet{number}") for number in (1, 2, 3))


@pytest.mark.parametrize("name", ["Ethernet2", "Et2", "Eth2", "ethernet2"])
def test_the_only_next_hop_behind_an_interface(name: str) -> None:
    assert next_hops_behind(entry(ONE, TWO, THREE), name) == (TWO,)


@pytest.mark.parametrize("name", ["Ethernet4", "Ethernet22", "Ethernet2/1", "E2", "Port-Channel2", "Ethernet", "2", ""])
def test_no_next_hop_behind_another_interface(name: str) -> None:
    assert next_hops_behind(entry(ONE, TWO, THREE), name) == ()


def test_next_hops_that_share_an_interface_are_all_named() -> None:
    other = NextHop("10.0.0.14", "Ethernet2")
    assert next_hops_behind(entry(ONE, TWO, other), "Ethernet2") == (TWO, other)


def test_a_next_hop_of_unknown_interface_may_lie_behind_any() -> None:
    unknown = NextHop("10.0.0.14")
    assert next_hops_behind(entry(ONE, TWO, unknown), "Ethernet2") == (TWO, unknown)
    assert next_hops_behind(entry(unknown), "Ethernet9") == (unknown,)


def test_a_dead_next_hop_takes_no_flow() -> None:
    assert next_hops_behind(entry(ONE, replace(TWO, usable=False)), "Ethernet2") == ()


def test_a_name_in_full_comes_before_one_that_it_shortens() -> None:
    short = NextHop("10.0.0.14", "eth2")
    assert next_hops_behind(entry(TWO, short), "eth2") == (short,)
