"""What is read of an EdgeRouter. The fixtures are written in the shapes of captures that owners published."""

from __future__ import annotations

import pytest

from routers import edgeos
from routers.model import Answer, NextHop, Query, Session, SessionState, Snapshot
from tests.routers.captured import (
    NODE3,
    QUERY,
    QUERY_OVER_IPV6,
    TAKEN_AT,
    VIP,
    VIP6,
    answers,
    fib_of,
    route_of,
    scenarios,
    session_of,
    snapshot,
)

SUMMARY, SUMMARY6 = "show ip bgp summary", "show bgp ipv6 summary"
NEIGHBORS = "show ip bgp neighbors"
ENTRY = f"show ip bgp {VIP}"
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}
BY_WRAPPER = " (operational mode)"


def changed(scenario: str = "healthy", query: Query = QUERY, **texts: str | None) -> Snapshot:
    """A scenario with some answers replaced; None: not answered. Underscores stand for blanks."""
    whole = answers("edgeos", scenario)
    for name, text in texts.items():
        whole[name.replace("_", " ")] = Answer(error="the router went away") if text is None else Answer(text)
    return edgeos.read("edge", query, whole, TAKEN_AT)


def found(session: Session | None) -> Session:
    assert session is not None
    return session


@pytest.mark.parametrize("scenario", scenarios("edgeos"))
def test_every_scenario_is_read_without_a_problem(scenario: str) -> None:
    taken = snapshot("edgeos", scenario, QUERY_OVER_IPV6 if scenario == "ipv6_link_local" else QUERY)
    assert taken.problems == ()
    assert taken.sessions is not None
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


def test_healthy() -> None:
    taken = snapshot("edgeos", "healthy")
    assert (taken.local_as, taken.version) == (64512, "2.0.9-hotfix.7")
    assert taken.maximum_paths == {"ebgp": 1, "ibgp": 3}
    assert {one.address for one in taken.sessions or ()} == NODES
    for one in taken.sessions or ():
        assert one.state is SessionState.ESTABLISHED
        assert (one.remote_as, one.local_as, one.prefixes_received) == (64512, 64512, {4: 1, 6: 1})
        assert one.families == frozenset({4, 6})
        assert (one.admin_down, one.dynamic, one.passive, one.last_error) == (False, False, False, None)
        assert one.keeps_filtered == frozenset()
        assert one.router_id == one.address
    for vip, hops in ((VIP, NODES), (VIP6, {"2001:db8::11", "2001:db8::12", "2001:db8::13"})):
        assert {one.peer for one in taken.routes[vip]} == NODES
        assert all(one.valid and one.used and not one.unused_reason for one in taken.routes[vip])
        assert [one.best for one in taken.routes[vip]] == [True, False, False]
        assert fib_of(taken, vip) == hops
    assert {one.address for one in taken.neighbors or () if one.reachable} >= NODES
    assert {"10.0.0.1", "2001:db8::1"} <= taken.addresses


def test_a_release_that_does_not_tell_what_it_hashes_leaves_it_unknown() -> None:
    assert snapshot("edgeos", "healthy").hash_policy == {}


@pytest.mark.parametrize(
    ("node", "seconds"), [("10.0.0.11", 3 * 7 * 86_400), ("10.0.0.12", 106_680), ("10.0.0.13", 2706)]
)
def test_uptimes(node: str, seconds: int) -> None:
    assert found(session_of(snapshot("edgeos", "healthy"), node)).established_at == TAKEN_AT - seconds


def test_the_outage() -> None:
    taken = snapshot("edgeos", "neighbor_missing")
    assert {one.address for one in taken.sessions or ()} == NODES12
    assert taken.dynamic_ranges == ()
    assert fib_of(taken, VIP) == NODES12


