from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.hashing import CHANCE, MOST_FLOWS, HashKind, Sightings
from exporter.steering import MIN_COMPARISONS, REDEMPTION
from probes.ports import Source

HERE = "192.0.2.1"
THERE = "192.0.2.2"
EVEN = {"a": 1.0, "b": 1.0}
LOPSIDED = {"a": 19.0, "b": 1.0}


def flows(count: int, address: str | None = HERE, start: int = 20000) -> list[Source]:
    return [Source(address, start + number) for number in range(count)]


def meet(seen: Sightings, ways: str, address: str | None = HERE, start: int = 20000) -> None:
    """New flows, each by a segment that goes as a letter of `ways` says; a dot is silent."""
    for source, via in zip(flows(len(ways), address, start), ways, strict=True):
        seen.segment(source, 443, None if via == "." else via)


shares_of_routers = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2, max_size=6)


def test_nothing_seen_is_nothing_known() -> None:
    seen = Sightings()
    assert seen.kind(EVEN) is HashKind.UNKNOWN
    assert seen.kind({}) is HashKind.UNKNOWN
    assert (dict(seen.counts()), seen.silent()) == ({}, 0)
    assert [agreement.comparisons() for agreement in (seen.steady, seen.kept, seen.alike)] == [0, 0, 0]


def test_counts_are_of_first_sightings() -> None:
    seen = Sightings()
    meet(seen, "ab.a")
    for _ in range(20):
        seen.segment(Source(HERE, 20000), 443, "a")
        seen.connection(Source(HERE, 20000), 443, "b")
    seen.connection(Source(HERE, 20001), 80, "b")  # another port is another flow
    seen.connection(Source(THERE, 20001), 80, "b")
    assert (seen.counts(), seen.silent()) == ({"a": 2, "b": 3}, 1)
    seen.segment(Source(HERE, 20002), 443, "c")  # it only took its time
    assert (seen.counts(), seen.silent()) == ({"a": 2, "b": 3, "c": 1}, 0)
    seen.segment(Source(HERE, 20002), 443, None)
    assert seen.silent() == 0


# --- five_tuple


def test_ports_count_once_repeats_have_proven_it() -> None:
    seen = Sightings()
    meet(seen, "abba")
    for repeat in range(MIN_COMPARISONS):
        assert seen.kind(EVEN) is HashKind.UNKNOWN
        seen.segment(Source(HERE, 20000 + repeat % 4), 443, "abba"[repeat % 4])
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE
    assert seen.steady.proven()


def test_connections_alone_will_do() -> None:
    seen = Sightings()
    for _ in range(5):
        for source, via in zip(flows(4), "abba", strict=True):
            seen.connection(source, 443, via)
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE
    assert (seen.kept.proven(), seen.steady.comparisons(), seen.alike.comparisons()) == (True, 0, 0)


def test_repeats_prove_nothing_while_one_next_hop_alone_answers() -> None:
    seen = Sightings()
    for _ in range(30):
        meet(seen, "a.a.")
    assert seen.steady.comparisons() == 0
    assert seen.kind(EVEN) is HashKind.UNKNOWN


def test_repeats_on_a_next_hop_that_gets_nearly_everything_prove_little() -> None:
    seen = Sightings()
    meet(seen, "aaabaaa")
    for _ in range(6):
        meet(seen, "aaa")
    assert seen.steady.proven()  # it agreed often enough
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE
    assert seen.kind(LOPSIDED) is HashKind.UNKNOWN  # chance alone agrees in nine of ten
    seen.segment(Source(HERE, 20003), 443, "b")
    seen.segment(Source(HERE, 20003), 443, "b")
    assert seen.kind(LOPSIDED) is HashKind.FIVE_TUPLE


def test_shares_are_those_of_the_next_hops_that_answer() -> None:
    """With c silent, whatever answers is b in one of ten cases only: to agree on a is no evidence."""
    seen = Sightings()
    meet(seen, "aab..")
    for _ in range(5):
        meet(seen, "aa")
    assert seen.steady.proven()
    assert seen.kind({"a": 9.0, "b": 1.0, "c": 90.0}) is HashKind.UNKNOWN


