from __future__ import annotations

import json

import pytest

from routers import linux
from routers.model import (
    Answer,
    FibEntry,
    HashPolicy,
    LinkNeighbor,
    NextHop,
    Query,
)
from tests.routers.captured import FIXTURES

KINDS = FIXTURES / "linux"
VIPS = tuple(line.split()[2] for line in (KINDS / "route_kinds.stdin.txt").read_text().splitlines())
CAPTURED = Answer(
    stdout=(KINDS / "route_kinds.stdout.txt").read_text(),
    stderr=(KINDS / "route_kinds.stderr.txt").read_text(),
    exit_status=1,
)


def fib(answer: Answer, *vips: str) -> tuple[dict[str, FibEntry | None], list[str]]:
    return linux.read_fib({linux.FIB: answer, linux.FIB_V6: answer}, Query(vips, ()))


def row(**fields: object) -> str:
    return json.dumps([fields]) + "\n"


def test_the_questions() -> None:
    asked = linux.ask(Query(("203.0.113.10", "2001:DB8:F::10", "203.0.113.10"), ()))
    assert asked[0].argv == ("ip", "-j", "-force", "-batch", "-")
    assert asked[0].stdin == "route get 203.0.113.10 fibmatch\n"
    assert asked[1].argv == ("ip", "-6", "-j", "-force", "-batch", "-")
    assert asked[1].stdin == "route show match 2001:db8:f::10\n"


def test_of_the_routes_that_cover_an_ipv6_vip_the_longest_with_the_lowest_metric_wins() -> None:
    rows = [
        {"dst": "default", "gateway": "fe80::9", "dev": "wan0", "metric": 1},
        {"dst": "2001:db8:f::/48", "gateway": "fe80::8", "dev": "br0", "metric": 1},
        {"dst": "2001:db8:f::10", "gateway": "fe80::2", "dev": "br0", "metric": 1024},
        {"dst": "2001:db8:f::10", "gateway": "fe80::1", "dev": "br0", "metric": 20},
    ]
    answers = {linux.FIB_V6: Answer(stdout=f"{json.dumps(rows)}\n{json.dumps(rows[:1])}\n[]\n")}
    found, problems = linux.read_fib(answers, Query(("2001:db8:f::10", "2001:db8:e::10", "2001:db8:d::10"), ()))
    assert problems == []
    assert found == {
        "2001:db8:f::10": FibEntry("2001:db8:f::10/128", (NextHop("fe80::1", "br0"),)),
        "2001:db8:e::10": None,
        "2001:db8:d::10": None,
    }


def test_every_kind_of_route() -> None:
    found, problems = fib(CAPTURED, *VIPS)
    assert problems == []
    assert found == {
        "198.51.103.9": FibEntry(
            "198.51.103.0/24",
            (NextHop("10.0.0.11", "br0", 3), NextHop("192.0.2.2", "cli0", 1, usable=False)),
        ),
        "198.51.104.9": FibEntry("198.51.104.0/24", (NextHop("fe80::1", "br0"),)),
        "198.51.105.9": FibEntry("198.51.105.9/32", (), kind="prohibit"),
        "198.51.100.9": FibEntry("198.51.100.9/32", (), kind="blackhole"),
        "198.51.101.9": FibEntry("198.51.101.0/24", (NextHop(None, "br0"),)),
        "198.51.102.9": FibEntry("198.51.102.9/32", (), kind="unreachable"),
        "192.0.2.1": FibEntry("192.0.2.1/32", (NextHop(None, "cli0"),), "kernel", "local"),
        "203.0.113.200": None,
    }


@pytest.mark.parametrize(
    ("vip", "dst"), [("203.0.113.10", "default"), ("2001:db8:f::10", "default"), ("203.0.113.10", "0.0.0.0/0")]
)
def test_a_default_route_announces_nothing(vip: str, dst: str) -> None:
    assert fib(Answer(row(dst=dst, gateway="10.0.0.254", dev="br0")), vip) == ({vip: None}, [])


