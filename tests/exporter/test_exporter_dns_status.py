from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from exporter.board import Board
from exporter.dns_metrics import families
from exporter.dns_status import DnsStatus, Expectation, Lookup, dns_status
from exporter.page import render
from exporter.status import Status, events_to_json, to_json
from exporter.terminal import show_status
from exporter.verdicts import Summary
from tests.exporter.scenario import NOW, build
from tests.exporter.statuses import run

HOST = "www.example.org"
V4, OTHER, V6 = "203.0.113.10", "203.0.113.66", "2001:db8::10"
GOOD = Lookup("system", NOW, (V4,))
SILENT = Lookup("public", NOW, (), "no answer within 5 s", answered=False)
GONE = Lookup("public", NOW, (), f"{HOST} does not exist", missing=True)
NOTHING = Expectation()
REFUSING = Lookup("public", NOW, (), "it answered SERVFAIL")


def judged(*lookups: Lookup, expected: Expectation = NOTHING, held: tuple[str, ...] = (V4,)) -> DnsStatus:
    return dns_status(HOST, lookups, held, expected)


def test_nothing_is_wrong() -> None:
    found = judged(GOOD)
    assert (found.success, found.problem, found.wrong) == (True, None, frozenset())
    assert (found.unexpected, found.missing, found.disagree) == (None, None, None)
    same = judged(GOOD, replace(GOOD, resolver="public"), expected=Expectation((V4,)))
    assert (same.unexpected, same.missing, same.disagree, same.problem) == ((), (), False, None)


@pytest.mark.parametrize("lookup", [SILENT, GONE, REFUSING])
def test_a_look_up_that_fails(lookup: Lookup) -> None:
    found = judged(lookup)
    assert not found.success
    assert found.wrong == {"look-up"}
    assert (
        found.problem
        == f"the look-up of {HOST} by public failed ({lookup.error}); its last addresses are still probed ({V4})"
    )
    assert "there is nothing to probe" in str(judged(lookup, held=()).problem)


@pytest.mark.parametrize(
    ("other", "disagree"),
    [
        (Lookup("public", NOW, (V4,)), False),
        (Lookup("public", NOW, (OTHER,)), True),
        (Lookup("public", NOW, (V4, OTHER)), True),
        (GONE, True),
        (REFUSING, True),
        (SILENT, None),
    ],
)
def test_resolvers_are_compared(other: Lookup, disagree: bool | None) -> None:
    found = judged(GOOD, other)
    assert found.disagree is disagree
    assert found.wrong == ({"disagree"} if disagree else frozenset())
    assert (found.problem is not None) is bool(disagree)
    if disagree:
        assert f"system: {V4}; public: " in str(found.problem)


def test_three_resolvers_of_which_one_is_silent() -> None:
    found = judged(GOOD, SILENT, Lookup("third", NOW, (OTHER,)))
    assert found.disagree is True


