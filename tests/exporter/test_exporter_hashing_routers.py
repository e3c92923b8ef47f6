"""What Sightings makes of whole routers: each kind of them, simulated."""

# ruff: noqa: S311  (chance is simulated here, not secrets)

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.hashing import HashKind, Sightings
from probes.ports import Source

HERE = "192.0.2.1"
THERE = "192.0.2.2"
EVEN = {"a": 1.0, "b": 1.0}
LOPSIDED = {"a": 19.0, "b": 1.0}

shares_of_routers = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2, max_size=6)


class Router:
    """Spreads packets over next hops by share, as a router of one kind does; `silent` ones send no ICMP."""

    def __init__(self, kind: HashKind, shares: Mapping[str, float], seed: int, silent: Sequence[str] = ()) -> None:
        self.kind = kind
        self._ends = dict(
            zip(shares, accumulate(share / sum(shares.values()) for share in shares.values()), strict=True)
        )
        self._ends[list(shares)[-1]] = 1.0
        self.silent = silent
        self.salt = 0
        self._seed = seed
        self._random = random.Random(f"{seed} packets")

    def via(self, source: Source, port: int, *, connection: bool) -> str:
        if self.kind is HashKind.PER_PACKET or (self.kind is HashKind.RANDOM and connection):
            point = self._random.random()
        else:
            hashed = source.address if self.kind is HashKind.ADDRESSES else (*source, port)
            digest = hashlib.blake2b(f"{self._seed} {self.salt} {hashed}".encode(), digest_size=6).digest()
            point = int.from_bytes(digest, "big") / 2**48
        return next(via for via, end in self._ends.items() if point < end)

    def segment(self, seen: Sightings, source: Source, port: int = 443) -> None:
        self._answer(seen.segment, source, port, connection=False)

    def connection(self, seen: Sightings, source: Source, port: int = 443) -> None:
        self._answer(seen.connection, source, port, connection=True)

    def _answer(
        self, report: Callable[[Source, int, str | None], None], source: Source, port: int, *, connection: bool
    ) -> None:
        via = self.via(source, port, connection=connection)
        report(source, port, None if via in self.silent else via)


def flows(count: int, address: str | None = HERE, start: int = 20000) -> list[Source]:
    return [Source(address, start + number) for number in range(count)]


def run(router: Router, shares: Mapping[str, float], rounds: int, *, chosen: random.Random) -> list[HashKind]:
    """Every round two new flows of each address, and four repeats."""
    seen = Sightings()
    known: list[Source] = []
    kinds = []
    for number in range(rounds):
        for address in (HERE, THERE):
            for source in flows(2, address, 20000 + 2 * number):
                router.segment(seen, source)
                router.connection(seen, source)
                known.append(source)
        for source in chosen.sample(known, 4):
            router.segment(seen, source)
            router.connection(seen, source)
        kinds.append(seen.kind(shares))
    return kinds


@pytest.mark.parametrize("kind", [kind for kind in HashKind if kind is not HashKind.UNKNOWN])
@pytest.mark.parametrize("shares", [EVEN, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 5.0, "b": 2.0, "c": 1.0}])
def test_every_kind_is_found_and_none_is_taken_for_another(kind: HashKind, shares: Mapping[str, float]) -> None:
    wrong = Counter[HashKind]()
    for seed in range(40):
        kinds = run(Router(kind, shares, seed), shares, 30, chosen=random.Random(seed))
        assert kinds[-1] is kind, (seed, kinds)
        wrong.update({*kinds} - {kind, HashKind.UNKNOWN})
    if kind is HashKind.PER_PACKET:
        del wrong[HashKind.RANDOM]  # said of it while the next hops of connections alone were seen to differ
    # A router that keeps no connection passes for one that keeps flows once in 150 times, and not for long.
    assert sum(wrong.values()) <= (kind is HashKind.RANDOM)


