"""Shapes that the captures do not hold: other releases, other settings, odd neighbors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routers import frr
from routers.model import Answer, Query, Session, SessionState, Snapshot
from tests.routers.captured import QUERY, VIP, answers

SUMMARY = "show bgp vrf all summary json"
NEIGHBORS = "show bgp vrf all neighbors json"
ROUTE = f"show bgp ipv4 unicast {VIP} json"
LIMITS = "show running-config bgpd | include ^router bgp|address-family|maximum-paths"


def with_transcript(transcript: str) -> dict[str, Answer]:
    return answers("frr", "healthy") | {"vtysh 1": Answer(transcript)}


def told(bodies: dict[str, Any], query: Query = QUERY) -> Snapshot:
    """What FRR said to a few commands; its other answers and the kernel's are the healthy ones."""
    transcript = "".join(
        f"edge# {command}\n{body if isinstance(body, str) else json.dumps(body)}\n" for command, body in bodies.items()
    )
    return frr.read("edge", query, with_transcript(transcript), 0.0)


def only_session(peer: dict[str, Any], detail: dict[str, Any] | None = None, name: str = "10.0.0.13") -> Session:
    summary = {"default": {"ipv4Unicast": {"as": 64512, "peers": {name: peer}}}}
    taken = told({SUMMARY: summary, NEIGHBORS: {"default": {name: detail} if detail else {}}})
    assert taken.sessions is not None
    assert len(taken.sessions) == 1
    return taken.sessions[0]


@pytest.mark.parametrize(
    ("state", "peer_state", "field"),
    [
        ("Idle (Admin)", "Admin", "admin_down"),
        ("Idle (PfxCt)", "PfxCt", "prefix_limit_hit"),
        ("Active", "Passive", "passive"),
        ("Established", "Policy", "policy_missing"),
    ],
)
def test_peer_states(state: str, peer_state: str, field: str) -> None:
    session = only_session({"state": state, "peerState": peer_state, "remoteAs": 64513})
    fields = ("admin_down", "prefix_limit_hit", "passive", "policy_missing")
    assert [name for name in fields if getattr(session, name)] == [field]
    assert session.state is SessionState(state.split(maxsplit=1)[0])
    assert session.keeps_filtered is None


@pytest.mark.parametrize(
    ("shown", "number"),
    [
        *((65551, 65551), ("65551", 65551), ("1.15", 65551), ("0.64512", 64512), ("65535.65535", 2**32 - 1)),
        *((odd, None) for odd in (2**32, "4294967296", "1.65536", "65536.1", "1.2.3", "", "x", True, None, 0)),
    ],
)
def test_as_numbers_in_both_notations(shown: object, number: int | None) -> None:
    """`bgp as-notation dot` (FRR 8.5 and later) makes them texts."""
    peer = {"state": "Established", "remoteAs": shown, "localAs": shown}
    assert only_session(peer).remote_as == number
    summary = {"default": {"ipv4Unicast": {"as": shown, "peers": {"10.0.0.13": peer}}}}
    assert told({SUMMARY: summary}).local_as == number


def test_path_limits_in_dot_notation() -> None:
    config = "router bgp 1.15 as-notation dot\n address-family ipv4 unicast\n  maximum-paths 4\n"
    whole = answers("frr", "healthy") | {"vtysh optional": Answer(f"edge# {LIMITS}\n{config}")}
    assert frr.read("edge", QUERY, whole, 0.0).maximum_paths == {"ebgp": 4}


def test_release_7_5_tells_the_prefix_limit_by_the_state_alone() -> None:
    assert only_session({"state": "Idle (PfxCt)"}).prefix_limit_hit


def test_the_end_of_a_session_is_not_its_beginning() -> None:
    row = {"peerUptimeEstablishedEpoch": 1_795_383_389}
    assert only_session(row | {"state": "Active"}).established_at is None
    assert only_session(row | {"state": "Established"}).established_at == 1_795_383_389


def test_an_unnumbered_neighbor_has_the_address_that_it_was_heard_from() -> None:
    detail = {"bgpState": "Established", "bgpNeighborAddr": "fe80::ff:fe00:13"}
    assert only_session({"state": "Established"}, detail, name="eth1").address == "fe80::ff:fe00:13"


