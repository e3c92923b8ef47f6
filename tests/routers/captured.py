"""What real routers said: fixtures/PLATFORM/SCENARIO.txt holds one section for each command's answer."""

from __future__ import annotations

import re
from pathlib import Path

from routers.model import Answer, Query, Route, Session, Snapshot
from routers.platforms import PLATFORMS

FIXTURES = Path(__file__).parent / "fixtures"
TAKEN_AT = 1_795_384_400.0
VIP = "203.0.113.10"
VIP6 = "2001:db8:f::10"
NODE3 = "10.0.0.13"
QUERY = Query(vips=(VIP, VIP6), node_addresses=("10.0.0.11", "10.0.0.12", NODE3))
QUERY_OVER_IPV6 = Query(vips=(VIP, VIP6), node_addresses=("2001:db8::11", "2001:db8::12", "2001:db8::13"))

_STDERR = " stderr"


def answers(platform: str, scenario: str) -> dict[str, Answer]:
    text = (FIXTURES / platform / f"{scenario}.txt").read_text()
    parts = re.split(r"^===== (.+)\n", text, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return {
        name: Answer(stdout=body, stderr=sections.get(name + _STDERR, ""))
        for name, body in sections.items()
        if not name.endswith(_STDERR)
    }


def snapshot(platform: str, scenario: str, query: Query = QUERY) -> Snapshot:
    return PLATFORMS[platform].read("edge", query, answers(platform, scenario), TAKEN_AT)


def scenarios(platform: str) -> list[str]:
    return sorted(path.stem for path in (FIXTURES / platform).glob("*.txt"))


def session_of(taken: Snapshot, address: str) -> Session | None:
    return next((one for one in taken.sessions or () if one.address == address), None)


def route_of(taken: Snapshot, vip: str, peer: str) -> Route | None:
    return next((one for one in taken.routes[vip] if one.peer == peer), None)


def fib_of(taken: Snapshot, vip: str) -> set[str | None]:
    entry = taken.fib[vip]
    return {hop.address for hop in entry.next_hops} if entry else set()
