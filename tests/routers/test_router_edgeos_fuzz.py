"""Whatever an EdgeRouter prints: its readers answer or raise ValueError, and name nothing that it did not print."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers import edgeos
from routers.edgeos import oracle as edgeos_oracle
from routers.edgeos.sessions import configured_of
from routers.model import Answer, OracleFlow
from routers.zebos import lines, of_default_vrf, said, seconds_of
from routers.zebos.routes import entry_of, table_of, taken_of
from routers.zebos.sessions import details_of, summary_of
from tests.routers.captured import QUERY, VIP, answers, scenarios
from tests.routers.concluded import verdicts

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHOLE = {scenario: answers("edgeos", scenario) for scenario in scenarios("edgeos")}
LINES = sorted({line for whole in WHOLE.values() for answer in whole.values() for line in answer.stdout.splitlines()})
TEXTS = st.lists(st.sampled_from(LINES) | st.text(max_size=30), max_size=30).map("\n".join)
READERS: list[Callable[[str], object]] = [
    summary_of,
    details_of,
    table_of,
    taken_of,
    lambda text: entry_of(text, VIP),
    configured_of,
    lambda text: of_default_vrf(lines(text)),
    lambda text: said(Answer(text)),
    seconds_of,
]


@pytest.mark.parametrize("reader", READERS)
@FUZZ
@given(text=TEXTS)
def test_readers_of_any_text(reader: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(ValueError):
        reader(text)


@FUZZ
@given(text=TEXTS)
def test_no_neighbor_is_made_up(text: str) -> None:
    with contextlib.suppress(ValueError):
        for row in summary_of(text).rows:
            assert row.address.partition("::")[0] in text
    with contextlib.suppress(ValueError):
        assert all(address.partition("::")[0] in text for address in details_of(text))


@FUZZ
@given(names=st.sets(st.sampled_from(sorted(WHOLE["healthy"]))), text=TEXTS)
def test_any_answers_at_all(names: set[str], text: str) -> None:
    whole = WHOLE["healthy"] | dict.fromkeys(names, Answer(text))
    taken = edgeos.read("edge", QUERY, whole, 0.0)
    assert all("\n" not in problem for problem in taken.problems)
    verdicts(taken)


@FUZZ
@given(name=st.sampled_from([name for name in WHOLE["healthy"] if "bgp" in name]), at=st.floats(0, 1))
def test_what_is_cut_off_accuses_nobody(name: str, at: float) -> None:
    """Of a healthy router of which one answer is cut anywhere, no path is called anything but ok or unknown."""
    text = WHOLE["healthy"][name].stdout
    whole = WHOLE["healthy"] | {name: Answer(text[: int(len(text) * at)])}
    assert set(verdicts(edgeos.read("edge", QUERY, whole, 0.0)).values()) <= {"ok", "router_unknown"}


@FUZZ
@given(policy=TEXTS, way=TEXTS, told=TEXTS)
def test_the_oracle_answers_or_refuses(policy: str, way: str, told: str) -> None:
    flows = [OracleFlow("192.0.2.2", port, VIP, 22) for port in (20000, 20001)]
    before = {edgeos_oracle.POLICY: Answer(policy), f"{edgeos_oracle.WAY_BACK} 192.0.2.2": Answer(way)}
    with contextlib.suppress(ValueError):
        edgeos_oracle.ask(flows, before)
    with contextlib.suppress(ValueError):
        assert set(edgeos_oracle.read(flows, {edgeos_oracle.ORACLE: Answer(told)})) <= set(flows)
