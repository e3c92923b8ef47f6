"""What real routers said: fixtures/PLATFORM/SCENARIO.txt holds one section for each command's answer.

fixtures/PLATFORM/SCENARIO/ is a capture as `ecmp-exporter routers NAME --capture` wrote it, with its own query.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from routers.captures import ANSWERS, MANIFEST, ORACLE_ANSWERS, Capture, Manifest, read_answers, read_manifest
from routers.model import Answer, Query, Route, Session, Snapshot
from routers.platforms import PLATFORMS

FIXTURES = Path(__file__).parent / "fixtures"
TAKEN_AT = 1_795_384_400.0
VIP = "203.0.113.10"
VIP6 = "2001:db8:f::10"
NODE3 = "10.0.0.13"
QUERY = Query(vips=(VIP, VIP6), node_addresses=("10.0.0.11", "10.0.0.12", NODE3))
QUERY_OVER_IPV6 = Query(vips=(VIP, VIP6), node_addresses=("2001:db8::11", "2001:db8::12", "2001:db8::13"))


def answers(platform: str, scenario: str) -> dict[str, Answer]:
    return dict(capture(platform, scenario).answers)


@cache
def capture(platform: str, scenario: str) -> Capture:
    """A fixture of either kind; a file without a manifest was asked about QUERY at TAKEN_AT."""
    path = FIXTURES / platform / f"{scenario}.txt"
    if path.exists():
        manifest = Manifest(platform, "edge", "", TAKEN_AT, QUERY)
        return Capture(manifest, read_answers(_text(path), str(path)))
    directory = FIXTURES / platform / scenario
    oracle = directory / ORACLE_ANSWERS
    return Capture(
        read_manifest(_text(directory / MANIFEST), str(directory / MANIFEST)),
        read_answers(_text(directory / ANSWERS), str(directory / ANSWERS)),
        read_answers(_text(oracle), str(oracle)) if oracle.exists() else {},
    )


def _text(path: Path) -> str:
    return path.read_bytes().decode()  # line breaks as the router wrote them


def snapshot(platform: str, scenario: str, query: Query | None = None) -> Snapshot:
    """As read with the query of the scenario, or another one."""
    manifest = capture(platform, scenario).manifest
    asked = query or manifest.query
    return PLATFORMS[platform].read("edge", asked, answers(platform, scenario), manifest.taken_at)


def scenarios(platform: str) -> list[str]:
    place = FIXTURES / platform
    return sorted(
        [*(path.stem for path in place.glob("*.txt")), *(path.parent.name for path in place.glob(f"*/{ANSWERS}"))]
    )


def session_of(taken: Snapshot, address: str) -> Session | None:
    return next((one for one in taken.sessions or () if one.address == address), None)


def route_of(taken: Snapshot, vip: str, peer: str) -> Route | None:
    return next((one for one in taken.routes[vip] if one.peer == peer), None)


def fib_of(taken: Snapshot, vip: str) -> set[str | None]:
    entry = taken.fib[vip]
    return {hop.address for hop in entry.next_hops} if entry else set()


def third_session(taken: Snapshot) -> Session:
    """The session of the third node, which must be there."""
    found = session_of(taken, NODE3)
    assert found is not None
    return found


def third_route(taken: Snapshot) -> Route:
    """The third node's route to the IPv4 VIP, which must be there."""
    found = route_of(taken, VIP, NODE3)
    assert found is not None
    return found