@pytest.mark.parametrize(
    ("scenario", "state", "fields"),
    [
        ("session_down", SessionState.ACTIVE, {"admin_down": False, "last_error": None}),
        ("admin_shutdown", SessionState.IDLE, {"admin_down": True}),
        ("prefix_limit", SessionState.IDLE, {"prefix_limit_hit": True, "admin_down": False}),
        (
            "wrong_as",
            SessionState.IDLE,
            {"remote_as": 64599, "last_error": "BGP Notification sent (OPEN Message Error/Bad Peer AS.)"},
        ),
    ],
)
def test_sessions_that_are_down(scenario: str, state: SessionState, fields: dict[str, object]) -> None:
    session = found(session_of(snapshot("edgeos", scenario), NODE3))
    assert session.state is state
    assert session.established_at is None
    assert session.prefixes_received == {}
    assert {name: getattr(session, name) for name in fields} == fields


def test_the_limit_in_force_is_compared_with_the_kind_of_the_session() -> None:
    taken = snapshot("edgeos", "path_limit")
    assert taken.maximum_paths == {"ebgp": 3, "ibgp": 1}
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason) == (False, "path limit: 1 of 3 equal paths, maximum-paths ibgp 1")


def test_a_limit_that_is_not_told_is_not_known() -> None:
    taken = snapshot("edgeos", "path_limit_untold")
    assert taken.maximum_paths == {}
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason) == (False, "path limit: 1 of 3 equal paths")


def test_the_configured_limit_counts_where_the_summary_has_none() -> None:
    taken = changed("path_limit_untold", configuration_of_BGP="set protocols bgp 64512 maximum-paths ibgp '2'\n")
    assert taken.maximum_paths == {"ibgp": 2}


def test_a_limit_that_is_not_reached_is_no_reason() -> None:
    text = answers("edgeos", "path_limit")[SUMMARY].stdout.replace(
        "1  Configured ibgp ECMP multipath: Currently set at 1", "8  Configured ibgp ECMP multipath: Currently set at 8"
    )
    taken = changed("path_limit", show_ip_bgp_summary=text, show_bgp_ipv6_summary="")
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason, route.mended_by) == (None, None, None)


def test_filtered() -> None:
    taken = snapshot("edgeos", "filtered")
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.filtered, route.used, route.next_hops) == (True, False, (NODE3,))
    assert found(session_of(taken, NODE3)).keeps_filtered == frozenset({4})
    assert sum(one.filtered for one in taken.routes[VIP]) == 1


def test_what_a_neighbor_announced_is_asked_where_it_gives_no_route_and_the_router_remembers() -> None:
    whole = answers("edgeos", "filtered")
    assert {one.name for one in edgeos.follow_up(QUERY, whole)} == {f"show ip bgp neighbors {NODE3} received-routes"}
    all_heard = whole | {ENTRY: answers("edgeos", "healthy")[ENTRY]}
    assert edgeos.follow_up(QUERY, all_heard) == ()
    assert edgeos.follow_up(QUERY, answers("edgeos", "healthy")) == ()


def test_selected_and_not_in_the_fib() -> None:
    taken = snapshot("edgeos", "not_installed")
    assert taken.fib[VIP] is None
    assert all(one.used for one in taken.routes[VIP])


def test_stale() -> None:
    taken = snapshot("edgeos", "stale")
    assert [one.stale for one in taken.routes[VIP]] == [False, False, True]
    assert NODE3 in fib_of(taken, VIP)


def test_link_local_next_hops_and_an_address_that_swallows_the_next_column() -> None:
    taken = snapshot("edgeos", "ipv6_link_local", QUERY_OVER_IPV6)
    long = found(session_of(taken, "2001:db8::ffff:ffff:ffff:ffff"))
    assert (long.state, long.remote_as) == (SessionState.CONNECT, 64497)
    route = route_of(taken, VIP6, "2001:db8::13")
    assert route is not None
    assert route.next_hops == ("fe80::ff:fe00:13", "2001:db8::13")
    entry = taken.fib[VIP6]
    assert entry is not None
    assert NextHop("fe80::ff:fe00:13", "eth1") in entry.next_hops


def test_the_longest_prefix_wins() -> None:
    entry = snapshot("edgeos", "covering").fib[VIP]
    assert entry is not None
    assert (entry.prefix, fib_of(snapshot("edgeos", "covering"), VIP)) == (f"{VIP}/32", NODES)
    shorter = snapshot("edgeos", "covering_only")
    assert fib_of(shorter, VIP) == NODES
    assert {one.prefix for one in shorter.routes[VIP]} == {"203.0.113.0/24"}


