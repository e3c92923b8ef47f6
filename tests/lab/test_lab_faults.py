from __future__ import annotations

from dataclasses import replace

import pytest

from lab import faults
from lab.plan import Fault, Lab, LabError, Node

LAB = Lab("x")
WEB, GITEA = "203.0.113.10", "203.0.113.22"


def indexes(nodes: frozenset[Node]) -> list[int]:
    return sorted(node.index for node in nodes)


def broken(*names: str, size: int = 3) -> Lab:
    lab = Lab("x", size)
    for name in names:
        kind, _, node = name.partition(":")
        lab = faults.with_fault(lab, kind, node or None)
    return lab


def test_unknown_fault_lists_those_that_exist() -> None:
    with pytest.raises(LabError) as caught:
        faults.with_fault(LAB, "flood")
    assert all(kind in str(caught.value) for kind in (*faults.KINDS, "hash_addresses", "hash_random"))


def test_unknown_node_lists_those_that_exist() -> None:
    with pytest.raises(LabError, match="leviathan1, leviathan2, leviathan3"):
        faults.with_fault(LAB, "blackhole", "leviathan4")


def test_default_nodes() -> None:
    assert broken("blackhole").faults == {Fault("blackhole", 3)}
    assert broken("unexpected_next_hop").faults == {Fault("unexpected_next_hop", 1)}
    assert broken("blackhole", size=2).faults == {Fault("blackhole", 2)}


@pytest.mark.parametrize("kind", ["route_unused", "route_unused_as_path", "unexpected_next_hop"])
def test_faults_that_need_two_nodes(kind: str) -> None:
    with pytest.raises(LabError, match="two nodes"):
        broken(kind, size=1)


def test_a_node_with_every_vip_cannot_announce_one_more() -> None:
    with pytest.raises(LabError, match="choose one of: leviathan1, leviathan2"):
        broken("unexpected_next_hop:leviathan3")


def test_hash_faults_take_no_node() -> None:
    assert broken("hash_random").hash_mode == "random"
    with pytest.raises(LabError, match="takes no node"):
        broken("hash_random:leviathan1")


def test_healing() -> None:
    lab = broken("blackhole:leviathan1", "blackhole:leviathan2", "service_down", "hash_random")
    assert faults.without_fault(lab, "blackhole", "leviathan1").faults == {
        Fault("blackhole", 2),
        Fault("service_down", 3),
    }
    assert faults.without_fault(lab, "blackhole").faults == {Fault("service_down", 3)}
    assert faults.without_fault(lab, "hash_addresses") == lab
    assert faults.without_fault(lab, "hash_random").hash_mode == "five-tuple"
    assert faults.without_fault(lab, None) == LAB


@pytest.mark.parametrize("kind", faults.NO_SESSION)
def test_without_a_session_nothing_is_forwarded(kind: str) -> None:
    expected = faults.expected(broken(kind))
    assert indexes(expected.established) == [1, 2]
    assert indexes(expected.next_hops[WEB]) == [1, 2]
    assert indexes(expected.next_hops[GITEA]) == []


@pytest.mark.parametrize("kind", ["route_missing", "route_filtered", "route_not_installed"])
def test_routes_vanish_and_the_session_stays(kind: str) -> None:
    expected = faults.expected(broken(kind))
    assert indexes(expected.established) == [1, 2, 3]
    assert indexes(expected.next_hops[WEB]) == [1, 2]
    assert indexes(expected.next_hops[GITEA]) == []


@pytest.mark.parametrize("kind", ["route_unused", "route_unused_as_path"])
@pytest.mark.parametrize("node", [1, 2, 3])
def test_an_unused_path_is_the_only_one_left_out(kind: str, node: int) -> None:
    expected = faults.expected(broken(f"{kind}:leviathan{node}"))
    assert indexes(expected.next_hops[WEB]) == sorted({1, 2, 3} - {node})
    assert indexes(expected.next_hops[GITEA]) == [3]  # the only path is always used


@pytest.mark.parametrize("kind", ["node_down", "blackhole", "service_down"])
def test_the_router_does_not_notice(kind: str) -> None:
    assert faults.expected(broken(kind)) == faults.expected(LAB)


def test_stale_routes_stay_without_a_session() -> None:
    expected = faults.expected(broken("stale_route"))
    assert indexes(expected.established) == [1, 2]
    assert indexes(expected.next_hops[WEB]) == [1, 2, 3]


def test_the_path_limit_counts_what_other_faults_leave() -> None:
    lab = broken("session_down:leviathan1", "route_unused:leviathan3")
    assert faults.maximum_paths(lab) == 1
    assert indexes(faults.expected(lab).next_hops[WEB]) == [2]


def test_only_a_low_address_needs_a_next_hop_that_sorts_last() -> None:
    assert not faults.sorts_last(broken("route_unused"))
    assert not faults.sorts_last(broken("route_unused:leviathan2", "route_unused:leviathan3"))
    assert faults.sorts_last(broken("route_unused:leviathan1"))
    assert not faults.sorts_last(LAB)


def test_stages_bring_a_dead_node_back_before_its_routes_change() -> None:
    old = broken("stale_route")
    new = faults.with_fault(old, "route_missing", "leviathan3")
    assert faults.stages(old, new) == [replace(new, faults=frozenset({Fault("route_missing", 3)})), new]


def test_stages_leave_other_nodes_alone() -> None:
    old = broken("stale_route:leviathan1")
    new = faults.with_fault(old, "blackhole", "leviathan2")
    assert faults.stages(old, new) == [new]


def test_a_speaker_is_killed_before_its_link_goes_down() -> None:
    new = broken("node_down", "stale_route")
    assert [sorted(step.faults) for step in faults.stages(LAB, new)] == [
        [],
        [Fault("stale_route", 3)],
        [Fault("node_down", 3), Fault("stale_route", 3)],
    ]


def test_the_same_fault_twice_changes_nothing() -> None:
    lab = broken("node_down")
    assert faults.stages(lab, faults.with_fault(lab, "node_down")) == [lab]
