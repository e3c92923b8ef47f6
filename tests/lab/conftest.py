"""Labs for tests: names of their own, removed again whatever happens."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

import lab
from tests.lab.rehearsal import RunningLab, cannot_run

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = ("ip", "nft", "bird", "birdc", "nsenter", "unshare")


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        cannot_run(f"missing programs: {', '.join(missing)}")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    """A lab with the default router that the tests of a module share and leave healed."""
    name = f"t{os.getpid()}"
    try:
        yield RunningLab(name)
    finally:
        lab.down(name)


@pytest.fixture
def other_name() -> Iterator[str]:
    name = f"o{os.getpid()}"
    yield name
    lab.down(name)
