from __future__ import annotations

import pytest

from exporter.steering import MIN_COMPARISONS, REDEMPTION, UNCHECKED_CONFIDENCE, Agreement, Means, Method, choose

PROVEN = [True] * MIN_COMPARISONS


def means(
    next_hops: int = 3,
    wanted: str = "auto",
    *,
    oracle: bool = True,
    identity: bool = True,
    checkable: bool = True,
) -> Means:
    return Means(next_hops, wanted, has_oracle=oracle, has_identity=identity, checkable=checkable)


def agreement(*seen: bool) -> Agreement:
    found = Agreement()
    found.record(seen)
    return found


@pytest.mark.parametrize("wanted", ["auto", "oracle", "identity"])
def test_one_next_hop_needs_no_steering(wanted: str) -> None:
    choice = choose(means(1, wanted, oracle=False, identity=False, checkable=False), Agreement())
    assert (choice.method, choice.confidence, choice.why_not_stronger) == (Method.SINGLE, 1.0, "")


@pytest.mark.parametrize(
    ("given", "seen", "method", "confidence", "why"),
    [
        (means(), PROVEN, Method.ORACLE, 1.0, ""),
        (means(), [*[True] * 39, False], Method.ORACLE, 0.975, ""),
        (means(), [], Method.ORACLE, UNCHECKED_CONFIDENCE, "the oracle is still being checked"),
        (means(), PROVEN[1:], Method.ORACLE, UNCHECKED_CONFIDENCE, "the oracle is still being checked"),
        (means(), [*PROVEN, False], Method.IDENTITY, 1.0, "the router's oracle was right for only 89% of 9 flows"),
        (means(), [False], Method.IDENTITY, 1.0, "the router's oracle was right for only 0% of 1 flows"),
        (means(oracle=False), [], Method.IDENTITY, 1.0, "the router cannot be asked about single flows"),
        (means(wanted="identity"), PROVEN, Method.IDENTITY, 1.0, "the configuration asks for identity"),
        (means(wanted="oracle"), PROVEN, Method.ORACLE, 1.0, ""),
        (
            means(wanted="oracle"),
            [False] * 9,
            Method.NONE,
            0.0,
            "the router's oracle was right for only 0% of 9 flows",
        ),
        (
            means(identity=False),
            [False] * 9,
            Method.NONE,
            0.0,
            "the router's oracle was right for only 0% of 9 flows, and the target has no identity",
        ),
        (means(identity=False), PROVEN, Method.ORACLE, 1.0, ""),
        (
            means(identity=False),
            [],
            Method.NONE,
            0.0,
            "the router's oracle is not checked yet, and the target has no identity",
        ),
        (
            means(identity=False, checkable=False),
            [],
            Method.ORACLE,
            UNCHECKED_CONFIDENCE,
            "nothing to check the oracle against",
        ),
        (
            means(identity=False, oracle=False),
            [],
            Method.NONE,
            0.0,
            "the router cannot be asked about single flows, and the target has no identity",
        ),
        (
            means(wanted="identity", identity=False),
            PROVEN,
            Method.NONE,
            0.0,
            "the configuration asks for identity, and the target has no identity",
        ),
    ],
)
def test_the_strongest_that_the_evidence_allows(
    given: Means, seen: list[bool], method: Method, confidence: float, why: str
) -> None:
    # What was recorded before and what the round has just seen count alike.
    for before in (0, len(seen)):
        choice = choose(given, agreement(*seen[:before]), seen[before:])
        assert (choice.method, choice.confidence, choice.why_not_stronger) == (method, confidence, why)


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
