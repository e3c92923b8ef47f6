"""Junos: answers that are cut, refused or wrapped, many VIPs, remedies, and its oracle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers import junos
from routers.junos import oracle as junos_oracle
from routers.junos.sessions import configuration_of
from routers.model import Answer, NextHop, OracleFlow, Query, RemedyFacts, RemedyKind, Snapshot
from tests.routers.by_vip import verdicts_of
from tests.routers.captured import NODE3, QUERY, TAKEN_AT, VIP, VIP6, answers, fib_of, session_of, snapshot

PIPE = " | display json | no-more"
WHOLE = answers("junos", "healthy")
ROUTE = f"show route {VIP} table inet.0 protocol bgp all detail{PIPE}"
FIB = f"show route forwarding-table destination {VIP} table default{PIPE}"
NEIGHBORS, SUMMARY = f"show bgp neighbor{PIPE}", f"show bgp summary{PIPE}"
ARP = f"show arp no-resolve{PIPE}"
FLOW = OracleFlow("192.0.2.5", 20001, VIP, 443)
BACK = f"show route forwarding-table destination 192.0.2.5 table default{PIPE}"
ASKED = (
    "show forwarding-options load-balance ingress-interface ge-0/0/0.0 family inet source-address 192.0.2.5 "
    f"destination-address {VIP} transport-protocol tcp source-port 20001 destination-port 443{PIPE}"
)


def changed(texts: dict[str, str], query: Query = QUERY) -> Snapshot:
    whole = WHOLE | {name: Answer(text) for name, text in texts.items()}
    return junos.read("edge", query, whole, TAKEN_AT)


UNUSABLE = {
    "empty": "",
    "refused": "error: permission denied: get-bgp-neighbor-information\n",
    "unknown": "                  ^\nsyntax error, expecting <command>.\n",
    "root's shell": "show: Command not found.\n",
    "an error page": "<html><head><title>502 Bad Gateway</title></head></html>\n",
    "another language": "Befehl nicht gefunden\n",
    "another answer": '{"output": [{"data": "timeout communicating with routing daemon"}]}\n',
    "no object": "[1, 2]\n",
    "nested": "{" * 5000 + "}" * 5000 + "\n",
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("name", [NEIGHBORS, SUMMARY, ROUTE, FIB, ARP])
def test_an_unusable_answer_costs_its_own_part_only(name: str, text: str) -> None:
    found = changed({name: text})
    assert found.sessions is not None  # the other of the two lists the neighbors
    assert {one.address for one in found.sessions} >= {"10.0.0.11", "10.0.0.12", NODE3}
    assert (VIP in found.routes) is (name != ROUTE)
    assert (VIP in found.fib) is (name != FIB)
    assert VIP6 in found.routes
    assert VIP6 in found.fib
    assert set(verdicts_of(found).values()) <= {"ok", "router_unknown"}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_unreadable_sessions_are_not_no_sessions(text: str) -> None:
    found = changed({SUMMARY: text, NEIGHBORS: text})
    assert found.sessions is None
    assert found.problems
    assert "neighbor_missing" not in verdicts_of(found).values()


def test_what_a_refusal_said_is_told() -> None:
    problem = f"{ROUTE}: error: permission denied: get-bgp-neighbor-information"
    assert changed({ROUTE: UNUSABLE["refused"]}).problems == (problem,)


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("share", [0.15, 0.4, 0.5, 0.7, 0.85, 0.97])
def test_an_answer_cut_in_the_middle_is_never_a_fault_of_a_node(name: str, share: float) -> None:
    text = WHOLE[name].stdout
    found = changed({name: text[: int(len(text) * share)]})
    assert set(verdicts_of(found).values()) <= {"ok", "router_unknown"}


def test_nothing_at_all() -> None:
    found = junos.read("edge", QUERY, {}, TAKEN_AT)
    assert (found.sessions, found.neighbors, dict(found.routes), dict(found.fib)) == (None, None, {}, {})
    assert found.problems


def test_several_engines_banner_and_carriage_returns() -> None:
    assert snapshot("junos", "two_engines") == snapshot("junos", "healthy")


def _plain(value: Any) -> Any:
    """The document as other tools print it: leaves without lists."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and set(value[0]) == {"data"}:
        return value[0]["data"]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def test_leaves_without_lists_say_the_same() -> None:
    plain = {
        name: json.dumps(_plain(json.loads(answer.stdout))) + "\n"
        for name, answer in WHOLE.items()
        if answer.stdout.startswith("{")
    }
    assert changed(plain) == snapshot("junos", "healthy")