@pytest.mark.parametrize("shares", [EVEN, {"a": 3.0, "b": 1.0}, LOPSIDED, {"a": 97.0, "b": 2.0, "c": 1.0}])
@pytest.mark.parametrize("kind", [HashKind.PER_PACKET, HashKind.RANDOM])
def test_how_often_a_router_that_keeps_no_flow_is_believed_to_keep_them(
    kind: HashKind, shares: Mapping[str, float]
) -> None:
    believed = 0
    for seed in range(200):
        kinds = run(Router(kind, shares, seed), shares, 12, chosen=random.Random(seed))
        believed += bool({*kinds} & {HashKind.FIVE_TUPLE, HashKind.ADDRESSES})
    assert believed <= 4


@settings(deadline=None, max_examples=50)
@given(shares_of_routers, st.integers(0, 10**9))
def test_a_hash_of_addresses_is_never_taken_for_anything_else(weights: dict[str, int], seed: int) -> None:
    kinds = run(Router(HashKind.ADDRESSES, weights, seed), weights, 40, chosen=random.Random(seed))
    assert {*kinds} <= {HashKind.ADDRESSES, HashKind.UNKNOWN}


@settings(deadline=None)
@given(
    shares_of_routers,
    st.integers(0, 10**9),
    st.sampled_from([HashKind.FIVE_TUPLE, HashKind.PER_PACKET, HashKind.RANDOM]),
    st.integers(1, 5),
)
def test_silence_never_looks_like_a_hash_of_addresses(
    weights: dict[str, int], seed: int, kind: HashKind, quiet: int
) -> None:
    router = Router(kind, weights, seed, silent=sorted(weights)[:quiet])
    seen = Sightings()
    for number in range(60):
        for address in (HERE, THERE):
            router.segment(seen, Source(address, 20000 + number))
            router.connection(seen, Source(address, 20000 + number // 2))
        if seen.kind(weights) is HashKind.ADDRESSES:
            # Only if nothing but answers, and nothing but one next hop, were seen of every address that had any.
            met: dict[str, set[str | None]] = {HERE: set(), THERE: set()}
            for flow, first in seen._first.items():
                met[str(flow[0])].add(None if first is None else first[0])
            assert all(len(vias) == 1 for vias in met.values())


@pytest.mark.parametrize("kind", [HashKind.FIVE_TUPLE, HashKind.ADDRESSES])
def test_a_router_that_hashes_anew_is_under_suspicion_for_a_while(kind: HashKind) -> None:
    for seed in range(200):
        router = Router(kind, EVEN, seed)
        sources = flows(10, HERE) + flows(10, THERE)
        before = {source: router.via(source, 443, connection=False) for source in sources}
        router.salt += 1
        after = {source: router.via(source, 443, connection=False) for source in sources}
        if len({*before.values()}) == 2 and len({*after.values()}) == 2 and before != after:
            break
    router.salt -= 1
    seen = Sightings()
    for _ in range(3):
        for source in sources:
            router.segment(seen, source)
    assert seen.kind(EVEN) is kind
    router.salt += 1
    kinds = []
    for _ in range(10):
        for source in sources:
            router.segment(seen, source)
            kinds.append(seen.kind(EVEN))
    for source in flows(20, HERE, 30000) + flows(20, THERE, 30000):  # flows that were not met before
        router.segment(seen, source)
        kinds.append(seen.kind(EVEN))
    suspicious = [number for number, found in enumerate(kinds) if found is HashKind.PER_PACKET]
    assert suspicious == []  # one disagreement against the many agreements before
    assert kinds[-1] is kind
    assert {*kinds} <= {kind, HashKind.UNKNOWN}


def test_a_segment_and_a_connection_that_agree_are_two_packets_of_a_flow() -> None:
    """No flow is ever repeated: each is traced once, and then served."""
    router, seen = Router(HashKind.FIVE_TUPLE, EVEN, 1), Sightings()
    for number, source in enumerate(flows(14), start=1):
        router.segment(seen, source)
        router.connection(seen, source)
        if number < 8:
            assert seen.kind(EVEN) is HashKind.UNKNOWN
    assert (seen.steady.comparisons(), seen.kept.comparisons()) == (0, 0)
    assert seen.alike.proven()
    assert seen.kind(EVEN) is HashKind.FIVE_TUPLE