def test_one_change_of_next_hop_may_be_the_router_hashing_anew() -> None:
    seen = Sightings()
    meet(seen, "a" * 6)
    meet(seen, "b" * 6, start=21000)
    for _ in range(4):
        meet(seen, "b" * 6, start=21000)
    assert seen.steady.proven()
    assert seen.kind(EVEN) is HashKind.UNKNOWN
    meet(seen, "a" * 6)  # no: those flows take the first one still
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE


def test_few_repeats_over_many_next_hops_are_few_repeats() -> None:
    many = dict.fromkeys("abcdefgh", 1.0)
    seen = Sightings()
    meet(seen, "abcd")
    meet(seen, "abc")  # 1 in 512 by chance
    assert seen.kind(many) is HashKind.UNKNOWN
    meet(seen, "abcd")
    assert seen.kind(many) is HashKind.UNKNOWN
    meet(seen, "a")
    assert seen.kind(many) is HashKind.FIVE_TUPLE


def test_next_hops_that_were_taken_before_a_disagreement_are_not_come_back_to() -> None:
    """An address that moves from a to b and on to a, in front of our eyes, has not been on both at once."""
    seen = Sightings()
    meet(seen, "a" * 5)
    meet(seen, "b" * 5, THERE)
    for _ in range(5):
        meet(seen, "a" * 5)
        meet(seen, "b" * 5, THERE)
    for ways in ("b" * 5, "b" * 5, "a" * 5, "a" * 5):
        meet(seen, ways)
    assert seen.steady.proven()
    assert seen.kind(EVEN) is HashKind.UNKNOWN


# --- addresses


@given(shares_of_routers, st.integers(0, 3), st.booleans())
def test_only_addresses_count_when_chance_explains_it_too_rarely(
    weights: dict[str, int], others: int, by_connection: bool
) -> None:
    """Against every outcome that there is, where these can be counted; further addresses have 3 flows each."""
    seen = Sightings()
    report = seen.connection if by_connection else seen.segment
    total = sum(weights.values())
    chance = 1.0
    for number in range(others):
        for source in flows(3, f"192.0.2.{10 + number}"):
            report(source, 443, sorted(weights)[number % len(weights)])
        chance *= sum((weight / total) ** 3 for weight in weights.values())
    for count, source in enumerate(flows(400), start=1):
        report(source, 443, "a" if "a" in weights else min(weights))
        same = sum((weight / total) ** count for weight in weights.values())
        if count <= 4:
            outcomes = product(weights, repeat=count)
            each = [math.prod(weights[via] / total for via in outcome) for outcome in outcomes if len({*outcome}) == 1]
            assert math.fsum(each) == pytest.approx(same)
        assert (seen.kind(weights) is HashKind.ADDRESSES) == (same * chance < CHANCE)
        if same * chance < CHANCE:
            return
    assert max(weights.values()) / total > 0.97


def test_how_many_flows_it_takes_to_see_that_only_addresses_count() -> None:
    needed = {}
    for next_hops in (2, 3, 8):
        seen = Sightings()
        for number, source in enumerate(flows(30), start=1):
            seen.segment(source, 443, "0")
            if seen.kind({str(via): 1.0 for via in range(next_hops)}) is HashKind.ADDRESSES:
                needed[next_hops] = number
                break
    assert needed == {2: 15, 3: 10, 8: 6}


def test_addresses_may_differ_from_each_other() -> None:
    seen = Sightings()
    meet(seen, "a" * 9)
    meet(seen, "b" * 9, THERE)
    assert seen.kind(EVEN) is HashKind.ADDRESSES
    meet(seen, "a", THERE, start=30000)
    assert seen.kind(EVEN) is HashKind.UNKNOWN


def test_one_flow_of_each_address_says_nothing_of_ports() -> None:
    seen = Sightings()
    for number in range(200):
        seen.segment(Source(f"192.0.2.{number}", 20000), 443, "a")
    assert seen.kind(EVEN) is HashKind.UNKNOWN


