"""Documents of gobgp and bgpctl in which any value is replaced by any other: read or refused, never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers.model import Answer
from routers.platforms import PLATFORMS
from tests.routers.captured import QUERY, answers, scenarios

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ANSWERS = {
    "gobgp": ("gobgp global", "gobgp neighbors", "gobgp routes ipv4 1", "gobgp received routes ipv4 1"),
    "openbgpd": (
        "bgpctl neighbors",
        "bgpctl tables",
        "bgpctl nexthops",
        "bgpctl routes ipv4 1",
        "bgpctl fib ipv4 1",
        "bgpctl received routes 1",
    ),
}


@pytest.mark.parametrize("platform", ANSWERS)
@FUZZ
@given(data=st.data())
def test_wrongly_typed_json(platform: str, data: st.DataObject) -> None:
    whole = answers(platform, data.draw(st.sampled_from(scenarios(platform))))
    name = data.draw(st.sampled_from([name for name in ANSWERS[platform] if name in whole]))
    text = whole[name].stdout
    head, _, body = (
        text.rpartition("\n===> ") if text.startswith("===> ") and text.count("===> ") > 1 else ("", "", text)
    )
    mark, body = body.split("\n", 1) if text.startswith("===> ") else ("", body)
    changed = json.dumps(_replaced(data, json.loads(body)))
    whole[name] = Answer("\n".join(part for part in (head, mark, changed) if part) + "\n")
    for command in PLATFORMS[platform].follow_up(QUERY, whole):
        assert all(argument.isprintable() and len(argument) < 4096 for argument in command.argv)
    taken = PLATFORMS[platform].read("edge", QUERY, whole, 0.0)
    assert all("\n" not in problem for problem in taken.problems)


def _replaced(data: st.DataObject, value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.integers(0, 5)) == 0:
        return data.draw(VALUES)
    key = data.draw(st.sampled_from(keys))
    copy = value.copy()
    copy[key] = _replaced(data, value[key])
    return copy
