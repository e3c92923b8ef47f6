"""Answers that hold nothing, beside others that say that there must be something: unknown, and nobody is accused."""

from __future__ import annotations

import json

import pytest

from routers import routeros
from routers.model import Answer, Query, SessionState
from tests.routers.captured import NODE3, QUERY, TAKEN_AT, VIP, VIP6, answers, session_of
from tests.routers.concluded import verdicts
from tests.routers.test_router_edgeos import changed, found

OK = dict.fromkeys(("leviathan1", "leviathan2", "leviathan3"), "ok")


def test_silence_about_neighbors_in_full_is_not_believed_beside_a_summary() -> None:
    taken = changed("filtered", show_ip_bgp_neighbors="")
    assert found(session_of(taken, NODE3)).keeps_filtered is None
    assert "show ip bgp neighbors: no neighbor in it, although the summary has some" in taken.problems


def test_silence_about_neighbors_is_not_believed_of_a_router_that_forwards_by_bgp() -> None:
    with_bgp = answers("edgeos", "healthy")["show ip route"].stdout
    taken = changed("no_neighbor", show_ip_route=with_bgp)
    assert taken.sessions is None
    assert "show ip bgp summary: no answer" in taken.problems


def test_an_empty_whole_table_is_not_believed_where_sessions_have_accepted_routes() -> None:
    query = Query((VIP, *(f"203.0.113.{number}" for number in range(100, 140))), QUERY.node_addresses)
    taken = changed(query=query, show_ip_bgp="")
    assert taken.routes == {}
    assert "show ip bgp: not one route, although sessions have accepted some" in taken.problems
    assert changed("no_neighbor", query=query, show_ip_bgp="").routes[VIP] == ()


def test_no_route_is_believed_where_the_same_query_finds_the_own_networks() -> None:
    """As long as sessions tell of prefixes; without any there is nothing to doubt."""
    whole = {name: one for name, one in answers("routeros", "default_only").items() if "own networks" not in name}
    (own,) = routeros.follow_up(QUERY, whole)
    assert own.argv == ("POST", "/rest/routing/route/print")
    assert json.loads(own.stdin or "")[".query"] == ["dst-address=10.0.0.0/24", "dst-address=2001:db8::/64", "#|"]
    expected = ("routeros routes: not one route is told, although sessions have received some",)
    for more in ({}, {own.name: Answer("[]")}, {own.name: Answer('{"error":400}', "", 400)}):
        taken = routeros.read("edge", QUERY, whole | more, TAKEN_AT)
        assert (taken.problems, taken.routes, taken.fib) == (expected, {}, {})
        assert set(verdicts(taken).values()) == {"router_unknown"}
    none = whole | {
        "routeros bgp session": Answer(whole["routeros bgp session"].stdout.replace('count":"2', 'count":"0'))
    }
    assert routeros.follow_up(QUERY, none) == ()
    assert routeros.read("edge", QUERY, none, TAKEN_AT).routes == {VIP: (), VIP6: ()}


def test_no_connections_are_not_believed_where_there_are_sessions_or_routes_of_some() -> None:
    none = {"routeros bgp connection": Answer("[]")}
    expected = ("routeros bgp connection: not one is told, although there are sessions or routes of some",)
    for more in (none, none | {"routeros bgp session": Answer("[]")}):
        taken = routeros.read("edge", QUERY, answers("routeros", "no_route") | more, TAKEN_AT)
        assert (taken.sessions, taken.problems[-1:]) == (None, expected)
        assert verdicts(taken)["leviathan3"] != "neighbor_missing"
    more = none | {"routeros bgp session": Answer("[]"), "routeros routes 1": Answer("[]")}
    assert routeros.read("edge", QUERY, answers("routeros", "no_route") | more, TAKEN_AT).sessions == ()


def test_no_sessions_are_not_believed_where_there_are_routes_of_some() -> None:
    """RouterOS goes on listing sessions that are down."""
    whole = answers("routeros", "healthy") | {"routeros bgp session": Answer("[]")}
    taken = routeros.read("edge", QUERY, whole, TAKEN_AT)
    assert {one.state for one in taken.sessions or ()} == {SessionState.UNKNOWN}
    assert taken.problems == ("routeros bgp session: not one is told, although there are routes of some",)
    assert verdicts(taken) == OK


@pytest.mark.parametrize("name", ["routeros bgp connection", "routeros bgp session", "routeros routes 1"])
@pytest.mark.parametrize("text", ["{}", "[{}]", '{".id":"*1"}'])
def test_what_is_no_list_of_rows_is_no_empty_one(name: str, text: str) -> None:
    taken = routeros.read("edge", QUERY, answers("routeros", "no_route") | {name: Answer(text)}, TAKEN_AT)
    assert f"{name}: no list of rows" in taken.problems
    given = verdicts(taken)
    assert "neighbor_missing" not in given.values()
    assert given["leviathan3"] in {"route_missing", "router_unknown"}


def test_an_empty_whole_table_is_not_believed() -> None:
    whole = answers("routeros", "query_refused") | {"routeros every route": Answer("[]")}
    taken = routeros.read("edge", QUERY, whole, TAKEN_AT)
    assert (taken.routes, taken.fib) == ({}, {})
    assert taken.problems
