"""The same action for many items at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

_T = TypeVar("_T")


async def each(action: Callable[[_T], Awaitable[object]], items: Iterable[_T]) -> None:
    """Await the action for every item, all beside each other; the first exception ends the others."""
    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(_run(action, item))


async def until(enough: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Await the work, or call it off as soon as the event is set."""
    tasks = [asyncio.create_task(work), asyncio.create_task(enough.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(action: Callable[[_T], Awaitable[object]], item: _T) -> None:
    await action(item)
