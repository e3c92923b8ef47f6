from __future__ import annotations

from dataclasses import replace

import pytest

from routers.lookup import addresses_of
from routers.model import LinkNeighbor, NextHop, Snapshot
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