def test_no_route_and_no_entry() -> None:
    none = {
        "route-information": [{"route-table": []}],
        "forwarding-table-information": [
            {
                "route-table": [
                    {
                        "table-name": [{"data": "default.inet"}],
                        "rt-entry": [
                            {"rt-destination": [{"data": "default"}], "nh": [{"nh-type": [{"data": "rjct"}]}]}
                        ],
                    }
                ]
            }
        ],
    }
    found = changed({ROUTE: json.dumps(none), FIB: json.dumps(none)})
    assert found.routes[VIP] == ()
    assert found.fib[VIP] is None
    assert found.problems == ()


def fib_answer(*rows: dict[str, str], destination: str = f"{VIP}/32", table: str = "default.inet") -> str:
    leaves = [{key: [{"data": value}] for key, value in row.items()} for row in rows]
    entry = {"rt-destination": [{"data": destination}], "destination-type": [{"data": "user"}], "nh": leaves}
    tables = [
        {"table-name": [{"data": "__pfe_private__.inet"}], "rt-entry": [{**entry, "nh": []}]},
        {"table-name": [{"data": table}], "rt-entry": [entry]},
    ]
    return json.dumps({"forwarding-table-information": [{"route-table": tables}]})


@pytest.mark.parametrize(
    ("rows", "kind", "hops"),
    [
        ([{"nh-type": "dscd"}], "blackhole", set()),
        ([{"nh-type": "rjct"}], "unreachable", set()),
        ([{"nh-type": "locl", "to": VIP}], "unicast", {VIP}),
        ([{"nh-type": "rslv", "via": "ge-0/0/1.0"}], "unicast", {None}),
        ([{"nh-type": "ucst", "to": "52:54:0:0:0:13", "via": "ge-0/0/1.0"}], "unicast", {None}),
        (
            [
                {"nh-type": "ulst"},
                {"nh-type": "indr"},
                {"nh-type": "ucst", "to": "10.0.0.11", "via": "ge-0/0/1.0"},
                {"nh-type": "indr"},
                {"nh-type": "ucst", "to": NODE3, "via": "ge-0/0/1.0"},
            ],
            "unicast",
            {"10.0.0.11", NODE3},
        ),
    ],
)
def test_kinds_of_entries(rows: list[dict[str, str]], kind: str, hops: set[str | None]) -> None:
    found = changed({FIB: fib_answer(*rows)})
    entry = found.fib[VIP]
    assert entry is not None
    assert entry.kind == kind
    assert fib_of(found, VIP) == hops


MANY = replace(QUERY, vips=(*(f"203.0.113.{number}" for number in range(1, 201)), VIP6))


def test_many_vips_are_read_from_whole_tables() -> None:
    assert len(junos.ask(MANY)) < 14
    more = [command.name for command in junos.follow_up(MANY, WHOLE)]
    assert more == [
        f"show route table inet.0 protocol bgp all detail{PIPE}",
        f"show route forwarding-table family inet table default{PIPE}",
    ]
    routes = json.loads(WHOLE[ROUTE].stdout)
    (route,) = routes["route-information"][0]["route-table"][0]["rt"]
    routes["route-information"][0]["route-table"][0]["rt"] = [
        {**route, "rt-destination": [{"data": f"203.0.113.{number}"}]} for number in range(1, 200)
    ]
    fib = json.loads(WHOLE[FIB].stdout)
    (entry,) = fib["forwarding-table-information"][0]["route-table"][0]["rt-entry"]
    fib["forwarding-table-information"][0]["route-table"][0]["rt-entry"] = [
        {**entry, "rt-destination": [{"data": f"203.0.113.{number}/32"}]} for number in range(1, 200)
    ]
    whole = {**WHOLE, more[0]: Answer(json.dumps(routes)), more[1]: Answer(json.dumps(fib))}
    found = junos.read("edge", MANY, {name: one for name, one in whole.items() if name not in {ROUTE, FIB}}, TAKEN_AT)
    assert found.problems == ()
    assert len(found.routes["203.0.113.77"]) == 3
    assert fib_of(found, "203.0.113.77") == {"10.0.0.11", "10.0.0.12", NODE3}
    assert (found.routes["203.0.113.200"], found.fib["203.0.113.200"]) == ((), None)