@pytest.mark.parametrize("vip", ["203.0.113.10", "2001:db8:f::10"])
def test_a_default_route_that_is_meant(vip: str) -> None:
    query = Query((vip,), (), default_routes=True)
    answer = Answer(row(dst="default", gateway="10.0.0.254", dev="br0"))
    found, _ = linux.read_fib({linux.FIB: answer, linux.FIB_V6: answer}, query)
    prefix = "::/0" if ":" in vip else "0.0.0.0/0"
    assert found == {vip: FibEntry(prefix, (NextHop("10.0.0.254", "br0"),))}


def test_the_questions_in_a_vrf() -> None:
    query = Query(("203.0.113.10", "2001:db8:f::10"), (), {"203.0.113.10": "192.0.2.2"}, vrf="blue")
    asked = {command.name: command for command in linux.ask(query)}
    assert asked[linux.FIB].stdin == "route get 203.0.113.10 vrf blue fibmatch\n"
    assert asked[linux.FIB_V6].stdin == "route show vrf blue match 2001:db8:f::10\n"
    assert asked[linux.WAYS_BACK].stdin == "route get 192.0.2.2 vrf blue\n"
    assert asked[linux.NEIGHBORS].argv == ("ip", "-j", "neigh", "show", "vrf", "blue")


# What a kernel with VRFs (6.1, iproute2 6.1) answered in one that ends with an unreachable default route.
IN_VRF = Answer(
    '[{"dst":"203.0.113.0/24","gateway":"10.0.1.11","dev":"n1","table":"10","flags":[]}]\n',
    "RTNETLINK answers: No route to host\nCommand failed -:2\n",
    1,
)
ENDS = '{"type":"unreachable","dst":"default","metric":4278198272,"flags":[]}'
VRF_VIPS = ("203.0.113.77", "198.51.100.1")


def covered(rows: str, *, default_routes: bool = False) -> FibEntry | None:
    """The entry of the VIP whose packets are dropped, when its routes are listed."""
    query = Query(VRF_VIPS, (), vrf="blue", default_routes=default_routes)
    answers = {linux.FIB: IN_VRF, linux.COVERING: Answer(rows + "\n")}
    found, problems = linux.read_fib(answers, query)
    assert problems == []
    assert found["203.0.113.77"] == FibEntry("203.0.113.0/24", (NextHop("10.0.1.11", "n1"),))
    return found["198.51.100.1"]


def test_a_vrf_ends_with_a_default_route_that_drops_which_is_no_route() -> None:
    (asked,) = linux.follow_up(Query(VRF_VIPS, (), vrf="blue"), {linux.FIB: IN_VRF})
    assert (asked.name, asked.stdin) == (linux.COVERING, "route show vrf blue match 198.51.100.1\n")
    assert covered(f"[{ENDS}]") is None
    assert covered(f"[{ENDS}]", default_routes=True) == FibEntry("0.0.0.0/0", (), kind="unreachable")


def test_a_route_that_drops_is_named_by_its_prefix() -> None:
    assert covered(f'[{ENDS},{{"type":"unreachable","dst":"198.51.100.0/24","flags":[]}}]') == FibEntry(
        "198.51.100.0/24", (), kind="unreachable"
    )


def test_a_route_of_another_table_drops() -> None:
    """The listing is of one table; what the kernel answered to the question itself stands."""
    other = '[{"dst":"198.51.100.0/24","gateway":"10.0.1.11","dev":"n1","flags":[]}]'
    assert covered(other) == FibEntry("198.51.100.1/32", (), kind="unreachable")


def test_a_listing_that_cannot_be_read_is_a_problem() -> None:
    answers = {linux.FIB: IN_VRF, linux.COVERING: Answer("", "sh: ip: not found\n", 127)}
    _, problems = linux.read_fib(answers, Query(VRF_VIPS, (), vrf="blue"))
    assert problems == ["kernel routes that drop: 0 answers and 0 failures for 1 questions (sh: ip: not found)"]


def test_ipv6_routes_that_drop_have_no_next_hops() -> None:
    rows = '[{"type":"unreachable","dst":"2001:db8:f::/48","dev":"lo","metric":1024,"flags":[]}]\n'
    found, _ = linux.read_fib({linux.FIB_V6: Answer(rows)}, Query(("2001:db8:f::10",), ()))
    assert found == {"2001:db8:f::10": FibEntry("2001:db8:f::/48", (), kind="unreachable")}


