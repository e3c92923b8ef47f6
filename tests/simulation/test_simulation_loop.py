"""Virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.simulation.loop import DeadlockError, EndlessError, run


def test_an_hour_takes_no_time_and_timers_come_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        clock = asyncio.get_running_loop().time

        async def nap(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, round(clock(), 6)))

        await asyncio.gather(nap("late", 3600.0), nap("early", 0.25), nap("between", 60.0))
        return seen

    assert run(main()) == [("early", 0.25), ("between", 60.0), ("late", 3600.0)]


def test_a_time_limit_ends_what_waits() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(5.0)


def test_waiting_for_nothing_is_found_out() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(main())


def test_turning_without_an_end_is_found_out() -> None:
    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(EndlessError):
        run(main())