def test_many_vips_in_a_large_table_are_asked_one_by_one() -> None:
    large = WHOLE[SUMMARY].stdout.replace('"total-prefix-count": [\n', '"total-prefix-count": [\n')
    document = json.loads(large)
    document["bgp-information"][0]["bgp-rib"][0]["total-prefix-count"] = [{"data": "950000"}]
    more = junos.follow_up(MANY, WHOLE | {SUMMARY: Answer(json.dumps(document))})
    assert len(more) == 400


def test_questions_only_read() -> None:
    for query in (QUERY, MANY, replace(QUERY, vrf="blue")):
        for command in (*junos.ask(query), *junos.follow_up(query, answers("junos", "wrong_as"))):
            assert command.raw
            assert command.name == " ".join(command.argv)
            assert command.argv[0] == "show"
            assert command.name.endswith("no-more")
            assert not set(";\n?`") & set(command.name)


@pytest.mark.parametrize("vrf", ["blue red", "blue\nrequest system reboot", "a|save x", "b?", ""])
def test_a_name_that_is_no_instance_is_not_asked_for(vrf: str) -> None:
    with pytest.raises(ValueError, match="no name of a routing instance"):
        junos.ask(replace(QUERY, vrf=vrf))


@pytest.mark.parametrize("kind", list(RemedyKind))
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("vrf", [None, "blue"])
def test_remedies_go_from_configuring_to_committing(kind: RemedyKind, family: int, vrf: str | None) -> None:
    text = junos.remedy(kind, RemedyFacts(64512, NODE3, 64513, family, 3, internal=False, vrf=vrf))
    assert text is not None
    first, *lines, last = text.splitlines()
    assert (first, last) == ("configure", "commit and-quit")
    assert all(line.startswith(("set ", "delete ")) for line in lines)
    place = f"routing-instances {vrf} protocols bgp" if vrf else " protocols bgp"
    assert any(place in line for line in lines)
    assert ("family inet6 unicast" in text) is (kind is RemedyKind.NEIGHBOR_MISSING and family == 6)


