"""What the captures of BIRD 2.0.12 do not hold: BIRD 3, other times of day, odd tables."""

from __future__ import annotations

import pytest

from routers import bird
from routers.model import Answer, Query, RemedyKind, Route, Session, Snapshot
from tests.routers.by_vip import verdicts_of
from tests.routers.captured import (
    NODE3,
    QUERY,
    VIP,
    VIP6,
    answers,
    fib_of,
    route_of,
    scenarios,
    session_of,
    snapshot,
)

NOW = "2026-11-22 00:10:00.000"
BIRD3_ROUTES = """BIRD 3.0.1 ready.
Access restricted
Table master4:
203.0.113.0/24       unicast [n1 2026-11-21 from 10.0.0.9] * (100/20) [AS64999i]
\tvia 10.0.0.11 on br0 weight 1
\tpreference: 100
\tfrom: 10.0.0.9
\tsource: BGP
\tbgp_origin: IGP
\tbgp_path: 64999
\tbgp_next_hop: 10.0.0.11
\tbgp_med: 5
\tbgp_local_pref: 100
                     unicast [n3 2026-11-21] (100s/20) [AS64999i]
\tvia 10.0.0.13 on br0
\tbgp_origin: IGP
\tbgp_path: 64999
\tbgp_next_hop: 10.0.0.13
\tbgp_med: 7
\tbgp_local_pref: 100
0.0.0.0/0            unicast [n1 2026-11-21] * (100) [i]
\tvia 10.0.0.11 on br0
"""


def read(**changed: str) -> Snapshot:
    """The healthy router with some answers changed; `_` stands for a space or dot in their names."""
    names = {
        "status": "bird status",
        "protocols": "bird protocols",
        "routes": "bird routes 4.1",
        "exports": "bird exports k4 4.1",
    }
    whole = answers("bird", "healthy") | {names[key]: Answer(text) for key, text in changed.items()}
    return bird.read("edge", QUERY, whole, 1000.0)


def session(since: str, now: str = NOW) -> Session | None:
    protocols = (
        "BIRD 2.0.12 ready.\nName       Proto      Table      State  Since         Info\n"
        f"n3         BGP        ---        up     {since}  Established   \n"
        f"  BGP state:          Established\n    Neighbor address: {NODE3}\n"
    )
    status = f"BIRD 2.0.12 ready.\nBIRD 2.0.12\nCurrent server time is {now}\n"
    return session_of(read(protocols=protocols, status=status), NODE3)


@pytest.mark.parametrize(
    ("since", "established_at"),
    [
        ("00:09:00.500", 940.5),
        ("23:59:00.000", 1000 - 660),
        ("2026-11-20 00:10:00", 1000 - 2 * 86_400),
        ("2026-11-20", None),
        ("99:99:99", None),
    ],
)
def test_since_when(since: str, established_at: float | None) -> None:
    found = session(since)
    assert found is not None
    assert found.established_at == established_at


@pytest.mark.parametrize("now", ["0001-01-01 00:00:00", "9999-12-31 23:59:59", "2026-02-30 00:00:00", "soon"])
def test_a_clock_out_of_its_mind(now: str) -> None:
    found = session("23:59:59", now)
    assert found is not None
    assert found.established_at is None


def test_routes_of_bird_3() -> None:
    exports = BIRD3_ROUTES.partition("\tpreference")[0]
    first, second = read(routes=BIRD3_ROUTES, exports=exports).routes[VIP]
    assert first == Route("203.0.113.0/24", "10.0.0.11", ("10.0.0.11",), valid=True, best=True, used=True)
    assert (second.peer, second.stale, second.used) == (NODE3, True, False)
    assert second.unused_reason == "higher MED (7 against 5)"


def test_a_peer_whose_protocol_is_unknown_is_named_by_the_route() -> None:
    routes = read(routes=BIRD3_ROUTES.replace("[n1 ", "[gone "))
    assert routes.routes[VIP][0].peer == "10.0.0.9"