def test_a_default_route_is_no_route_to_a_vip_unless_it_is_asked_for() -> None:
    taken = snapshot("edgeos", "default_only")
    assert taken.fib == {VIP: None, VIP6: None}
    assert taken.routes == {VIP: (), VIP6: ()}
    asked = Query(QUERY.vips, QUERY.node_addresses, default_routes=True)
    assert fib_of(snapshot("edgeos", "default_only", asked), VIP) == {"192.0.2.1"}


def test_as_numbers_with_a_dot() -> None:
    taken = snapshot("edgeos", "asdot")
    assert taken.local_as == 65_546
    assert {one.remote_as for one in taken.sessions or ()} == {65_546}


def test_old_releases_and_the_security_gateway_print_quaggas_text() -> None:
    """They have no ubnt_vtysh, so that operational mode is asked."""
    whole = answers("edgeos", "quagga")
    asked = edgeos.follow_up(QUERY, whole)
    assert {one.name for one in asked} == {name + BY_WRAPPER for name in whole if f"{name}{BY_WRAPPER}" in whole}
    assert all(one.argv[0] == "/opt/vyatta/bin/vyatta-op-cmd-wrapper" for one in asked)
    assert ("show", "ipv6", "bgp", "summary") in {one.argv[1:] for one in asked}
    taken = snapshot("edgeos", "quagga")
    assert {one.address for one in taken.sessions or ()} == NODES12
    assert [(one.peer, one.used) for one in taken.routes[VIP]] == [("10.0.0.11", True), ("10.0.0.12", True)]


def test_a_router_without_any_neighbor_says_so_by_silence() -> None:
    assert snapshot("edgeos", "no_neighbor").sessions == ()


def test_silence_of_everything_is_no_answer() -> None:
    taken = changed("no_neighbor", show_ip_route="", show_ipv6_route="")
    assert taken.sessions is None
    assert taken.problems


def test_silence_about_neighbors_in_full_is_not_believed_beside_a_summary() -> None:
    taken = changed("filtered", show_ip_bgp_neighbors="")
    assert found(session_of(taken, NODE3)).keeps_filtered is None
    assert "show ip bgp neighbors: no neighbor in it, although the summary has some" in taken.problems


def test_silence_about_neighbors_is_not_believed_of_a_router_that_forwards_by_bgp() -> None:
    with_bgp = answers("edgeos", "healthy")["show ip route"].stdout
    taken = changed("no_neighbor", show_ip_route=with_bgp)
    assert taken.sessions is None
    assert "show ip bgp summary: no answer" in taken.problems


def test_a_neighbor_that_is_configured_and_in_no_table_is_no_missing_one() -> None:
    taken = changed(
        "neighbor_missing", configuration_of_BGP="set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512\n"
    )
    session = found(session_of(taken, NODE3))
    assert (session.state, session.remote_as) == (SessionState.UNKNOWN, 64512)


def test_passive_neighbors_and_ranges_are_read_from_the_configuration() -> None:
    bgp = "set protocols bgp 64512"
    lines = f"{bgp} neighbor 10.0.0.13 passive\n{bgp} listen range 10.0.0.16/28 peer-group k\n"
    taken = changed(configuration_of_BGP=lines)
    assert found(session_of(taken, NODE3)).passive
    assert taken.dynamic_ranges == ("10.0.0.16/28",)


def test_a_vrf_cannot_be_read() -> None:
    taken = edgeos.read("edge", Query(QUERY.vips, QUERY.node_addresses, vrf="red"), answers("edgeos", "healthy"), 0.0)
    assert (taken.sessions, taken.routes, taken.fib, taken.neighbors) == (None, {}, {}, None)
    assert "no VRFs" in taken.problems[0]
    default = Query(QUERY.vips, QUERY.node_addresses, vrf="default")
    assert snapshot("edgeos", "healthy", default) == snapshot("edgeos", "healthy")