def test_other_destination_ports_are_no_other_source_ports() -> None:
    seen = Sightings()
    for port in range(100):
        seen.segment(Source(HERE, 20000), port, "a")
    assert seen.kind(EVEN) is HashKind.UNKNOWN


def test_repeats_are_no_further_flows() -> None:
    seen = Sightings()
    for _ in range(20):
        meet(seen, "aaa")
    assert seen.kind(EVEN) is HashKind.UNKNOWN


def test_where_one_next_hop_is_in_use_ports_cannot_tell() -> None:
    seen = Sightings()
    meet(seen, "a" * 50)
    assert seen.kind({"a": 1.0}) is HashKind.UNKNOWN
    assert seen.kind({"b": 1.0, "c": 1.0}) is HashKind.UNKNOWN  # these are not the next hops any more


def test_one_silent_flow_is_enough_for_doubt_until_it_answers() -> None:
    seen = Sightings()
    meet(seen, "a" * 25 + ".")
    assert seen.kind(EVEN) is HashKind.UNKNOWN
    seen.segment(Source(HERE, 20025), 443, "a")
    assert seen.kind(EVEN) is HashKind.ADDRESSES
    meet(seen, "....", THERE)  # an address that has no answer at all hides nothing of the other one
    assert seen.kind(EVEN) is HashKind.ADDRESSES
    meet(seen, "b", THERE, start=30000)
    assert seen.kind(EVEN) is HashKind.UNKNOWN


# --- per_packet, random


def test_segments_that_disagree() -> None:
    seen = Sightings()
    meet(seen, "ab")
    meet(seen, "aa")
    assert seen.kind(EVEN) is HashKind.PER_PACKET
    assert seen.steady.disproved()
    assert seen.counts() == {"a": 1, "b": 1}


def test_connections_that_disagree_while_segments_do_not() -> None:
    seen = Sightings()
    for turn in range(12):
        meet(seen, "abab")
        for source in flows(4):
            seen.connection(source, 443, "ab"[turn % 2])
    assert (seen.steady.proven(), seen.kept.disproved(), seen.alike.disproved()) == (True, True, True)
    assert seen.kind(EVEN) is HashKind.RANDOM


def test_segments_that_do_not_tell_about_connections() -> None:
    seen = Sightings()
    for _ in range(10):
        for source, packet, whole in zip(flows(4), "aaaa", "abba", strict=True):
            seen.segment(source, 443, packet)
            seen.connection(source, 443, whole)
    assert (seen.steady.proven(), seen.kept.proven(), seen.alike.disproved()) == (True, True, True)
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE  # by its connections
    seen = Sightings()
    for _ in range(10):
        for source, packet in zip(flows(4), "abba", strict=True):
            seen.segment(source, 443, packet)
            seen.connection(source, 443, "a")
    assert (seen.steady.proven(), seen.kept.proven(), seen.alike.disproved()) == (True, True, True)
    assert seen.kind(EVEN) is HashKind.UNKNOWN  # ports count for its segments only
    seen = Sightings()
    meet(seen, "a" * 30)
    for source in flows(30):
        seen.connection(source, 443, "b")
    assert seen.alike.disproved()
    assert seen.kind(EVEN) is HashKind.UNKNOWN  # a router that hashes addresses would not treat them differently


def test_segments_and_connections_that_agree() -> None:
    seen = Sightings()
    meet(seen, "abababab")
    for source, via in zip(flows(8), "abababab", strict=True):
        seen.connection(source, 443, via)
    assert (seen.alike.proven(), seen.alike.comparisons()) == (True, 8)
    seen = Sightings()
    meet(seen, "aaaa")
    for source in flows(4):
        seen.connection(source, 443, "a")
    assert seen.alike.comparisons() == 0  # they could not have differed


def test_segments_and_connections_are_compared_only_if_nothing_has_moved_between_them() -> None:
    seen = Sightings()
    meet(seen, "abab")
    for source, via in zip(flows(4), "abab", strict=True):
        seen.connection(source, 443, via)
    for _ in range(3):
        meet(seen, "baba")  # hashed anew: what connections did before is out of date
    assert (seen.alike.ratio(), seen.alike.comparisons()) == (1.0, 4)
    for source, via in zip(flows(4), "baba", strict=True):
        seen.connection(source, 443, via)
    assert seen.alike.ratio() == 1.0


