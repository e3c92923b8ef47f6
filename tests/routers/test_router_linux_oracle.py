from __future__ import annotations

import json

import pytest

from routers.linux import oracle as linux_oracle
from routers.model import Answer, NextHop, OracleFlow

SOURCE = "192.0.2.2"
FLOWS = [OracleFlow(SOURCE, port, "203.0.113.10", 22) for port in (20000, 20001, 20002)]
WAY_BACK = f"{linux_oracle.INGRESS} {SOURCE}"
NEXT_HOPS = f"{linux_oracle.ORACLE} {SOURCE}"


def row(**fields: object) -> str:
    return json.dumps([fields]) + "\n"


def leads_back(interface: str, source: str = SOURCE) -> dict[str, Answer]:
    return {f"{linux_oracle.INGRESS} {source}": Answer(row(dst=source, dev=interface))}


def told(next_hop: str, **changes: str) -> str:
    return row(**({"dst": "203.0.113.10", "from": SOURCE, "gateway": next_hop, "dev": "br0"} | changes))


def test_the_way_in_is_asked_for_once_a_source() -> None:
    (asked,) = linux_oracle.prepare(FLOWS)
    assert (asked.name, asked.argv) == (WAY_BACK, ("ip", "-j", "route", "get", SOURCE))
    with pytest.raises(ValueError, match="does not appear to be"):
        linux_oracle.prepare([OracleFlow("edge", 20000, "203.0.113.10", 22)])


def test_the_flows_of_a_source_are_asked_about_in_one_process() -> None:
    flows = [*FLOWS[:2], OracleFlow("2001:db8:c::2", 20000, "2001:db8:f::10", 53, "udp")]
    first, second = linux_oracle.ask(flows, leads_back("cli0") | leads_back("cli1", "2001:db8:c::2"))
    assert first.argv == second.argv == ("ip", "-j", "-force", "-batch", "-")
    assert first.stdin == (
        "route get 203.0.113.10 from 192.0.2.2 iif cli0 ipproto 6 sport 20000 dport 22\n"
        "route get 203.0.113.10 from 192.0.2.2 iif cli0 ipproto 6 sport 20001 dport 22\n"
    )
    assert second.stdin == "route get 2001:db8:f::10 from 2001:db8:c::2 iif cli1 ipproto 17 sport 20000 dport 53\n"


def test_a_source_without_a_way_back_costs_its_own_flows() -> None:
    flows = [*FLOWS, OracleFlow("192.0.2.3", 20000, "203.0.113.10", 22)]
    (asked,) = linux_oracle.ask(flows, leads_back("cli0"))
    assert (asked.stdin or "").count("\n") == 3


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(row(dst=SOURCE, dev=name)) for name in ("", "cli0\nlink del cli0", "a b", "sixteen_letters_")),
        Answer(stderr="RTNETLINK answers: Network is unreachable", exit_status=2),
        Answer("[]\n"),
        Answer(error="gone"),
    ],
)
def test_without_a_way_back_nothing_is_asked(answer: Answer) -> None:
    with pytest.raises(ValueError, match=f"no route back to {SOURCE}"):
        linux_oracle.ask(FLOWS, {WAY_BACK: answer})


def test_answers_are_aligned_by_the_failed_lines() -> None:
    answer = Answer(told("10.0.0.11") + told("10.0.0.13"), 'Cannot find device "x"\nCommand failed -:2\n', 1)
    assert linux_oracle.read(FLOWS, {NEXT_HOPS: answer}) == {
        FLOWS[0]: NextHop("10.0.0.11", "br0"),
        FLOWS[2]: NextHop("10.0.0.13", "br0"),
    }


@pytest.mark.parametrize(
    "answer",
    [
        Answer(told("10.0.0.11") * 2),
        Answer(told("10.0.0.11") * 4),
        Answer(told("10.0.0.11") * 2, "Command failed -:9\n"),
        Answer(told("10.0.0.11") * 2 + told("10.0.0.11", dst="203.0.113.11")),
        Answer(told("10.0.0.11") * 2 + "[]\n"),
        Answer(error="gone"),
    ],
)
def test_answers_that_do_not_add_up_are_refused(answer: Answer) -> None:
    with pytest.raises(ValueError, match=r".+"):
        linux_oracle.read(FLOWS, {NEXT_HOPS: answer})


def test_a_flow_to_the_router_itself_has_no_next_hop() -> None:
    answer = Answer(told("10.0.0.11") * 2 + row(type="local", dst="203.0.113.10", **{"from": SOURCE}))
    assert set(linux_oracle.read(FLOWS, {NEXT_HOPS: answer})) == set(FLOWS[:2])


def test_in_a_vrf_the_way_in_is_looked_for_there() -> None:
    """Flows that enter by an interface of a VRF are routed there (seen on 6.1), so the question itself names none."""
    flows = [OracleFlow(SOURCE, 20000, "203.0.113.10", 22, vrf="blue")]
    (asked,) = linux_oracle.prepare(flows)
    assert asked.argv == ("ip", "-j", "route", "get", SOURCE, "vrf", "blue")
    (question,) = linux_oracle.ask(flows, leads_back("cli0"))
    assert question.stdin == "route get 203.0.113.10 from 192.0.2.2 iif cli0 ipproto 6 sport 20000 dport 22\n"
    assert linux_oracle.read(flows, {NEXT_HOPS: Answer(told("10.0.0.11", table="10"))}) == {
        flows[0]: NextHop("10.0.0.11", "br0")
    }


def test_a_vrf_that_is_not_there_is_named() -> None:
    flows = [OracleFlow(SOURCE, 20000, "203.0.113.10", 22, vrf="green")]
    answer = Answer("", 'Error: argument "green" is wrong: Invalid VRF\n\n', 255)
    with pytest.raises(ValueError, match=r"^the router's kernel has no VRF green: "):
        linux_oracle.ask(flows, {WAY_BACK: answer})
