"""Rounds by the ten thousand: no broken path is ever ok, no healthy node is ever blamed.

SIMULATION_SEEDS=A-B plays other seeds; `python -m tests.simulation` plays them with more to see.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import report
from tests.simulation.play import play

FIRST, _, LAST = os.environ.get("SIMULATION_SEEDS", "1-300").partition("-")
ROOT = Path(__file__).parent.parent.parent
SAME = (3, 7, 21)
HISTORY = """
import hashlib
from tests.simulation.play import play
for seed in {seeds}:
    print(hashlib.sha256("\\n".join(play(seed).history).encode()).hexdigest())
"""


@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))
def test_seed(seed: int) -> None:
    played = play(seed)
    assert not played.violations, report(played)
    assert played.rounds >= len(played.world.targets) * played.world.rounds / 4


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
