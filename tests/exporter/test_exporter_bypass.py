"""Direct steering as text: what is on link, what is wanted, what is ours; no command runs here."""

from __future__ import annotations

import json

import pytest

from exporter.policy_routes import (
    MARKS,
    Entry,
    OffLinkError,
    changes,
    device_to,
    entries,
    gateways,
    refusals,
    routes_of_ours,
    rules_of_ours,
    subnets,
)

MARK = 0xECB0001


def interface(
    name: str, *addresses: str, flags: tuple[str, ...] = ("BROADCAST", "UP", "LOWER_UP")
) -> dict[str, object]:
    pairs = [address.split("/") for address in addresses]
    info = [{"family": "inet", "local": local, "prefixlen": int(length)} for local, length in pairs]
    return {"ifname": name, "flags": flags, "addr_info": info}


# as `ip -json address show` writes it, shortened
HERE = subnets(
    json.dumps(
        [
            interface("lo", "127.0.0.1/8", "10.0.3.1/24", "::1/128", flags=("LOOPBACK", "UP")),
            interface("eth0", "198.51.100.10/24", "2001:db8:198::10/64", "fe80::1/64"),
            interface("lan0", "10.0.0.2/24", "2001:db8:10::2/64", "fe80::2/64"),
            interface("wide0", "10.0.0.3/16"),
            interface("down0", "10.1.0.2/24", flags=("BROADCAST",)),
            interface("wg0", "10.2.0.2/24", flags=("POINTOPOINT", "NOARP", "UP")),
            {
                "ifname": "ppp0",
                "flags": ["UP"],
                "addr_info": [{"local": "10.4.0.1", "address": "10.4.0.2", "prefixlen": 32}],
            },
            {"ifname": "odd0", "flags": ["UP"], "addr_info": [{}]},
        ]
    )
)


@pytest.mark.parametrize(
    ("node", "device"),
    [
        ("10.0.0.13", "lan0"),
        ("2001:db8:10::13", "lan0"),
        ("198.51.100.77", "eth0"),
        ("10.0.9.1", "wide0"),  # the most specific subnet wins, so lan0 above
        ("10.4.0.2", "ppp0"),
    ],
)
def test_on_link(node: str, device: str) -> None:
    assert device_to(node, HERE) == device


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("192.0.2.13", "no interface of this machine is in a subnet"),
        ("2001:db8:11::13", "no interface of this machine is in a subnet"),
        ("10.0.0.2", "this machine itself"),
        ("2001:db8:10::2", "this machine itself"),
        ("10.1.0.9", "down0, which shares a subnet with 10.1.0.9, is down"),
        ("10.2.0.9", "wg0, which"),
        ("10.0.3.9", "lo, which"),
        ("fe80::9", "link-local"),
    ],
)
def test_off_link(node: str, words: str) -> None:
    with pytest.raises(OffLinkError, match=words):
        device_to(node, HERE)


def test_an_interface_that_is_up_is_preferred() -> None:
    here = subnets(json.dumps([interface("a", "10.0.0.2/24", flags=()), interface("b", "10.0.0.3/16")]))
    assert device_to("10.0.0.9", here) == "b"


def test_the_lines_of_one_node() -> None:
    lines = changes(frozenset(), frozenset(entries("10.0.0.13", "lan0", MARK)))
    assert lines == {
        4: [
            "route add default via 10.0.0.13 dev lan0 onlink table 248184833 proto 236",
            "route add unreachable default metric 4000000000 table 248184833 proto 236",
            "rule add fwmark 0xecb0001 lookup 248184833 priority 2360 protocol 236",
        ]
    }


def test_a_rule_never_points_at_an_empty_table() -> None:
    """Its packets would fall through to the router, and prove that a node serves that does not."""
    everything = frozenset(entries("2001:db8:10::13", "lan0", MARK))
    assert [line.split()[0] for line in changes(frozenset(), everything)[6]] == ["route", "route", "rule"]
    assert [line.split()[0] for line in changes(everything, frozenset())[6]] == ["rule", "route", "route"]
    moved = frozenset(entries("2001:db8:10::13", "lan1", MARK))
    assert changes(everything, moved)[6] == [
        "route del default via 2001:db8:10::13 dev lan0 onlink table 248184833 proto 236",
        "route add default via 2001:db8:10::13 dev lan1 onlink table 248184833 proto 236",
    ]


