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
    OracleFlow,
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
FLOWS = [OracleFlow("192.0.2.2", port, "203.0.113.10", 22) for port in (20000, 20001, 20002)]


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


def oracle_row(next_hop: str, **changes: str) -> str:
    return row(**({"dst": "203.0.113.10", "from": "192.0.2.2", "gateway": next_hop, "dev": "br0"} | changes))


def test_the_oracle_is_asked_in_one_process() -> None:
    flows = [FLOWS[0], OracleFlow("2001:db8:c::2", 20000, "2001:db8:f::10", 53, "udp")]
    asked = linux.oracle_command(flows, "cli0")
    assert asked.argv == ("ip", "-j", "-force", "-batch", "-")
    assert asked.stdin == (
        "route get 203.0.113.10 from 192.0.2.2 iif cli0 ipproto 6 sport 20000 dport 22\n"
        "route get 2001:db8:f::10 from 2001:db8:c::2 iif cli0 ipproto 17 sport 20000 dport 53\n"
    )


@pytest.mark.parametrize("name", ["", "cli0\nlink del cli0", "a b", "sixteen_letters_"])
def test_a_name_that_is_no_interface_is_never_sent(name: str) -> None:
    with pytest.raises(ValueError, match="is no interface name"):
        linux.oracle_command(FLOWS, name)
    assert linux.read_ingress(Answer(row(dst="192.0.2.2", dev=name))) is None


def test_oracle_answers_are_aligned_by_the_failed_lines() -> None:
    answer = Answer(
        oracle_row("10.0.0.11") + oracle_row("10.0.0.13"), 'Cannot find device "x"\nCommand failed -:2\n', 1
    )
    assert linux.read_oracle(answer, FLOWS) == {
        FLOWS[0]: NextHop("10.0.0.11", "br0"),
        FLOWS[2]: NextHop("10.0.0.13", "br0"),
    }


@pytest.mark.parametrize(
    "answer",
    [
        Answer(oracle_row("10.0.0.11") * 2),
        Answer(oracle_row("10.0.0.11") * 4),
        Answer(oracle_row("10.0.0.11") * 2, "Command failed -:9\n"),
        Answer(oracle_row("10.0.0.11") * 2 + oracle_row("10.0.0.11", dst="203.0.113.11")),
        Answer(oracle_row("10.0.0.11") * 2 + "[]\n"),
        Answer(error="gone"),
    ],
)
def test_oracle_answers_that_do_not_add_up_are_refused(answer: Answer) -> None:
    with pytest.raises(ValueError, match=r".+"):
        linux.read_oracle(answer, FLOWS)


def test_a_flow_to_the_router_itself_has_no_next_hop() -> None:
    answer = Answer(oracle_row("10.0.0.11") * 2 + row(type="local", dst="203.0.113.10", **{"from": "192.0.2.2"}))
    assert set(linux.read_oracle(answer, FLOWS)) == set(FLOWS[:2])


def test_ingress() -> None:
    assert linux.ingress_command("192.0.2.2").argv == ("ip", "-j", "route", "get", "192.0.2.2")
    assert linux.read_ingress(Answer(row(dst="192.0.2.2", dev="cli0"))) == "cli0"
    assert linux.read_ingress(Answer(stderr="RTNETLINK answers: Network is unreachable", exit_status=2)) is None


PROBER, PROBER_V6 = "198.51.100.10", "2001:db8:51::10"
RULE = {"priority": 50, "src": "198.51.100.0", "srclen": 24, "table": "100"}
USUAL = [{"priority": number, "src": "all", "table": name} for number, name in ((0, "local"), (32766, "main"))]
POLICED = Query(
    ("203.0.113.10", "203.0.113.22", "2001:db8:f::10"),
    (),
    {"203.0.113.10": PROBER, "203.0.113.22": PROBER, "2001:db8:f::10": PROBER_V6},
)


def policed(rules: list[dict[str, object]], **more: str) -> dict[str, Answer]:
    """A router with these rules; its main table knows two next hops for each VIP."""
    v4 = [{"dst": vip, "nexthops": [{"gateway": "10.0.0.11"}, {"gateway": "10.0.0.12"}]} for vip in POLICED.vips[:2]]
    v6 = [{"dst": "2001:db8:f::10", "nexthops": [{"gateway": "fe80::1"}, {"gateway": "fe80::2"}]}]
    return {
        linux.FIB: Answer("".join(row(**one) for one in v4)),
        linux.FIB_V6: Answer(row(**v6[0])),
        linux.RULES[4]: Answer(json.dumps(rules)),
        linux.RULES[6]: Answer(json.dumps(rules)),
        linux.WAYS_BACK: Answer(row(dst=PROBER, dev="wan0") + row(dst=PROBER_V6, dev="wan0")),
        **{name: Answer(text) for name, text in more.items()},
    }


def test_policy_rules_are_followed_with_the_probers_own_flows() -> None:
    assert linux.follow_up(POLICED, policed(USUAL)) == ()
    assert linux.follow_up(POLICED, policed([*USUAL, {"priority": 1000, "src": "all", "l3mdev": None}])) == ()
    v4, v6 = linux.follow_up(POLICED, policed([*USUAL, RULE]))
    assert v4.stdin == (
        f"route get 203.0.113.10 from {PROBER} iif wan0 fibmatch\n"
        f"route get 203.0.113.22 from {PROBER} iif wan0 fibmatch\n"
    )
    assert v6.stdin == f"route get 2001:db8:f::10 from {PROBER_V6} iif wan0\n"


def test_the_route_that_a_policy_leads_to_counts() -> None:
    answers = policed(
        [*USUAL, RULE],
        **{
            linux.ROUTED[4]: row(dst="203.0.113.10", gateway="10.0.0.11", table="100")
            + row(dst="203.0.113.22", nexthops=[{"gateway": "10.0.0.11"}, {"gateway": "10.0.0.12"}]),
            linux.ROUTED[6]: row(dst="2001:db8:f::10", gateway="fe80::2"),
        },
    )
    found, problems = linux.read_fib(answers, POLICED)
    assert problems == []
    hops = {vip: [hop.address for hop in entry.next_hops] for vip, entry in found.items() if entry}
    assert hops == {
        "203.0.113.10": ["10.0.0.11"],
        "203.0.113.22": ["10.0.0.11", "10.0.0.12"],
        "2001:db8:f::10": ["fe80::1", "fe80::2"],
    }


def test_an_ipv6_route_that_a_policy_leads_to_and_nobody_lists_is_unknown() -> None:
    answers = policed([*USUAL, RULE], **{linux.ROUTED[6]: row(dst="2001:db8:f::10", gateway="fe80::9")})
    found, problems = linux.read_fib(answers, POLICED)
    assert "2001:db8:f::10" not in found
    assert problems == [f"{linux.ROUTED[6]}: 2001:db8:f::10: policy rules lead flows to a route that cannot be listed"]


def test_a_flow_that_the_kernel_refuses_to_judge_leaves_the_main_table() -> None:
    answers = policed([*USUAL, RULE])
    answers[linux.ROUTED[4]] = Answer(
        row(dst="203.0.113.22", gateway="10.0.0.12"),
        "RTNETLINK answers: Invalid cross-device link\nCommand failed -:1\n",
        1,
    )
    found, problems = linux.read_fib(answers, POLICED)
    assert problems == []
    hops = {vip: len(entry.next_hops) for vip, entry in found.items() if entry}
    assert hops == {"203.0.113.10": 2, "203.0.113.22": 1, "2001:db8:f::10": 2}
