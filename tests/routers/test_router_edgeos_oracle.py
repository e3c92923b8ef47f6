"""EdgeOS's oracle, which knows no ports; the answers are in the text of a real `ip route get`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routers.edgeos import oracle
from routers.model import Answer, NextHop, OracleFlow

FLOWS = [OracleFlow("192.0.2.9", port, "203.0.113.10", 22) for port in (20000, 20001)]
FLOW6 = OracleFlow("2001:db8:9::9", 20000, "2001:db8:f::10", 22)
WAY = "route to the prober 192.0.2.9"
BACK = Answer("192.0.2.9 dev eth0  src 192.0.2.254 \n    cache \n")
NO_FILE = Answer(stderr="cat: /proc/sys/net/ipv4/fib_multipath_hash_policy: No such file or directory\n", exit_status=1)
BEFORE = {WAY: BACK, oracle.POLICY: NO_FILE}


def told(*hops: str) -> dict[str, Answer]:
    text = "".join(f"203.0.113.10 from 192.0.2.9 via {hop} dev eth1 \n    cache  iif eth0\n" for hop in hops)
    return BEFORE | {oracle.ORACLE: Answer(text)}


def test_each_pair_of_addresses_is_asked_several_times_without_ports() -> None:
    assert {command.argv for command in oracle.prepare(FLOWS)} == {
        ("ip", "route", "get", "192.0.2.9"),
        ("cat", "/proc/sys/net/ipv4/fib_multipath_hash_policy"),
    }
    (command,) = oracle.ask(FLOWS, BEFORE)
    assert command.argv == ("ip", "-force", "-batch", "-")
    assert command.stdin == "route get 203.0.113.10 from 192.0.2.9 iif eth0\n" * oracle.TIMES


def test_one_answer_holds_for_all_ports() -> None:
    found = oracle.read(FLOWS, told(*["10.0.0.12"] * oracle.TIMES))
    assert found == dict.fromkeys(FLOWS, NextHop("10.0.0.12", "eth1"))


def test_a_router_that_balances_packets_is_found_out() -> None:
    with pytest.raises(ValueError, match="balances packets, not flows"):
        oracle.read(FLOWS, told("10.0.0.12", "10.0.0.12", "10.0.0.13"))


@pytest.mark.parametrize("policy", [Answer("0\n"), NO_FILE])
def test_kernels_that_hash_addresses_are_asked(policy: Answer) -> None:
    assert oracle.ask(FLOWS, BEFORE | {oracle.POLICY: policy})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Answer("1\n"), "fib_multipath_hash_policy is 1"),
        (Answer("3\n"), "asks without ports"),
        (Answer(error="timed out"), "could not be read"),
        (Answer("zsh: denied\n"), "could not be read"),
        (Answer(stderr="cat: Keine Berechtigung\n", exit_status=1), "could not be read"),
    ],
)
def test_kernels_that_may_hash_ports_are_not(policy: Answer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        oracle.ask(FLOWS, BEFORE | {oracle.POLICY: policy})


def test_flows_over_ipv6_are_left_out() -> None:
    (command,) = oracle.ask([*FLOWS, FLOW6], BEFORE)
    assert "2001" not in (command.stdin or "")
    assert set(oracle.read([*FLOWS, FLOW6], told("10.0.0.12"))) == set(FLOWS)
    with pytest.raises(ValueError, match="IPv6"):
        oracle.ask([FLOW6], BEFORE)


@pytest.mark.parametrize(
    "way", [Answer(), Answer("RTNETLINK answers: Network is unreachable\n"), Answer("x dev ;reboot\n")]
)
def test_without_a_way_back_nothing_is_asked(way: Answer) -> None:
    with pytest.raises(ValueError, match="no route back"):
        oracle.ask(FLOWS, BEFORE | {WAY: way})


def test_there_are_no_vrfs() -> None:
    with pytest.raises(ValueError, match="no VRFs"):
        oracle.ask([replace(FLOWS[0], vrf="red")], BEFORE)


def test_answers_about_other_flows_are_passed_over() -> None:
    text = "203.0.113.99 from 192.0.2.9 via 10.0.0.11 dev eth1 \n    cache  iif eth0\nnonsense\n  from\n"
    assert oracle.read(FLOWS, {oracle.ORACLE: Answer(text)}) == {}
    assert oracle.read(FLOWS, {}) == {}
