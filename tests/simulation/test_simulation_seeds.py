"""Rounds by the ten thousand: no broken path is ever ok, no healthy node is ever blamed.

SIMULATION_SEEDS=A-B plays other seeds; `python -m tests.simulation` plays them with more to see.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.__main__ import report
from tests.simulation.play import Played, play

FIRST, _, LAST = os.environ.get("SIMULATION_SEEDS", "1-300").partition("-")
ROOT = Path(__file__).parent.parent.parent
SAME = (3, 7, 21)
HISTORY = """
import hashlib
from tests.simulation.play import play
for seed in {seeds}:
    print(hashlib.sha256("\\n".join(play(seed).history).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[int, Future[Played]]]:
    """Every seed that a test of this run is about, on as many processors as there are."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    seeds = [call.params["seed"] for call in calls if call is not None and "seed" in call.params]
    workers = min(len(seeds), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield {seed: pool.submit(play, seed) for seed in seeds}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))
def test_seed(played: dict[int, Future[Played]], seed: int) -> None:
    found = played[seed].result()
    assert not found.violations, report(found)
    assert found.rounds >= len(found.world.targets) * found.world.rounds / 4


def test_the_same_seed_is_the_same_history_in_every_interpreter() -> None:
    """The order of sets, which is another one in each interpreter, decides nothing."""
    here = [hashlib.sha256("\n".join(play(seed).history).encode()).hexdigest() for seed in SAME]
    for order in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", HISTORY.format(seeds=SAME)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.split() == here