@pytest.mark.parametrize(
    ("expected", "answers", "unexpected", "missing"),
    [
        (Expectation((V4,)), (V4,), (), ()),
        (Expectation((V4,)), (V4, OTHER), (OTHER,), ()),
        (Expectation((V4,)), (OTHER,), (OTHER,), (V4,)),
        (Expectation((), ("203.0.113.0/24",)), (V4, OTHER), (), ()),
        (Expectation((), ("203.0.113.0/28",)), (V4, OTHER), (OTHER,), ()),
        (Expectation((V4,), ("2001:db8::/32",)), (V4, V6), (), ()),
        (Expectation((V4, V6)), (V4,), (), (V6,)),
        (Expectation((V4, V6), families=(4,)), (V4,), (), ()),
        (Expectation((V4,), ("0.0.0.0/0",)), (V4, V6), (V6,), ()),
    ],
)
def test_what_a_name_should_stand_for(
    expected: Expectation, answers: tuple[str, ...], unexpected: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    found = judged(replace(GOOD, addresses=answers), expected=expected)
    assert (found.unexpected, found.missing) == (unexpected, missing)
    for address in (*unexpected, *missing):
        assert address in str(found.problem)


def test_an_answer_of_any_resolver_may_be_unexpected() -> None:
    found = judged(GOOD, Lookup("public", NOW, (OTHER,)), expected=Expectation((V4,)))
    assert (found.unexpected, found.missing) == ((OTHER,), ())
    assert found.wrong == {"unexpected", "disagree"}
    assert f"stands for {OTHER}, which is not in expected_addresses (says public)" in str(found.problem)


def test_a_look_up_that_fails_proves_nothing_to_be_missing() -> None:
    found = judged(replace(GOOD, addresses=(), error="x", answered=False), expected=Expectation((V4,)))
    assert (found.unexpected, found.missing) == (None, None)
    assert found.wrong == {"look-up"}


# what becomes of it

WEB = {"targets": {"web": {"vips": [V4]}}}


def status(board: Board, dns: DnsStatus | None, world: dict[str, object] | None = None, now: float = NOW) -> Status:
    """A round whose probes all worked, and this of the target's name."""
    return run(board, build(world or WEB), now, lambda _: dns)


WRONG = judged(GOOD, Lookup("public", NOW, (OTHER,)), expected=Expectation((V4,)))


def test_it_is_a_verdict_on_the_target_and_on_nothing_else() -> None:
    assert status(Board("test"), judged(GOOD)).targets[0].verdict is Summary.OK
    found = status(Board("test"), WRONG)
    assert found.targets[0].verdict is Summary.DEGRADED
    assert {node.verdict for node in found.nodes} == {Summary.OK}
    assert not found.all_ok


def test_it_makes_nothing_better() -> None:
    broken = {**WEB, "routers": {"edge": {"fib": {V4: "default"}}}}
    assert status(Board("test"), WRONG, broken).targets[0].verdict is Summary.UNREACHABLE


def test_events_when_it_begins_changes_and_ends() -> None:
    board = Board("test")
    status(board, judged(GOOD))
    board.events.clear()
    for count in range(3):
        status(board, WRONG, now=NOW + count)
    status(board, judged(replace(GOOD, error="no answer", answered=False)), now=NOW + 10)
    status(board, judged(GOOD), now=NOW + 20)
    events = events_to_json(board.events)["events"]
    assert [(event["from"], event["to"], event["vip"], event["router"]) for event in events] == [
        ("degraded", "ok", None, None),
        ("degraded", "degraded", None, None),
        ("ok", "degraded", None, None),
    ]
    assert "no answer" in events[1]["reason"]
    assert "any more" in events[0]["reason"]


def test_it_is_told_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    found = status(Board("test"), WRONG)
    assert WRONG.problem is not None
    document = to_json(found)["targets"][0]
    assert document["dns_problem"] == WRONG.problem
    assert [(one["resolver"], one["success"], one["addresses"]) for one in document["dns_answers"]] == [
        ("system", True, [V4]),
        ("public", True, [OTHER]),
    ]
    assert OTHER in render(found, "", ready=True)
    show_status(Console(width=400), found)
    assert WRONG.problem in capsys.readouterr().out
    assert to_json(status(Board("test"), None))["targets"][0]["dns_answers"] is None


def test_metrics() -> None:
    found = {family.name: dict(family.values) for family in families(status(Board("test"), WRONG))}
    assert found == {
        "ecmp_target_dns_lookup_success": {("web", "system"): True, ("web", "public"): True},
        "ecmp_target_dns_lookup_seconds": {("web", "system"): 0.0, ("web", "public"): 0.0},
        "ecmp_target_dns_unexpected_addresses": {("web",): 1},
        "ecmp_target_dns_missing_addresses": {("web",): 0},
        "ecmp_target_dns_resolvers_disagree": {("web",): True},
    }
    silent = {family.name: dict(family.values) for family in families(status(Board("test"), judged(GOOD)))}
    assert silent["ecmp_target_dns_resolvers_disagree"] == {}
    assert silent["ecmp_target_dns_unexpected_addresses"] == {}


def test_a_name_without_addresses_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    whole = status(Board("test"), WRONG)
    nameless = replace(
        whole.targets[0],
        vips=(),
        stages=(),
        paths=(),
        address=HOST,
        dns=judged(GONE, held=()),
        verdict=Summary.UNREACHABLE,
    )
    found = replace(whole, targets=(nameless,))
    show_status(Console(width=400), found)
    out = capsys.readouterr().out
    assert f"{HOST}:{nameless.port}" in out
    assert "there is nothing to probe" in out
    assert f"{HOST}:{nameless.port}" in render(found, "", ready=True)
