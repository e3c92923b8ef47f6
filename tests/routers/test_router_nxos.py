"""Cisco NX-OS: made-up answers in the shapes of its show command reference, one fault each, up to the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routers import nxos
from routers.model import Answer, FibEntry, NextHop, Query, RemedyFacts, RemedyKind, Route, Session, SessionState
from routers.nxos.sessions import configuration_of, seconds_of
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
from tests.routers.concluded import paths_of, verdicts_of

BLUE = replace(QUERY, vrf="blue")
NODES12 = {"10.0.0.11", "10.0.0.12"}
NODES = NODES12 | {NODE3}


def query_of(scenario: str) -> Query:
    return BLUE if scenario == "vrf" else QUERY


def session3(scenario: str) -> Session:
    return third_session(snapshot("nxos", scenario))


def route3(scenario: str) -> Route:
    return third_route(snapshot("nxos", scenario))


@pytest.mark.parametrize("scenario", scenarios("nxos"))
def test_every_fixture_is_read_without_a_problem(scenario: str) -> None:
    taken = snapshot("nxos", scenario, query_of(scenario))
    assert taken.problems == ()
    assert taken.sessions
    assert taken.version == "9.3(8)"
    assert set(taken.routes) == set(taken.fib) == {VIP, VIP6}


def test_healthy() -> None:
    taken = snapshot("nxos", "healthy")
    assert taken.local_as == 64512
    assert taken.maximum_paths == {"ebgp": 8}
    assert taken.addresses == {"10.0.0.1", "198.51.100.1", "2001:db8::1", "fe80::1"}
    for node in NODES:
        assert session_of(taken, node) == Session(
            address=node,
            state=SessionState.ESTABLISHED,
            remote_as=64513,
            local_as=64512,
            established_at=TAKEN_AT - 86_400 - 3600 - 10,
            prefixes_received={4: 1},
            families=frozenset({4}),
            keeps_filtered=frozenset({4}),
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
        ("session_down", "session_down", "Active, not Established; no BGP message came back"),
        ("admin_shutdown", "session_down", "shut down by configuration"),
        ("wrong_as", "session_down", "bad remote-as (Bad Peer AS)"),
        ("prefix_limit", "session_down", "its prefix limit was hit"),
        ("source_down", "session_down", "update-source i/f down/unresolved"),
        ("no_route", "route_missing", "(0 prefixes received)"),
        ("filtered", "route_filtered", "an import policy of edge drops it"),
        ("path_limit", "route_unused", "path limit: 2 of 3 equal paths, maximum-paths ebgp 2 (NX-OS: newer EBGP path)"),
        ("no_multipath", "route_unused", "path limit: 1 of 3 equal paths (NX-OS: newer EBGP path)"),
        ("longer_as_path", "route_unused", "longer AS path (2 against 1) (NX-OS: AS Path)"),
        ("other_as", "route_unused", "as-path multipath-relax is off"),
        ("not_installed", "route_not_installed", "is not in the forwarding table of module 2"),
        ("not_installed_member", "route_not_installed", "it forwards to 2 next hops: 10.0.0.11, 10.0.0.12"),
        ("stale", "stale_route", "although the BGP session is Idle"),
        ("default_only", "route_missing", "announces no route for 203.0.113.10"),
        ("ranges", "session_down", "a dynamic-neighbor range of edge covers 10.0.0.13"),
    ],
)
def test_faults_up_to_the_verdict(scenario: str, verdict: str, why: str) -> None:
    path = paths_of(snapshot("nxos", scenario))[VIP, "leviathan3"]
    assert path.verdict == verdict
    assert why in path.reason


@pytest.mark.parametrize(
    "scenario", ["healthy", "covering", "ipv6_link_local", "vrf", "asdot", "passive", "no_privilege", "text_only"]
)
def test_what_is_no_fault(scenario: str) -> None:
    taken = snapshot("nxos", scenario, query_of(scenario))
    nodes = ("leviathan1", "leviathan2", "leviathan3")
    assert verdicts_of(taken) == {(vip, node): "ok" for vip in (VIP, VIP6) for node in nodes}


@pytest.mark.parametrize(
    ("scenario", "remedy"),
    [
        ("neighbor_missing", "neighbor 10.0.0.13 remote-as 64513\naddress-family ipv4 unicast"),
        ("admin_shutdown", "neighbor 10.0.0.13\nno shutdown"),
        ("wrong_as", "neighbor 10.0.0.13 remote-as 64513"),
        ("filtered", "neighbor 10.0.0.13\naddress-family ipv4 unicast\nno route-map <name of the import policy> in"),
        ("path_limit", "address-family ipv4 unicast\nmaximum-paths 3"),
        ("other_as", "bestpath as-path multipath-relax"),
    ],
)
def test_what_mends_a_fault(scenario: str, remedy: str) -> None:
    cure = paths_of(snapshot("nxos", scenario))[VIP, "leviathan3"].cure
    assert cure is not None
    lines = f"configure terminal\nrouter bgp 64512\n{remedy}\nend\ncopy running-config startup-config"
    assert cure.remedy == lines


def test_sessions_that_are_down() -> None:
    assert session3("session_down").state is SessionState.ACTIVE
    assert session3("session_down").established_at is None
    down = session3("admin_shutdown")
    assert (down.state, down.admin_down) == (SessionState.IDLE, True)
    assert session3("wrong_as").remote_as == 64599
    assert session3("prefix_limit").prefix_limit_hit
    assert session3("source_down").state is SessionState.IDLE
    assert not session3("source_down").admin_down


def test_a_route_that_policy_dropped_is_told_from_one_that_is_not_used() -> None:
    route = route3("filtered")
    assert (route.filtered, route.used, route.next_hops) == (True, False, (NODE3,))
    route = route3("path_limit")
    assert (route.filtered, route.used, route.mended_by) == (False, False, RemedyKind.PATH_LIMIT)
    assert route3("other_as").mended_by is RemedyKind.AS_PATH_RELAX
    assert route3("longer_as_path").mended_by is None


def test_text_is_asked_for_only_where_something_is_to_be_explained() -> None:
    (healthy,) = nxos.follow_up(QUERY, answers("nxos", "healthy"))
    assert healthy.name == "nxos forwarding 1"
    _, text = nxos.follow_up(QUERY, answers("nxos", "path_limit"))
    assert text.argv[0].split(" ; ")[1::2] == [f"show bgp ipv4 unicast {VIP}"]


def test_a_next_hop_must_be_in_the_tables_of_all_modules() -> None:
    assert fib_of(snapshot("nxos", "not_installed_member"), VIP) == NODES12
    taken = snapshot("nxos", "not_installed")
    assert taken.fib[VIP] is None
    assert all(route.used and route.unused_reason for route in taken.routes[VIP])


@pytest.mark.parametrize(("default_routes", "hops"), [(False, set()), (True, {"198.51.100.9"})])
def test_a_default_route_counts_if_the_configuration_says_so(*, default_routes: bool, hops: set[str]) -> None:
    taken = snapshot("nxos", "default_only", replace(QUERY, default_routes=default_routes))
    assert fib_of(taken, VIP) == hops
    assert len(taken.routes[VIP]) == len(hops)


def test_covering_prefixes() -> None:
    taken = snapshot("nxos", "covering")
    entry = taken.fib[VIP]
    assert entry is not None
    assert entry.prefix == "203.0.113.0/24"
    assert {route.prefix for route in taken.routes[VIP]} == {"203.0.113.0/24"}


def test_link_local_next_hops() -> None:
    assert fib_of(snapshot("nxos", "ipv6_link_local"), VIP6) == {f"fe80::200:ff:fe00:1{n}" for n in (1, 2, 3)}


def test_stale() -> None:
    assert route3("stale").stale
    assert fib_of(snapshot("nxos", "stale"), VIP) == NODES


def test_vrf() -> None:
    asked = " ; ".join(command.argv[0] for command in nxos.ask(BLUE))
    assert f"show ip route {VIP} vrf blue | json" in asked
    assert "show bgp vrf blue all neighbors | json" in asked
    assert snapshot("nxos", "vrf", BLUE).maximum_paths == {"ebgp": 8}


def test_answers_about_another_vrf_are_no_answers() -> None:
    whole = answers("nxos", "healthy")
    taken = nxos.read("edge", BLUE, whole, TAKEN_AT)
    assert taken.fib == {}
    assert taken.local_as is None
    assert taken.problems


def test_asdot() -> None:
    taken = snapshot("nxos", "asdot")
    assert taken.local_as == 65546
    assert {(one.local_as, one.remote_as) for one in taken.sessions or ()} == {(65546, (64513 << 16) + 7)}


def test_listen_ranges_and_those_who_came_from_them() -> None:
    taken = snapshot("nxos", "ranges")
    assert taken.dynamic_ranges == ("10.0.0.0/24", "2001:db8::/64")
    assert {one.address for one in taken.sessions or () if one.dynamic} == {"10.0.0.11"}


def test_passive() -> None:
    assert {one.address for one in snapshot("nxos", "passive").sessions or () if one.passive} == {"10.0.0.12"}


def test_without_the_configuration_only_path_limits_are_unknown() -> None:
    taken = snapshot("nxos", "no_privilege")
    assert taken.maximum_paths == {}
    assert taken.sessions == snapshot("nxos", "healthy").sessions


def test_tables_that_come_as_text_only() -> None:
    taken, healthy = snapshot("nxos", "text_only"), snapshot("nxos", "healthy")
    assert taken.fib[VIP] == healthy.fib[VIP]
    assert taken.routes[VIP] == healthy.routes[VIP]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT34M9S", 34 * 60 + 9),
        ("P17DT7H42M42S", 17 * 86_400 + 7 * 3600 + 42 * 60 + 42),
        ("P2W", 14 * 86_400),
        ("00:03:35", 215),
        ("123:00:01", 123 * 3600 + 1),
        ("1d04h", 100_800),
        ("6w3d", 45 * 86_400),
        ("2y1w", (730 + 7) * 86_400),
        ("never", None),
        ("P", None),
        ("PT", None),
        ("", None),
        (None, None),
    ],
)
def test_uptimes(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


IPV6_FACTS = RemedyFacts(local_as=64512, neighbor="2001:db8::13", remote_as=64513, family=6, paths=3, internal=False)
UNKNOWN = RemedyFacts(local_as=None, neighbor=NODE3)


@pytest.mark.parametrize("kind", list(RemedyKind))
@pytest.mark.parametrize("facts", [IPV6_FACTS, UNKNOWN])
def test_every_fault_but_a_missing_policy_has_a_remedy(kind: RemedyKind, facts: RemedyFacts) -> None:
    lines = (nxos.remedy(kind, facts) or "").splitlines()
    if kind is RemedyKind.POLICY_MISSING:
        assert not lines
        return
    assert lines[:2] == ["configure terminal", f"router bgp {facts.local_as or '<AS of the router>'}"]
    assert lines[-2:] == ["end", "copy running-config startup-config"]


def test_remedies_over_ipv6() -> None:
    missing = (nxos.remedy(RemedyKind.NEIGHBOR_MISSING, IPV6_FACTS) or "").splitlines()
    assert missing[2:4] == ["neighbor 2001:db8::13 remote-as 64513", "address-family ipv6 unicast"]
    limit = (nxos.remedy(RemedyKind.PATH_LIMIT, replace(IPV6_FACTS, internal=True)) or "").splitlines()
    assert limit[2:4] == ["address-family ipv6 unicast", "maximum-paths ibgp 3"]


@pytest.mark.parametrize("kind", [kind for kind in RemedyKind if kind is not RemedyKind.POLICY_MISSING])
def test_remedies_in_a_vrf(kind: RemedyKind) -> None:
    lines = (nxos.remedy(kind, replace(IPV6_FACTS, vrf="blue")) or "").splitlines()
    assert lines[1:3] == ["router bgp 64512", "vrf blue"]
    assert "vrf default" not in (nxos.remedy(kind, replace(IPV6_FACTS, vrf="default")) or "").splitlines()


@pytest.mark.parametrize("scenario", ["filtered", "path_limit"])
def test_without_the_text_nobody_knows_why_a_route_is_not_used(scenario: str) -> None:
    whole = answers("nxos", scenario)
    whole = {name: Answer(error="cut") if name.startswith("nxos text") else one for name, one in whole.items()}
    taken = nxos.read("edge", QUERY, whole, TAKEN_AT)
    assert any("why a route is not used is not known" in problem for problem in taken.problems)
    assert set(verdicts_of(taken).values()) <= {"ok", "router_unknown"}


def test_a_limit_for_routes_of_both_kinds_together() -> None:
    for word in ("mixed", "eibgp"):
        text = f"router bgp 64512\n  address-family ipv4 unicast\n    maximum-paths {word} 8\n"
        assert configuration_of(text, "default").limits() == {"ebgp": 8, "ibgp": 8}
