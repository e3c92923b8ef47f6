"""What the captures of BIRD 2.0.12 do not hold: BIRD 3, other times of day, odd tables."""

from __future__ import annotations

import pytest

from routers import bird
from routers.model import Answer, Query, Route, Session, Snapshot
from tests.routers.captured import NODE3, QUERY, VIP, answers, session_of

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
    names = {"status": "bird status", "protocols": "bird protocols", "routes": "bird routes 4.1"}
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
    first, second = read(routes=BIRD3_ROUTES).routes[VIP]
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
