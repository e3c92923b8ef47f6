"""Junos over SSH: made-up answers in the shape of real captures, one fault each, up to the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routers import junos
from routers.model import (
    Answer,
    FibEntry,
    LinkNeighbor,
    NextHop,
    Query,
    RemedyKind,
    Route,
    Session,
    SessionState,
    Snapshot,
)
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
    snapshot,
    third_route,
    third_session,
)

PIPE = " | display json | no-more"
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
NODES6 = {"2001:db8::11", "2001:db8::12", "2001:db8::13"}
OK = "ok"
ROUTE = f"show route {VIP} table inet.0 protocol bgp all detail{PIPE}"
FIB = f"show route forwarding-table destination {VIP} table default{PIPE}"
NEIGHBORS, SUMMARY = f"show bgp neighbor{PIPE}", f"show bgp summary{PIPE}"
SETTINGS = next(name for name in answers("junos", "healthy") if name.startswith("show configuration"))


def query_of(scenario: str) -> Query:
    return replace(QUERY, vrf="blue") if scenario == "vrf" else QUERY


def taken(scenario: str) -> Snapshot:
    return snapshot("junos", scenario, query_of(scenario))


def session3(scenario: str) -> Session:
    return third_session(taken(scenario))


def route3(scenario: str) -> Route:
    return third_route(taken(scenario))


def changed(scenario: str, texts: dict[str, str], query: Query = QUERY) -> Snapshot:
    """The snapshot with some answers replaced."""
    whole = answers("junos", scenario) | {name: Answer(text) for name, text in texts.items()}
    return junos.read("edge", query, whole, TAKEN_AT)


def text_of(scenario: str, name: str) -> str:
    return answers("junos", scenario)[name].stdout


@pytest.mark.parametrize("scenario", scenarios("junos"))
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    found = taken(scenario)
    assert found.problems == ()
    assert found.sessions
    assert found.version == "21.4R3-S5.4"
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
        ("wrong_as_no_log", "session_down"),
        ("prefix_limit", "session_down"),
        ("no_route", "route_missing"),
        ("filtered", "route_filtered"),
        ("filtered_old", "route_filtered"),
        ("longer_as_path", "route_unused"),
        ("lost_next_hop", "route_unused"),
        ("stale", "stale_route"),
        ("ranges", "session_down"),
        ("covering", "route_missing"),
        ("ipv6_link_local", OK),
        ("internal", OK),
        ("relaxed", OK),
        ("asdot", OK),
        ("vrf", OK),
        ("no_privilege", OK),
        ("two_engines", OK),
    ],
)
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_verdicts(scenario: str, third: str, vip: str) -> None:
    assert verdicts_of(taken(scenario), vip) == {"leviathan1": OK, "leviathan2": OK, "leviathan3": third}


@pytest.mark.parametrize("vip", [VIP, VIP6])
@pytest.mark.parametrize(
    ("scenario", "verdict"),
    [
        ("no_multipath", "route_unused"),
        ("multiple_as", "route_unused"),
        ("no_per_packet_policy", "route_not_installed"),
    ],
)
def test_one_path_alone(scenario: str, verdict: str, vip: str) -> None:
    assert verdicts_of(taken(scenario), vip) == {"leviathan1": OK, "leviathan2": verdict, "leviathan3": verdict}


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_default_route_is_no_route_to_a_vip_unless_it_is_meant_to_be(vip: str) -> None:
    assert set(verdicts_of(taken("default_route"), vip).values()) == {"route_missing"}
    assert taken("default_route").fib[vip] is None
    meant = snapshot("junos", "default_route", replace(QUERY, default_routes=True))
    entry = meant.fib[vip]
    assert entry is not None
    assert entry.prefix in {"0.0.0.0/0", "::/0"}
    assert verdicts_of(meant, vip)["leviathan1"] == OK


def test_healthy() -> None:
    found = taken("healthy")
    assert found.local_as == 64512
    assert found.maximum_paths == {}
    assert found.addresses == {"10.0.0.1", "192.0.2.1", "2001:db8::1", "fe80::5054:ff:fe00:102"}
    assert session3("healthy") == Session(
        address=NODE3,
        state=SessionState.ESTABLISHED,
        remote_as=64513,
        local_as=64512,
        established_at=TAKEN_AT - 3723,
        prefixes_received={4: 1},
        families=frozenset({4}),
        keeps_filtered=frozenset({4, 6}),
        prefixes_filtered={4: 0},
    )
    for vip, hops in ((VIP, NODES), (VIP6, NODES6)):
        assert {one.peer for one in found.routes[vip]} == hops
        assert {one.next_hops for one in found.routes[vip]} == {(hop,) for hop in hops}
        assert all(one.valid and one.used and not one.unused_reason for one in found.routes[vip])
        assert sum(one.best for one in found.routes[vip]) == 1
        assert fib_of(found, vip) == hops
    assert found.fib[VIP] == FibEntry(
        f"{VIP}/32", tuple(NextHop(f"10.0.0.1{number}", "ge-0/0/1.0") for number in (1, 2, 3))
    )
    assert LinkNeighbor(NODE3, "ge-0/0/1.0", "52:54:00:00:00:13", reachable=True) in (found.neighbors or ())


@pytest.mark.parametrize(
    ("scenario", "state", "error"),
    [
        ("session_down", SessionState.ACTIVE, "Hold Timer Expired Error: HoldTime"),
        ("never_up", SessionState.ACTIVE, None),
        ("admin_shutdown", SessionState.IDLE, "Cease: Stop"),
        ("wrong_as", SessionState.IDLE, "Open Message Error: bad peer AS number: RecvOpen"),
        ("wrong_as_no_log", SessionState.IDLE, "Open Message Error: RecvOpen"),
        ("prefix_limit", SessionState.IDLE, "Cease: PrefixLimitExceeded"),
        ("passive", SessionState.ACTIVE, None),
    ],
)
def test_why_a_session_is_down(scenario: str, state: SessionState, error: str | None) -> None:
    found = session3(scenario)
    assert (found.state, found.last_error, found.established_at) == (state, error, None)
    assert found.admin_down is (scenario == "admin_shutdown")
    assert found.prefix_limit_hit is (scenario == "prefix_limit")
    assert found.passive is (scenario == "passive")
    assert found.remote_as == (64599 if scenario.startswith("wrong_as") else 64513)


def test_the_log_is_asked_only_about_refused_neighbors() -> None:
    log = ['show log messages | match "Open Message Error" | last 100 | no-more']
    assert [one.name for one in junos.follow_up(QUERY, answers("junos", "wrong_as"))] == log
    assert junos.follow_up(QUERY, answers("junos", "session_down")) == ()


BALANCE = (
    "set policy-options policy-statement ECMP then load-balance per-packet\n"
    "set routing-options forwarding-table export ECMP"
)


@pytest.mark.parametrize(
    ("scenario", "reason", "command"),
    [
        ("no_multipath", "no BGP multipath: one of 3 equal routes is taken", "multipath\n" + BALANCE),
        ("multiple_as", "(64523 against 64521), and multipath multiple-as is not set", "multiple-as\n" + BALANCE),
        ("longer_as_path", "longer AS path (2 against 1)", None),
        ("lost_next_hop", f"next hop that {NODE3} told cannot be resolved", None),
        (
            "no_per_packet_policy",
            "no policy with load-balance per-packet is exported to the forwarding table",
            "multipath\n" + BALANCE,
        ),
    ],
)
def test_an_unused_route_says_why(scenario: str, reason: str, command: str | None) -> None:
    path = paths_of(taken(scenario))["leviathan3"]
    assert reason in path.reason
    if command is not None:
        assert path.cure is not None
        remedy = path.cure.remedy or ""
        assert command in remedy
        assert remedy.startswith("configure\nset protocols bgp group ")
        assert remedy.endswith("\ncommit and-quit")


def test_routes_that_share_a_load_in_bgp_alone_know_what_mends_them() -> None:
    for vip in (VIP, VIP6):
        mended = [one.mended_by for one in taken("no_per_packet_policy").routes[vip]]
        assert mended == [None, RemedyKind.PATH_LIMIT, RemedyKind.PATH_LIMIT]


def test_junos_own_reason_stands_where_the_attributes_tell_none() -> None:
    text = text_of("no_multipath", ROUTE).replace("Not Best in its group - Router ID", "Route Preference")
    route = route_of(changed("no_multipath", {ROUTE: text}), VIP, NODE3)
    assert route is not None
    assert (route.unused_reason, route.mended_by) == ("Junos prefers another: Route Preference", None)


@pytest.mark.parametrize(
    ("scenario", "command"),
    [
        ("admin_shutdown", f"delete protocols bgp group <group of the nodes> neighbor {NODE3} shutdown"),
        ("wrong_as", f"set protocols bgp group <group of the nodes> neighbor {NODE3} peer-as 64513"),
    ],
)
def test_sessions_are_mended(scenario: str, command: str) -> None:
    cure = paths_of(taken(scenario))["leviathan3"].cure
    assert cure is not None
    assert cure.remedy == f"configure\n{command}\ncommit and-quit"


@pytest.mark.parametrize("scenario", ["filtered", "filtered_old"])
def test_filtered(scenario: str) -> None:
    assert route3(scenario) == Route(f"{VIP}/32", NODE3, (NODE3,), used=False, filtered=True)
    assert session3(scenario).prefixes_filtered == {4: 1}


def test_a_hidden_route_that_was_accepted_is_not_filtered() -> None:
    route = route3("lost_next_hop")
    assert (route.filtered, route.valid, route.used) == (False, False, False)


def test_selected_by_bgp_and_not_installed() -> None:
    for vip, stranger in ((VIP, "192.0.2.254"), (VIP6, "2001:db8:1::fe")):
        verdicts = verdicts_of(taken("not_installed"), vip)
        assert verdicts.pop(stranger) == "unexpected_next_hop"
        assert set(verdicts.values()) == {"route_not_installed"}
        assert "load-balance" not in paths_of(taken("not_installed"), vip)["leviathan1"].reason


def test_a_next_hop_that_nobody_answers_for() -> None:
    found = taken("dead_next_hop")
    assert LinkNeighbor(NODE3, "ge-0/0/1.0", None, reachable=False) in (found.neighbors or ())
    assert NODE3 in fib_of(found, VIP)


def test_stale() -> None:
    assert route3("stale").stale
    assert session3("stale").state is SessionState.ACTIVE
    assert NODE3 in fib_of(taken("stale"), VIP)


def test_listen_ranges() -> None:
    found = taken("ranges")
    assert found.dynamic_ranges == ("10.0.0.0/24", "2001:db8::/64")
    assert all(one.dynamic for one in found.sessions or ())
    assert {one.address for one in found.sessions or ()} == NODES12 | (NODES6 - {"2001:db8::13"})


def test_link_local_next_hops_are_joined_by_their_hardware_address() -> None:
    found = taken("ipv6_link_local")
    entry = found.fib[VIP6]
    assert entry is not None
    assert NextHop("fe80::5054:ff:fe00:13", "ge-0/0/1.0") in entry.next_hops
    assert {one.peer: one.next_hops for one in found.routes[VIP6]} == {
        f"2001:db8::1{number}": (f"fe80::5054:ff:fe00:1{number}",) for number in (1, 2, 3)
    }


def test_the_longest_prefix_wins() -> None:
    found = taken("covering")
    assert {route.prefix for route in found.routes[VIP]} == {"203.0.113.0/24"}
    entry = found.fib[VIP]
    assert entry is not None
    assert entry.prefix == "203.0.113.0/24"


def test_vrf() -> None:
    names = [command.name for command in junos.ask(query_of("vrf"))]
    assert f"show bgp neighbor instance blue{PIPE}" in names
    assert f"show route {VIP6} table blue.inet6.0 protocol bgp all detail{PIPE}" in names
    assert f"show route forwarding-table destination {VIP} table blue{PIPE}" in names
    assert {route.prefix for route in taken("vrf").routes[VIP]} == {f"{VIP}/32"}
    assert session3("vrf").prefixes_received == {4: 1}


def test_neighbors_of_other_instances_are_not_the_default_ones() -> None:
    foreign = {
        NEIGHBORS: text_of("vrf", f"show bgp neighbor instance blue{PIPE}"),
        SUMMARY: text_of("vrf", f"show bgp summary instance blue{PIPE}"),
    }
    assert changed("healthy", foreign).sessions == ()
    unknown = changed("healthy", {NEIGHBORS: "error: timeout\n", SUMMARY: foreign[SUMMARY]})
    assert unknown.sessions == ()


def test_as_numbers_with_dots() -> None:
    assert (session3("asdot").remote_as, session3("asdot").local_as) == ((65010 << 16) + 2, (65010 << 16) + 1)


def test_what_a_user_may_not_see_is_unknown() -> None:
    found = changed("no_multipath", {SETTINGS: text_of("no_privilege", SETTINGS)})
    assert found.maximum_paths == {}
    assert found.problems == ()
    assert taken("no_multipath").maximum_paths == {"ebgp": 1, "ibgp": 1}
    assert changed("ranges", {SETTINGS: text_of("no_privilege", SETTINGS)}).dynamic_ranges == ()


def test_no_bgp_is_no_neighbor() -> None:
    found = changed("healthy", dict.fromkeys((NEIGHBORS, SUMMARY, ROUTE), "error: BGP is not running\n"))
    assert found.sessions == ()
    assert set(verdicts_of(found).values()) == {"neighbor_missing"}
