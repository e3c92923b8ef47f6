"""The same fault looks the same whichever daemon the router runs."""

from __future__ import annotations

import pytest

from routers.model import Answer, HashPolicy, NextHop, SessionState
from routers.platforms import PLATFORMS
from tests.routers.captured import (
    NODE3,
    QUERY,
    QUERY_OVER_IPV6,
    VIP,
    VIP6,
    answers,
    capture,
    fib_of,
    route_of,
    scenarios,
    session_of,
    snapshot,
)

LAB_ROUTERS = ("bird", "frr")  # captured on the lab, fault by fault; the others have tests of their own
BOTH = pytest.mark.parametrize("platform", LAB_ROUTERS)
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}


@pytest.mark.parametrize(
    ("platform", "scenario"),
    [(name, one) for name in LAB_ROUTERS for one in scenarios(name) if not capture(name, one).manifest.program],
)
def test_every_capture_is_read_without_a_problem(platform: str, scenario: str) -> None:
    query = QUERY_OVER_IPV6 if scenario == "ipv6_link_local" else None
    taken = snapshot(platform, scenario, query) if query else snapshot(platform, scenario)
    assert taken.problems == ()
    assert taken.sessions is not None
    assert taken.local_as == 64512
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


@BOTH
def test_healthy(platform: str) -> None:
    taken = snapshot(platform, "healthy")
    assert {one.address for one in taken.sessions or ()} == NODES
    for one in taken.sessions or ():
        assert one.state is SessionState.ESTABLISHED
        assert (one.remote_as, one.local_as) == (64512, 64512)
        assert one.families == frozenset({4, 6})
        assert one.prefixes_received == {4: 1, 6: 1}
        assert one.keeps_filtered == frozenset({4, 6})
        assert one.established_at is not None
        assert one.last_error is None
        assert (one.admin_down, one.dynamic, one.passive) == (False, False, False)
    for vip, hops in ((VIP, NODES), (VIP6, {"2001:db8::11", "2001:db8::12", "2001:db8::13"})):
        assert {one.peer for one in taken.routes[vip]} == NODES
        assert {hop for one in taken.routes[vip] for hop in one.next_hops} == hops
        assert all(one.valid and one.used and not one.unused_reason for one in taken.routes[vip])
        assert sum(one.best for one in taken.routes[vip]) == 1
        assert fib_of(taken, vip) == hops
    assert taken.hash_policy == {4: HashPolicy.FIELDS, 6: HashPolicy.FIELDS}
    assert len(taken.neighbors or ()) == 3


@BOTH
def test_neighbor_missing(platform: str) -> None:
    taken = snapshot(platform, "neighbor_missing")
    assert {one.address for one in taken.sessions or ()} == NODES12
    assert taken.dynamic_ranges == ()
    assert fib_of(taken, VIP) == NODES12


@BOTH
@pytest.mark.parametrize(
    ("scenario", "error"),
    [
        (
            "wrong_as",
            {"frr": "BGP Notification send: OPEN Message Error/Bad Peer AS", "bird": "BGP Error: Bad peer AS"},
        ),
        ("md5_mismatch", {"frr": "Waiting for peer OPEN", "bird": None}),
    ],
)
def test_session_that_does_not_come_up(platform: str, scenario: str, error: dict[str, str | None]) -> None:
    taken = snapshot(platform, scenario)
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.state not in {SessionState.ESTABLISHED, SessionState.UNKNOWN}
    assert session.last_error == error[platform]
    assert session.established_at is None
    assert not session.admin_down
    assert session.remote_as == (64599 if scenario == "wrong_as" else 64512)
    assert route_of(taken, VIP, NODE3) is None


@BOTH
def test_admin_shutdown(platform: str) -> None:
    session = session_of(snapshot(platform, "admin_shutdown"), NODE3)
    assert session is not None
    assert session.state is SessionState.IDLE
    assert session.admin_down


