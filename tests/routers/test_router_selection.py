from __future__ import annotations

import pytest

from routers.model import RemedyKind, Route
from routers.selection import Attributes, Candidate, Multipath, explained

BEST = Attributes(
    weight=0, local_preference=100, as_path=("64513",), origin="IGP", med=0, internal=False, igp_metric=10
)


def candidate(attributes: Attributes, *, best: bool = False, used: bool | None = False) -> Candidate:
    return Candidate(Route("203.0.113.10/32", "10.0.0.11", ("10.0.0.11",), best=best, used=used), attributes)


def reason(other: Attributes, multipath: Multipath, best: Attributes = BEST) -> str | None:
    routes = explained([candidate(best, best=True, used=True), candidate(other)], multipath)
    assert routes[0].unused_reason is None
    return routes[1].unused_reason


def changed(**values: object) -> Attributes:
    fields = {name: getattr(BEST, name) for name in Attributes.__slots__}
    return Attributes(**(fields | values))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (changed(weight=-1), "lower weight (-1 against 0)"),
        (changed(local_preference=50), "lower local preference (50 against 100)"),
        (changed(as_path=("64513", "64999")), "longer AS path (2 against 1)"),
        (changed(origin="incomplete"), "other origin (incomplete against IGP)"),
        (changed(med=20), "higher MED (20 against 0)"),
        (changed(internal=True), "iBGP where the best path is eBGP"),
        (changed(igp_metric=30), "higher IGP metric to the next hop (30 against 10)"),
        (changed(local_preference=50, med=20), "lower local preference (50 against 100)"),
        (changed(local_preference=None), "path limit: 1 of 2 equal paths"),
        (changed(as_path=("64514",), med=20), "path limit: 1 of 2 equal paths"),
    ],
)
def test_the_first_difference_counts(other: Attributes, expected: str) -> None:
    assert reason(other, Multipath({})) == expected


@pytest.mark.parametrize(
    ("multipath", "expected"),
    [
        (Multipath({"ebgp": 1}), "path limit: 1 of 2 equal paths, maximum-paths ebgp 1"),
        (Multipath({"ebgp": 8, "ibgp": 1}), "path limit: 1 of 2 equal paths"),
        (Multipath({}, relaxed=True), "path limit: 1 of 2 equal paths"),
        (
            Multipath({}, relaxed=False),
            "different AS path (64514 against 64513), and as-path multipath-relax is off",
        ),
    ],
)
def test_path_limit_and_relax(multipath: Multipath, expected: str) -> None:
    assert reason(changed(as_path=("64514",)), multipath) == expected


def test_nothing_is_known_without_a_best_route() -> None:
    routes = explained([candidate(BEST), candidate(changed(med=20))], Multipath({}))
    assert [one.unused_reason for one in routes] == [None, None]


def test_an_equal_route_of_unknown_use_stays_unknown() -> None:
    routes = explained(
        [candidate(BEST, best=True, used=True), candidate(BEST, used=None), candidate(changed(med=9), used=None)],
        Multipath({}),
    )
    assert [one.used for one in routes] == [True, None, False]


@pytest.mark.parametrize(
    ("internal", "as_path", "mended_by"),
    [
        (False, ("64513", "64999"), RemedyKind.PATH_LIMIT),
        (False, ("64514", "64998"), RemedyKind.AS_PATH_RELAX),
        (True, ("64513", "64999"), RemedyKind.AS_PATH_RELAX),
        (True, ("64513", "64998"), RemedyKind.PATH_LIMIT),
    ],
)
def test_what_relaxing_would_mend(internal: bool, as_path: tuple[str, ...], mended_by: RemedyKind) -> None:
    best = changed(internal=internal, as_path=("64513", "64998"))
    other = changed(internal=internal, as_path=as_path)
    routes = explained([candidate(best, best=True, used=True), candidate(other)], Multipath({}, relaxed=False))
    assert routes[1].mended_by is mended_by


def test_an_unreachable_next_hop_comes_first() -> None:
    dead = Candidate(candidate(BEST).route, changed(med=20), "next hop 10.0.0.13 cannot be resolved")
    for others in ([], [candidate(BEST, best=True, used=True)]):
        assert explained([*others, dead], Multipath({}))[-1].unused_reason == dead.obstacle
