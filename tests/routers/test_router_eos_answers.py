"""Arista EOS: answers that are broken, refused or about something else, and what is never asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import eos
from routers.model import Answer, Command, Query, Snapshot
from routers.reader import take_snapshot
from tests.routers.captured import NODE3, QUERY, TAKEN_AT, VIP, VIP6, answers, scenarios, snapshot


def changed(scenario: str, **replaced: Answer) -> Snapshot:
    """The snapshot with some answers replaced; `_` stands for a space in their names."""
    whole = answers("eos", scenario) | {name.replace("_", " "): answer for name, answer in replaced.items()}
    return eos.read("edge", QUERY, whole, TAKEN_AT)


def error(at: int, of: int, complaint: str, before: list[Any] | None = None) -> Answer:
    data = [*(before or []), {"errors": [complaint]}]
    message = f"CLI command {at} of {of} 'show' failed: could not run command"
    return Answer(json.dumps({"jsonrpc": "2.0", "id": "x", "error": {"code": 1000, "message": message, "data": data}}))


def result(*results: Any) -> Answer:
    return Answer(json.dumps({"jsonrpc": "2.0", "id": "x", "result": list(results)}))


def test_a_release_that_takes_no_bare_address() -> None:
    whole = answers("eos", "healthy")
    table = json.loads(whole["eos bgp routes 1"].stdout)["result"]
    whole["eos bgp routes 1"] = error(1, 2, "Incomplete command")
    whole["eos again 1"] = error(1, 1, "Incomplete command")
    names = [command.name for command in eos.follow_up(QUERY, whole)]
    assert names == ["eos again 1", "eos covering routes"]
    whole["eos covering routes"] = result(table[0])
    taken = eos.read("edge", QUERY, whole, TAKEN_AT)
    assert {route.peer for route in taken.routes[VIP]} == {"10.0.0.11", "10.0.0.12", NODE3}
    assert VIP6 not in taken.routes
    assert taken.problems == (f"show ipv6 bgp {VIP6} detail vrf default: Incomplete command",)


def test_without_privileged_mode() -> None:
    taken = snapshot("eos", "no_privilege")
    assert taken.maximum_paths == {}
    assert taken.problems == ()
    blind = changed("no_privilege", eos_peer_groups=Answer(error="gone"))
    assert blind.problems == ("show bgp peer-group: no answer, so listen ranges are unknown",)


def test_no_bgp_is_no_neighbor_only_if_the_configuration_has_none() -> None:
    assert snapshot("eos", "no_bgp").sessions == ()
    hidden = changed("no_bgp", eos_configuration=error(1, 2, "Authorization denied for command 'enable'"))
    assert hidden.sessions is None
    assert "show ip bgp summary vrf default: BGP inactive" in hidden.problems
    running = changed("no_bgp", eos_configuration=result({"output": ""}, {"output": "router bgp 64512\n"}))
    assert running.sessions is None


def test_commands_behind_one_that_failed_are_asked_again() -> None:
    whole = answers("eos", "healthy")
    summaries = json.loads(whole["eos summary"].stdout)["result"]
    whole["eos summary"] = error(1, 3, "no memory")
    again = eos.follow_up(QUERY, whole)
    assert [json.loads(one.stdin or "")["params"]["cmds"] for one in again] == [
        ["show ip bgp summary vrf default"],
        ["show ipv6 bgp summary vrf default"],
    ]
    whole |= {"eos again 1": result(summaries[1]), "eos again 2": result(summaries[2])}
    taken = eos.read("edge", QUERY, whole, TAKEN_AT)
    assert taken.sessions == snapshot("eos", "healthy").sessions
    assert (taken.version, taken.problems) == (None, ("show version: no memory",))


def test_many_commands_behind_one_that_failed_are_few_requests() -> None:
    many = Query(tuple(f"203.0.113.{number}" for number in range(1, 101)), QUERY.node_addresses)
    whole = dict(answers("eos", "healthy"))
    for command in eos.ask(many):
        if "routes" in command.name:
            count = len(json.loads(command.stdin or "")["params"]["cmds"])
            whole[command.name] = error(1, count, "no memory")
    again = eos.follow_up(many, whole)
    assert 1 < len([one for one in again if one.name.startswith("eos again")]) <= 8


@pytest.mark.parametrize(
    "body",
    [
        Answer("<html><head><title>502 Bad Gateway</title></head></html>"),
        Answer("Unable to authenticate user: Bad username/password combination", "Unauthorized", 401),
        Answer('{"jsonrpc": "2.0", "result": [{"vrfs": {"default"'),
        Answer(""),
        Answer("[]"),
        Answer('{"result": []}'),
        Answer('{"result": [1, null, "x"]}'),
        Answer('{"error": {"code": -32601, "message": "Method not found"}}'),
        Answer('{"error": {"code": 1002, "message": "CLI command 9 of 9 \'x\' failed", "data": 7}}'),
        Answer('{"error": "no"}'),
        Answer(error="no complete answer to 'eos summary' within 5 s"),
    ],
)
@pytest.mark.parametrize("name", ["eos summary", "eos neighbors", "eos routes 1", "eos bgp routes 1", "eos links"])
def test_a_broken_answer_costs_its_own_part_only(name: str, body: Answer) -> None:
    whole = answers("eos", "healthy")
    taken = eos.read("edge", QUERY, whole | {name: body}, TAKEN_AT)
    assert taken.problems
    assert all(len(problem) < 300 and "\n" not in problem for problem in taken.problems)
    parts = {
        "eos summary": taken.local_as is not None,
        "eos neighbors": taken.sessions is not None and all(one.families for one in taken.sessions),
        "eos routes 1": bool(taken.fib),
        "eos bgp routes 1": bool(taken.routes),
        "eos links": taken.neighbors is not None,
    }
    assert [part for part, told in parts.items() if not told] in ([name], [])
    assert parts[name] is (name == "eos neighbors")
    assert taken.sessions is not None, "the summary or the details tell"


def test_sessions_are_unknown_if_neither_summary_nor_details_can_be_read() -> None:
    lost = Answer(error="gone")
    taken = changed("healthy", eos_summary=lost, eos_neighbors=lost)
    assert taken.sessions is None
    assert taken.routes


@pytest.mark.parametrize("vrf", ["blue | redirect flash:x", "blue\nreload", "", "b" * 65, "blue;"])
def test_only_names_become_part_of_a_command(vrf: str) -> None:
    if not vrf:
        assert eos.ask(replace(QUERY, vrf=vrf)) == eos.ask(QUERY)
        return
    with pytest.raises(ValueError, match="is no name of a VRF"):
        eos.ask(replace(QUERY, vrf=vrf))


def test_nothing_is_asked_that_could_change_anything() -> None:
    words = {"show", "enable"}
    many = [*eos.ask(QUERY), *(c for one in scenarios("eos") for c in eos.follow_up(QUERY, answers("eos", one)))]
    for command in many:
        assert command.argv == ("POST", "/command-api")
        assert {asked.split()[0] for asked in json.loads(command.stdin or "")["params"]["cmds"]} <= words


def test_no_password_is_asked_for() -> None:
    asked = [line for command in eos.ask(QUERY) for line in json.loads(command.stdin or "")["params"]["cmds"]]
    (line,) = [one for one in asked if "running-config" in one]
    pattern = line.partition('grep -E "')[2].rstrip('"')
    kept = [
        "   neighbor 10.0.0.13 shutdown",
        "   neighbor 10.0.0.13 passive",
        "   neighbor 10.0.0.13 transport connection-mode passive",
        "   neighbor 10.0.0.13 peer group NODES",
        "   bgp listen range 10.0.0.0/24 peer-group NODES remote-as 64513",
        "   no bgp bestpath as-path multipath-relax",
        "   vrf blue",
        "      maximum-paths 8",
        "router bgp 64512",
    ]
    assert all(re.search(pattern, one) for one in kept)
    for name in ("10.0.0.13", "vrf", "passive", "shutdown", "maximum-paths"):
        assert not re.search(pattern, f"   neighbor {name} password 7 w7hFpRuHc2k=")


class Eapi:
    """A switch that answers commands from the healthy fixture, whatever request they come in."""

    def __init__(self) -> None:
        whole = answers("eos", "healthy")
        self.known: dict[str, Any] = {}
        for command in eos.ask(QUERY):
            asked = json.loads(command.stdin or "")["params"]["cmds"]
            self.known |= dict(zip(asked, json.loads(whole[command.name].stdout)["result"], strict=True))

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        assert timeout_seconds
        assert max_bytes
        request: Mapping[str, Any] = json.loads(command.stdin or "")
        return result(*(self.known[asked] for asked in request["params"]["cmds"]))

    async def close(self) -> None: ...


async def test_a_switch_that_answers_commands() -> None:
    taken = await take_snapshot("edge", eos, Eapi(), QUERY, lambda: TAKEN_AT)
    assert taken == snapshot("eos", "healthy")


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_wrongly_typed_json(data: st.DataObject) -> None:
    """Any value of eAPI's documents replaced by any other."""
    whole = dict(answers("eos", data.draw(st.sampled_from(scenarios("eos")))))
    name = data.draw(st.sampled_from(sorted(whole)))
    document = json.loads(whole[name].stdout)
    whole[name] = Answer(json.dumps(_replaced(data, document)))
    eos.follow_up(QUERY, whole)
    taken = eos.read("edge", QUERY, whole, TAKEN_AT)
    assert all("\n" not in problem for problem in taken.problems)


def _replaced(data: st.DataObject, value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.integers(0, 7)) == 0:
        return data.draw(JSON_VALUES)
    key = data.draw(st.sampled_from(keys))
    copy = value.copy()
    copy[key] = _replaced(data, value[key])
    return copy
