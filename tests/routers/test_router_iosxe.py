"""Cisco IOS-XE over SSH: made-up answers in the shapes of Cisco's references, one fault each, up to the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routers import iosxe
from routers.model import Answer, FibEntry, LinkNeighbor, NextHop, Query, Route, Session, SessionState, Snapshot
from tests.routers.by_vip import paths_of, verdicts_of
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

NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
NODES6 = {"2001:db8::11", "2001:db8::12", "2001:db8::13"}
OK = "ok"
ARP, ND = "show ip arp", "show ipv6 neighbors"
SUMMARY, NEIGHBORS = "show bgp all summary", "show bgp all neighbors"
ROUTE, CEF = f"show bgp ipv4 unicast {VIP}", f"show ip cef {VIP} detail"
CONFIGURATION = next(name for name in answers("iosxe", "healthy") if name.startswith("show running-config"))


def query_of(scenario: str) -> Query:
    return replace(QUERY, vrf="blue") if scenario == "vrf" else QUERY


def taken(scenario: str) -> Snapshot:
    return snapshot("iosxe", scenario, query_of(scenario))


def session3(scenario: str) -> Session:
    return third_session(taken(scenario))


def route3(scenario: str) -> Route:
    return third_route(taken(scenario))


def changed(scenario: str, texts: dict[str, str], query: Query = QUERY) -> Snapshot:
    """The snapshot with some answers replaced."""
    whole = answers("iosxe", scenario) | {name: Answer(text) for name, text in texts.items()}
    return iosxe.read("edge", query, whole, TAKEN_AT)


def text_of(scenario: str, name: str) -> str:
    return answers("iosxe", scenario)[name].stdout


@pytest.mark.parametrize("scenario", scenarios("iosxe"))
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    found = taken(scenario)
    assert found.problems == ()
    assert found.sessions
    assert found.version == "17.09.04a"
    assert found.neighbors
    assert set(found.routes) == set(found.fib) == {VIP, VIP6}


@pytest.mark.parametrize(
    ("scenario", "third"),
    [
        ("healthy", OK),
        ("neighbor_missing", "neighbor_missing"),
        ("session_down", "session_down"),
        ("never_up", "session_down"),
        ("passive", "session_down"),
        ("admin_shutdown", "session_down"),
        ("wrong_as", "session_down"),
        ("prefix_limit", "session_down"),
        ("no_route", "route_missing"),
        ("filtered", "route_filtered"),
        ("filtered_nosoft", "route_missing"),
        ("path_limit", "route_unused"),
        ("internal", "route_unused"),
        ("longer_as_path", "route_unused"),
        ("lost_next_hop", "route_unused"),
        ("stale", "stale_route"),
        ("ranges", "session_down"),
        ("covering", "route_missing"),
        ("ipv6_link_local", OK),
        ("multipath_relax", OK),
        ("asdot", OK),
        ("vrf", OK),
        ("no_privilege", OK),
        ("terminal", OK),
        ("old_release", OK),
    ],
)
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_verdicts(scenario: str, third: str, vip: str) -> None:
    assert verdicts_of(taken(scenario), vip) == {"leviathan1": OK, "leviathan2": OK, "leviathan3": third}


@pytest.mark.parametrize("vip", [VIP, VIP6])
@pytest.mark.parametrize("scenario", ["no_multipath", "as_path_differs"])
def test_one_path_alone(scenario: str, vip: str) -> None:
    unused = {"leviathan2": "route_unused", "leviathan3": "route_unused"}
    assert verdicts_of(taken(scenario), vip) == {"leviathan1": OK, **unused}


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_default_route_is_no_route_to_a_vip_unless_it_is_meant_to_be(vip: str) -> None:
    assert set(verdicts_of(taken("default_route"), vip).values()) == {"route_missing"}
    assert taken("default_route").fib[vip] is None
    meant = snapshot("iosxe", "default_route", replace(QUERY, default_routes=True))
    entry = meant.fib[vip]
    assert entry is not None
    assert entry.prefix in {"0.0.0.0/0", "::/0"}
    assert [route.used for route in meant.routes[vip]] == [True]
    assert verdicts_of(meant, vip)["leviathan1"] == OK


def test_selected_by_bgp_and_not_installed() -> None:
    for vip, stranger in ((VIP, "192.0.2.254"), (VIP6, "2001:db8:1::fe")):
        paths = paths_of(taken("not_installed"), vip)
        assert paths["leviathan1"].verdict == "route_not_installed"
        assert paths[stranger].verdict == "unexpected_next_hop"
        assert "RIB-failure(17)" in paths["leviathan1"].reason
        assert "RIB-failure(17)" in paths["leviathan3"].reason
        assert paths["leviathan3"].cure is None


def test_healthy() -> None:
    found = taken("healthy")
    assert found.local_as == 64512
    assert found.maximum_paths == {"ebgp": 4, "ibgp": 1}
    assert found.addresses == {
        "10.0.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8:1::1",
        "fe80::5054:ff:fe00:101",
        "fe80::5054:ff:fe00:102",
    }
    assert session3("healthy") == Session(
        address=NODE3,
        state=SessionState.ESTABLISHED,
        remote_as=64513,
        local_as=64512,
        established_at=TAKEN_AT - 3723,
        prefixes_received={4: 1},
        families=frozenset({4}),
        keeps_filtered=frozenset({4}),
        prefixes_filtered={4: 0},
    )
    for vip, hops in ((VIP, NODES), (VIP6, NODES6)):
        assert {one.peer for one in found.routes[vip]} == hops
        assert all(one.valid and one.used and not one.unused_reason for one in found.routes[vip])
        assert sum(one.best for one in found.routes[vip]) == 1
        assert fib_of(found, vip) == hops
    assert found.fib[VIP] == FibEntry(
        f"{VIP}/32", tuple(NextHop(f"10.0.0.1{number}", "GigabitEthernet2") for number in (1, 2, 3))
    )
    assert LinkNeighbor(NODE3, "GigabitEthernet2", "52:54:00:00:00:13", reachable=True) in (found.neighbors or ())


@pytest.mark.parametrize(
    ("scenario", "state", "error"),
    [
        ("session_down", SessionState.ACTIVE, "BGP Notification sent of session 1, hold time expired"),
        ("never_up", SessionState.IDLE, None),
        ("admin_shutdown", SessionState.IDLE, "Admin. shutdown"),
        ("wrong_as", SessionState.IDLE, "BGP Notification sent of session 1, peer in wrong AS (Bad Peer AS)"),
        ("prefix_limit", SessionState.IDLE, "Maximum number of prefixes reached"),
        ("passive", SessionState.ACTIVE, None),
    ],
)
def test_why_a_session_is_down(scenario: str, state: SessionState, error: str | None) -> None:
    found = session3(scenario)
    assert (found.state, found.last_error, found.established_at) == (state, error, None)
    assert found.prefixes_received == {4: 0}
    assert found.admin_down is (scenario == "admin_shutdown")
    assert found.prefix_limit_hit is (scenario == "prefix_limit")
    assert found.passive is (scenario == "passive")
    assert found.remote_as == (64599 if scenario == "wrong_as" else 64513)


@pytest.mark.parametrize(
    ("scenario", "reason", "command"),
    [
        ("path_limit", "path limit: 2 of 3 equal paths, maximum-paths ebgp 2", "maximum-paths 3"),
        ("internal", "path limit: 2 of 3 equal paths, maximum-paths ibgp 2", "maximum-paths ibgp 3"),
        ("no_multipath", "path limit: 1 of 3 equal paths, maximum-paths ebgp 1", "maximum-paths 3"),
        ("as_path_differs", "different AS path (64513 against 64511)", "bgp bestpath as-path multipath-relax"),
        ("longer_as_path", "longer AS path (2 against 1)", None),
        ("lost_next_hop", f"next hop {NODE3} cannot be resolved", None),
    ],
)
def test_an_unused_route_says_why(scenario: str, reason: str, command: str | None) -> None:
    path = paths_of(taken(scenario))["leviathan3"]
    assert reason in path.reason
    told = path.cure.remedy if path.cure is not None else None
    assert told is None if command is None else command in (told or "").splitlines()


def test_another_as_path_by_way_of_the_same_neighbor_as_shares_no_load() -> None:
    """The lengths are equal, and the limit of four is not reached."""
    text = text_of("path_limit", ROUTE).replace(
        "  64513, (received & used)\n    10.0.0.13", "  64513 64999\n    10.0.0.13"
    )
    text = text.replace("  64513, (received & used)\n", "  64513 64777\n")
    config = text_of("healthy", CONFIGURATION)
    route = route_of(changed("path_limit", {ROUTE: text, CONFIGURATION: config}), VIP, NODE3)
    assert route is not None
    assert route.unused_reason is not None
    assert route.unused_reason.startswith("different AS path (64513 64999 against 64513 64777)")
    assert route.mended_by == "as_path_relax"


@pytest.mark.parametrize(
    ("scenario", "command"),
    [("admin_shutdown", f"no neighbor {NODE3} shutdown"), ("wrong_as", f"neighbor {NODE3} remote-as 64513")],
)
def test_sessions_are_mended(scenario: str, command: str) -> None:
    cure = paths_of(taken(scenario))["leviathan3"].cure
    assert cure is not None
    assert cure.remedy == f"configure terminal\nrouter bgp 64512\n{command}\nend\nwrite memory"


def test_filtered() -> None:
    assert route3("filtered") == Route(f"{VIP}/32", NODE3, (NODE3,), used=False, filtered=True)
    assert session3("filtered").prefixes_filtered == {4: 1}
    assert session3("filtered_nosoft").keeps_filtered == frozenset()
    assert session3("filtered_nosoft").prefixes_filtered == {4: 1}


def test_a_route_that_policy_changed_is_not_filtered() -> None:
    """It stands twice: as it came, and as it is used."""
    text = text_of("healthy", ROUTE).replace("(3 available", "(4 available")
    block = text[text.index("  Refresh Epoch 1\n") :].split("  Refresh Epoch 1\n")[1]
    kept = block.replace("(received & used)", "(received-only)").replace(", multipath(oldest)", "")
    found = changed("healthy", {ROUTE: f"{text}  Refresh Epoch 1\n{kept}"})
    assert found.problems == ()
    assert [one.filtered for one in found.routes[VIP]] == [False] * 3


def test_stale() -> None:
    assert route3("stale").stale
    assert session3("stale").state is SessionState.ACTIVE
    assert NODE3 in fib_of(taken("stale"), VIP)


def test_listen_ranges() -> None:
    found = taken("ranges")
    assert found.dynamic_ranges == ("10.0.0.0/24", "2001:db8::/64")
    assert all(one.dynamic for one in found.sessions or ())
    assert {one.address for one in found.sessions or ()} == NODES12 | (NODES6 - {"2001:db8::13"})
    hidden = changed("ranges", {CONFIGURATION: text_of("no_privilege", CONFIGURATION)})
    assert hidden.dynamic_ranges == ("10.0.0.0/24", "2001:db8::/64")


def test_link_local_next_hops_are_joined_by_their_hardware_address() -> None:
    found = taken("ipv6_link_local")
    entry = found.fib[VIP6]
    assert entry is not None
    assert NextHop("fe80::5054:ff:fe00:13", "GigabitEthernet2") in entry.next_hops
    route = route_of(found, VIP6, "2001:db8::13")
    assert route is not None
    assert route.next_hops == ("fe80::5054:ff:fe00:13", "2001:db8::13")


def test_the_longest_prefix_wins() -> None:
    found = taken("covering")
    assert {route.prefix for route in found.routes[VIP]} == {"203.0.113.0/24"}
    entry = found.fib[VIP]
    assert entry is not None
    assert entry.prefix == "203.0.113.0/24"


def test_vrf() -> None:
    names = [command.name for command in iosxe.ask(query_of("vrf"))]
    assert "show bgp vpnv4 unicast vrf blue summary" in names
    assert f"show ip cef vrf blue {VIP} detail" in names
    assert "show ip arp vrf blue" in names
    assert {route.prefix for route in taken("vrf").routes[VIP]} == {f"{VIP}/32"}
    assert {route.prefix for route in taken("vrf").routes[VIP6]} == {f"{VIP6}/128"}


def test_neighbors_of_other_vrfs_are_not_the_default_ones() -> None:
    text = text_of("healthy", NEIGHBORS)
    foreign = text_of("vrf", "show bgp vpnv4 unicast vrf blue neighbors").replace("10.0.0.13", "10.9.9.9")
    text = text.replace("For address family: VPNv4 Unicast\n", f"For address family: VPNv4 Unicast\n{foreign}")
    found = changed("healthy", {NEIGHBORS: text})
    assert {one.address for one in found.sessions or ()} == NODES | NODES6
    assert found.problems == ()


def test_as_numbers_with_dots() -> None:
    assert (session3("asdot").remote_as, session3("asdot").local_as) == ((65010 << 16) + 2, (65010 << 16) + 1)


def test_what_a_user_may_not_see_is_unknown() -> None:
    found = taken("no_privilege")
    assert found.maximum_paths == {}
    assert found.problems == ()
    limited = changed("path_limit", {CONFIGURATION: text_of("no_privilege", CONFIGURATION)})
    route = route_of(limited, VIP, NODE3)
    assert route is not None
    assert route.unused_reason == "path limit: 2 of 3 equal paths"


def test_wrapped_addresses() -> None:
    """An address that fills its column pushes the rest to a line of its own."""
    long = "2001:DB8:1234:5678::13"
    text = text_of("healthy", SUMMARY)
    row = next(line for line in text.splitlines() if line.startswith("2001:DB8::13 "))
    wrapped = text.replace(row, f"{long}\n{' ' * 16}{row[16:]}")
    found = changed("healthy", {SUMMARY: wrapped, NEIGHBORS: "% Authorization failed.\n"})
    assert session_of(found, long.lower()) is not None
    assert len(found.sessions or ()) == 6


def test_no_bgp_is_no_neighbor() -> None:
    found = changed("healthy", dict.fromkeys((SUMMARY, NEIGHBORS, ROUTE), "% BGP not active\n"))
    assert found.sessions == ()
    assert set(verdicts_of(found).values()) == {"neighbor_missing"}


@pytest.mark.parametrize("why", [", repair", " unusable: no route"])
def test_a_path_that_waits_or_cannot_be_used_is_no_next_hop_in_use(why: str) -> None:
    text = text_of("healthy", CEF).replace(f"recursive via {NODE3}", f"recursive via {NODE3}{why}")
    assert why in text
    found = changed("healthy", {CEF: text})
    entry = found.fib[VIP]
    assert entry is not None
    assert {hop.address for hop in entry.next_hops if hop.usable} == {"10.0.0.11", "10.0.0.12"}
    assert verdicts_of(found)["leviathan3"] == "route_not_installed"
