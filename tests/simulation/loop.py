"""Virtual time: an event loop that never waits. When nothing is ready it jumps to the next timer.

Everything that runs on it runs in one order, and an hour takes as long as its work does. There is no I/O: what waits
for a socket or a thread waits for nothing.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_MOST_TURNS = 50_000  # of the loop at one instant; the largest round of 64 next hops takes a few hundred

_T = TypeVar("_T")


class DeadlockError(RuntimeError):
    """Everything waits, and no timer will ever wake it."""


class EndlessError(RuntimeError):
    """The loop turns and turns, and its time stands still."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting for files, moves the time on by as much as the loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError(f"at {self.now:.3f} s everything waits for nothing")
        if timeout > 0:
            self.now += timeout
            self._turns = 0
        self._turns += 1
        if self._turns > _MOST_TURNS:
            raise EndlessError(f"{_MOST_TURNS} turns at {self.now:.3f} s")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s; `time()` moves only while nothing can run."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end in virtual time. Raises DeadlockError or EndlessError when it cannot end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