@pytest.mark.parametrize(("platform", "scenario"), [("frr", "filtered_soft"), ("bird", "filtered")])
def test_filtered(platform: str, scenario: str) -> None:
    taken = snapshot(platform, scenario)
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.filtered, route.used, route.best) == (True, False, False)
    assert route.next_hops == (NODE3,)
    assert fib_of(taken, VIP) == NODES12
    unfiltered = route_of(taken, VIP6, NODE3)
    assert unfiltered is not None
    assert not unfiltered.filtered


def test_filtered_where_frr_does_not_remember() -> None:
    taken = snapshot("frr", "filtered_nosoft")
    assert route_of(taken, VIP, NODE3) is None
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.keeps_filtered == frozenset({6})


@BOTH
def test_no_route(platform: str) -> None:
    taken = snapshot(platform, "no_route")
    assert route_of(taken, VIP, NODE3) is None
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.state is SessionState.ESTABLISHED


@BOTH
@pytest.mark.parametrize(
    ("scenario", "reasons"),
    [
        (
            "path_limit",
            {
                "frr": "path limit: 2 of 3 equal paths, maximum-paths ibgp 2",
                "bird": "path limit (merge paths) or export filter of kernel protocol k4: 2 of 3 equal paths",
            },
        ),
        ("longer_as_path", dict.fromkeys(("frr", "bird"), "longer AS path (1 against 0)")),
    ],
)
def test_unused_route_says_why(platform: str, scenario: str, reasons: dict[str, str]) -> None:
    taken = snapshot(platform, scenario)
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert route.valid
    assert route.used is False
    assert route.unused_reason == reasons[platform]
    assert fib_of(taken, VIP) == NODES12


@BOTH
def test_selected_by_bgp_and_not_installed(platform: str) -> None:
    taken = snapshot(platform, "not_installed")
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert route.used is not False
    assert route.unused_reason is None
    assert taken.fib[VIP] is None


@BOTH
def test_stale(platform: str) -> None:
    taken = snapshot(platform, "stale")
    session, route = session_of(taken, NODE3), route_of(taken, VIP, NODE3)
    assert session is not None
    assert route is not None
    assert session.state is SessionState.ACTIVE
    assert route.stale
    assert NODE3 in fib_of(taken, VIP)


@BOTH
def test_listen_ranges(platform: str) -> None:
    taken = snapshot(platform, "ranges")
    ranges = {"frr": ("10.0.0.16/28", "10.0.0.13/32", "2001:db8::/64"), "bird": ("10.0.0.0/24",)}
    assert taken.dynamic_ranges == ranges[platform]
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.dynamic


def test_next_hops_over_ipv6_sessions_are_link_local() -> None:
    taken = snapshot("frr", "ipv6_link_local", QUERY_OVER_IPV6)
    route = route_of(taken, VIP6, "2001:db8::13")
    entry = taken.fib[VIP6]
    assert route is not None
    assert entry is not None
    assert route.next_hops == ("fe80::483b:89ff:fe9f:48ca", "2001:db8::13")
    assert NextHop("fe80::483b:89ff:fe9f:48ca", "br0") in entry.next_hops


@BOTH
def test_a_missing_answer_costs_its_own_part_only(platform: str) -> None:
    whole = answers(platform, "healthy")
    for name in whole:
        rest = {other: answer for other, answer in whole.items() if other != name}
        rest[name] = Answer(error="the router went away")
        taken = PLATFORMS[platform].read("edge", QUERY, rest, 0.0)
        healthy = (
            taken.sessions is not None,
            VIP in taken.routes,
            VIP in taken.fib,
        )
        assert sum(healthy) >= (1 if name in ("vtysh 1", "bird protocols") else 2), name
        if name != "kernel hash policy":
            assert any("the router went away" in problem for problem in taken.problems), name


@BOTH
def test_unreadable_sessions_are_not_no_sessions(platform: str) -> None:
    name = {"frr": "vtysh 1", "bird": "bird protocols"}[platform]
    for text in ("", "bgpd is not running\n", "BIRD 2.0.12 ready.\nAccess restricted\n", "{}"):
        broken = answers(platform, "healthy") | {name: Answer(stdout=text, exit_status=1)}
        taken = PLATFORMS[platform].read("edge", QUERY, broken, 0.0)
        assert taken.sessions is None
        assert taken.problems