@pytest.mark.parametrize("complaint", ["Invalid VRF", "Not a valid VRF name"])
def test_a_vrf_that_is_not_there(complaint: str) -> None:
    answer = Answer("", f'Error: argument "green" is wrong: {complaint}\n\n', 255)
    answers = {linux.FIB: answer, linux.FIB_V6: answer, linux.NEIGHBORS: answer}
    fib_found, problems = linux.read_fib(answers, Query(("203.0.113.10", "2001:db8:f::10"), (), vrf="green"))
    rows, more = linux.read_neighbors(answers, "green")
    assert (fib_found, rows) == ({}, None)
    assert {*problems, *more} == {
        "the router's kernel has no VRF green: see `ip vrf show` there, and vrf of this router in the configuration"
    }


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(error="the router hung up"), "kernel FIB: the router hung up"),
        (Answer(), "kernel FIB: 0 answers and 0 failures for 2 questions (no message)"),
        (
            Answer(stderr="sh: ip: not found\n", exit_status=127),
            "kernel FIB: 0 answers and 0 failures for 2 questions (sh: ip: not found)",
        ),
        (
            Answer(row(dst="203.0.113.10"), stderr="RTNETLINK answers: x\nCommand failed -:7\n"),
            "kernel FIB: 1 answers and 1 failures for 2 questions (RTNETLINK answers: x Command failed -:7)",
        ),
        (Answer("[\n]\n"), "kernel FIB: no JSON at character 1 (Expecting value)"),
    ],
)
def test_answers_that_do_not_add_up_are_all_dropped(answer: Answer, problem: str) -> None:
    assert fib(answer, "203.0.113.10", "203.0.113.11") == ({}, [problem])


def test_one_odd_answer_costs_one_vip() -> None:
    answer = Answer(row(dst="203.0.113.10", dev="br0") + row(dst="198.51.100.0/24", dev="br0") + row(dst=5))
    found, problems = fib(answer, "203.0.113.10", "203.0.113.11", "203.0.113.12")
    assert set(found) == {"203.0.113.10"}
    assert problems == [
        "kernel FIB: 203.0.113.11: the answer is about 198.51.100.0/24",
        "kernel FIB: 203.0.113.12: the answer is about something else",
    ]


def test_an_unknown_complaint_is_a_problem() -> None:
    stderr = 'Error: either "to" is duplicate, or "fibmatch" is a garbage.\nCommand failed -:1\n'
    found, problems = fib(Answer(stderr=stderr, exit_status=1), "203.0.113.10")
    assert found == {}
    assert "garbage" in problems[0]


def test_neighbors() -> None:
    answer = Answer((KINDS / "neighbors.json").read_text())
    rows, problems = linux.read_neighbors({linux.NEIGHBORS: answer})
    assert (rows is not None, problems) == (True, [])
    rows = rows or ()
    assert LinkNeighbor("10.0.0.77", "br0", None, reachable=False) in rows
    assert LinkNeighbor("10.0.0.99", "br0", "02:00:00:00:00:99", reachable=True) in rows
    assert LinkNeighbor("fe80::3812:29ff:fe51:acf9", "br0", "3a:12:29:51:ac:f9", reachable=True) in rows


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        (
            "/proc/sys/net/ipv4/fib_multipath_hash_policy:1\n/proc/sys/net/ipv6/fib_multipath_hash_policy:0\n",
            {4: HashPolicy.FIVE_TUPLE, 6: HashPolicy.ADDRESSES},
        ),
        ("/proc/sys/net/ipv6/fib_multipath_hash_policy:2\n", {6: HashPolicy.INNER}),
        ("/proc/sys/net/ipv4/fib_multipath_hash_policy:9\n", {}),
    ],
)
def test_hash_policy(text: str, policies: dict[int, HashPolicy]) -> None:
    assert linux.read_hash_policy({linux.HASH_POLICY: Answer(text)}) == policies