def test_only_differences_are_applied() -> None:
    one, two = entries("10.0.0.11", "lan0", MARK), entries("2001:db8:10::12", "lan0", MARK + 1)
    assert changes(frozenset(one), frozenset(one)) == {}
    assert [*changes(frozenset(one), frozenset((*one, *two)))] == [6]
    assert all(line.split()[1] == "del" for line in changes(frozenset((*one, *two)), frozenset(two))[4])


def test_every_mark_is_beyond_the_bits_that_others_use() -> None:
    """kube-proxy marks with 0x4000 and 0x8000; a table's number must fit and may not be one of the kernel's."""
    assert not [mark for mark in (MARKS[0], MARKS[-1]) if mark & 0xC000]
    assert 255 < MARKS[0] < MARKS[-1] < 1 << 31


# `ip -N -json rule show` and `route show table all proto 236` of iproute2 6.1 on Linux 6.18
RULES: list[dict[str, object]] = [
    {"priority": 0, "src": "all", "table": "255"},
    {"priority": 2360, "src": "all", "fwmark": "0xecb0001", "table": "248184833", "protocol": "236"},
    {"priority": 32766, "src": "all", "table": "254"},
]
ROUTES: list[dict[str, object]] = [
    {"dst": "default", "gateway": "10.0.0.13", "dev": "lan0", "table": "248184833", "flags": ["onlink"]},
    {"type": "7", "dst": "default", "table": "248184833", "metric": 4000000000, "flags": []},
]
ROUTES_V6 = [
    {"dst": "default", "gateway": "2001:db8:10:0::13", "dev": "lan0", "table": "248184833", "metric": 1024},
    {"type": "unreachable", "dst": "default", "dev": "lo", "table": "248184833", "metric": 4000000000, "flags": []},
]


def test_what_was_made_is_recognised() -> None:
    rules, routes = rules_of_ours(4, json.dumps(RULES)), routes_of_ours(4, json.dumps(ROUTES))
    assert rules | routes == frozenset(entries("10.0.0.13", "lan0", MARK))
    rules, routes = rules_of_ours(6, json.dumps(RULES)), routes_of_ours(6, json.dumps(ROUTES_V6))
    assert rules | routes == frozenset(entries("2001:db8:10::13", "lan0", MARK))
    assert rules_of_ours(4, "") == routes_of_ours(6, "") == frozenset()


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "186"},
        {"protocol": None},
        {"table": "254"},
        {"table": "248184834"},
        {"fwmark": "0xecb1000"},
        {"fwmark": "0"},
        {"priority": 100},
    ],
)
def test_rules_of_others_are_left_alone(other: dict[str, object]) -> None:
    assert rules_of_ours(4, json.dumps([RULES[1] | other])) == frozenset()


@pytest.mark.parametrize(
    "other", [{"table": "254"}, {"table": "main"}, {"table": None}, {"table": "248188928"}, {"dst": "10.0.0.0/8"}]
)
def test_routes_of_others_are_left_alone(other: dict[str, object]) -> None:
    assert routes_of_ours(4, json.dumps([ROUTES[0] | other])) == frozenset()


def test_what_ip_refused() -> None:
    lines = ["route add a", "rule add b", "route add c", "route add d"]
    errors = (
        "Error: Nexthop has invalid gateway.\nCommand failed -:1\n"
        "RTNETLINK answers: Operation not permitted\nCommand failed -:3\nCommand failed -:4\n"
    )
    assert refusals(lines, errors) == {
        "route add a": "Nexthop has invalid gateway",
        "route add c": "no CAP_NET_ADMIN",
        "route add d": "it failed",
    }
    assert refusals(lines, "") == {}


def test_whom_the_kernel_would_send_to() -> None:
    answers = '[{"dst":"192.0.2.1","gateway":"10.0.0.13","dev":"lan0"}]\n[{"dst":"192.0.2.1","dev":"eth0"}]\n\n'
    assert gateways(answers) == {"10.0.0.13"}


def test_a_line_is_what_ip_batch_reads() -> None:
    assert Entry(4, "route", "default table 7").line("del") == "route del default table 7"
