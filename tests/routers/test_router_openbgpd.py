"""What OpenBGPD 7.7 of Debian (the portable build) said on a network of its own, for every fault that it knows.

The kernel's routes there were put in by hand: the portable build installs none. What OpenBSD answers is made from
documentation (output_json.c of bgpctl).
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from routers import openbgpd
from routers.model import Answer, Query, RemedyFacts, RemedyKind, SessionState, Snapshot
from routers.openbgpd.sessions import as_number_of
from tests.routers.captured import (
    NODE3,
    QUERY,
    QUERY_OVER_IPV6,
    VIP,
    VIP6,
    answers,
    fib_of,
    route_of,
    scenarios,
    session_of,
    snapshot,
)
from tests.routers.concluded import paths_of, verdicts_of

OTHER_QUERIES = {"ipv6_link_local": QUERY_OVER_IPV6}

# scenario -> verdict of leviathan3's paths to both VIPs; the other nodes are ok
VERDICTS = {
    "admin_shutdown": ("session_down", "session_down"),
    "asdot": ("ok", "ok"),
    "filtered": ("route_filtered", "route_not_installed"),
    "healthy": ("ok", "ok"),
    "ipv6_link_local": ("ok", "ok"),
    "longer_as_path": ("route_unused", "route_unused"),
    "md5_mismatch": ("session_down", "session_down"),
    "neighbor_missing": ("neighbor_missing", "neighbor_missing"),
    "no_route": ("route_missing", "route_missing"),
    "not_installed": ("route_not_installed", "route_not_installed"),
    "passive": ("ok", "ok"),
    "prefix_limit": ("session_down", "session_down"),
    "ranges": ("ok", "ok"),
    "stale": ("stale_route", "stale_route"),
    "wrong_as": ("session_down", "session_down"),
}


def taken(scenario: str) -> Snapshot:
    return snapshot("openbgpd", scenario, OTHER_QUERIES.get(scenario, QUERY))


def read(changed: dict[str, str]) -> Snapshot:
    whole = answers("openbgpd", "healthy") | {f"bgpctl {name}": Answer(text) for name, text in changed.items()}
    return openbgpd.read("edge", QUERY, whole, 0.0)


@pytest.mark.parametrize("scenario", scenarios("openbgpd"))
def test_every_capture_is_read_without_a_problem(scenario: str) -> None:
    found = taken(scenario)
    assert found.problems == ()
    assert found.version == "7.7"
    assert found.sessions is not None
    assert set(found.routes) == set(found.fib) == {VIP, VIP6}


@pytest.mark.parametrize("scenario", VERDICTS)
def test_verdicts(scenario: str) -> None:
    found = verdicts_of(taken(scenario), over_ipv6=scenario == "ipv6_link_local")
    third = dict(zip((VIP, VIP6), VERDICTS[scenario], strict=True))
    assert found == {
        (vip, f"leviathan{number}"): third[vip] if number == 3 else "ok" for vip in third for number in (1, 2, 3)
    }


def test_healthy() -> None:
    found = taken("healthy")
    assert found.local_as == 64512
    for one in found.sessions or ():
        assert one.state is SessionState.ESTABLISHED
        assert (one.remote_as, one.local_as) == (64512, 64512)
        assert one.families == frozenset({4, 6})
        assert one.prefixes_received == {}  # only the sum of both families is told
        assert one.established_at is not None
    assert sum(one.best for one in found.routes[VIP]) == 1
    assert all(one.used for one in found.routes[VIP])


def test_the_own_as_is_not_told_where_all_neighbors_are_external() -> None:
    found = taken("asdot")
    assert found.local_as is None
    assert {one.remote_as for one in found.sessions or ()} == {4_200_000_001, 4_200_000_002, 4_200_000_003}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("64512", 64512),
        ("64086.59907", 4_200_000_003),
        (64512, 64512),
        ("1.10", 65546),
        ("1.65536", None),
        ("", None),
        ("1.2.3", None),
        (".", None),
        ("4294967296", None),
        (True, None),
        (None, None),
    ],
)
def test_as_numbers(text: object, number: int | None) -> None:
    assert as_number_of(text) == number


def test_the_wrong_as_number_has_its_remedy() -> None:
    path = paths_of(taken("wrong_as"))[VIP, "leviathan3"]
    assert "Bad Peer AS" in path.reason
    assert "remote-as 64512" in (path.remedy or "")


def test_sessions_that_are_down_say_why() -> None:
    shut = session_of(taken("admin_shutdown"), NODE3)
    assert shut is not None
    assert (shut.admin_down, shut.last_error) == (True, "maintenance")
    full = session_of(taken("prefix_limit"), NODE3)
    assert full is not None
    assert full.prefix_limit_hit
    silent = session_of(taken("md5_mismatch"), NODE3)
    assert silent is not None
    assert (silent.state, silent.last_error) == (SessionState.CONNECT, None)


def test_templates_are_ranges_and_their_clones_dynamic() -> None:
    found = taken("ranges")
    assert found.dynamic_ranges == ("10.0.0.0/24",)
    assert {one.address: one.dynamic for one in found.sessions or ()} == {
        "10.0.0.11": False,
        "10.0.0.12": False,
        NODE3: True,
    }


def test_filtered() -> None:
    route = route_of(taken("filtered"), VIP, NODE3)
    assert route is not None
    assert (route.filtered, route.next_hops) == (True, (NODE3,))
    path = paths_of(taken("filtered"))[VIP, "leviathan3"]
    assert f"allow quick from {NODE3}" in (path.remedy or "")


def test_the_longer_prefix_wins_and_a_shorter_one_is_not_filtered() -> None:
    found = taken("covering")
    assert [(one.peer, one.prefix) for one in found.routes[VIP]] == [(NODE3, f"{VIP}/32")]


def test_a_default_route_counts_only_where_it_is_meant_to() -> None:
    assert taken("default_only").routes == {VIP: (), VIP6: ()}
    counted = openbgpd.read("edge", replace(QUERY, default_routes=True), answers("openbgpd", "default_only"), 0.0)
    assert {one.prefix for one in counted.routes[VIP]} == {"0.0.0.0/0"}


def test_the_portable_build_says_that_it_installs_nothing() -> None:
    path = paths_of(taken("no_kernel_routes"))[VIP, "leviathan2"]
    assert path.verdict == "route_not_installed"
    assert "the portable build of OpenBGPD puts no routes into the kernel" in path.reason


def test_stale() -> None:
    route, session = route_of(taken("stale"), VIP, NODE3), session_of(taken("stale"), NODE3)
    assert route is not None
    assert route.stale
    assert session is not None
    assert session.state is SessionState.ACTIVE
    assert NODE3 in fib_of(taken("stale"), VIP)


# --- OpenBSD, by its documentation -----------------------------------------------------------------------


def on_openbsd(*, coupled: bool = True, fib: bool = True, **row: object) -> dict[str, Answer]:
    """The healthy tables of a kernel that OpenBGPD itself fills; there is no iproute2."""

    def shown(vip: str, length: int, hop: str) -> str:
        entry = {
            "prefix": f"{vip}/{length}",
            "priority": 48,
            "origin": "bgp",
            "used_by_nexthop": False,
            "blackhole": False,
            "reject": False,
            "nexthop": hop,
        }
        default = entry | {"prefix": "0.0.0.0/0" if length == 32 else "::/0", "priority": 8, "origin": "static"}
        return f"===> {vip}\n" + json.dumps({"fib": [entry | row if fib else default]}, indent="\t") + "\n"

    whole = {
        name: answer if name.startswith("bgpctl") else Answer(stderr="ip: not found", exit_status=127)
        for name, answer in answers("openbgpd", "healthy").items()
    }
    table = {"rtableid": 0, "description": "Loc-RIB", "coupled": coupled, "admin_change": not coupled}
    return whole | {
        "bgpctl fib ipv4 1": Answer(shown(VIP, 32, "10.0.0.11")),
        "bgpctl fib ipv6 1": Answer(shown(VIP6, 128, "2001:db8::11")),
        "bgpctl tables": Answer(json.dumps({"fibtables": [table]})),
    }


def test_openbsd_installs_the_best_route_only() -> None:
    found = openbgpd.read("edge", QUERY, on_openbsd(), 0.0)
    assert found.problems == ()
    assert found.maximum_paths == {"ibgp": 1, "ebgp": 1}
    assert fib_of(found, VIP) == {"10.0.0.11"}
    assert found.neighbors is None
    paths = paths_of(found)
    assert paths[VIP6, "leviathan1"].verdict == "ok"
    assert paths[VIP, "leviathan3"].verdict == "route_unused"
    assert "OpenBGPD gives the kernel one route of a prefix" in paths[VIP, "leviathan3"].reason
    assert paths[VIP, "leviathan3"].remedy is None


def test_openbsd_decoupled() -> None:
    found = openbgpd.read("edge", QUERY, on_openbsd(coupled=False, fib=False), 0.0)
    assert found.fib == {VIP: None, VIP6: None}
    path = paths_of(found)[VIP, "leviathan3"]
    assert path.verdict == "route_not_installed"
    assert "bgpctl fib couple" in path.reason


def test_openbsd_routes_that_drop() -> None:
    entry = openbgpd.read("edge", QUERY, on_openbsd(blackhole=True), 0.0).fib[VIP]
    assert entry is not None
    assert (entry.kind, entry.next_hops) == ("blackhole", ())


def test_openbsd_with_a_restricted_socket_does_not_tell_its_fib() -> None:
    """That refusal is word for word the portable build's; but there is no Linux beside it."""
    refused = json.dumps({"status": "FAILED", "error": "permission denied"})
    told = on_openbsd() | {
        "bgpctl fib ipv4 1": Answer(f"===> {VIP}\n{refused}\n"),
        "bgpctl fib ipv6 1": Answer(f"===> {VIP6}\n{refused}\n"),
        "bgpctl tables": Answer(refused),
    }
    found = openbgpd.read("edge", QUERY, told, 0.0)
    assert found.fib == {}
    assert found.sessions
    assert "bgpctl fib: permission denied" in found.problems
    assert not any(one.unused_reason for one in found.routes[VIP])
    assert set(verdicts_of(found).values()) == {"router_unknown"}