def test_an_unresolvable_next_hop() -> None:
    text = (
        "BIRD 2.0.12 ready.\nTable master4:\n"
        f"{VIP}/32      unreachable [n3 21:49:27.432 from 10.0.0.13] (100) [i]\n\tBGP.next_hop: 10.9.9.9\n"
    )
    (found,) = read(routes=text).routes[VIP]
    assert (found.valid, found.used) == (False, False)
    assert found.unused_reason == "next hop 10.9.9.9 cannot be resolved"


def test_a_prefix_limit() -> None:
    protocols = answers("bird", "wrong_as")["bird protocols"].stdout
    limited = protocols.replace("BGP Error: Bad peer AS", "Automatic shutdown: Import limit exceeded")
    found = session_of(read(protocols=limited), NODE3)
    assert found is not None
    assert found.prefix_limit_hit


def test_only_families_that_are_asked_for_are_asked() -> None:
    asked = [command.argv for command in bird.ask(Query((VIP,), ())) if command.argv[0] == "birdc"]
    assert asked == [
        ("birdc", "-r", "show status"),
        ("birdc", "-r", "show protocols all"),
        ("birdc", "-r", f"show route all where net ~ [ {VIP}/32- ]"),
        ("birdc", "-r", f"show route all filtered where net ~ [ {VIP}/32- ]"),
    ]


def kernel(name: str, *, table: str = "master4", state: str = "up") -> str:
    return f"{name} Kernel {table} {state} 21:49:20.004\n  Channel ipv4\n    State: UP\n    Table: {table}\n"


def follow_up(*kernels: str) -> list[str]:
    protocols = "BIRD 2.0.12 ready.\nName       Proto      Table      State  Since         Info\n" + "".join(kernels)
    whole = answers("bird", "healthy") | {"bird protocols": Answer(protocols)}
    return [command.argv[-1] for command in bird.follow_up(QUERY, whole)]


def test_kernel_protocols_are_asked_what_they_export() -> None:
    asked = [command.argv for command in bird.follow_up(QUERY, answers("bird", "healthy"))]
    assert asked == [
        ("birdc", "-r", f"show route export 'k4' where net ~ [ {VIP}/32- ]"),
        ("birdc", "-r", f"show route export 'k6' where net ~ [ {VIP6}/128- ]"),
    ]


def test_only_kernel_protocols_of_the_routes_tables_are_asked() -> None:
    asked = follow_up(kernel("vrf", table="blue"), kernel("my-fib.4"), kernel("off", state="down"))
    assert asked == [f"show route export 'my-fib.4' where net ~ [ {VIP}/32- ]"]


@pytest.mark.parametrize("name", ["k4'", "k4\x1b", "k\\4", "k" * 65, "k;4", "k\u0664"])
def test_a_name_that_could_end_its_quotes_is_not_asked_for(name: str) -> None:
    assert follow_up(kernel(name)) == []


def test_more_kernel_protocols_than_a_router_has_are_not_asked() -> None:
    assert follow_up(*(kernel(f"k{number}") for number in range(100))) == []


@pytest.mark.parametrize("missing", ["bird protocols", "bird routes 4.1", "bird routes 6.1"])
def test_no_questions_about_what_is_not_known(missing: str) -> None:
    whole = answers("bird", "healthy") | {missing: Answer(error="the router went away")}
    assert len(bird.follow_up(QUERY, whole)) < 2


