from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from probes.ports import CONFLICT_SECONDS, REST_SECONDS, PortPool, Source, candidates

ports = st.integers(1, 65535)
some_sources = st.lists(st.builds(Source, st.none(), ports), min_size=1, max_size=12, unique=True)
ranges = st.builds(lambda first, count: range(first, first + count), st.integers(1, 60000), st.integers(1, 500))


def pool_of(count: int) -> PortPool:
    return PortPool([Source("10.0.0.1", 20000 + index) for index in range(count)])


def test_rotates() -> None:
    pool = pool_of(4)
    taken = [pool.take(15.0 * turn) for turn in range(6)]
    assert [source and source.port for source in taken] == [20000, 20001, 20002, 20003, 20000, 20001]


def test_rests_and_says_until_when() -> None:
    pool = pool_of(2)
    assert pool.ready_at() < 0
    pool.take(100.0)
    pool.take(101.0)
    assert pool.take(102.0) is None
    assert pool.ready_at() == 100.0 + REST_SECONDS
    assert pool.take(100.0 + REST_SECONDS) == Source("10.0.0.1", 20000)


def test_tired_gives_the_longest_rested() -> None:
    pool = pool_of(2)
    pool.take(100.0)
    pool.take(101.0)
    assert pool.take(102.0, tired=True) == Source("10.0.0.1", 20000)
    assert pool.take(103.0, tired=True) == Source("10.0.0.1", 20001)


def test_steps_over_a_conflict() -> None:
    pool = pool_of(3)
    first = pool.take(0.0)
    assert first is not None
    pool.conflict(first, 0.0)
    turns = [pool.take(REST_SECONDS * turn / 2, tired=True) for turn in range(1, 9)]
    assert first not in turns
    assert pool.take(CONFLICT_SECONDS) == first
    pool.conflict(Source("10.0.0.9", 1), 0.0)  # of an earlier path map


def test_all_in_conflict() -> None:
    pool = pool_of(2)
    for source in pool.sources:
        pool.conflict(source, 0.0)
    assert pool.take(1.0, tired=True) is None
    assert pool.ready_at() == CONFLICT_SECONDS


def test_empty() -> None:
    pool = PortPool([])
    assert len(pool) == 0
    assert pool.take(0.0, tired=True) is None
    assert pool.ready_at() == float("inf")


@given(some_sources, st.lists(st.tuples(st.floats(0, 90), st.booleans()), max_size=40))
def test_never_reuses_before_the_rest_is_over(sources: list[Source], steps: list[tuple[float, bool]]) -> None:
    pool = PortPool(sources)
    free_from: dict[Source, float] = {}
    now = 0.0
    for pause, conflicts in steps:
        now += pause
        source = pool.take(now)
        if source is None:
            assert all(free_from[each] > now for each in sources)
            assert pool.ready_at() == min(free_from.values())
            continue
        assert free_from.get(source, now) <= now
        free_from[source] = now + REST_SECONDS
        if conflicts:
            pool.conflict(source, now)
            free_from[source] = now + CONFLICT_SECONDS


@given(st.lists(st.sampled_from([None, "10.0.0.1", "10.0.0.2"]), min_size=1, unique=True), ranges, st.text())
def test_candidates_are_every_pair_once(addresses: list[str | None], of: range, seed: str) -> None:
    found = list(candidates(addresses, of, seed))
    assert found == list(candidates(addresses, of, seed))
    assert len(found) == len(set(found)) == len(addresses) * len(of)
    assert {source.port for source in found} == set(of)


def test_candidates_turn_the_address_fastest_and_spread_at_once() -> None:
    found = list(islice(candidates(["10.0.0.1", "10.0.0.2"], range(20000, 28192), "web"), 16))
    assert [source.address for source in found] == ["10.0.0.1", "10.0.0.2"] * 8
    eighths = {(source.port - 20000) // 1024 for source in found}
    assert len(eighths) >= 6


def test_candidates_differ_between_targets() -> None:
    first = next(candidates([None], range(20000, 28192), "web"))
    assert first != next(candidates([None], range(20000, 28192), "gitea-ssh"))


def test_candidates_avoid_the_ephemeral_range() -> None:
    found = list(candidates([None], range(28000, 28100), "web", avoid=range(28050, 61000)))
    assert {source.port for source in found} == set(range(28000, 28050))
    assert list(candidates([None], range(0), "web")) == []
