"""What an EdgeRouter said, all the way to the verdict on each node and the commands that mend it."""

from __future__ import annotations

import pytest

from routers import edgeos
from routers.model import Answer
from tests.routers.captured import QUERY, QUERY_OVER_IPV6, TAKEN_AT, VIP, VIP6, answers, snapshot
from tests.routers.concluded import judged, verdicts

OK = {"leviathan1": "ok", "leviathan2": "ok", "leviathan3": "ok"}


def third(verdict: str) -> dict[str, str]:
    return OK | {"leviathan3": verdict}


@pytest.mark.parametrize(
    ("scenario", "vip", "expected"),
    [
        ("healthy", VIP, OK),
        ("healthy", VIP6, OK),
        ("neighbor_missing", VIP, third("neighbor_missing")),
        ("neighbor_missing", VIP6, third("neighbor_missing")),
        ("no_neighbor", VIP, dict.fromkeys(OK, "neighbor_missing")),
        ("quagga", VIP, third("neighbor_missing")),
        ("session_down", VIP, third("session_down")),
        ("admin_shutdown", VIP6, third("session_down")),
        ("wrong_as", VIP, third("session_down")),
        ("prefix_limit", VIP, third("session_down")),
        ("filtered", VIP, third("route_filtered")),
        ("filtered", VIP6, OK),
        ("no_route", VIP, third("route_missing")),
        ("default_only", VIP, dict.fromkeys(OK, "route_missing")),
        ("default_only", VIP6, dict.fromkeys(OK, "route_missing")),
        ("path_limit", VIP, {"leviathan1": "ok", "leviathan2": "route_unused", "leviathan3": "route_unused"}),
        ("path_limit_untold", VIP6, {"leviathan1": "ok", "leviathan2": "route_unused", "leviathan3": "route_unused"}),
        ("one_as_each", VIP, {"leviathan1": "ok", "leviathan2": "route_unused", "leviathan3": "route_unused"}),
        ("longer_as_path", VIP, third("route_unused")),
        ("not_installed", VIP, dict.fromkeys(OK, "route_not_installed")),
        ("stale", VIP, third("stale_route")),
        ("covering", VIP, OK),
        ("covering_only", VIP, OK),
        ("asdot", VIP, OK),
    ],
)
def test_verdicts(scenario: str, vip: str, expected: dict[str, str]) -> None:
    assert verdicts(snapshot("edgeos", scenario), vip) == expected


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_link_local_next_hops_are_the_nodes(vip: str) -> None:
    assert verdicts(snapshot("edgeos", "ipv6_link_local", QUERY_OVER_IPV6), vip) == OK


@pytest.mark.parametrize(
    ("scenario", "vip", "remedy"),
    [
        ("neighbor_missing", VIP, ["set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512"]),
        (
            "neighbor_missing",
            VIP6,
            [
                "set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512",
                "set protocols bgp 64512 neighbor 10.0.0.13 address-family ipv6-unicast",
            ],
        ),
        ("admin_shutdown", VIP, ["delete protocols bgp 64512 neighbor 10.0.0.13 shutdown"]),
        ("wrong_as", VIP, ["set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512"]),
        ("filtered", VIP, ["delete protocols bgp 64512 neighbor 10.0.0.13 route-map import"]),
        ("path_limit", VIP, ["set protocols bgp 64512 maximum-paths ibgp 3"]),
        (
            "one_as_each",
            VIP,
            [
                "# a release that does not know this setting needs one AS number for all nodes",
                "set protocols bgp 64512 parameters bestpath as-path multipath-relax",
            ],
        ),
    ],
)
def test_remedies(scenario: str, vip: str, remedy: list[str]) -> None:
    path = judged(snapshot("edgeos", scenario), vip)["leviathan3"]
    assert (path.remedy or "").splitlines() == ["configure", *remedy, "commit ; save"]


def test_the_outage_is_told_with_its_evidence() -> None:
    path = judged(snapshot("edgeos", "neighbor_missing"))["leviathan3"]
    assert path.reason == (
        "edge has no BGP neighbor 10.0.0.13 (leviathan3), and no dynamic-neighbor range covers it; "
        "it has 2 neighbors: 10.0.0.11, 10.0.0.12"
    )


def test_the_outage_of_a_service_on_the_missing_node_alone() -> None:
    """Gitea's only pod ran on leviathan3: the router has no route to its VIP, and lacks a neighbor."""
    whole = answers("edgeos", "neighbor_missing") | {
        f"show ip bgp {VIP}": Answer("% Network not in table\n"),
        **{name: answers("edgeos", "default_only")[name] for name in ("show ip route", "kernel routes")},
    }
    found = judged(edgeos.read("edge", QUERY, whole, TAKEN_AT), served_by=("leviathan3",))
    assert {name: path.verdict.value for name, path in found.items()} == {"leviathan3": "neighbor_missing"}


@pytest.mark.parametrize("name", sorted(answers("edgeos", "healthy")))
def test_no_lost_answer_makes_a_healthy_router_faulty(name: str) -> None:
    whole = answers("edgeos", "healthy") | {name: Answer(error="the router went away")}
    for vip in (VIP, VIP6):
        assert set(verdicts(edgeos.read("edge", QUERY, whole, TAKEN_AT), vip).values()) <= {"ok", "router_unknown"}


def test_a_router_of_which_nothing_can_be_read_is_unknown() -> None:
    taken = edgeos.read(
        "edge", QUERY, {name: Answer("sudo: a password is required\n") for name in answers("edgeos", "healthy")}, 0.0
    )
    assert verdicts(taken) == dict.fromkeys(OK, "router_unknown")