def test_openbsd_default_route() -> None:
    told = on_openbsd(fib=False)
    entry = openbgpd.read("edge", replace(QUERY, default_routes=True), told, 0.0).fib[VIP]
    assert entry is not None
    assert entry.prefix == "0.0.0.0/0"


# --- answers that are none -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "permission denied\n", '{"status": "FAILED", "error": "permission denied"}', "null", "[]", '{"x": 1}']
)
def test_sessions_that_cannot_be_read_are_not_no_sessions(text: str) -> None:
    found = read({"neighbors": text})
    assert found.sessions is None
    assert found.problems


def test_no_neighbors_at_all() -> None:
    assert read({"neighbors": "{\n\n}\n"}).sessions == ()


def test_an_error_in_the_place_of_a_table_is_no_empty_table() -> None:
    mark = f"===> {VIP}/32\n"
    for text in ("bgpctl: connect: refused\n", '{"status": "FAILED", "error": "no"}', "[]", '{"rib": [', '{"x": 1}'):
        found = read({"routes ipv4 1": mark + text})
        assert VIP not in found.routes
        assert VIP6 in found.routes
        assert any(VIP in problem for problem in found.problems)
    assert read({"routes ipv4 1": mark + "{\n\n}\n"}).routes[VIP] == ()


def test_an_unreadable_fib_is_told() -> None:
    whole = answers("openbgpd", "healthy") | {"kernel FIB": Answer(stderr="ip: not found", exit_status=127)}
    found = openbgpd.read("edge", QUERY, whole, 0.0)
    assert VIP not in found.fib
    assert any("kernel FIB" in problem for problem in found.problems)


