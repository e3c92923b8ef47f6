from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from probes.ports import Source, candidates

ports = st.integers(1, 65535)
some_sources = st.lists(st.builds(Source, st.none(), ports), min_size=1, max_size=12, unique=True)
ranges = st.builds(lambda first, count: range(first, first + count), st.integers(1, 60000), st.integers(1, 500))


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