def test_a_disagreement_early_on_is_redeemed_by_agreement_in_a_row() -> None:
    seen = Sightings()
    meet(seen, "ab")
    meet(seen, "ba")  # hashed anew: the first of the two disagrees, and the other one is new to what is now
    assert seen.kind(EVEN) is HashKind.PER_PACKET
    assert (seen.steady.comparisons(), seen.steady.ratio()) == (1, 0.0)
    for number in range(REDEMPTION):
        assert seen.kind(EVEN) is HashKind.PER_PACKET
        seen.segment(Source(HERE, 20000 + number % 2), 443, "ba"[number % 2])
    assert not seen.steady.disproved()
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE
    for turn in range(6):
        seen.segment(Source(HERE, 20000), 443, "ab"[turn % 2])
        assert seen.kind(EVEN) is HashKind.PER_PACKET
    for _ in range(9):
        meet(seen, "ba")  # one event, however long it took
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE


def test_what_was_seen_before_a_disagreement_is_out_of_date() -> None:
    """All flows of an address move from a to b at once: not two next hops of one address, but one and then another."""
    seen = Sightings()
    meet(seen, "a" * 20)
    assert seen.kind(EVEN) is HashKind.ADDRESSES
    for _ in range(2):
        meet(seen, "b" * 20)
    assert (seen.steady.comparisons(), seen.steady.ratio()) == (21, 20 / 21)
    assert seen.kind(EVEN) is HashKind.UNKNOWN  # repeats may have been chosen, so they do not count as flows
    meet(seen, "b" * 15, start=30000)
    assert seen.kind(EVEN) is HashKind.ADDRESSES


# --- bounds


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    seen = Sightings()
    for number in range(MOST_FLOWS + 500):
        source = Source(f"10.{number % 7}.{number // 65536}.1", number % 65536)
        seen.segment(source, 443, "a" if number < 600 else "b" if number % 2 else None)
        seen.connection(source, 443, f"stranger {number}" if number % 100 == 0 else "b")
    assert sum(seen.counts().values()) + seen.silent() == MOST_FLOWS
    assert seen.counts()["a"] == 100
    for watch in (seen._segments, seen._connections):
        assert len(watch._latest) <= MOST_FLOWS
        assert len(watch._pairs) <= 64
        assert len(watch._turns) <= MOST_FLOWS
    seen.segment(Source("10.0.0.1", 0), 443, "b")  # forgotten, so no disagreement
    assert seen.steady.comparisons() == 0


def test_reset_forgets_everything() -> None:
    seen = Sightings()
    for _ in range(4):
        meet(seen, "abba.")
        for source in flows(4):
            seen.connection(source, 443, "a")
    seen.reset()
    assert (dict(seen.counts()), seen.silent()) == ({}, 0)
    assert [agreement.comparisons() for agreement in (seen.steady, seen.kept, seen.alike)] == [0, 0, 0]
    meet(seen, "bb")
    assert seen.steady.comparisons() == 0
    assert seen.kind(EVEN) is HashKind.UNKNOWN


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([HERE, THERE, None]),
            st.integers(1, 4),
            st.sampled_from([80, 443]),
            st.sampled_from(["a", "b", "c", None]),
        ),
        max_size=80,
    ),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 5), max_size=3),
)
def test_anything_may_be_reported(
    events: list[tuple[bool, str | None, int, int, str | None]], shares: dict[str, float]
) -> None:
    seen = Sightings()
    flows_met = set()
    for whole, address, source_port, port, via in events:
        (seen.connection if whole else seen.segment)(Source(address, source_port), port, via)
        flows_met.add((address, source_port, port))
        assert seen.kind(shares) in HashKind
        assert sum(seen.counts().values()) + seen.silent() == len(flows_met)
    if seen.kind(shares) is HashKind.PER_PACKET:
        assert seen.steady.disproved()