def test_many_vips_are_read_from_the_whole_table() -> None:
    vips = (VIP, *(f"203.0.113.{number}" for number in range(100, 140)))
    query = Query(vips, QUERY.node_addresses)
    names = [one.name for one in edgeos.ask(query)]
    assert "show ip bgp" in names
    assert ENTRY not in names
    table = (
        "BGP table version is 167, local router ID is 10.0.0.1\n"
        "Status codes: s suppressed, d damped, h history, * valid, > best, i - internal, l - labeled\n"
        "              S Stale\nOrigin codes: i - IGP, e - EGP, ? - incomplete\n\n"
        "    Network          Next Hop            Metric    LocPrf       Weight Path\n"
        "*>i 203.0.113.10/32  10.0.0.11            0        100          0        ?\n"
        "* i                  10.0.0.12            0        100          0        ?\n"
        "* i                  10.0.0.13            0        100          0        ?\n"
        "*>i 203.0.113.128/25\n                     10.0.0.12            0        100          0        ?\n"
        "\nTotal number of prefixes 2\n"
    )
    taken = changed(query=query, show_ip_bgp=table)
    assert [(one.next_hops, one.used) for one in taken.routes[VIP]] == [((f"10.0.0.1{n}",), True) for n in (1, 2, 3)]
    assert [one.prefix for one in taken.routes["203.0.113.139"]] == ["203.0.113.128/25"]
    assert taken.routes["203.0.113.100"] == ()


def test_an_empty_whole_table_is_not_believed_where_sessions_have_accepted_routes() -> None:
    query = Query((VIP, *(f"203.0.113.{number}" for number in range(100, 140))), QUERY.node_addresses)
    taken = changed(query=query, show_ip_bgp="")
    assert taken.routes == {}
    assert "show ip bgp: not one route, although sessions have accepted some" in taken.problems
    assert changed("no_neighbor", query=query, show_ip_bgp="").routes[VIP] == ()


def test_the_routing_table_stands_for_a_kernel_that_did_not_answer() -> None:
    taken = changed(kernel_routes=None, kernel_IPv6_routes=None)
    assert fib_of(taken, VIP) == NODES
    assert VIP6 not in taken.fib  # no flags tell there what is in the FIB
    assert len(taken.problems) == 2


def test_the_fib_stands_for_a_routing_table_that_was_not_read() -> None:
    taken = changed("path_limit", show_ip_route=None)
    assert [one.used for one in taken.routes[VIP]] == [True, False, False]
    assert taken.routes[VIP][2].unused_reason == "path limit: 1 of 3 equal paths, maximum-paths ibgp 1"
    assert [one.used for one in changed(show_ip_route=None).routes[VIP]] == [True, True, True]


def test_without_limit_and_routing_table_nobody_knows_why_a_route_is_not_used() -> None:
    taken = changed("path_limit_untold", show_ip_route=None)
    assert VIP not in taken.routes
    assert VIP6 in taken.routes


def test_what_was_announced_and_not_asked_for_is_not_told() -> None:
    whole = {name: text for name, text in answers("edgeos", "filtered").items() if "received-routes" not in name}
    taken = edgeos.read("edge", QUERY, whole, TAKEN_AT)
    assert taken.problems == ()
    assert route_of(taken, VIP, NODE3) is None


def test_what_was_announced_and_cannot_be_read_may_have_been_filtered() -> None:
    name = f"show ip bgp neighbors {NODE3} received-routes"
    for text in ("% Invalid input\n", answers("edgeos", "filtered")[name].stdout[:-30]):
        taken = edgeos.read("edge", QUERY, answers("edgeos", "filtered") | {name: Answer(text)}, TAKEN_AT)
        assert VIP not in taken.routes
    nothing = edgeos.read("edge", QUERY, answers("edgeos", "filtered") | {name: Answer()}, TAKEN_AT)
    assert route_of(nothing, VIP, NODE3) is None