def test_a_next_hop_that_cannot_be_resolved() -> None:
    whole = answers("openbgpd", "healthy")
    rib = whole["bgpctl routes ipv4 1"].stdout.replace('"valid": true', '"valid": false').replace('"best": true,', "")
    hops = whole["bgpctl nexthops"].stdout.replace('"valid": true', '"valid": false')
    route = route_of(read({"routes ipv4 1": rib, "nexthops": hops}), VIP, NODE3)
    assert route is not None
    assert route.unused_reason == f"next hop {NODE3} cannot be resolved"


def test_many_vips_are_few_commands() -> None:
    vips = tuple(f"203.0.113.{number}" for number in range(1, 255)) + tuple(f"2001:db8:f::{n:x}" for n in range(1, 255))
    asked = openbgpd.ask(Query(vips=vips, node_addresses=(NODE3,)))
    assert len(asked) < 40
    assert all(len(word) < 4096 for command in asked for word in command.argv)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RemedyKind.NEIGHBOR_MISSING, ("neighbor 10.0.0.13 {", "remote-as 64512", "allow from 10.0.0.13", "reload")),
        (RemedyKind.SESSION_SHUTDOWN, ("bgpctl neighbor 10.0.0.13 up",)),
        (RemedyKind.SESSION_WRONG_AS, ("remote-as 64512",)),
        (RemedyKind.SESSION_PASSWORD, ("tcp md5sig password", "bgpctl neighbor 10.0.0.13 clear")),
        (RemedyKind.ROUTE_FILTERED, ("allow quick from 10.0.0.13",)),
        (RemedyKind.POLICY_MISSING, ("allow quick from 10.0.0.13",)),
    ],
)
def test_remedies(kind: RemedyKind, words: tuple[str, ...]) -> None:
    text = openbgpd.remedy(kind, RemedyFacts(local_as=64512, neighbor=NODE3, remote_as=64512, family=6))
    assert text is not None
    assert all(word in text for word in words)
    if kind is RemedyKind.NEIGHBOR_MISSING:
        assert "announce IPv6 unicast" in text


def test_no_setting_mends_what_openbgpd_does_not_have() -> None:
    facts = RemedyFacts(local_as=64512, neighbor=NODE3)
    assert openbgpd.remedy(RemedyKind.PATH_LIMIT, facts) is None
    assert openbgpd.remedy(RemedyKind.AS_PATH_RELAX, facts) is None
