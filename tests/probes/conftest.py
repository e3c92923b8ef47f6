from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from probes.ports import Source
from probes.table import Probers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def probers() -> AsyncIterator[Probers]:
    live = Probers("0.0.test")
    await live.open()
    try:
        yield live
    finally:
        await live.close()


@pytest.fixture(scope="session")
def sources() -> Iterator[Source]:
    """Source addresses and ports that no other process on this machine is likely to use."""
    process = os.getpid()
    address = f"127.{64 + process % 64}.{process // 64 % 256}.9"
    return (Source(address, port) for port in itertools.count(20000))


@pytest.fixture
def source(sources: Iterator[Source]) -> Source:
    return next(sources)
