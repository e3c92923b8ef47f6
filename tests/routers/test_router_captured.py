"""Settings beside the usual ones, as real FRR 8.4.4 and BIRD 2.0.12 showed them; VRFs on a kernel that has them (6.1).

What stands in fixtures/PLATFORM/SCENARIO/ was taken with `ecmp-exporter routers edge --capture --oracle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from exporter.verdicts import PathFacts, Verdict, judge
from routers.model import NextHop, Snapshot
from routers.platforms import PLATFORMS
from tests.routers.captured import NODE3, VIP, VIP6, capture, fib_of, route_of, session_of, snapshot

BOTH = pytest.mark.parametrize("platform", ["bird", "frr"])
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}


def verdicts(platform: str, taken: Snapshot, vip: str = VIP) -> dict[str, Verdict]:
    """Of each node's path to a VIP, as far as the router's tables conclude it: what is forwarded to is `unverified`."""
    nodes = {name: Node(name, own) for name, own in capture(platform, "vrf").manifest.nodes.items()}
    target = Target("web", vip, 22, (vip,), tuple(nodes))
    evidence = of_vip(RouterView.of(taken, Expected(nodes, {"web": target})), Expected(nodes, {}), target, vip)
    paths = [
        PathFacts(name, name, one.next_hop, one, None if evidence.hops is None else one.forwarded)
        for name, one in evidence.nodes.items()
    ]
    return dict(zip(evidence.nodes, judge(paths), strict=True))


def all_nodes(verdict: Verdict) -> Mapping[str, Verdict]:
    return dict.fromkeys(("leviathan1", "leviathan2", "leviathan3"), verdict)


@BOTH
def test_a_vrf(platform: str) -> None:
    taken = snapshot(platform, "vrf")
    assert taken.problems == ()
    assert {one.address for one in taken.sessions or ()} == NODES  # not the one of the default VRF
    assert all(one.remote_as == 64512 and one.established_at for one in taken.sessions or ())
    for vip in (VIP, VIP6):
        assert {one.peer for one in taken.routes[vip]} == NODES
        assert all(one.used for one in taken.routes[vip])
        assert len(fib_of(taken, vip)) == 3
    assert fib_of(taken, VIP) == NODES
    assert {one.address for one in taken.neighbors or ()} >= NODES
    assert taken.local_as == 64512
    assert verdicts(platform, taken) == verdicts(platform, taken, VIP6) == all_nodes(Verdict.UNVERIFIED)


def test_settings_of_a_vrf() -> None:
    taken = snapshot("frr", "vrf")
    assert taken.maximum_paths == {"ibgp": 8}  # 1 in the default VRF
    assert taken.dynamic_ranges == ("10.0.0.13/32",)
    assert [one.address for one in taken.sessions or () if one.dynamic] == [NODE3]


@BOTH
def test_the_oracle_of_a_vrf(platform: str) -> None:
    whole = capture(platform, "vrf")
    oracle = PLATFORMS[platform].ORACLE
    assert oracle is not None
    assert {flow.vrf for flow in whole.manifest.flows} == {"blue"}
    told = oracle.read(whole.manifest.flows, whole.oracle)
    assert set(told) == set(whole.manifest.flows)
    assert {hop.address for flow, hop in told.items() if flow.destination == VIP} <= NODES
    (asked, _) = oracle.prepare(whole.manifest.flows)
    assert asked.argv == ("ip", "-j", "route", "get", "192.0.2.2", "vrf", "blue")


@BOTH
def test_the_default_vrf_has_other_tables(platform: str) -> None:
    """The commands of a question without a VRF name none; `default` means the same."""
    query = capture(platform, "vrf").manifest.query
    for vrf in (None, "default"):
        asked = PLATFORMS[platform].ask(replace(query, vrf=vrf))
        words = " ".join(f"{' '.join(one.argv)} {one.stdin}" for one in asked)
        assert "table all" not in words
        assert "vrf blue" not in words
        assert "vrf default" not in words


@BOTH
def test_an_unknown_vrf_is_one_clear_problem(platform: str) -> None:
    taken = snapshot(platform, "vrf_unknown")
    assert taken.problems == (
        "the router's kernel has no VRF green: see `ip vrf show` there, and vrf of this router in the configuration",
    )
    assert taken.sessions is None
    assert not taken.routes
    assert not taken.fib


def test_a_vrf_without_bgp() -> None:
    taken = snapshot("frr", "vrf_without_bgp")
    assert taken.problems == (
        "FRR has no BGP in VRF red, but in blue, default: see vrf of this router in the configuration",
    )
    assert taken.sessions is None
    assert taken.fib == {VIP: None, VIP6: None}
    assert verdicts("frr", taken) == all_nodes(Verdict.ROUTER_UNKNOWN)


@BOTH
@pytest.mark.parametrize("vrf", ["a b", "blue\n", "x;y", "$(x)", "sixteen_letters_", ""])
def test_what_cannot_be_a_vrf_is_not_asked_for(platform: str, vrf: str) -> None:
    query = replace(capture(platform, "vrf").manifest.query, vrf=vrf)
    with pytest.raises(ValueError, match="cannot be the name of a VRF"):
        PLATFORMS[platform].ask(query)
    assert PLATFORMS[platform].read("edge", query, {}, 0.0).problems


@BOTH
def test_a_default_route_counts_only_where_it_is_meant_to(platform: str) -> None:
    taken = snapshot(platform, "default_route")
    assert taken.problems == ()
    assert taken.routes == {VIP: (), VIP6: ()}
    assert taken.fib == {VIP: None, VIP6: None}
    assert verdicts(platform, taken) == all_nodes(Verdict.ROUTE_MISSING)
    query = replace(capture(platform, "default_route").manifest.query, default_routes=True)
    meant = snapshot(platform, "default_route", query)
    assert {(one.prefix, one.peer, one.used) for one in meant.routes[VIP]} == {
        ("0.0.0.0/0", node, True) for node in NODES
    }
    entry = meant.fib[VIP6]
    assert entry is not None
    assert (entry.prefix, len(entry.next_hops)) == ("::/0", 3)
    assert verdicts(platform, meant, VIP6) == all_nodes(Verdict.UNVERIFIED)
    if platform == "bird":
        assert fib_of(meant, VIP) == NODES
        assert verdicts(platform, meant) == all_nodes(Verdict.UNVERIFIED)
    else:  # this kernel had a default route of its own already, which zebra leaves in its place
        assert fib_of(meant, VIP) == {"10.0.0.254"}
        assert verdicts(platform, meant) == all_nodes(Verdict.ROUTE_NOT_INSTALLED)


@BOTH
@pytest.mark.parametrize("default_routes", [False, True])
def test_the_longest_prefix_wins(platform: str, default_routes: bool) -> None:
    """Two nodes announce a /24 and a default route, the third a /32."""
    query = replace(capture(platform, "covering").manifest.query, default_routes=default_routes)
    taken = snapshot(platform, "covering", query)
    assert {one.prefix for one in taken.routes[VIP]} == {f"{VIP}/32"}
    assert {one.prefix for one in taken.routes[VIP6]} == {f"{VIP6}/128"}
    assert fib_of(taken, VIP) == {NODE3}
    assert verdicts(platform, taken) == {
        "leviathan1": Verdict.ROUTE_MISSING,
        "leviathan2": Verdict.ROUTE_MISSING,
        "leviathan3": Verdict.UNVERIFIED,
    }


@BOTH
def test_a_shorter_prefix_covers(platform: str) -> None:
    """The third node is gone, and with it the /32; its neighbor is passive."""
    taken = snapshot(platform, "passive")
    assert {one.prefix for one in taken.routes[VIP]} == {"203.0.113.0/24"}
    assert {one.prefix for one in taken.routes[VIP6]} == {"2001:db8:f::/48"}
    assert fib_of(taken, VIP) == NODES12
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.passive
    assert verdicts(platform, taken)["leviathan3"] is Verdict.SESSION_DOWN


@BOTH
def test_as_numbers_of_four_bytes(platform: str) -> None:
    taken = snapshot(platform, "four_byte_as")
    assert taken.local_as == 4_200_000_000
    assert {one.remote_as for one in taken.sessions or ()} == {4_200_000_011, 4_200_000_012, 65_551}
    assert fib_of(taken, VIP) == NODES
    assert all(one.used for one in taken.routes[VIP])


@pytest.mark.parametrize(("platform", "scenario"), [("frr", "unnumbered"), ("bird", "link_local")])
def test_link_local_neighbors_are_the_nodes_that_they_name_themselves(platform: str, scenario: str) -> None:
    taken = snapshot(platform, scenario)
    up = [one for one in taken.sessions or () if one.state == "Established"]
    assert [one.router_id for one in up] == ["10.0.0.11", "10.0.0.12"]
    assert all(one.address.startswith("fe80:") for one in up)
    for vip in (VIP, VIP6):
        assert {one.peer for one in taken.routes[vip]} == {one.address for one in up}
        assert all(hop.startswith("fe80:") for one in taken.routes[vip] for hop in one.next_hops)
        found = verdicts(platform, taken, vip)
        assert found["leviathan1"] == found["leviathan2"] == Verdict.UNVERIFIED
        assert found["leviathan3"] is Verdict.SESSION_DOWN  # it could come over an interface, or out of fe80::/10


def test_an_unnumbered_neighbor_that_nobody_answers_for_may_be_any_node() -> None:
    taken = snapshot("frr", "unnumbered")
    assert [(one.address, one.interface) for one in taken.sessions or () if one.state == "Idle"] == [("e3", "e3")]
    assert [one.interface for one in taken.sessions or ()] == ["e1", "e2", "e3"]
    assert verdicts("frr", taken)["leviathan3"] is Verdict.SESSION_DOWN
    assert route_of(taken, VIP, NODE3) is None


def test_a_node_is_found_by_its_hardware_address() -> None:
    """Where the neighbor's identifier names nobody, the neighbor table of the link does."""
    taken = snapshot("frr", "unnumbered")
    sessions = tuple(replace(one, router_id="192.0.2.99") for one in taken.sessions or ())
    strangers = replace(taken, sessions=sessions)
    assert verdicts("frr", strangers)["leviathan1"] is not Verdict.UNVERIFIED
    own = next(one for one in taken.neighbors or () if one.interface == "e1" and one.address.startswith("fe80:"))
    known = replace(strangers, neighbors=(*(taken.neighbors or ()), replace(own, address="10.0.0.11")))
    assert verdicts("frr", known)["leviathan1"] is Verdict.UNVERIFIED
    assert NextHop(own.address, "e1") in (known.fib[VIP] or pytest.fail("no route")).next_hops
