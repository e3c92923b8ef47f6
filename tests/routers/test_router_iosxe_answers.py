"""Cisco IOS-XE: answers that are cut, refused or paged, many VIPs, remedies, and exact-route as the oracle."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from routers import iosxe
from routers.iosxe import oracle as iosxe_oracle
from routers.iosxe import text as iosxe_text
from routers.model import Answer, NextHop, OracleFlow, Query, RemedyFacts, RemedyKind, Snapshot
from tests.routers.by_vip import verdicts_of
from tests.routers.captured import NODE3, QUERY, TAKEN_AT, VIP, VIP6, answers, fib_of, session_of, snapshot

WHOLE = answers("iosxe", "healthy")
SUMMARY, NEIGHBORS = "show bgp all summary", "show bgp all neighbors"
ROUTE, CEF = f"show bgp ipv4 unicast {VIP}", f"show ip cef {VIP} detail"
REFUSED = "            ^\n% Invalid input detected at '^' marker.\n\n"
STATE = "show cef state"
FLOW = OracleFlow("192.0.2.5", 20001, VIP, 443)
PLAIN = f"show ip cef exact-route 192.0.2.5 {VIP}"
WITH_PORTS = f"show ip cef exact-route 192.0.2.5 src-port 20001 {VIP} dest-port 443"


def changed(texts: dict[str, str], query: Query = QUERY) -> Snapshot:
    whole = WHOLE | {name: Answer(text) for name, text in texts.items()}
    return iosxe.read("edge", query, whole, TAKEN_AT)


UNUSABLE = {
    "empty": "",
    "refused": REFUSED,
    "not allowed": "Command authorization failed.\n% Authorization failed.\n",
    "an error page": "<html><head><title>502 Bad Gateway</title></head></html>\n",
    "another language": "Comando no reconocido: intente de nuevo\n",
    "another command's": WHOLE["show version | include Version"].stdout,
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("name", [SUMMARY, NEIGHBORS, ROUTE, CEF, "show ip arp"])
def test_an_unusable_answer_costs_its_own_part_only(name: str, text: str) -> None:
    found = changed({name: text})
    assert found.sessions is not None  # the other of the two lists the neighbors
    assert (VIP in found.routes) is (name != ROUTE)
    assert (VIP in found.fib) is (name != CEF)
    assert (found.neighbors is not None) is (name != "show ip arp" or text == "")
    assert VIP6 in found.routes
    assert VIP6 in found.fib
    if name == NEIGHBORS:
        assert {one.address for one in found.sessions or ()} >= {"10.0.0.11", "10.0.0.12", NODE3}
    elif text:
        assert any(problem.startswith((name, "show ip route")) for problem in found.problems)


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_unreadable_sessions_are_not_no_sessions(text: str) -> None:
    found = changed({SUMMARY: text, NEIGHBORS: text})
    assert found.sessions is None
    assert found.problems
    assert "neighbor_missing" not in verdicts_of(found).values()


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("share", [0.15, 0.4, 0.5, 0.7, 0.85, 0.97])
def test_an_answer_cut_in_the_middle_is_never_a_fault_of_a_node(name: str, share: float) -> None:
    text = WHOLE[name].stdout
    found = changed({name: text[: int(len(text) * share)]})
    assert set(verdicts_of(found).values()) <= {"ok", "router_unknown"}


@pytest.mark.parametrize("name", [SUMMARY, NEIGHBORS, ROUTE])
def test_an_answer_cut_between_two_lines_is_never_a_fault_of_a_node(name: str) -> None:
    lines = WHOLE[name].stdout.splitlines(keepends=True)
    for end in range(0, len(lines), 3):
        found = changed({name: "".join(lines[:end])})
        assert set(verdicts_of(found).values()) <= {"ok", "router_unknown"}, end


def test_a_list_of_neighbors_that_is_cut_is_told() -> None:
    lines = WHOLE[SUMMARY].stdout.splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines) if line.startswith("10.0.0.12"))
    found = changed({SUMMARY: "".join(lines[:end])})
    assert found.problems == (f"{SUMMARY}: 5 neighbors stand in one list only, the other is cut",)
    assert len(found.sessions or ()) == 6


@pytest.mark.parametrize("name", [SUMMARY, NEIGHBORS, ROUTE, CEF])
def test_a_pager_cuts_an_answer(name: str) -> None:
    lines = WHOLE[name].stdout.splitlines(keepends=True)
    found = changed({name: "".join(lines[: len(lines) // 2]) + " --More-- "})
    assert f"{name}: cut: the router pauses its output (--More--)" in found.problems
    assert set(verdicts_of(found).values()) <= {"ok", "router_unknown"}


def test_a_command_that_could_not_be_run() -> None:
    whole = WHOLE | {ROUTE: Answer(error="edge port 22 closed the connection: bye"), CEF: Answer("", "", 1)}
    found = iosxe.read("edge", QUERY, whole, TAKEN_AT)
    assert f"{ROUTE}: edge port 22 closed the connection: bye" in found.problems
    assert VIP not in found.routes
    assert VIP not in found.fib


def test_nothing_at_all() -> None:
    found = iosxe.read("edge", QUERY, {}, TAKEN_AT)
    assert (found.sessions, found.neighbors, dict(found.routes), dict(found.fib)) == (None, None, {}, {})
    assert found.problems


def test_no_route_and_no_entry() -> None:
    found = changed({ROUTE: "% Network not in table\n", CEF: "0.0.0.0/0, epoch 2\n  no route\n"})
    assert found.routes[VIP] == ()
    assert found.fib[VIP] is None
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "kind", "hops"),
    [
        (f"{VIP}/32, epoch 2\n  attached to Null0\n", "blackhole", set()),
        (f"{VIP}/32, epoch 2\n  drop\n", "blackhole", set()),
        (f"{VIP}/32, epoch 2, flags [receive]\n  receive for GigabitEthernet2\n", "local", set()),
        (f"{VIP}/32, epoch 2\n  attached to Gi2\n", "unicast", {None}),
        (f"{VIP}/32\n  nexthop 10.0.0.11 Gi2\n  nexthop 10.0.0.12 Gi2\n", "unicast", {"10.0.0.11", "10.0.0.12"}),
        (
            f"{VIP}/32\n  recursive via 10.0.0.11\n    recursive via 192.0.2.9\n      attached to Gi1\n",
            "unicast",
            {"10.0.0.11"},
        ),
        (f"{VIP}/32\n  nexthop 10.0.0.11 Gi2\n    repair: attached-nexthop 10.0.0.12 Gi2\n", "unicast", {"10.0.0.11"}),
    ],
)
def test_kinds_of_entries(text: str, kind: str, hops: set[str | None]) -> None:
    found = changed({CEF: text})
    entry = found.fib[VIP]
    assert entry is not None
    assert entry.kind == kind
    assert fib_of(found, VIP) == hops


def test_a_recursive_next_hop_that_leads_nowhere_is_not_usable() -> None:
    below = "  recursive via 10.0.0.11\n    attached to Gi2\n  recursive via 10.0.0.13\n    drop\n"
    found = changed({CEF: f"{VIP}/32, epoch 2\n{below}"})
    entry = found.fib[VIP]
    assert entry is not None
    assert [hop.usable for hop in entry.next_hops] == [True, False]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:19:52", 1192), ("1d02h", 93_600), ("3w4d", 2_160_000), ("1y2w", 32_745_600), ("never", None), ("1:2", None)],
)
def test_uptimes(text: str, seconds: int | None) -> None:
    assert iosxe_text.seconds_of(text) == seconds


MANY = replace(QUERY, vips=(*(f"203.0.113.{number}" for number in range(1, 201)), VIP6))


def test_many_vips_are_read_from_whole_tables() -> None:
    first = iosxe.ask(MANY)
    assert len(first) < 14
    more = [command.name for command in iosxe.follow_up(MANY, WHOLE)]
    assert more == ["show bgp ipv4 unicast detail", "show ip cef detail"]
    entry = WHOLE[ROUTE].stdout
    table = "".join(entry.replace(f"{VIP}/32", f"203.0.113.{number}/32") for number in range(1, 200))
    cef = "IPv4 CEF is enabled and running\nVRF Default\n 200 prefixes (200/0 fwd/non-fwd)\n" + "".join(
        WHOLE[CEF].stdout.replace(f"{VIP}/32", f"203.0.113.{number}/32") for number in range(1, 200)
    )
    whole = {**WHOLE, more[0]: Answer(table), more[1]: Answer(cef)}
    found = iosxe.read("edge", MANY, {name: one for name, one in whole.items() if name not in {ROUTE, CEF}}, TAKEN_AT)
    assert found.problems == ()
    assert len(found.routes["203.0.113.77"]) == 3
    assert fib_of(found, "203.0.113.77") == {"10.0.0.11", "10.0.0.12", NODE3}
    assert (found.routes["203.0.113.200"], found.fib["203.0.113.200"]) == ((), None)


def test_many_vips_in_a_large_table_are_asked_one_by_one() -> None:
    full = WHOLE | {SUMMARY: Answer(WHOLE[SUMMARY].stdout.replace("1 network entries", "950000 network entries"))}
    more = [command.name for command in iosxe.follow_up(MANY, full)]
    assert len(more) == 400
    assert "show bgp ipv4 unicast detail" not in more


def test_many_vips_and_an_empty_table() -> None:
    empty = "\n".join(line for line in WHOLE[SUMMARY].stdout.splitlines() if "network entries" not in line) + "\n"
    found = iosxe.read("edge", MANY, WHOLE | {SUMMARY: Answer(empty)}, TAKEN_AT)
    assert found.routes["203.0.113.1"] == ()
    assert "203.0.113.1" not in found.fib


def test_questions_only_read() -> None:
    for query in (QUERY, MANY, replace(QUERY, vrf="blue")):
        for command in (*iosxe.ask(query), *iosxe.follow_up(query, {SUMMARY: Answer(REFUSED)})):
            assert command.raw
            assert command.name == " ".join(command.argv)
            assert command.argv[0] == "show"
            assert not set(";\n?`") & set(command.name)


@pytest.mark.parametrize("vrf", ["blue red", "blue\nreload", "a|redirect flash:x", "b?", ""])
def test_a_name_that_is_no_vrf_is_not_asked_for(vrf: str) -> None:
    with pytest.raises(ValueError, match="no name of a VRF"):
        iosxe.ask(replace(QUERY, vrf=vrf))


@pytest.mark.parametrize("kind", [one for one in RemedyKind if one is not RemedyKind.POLICY_MISSING])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("vrf", [None, "blue"])
def test_remedies_go_from_configuring_to_saving(kind: RemedyKind, family: int, vrf: str | None) -> None:
    facts = RemedyFacts(64512, NODE3, 64513, family, 3, internal=False, vrf=vrf)
    text = iosxe.remedy(kind, facts)
    assert text is not None
    lines = text.splitlines()
    assert lines[:2] == ["configure terminal", "router bgp 64512"]
    assert [line for line in lines if not line.startswith("clear ")][-2:] == ["end", "write memory"]
    per_family = kind in {RemedyKind.NEIGHBOR_MISSING, RemedyKind.ROUTE_FILTERED, RemedyKind.PATH_LIMIT}
    of_session = {RemedyKind.SESSION_SHUTDOWN, RemedyKind.SESSION_WRONG_AS, RemedyKind.SESSION_PASSWORD}
    block = f"address-family ipv{4 if kind in of_session else family} {f'vrf {vrf}' if vrf else 'unicast'}"
    assert (block in lines) is (per_family or vrf is not None or kind is RemedyKind.AS_PATH_RELAX)


def test_ios_has_no_policy_that_it_would_miss() -> None:
    assert iosxe.remedy(RemedyKind.POLICY_MISSING, RemedyFacts(None, NODE3)) is None
    assert "router bgp <AS of the router>" in (iosxe.remedy(RemedyKind.PATH_LIMIT, RemedyFacts(None, NODE3)) or "")


INCLUDE_PORTS = "include-ports source destination per-destination load sharing algorithm, id 8D2F4D1E\n"
UNIVERSAL = "RP state: Active\nuniversal per-destination load sharing algorithm, id 8D2F4D1E\n"
NEW = "{} -> {} => IP adj out of GigabitEthernet2, addr {}\n"


def test_one_answer_holds_for_all_ports_where_cef_hashes_on_addresses() -> None:
    flows = [replace(FLOW, source_port=port) for port in range(20000, 20100)]
    before = {STATE: Answer(UNIVERSAL)}
    assert [one.name for one in iosxe_oracle.prepare(flows)] == [STATE, WITH_PORTS.replace("20001", "20000")]
    assert [one.name for one in iosxe_oracle.ask(flows, before)] == [PLAIN]
    told = iosxe_oracle.read(flows, before | {PLAIN: Answer(NEW.format("192.0.2.5", VIP, NODE3))})
    assert told == dict.fromkeys(flows, NextHop(NODE3, "GigabitEthernet2"))


def test_ports_are_asked_for_where_they_count() -> None:
    flows = [replace(FLOW, source_port=port) for port in range(20001, 20101)]
    before = {STATE: Answer(INCLUDE_PORTS), WITH_PORTS: Answer(NEW.format("192.0.2.5", VIP, "10.0.0.11"))}
    asked = [one.name for one in iosxe_oracle.ask(flows, before)]
    assert asked[0] == WITH_PORTS.replace("20001", "20002")
    assert len(asked) < len(flows)  # each may cost a login
    told = iosxe_oracle.read(flows, before | {asked[0]: Answer(NEW.format("192.0.2.5", VIP, NODE3))})
    assert told == {flows[0]: NextHop("10.0.0.11", "GigabitEthernet2"), flows[1]: NextHop(NODE3, "GigabitEthernet2")}


def test_an_old_release_where_ports_count_cannot_tell() -> None:
    with pytest.raises(ValueError, match="does not tell of them"):
        iosxe_oracle.ask([FLOW], {STATE: Answer(INCLUDE_PORTS), WITH_PORTS: Answer(REFUSED)})


@pytest.mark.parametrize("state", [REFUSED, "", "% Invalid input\n"])
def test_what_cef_hashes_on_may_be_unknown(state: str) -> None:
    before = {STATE: Answer(state)}
    new, old = (before | {WITH_PORTS: Answer(text)} for text in (NEW.format("192.0.2.5", VIP, NODE3), REFUSED))
    assert iosxe_oracle.read([FLOW], new) == {FLOW: NextHop(NODE3, "GigabitEthernet2")}
    assert [one.name for one in iosxe_oracle.ask([FLOW], old)] == [PLAIN]


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        (
            f"192.0.2.5 -> {VIP} =>IP adj out of GigabitEthernet0/0, addr {NODE3}\n",
            NextHop(NODE3, "GigabitEthernet0/0"),
        ),
        (f"192.0.2.5       -> {VIP}      : GigabitEthernet1 (next hop {NODE3})\n", NextHop(NODE3, "GigabitEthernet1")),
        (f"192.0.2.5 -> {VIP} => IP adj out of Serial0/1/0\n", NextHop(None, "Serial0/1/0")),
        (
            f"192.0.2.5 -> {VIP} => label 16 TAG adj out of GigabitEthernet3, addr 10.0.9.1\n",
            NextHop("10.0.9.1", "GigabitEthernet3"),
        ),
        (f"192.0.2.5 -> {VIP} => drop\n", None),
        (f"192.0.2.5 -> {VIP} => no route\n", None),
        ("% Invalid input\n", None),
        ("", None),
    ],
)
def test_forms_of_the_answer(text: str, hop: NextHop | None) -> None:
    told = iosxe_oracle.read([FLOW], {STATE: Answer(UNIVERSAL), PLAIN: Answer(f"edge#{PLAIN}\n{text}edge#")})
    assert told == ({} if hop is None else {FLOW: hop})


def test_ipv6_flows_and_vrfs() -> None:
    flow = OracleFlow("2001:db8:9::5", 20001, VIP6, 443, vrf="blue")
    name = f"show ipv6 cef vrf blue exact-route 2001:db8:9::5 {VIP6}"
    answer = "2001:DB8:9::5 -> 2001:DB8:F::10 => IP adj out of GigabitEthernet2, addr FE80::5054:FF:FE00:13\n"
    told = iosxe_oracle.read([flow], {STATE: Answer(UNIVERSAL), name: Answer(answer)})
    assert told == {flow: NextHop("fe80::5054:ff:fe00:13", "GigabitEthernet2")}


def test_an_answer_about_another_flow_is_not_trusted() -> None:
    with pytest.raises(ValueError, match="another flow"):
        iosxe_oracle.read([FLOW], {STATE: Answer(UNIVERSAL), PLAIN: Answer(NEW.format("192.0.2.6", VIP, NODE3))})


@pytest.mark.parametrize(
    "filler",
    [
        "BGP neighbor is 1,",
        "\nBGP neighbor is 10.0.0.1,  remote AS 1, external link\n",
        " from (",
        "    10.0.0.1 from 10.0.0.1 (",
        "\n  Local\n    10.0.0.1 from 10.0.0.1 (1)\n",
        "Last reset 1, due to ",
        "1d",
        "::",
        "% ",
        "\x1b[",
        "10.0.0.0/8\n  recursive via 10.0.0.1\n",
        "For address family: IPv4 Unicast\n",
        "1 -> 1 =>",
        "Paths: (1 available",
        "BGP routing table entry for 1:1:",
    ],
)
def test_long_answers_take_linear_time(filler: str) -> None:
    text = filler * (400_000 // len(filler)) + "\n"
    flood = {name: Answer(text) for name in WHOLE}
    started = time.process_time()
    iosxe.follow_up(QUERY, flood)
    iosxe.read("edge", QUERY, flood, TAKEN_AT)
    iosxe_oracle.read([FLOW], {STATE: Answer(UNIVERSAL), PLAIN: Answer(text)}) if "->" not in filler else None
    assert time.process_time() - started < 6


def test_a_capture_that_is_indented_says_the_same() -> None:
    shifted = {
        name: "".join(f"        {line}" for line in one.stdout.splitlines(keepends=True)) for name, one in WHOLE.items()
    }
    assert changed(shifted) == snapshot("iosxe", "healthy")


def test_paths_imported_from_another_vrf() -> None:
    text = (
        f"BGP routing table entry for 64512:1:{VIP}/32, version 7\nPaths: (2 available, best #1, table blue)\n"
        "  Refresh Epoch 2\n  64513\n    10.0.0.11 (via vrf blue) from 10.0.0.11 (10.0.0.11)\n"
        "      Origin IGP, localpref 100, valid, external, best\n"
        f"  Refresh Epoch 3\n  64513, imported path from 64512:2:{VIP}/32 (global)\n"
        "    10.0.0.13 (metric 11) (via default) from 10.0.0.13 (10.0.0.13)\n"
        "      Origin IGP, metric 0, localpref 90, valid, internal\n"
    )
    first, second = changed({ROUTE: text}).routes[VIP]
    assert (first.peer, first.used, second.peer, second.used) == ("10.0.0.11", True, NODE3, False)
    assert second.unused_reason == "lower local preference (90 against 100)"


def test_the_terminal_capture_is_read_as_the_healthy_router() -> None:
    plain, terminal = snapshot("iosxe", "healthy"), snapshot("iosxe", "terminal")
    assert terminal == plain
    assert session_of(terminal, NODE3) is not None


def test_an_empty_table_of_neighbors_makes_no_strangers_of_link_local_next_hops() -> None:
    whole = answers("iosxe", "ipv6_link_local") | {"show ipv6 neighbors": Answer("")}
    found = iosxe.read("edge", QUERY, whole, TAKEN_AT)
    assert found.neighbors is None
    assert any("link-local next hops are in use" in problem for problem in found.problems)
    assert set(verdicts_of(found, VIP6).values()) <= {"ok", "router_unknown"}
