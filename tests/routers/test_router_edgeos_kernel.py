"""The text of `ip`: that of iproute2 6.1 on Linux 6.18 as it came, and what older ones print differently."""

from __future__ import annotations

import pytest

from routers.edgeos import kernel
from routers.model import Answer, FibEntry, LinkNeighbor, NextHop, Query
from tests.routers.captured import FIXTURES

VIPS = (
    "203.0.113.10",
    "203.0.113.66",
    "203.0.113.5",
    "203.0.113.77",
    "198.51.100.1",
    "2001:db8:f::10",
    "2001:db8:f::66",
    "2001:db8:a::1",
)
QUERY = Query(VIPS, ())
# `ip -4 -force -batch -` with `route show match VIP` for each VIP
FOUR = (FIXTURES / "linux" / "route_show_match.stdout.txt").read_text()
END = FOUR[FOUR.index("1: lo:") :]
SIX = (FIXTURES / "linux" / "route_show_match_ipv6.stdout.txt").read_text()
# kernels before 4.11: one line for each next hop
SIX_OLD = """\
2001:db8:f::10 via 2001:db8::11 dev eth1  proto zebra  metric 1024
2001:db8:f::10 via fe80::12 dev eth1  proto zebra  metric 1024
2001:db8:f::10 via 2001:db8::99 dev eth1  proto static  metric 2048
unreachable 2001:db8:f::66 dev lo  metric 1024  error -101
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 16436 qdisc noqueue state UNKNOWN mode DEFAULT
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
"""


def read(
    four: str | Answer = FOUR, six: str | Answer = SIX, query: Query = QUERY
) -> tuple[dict[str, FibEntry | None], list[str]]:
    texts = {kernel.FIB[4]: four, kernel.FIB[6]: six}
    return kernel.read_fib(
        {name: Answer(text) if isinstance(text, str) else text for name, text in texts.items()}, query
    )


def test_one_process_answers_for_all_vips_of_a_family() -> None:
    four = next(one for one in kernel.ask(QUERY) if one.name == kernel.FIB[4])
    assert four.argv == ("ip", "-4", "-force", "-batch", "-")
    assert four.stdin is not None
    assert four.stdin.splitlines()[0] == "route show match 203.0.113.10"


def test_the_fib() -> None:
    fib, problems = read()
    assert problems == []
    assert fib["203.0.113.10"] == FibEntry(
        "203.0.113.10/32",
        (NextHop("10.0.0.11", "d0"), NextHop("10.0.0.12", "d0", 2), NextHop("10.0.0.13", "d0")),
        "bgp",
    )
    assert fib["203.0.113.66"] == FibEntry("203.0.113.66/32", (), None, "blackhole")
    assert fib["203.0.113.5"] == FibEntry("203.0.113.0/24", (NextHop("10.0.0.250", "d0"),))
    assert fib["203.0.113.77"] == FibEntry("203.0.113.77/32", (NextHop("fe80::77", "d0"),))
    assert fib["198.51.100.1"] is None
    assert fib["2001:db8:f::66"] == FibEntry("2001:db8:f::66/128", (), None, "unreachable")
    assert fib["2001:db8:a::1"] is None


@pytest.mark.parametrize(("text", "interface", "protocol"), [(SIX, "d0", None), (SIX_OLD, "eth1", "zebra")])
def test_next_hops_of_ipv6_in_one_route_or_in_one_each(text: str, interface: str, protocol: str | None) -> None:
    hops = (NextHop("2001:db8::11", interface), NextHop("fe80::12", interface))
    assert read(six=text)[0]["2001:db8:f::10"] == FibEntry("2001:db8:f::10/128", hops, protocol)


def test_a_next_hop_whose_link_is_down_is_not_usable() -> None:
    down = FOUR.replace("10.0.0.13 dev d0 weight 1", "10.0.0.13 dev d0 weight 1 dead linkdown")
    entry = read(down)[0]["203.0.113.10"]
    assert entry is not None
    assert [hop.usable for hop in entry.next_hops] == [True, True, False]


def test_a_default_route_counts_where_it_is_said_to() -> None:
    fib, _ = read(query=Query(("198.51.100.1",), (), default_routes=True))
    assert fib == {"198.51.100.1": FibEntry("0.0.0.0/0", (NextHop("10.0.0.254", "d0"),))}


def test_the_lowest_metric_wins_among_routes_of_one_length() -> None:
    text = "203.0.113.10 via 10.0.0.11 dev d0 metric 20 \n203.0.113.10 via 10.0.0.12 dev d0 metric 10 \n"
    entry = read(text + END)[0]["203.0.113.10"]
    assert entry is not None
    assert entry.next_hops == (NextHop("10.0.0.12", "d0"),)


def test_a_question_that_failed_is_not_answered() -> None:
    failed = Answer(FOUR, "RTNETLINK answers: Operation not permitted\nCommand failed -:1\n", 1)
    fib, problems = read(failed)
    assert "203.0.113.10" not in fib
    assert fib["198.51.100.1"] is None
    assert len(problems) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(error="timed out"),
        Answer(stderr="ip: not found\n", exit_status=127),
        Answer("Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }\n"),
        Answer(f"\tnexthop via 10.0.0.11 dev d0 weight 1\n{END}"),
        Answer(f"2001:db8::/32 dev d0\n{END}"),
        Answer(),
        *(Answer(FOUR[:at]) for at in range(0, FOUR.index("link/loopback"), 20)),
    ],
)
def test_what_is_no_list_of_routes_is_no_empty_one(answer: Answer) -> None:
    fib, problems = read(answer)
    assert not any("." in vip for vip in fib)
    assert len(problems) == 1


def test_neighbors() -> None:
    text = (FIXTURES / "linux" / "neigh_show.stdout.txt").read_text() + "10.0.0.13 dev d0  INCOMPLETE\n"
    found, problems = kernel.read_neighbors({kernel.NEIGHBORS: Answer(text)})
    assert problems == []
    assert set(found or ()) == {
        LinkNeighbor("192.0.2.9", "d1", "02:00:00:00:00:09", reachable=True),
        LinkNeighbor("10.0.0.11", "d0", "02:00:00:00:00:11", reachable=True),
        LinkNeighbor("10.0.0.12", "d0", None, reachable=False),
        LinkNeighbor("10.0.0.13", "d0", None, reachable=False),
        LinkNeighbor("fe80::12", "d0", "02:00:00:00:00:12", reachable=True),
    }
    assert kernel.read_neighbors({kernel.NEIGHBORS: Answer()}) == ((), [])
    assert kernel.read_neighbors({kernel.NEIGHBORS: Answer("what?\n")})[0] is None
    assert kernel.read_neighbors({})[0] is None


def test_addresses() -> None:
    text = "1: lo    inet 127.0.0.1/8 scope host lo\n3: d0    inet6 2001:db8::1/64 scope global \\       valid_lft 9\n"
    assert kernel.read_addresses({kernel.ADDRESSES: Answer(text)}) == (frozenset({"127.0.0.1", "2001:db8::1"}), [])
    assert kernel.read_addresses({kernel.ADDRESSES: Answer("what?\n")})[1]
    assert kernel.read_addresses({})[1]
