"""Cisco NX-OS: many questions on one line, answers that are broken, refused, paged or dressed up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import nxos
from routers.model import Answer, Command, Query, Snapshot
from routers.nxos.cli import batches, document, rows, said
from routers.reader import take_snapshot
from tests.routers.captured import QUERY, TAKEN_AT, VIP, VIP6, answers, scenarios, snapshot

FIRST = "nxos 1"


def changed(body: str, name: str = FIRST) -> Snapshot:
    return nxos.read("edge", QUERY, answers("nxos", "healthy") | {name: Answer(body)}, TAKEN_AT)


def healthy() -> str:
    return answers("nxos", "healthy")[FIRST].stdout


def section(at: int, text: str) -> str:
    """The healthy transcript with the answer to one question replaced."""
    pattern = rf"(^ECMP{at}\n).*?(?=^ECMP{at + 1}$)"
    found, count = re.subn(pattern, lambda match: f"{match[1]}{text}\n", healthy(), flags=re.MULTILINE | re.DOTALL)
    assert count == 1
    return found


def at(question: str) -> int:
    """The number of the question that holds these words."""
    line = nxos.ask(QUERY)[0].argv[0]
    return next(number for number, part in enumerate(line.split(" ; ")[1::2]) if question in part)


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"User Access Verification\n\nCisco Nexus {{Operating System}}\n{text}",
        lambda text: text.replace("ECMP3\n", "\x1b[7mECMP3\x1b[0m\n").replace("{", "\x1b[K{", 1),
        lambda text: text + "\nedge# ",
        lambda text: re.sub(r"^(\{)", r"edge# \1", text, flags=re.MULTILINE),
        lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.startswith("ECMP")),
    ],
    ids=["CRLF", "banner", "escapes", "prompt behind", "prompts", "no marks"],
)
def test_what_stands_around_the_answers(dress: Callable[[str], str]) -> None:
    assert changed(dress(healthy())) == snapshot("nxos", "healthy")


def test_without_marks_json_is_told_apart_by_its_order() -> None:
    questions = ["show a | json", "show b | json"]
    told = {"q 1": Answer('% Permission denied\n{"a": 1}\n% Permission denied\n{"b": {}}\n')}
    assert said("q", questions, told).bodies == {"show a | json": '{"a": 1}', "show b | json": '{"b": {}}'}
    for text in ('{"a": 1}', '{"a": 1} {"b": 2} {"c": 3}', '{"a": 1} {"b": '):
        found = said("q", questions, {"q 1": Answer(text)})
        assert found.bodies == {}
        assert set(found.unmarked) == set(questions)


def test_a_switch_that_refuses_the_whole_line_is_asked_one_by_one() -> None:
    whole = answers("nxos", "healthy")
    known = said("nxos", list(nxos.ask(QUERY)[0].argv[0].split(" ; ")[1::2]), whole).bodies
    refused = Answer("            ^\n% Invalid command at '^' marker.")
    first = {FIRST: refused, "nxos configuration 1": refused}
    alone = nxos.follow_up(QUERY, first)
    assert [command.argv[0] for command in alone] == list(known)
    taken = nxos.read("edge", QUERY, first | {one.name: Answer(known[one.argv[0]]) for one in alone}, TAKEN_AT)
    assert taken.sessions == snapshot("nxos", "healthy").sessions
    assert taken.routes == snapshot("nxos", "healthy").routes
    assert taken.fib == snapshot("nxos", "healthy").fib
    assert taken.problems == ()
    taken = nxos.read("edge", QUERY, first, TAKEN_AT)
    assert "the answers cannot be told apart (^ % Invalid command at '^' marker.)" in taken.problems[0]


def test_what_stood_behind_a_failure_is_asked_again() -> None:
    whole = answers("nxos", "healthy")
    text = healthy()
    behind = text[text.index("ECMP4\n") :]
    whole[FIRST] = Answer(text[: text.index("ECMP3\n")] + "ECMP3\n% Internal error\n")
    again = next(command for command in nxos.follow_up(QUERY, whole) if command.name == "nxos again 1")
    asked = again.argv[0].split(" ; ")[1::2]
    assert asked == nxos.ask(QUERY)[0].argv[0].split(" ; ")[1::2][4:]
    shifted = re.sub(r"^ECMP(\d+)$", lambda match: f"ECMP{int(match[1]) - 4}", behind, flags=re.MULTILINE)
    taken = nxos.read("edge", QUERY, whole | {again.name: Answer(shifted)}, TAKEN_AT)
    assert taken.problems == ("show ip arp | json: cut off",)
    assert set(taken.fib) == set(taken.routes) == {VIP, VIP6}


def test_an_answer_cut_in_the_middle_costs_what_is_behind_the_cut() -> None:
    whole = healthy()
    taken = changed(whole[: whole.index("ECMP9") + 200])
    assert taken.sessions == snapshot("nxos", "healthy").sessions
    assert set(taken.fib) == {VIP, VIP6}
    assert set(taken.routes) == set()
    assert all(problem.endswith("cut off") for problem in taken.problems)


def test_paging_remains_are_no_json() -> None:
    text = document('{"a": [1,\n--More--\n2]}')
    assert text is None
    taken = changed(section(at("all neighbors"), '{"TABLE_neighbor":\n--More--\n{}}'))
    assert taken.sessions, "the summary tells"
    assert taken.problems == ("show bgp vrf default all neighbors | json: not a whole JSON object",)


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("all summary", "local_as"),
        (f"ip route {VIP}", "fib"),
        (f"ipv4 unicast {VIP}", "routes"),
        ("ipv6 neighbor", "nd"),
    ],
)
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("                ^\n% Invalid command at '^' marker.", "% Invalid command at '^' marker."),
        ("% Permission denied for the role", "% Permission denied for the role"),
        ("Syntax error while parsing 'show'", "Syntax error while parsing 'show'"),
        ("Befehl unbekannt", "Befehl unbekannt"),
        ("コマンドが無効です", "コマンドが無効です"),
    ],
)
def test_a_refusal_costs_its_own_part_only(question: str, part: str, said: str, told: str) -> None:
    taken = changed(section(at(question), said))
    assert any(problem.endswith(told) for problem in taken.problems), taken.problems
    parts = {
        "local_as": taken.local_as is not None,
        "fib": set(taken.fib) == {VIP, VIP6},
        "routes": set(taken.routes) == {VIP, VIP6},
        "nd": taken.neighbors is not None,
    }
    assert [name for name, there in parts.items() if not there] == [part]
    assert taken.sessions is not None


def test_sessions_are_unknown_if_neither_summary_nor_details_can_be_read() -> None:
    text = section(at("all summary"), "% Invalid command at '^' marker.")
    text = re.sub(r"(^ECMP2\n).*?(?=^ECMP3$)", r"\1no\n", text, flags=re.MULTILINE | re.DOTALL)
    assert changed(text).sessions is None


def test_no_neighbor_at_all() -> None:
    text = re.sub(r'"TABLE_neighbor": \{"ROW_neighbor": \[.*?\]\}', '"x": 1', section(at("all neighbors"), ""))
    taken = changed(text)
    assert taken.sessions == ()
    assert taken.problems == ()


@pytest.mark.parametrize("text", ["", "BGP routing table information for VRF default, address family IPv4 Unicast\n"])
def test_a_table_that_is_answered_with_nothing_has_no_route(text: str) -> None:
    whole = answers("nxos", "healthy") | {FIRST: Answer(section(at(f"ipv4 unicast {VIP}"), ""))}
    text_only = next(command for command in nxos.follow_up(QUERY, whole) if command.name == "nxos text 1")
    assert text_only.argv[0].split(" ; ")[1::2] == [f"show bgp ipv4 unicast {VIP}"]
    whole["nxos text 1"] = Answer(f"ECMP0\n{text}\nECMP1\n")
    taken = nxos.read("edge", QUERY, whole, TAKEN_AT)
    assert taken.routes[VIP] == ()
    assert len(taken.routes[VIP6]) == 3


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "% Invalid command at '^' marker.",
        '{"TABLE_module": {}}',
        '{"TABLE_module": {"ROW_module": {"module_number": "1"}}}',
        (
            '{"TABLE_module": {"ROW_module": {"module_number": 1, "TABLE_vrf": {"ROW_vrf": {"TABLE_prefix":'
            ' {"ROW_prefix": {"another_name": "203.0.113.10/32"}}}}}}}'
        ),
    ],
)
def test_where_the_forwarding_table_is_not_told_the_routing_table_stands_for_it(answer: str) -> None:
    taken = changed(f"ECMP0\n{answer}\nECMP1\n{answer}\nECMP2\n", "nxos forwarding 1")
    assert taken.fib == snapshot("nxos", "healthy").fib
    assert taken.problems == ()


def test_a_row_alone_is_an_object_and_several_are_an_array() -> None:
    one = {"TABLE_a": {"ROW_a": {"n": 1, "TABLE_b": {"ROW_b": [{"m": 2}, {"m": 3}]}}}}
    assert rows(one, "a") == [one["TABLE_a"]["ROW_a"]]
    assert rows(one, "b") == [{"m": 2}, {"m": 3}]
    assert rows([], "a") == rows(None, "a") == rows({"ROW_a": 7}, "a") == []


def test_native_json_has_numbers_and_truth_values() -> None:
    text = re.sub(r'"(\d{1,9})"', r"\1", healthy()).replace('"true"', "true").replace('"false"', "false")
    assert changed(text) == replace(snapshot("nxos", "healthy"))


def test_no_line_is_long_and_no_question_is_lost() -> None:
    questions = [f"show bgp ipv4 unicast 203.0.113.{number} | json" for number in range(200)]
    lines = [command.argv[0] for command in batches("q", questions)]
    assert len(lines) < 10
    assert all(len(line) <= 2000 for line in lines)
    assert [part for line in lines for part in line.split(" ; ")[1::2]] == questions


@pytest.mark.parametrize("vrf", ["blue ; reload", "blue | vsh", "blue\nreload", "b" * 65])
def test_only_names_become_part_of_a_command(vrf: str) -> None:
    with pytest.raises(ValueError, match="is no name of a VRF"):
        nxos.ask(replace(QUERY, vrf=vrf))


def test_nothing_is_asked_that_could_change_anything() -> None:
    more = [command for one in scenarios("nxos") for command in nxos.follow_up(QUERY, answers("nxos", one))]
    for command in [*nxos.ask(QUERY), *more]:
        assert command.raw
        assert command.stdin is None
        assert {part.split()[0] for part in command.argv[0].split(" ; ")} == {"show", "echo"}


def test_no_password_is_asked_for() -> None:
    line = nxos.ask(QUERY)[-1].argv[0]
    pattern = line.partition('egrep "')[2].partition('"')[0]
    assert not re.search(pattern, "    password 3 9125d59c18a9b015")


class Switch:
    """A switch that answers the questions of the healthy fixture, in whatever lines they come."""

    def __init__(self) -> None:
        whole = answers("nxos", "healthy")
        self.known: dict[str, str] = {}
        for command in (*nxos.ask(QUERY), *nxos.follow_up(QUERY, whole)):
            asked = command.argv[0].split(" ; ")[1::2]
            self.known |= said(command.name.rpartition(" ")[0], asked, whole).bodies
        self.lines: list[str] = []

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        assert timeout_seconds
        assert max_bytes
        self.lines.append(command.argv[0])
        parts = command.argv[0].split(" ; ")
        return Answer("".join(f"{p[5:] if p.startswith('echo ') else self.known[p]}\n" for p in parts))

    async def close(self) -> None: ...


async def test_a_switch_that_answers_commands() -> None:
    switch = Switch()
    taken = await take_snapshot("edge", nxos, switch, QUERY, lambda: TAKEN_AT)
    assert taken == snapshot("nxos", "healthy")
    assert len(switch.lines) == 3


def test_many_vips_are_few_lines() -> None:
    many = Query(tuple(f"203.0.113.{number}" for number in range(1, 201)), QUERY.node_addresses)
    assert len(nxos.ask(many)) < 20


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_wrongly_typed_json(data: st.DataObject) -> None:
    """Any value of NX-OS's documents replaced by any other."""
    whole = dict(answers("nxos", data.draw(st.sampled_from(scenarios("nxos")))))
    name = data.draw(st.sampled_from(sorted(whole)))
    lines = whole[name].stdout.splitlines()
    if tables := [number for number, line in enumerate(lines) if line.startswith("{")]:
        chosen = data.draw(st.sampled_from(tables))
        lines[chosen] = json.dumps(_replaced(data, json.loads(lines[chosen])))
    whole[name] = Answer("\n".join(lines))
    nxos.follow_up(QUERY, whole)
    taken = nxos.read("edge", QUERY, whole, TAKEN_AT)
    assert all("\n" not in problem for problem in taken.problems)


def _replaced(data: st.DataObject, value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.integers(0, 7)) == 0:
        return data.draw(JSON_VALUES)
    key = data.draw(st.sampled_from(keys))
    copy = value.copy()
    copy[key] = _replaced(data, value[key])
    return copy
