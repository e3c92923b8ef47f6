from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from exporter.pathmap import PathMap, Rehash
from probes.ports import REST_SECONDS, Source

A, B = ("a", 1), ("b", 1)


def flows(count: int) -> list[Source]:
    return [Source(None, 20000 + number) for number in range(count)]


def new(count: int = 10, limit: int = 4) -> PathMap:
    def start() -> Iterator[Source]:
        return iter(flows(count))

    return PathMap(start, limit)


def test_what_was_learned_is_known() -> None:
    known = new()
    one, two, three = flows(3)
    known.learn(one, "a")
    known.learn(two, "b")
    known.learn(three, "a")
    known.learn(three, "a")
    assert known.sources("a") == (one, three)
    assert known.sources("b") == (two,)
    assert known.sources("c") == ()


def test_a_flow_takes_one_next_hop() -> None:
    known = new()
    (flow,) = flows(1)
    known.learn(flow, "a")
    known.learn(flow, "b")
    assert (known.sources("a"), known.sources("b")) == ((), (flow,))


def test_no_more_than_the_limit_is_kept_and_a_flow_that_moved_is_forgotten_all_the_same() -> None:
    known = new(limit=2)
    one, two, three, moving = flows(4)
    known.learn(moving, "b")
    for flow in (one, two, three, moving):
        known.learn(flow, "a")
    assert known.sources("a") == (one, two)
    assert known.sources("b") == ()


def test_other_next_hops_make_the_map_void() -> None:
    known = new()
    (flow,) = flows(1)
    assert known.rebase((A, B), 0.0)
    known.learned_at = 5.0
    known.learn(flow, "a")
    assert not known.rebase((A, B), 0.0)
    assert known.sources("a") == (flow,)
    for basis in ((B, A), (("a", 2), B), (A,), ()):
        known.learn(flow, "a")
        assert known.rebase(basis, 0.0)
        assert known.basis == basis
        assert known.sources("a") == ()
        assert known.learned_at < 0


def test_what_a_change_of_next_hops_did_to_flows() -> None:
    known = new()
    known.rebase((A, B, ("c", 1)), 0.0)
    stayed, moved, gone, unseen = flows(4)
    for flow, via in ((stayed, "a"), (moved, "a"), (gone, "c"), (unseen, "b")):
        known.learn(flow, via)
    known.rebase((A, B), 7.0)
    assert known.rehash == Rehash(7.0, 0, 0)
    # The flows of before are tried first, those of the next hop that went are none of them.
    assert set(known.fresh(3, 0.0)) == {stayed, moved, unseen}
    known.learn(stayed, "a")
    known.learn(moved, "b")
    known.learn(gone, "b")
    assert known.rehash == Rehash(7.0, 2, 1)
    known.learn(moved, "a")
    assert known.rehash == Rehash(7.0, 2, 1), "each flow is compared once"
    known.rebase((A,), 9.0)
    assert known.rehash == Rehash(9.0, 0, 0)


def test_no_flow_was_known_before_the_change() -> None:
    known = new()
    known.rebase((A, B), 0.0)
    known.rebase((A,), 1.0)
    assert known.rehash is None


def test_where_a_flow_goes() -> None:
    known = new()
    one, two = flows(2)
    known.learn(one, "a")
    assert (known.via_of(one), known.via_of(two)) == ("a", None)
    assert known.known() == {one: "a"}


def test_forget() -> None:
    known = new()
    one, two = flows(2)
    known.learn(one, "a")
    known.learn(two, "a")
    known.forget(one)
    assert known.sources("a") == (two,)
    known.forget_all()
    assert known.sources("a") == ()


def test_fresh_flows_come_in_order_and_go_around() -> None:
    known = new(5)
    assert known.fresh(2, 0.0) == flows(2)
    assert known.fresh(2, 0.0) == flows(5)[2:4]
    assert known.fresh(2, 0.0) == [flows(5)[4], flows(1)[0]]
    assert sorted(known.fresh(99, 0.0)) == flows(5)


def test_a_flow_in_use_rests_before_it_is_fresh_again() -> None:
    known = new(3)
    first = flows(1)[0]
    known.touch(first, 100.0)
    assert first not in known.fresh(9, 100.0 + REST_SECONDS - 1)
    assert first in known.fresh(9, 100.0 + REST_SECONDS)


def test_no_candidates_at_all() -> None:
    known = new(0)
    assert known.fresh(3, 0.0) == []
    assert known.pick("a", 0.0) is None


def test_the_flow_that_rested_longest_is_next() -> None:
    known = new()
    for flow in flows(3):
        known.learn(flow, "a")
    assert [known.pick("a", float(at)) for at in range(7)] == [*flows(3), *flows(3), flows(1)[0]]
    assert known.pick("a", 9.0, besides=flows(3)) is None
    assert known.pick("a", 9.0, besides=flows(2)) == flows(3)[2]
    assert known.pick("b", 9.0) is None


def test_memory_of_use_is_bounded() -> None:
    known = new(5000, limit=1)
    for number, flow in enumerate(known.fresh(5000, 0.0)):
        known.touch(flow, float(number))
    assert len(known._last) < 300


@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["a", "b", "c"])), max_size=40), st.integers(0, 20))
def test_fresh_never_repeats_a_known_flow(learned: list[tuple[int, str]], count: int) -> None:
    known = new(16, limit=16)
    for number, via in learned:
        known.learn(flows(16)[number], via)
    found = known.fresh(count, 0.0)
    assert len(found) == len(set(found)) == min(count, 16 - len({number for number, _ in learned}))
    assert not set(found) & {source for via in "abc" for source in known.sources(via)}


def test_old_flows_never_crowd_out_new_ones() -> None:
    """However often next hops come and go: at most `limit` flows of each are remembered, by turns, and half are new."""
    path_map = PathMap(lambda: iter(Source(None, port) for port in range(20_000, 28_000)), 4)
    now = 0.0
    for change in range(10):
        vias = ("n1", "n2", "n3") if change % 2 else ("n1", "n2")
        path_map.rebase(tuple((via, 1) for via in vias), now)
        for number, source in enumerate(path_map.fresh(8, now)):
            path_map.learn(source, vias[number % len(vias)])
        now += 1.0
    before = path_map.known()
    path_map.rebase((("n1", 1), ("n2", 1), ("n3", 1), ("n4", 1)), now)
    tried = [path_map.fresh(4, now) for _ in range(12)]
    again = [source for some in tried for source in some if source in before]
    assert all(sum(source in before for source in some) <= 2 for some in tried)
    assert 0 < len(again) <= 4 * 3
    vias_tried = [before[source] for source in again[:3]]
    assert sorted(vias_tried) == ["n1", "n2", "n3"]
