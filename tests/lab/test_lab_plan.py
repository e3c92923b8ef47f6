from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from lab.plan import (
    EDGE_WAN_V4,
    EDGE_WAN_V6,
    PROBER_MORE_V4,
    PROBER_MORE_V6,
    PROBER_V4,
    PROBER_V6,
    TRANSIT_V4,
    TRANSIT_V6,
    Lab,
    LabError,
    Node,
    check_name,
    check_size,
    lab_of_namespace,
)


def test_addresses_of_the_outage() -> None:
    lab = Lab("x")
    assert [node.name for node in lab.nodes] == ["leviathan1", "leviathan2", "leviathan3"]
    assert [node.v4 for node in lab.nodes] == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    assert lab.nodes[0].v6 == "2001:db8:10::11"
    web, gitea = lab.services
    assert (web.v4, web.port, web.nodes) == ("203.0.113.10", 80, lab.nodes)
    assert (gitea.v4, gitea.port, gitea.nodes) == ("203.0.113.22", 22, (Node(3),))


def test_gitea_runs_on_the_last_node_of_a_small_lab() -> None:
    assert Lab("x", 1).services[1].nodes == (Node(1),)
    assert Lab("x", 2).services[1].nodes == (Node(2),)
    assert Lab("x", 32).services[1].nodes == (Node(3),)


def test_the_prober_has_thirty_more_addresses_of_each_family() -> None:
    assert (PROBER_MORE_V4[0], PROBER_MORE_V4[-1]) == ("198.51.100.101", "198.51.100.130")
    assert (PROBER_MORE_V6[0], PROBER_MORE_V6[-1]) == ("2001:db8:198::101", "2001:db8:198::130")
    for more, own, length in ((PROBER_MORE_V4, PROBER_V4, 24), (PROBER_MORE_V6, PROBER_V6, 64)):
        assert len({*more, own, EDGE_WAN_V4, EDGE_WAN_V6, TRANSIT_V4, TRANSIT_V6}) == 35
        subnet = ip_network(f"{own}/{length}", strict=False)
        assert all(ip_address(address) in subnet for address in more)


def test_only_a_lab_with_transit_has_its_namespace() -> None:
    assert "ecmplab-x-transit" not in Lab("x").namespaces
    transit = Lab("x", transit=True)
    assert {*transit.namespaces} - {*Lab("x").namespaces} == {"ecmplab-x-transit"}
    assert {lab_of_namespace(namespace) for namespace in transit.namespaces} == {"x"}
    assert lab_of_namespace("ecmplab-x-transit-edge") == "x-transit"


def test_two_hundred_nodes_have_different_addresses() -> None:
    nodes = Lab("x", 200).nodes
    for values in zip(*((n.v4, n.v6, n.mac, n.link_local, n.pod_v4, n.pod_v6) for n in nodes), strict=True):
        assert len(set(values)) == 200
    assert nodes[-1].v4 == "10.0.0.210"
    assert nodes[-1].link_local == "fe80::ec:ff:fe00:c8"


@pytest.mark.parametrize("name", ["lab", "a-b", "0", "a" * 16])
def test_good_names(name: str) -> None:
    assert check_name(name) == name
    assert {lab_of_namespace(namespace) for namespace in Lab(name).namespaces} == {name}


@pytest.mark.parametrize("name", ["", "Lab", "a_b", "../x", "a" * 17])
def test_bad_names(name: str) -> None:
    with pytest.raises(LabError):
        check_name(name)


def test_namespaces_of_other_labs_are_told_apart() -> None:
    assert lab_of_namespace("ecmplab-a-b-edge") == "a-b"
    assert lab_of_namespace("ecmplab-x-leviathan1-pod") == "x"
    assert lab_of_namespace("ecmplab-x-leviathan1-edge") == "x-leviathan1"
    assert lab_of_namespace("router") is None
    assert lab_of_namespace("ecmplab-x-unknown") is None


@pytest.mark.parametrize("size", [0, -1, 201])
def test_sizes(size: int) -> None:
    with pytest.raises(LabError, match="1 to 200"):
        check_size(size)
