from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from exporter.board import Board
from exporter.config import Config
from exporter.configfile import loads
from exporter.monitor import Monitor
from exporter.schedule import Schedule

TEXT = """\
probing: {interval: 100ms}
routers: [{name: edge, platform: frr, exec: {}, poll_interval: 100ms}]
nodes: [{name: n1, address: 10.0.0.11}]
targets:
  - {name: web, address: 203.0.113.10, port: 80, module: http_2xx}
  - {name: git, address: 203.0.113.22, port: 22, module: ssh_banner}
"""
PATIENCE = 10.0  # seconds, for a loaded machine


class Fake:
    """Stands in for a monitor: counts what is asked of it, and how much of it at a time."""

    def __init__(self, text: str = TEXT) -> None:
        self.config: Config = loads(text)
        self.board = Board("test")
        self.feeds = {"edge": object()}
        self.rounds: list[str] = []
        self.running: dict[str, int] = {}
        self.most = 0
        self.polls = self.checks = self.look_ups = self.lessons = self.detours = 0
        self.slow: dict[str, float] = {}
        self.failing: set[str] = set()
        self.again: list[str] = []

    async def round(self, name: str) -> None:
        self.rounds.append(name)
        if name in self.failing:
            raise RuntimeError("a fault of ours")
        self.running[name] = self.running.get(name, 0) + 1
        self.most = max(self.most, self.running[name])
        try:
            await asyncio.sleep(self.slow.get(name, 0))
        finally:
            self.running[name] -= 1

    async def poll(self, name: str) -> list[str]:
        assert name == "edge"
        self.polls += 1
        again, self.again = self.again, []
        return again

    async def learn(self, seconds: float) -> None:
        assert seconds > 0
        self.lessons += 1

    async def check_nodes(self) -> None:
        self.checks += 1

    async def resolve(self) -> None:
        self.look_ups += 1

    async def go_straight(self) -> None:
        self.detours += 1


@asynccontextmanager
async def scheduled(fake: Fake) -> AsyncIterator[Schedule]:
    schedule = Schedule(cast("Monitor", fake))
    schedule.start()
    try:
        yield schedule
    finally:
        schedule.stop()
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110  (what is awaited is no event)
            await asyncio.sleep(0.01)


async def test_everything_has_its_turn() -> None:
    fake = Fake()
    async with scheduled(fake):
        await until(lambda: {*fake.rounds} == {"web", "git"} and fake.polls > 1 and fake.checks > 1)
    assert fake.board.rounds_missed == 0


async def test_nobody_goes_past_the_router_unless_that_is_configured() -> None:
    fake = Fake()
    async with scheduled(fake) as schedule:
        await until(lambda: fake.checks > 2)
        assert fake.detours == 0
        fake.config = loads(TEXT.replace("100ms}", "100ms, direct_steering: true}", 1))
        schedule.plan()
        await until(lambda: fake.detours > 2)


async def test_the_end_may_come_before_the_beginning() -> None:
    Schedule(cast("Monitor", Fake())).stop()
    await asyncio.sleep(0)


async def test_an_overrun_is_counted_and_rounds_of_a_target_never_overlap() -> None:
    fake = Fake()
    fake.slow["web"] = 0.35
    async with scheduled(fake):
        await until(lambda: fake.board.rounds_missed >= 3 and fake.rounds.count("web") >= 2)
    assert fake.most == 1
    assert fake.rounds.count("git") > fake.rounds.count("web"), "the other target is not held up"


async def test_a_fault_in_one_job_stops_neither_it_nor_others(caplog: pytest.LogCaptureFixture) -> None:
    fake = Fake()
    fake.failing = {"web"}
    async with scheduled(fake):
        await until(lambda: fake.rounds.count("web") >= 2 and fake.rounds.count("git") >= 2)
    assert "job round:web failed" in caplog.text
    assert "a fault of ours" in caplog.text


async def test_a_round_whose_next_hops_moved_is_made_again_at_once() -> None:
    fake = Fake(TEXT.replace("interval: 100ms}\nrouters", "interval: 1h}\nrouters"))
    async with scheduled(fake):
        await until(lambda: fake.polls >= 1)
        before = fake.rounds.count("git")
        fake.again = ["git", "nobody"]
        await until(lambda: fake.rounds.count("git") == before + 1)


async def test_a_new_plan_takes_the_place_of_the_old_one() -> None:
    fake = Fake()
    async with scheduled(fake) as schedule:
        await until(lambda: "web" in fake.rounds)
        fake.config = loads("\n".join(TEXT.splitlines()[:-2]) + "\n  - " + TEXT.splitlines()[-1][4:] + "\n")
        schedule.plan()
        await until(lambda: not fake.running.get("web"))
        fake.rounds.clear()
        await until(lambda: fake.rounds.count("git") >= 3)
        assert "web" not in fake.rounds


async def test_nothing_runs_after_the_end() -> None:
    fake = Fake()
    fake.slow["web"] = 60.0
    async with scheduled(fake):
        await until(lambda: fake.running.get("web") == 1)
    await until(lambda: fake.running["web"] == 0)
    seen = len(fake.rounds)
    await asyncio.sleep(0.3)
    assert len(fake.rounds) == seen


async def test_a_router_that_is_gone_is_not_polled() -> None:
    fake = Fake()
    fake.feeds = {}
    async with scheduled(fake):
        await until(lambda: len(fake.rounds) >= 4)
    assert fake.polls == 0
