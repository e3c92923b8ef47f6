"""OPNsense with os-frr: made-up answers in the shapes of its API, one fault each, up to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, Node, Target
from routers import opnsense
from routers.model import Answer, NextHop, Query, RemedyFacts, RemedyKind, Route, Session, SessionState
from tests.routers.captured import (
    NODE3,
    QUERY,
    TAKEN_AT,
    VIP,
    VIP6,
    answers,
    fib_of,
    scenarios,
    snapshot,
    third_route,
    third_session,
)
from tests.routers.concluded import judged, verdicts

WITH_DEFAULT = replace(QUERY, default_routes=True)
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
NODES6 = {"2001:db8::11", "2001:db8::12", "2001:db8::13"}
WITH_PROBLEMS = {"frr_stopped", "ranges"}
SUMMARY, NEIGHBORS = "opnsense bgpsummary", "opnsense bgpneighbors"
BGP4, ZEBRA4 = "opnsense searchBgproute4", "opnsense searchGeneralroute4"


def session3(scenario: str) -> Session:
    return third_session(snapshot("opnsense", scenario))


def route3(scenario: str) -> Route:
    return third_route(snapshot("opnsense", scenario))


@pytest.mark.parametrize("scenario", sorted(set(scenarios("opnsense")) - WITH_PROBLEMS))
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    taken = snapshot("opnsense", scenario)
    assert taken.problems == ()
    assert taken.sessions
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


def test_healthy() -> None:
    taken = snapshot("opnsense", "healthy")
    assert taken.local_as == 64512
    assert taken.addresses == {"10.0.0.1", "2001:db8::1", "fe80::1"}
    assert {one.address for one in taken.neighbors or () if one.reachable} >= NODES | NODES6
    assert fib_of(taken, VIP) == NODES
    assert fib_of(taken, VIP6) == NODES6
    entry = taken.fib[VIP]
    assert entry is not None
    assert (entry.prefix, entry.protocol, entry.kind) == (f"{VIP}/32", "bgp", "unicast")
    assert NextHop(NODE3, "igb1") in entry.next_hops
    session = session3("healthy")
    assert session.state is SessionState.ESTABLISHED
    assert (session.remote_as, session.established_at, session.keeps_filtered) == (64513, TAKEN_AT - 7384, None)
    assert {route.peer for route in taken.routes[VIP]} == {route.peer for route in taken.routes[VIP6]} == NODES
    assert all(route.used for vip in (VIP, VIP6) for route in taken.routes[vip])


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("healthy", "ok"),
        ("asdot", "ok"),
        ("internal", "ok"),
        ("ipv6_link_local", "ok"),
        ("stale", "ok"),  # as long as probes get through
        ("neighbor_missing", "neighbor_missing"),
        ("session_down", "session_down"),
        ("admin_shutdown", "session_down"),
        ("wrong_as", "session_down"),
        ("prefix_limit", "session_down"),
        ("passive", "session_down"),
        ("no_route", "route_missing"),
        ("path_limit", "route_unused"),
        ("longer_as_path", "route_unused"),
        ("other_as", "route_unused"),
        ("not_installed", "route_not_installed"),
        ("not_installed_member", "route_not_installed"),
    ],
)
def test_verdict_of_the_third_node(scenario: str, expected: str) -> None:
    assert verdicts(snapshot("opnsense", scenario))["leviathan3"] == expected


def test_what_a_real_frr_says() -> None:
    """FRR 8.4.4 on Linux with two nodes up and a third that does not exist, flattened as the plugin does it."""
    taken = snapshot("opnsense", "frr_8_4")
    assert taken.local_as == 64512
    assert {one.address: one.state for one in taken.sessions or ()} == {
        "10.0.0.11": SessionState.ESTABLISHED,
        "10.0.0.12": SessionState.ESTABLISHED,
        NODE3: SessionState.ACTIVE,
    }
    assert fib_of(taken, VIP) == NODES12
    assert fib_of(taken, VIP6) == {"2001:db8::11", "2001:db8::12"}
    assert all(route.used for vip in (VIP, VIP6) for route in taken.routes[vip])
    assert verdicts(taken) == {"leviathan1": "ok", "leviathan2": "ok", "leviathan3": "session_down"}


def test_frr_that_is_stopped_is_unknown_and_not_empty() -> None:
    taken = snapshot("opnsense", "frr_stopped")
    assert taken.sessions is None
    assert taken.routes == {}
    assert taken.fib == {}
    assert f"{SUMMARY}: FRR told nothing: is BGP running?" in taken.problems
    assert set(verdicts(taken).values()) == {"router_unknown"}


def test_next_hops_are_no_strangers_while_what_would_name_their_nodes_is_missing() -> None:
    """Nodes that are configured by IPv4 alone: the peers of the IPv6 routes name them."""
    expected = Expected({f"leviathan{one}": Node(f"leviathan{one}", (f"10.0.0.1{one}",)) for one in (1, 2, 3)}, {})
    target = Target(name="web", address=VIP6, port=80, vips=(VIP6,), nodes=tuple(expected.nodes))
    whole = answers("opnsense", "healthy")
    view = RouterView.of(opnsense.read("edge", QUERY, whole, TAKEN_AT), expected)
    assert of_vip(view, expected, target, VIP6).vias == frozenset(expected.nodes)
    whole |= {SUMMARY: Answer('{"response":[]}'), "opnsense bgpneighbors": Answer('{"response":[]}')}
    view = RouterView.of(opnsense.read("edge", QUERY, whole, TAKEN_AT), expected)
    assert of_vip(view, expected, target, VIP6).hops is None


def test_why_a_session_is_down() -> None:
    assert session3("admin_shutdown").admin_down
    assert session3("prefix_limit").prefix_limit_hit
    assert session3("passive").passive
    wrong = session3("wrong_as")
    assert wrong.last_error == "BGP Notification send: OPEN Message Error/Bad Peer AS"
    assert "AS" in judged(snapshot("opnsense", "wrong_as"))["leviathan3"].reason


def test_why_a_route_is_unused() -> None:
    assert route3("path_limit").mended_by is RemedyKind.PATH_LIMIT
    assert route3("path_limit").unused_reason == "path limit: 1 of 3 equal paths"
    assert route3("longer_as_path").unused_reason == "longer AS path (2 against 1)"
    assert route3("other_as").mended_by is RemedyKind.AS_PATH_RELAX
    assert route3("stale").stale


def test_what_zebra_could_not_install_is_not_in_the_fib() -> None:
    assert snapshot("opnsense", "not_installed").fib[VIP] is None
    assert fib_of(snapshot("opnsense", "not_installed_member"), VIP) == NODES12
    assert route3("not_installed").used


def test_a_route_that_drops() -> None:
    entry = snapshot("opnsense", "blackhole").fib[VIP]
    assert entry is not None
    assert (entry.kind, entry.next_hops, entry.protocol) == ("blackhole", (), "static")


def test_the_longest_prefix_wins() -> None:
    taken = snapshot("opnsense", "covering")
    assert fib_of(taken, VIP) == NODES12
    assert {route.prefix for route in taken.routes[VIP]} == {"203.0.113.8/29"}
    assert fib_of(taken, VIP6) == NODES6
    assert {route.prefix for route in taken.routes[VIP6]} == {"2001:db8:f::/64"}


def test_a_default_route_counts_only_where_it_is_asked_for() -> None:
    taken = snapshot("opnsense", "default_only")
    assert taken.fib[VIP] is None
    assert taken.routes[VIP] == ()
    assert fib_of(snapshot("opnsense", "default_only", WITH_DEFAULT), VIP) == {"192.0.2.1"}


def test_link_local_next_hops_lead_to_nodes() -> None:
    taken = snapshot("opnsense", "ipv6_link_local")
    assert fib_of(taken, VIP6) == {"fe80::11", "fe80::12", "fe80::13"}
    assert len(taken.routes[VIP6]) == 3
    assert taken.routes[VIP6][0].next_hops == ("fe80::11", "2001:db8::11")
    assert set(verdicts(taken, VIP6).values()) == {"ok"}


def test_as_numbers_in_asdot() -> None:
    taken = snapshot("opnsense", "asdot")
    assert taken.local_as == 64512 * 65536 + 1
    assert {one.remote_as for one in taken.sessions or ()} == {65546}


def test_neighbors_that_connect_from_ranges_are_said_to_be_incomplete() -> None:
    taken = snapshot("opnsense", "ranges")
    assert all(one.dynamic for one in taken.sessions or ())
    assert len(taken.problems) == 1
    assert "listen ranges" in taken.problems[0]


def test_a_dead_next_hop() -> None:
    dead = [one for one in snapshot("opnsense", "dead_next_hop").neighbors or () if not one.reachable]
    assert [(one.address, one.mac) for one in dead] == [(NODE3, None)]


def test_another_vrf_than_the_only_one() -> None:
    taken = snapshot("opnsense", "healthy", replace(QUERY, vrf="blue"))
    assert taken.problems == ("OPNsense has no VRF blue: see vrf of this router in the configuration",)
    assert taken.sessions is None
    assert taken.routes == {}
    assert taken.fib == {}
    assert snapshot("opnsense", "healthy", replace(QUERY, vrf="default")).sessions


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>Not Found</html>", "404 Not Found", 404),
        Answer('{"errorMessage":"Endpoint not found"}', "404 Not Found", 404),
        Answer('{"status":403,"message":"Forbidden"}'),
        Answer('{"errorMessage":"Endpoint not found"}'),
        Answer('{"response":{"ipv4Unicast":{"peers":{"10.0.0.1'),
        Answer('"yes"'),
        Answer("null"),
        Answer(""),
        Answer(error="no answer in 5 s"),
    ],
)
def test_what_is_no_answer_is_never_none(answer: Answer) -> None:
    whole = answers("opnsense", "healthy")
    for name in whole:
        taken = opnsense.read("edge", QUERY, whole | {name: answer}, TAKEN_AT)
        assert any(problem.startswith(f"{name}: ") for problem in taken.problems)
        assert taken.sessions  # either answer of the two is enough
        assert (VIP in taken.routes) == (name != BGP4)
        assert (VIP in taken.fib) == (name != ZEBRA4)
        assert taken.neighbors


def test_a_page_of_rows_is_not_the_table() -> None:
    whole = answers("opnsense", "healthy")
    for name in (BGP4, ZEBRA4):
        document = json.loads(whole[name].stdout)
        taken = opnsense.read("edge", QUERY, whole | {name: Answer(json.dumps({**document, "total": 12000}))}, TAKEN_AT)
        assert taken.problems == (f"{name}: {len(document['rows'])} of 12000 rows",)
        assert (VIP in taken.routes, VIP in taken.fib) == (name != BGP4, name != ZEBRA4)


def test_nothing_answered() -> None:
    taken = opnsense.read("edge", QUERY, {}, TAKEN_AT)
    assert taken.sessions is None
    assert taken.neighbors is None
    assert taken.routes == {}
    assert taken.fib == {}


def test_requests_only_read_and_fetch_no_password() -> None:
    for command in opnsense.ask(QUERY):
        method, path = command.argv
        assert method == "GET" or (method == "POST" and path.startswith("/api/quagga/diagnostics/search"))
        assert "/bgp/" not in path
        assert "runningconfig" not in path
        if command.stdin is not None:
            assert json.loads(command.stdin)["rowCount"] == -1


def test_as_many_requests_for_many_vips_as_for_one() -> None:
    many = Query(vips=tuple(f"203.0.113.{one}" for one in range(1, 255)), node_addresses=())
    assert len(opnsense.ask(many)) == 7
    assert [one.name for one in opnsense.ask(many) if one.name.endswith("6")] == []


def test_a_refused_table_is_asked_for_by_its_newer_name() -> None:
    whole = answers("opnsense", "healthy")
    assert opnsense.follow_up(QUERY, whole) == ()
    refused = whole | {"opnsense getArp": Answer(error="refused"), BGP4: Answer(error="refused")}
    more = opnsense.follow_up(QUERY, refused)
    assert [(one.name, one.argv) for one in more] == [
        ("opnsense getArp again", ("GET", "/api/diagnostics/interface/get_arp"))
    ]
    again = refused | {"opnsense getArp again": whole["opnsense getArp"]}
    assert opnsense.read("edge", QUERY, again, TAKEN_AT).neighbors == snapshot("opnsense", "healthy").neighbors
    assert opnsense.follow_up(QUERY, dict.fromkeys(whole, Answer(error="refused"))) == ()


FACTS = RemedyFacts(local_as=64512, neighbor=NODE3, remote_as=64513, paths=3, internal=False)
FACTS6 = RemedyFacts(local_as=None, neighbor="2001:db8::13", family=6)
NEIGHBOR = f"Routing > BGP > Neighbors > {NODE3}"


@pytest.mark.parametrize(
    ("kind", "facts", "parts"),
    [
        (RemedyKind.NEIGHBOR_MISSING, FACTS, ["Routing > BGP > Neighbors", "Peer-IP 10.0.0.13", "Remote AS 64513"]),
        (RemedyKind.NEIGHBOR_MISSING, FACTS6, ["Peer-IP 2001:db8::13", "Remote AS <AS of the node>"]),
        (RemedyKind.SESSION_SHUTDOWN, FACTS, [NEIGHBOR, "Enabled"]),
        (RemedyKind.SESSION_WRONG_AS, FACTS, [NEIGHBOR, "Remote AS 64513"]),
        (RemedyKind.SESSION_PASSWORD, FACTS, [NEIGHBOR, "BGP MD5 Password"]),
        (RemedyKind.ROUTE_FILTERED, FACTS, [NEIGHBOR, "Prefix-List In", "Route-Map In"]),
        (RemedyKind.PATH_LIMIT, FACTS, ["Routing > BGP > General", "eBGP 3"]),
        (RemedyKind.PATH_LIMIT, FACTS6, ["iBGP <number of nodes>"]),
        (RemedyKind.AS_PATH_RELAX, FACTS, ["Routing > BGP > General", "multipath-relax"]),
    ],
)
def test_remedies(kind: RemedyKind, facts: RemedyFacts, parts: list[str]) -> None:
    text = opnsense.remedy(kind, facts) or ""
    assert all(part in text for part in parts)
    assert text.endswith("; Save, Apply")
    assert "\n" not in text


def test_a_policy_is_not_asked_for() -> None:
    assert opnsense.remedy(RemedyKind.POLICY_MISSING, FACTS) is None


@pytest.mark.parametrize(("family", "vip"), [(4, VIP), (6, VIP6)])
def test_an_empty_bgp_table_is_not_believed_where_sessions_have_accepted_routes(family: int, vip: str) -> None:
    """The API answers with no rows when FRR does not answer it."""
    name = f"opnsense searchBgproute{family}"
    empty = {name: Answer('{"total": 0, "rowCount": 0, "current": 1, "rows": []}')}
    taken = opnsense.read("edge", QUERY, answers("opnsense", "healthy") | empty, TAKEN_AT)
    assert vip not in taken.routes
    assert taken.problems == (f"{name}: not one route, although sessions have accepted some",)
    without = {"opnsense bgpsummary": Answer('{"response":[]}')}  # which alone tells how many they accepted
    assert vip not in opnsense.read("edge", QUERY, answers("opnsense", "healthy") | empty | without, TAKEN_AT).routes