@pytest.mark.parametrize("name", [SUMMARY, SUMMARY6])
def test_one_lost_summary_is_made_up_for_by_the_neighbors_in_full(name: str) -> None:
    whole = answers("edgeos", "neighbor_missing") | {name: Answer(error="the router went away")}
    taken = edgeos.read("edge", QUERY, whole, TAKEN_AT)
    assert {one.address for one in taken.sessions or ()} == NODES12
    assert any(problem.startswith(name) for problem in taken.problems)


def test_sessions_are_unknown_rather_than_incomplete() -> None:
    assert changed(show_ip_bgp_summary=None, show_ip_bgp_neighbors=None).sessions is None


@pytest.mark.parametrize("part", [0.3, 0.6, 0.8, 0.9, 0.95])
def test_an_answer_that_is_cut_off_hides_no_neighbor(part: float) -> None:
    """Whatever is lost, no neighbor that the router has is said to be missing."""
    whole = answers("edgeos", "healthy")
    for name in (SUMMARY, SUMMARY6, NEIGHBORS):
        text = whole[name].stdout
        whole[name] = Answer(text[: int(len(text) * part)])
    taken = edgeos.read("edge", QUERY, whole, TAKEN_AT)
    assert taken.sessions is None or {one.address for one in taken.sessions} == NODES


@pytest.mark.parametrize("part", [0.3, 0.5, 0.7])
def test_an_entry_that_is_cut_off_is_not_answered(part: float) -> None:
    text = answers("edgeos", "healthy")[ENTRY].stdout
    taken = edgeos.read(
        "edge", QUERY, answers("edgeos", "healthy") | {ENTRY: Answer(text[: int(len(text) * part)])}, 0.0
    )
    assert VIP not in taken.routes
    assert taken.problems


@pytest.mark.parametrize(
    "text",
    [
        "% Invalid input detected at '^' marker.\n",
        "  ^\n% Unknown command.\n",
        "Permission denied\n",
        "<html><body>502 Bad Gateway</body></html>\n",
        "Befehl konnte nicht ausgeführt werden\n",
        "bash: /opt/vyatta/sbin/ubnt_vtysh: No such file or directory\n",
    ],
)
def test_refusals_are_problems_and_never_an_empty_table(text: str) -> None:
    whole = {name: Answer(text) for name in answers("edgeos", "healthy")}
    taken = edgeos.read("edge", QUERY, whole, 0.0)
    assert (taken.sessions, taken.neighbors, taken.routes, taken.fib) == (None, None, {}, {})
    assert any(problem.startswith(SUMMARY) for problem in taken.problems)


def test_a_banner_a_pager_and_carriage_returns_change_nothing() -> None:
    """What a terminal puts between the lines, in front of them and behind."""
    whole = answers("edgeos", "healthy")
    vtysh = [name for name in whole if name.startswith("show ")]
    for name in vtysh:
        lines = whole[name].stdout.splitlines()
        middle = len(lines) // 2
        lines[middle] = (
            "--More--\x08\x08\x08\x08\x08\x08\x08\x08        \x08\x08\x08\x08\x08\x08\x08\x08" + lines[middle]
        )
        text = "\r\n".join(["Welcome to EdgeOS", "", *lines, "ubnt@edge:~$ "])
        whole[name] = Answer(f"\x1b[0m{text}\x1b[K")
    taken, plain = edgeos.read("edge", QUERY, whole, TAKEN_AT), snapshot("edgeos", "healthy")
    assert taken.problems == ()
    assert (taken.sessions, taken.routes, taken.local_as) == (plain.sessions, plain.routes, plain.local_as)


def test_no_secret_is_asked_for() -> None:
    command = next(one for one in edgeos.ask(QUERY) if one.name == "configuration of BGP")
    assert "password" in command.argv[-1].split("grep -v")[1]


def test_only_questions_are_asked() -> None:
    for command in (*edgeos.ask(QUERY), *edgeos.follow_up(QUERY, answers("edgeos", "quagga"))):
        text = " ".join(command.argv)
        assert "configure" not in text.replace("configuration", "")
        assert command.argv[0] in {"sudo", "sh", "cat", "ip", "grep", "/opt/vyatta/bin/vyatta-op-cmd-wrapper"}
        if "ubnt_vtysh" in text:
            assert command.argv[4].startswith("show ")