@pytest.mark.parametrize(
    ("scenario", "node", "reason", "mended_by"),
    [
        (
            "merge_paths_off",
            NODE3,
            (
                "path limit: 1 of 3 equal paths, merge paths is off or has a limit of 1 (or an export filter) "
                "in kernel protocol k4"
            ),
            RemedyKind.PATH_LIMIT,
        ),
        (
            "path_limit",
            NODE3,
            "path limit (merge paths) or export filter of kernel protocol k4: 2 of 3 equal paths",
            RemedyKind.PATH_LIMIT,
        ),
        (
            "export_filter_member",
            "10.0.0.12",
            (
                "export filter of kernel protocol k4: 2 of 3 equal paths, and a path limit would leave out "
                "a higher next hop"
            ),
            None,
        ),
        ("export_filter", "10.0.0.11", "the export filter of kernel protocol k4 rejects it", None),
        (
            "export_filter",
            NODE3,
            "the export filter of kernel protocol k4 rejects the best route, and its equals go with it",
            None,
        ),
        (
            "no_kernel_protocol",
            NODE3,
            "no kernel protocol of BIRD that is up takes the routes of this table",
            None,
        ),
    ],
)
def test_what_keeps_an_equal_route_out_of_the_kernel(
    scenario: str, node: str, reason: str, mended_by: RemedyKind | None
) -> None:
    taken = snapshot("bird", scenario)
    route = route_of(taken, VIP, node)
    assert route is not None
    assert route.used is False
    assert (route.unused_reason, route.mended_by) == (reason, mended_by)
    assert node not in fib_of(taken, VIP)


def test_the_export_filter_of_one_family_leaves_the_other() -> None:
    taken = snapshot("bird", "export_filter")
    assert [route.best for route in taken.routes[VIP]] == [True, False, False]
    assert all(route.used for route in taken.routes[VIP6])


@pytest.mark.parametrize("scenario", ["lost_next_hop", "not_installed"])
def test_a_next_hop_that_bird_wants_and_the_kernel_lost(scenario: str) -> None:
    taken = snapshot("bird", scenario)
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason) == (True, None)
    assert NODE3 not in fib_of(taken, VIP)


def test_without_the_exports_only_the_fib_tells() -> None:
    whole = answers("bird", "healthy") | {"bird exports k4 4.1": Answer(error="the router went away")}
    taken = bird.read("edge", QUERY, whole, 0.0)
    assert taken.problems == ("bird exports k4 4.1: the router went away",)
    route = route_of(taken, VIP, NODE3)
    assert route is not None
    assert (route.used, route.unused_reason) == (True, None)


@pytest.mark.parametrize("scenario", ["path_limit", "lost_next_hop"])
def test_without_the_exports_nobody_knows_why_a_route_is_not_in_the_fib(scenario: str) -> None:
    whole = answers("bird", scenario) | {"bird exports k4 4.1": Answer(error="the router went away")}
    taken = bird.read("edge", QUERY, whole, 0.0)
    assert VIP not in taken.routes
    assert taken.problems[-1].startswith("bird exports: not told for IPv4")
    assert set(verdicts_of(taken).values()) == {"ok", "router_unknown"}


@pytest.mark.parametrize("scenario", scenarios("bird"))
def test_without_the_protocols_nobody_knows_whose_a_route_is(scenario: str) -> None:
    whole = answers("bird", scenario) | {"bird protocols": Answer(error="the router went away")}
    taken = bird.read("edge", QUERY, whole, 0.0)
    assert (taken.sessions, taken.routes) == (None, {})
    for vip in (VIP, VIP6):
        assert set(verdicts_of(taken, vip).values()) <= {"ok", "router_unknown"}


def test_exported_next_hops_of_somebody_else() -> None:
    exports = answers("bird", "healthy")["bird exports k4 4.1"].stdout.replace("via 10.0.0.1", "via 10.9.0.1")
    assert {route.unused_reason for route in read(exports=exports).routes[VIP]} == {
        "kernel protocol k4 exports other next hops (10.9.0.11, 10.9.0.12, 10.9.0.13)"
    }


def test_the_same_address_behind_another_interface_is_another_next_hop() -> None:
    exports = answers("bird", "healthy")["bird exports k4 4.1"].stdout.replace("0.13 on br0", "0.13 on br1")
    assert [route.used for route in read(exports=exports).routes[VIP]] == [True, True, False]
