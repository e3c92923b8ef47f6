"""What gobgpd 3.10 of Debian said on a network of its own, for every fault that could be caused on it.

The kernel's routes there were put in by hand: this gobgpd and Debian's FRR 8.4 cannot talk (see docs/routers/gobgp.md).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from routers import gobgp
from routers.model import Answer, Query, RemedyFacts, RemedyKind, SessionState, Snapshot
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

NODES12 = {"10.0.0.11", "10.0.0.12"}
OTHER_QUERIES = {"ipv6_link_local": QUERY_OVER_IPV6, "vrf": replace(QUERY, vrf="red")}

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
    "vrf": ("ok", "ok"),
    "wrong_as": ("session_down", "session_down"),
}


def taken(scenario: str) -> Snapshot:
    return snapshot("gobgp", scenario, OTHER_QUERIES.get(scenario, QUERY))


def read(**changed: str) -> Snapshot:
    """The healthy router with some answers changed; `_` stands for a space in their names."""
    whole = answers("gobgp", "healthy") | {f"gobgp {name.replace('_', ' ')}": Answer(t) for name, t in changed.items()}
    return gobgp.read("edge", QUERY, whole, 0.0)


@pytest.mark.parametrize("scenario", scenarios("gobgp"))
def test_every_capture_is_read_without_a_problem(scenario: str) -> None:
    found = taken(scenario)
    assert found.problems == ()
    assert found.version == "3.10.0"
    assert found.local_as == (4_200_000_000 if scenario == "asdot" else 64512)
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
    assert {one.address for one in found.sessions or ()} == NODES12 | {NODE3}
    for one in found.sessions or ():
        assert one.state is SessionState.ESTABLISHED
        assert one.families == frozenset({4, 6})
        assert one.prefixes_received == {4: 1, 6: 1}
        assert one.established_at is not None
    assert sum(one.best for one in found.routes[VIP6]) == 1
    assert all(one.used for one in found.routes[VIP6])


def test_one_path_where_multiple_paths_are_off() -> None:
    found = paths_of(taken("path_limit"))
    assert found[VIP, "leviathan1"].verdict == "ok"
    for number in (2, 3):
        path = found[VIP, f"leviathan{number}"]
        assert path.verdict == "route_unused"
        assert "path limit: 1 of 3 equal paths" in path.reason
        assert "[global.use-multiple-paths.config]" in (path.remedy or "")


def test_nobody_knows_why_a_route_is_not_in_the_fib_while_the_setting_was_not_told() -> None:
    whole = answers("gobgp", "path_limit") | {"gobgp global": Answer(error="the router went away")}
    found = gobgp.read("edge", QUERY, whole, 0.0)
    assert VIP not in found.routes
    assert set(verdicts_of(found).values()) == {"ok", "router_unknown"}


def test_reasons_of_sessions_that_are_down() -> None:
    wrong = session_of(taken("wrong_as"), NODE3)
    assert wrong is not None
    assert (wrong.remote_as, wrong.state) == (64599, SessionState.IDLE)
    assert "NOTIFICATION message" in (wrong.last_error or "")
    assert "sent" in (wrong.last_error or "")
    shut = session_of(taken("admin_shutdown"), NODE3)
    assert shut is not None
    assert shut.admin_down
    full = session_of(taken("prefix_limit"), NODE3)
    assert full is not None
    assert full.prefix_limit_hit


def test_a_newer_release_says_why_it_closed_a_session() -> None:
    rows = json.loads(answers("gobgp", "wrong_as")["gobgp neighbors"].stdout)
    for row in rows:
        row["state"]["disconnect_message"] = "received notification: bad peer as"
    found = session_of(read(neighbors=json.dumps(rows)), NODE3)
    assert found is not None
    assert found.last_error == "received notification: bad peer as"


def test_filtered_by_the_import_policy() -> None:
    found = taken("filtered")
    route = route_of(found, VIP, NODE3)
    assert route is not None
    assert (route.filtered, route.used, route.next_hops) == (True, False, (NODE3,))
    other = route_of(found, VIP6, NODE3)
    assert other is not None
    assert not other.filtered


def test_the_longer_prefix_wins_and_a_shorter_one_is_not_filtered() -> None:
    found = taken("covering")
    assert [(one.peer, one.prefix) for one in found.routes[VIP]] == [(NODE3, f"{VIP}/32")]
    assert verdicts_of(found)[VIP, "leviathan1"] == "route_missing"


def test_a_default_route_counts_only_where_it_is_meant_to() -> None:
    assert taken("default_only").routes == {VIP: (), VIP6: ()}
    counted = gobgp.read("edge", replace(QUERY, default_routes=True), answers("gobgp", "default_only"), 0.0)
    assert {one.prefix for one in counted.routes[VIP]} == {"0.0.0.0/0"}


def test_whoever_connects_from_a_listen_range_is_dynamic() -> None:
    found = taken("ranges")
    assert [one.dynamic for one in found.sessions or ()] == [one.address == NODE3 for one in found.sessions or ()]


def test_without_zebra_the_reason_says_that_nobody_installs_routes() -> None:
    path = paths_of(taken("no_kernel_routes"))[VIP, "leviathan1"]
    assert path.verdict == "route_not_installed"
    assert "no zebra runs here" in path.reason
    socket = "0000000000000000: 00000002 00000000 00010000 0001 01 20482 /run/frr/zserv.api\n"
    told = answers("gobgp", "no_kernel_routes") | {"zebra socket": Answer(socket)}
    assert all(not one.unused_reason for one in gobgp.read("edge", QUERY, told, 0.0).routes[VIP])


def test_stale() -> None:
    route, session = route_of(taken("stale"), VIP, NODE3), session_of(taken("stale"), NODE3)
    assert route is not None
    assert route.stale
    assert session is not None
    assert session.state is SessionState.IDLE
    assert NODE3 in fib_of(taken("stale"), VIP)


def test_passwords_are_not_fetched() -> None:
    command = next(one for one in gobgp.ask(QUERY) if one.name == "gobgp neighbors")
    said = r'[{"conf":{"auth_password":"l\"a\\b","peer_asn":1},"x":"auth_password"},{"conf":{"auth_password":"c"}}]'
    script = command.argv[2].replace("timeout 4 gobgp neighbor -j", "cat")
    done = subprocess.run(["sh", "-c", script], input=said, capture_output=True, text=True, timeout=10, check=True)
    assert json.loads(done.stdout) == [
        {"conf": {"auth_password": "", "peer_asn": 1}, "x": "auth_password"},
        {"conf": {"auth_password": ""}},
    ]


@pytest.mark.parametrize("text", ["", "context deadline exceeded\n", "{}", '{"error":"no"}', "null", '"x"', "<html>"])
def test_sessions_that_cannot_be_read_are_not_no_sessions(text: str) -> None:
    found = read(neighbors=text)
    assert found.sessions is None
    assert found.problems


def test_no_neighbors_at_all() -> None:
    assert read(neighbors="[]").sessions == ()


def test_an_error_in_the_place_of_a_table_is_no_empty_table() -> None:
    mark = f"===> {VIP}/32\n"
    for text in ("context deadline exceeded\n", '{"error":"no"}', "[]", '{"203.0.113.10/32":'):
        found = read(routes_ipv4_1=mark + text)
        assert VIP not in found.routes
        assert VIP6 in found.routes
        assert any(VIP in problem for problem in found.problems)
    assert read(routes_ipv4_1=mark + "{}\n").routes[VIP] == ()


def test_many_vips_are_few_commands() -> None:
    vips = tuple(f"203.0.113.{number}" for number in range(1, 255)) + tuple(f"2001:db8:f::{n:x}" for n in range(1, 255))
    asked = gobgp.ask(Query(vips=vips, node_addresses=(NODE3,)))
    assert len(asked) < 30
    assert all(len(word) < 4096 for command in asked for word in command.argv)


def test_vips_of_one_network_are_asked_about_together() -> None:
    """Two questions about a pool: what covers it, and what is within."""
    query = Query(vips=(VIP, "203.0.113.22", "198.51.100.1"), node_addresses=("10.0.0.11", "10.0.0.12", NODE3))
    names = [one.name for one in gobgp.ask(query)]
    assert "gobgp routes within ipv4 1" in names
    alone, pool = (
        next(one for one in gobgp.ask(query) if one.name == f"gobgp routes {name}")
        for name in ("ipv4 1", "within ipv4 1")
    )
    assert "in 198.51.100.1/32;" in alone.argv[2]
    assert "in 203.0.113.0/24;" in pool.argv[2]
    healthy = answers("gobgp", "healthy")
    host = json.loads(healthy["gobgp routes ipv4 1"].stdout.partition("\n")[2])
    paths = host[f"{VIP}/32"]
    shorter = {"203.0.113.0/24": paths[0], "0.0.0.0/0": paths[1]}
    outside = json.dumps({prefix: [path | {"nlri": {"prefix": prefix}}] for prefix, path in shorter.items()})
    mark = "===> 203.0.113.0/24\n"
    told = healthy | {pool.name: Answer(f"{mark}{outside}\n{json.dumps(host)}\n")}
    told[alone.name] = Answer("===> 198.51.100.1/32\n{}\n")
    found = gobgp.read("edge", query, told, 0.0)
    assert {one.prefix for one in found.routes[VIP]} == {f"{VIP}/32"}
    assert [one.peer for one in found.routes["203.0.113.22"]] == [paths[0]["neighbor-ip"]]
    assert found.routes["198.51.100.1"] == ()
    for cut in (f"{mark}{outside}\n", f"{mark}{outside}\n" + '{"error":"no"}', mark, f"{mark}{outside}\n{{"):
        broken = gobgp.read("edge", query, told | {pool.name: Answer(cut)}, 0.0)
        assert VIP not in broken.routes
        assert broken.problems


def test_hundreds_of_vips_and_dozens_of_nodes() -> None:
    vips = tuple(f"203.0.113.{number}" for number in range(256))
    peers = tuple(f"10.0.1.{number}" for number in range(50))
    query = Query(vips=vips, node_addresses=peers)
    path = {"attrs": [{"type": 3, "nexthop": "10.0.1.1"}], "best": True}
    table = {
        f"{vip}/32": [path | {"nlri": {"prefix": f"{vip}/32"}, "neighbor-ip": peer} for peer in peers] for vip in vips
    }
    told = answers("gobgp", "healthy") | {
        "gobgp routes within ipv4 1": Answer(f"===> 203.0.113.0/24\n{{}}\n{json.dumps(table)}\n")
    }
    found = gobgp.read("edge", query, told, 0.0)
    assert all(len(found.routes[vip]) == len(peers) for vip in vips)


@pytest.mark.parametrize("vrf", ["", "a b", "$(x)", "-x;y"])
def test_a_vrf_is_a_name(vrf: str) -> None:
    with pytest.raises(ValueError, match="VRF"):
        gobgp.ask(replace(QUERY, vrf=vrf))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RemedyKind.NEIGHBOR_MISSING, ('neighbor-address = "10.0.0.13"', "peer-as = 64512", "pkill -HUP -x gobgpd")),
        (RemedyKind.SESSION_SHUTDOWN, ("gobgp neighbor 10.0.0.13 enable", "admin-down = false")),
        (RemedyKind.SESSION_WRONG_AS, ("peer-as = 64512",)),
        (RemedyKind.SESSION_PASSWORD, ("auth-password",)),
        (RemedyKind.ROUTE_FILTERED, ("gobgp neighbor 10.0.0.13 softresetin",)),
        (RemedyKind.PATH_LIMIT, ("enabled = true",)),
    ],
)
def test_remedies(kind: RemedyKind, words: tuple[str, ...]) -> None:
    text = gobgp.remedy(kind, RemedyFacts(local_as=64512, neighbor=NODE3, remote_as=64512, family=6, paths=3))
    assert text is not None
    assert all(word in text for word in words)
    if kind is RemedyKind.NEIGHBOR_MISSING:
        assert "ipv4-unicast" in text
        assert "ipv6-unicast" in text


def test_a_neighbor_in_a_vrf_is_mended_there() -> None:
    facts = RemedyFacts(local_as=64512, neighbor=NODE3, remote_as=64512, vrf="red")
    lines = (gobgp.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or "").splitlines()
    assert lines[lines.index("    peer-as = 64512") + 1] == '    vrf = "red"'


def test_no_setting_mends_what_gobgp_does_not_have() -> None:
    facts = RemedyFacts(local_as=64512, neighbor=NODE3)
    assert gobgp.remedy(RemedyKind.AS_PATH_RELAX, facts) is None
    assert gobgp.remedy(RemedyKind.POLICY_MISSING, facts) is None
