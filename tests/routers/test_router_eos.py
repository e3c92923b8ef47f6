"""Arista EOS through eAPI: made-up answers in the shapes of real captures, one fault each, up to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from routers import eos
from routers.model import (
    Answer,
    FibEntry,
    NextHop,
    Query,
    RemedyFacts,
    RemedyKind,
    Route,
    Session,
    SessionState,
    Snapshot,
)
from tests.routers.captured import (
    NODE3,
    QUERY,
    TAKEN_AT,
    VIP,
    VIP6,
    answers,
    fib_of,
    route_of,
    scenarios,
    session_of,
    snapshot,
    third_route,
    third_session,
)
from tests.routers.concluded import paths_of, verdicts_of

BLUE = replace(QUERY, vrf="blue")
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
TOLD_LESS = {"no_privilege", "no_bgp"}


def query_of(scenario: str) -> Query:
    return BLUE if scenario == "vrf" else QUERY


def session3(scenario: str) -> Session:
    return third_session(snapshot("eos", scenario, query_of(scenario)))


def route3(scenario: str) -> Route:
    return third_route(snapshot("eos", scenario))


def changed(scenario: str, **replaced: Answer) -> Snapshot:
    """The snapshot with some answers replaced; `_` stands for a space in their names."""
    whole = answers("eos", scenario) | {name.replace("_", " "): answer for name, answer in replaced.items()}
    return eos.read("edge", QUERY, whole, TAKEN_AT)


@pytest.mark.parametrize("scenario", [one for one in scenarios("eos") if one not in TOLD_LESS])
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    taken = snapshot("eos", scenario, query_of(scenario))
    assert taken.problems == ()
    assert taken.sessions
    assert taken.version == "4.30.2F"
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


def test_healthy() -> None:
    taken = snapshot("eos", "healthy")
    assert taken.local_as == 64512
    assert taken.maximum_paths == {"ebgp": 8, "ibgp": 8}
    assert taken.addresses == {"10.0.0.1", "198.51.100.1", "2001:db8::1", "fe80::1"}
    for node in NODES:
        session = session_of(taken, node)
        assert session == Session(
            address=node,
            state=SessionState.ESTABLISHED,
            remote_as=64513,
            local_as=64512,
            established_at=1795380800.25,
            prefixes_received={4: 1},
            families=frozenset({4}),
            prefixes_filtered={4: 0},
            router_id=node,
        )
    for vip, hops in ((VIP, NODES), (VIP6, {"2001:db8::11", "2001:db8::12", "2001:db8::13"})):
        assert {one.peer for one in taken.routes[vip]} == hops
        assert all(one.valid and one.used and not one.unused_reason for one in taken.routes[vip])
        assert [one.best for one in taken.routes[vip]] == [True, False, False]
        assert fib_of(taken, vip) == hops
    assert taken.fib[VIP] == FibEntry(
        f"{VIP}/32", tuple(NextHop(f"10.0.0.1{number}", "Vlan10") for number in (1, 2, 3)), "bgp"
    )
    assert {(one.address, one.interface, one.mac, one.reachable) for one in taken.neighbors or ()} >= {
        (NODE3, "Vlan10", "02:00:00:00:00:13", True),
        ("2001:db8::13", "Vlan10", "02:00:00:00:00:13", True),
    }


@pytest.mark.parametrize(
    ("scenario", "verdict", "why"),
    [
        ("neighbor_missing", "neighbor_missing", "no BGP neighbor 10.0.0.13"),
        ("session_down", "session_down", "Active, not Established; last error: Connect (Connection refused)"),
        ("admin_shutdown", "session_down", "shut down by configuration"),
        ("wrong_as", "session_down", "bad AS number (Bad Peer AS)"),
        ("prefix_limit", "session_down", "its prefix limit was hit"),
        ("no_route", "route_missing", "(0 prefixes received)"),
        ("filtered", "route_filtered", "an import policy of edge drops it"),
        ("path_limit", "route_unused", "path limit: 2 of 3 equal paths, maximum-paths ebgp 2 (EOS: ecmp fast)"),
        ("longer_as_path", "route_unused", "longer AS path (2 against 1) (EOS: as path length)"),
        ("other_as", "route_unused", "as-path multipath-relax is off"),
        ("not_installed_hardware", "route_not_installed", "is not programmed in the hardware"),
        ("not_installed_kernel", "route_not_installed", "is not programmed in the kernel"),
        ("static_wins", "route_unused", "not installed: route best inactive; it forwards to 1 next hop: 10.0.0.99"),
        ("stale", "stale_route", "although the BGP session is Active"),
        ("default_only", "route_missing", "announces no route for 203.0.113.10"),
        ("ranges", "session_down", "a dynamic-neighbor range of edge covers 10.0.0.13"),
        ("no_bgp", "neighbor_missing", "it has no neighbor at all"),
    ],
)
def test_faults_up_to_the_verdict(scenario: str, verdict: str, why: str) -> None:
    path = paths_of(snapshot("eos", scenario))[VIP, "leviathan3"]
    assert path.verdict == verdict
    assert why in path.reason


@pytest.mark.parametrize(
    "scenario", ["healthy", "covering", "ipv6_link_local", "unnumbered", "vrf", "asdot", "passive", "no_privilege"]
)
def test_what_is_no_fault(scenario: str) -> None:
    taken = snapshot("eos", scenario, query_of(scenario))
    nodes = ("leviathan1", "leviathan2", "leviathan3")
    assert verdicts_of(taken) == {(vip, node): "ok" for vip in (VIP, VIP6) for node in nodes}


@pytest.mark.parametrize(
    ("scenario", "remedy"),
    [
        ("neighbor_missing", "neighbor 10.0.0.13 remote-as 64513\naddress-family ipv4\nneighbor 10.0.0.13 activate"),
        ("admin_shutdown", "no neighbor 10.0.0.13 shutdown"),
        ("wrong_as", "neighbor 10.0.0.13 remote-as 64513"),
        ("path_limit", "maximum-paths 3"),
        ("other_as", "bgp bestpath as-path multipath-relax"),
    ],
)
def test_what_mends_a_fault(scenario: str, remedy: str) -> None:
    cure = paths_of(snapshot("eos", scenario))[VIP, "leviathan3"].cure
    assert cure is not None
    assert cure.remedy == f"configure\nrouter bgp 64512\n{remedy}\nend\nwrite memory"


def test_sessions_that_are_down() -> None:
    assert session3("session_down").state is SessionState.ACTIVE
    assert session3("session_down").established_at is None
    down = session3("admin_shutdown")
    assert (down.state, down.admin_down) == (SessionState.IDLE, True)
    assert session3("wrong_as").remote_as == 64599
    assert session3("prefix_limit").prefix_limit_hit
    assert not session3("session_down").admin_down


def test_a_prefix_limit_in_the_summary_alone() -> None:
    """`peerStateIdleReason` MaxPath; the text that follows up is missing."""
    assert changed("prefix_limit", eos_down=Answer(error="gone")).sessions
    found = session_of(changed("prefix_limit", eos_down=Answer(error="gone")), NODE3)
    assert found is not None
    assert (found.prefix_limit_hit, found.last_error) == (True, "MaxPath")


def test_filtered_routes_are_asked_for_only_where_some_were_dropped() -> None:
    assert eos.follow_up(QUERY, answers("eos", "healthy")) == ()
    (command,) = eos.follow_up(QUERY, answers("eos", "filtered"))
    asked = json.loads(command.stdin or "")["params"]["cmds"]
    assert asked == ["show bgp neighbors 10.0.0.13 ipv4 unicast received-routes vrf default"]
    route = route3("filtered")
    assert (route.filtered, route.used, route.next_hops) == (True, False, (NODE3,))
    session = session3("filtered")
    assert (session.prefixes_received, session.prefixes_filtered) == ({4: 1}, {4: 1})


def test_an_unused_route_has_the_setting_that_mends_it() -> None:
    assert (route3("path_limit").used, route3("path_limit").mended_by) == (False, RemedyKind.PATH_LIMIT)
    assert route3("other_as").mended_by is RemedyKind.AS_PATH_RELAX
    assert (route3("longer_as_path").used, route3("longer_as_path").mended_by) == (False, None)


def test_a_reason_that_is_no_tie_is_no_path_limit() -> None:
    """A reason of EOS that speaks of no attribute which it tells is repeated, and no path limit is guessed."""
    table = answers("eos", "path_limit")["eos bgp routes 1"].stdout
    document = json.loads(table)
    path = document["result"][0]["vrfs"]["default"]["bgpRouteEntries"][f"{VIP}/32"]["bgpRoutePaths"][2]
    path["reasonNotBestpath"] = "igpCost"
    path["routeType"]["ecmp"] = False
    route = route_of(changed("path_limit", eos_bgp_routes_1=Answer(json.dumps(document))), VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason, route.mended_by) == (False, "not the best path: igp cost", None)


def test_an_invalid_path() -> None:
    document = json.loads(answers("eos", "path_limit")["eos bgp routes 1"].stdout)
    path = document["result"][0]["vrfs"]["default"]["bgpRouteEntries"][f"{VIP}/32"]["bgpRoutePaths"][2]
    path["routeType"]["valid"] = False
    path["reasonNotBestpath"] = "nextHopUnresolved"
    route = route_of(changed("path_limit", eos_bgp_routes_1=Answer(json.dumps(document))), VIP, NODE3)
    assert route is not None
    assert (route.valid, route.used) == (False, False)
    assert route.unused_reason == "not valid (EOS: next hop unresolved)"


def test_not_programmed_is_not_forwarded() -> None:
    taken = snapshot("eos", "not_installed_hardware")
    assert taken.fib[VIP] is None
    assert [route.used for route in taken.routes[VIP]] == [True, True, True]
    assert fib_of(taken, VIP6)


def test_stale() -> None:
    assert route3("stale").stale
    assert fib_of(snapshot("eos", "stale"), VIP) == NODES


@pytest.mark.parametrize(("default_routes", "hops"), [(False, set()), (True, {"198.51.100.9"})])
def test_a_default_route_counts_if_the_configuration_says_so(*, default_routes: bool, hops: set[str]) -> None:
    taken = snapshot("eos", "default_only", replace(QUERY, default_routes=default_routes))
    assert fib_of(taken, VIP) == hops
    assert len(taken.routes[VIP]) == len(hops)


def test_a_covering_prefix_is_looked_up_by_its_name() -> None:
    """Of several prefixes that cover a VIP the longest wins."""
    (command,) = eos.follow_up(QUERY, answers("eos", "covering"))
    asked = json.loads(command.stdin or "")["params"]["cmds"]
    assert asked == [
        "show ip bgp 203.0.113.0/24 detail vrf default",
        "show ipv6 bgp 2001:db8:f::/64 detail vrf default",
    ]
    taken = snapshot("eos", "covering")
    entry = taken.fib[VIP]
    assert entry is not None
    assert entry.prefix == "203.0.113.0/24"
    assert {route.prefix for route in taken.routes[VIP]} == {"203.0.113.0/24"}


@pytest.mark.parametrize("lost", ["eos covering routes", "eos routes 1"])
def test_without_the_covering_prefix_no_route_is_called_missing(lost: str) -> None:
    whole = answers("eos", "covering") | {lost: Answer(error="the switch went away")}
    taken = eos.read("edge", QUERY, whole, TAKEN_AT)
    assert not taken.routes
    assert any("those of a covering prefix were not told" in problem for problem in taken.problems)
    assert set(verdicts_of(taken).values()) <= {"ok", "router_unknown"}


def test_link_local_next_hops() -> None:
    taken = snapshot("eos", "ipv6_link_local")
    assert fib_of(taken, VIP6) == {f"fe80::200:ff:fe00:1{number}" for number in (1, 2, 3)}
    assert taken.routes[VIP6][2].next_hops == ("fe80::200:ff:fe00:13",)


def test_unnumbered_peers() -> None:
    taken = snapshot("eos", "unnumbered")
    assert session_of(taken, "fe80::200:ff:fe00:13") is not None
    assert taken.routes[VIP6][2].peer == "fe80::200:ff:fe00:13"


def test_vrf() -> None:
    for command in eos.ask(BLUE):
        asked = json.loads(command.stdin or "")["params"]["cmds"]
        scoped = [one for one in asked if " vrf " in one]
        assert all("vrf blue" in one for one in scoped)
    taken = snapshot("eos", "vrf", BLUE)
    assert taken.maximum_paths == {"ebgp": 8, "ibgp": 8}
    assert {one.address for one in taken.sessions or () if one.passive} == {"10.0.0.12"}
    assert not any(one.admin_down for one in taken.sessions or ())


def test_answers_about_another_vrf_are_no_answers() -> None:
    taken = snapshot("eos", "healthy", BLUE)
    assert taken.sessions is None
    assert taken.fib == {}
    assert "nothing about VRF blue" in " ".join(taken.problems)


def test_asdot() -> None:
    taken = snapshot("eos", "asdot")
    assert taken.local_as == 65546
    assert {(one.local_as, one.remote_as) for one in taken.sessions or ()} == {(65546, (64513 << 16) + 7)}


def test_listen_ranges_and_those_who_came_from_them() -> None:
    taken = snapshot("eos", "ranges")
    assert taken.dynamic_ranges == ("10.0.0.0/24", "2001:db8::/64")
    assert {one.address for one in taken.sessions or () if one.dynamic} == NODES12


def test_passive_neighbors_by_themselves_or_their_peer_group() -> None:
    taken = snapshot("eos", "passive")
    assert {one.address for one in taken.sessions or () if one.passive} == {"10.0.0.12", NODE3}


IPV6_FACTS = RemedyFacts(local_as=64512, neighbor="2001:db8::13", remote_as=64513, family=6, paths=3, internal=False)
UNKNOWN = RemedyFacts(local_as=None, neighbor=NODE3)


@pytest.mark.parametrize("kind", list(RemedyKind))
@pytest.mark.parametrize("facts", [IPV6_FACTS, UNKNOWN])
def test_every_fault_has_a_remedy_from_configuration_mode_to_saving(kind: RemedyKind, facts: RemedyFacts) -> None:
    lines = (eos.remedy(kind, facts) or "").splitlines()
    assert lines[0] == "configure"
    assert lines[-2:] == ["end", "write memory"]
    assert f"router bgp {facts.local_as or '<AS of the router>'}" in lines


def test_remedies_over_ipv6() -> None:
    lines = (eos.remedy(RemedyKind.NEIGHBOR_MISSING, IPV6_FACTS) or "").splitlines()
    assert lines[2:5] == [
        "neighbor 2001:db8::13 remote-as 64513",
        "address-family ipv6",
        "neighbor 2001:db8::13 activate",
    ]
    policy = (eos.remedy(RemedyKind.POLICY_MISSING, IPV6_FACTS) or "").splitlines()
    assert policy.index("route-map FROM-NODES permit 10") < policy.index("router bgp 64512")


@pytest.mark.parametrize("kind", list(RemedyKind))
def test_remedies_in_a_vrf(kind: RemedyKind) -> None:
    lines = (eos.remedy(kind, replace(IPV6_FACTS, vrf="blue")) or "").splitlines()
    assert lines[lines.index("router bgp 64512") + 1] == "vrf blue"
    assert "vrf default" not in (eos.remedy(kind, replace(IPV6_FACTS, vrf="default")) or "").splitlines()
