"""MikroTik RouterOS 7: made-up answers in the shapes of its REST API, one fault each, up to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from routers import routeros
from routers.model import Answer, HashPolicy, Query, RemedyKind, Route, Session, SessionState
from routers.routeros.api import seconds
from tests.routers.captured import (
    NODE3,
    QUERY,
    TAKEN_AT,
    VIP,
    VIP6,
    answers,
    fib_of,
    scenarios,
    session_of,
    snapshot,
    third_route,
    third_session,
)
from tests.routers.concluded import judged, verdicts

BLUE = replace(QUERY, vrf="blue")
WITH_DEFAULT = replace(QUERY, default_routes=True)
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
NODES6 = {"2001:db8::11", "2001:db8::12", "2001:db8::13"}
OK = dict.fromkeys(("leviathan1", "leviathan2", "leviathan3"), "ok")


def query_of(scenario: str) -> Query:
    return BLUE if scenario == "vrf" else QUERY


def session3(scenario: str) -> Session:
    return third_session(snapshot("routeros", scenario))


def route3(scenario: str) -> Route:
    return third_route(snapshot("routeros", scenario))


@pytest.mark.parametrize("scenario", [one for one in scenarios("routeros") if one != "plain_routes"])
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    taken = snapshot("routeros", scenario, query_of(scenario))
    assert taken.problems == ()
    assert taken.sessions
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


def test_healthy() -> None:
    taken = snapshot("routeros", "healthy")
    assert taken.version == "7.21.2 (stable)"
    assert taken.local_as == 64512
    assert taken.maximum_paths == {"ebgp": 8, "ibgp": 8}
    assert taken.hash_policy == {4: HashPolicy.FIVE_TUPLE, 6: HashPolicy.ADDRESSES}
    assert taken.addresses == {"10.0.0.1", "2001:db8::1"}
    assert {one.address for one in taken.neighbors or () if one.reachable} >= NODES | NODES6
    assert fib_of(taken, VIP) == NODES
    assert fib_of(taken, VIP6) == NODES6
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.state is SessionState.ESTABLISHED
    assert (session.remote_as, session.local_as, session.families) == (64513, 64512, frozenset({4, 6}))
    assert session.established_at == TAKEN_AT - 7384
    assert session.prefixes_received == {}  # one count for two families
    assert {route.peer for route in taken.routes[VIP6]} == NODES
    assert all(route.used for route in taken.routes[VIP])


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("healthy", "ok"),
        ("release_7_12", "ok"),
        ("query_refused", "ok"),
        ("plain_routes", "ok"),
        ("ipv6_link_local", "ok"),
        ("asdot", "ok"),
        ("neighbor_missing", "neighbor_missing"),
        ("ranges", "session_down"),
        ("session_down", "session_down"),
        ("admin_shutdown", "session_down"),
        ("stopped", "session_down"),
        ("wrong_as", "session_down"),
        ("prefix_limit", "session_down"),
        ("passive", "session_down"),
        ("no_route", "route_missing"),
        ("filtered", "route_filtered"),
        ("path_limit", "route_unused"),
        ("longer_as_path", "route_unused"),
        ("unresolved", "route_unused"),
        ("static_wins", "route_unused"),
        ("stale", "ok"),  # as long as probes get through
    ],
)
def test_verdict_of_the_third_node(scenario: str, expected: str) -> None:
    assert verdicts(snapshot("routeros", scenario))["leviathan3"] == expected


def test_vrf() -> None:
    taken = snapshot("routeros", "vrf", BLUE)
    assert verdicts(taken) == verdicts(taken, VIP6) == OK
    assert taken.local_as == 64514
    assert {one.remote_as for one in taken.sessions or ()} == {64513}
    default = snapshot("routeros", "vrf")
    assert fib_of(default, VIP) == {"10.0.0.11"}
    assert default.fib[VIP6] is None
    assert default.local_as == 64512


def test_vrf_that_the_router_does_not_have() -> None:
    taken = routeros.read("edge", replace(QUERY, vrf="red"), answers("routeros", "vrf"), TAKEN_AT)
    assert taken.problems == ("RouterOS has no VRF red, only blue, main: see vrf of this router in the configuration",)
    assert taken.sessions is None
    assert taken.routes == {}
    assert taken.fib == {}


def test_the_longest_prefix_wins() -> None:
    taken = snapshot("routeros", "covering")
    assert fib_of(taken, VIP) == NODES12
    assert {route.prefix for route in taken.routes[VIP]} == {"203.0.113.8/29"}
    assert fib_of(taken, VIP6) == NODES6
    assert {route.prefix for route in taken.routes[VIP6]} == {"2001:db8:f::/64"}


def test_a_default_route_counts_only_where_it_is_asked_for() -> None:
    assert snapshot("routeros", "default_only").fib == {VIP: None, VIP6: None}
    assert snapshot("routeros", "default_route").fib[VIP] is None
    assert fib_of(snapshot("routeros", "default_route", WITH_DEFAULT), VIP) == {"192.0.2.1"}


def test_a_session_that_is_down() -> None:
    session = session3("session_down")
    assert session.state is SessionState.ACTIVE
    assert (session.established_at, session.last_error, session.admin_down) == (None, None, False)
    assert not session.prefixes_received  # the router still says prefix-count=1


def test_a_session_that_is_shut_down() -> None:
    for scenario in ("admin_shutdown", "stopped"):
        session = session3(scenario)
        assert session.admin_down
        assert session.state is SessionState.IDLE


def test_notifications_in_words() -> None:
    assert session3("wrong_as").last_error == "sent OPEN Message Error/Bad Peer AS"
    assert "AS" in judged(snapshot("routeros", "wrong_as"))["leviathan3"].reason
    limited = session3("prefix_limit")
    assert limited.last_error == "sent Cease/Maximum Number of Prefixes Reached"
    assert limited.prefix_limit_hit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f" * 32 + "0015030603", "received Cease/Peer De-configured"),
        ("030400", "received Hold Timer Expired"),
        ("f" * 32 + "0015036363", "received notification 99/subcode 99"),
        ("f" * 32 + "00130400", None),
        ("f" * 32, None),
        ("no hex", None),
        ("", None),
    ],
)
def test_last_notification(text: str, expected: str | None) -> None:
    whole = dict(answers("routeros", "session_down"))
    rows = json.loads(whole["routeros bgp session"].stdout)
    rows[-1]["input.last-notification"] = text
    whole["routeros bgp session"] = Answer(json.dumps(rows))
    session = session_of(routeros.read("edge", QUERY, whole, TAKEN_AT), NODE3)
    assert session is not None
    assert session.last_error == expected


def test_neighbors_that_connect_from_a_range() -> None:
    taken = snapshot("routeros", "ranges")
    assert taken.dynamic_ranges == ("10.0.0.0/24",)
    assert {one.address for one in taken.sessions or () if one.dynamic and one.passive} == NODES12
    assert session3("passive").passive


def test_why_a_route_is_unused() -> None:
    limited = route3("path_limit")
    assert limited.unused_reason == "path limit: 1 of 3 equal paths, maximum-paths ebgp 1"
    assert limited.mended_by is RemedyKind.PATH_LIMIT
    assert route3("longer_as_path").unused_reason == "longer AS path (2 against 1)"
    assert route3("unresolved").unused_reason == "next hop 10.9.0.13 cannot be resolved"
    assert not route3("unresolved").valid
    expected = "a static route of the same prefix is active (distance 1 against 20)"
    assert route3("static_wins").unused_reason == expected


def test_filtered_and_stale() -> None:
    assert route3("filtered").filtered
    assert route3("filtered").used is False
    assert route3("stale").stale
    assert session3("filtered").keeps_filtered == frozenset({4, 6})


def test_link_local_next_hops_lead_to_nodes() -> None:
    taken = snapshot("routeros", "ipv6_link_local")
    assert fib_of(taken, VIP6) == {"fe80::11", "fe80::12", "fe80::13"}
    assert taken.routes[VIP6][0].next_hops == ("fe80::11", "2001:db8::11")
    assert verdicts(taken, VIP6) == OK


def test_as_numbers_in_asdot() -> None:
    taken = snapshot("routeros", "asdot")
    assert taken.local_as == 64512 * 65536 + 1
    assert {one.remote_as for one in taken.sessions or ()} == {65546}


def test_a_release_without_instances() -> None:
    taken = snapshot("routeros", "release_7_12")
    assert taken.local_as == 64512
    assert taken.maximum_paths == {}
    assert taken.hash_policy == {}
    assert {route.peer for route in taken.routes[VIP]} == {route.peer for route in taken.routes[VIP6]} == NODES


def test_the_peer_of_a_route_is_a_neighbor_that_is_known() -> None:
    """What a route belongs to may name the router ID of its peer."""
    whole = answers("routeros", "release_7_12")
    text = whole["routeros routes 1"].stdout.replace("routes from 10.0.0.13", "routes from 192.0.2.13")
    taken = routeros.read("edge", QUERY, whole | {"routeros routes 1": Answer(text)}, TAKEN_AT)
    assert {route.peer for route in taken.routes[VIP]} == NODES


def test_whole_tables_are_asked_for_only_when_queries_are_refused() -> None:
    assert routeros.follow_up(QUERY, answers("routeros", "healthy")) == ()
    cut = answers("routeros", "healthy") | {"routeros routes 1": Answer(error="longer than 16 MiB")}
    assert routeros.follow_up(QUERY, cut) == ()
    more = routeros.follow_up(QUERY, answers("routeros", "query_refused"))
    paths = [command.argv[1].partition("?")[0] for command in more]
    assert paths == ["/rest/routing/route", "/rest/ip/route", "/rest/ipv6/route"]


def test_plain_route_tables_are_said_to_know_less() -> None:
    taken = snapshot("routeros", "plain_routes")
    assert taken.problems == (
        (
            "routeros every route: HTTP status 400: Bad Request, missing or invalid query; "
            "read from /ip/route and /ipv6/route, which name no filtered route"
        ),
    )
    assert fib_of(taken, VIP) == NODES


def test_requests_only_read_and_fetch_no_key() -> None:
    commands = routeros.ask(BLUE) + routeros.follow_up(QUERY, answers("routeros", "query_refused"))
    for command in commands:
        method, path = command.argv
        assert method == "GET" or (method, path) == ("POST", "/rest/routing/route/print")
        assert "md5" not in path
        assert len(path) < 4096
    connection = next(one for one in commands if one.name == "routeros bgp connection")
    assert "?.proplist=" in connection.argv[1]


def test_many_vips_need_few_requests() -> None:
    many = Query(vips=tuple(f"203.0.113.{one}" for one in range(1, 255)), node_addresses=())
    requests = [one for one in routeros.ask(many) if one.name.startswith("routeros routes")]
    assert len(requests) <= 3
    asked: list[str] = []
    for request in requests:
        query = json.loads(request.stdin or "")[".query"]
        assert query[-1] == "#" + "|" * (len(query) - 2)
        asked += query[:-1]
    assert len(asked) == len(set(asked))
    assert {"dst-address=203.0.113.77/32", "dst-address=203.0.113.0/24", "dst-address=128.0.0.0/1"} <= set(asked)
    assert "dst-address=0.0.0.0/0" not in asked
    with_default = "".join(one.stdin or "" for one in routeros.ask(WITH_DEFAULT))
    assert '"dst-address=0.0.0.0/0"' in with_default
    assert '"dst-address=::/0"' in with_default


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>401 Unauthorized</html>", "Unauthorized", 401),
        Answer('{"error":401,"message":"Unauthorized"}', "Unauthorized", 401),
        Answer('[{"name":"leviathan1-1","remote.addr'),
        Answer(""),
        Answer('["leviathan1"]'),
        Answer(error="no answer in 5 s"),
    ],
)
def test_what_is_no_answer_is_never_none(answer: Answer) -> None:
    whole = answers("routeros", "healthy")
    for name in whole:
        taken = routeros.read("edge", QUERY, whole | {name: answer}, TAKEN_AT)
        if name != "routeros bgp instance":
            assert any(name in problem for problem in taken.problems)
        assert (taken.sessions is None) == (name == "routeros bgp connection")
        states = {one.state for one in taken.sessions or ()}
        assert (SessionState.ESTABLISHED in states) == (name not in {"routeros bgp connection", "routeros bgp session"})
        assert (not taken.routes and not taken.fib) == (name == "routeros routes 1")


def test_what_is_configured_is_known_without_what_runs() -> None:
    whole = answers("routeros", "admin_shutdown") | {"routeros bgp session": Answer(error="no answer in 5 s")}
    taken = routeros.read("edge", QUERY, whole, TAKEN_AT)
    assert {one.address: (one.state, one.admin_down) for one in taken.sessions or ()} == {
        "10.0.0.11": (SessionState.UNKNOWN, False),
        "10.0.0.12": (SessionState.UNKNOWN, False),
        NODE3: (SessionState.IDLE, True),
    }


def test_a_limit_that_was_exceeded_by_a_session_that_stays_up() -> None:
    whole = answers("routeros", "no_route")
    rows = json.loads(whole["routeros bgp session"].stdout)
    rows[2]["limit-exceeded"] = "true"
    taken = routeros.read("edge", QUERY, whole | {"routeros bgp session": Answer(json.dumps(rows))}, TAKEN_AT)
    session = session_of(taken, NODE3)
    assert session is not None
    assert session.prefix_limit_hit
    assert session.state is SessionState.ESTABLISHED


def test_nothing_answered() -> None:
    taken = routeros.read("edge", QUERY, {}, TAKEN_AT)
    assert taken.sessions is None
    assert taken.neighbors is None
    assert taken.routes == {}
    assert taken.fib == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m20s280ms", 320.0),
        ("1w2d3h4m5s", 788645.0),
        ("280ms", 0.0),
        ("1d03:04:05", 97445.0),
        ("", None),
        ("soon", None),
        (320, None),
    ],
)
def test_durations(text: object, expected: float | None) -> None:
    assert seconds(text) == expected
