from __future__ import annotations

import pytest

from exporter.steering import (
    MIN_COMPARISONS,
    ORACLE_COMPARISONS,
    REDEMPTION,
    Agreement,
    Means,
    Method,
    Trust,
    choose,
)

PROVEN = [True] * ORACLE_COMPARISONS
TRACED = [True] * MIN_COMPARISONS
NO_ORACLE = "the router cannot be asked about single flows"
NO_TRACE = "flows cannot be traced (no CAP_NET_RAW)"
NO_IDENTITY = "the target has no identity"


def means(
    next_hops: int = 3,
    wanted: str = "auto",
    *,
    oracle: bool = True,
    trace: bool = True,
    identity: bool = True,
    scrambled: str = "",
) -> Means:
    return Means(next_hops, wanted, identity, "" if oracle else NO_ORACLE, "" if trace else NO_TRACE, scrambled)


def agreement(*seen: bool, least: int = MIN_COMPARISONS) -> Agreement:
    found = Agreement(least)
    found.record(seen)
    return found


def trust(oracle: list[bool], segments: list[bool], *, checkable: bool = True) -> Trust:
    return Trust(agreement(*oracle, least=ORACLE_COMPARISONS), agreement(*segments), checkable)


@pytest.mark.parametrize("wanted", ["auto", "oracle", "trace", "identity", "sweep"])
def test_one_next_hop_needs_no_steering(wanted: str) -> None:
    choice = choose(means(1, wanted, oracle=False, trace=False, identity=False), Trust())
    assert (choice.method, choice.confidence, choice.why_not_stronger) == (Method.SINGLE, 1.0, "")


LIES = "the router's oracle was right for only 89% of 9 flows"
UNCHECKED = "the router's oracle was compared with 0 flows, and 24 are needed"
FEW = "the router's oracle was compared with 23 flows, and 24 are needed"
DOUBTED = "the router's oracle was compared with 40 flows, and 63 are needed"


@pytest.mark.parametrize(
    ("given", "oracle", "segments", "method", "confidence", "why"),
    [
        (means(), PROVEN, [], Method.ORACLE, 1.0, ""),
        (means(), [*[True] * 40, False], [], Method.ORACLE, 40 / 41, ""),
        (means(), [*[True] * 38, False, True], TRACED, Method.TRACE, 1.0, DOUBTED),
        (means(), PROVEN[1:], TRACED, Method.TRACE, 1.0, FEW),
        (means(), [*TRACED, False], TRACED, Method.TRACE, 1.0, LIES),
        (means(), [], TRACED, Method.TRACE, 1.0, UNCHECKED),
        (
            means(),
            [*TRACED, False],
            [*TRACED, False],
            Method.IDENTITY,
            1.0,
            f"{LIES}; connections took the way of traced packets for only 89% of 9 flows",
        ),
        (
            means(oracle=False),
            [],
            TRACED[1:],
            Method.IDENTITY,
            1.0,
            f"{NO_ORACLE}; traces were compared with 7 connections, and 8 are needed",
        ),
        (means(oracle=False, trace=False), [], [], Method.IDENTITY, 1.0, f"{NO_ORACLE}; {NO_TRACE}"),
        (
            means(oracle=False, trace=False, identity=False),
            [],
            [],
            Method.SWEEP,
            0.0,
            f"{NO_ORACLE}; {NO_TRACE}; {NO_IDENTITY}",
        ),
        (means(scrambled="at random"), PROVEN, PROVEN, Method.IDENTITY, 1.0, "at random"),
        (means(wanted="oracle"), [False] * 9, PROVEN, Method.NONE, 0.0, LIES.replace("89", "0")),
        (means(wanted="oracle"), [], PROVEN, Method.NONE, 0.0, UNCHECKED),
        (means(wanted="trace"), PROVEN, PROVEN, Method.TRACE, 1.0, ""),
        (means(wanted="trace", trace=False), PROVEN, PROVEN, Method.NONE, 0.0, NO_TRACE),
        (means(wanted="identity"), PROVEN, PROVEN, Method.IDENTITY, 1.0, ""),
        (means(wanted="identity", identity=False), PROVEN, PROVEN, Method.NONE, 0.0, NO_IDENTITY),
        (means(wanted="sweep"), PROVEN, PROVEN, Method.SWEEP, 0.0, ""),
    ],
)
def test_the_strongest_that_the_evidence_allows(
    given: Means, oracle: list[bool], segments: list[bool], method: Method, confidence: float, why: str
) -> None:
    # What was recorded before and what the round has just seen count alike.
    for before in (0, 99):
        choice = choose(given, trust(oracle[:before], segments[:before]), oracle[before:], segments[before:])
        assert (choice.method, choice.confidence, choice.why_not_stronger) == (method, confidence, why)


def test_where_nothing_can_be_compared() -> None:
    choice = choose(means(identity=False), trust([], [], checkable=False))
    assert choice.method is Method.SWEEP
    assert choice.why_not_stronger == (
        f"nothing could be held against the router's oracle; no connection could be held against traces; {NO_IDENTITY}"
    )


def test_agreement_without_comparisons() -> None:
    nothing = Agreement()
    assert nothing.ratio() is None
    assert nothing.comparisons() == 0
    assert not nothing.proven()
    assert not nothing.disproved()


def test_only_the_last_comparisons_count() -> None:
    seen = agreement(*[False] * 64)
    assert seen.disproved()
    seen.record([True, False] * 16)
    assert (seen.ratio(), seen.comparisons(), seen.proven()) == (0.25, 64, False)
    seen.record([True] * 64)
    assert (seen.ratio(), seen.comparisons(), seen.proven()) == (1.0, 64, True)
    assert not seen.disproved()


def test_enough_agreement_in_a_row_ends_the_past() -> None:
    """A change of next hops that nobody saw costs a good name for a while, not for 64 comparisons."""
    seen = agreement(*[True] * 40, *[False] * 10, *[True] * (REDEMPTION - 1))
    assert (seen.proven(), seen.disproved(), seen.lacking()) == (False, True, 1)
    assert seen.lacking([False]) == REDEMPTION
    assert seen.proven([True])
    seen.record([True])
    assert (seen.proven(), seen.disproved(), seen.lacking()) == (True, False, 0)


def test_how_many_comparisons_a_new_one_lacks() -> None:
    assert agreement().lacking() == MIN_COMPARISONS
    assert agreement(True, True).lacking() == MIN_COMPARISONS - 2
    assert agreement(True, False).lacking() == REDEMPTION


def test_what_was_just_seen_pushes_the_oldest_out_and_is_not_kept() -> None:
    seen = agreement(*[False] * 60)
    assert seen.ratio([True] * 64) == 1.0
    assert seen.proven([True] * 64)
    assert (seen.ratio(), seen.comparisons()) == (0.0, 60)


def test_a_few_errors_among_many_are_forgiven() -> None:
    assert agreement(*[True] * 61, *[False] * 3).proven()
    assert not agreement(*[True] * 60, *[False] * 4).proven()
    assert agreement(*[True] * 60, *[False] * 4).disproved()


@pytest.mark.parametrize("wrong", range(65))
def test_never_both_proven_and_disproved(wrong: int) -> None:
    seen = agreement(*[False] * wrong, *[True] * (64 - wrong))
    assert not (seen.proven() and seen.disproved())
