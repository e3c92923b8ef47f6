"""A router may say anything: readers answer, never raise, and take no longer than the text deserves."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers import linux
from routers.jsontext import parse, phrase
from routers.linux import oracle as linux_oracle
from routers.model import Answer, OracleFlow
from routers.platforms import PLATFORMS
from tests.routers.captured import QUERY, answers, scenarios

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CAPTURES = [(platform, one) for platform in PLATFORMS for one in scenarios(platform)]
WHOLE = {capture: answers(*capture) for capture in CAPTURES}
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(
    capture=st.sampled_from(CAPTURES),
    cut=st.floats(0, 1),
    length=st.integers(0, 200),
    put=st.text(max_size=20),
    part=st.integers(0, 20),
)
def test_mutated_captures(capture: tuple[str, str], cut: float, length: int, put: str, part: int) -> None:
    platform, whole = capture[0], dict(WHOLE[capture])
    name = list(whole)[part % len(whole)]
    text = whole[name].stdout
    at = int(cut * len(text))
    whole[name] = Answer(stdout=text[:at] + put + text[at + length :])
    _read(platform, whole)


@FUZZ
@given(capture=st.sampled_from(CAPTURES), text=st.text(max_size=300), stderr=st.text(max_size=60))
def test_arbitrary_text(capture: tuple[str, str], text: str, stderr: str) -> None:
    platform, whole = capture[0], WHOLE[capture]
    _read(platform, {name: Answer(stdout=text, stderr=stderr, exit_status=len(text) % 2) for name in whole})


@FUZZ
@given(name=st.text(min_size=1, max_size=80), table=st.text(max_size=12))
def test_kernel_protocols_of_any_name(name: str, table: str) -> None:
    """What a router calls its protocols stays within its quotes."""
    whole = dict(WHOLE[("bird", "healthy")])
    protocols = whole["bird protocols"].stdout.replace("k4  ", f"{name}  ").replace("master6", table)
    for command in PLATFORMS["bird"].follow_up(QUERY, whole | {"bird protocols": Answer(protocols)}):
        assert command.argv[-1].count("'") == 2
        assert re.fullmatch(r"show route export '[\w.:-]+' where net ~ \[ [\d./a-f:-]+ \]", command.argv[-1])


@FUZZ
@given(data=st.data())
def test_wrongly_typed_json(data: st.DataObject) -> None:
    """Any value of FRR's documents replaced by any other."""
    whole = dict(WHOLE[("frr", data.draw(st.sampled_from(scenarios("frr"))))])
    name = "vtysh 1"
    blocks = whole[name].stdout.split("edge# ")
    chosen = data.draw(st.integers(0, len(blocks) - 1))
    changed = []
    for number, block in enumerate(blocks):
        command, _, body = block.partition("\n")
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if document is None or number != chosen:
            changed.append(block)
            continue
        changed.append(f"{command}\n{json.dumps(_replaced(data, document))}\n")
    whole[name] = Answer(stdout="edge# ".join(changed))
    _read("frr", whole)


def _replaced(data: st.DataObject, value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.integers(0, 5)) == 0:
        return data.draw(JSON_VALUES)
    key = data.draw(st.sampled_from(keys))
    copy = value.copy()
    copy[key] = _replaced(data, value[key])
    return copy


def _read(platform: str, whole: dict[str, Answer]) -> None:
    for command in PLATFORMS[platform].follow_up(QUERY, whole):
        assert all(argument.isprintable() and len(argument) < 4096 for argument in command.argv)
    taken = PLATFORMS[platform].read("edge", QUERY, whole, 0.0)
    assert all("\n" not in problem for problem in taken.problems)


@FUZZ
@given(rows=JSON_VALUES, stderr=st.text(max_size=40))
def test_kernel_tables(rows: Any, stderr: str) -> None:
    answer = Answer(stdout=json.dumps(rows), stderr=stderr)
    linux.read_neighbors({linux.NEIGHBORS: answer})
    linux.read_fib({linux.FIB: answer}, QUERY)
    linux.read_hash_policy({linux.HASH_POLICY: answer})


@FUZZ
@given(lines=st.lists(JSON_VALUES.map(json.dumps) | st.text(max_size=20), max_size=3), stderr=st.text(max_size=40))
def test_oracle_answers_or_refuses(lines: list[str], stderr: str) -> None:
    flows = [OracleFlow("192.0.2.2", port, "203.0.113.10", 22) for port in (20000, 20001)]
    answer = Answer(stdout="\n".join(lines), stderr=stderr)
    with contextlib.suppress(ValueError):
        linux_oracle.ask(flows, {f"{linux_oracle.INGRESS} 192.0.2.2": answer})
    try:
        found = linux_oracle.read(flows, {f"{linux_oracle.ORACLE} 192.0.2.2": answer})
    except ValueError:
        return
    assert set(found) <= set(flows)


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "nan", '{"a": NaN}', "[-Infinity]", "[" * 100_000, '{"a":' * 50_000, "1" * 10_000, "\x00"],
)
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_duplicate_keys_count_with_the_last_value() -> None:
    assert parse('{"a": 1, "a": 2}') == {"a": 2}


@given(st.text(max_size=500), st.integers(1, 200))
def test_phrases_are_one_short_printable_line(text: str, limit: int) -> None:
    assert len(phrase(text, limit)) <= limit
    assert phrase(text, limit).isprintable()


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
@pytest.mark.parametrize("filler", ["a", " ", "#", "[", "(", "\t", "(1", "* (", "edge# show ", "n3  BGP --- up 1 "])
def test_long_lines_take_linear_time(platform: str, filler: str) -> None:
    """A line of 400 kB is read in moments: no pattern backtracks over it more than once."""
    text = "BIRD 2.0.12 ready.\nName       Proto \n" + filler * (400_000 // len(filler))
    module, whole = PLATFORMS[platform], answers(platform, "healthy")
    names = [command.name for command in (*module.ask(QUERY), *module.follow_up(QUERY, whole))]
    started = time.process_time()
    _read(platform, dict.fromkeys(names, Answer(stdout=text)))
    assert time.process_time() - started < 2