def oracle(text: str) -> dict[OracleFlow, NextHop]:
    back = Answer(fib_answer({"nh-type": "ucst", "to": "192.0.2.9", "via": "ge-0/0/0.0"}, destination="default"))
    assert [one.name for one in junos_oracle.prepare([FLOW])] == [BACK]
    assert [one.name for one in junos_oracle.ask([FLOW], {BACK: back})] == [ASKED]
    return dict(junos_oracle.read([FLOW], {BACK: back, ASKED: Answer(text)}))


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ('{"lb": [{"nh": [{"to": [{"data": "10.0.0.13"}], "via": [{"data": "ge-0/0/1.0"}]}]}]}', (NODE3, "ge-0/0/1.0")),
        ('{"lb": [{"result": [{"output-interface": [{"data": "ae0.10"}]}]}]}', (None, "ae0.10")),
        ('{"output": [{"data": "Next hop: 10.0.0.13\\n  Output interface: et-0/0/1.0\\n"}]}', (NODE3, "et-0/0/1.0")),
        ("Flow is hashed to 10.0.0.13, which is alive\n", None),
        ("next hop chosen: to 10.0.0.13 via ge-0/0/1.0\n", (NODE3, "ge-0/0/1.0")),
        ('{"nh": [{"to": [{"data": "10.0.0.11"}]}, {"to": [{"data": "10.0.0.13"}]}]}', None),
        ("                    ^\nsyntax error, expecting <command>.\n", None),
        ("error: command is not valid on the vmx\n", None),
        ("{}\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_answers_of_the_oracle(text: str, hop: tuple[str | None, str] | None) -> None:
    assert oracle(text) == ({} if hop is None else {FLOW: NextHop(*hop)})


def test_the_way_back_decides_the_interface_and_may_be_unknown() -> None:
    for text in ("", "error: x\n", fib_answer({"nh-type": "rjct"}, destination="default")):
        with pytest.raises(ValueError, match=r"leads back to 192\.0\.2\.5"):
            junos_oracle.ask([FLOW], {BACK: Answer(text)})
    hostile = fib_answer({"nh-type": "ucst", "to": "192.0.2.9", "via": "ge-0/0/0.0 | save x"})
    with pytest.raises(ValueError, match="leads back"):
        junos_oracle.ask([FLOW], {BACK: Answer(hostile)})


def test_flows_of_ipv6_and_of_an_instance() -> None:
    flow = OracleFlow("2001:db8:9::5", 20001, VIP6, 443, protocol="udp", vrf="blue")
    (back,) = junos_oracle.prepare([flow])
    assert back.name == f"show route forwarding-table destination 2001:db8:9::5 table blue{PIPE}"
    row = {"nh-type": "ucst", "to": "fe80::1", "via": "ge-0/0/0.0"}
    answer = Answer(fib_answer(row, destination="2001:db8:9::/64", table="blue.inet6"))
    (asked,) = junos_oracle.ask([flow], {back.name: answer})
    assert f"family inet6 source-address 2001:db8:9::5 destination-address {VIP6} transport-protocol udp" in asked.name


def test_not_every_flow_of_many_is_asked_about() -> None:
    flows = [replace(FLOW, source_port=port) for port in range(20000, 20200)]
    back = Answer(fib_answer({"nh-type": "ucst", "to": "192.0.2.9", "via": "ge-0/0/0.0"}, destination="192.0.2.0/24"))
    assert len(junos_oracle.ask(flows, {BACK: back})) == 32


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_wrongly_typed_json(data: st.DataObject) -> None:
    """Any value of Junos' documents replaced by any other."""
    name = data.draw(st.sampled_from([name for name in WHOLE if WHOLE[name].stdout.startswith("{")]))
    document = _replaced(data.draw, json.loads(WHOLE[name].stdout))
    whole = WHOLE | {name: Answer(json.dumps(document))}
    junos.follow_up(QUERY, whole)
    found = junos.read("edge", QUERY, whole, TAKEN_AT)
    assert all(problem.isprintable() for problem in found.problems)


def _replaced(draw: Callable[[st.SearchStrategy[Any]], Any], value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or draw(st.integers(0, 8)) == 0:
        return draw(JSON_VALUES)
    key = draw(st.sampled_from(keys))
    copy = value.copy()
    copy[key] = _replaced(draw, value[key])
    return copy


@pytest.mark.parametrize(
    "filler", ["{", "{}", '{"a": [', "error: ", "set protocols bgp group x ", "x via y ", "to 1 via "]
)
def test_long_answers_take_linear_time(filler: str) -> None:
    text = filler * (400_000 // len(filler)) + "\n"
    flood = {name: Answer(text) for name in WHOLE}
    started = time.process_time()
    junos.follow_up(QUERY, flood)
    junos.read("edge", QUERY, flood, TAKEN_AT)
    oracle(text)
    assert time.process_time() - started < 4


def test_sessions_without_the_summary_lack_only_their_age() -> None:
    found = session_of(changed({SUMMARY: "error: x\n"}), NODE3)
    whole = session_of(snapshot("junos", "healthy"), NODE3)
    assert found is not None
    assert whole is not None
    assert found == replace(whole, established_at=None)


def test_neighbors_from_anywhere_may_come_over_either_family() -> None:
    text = "set protocols bgp group nodes allow all\nset protocols bgp group more allow 10.0.0.0/24\n"
    assert configuration_of(text.splitlines(), None).ranges == ["0.0.0.0/0", "::/0", "10.0.0.0/24"]