def test_counts_of_filtered_prefixes() -> None:
    stats = {"prefixStats": {"inboundFiltered": 3}}
    session = only_session({}, {"addressFamilyInfo": {"ipv4Unicast": stats, "ipv6Unicast": {"x": 1}}})
    assert session.prefixes_filtered == {4: 3}
    assert session.families == frozenset({4, 6})


def test_the_default_vrf_wins() -> None:
    vrfs = {
        vrf: {"ipv4Unicast": {"as": number, "peers": {"10.0.0.13": {"state": state}}}}
        for vrf, number, state in (("default", 64512, "Established"), ("red", 64600, "Active"))
    }
    taken = told({SUMMARY: vrfs})
    assert [session.state for session in taken.sessions or ()] == [SessionState.ESTABLISHED]
    assert taken.local_as == 64512
    assert f"{NEIGHBORS}: no answer" in taken.problems


@pytest.mark.parametrize(
    "summary", [{"default": []}, {"default": {"ipv4Unicast": {"peers": []}}}, {"default": {"ipv4Unicast": 5}}, [], "{"]
)
def test_a_summary_of_another_shape_is_no_empty_summary(summary: Any) -> None:
    taken = told({SUMMARY: summary, NEIGHBORS: "{"})
    assert taken.sessions is None
    assert any(problem.startswith(SUMMARY) for problem in taken.problems)


def test_an_answer_that_stops_early_names_what_is_missing() -> None:
    whole = answers("frr", "healthy")["vtysh 1"].stdout
    cut = whole[: whole.index("edge# show bgp peer-group")]
    taken = frr.read("edge", QUERY, with_transcript(cut), 0.0)
    assert taken.sessions
    assert taken.routes == {}
    assert "show bgp peer-group: no answer, so listen ranges are unknown" in taken.problems


def test_many_problems_are_counted() -> None:
    vips = tuple(f"203.0.113.{number}" for number in range(50))
    problems = frr.read("edge", Query(vips, ()), {}, 0.0).problems
    assert len(problems) == 11
    assert problems[-1].startswith("and ")


def test_a_router_without_bgp_has_no_neighbors() -> None:
    assert told({SUMMARY: {}, NEIGHBORS: {}}).sessions == ()


def test_path_limits_of_the_default_vrf() -> None:
    config = """router bgp 64512
 address-family ipv4 unicast
  maximum-paths 4
  maximum-paths ibgp 8 equal-cluster-length
 exit-address-family
 address-family ipv6 unicast
  maximum-paths ibgp 2
 exit-address-family
router bgp 64512 vrf red
 address-family ipv4 unicast
  maximum-paths 1
"""
    whole = answers("frr", "healthy") | {"vtysh optional": Answer(f"edge# {LIMITS}\n{config}")}
    assert frr.read("edge", QUERY, whole, 0.0).maximum_paths == {"ebgp": 4, "ibgp": 2}


def test_a_user_that_may_not_see_the_configuration_is_no_problem() -> None:
    refused = Answer(f"edge> {LIMITS}\n% Unknown command: {LIMITS}\n", exit_status=1)
    taken = frr.read("edge", QUERY, answers("frr", "healthy") | {"vtysh optional": refused}, 0.0)
    assert taken.maximum_paths == {}
    assert taken.problems == ()


def route(path: dict[str, Any], prefix: str = f"{VIP}/32") -> Snapshot:
    document = {"prefix": prefix, "paths": [path]}
    whole = with_transcript(f"edge# {ROUTE}\n{json.dumps(document)}\n")
    return frr.read("edge", Query((VIP,), ()), whole, 0.0)


def test_a_next_hop_that_cannot_be_resolved() -> None:
    path = {"valid": False, "peer": {"peerId": "10.0.0.13"}, "nexthops": [{"ip": "10.9.9.9", "accessible": False}]}
    found = route(path).routes[VIP][0]
    assert (found.valid, found.used) == (False, False)
    assert found.unused_reason == "next hop 10.9.9.9 cannot be resolved"


def test_a_route_of_the_router_itself_has_no_peer() -> None:
    own = {"valid": True, "bestpath": {"overall": True}, "peer": {"peerId": "(unspec)"}, "weight": 32768}
    assert route(own).routes[VIP][0].peer is None


def test_a_default_route_announces_no_vip() -> None:
    assert route({"valid": True}, prefix="0.0.0.0/0").routes == {VIP: ()}


def test_a_covering_prefix_does() -> None:
    assert route({"valid": True}, prefix="203.0.113.0/24").routes[VIP][0].prefix == "203.0.113.0/24"
