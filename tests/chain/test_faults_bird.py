"""The table of faults with BIRD as root's router; test_rootless.py plays it without root."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chain.rehearsal import Rehearsal, rehearsal
from tests.chain.test_faults import (  # noqa: F401  (pytest finds them here)
    healthy,
    test_fault_and_nothing_else,
    test_unexpected_next_hop,
    test_what_the_remedy_says_mends_it,
)

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="without root BIRD is the router of test_faults.py already"),
]


@pytest.fixture(scope="module")
def chain() -> Iterator[Rehearsal]:
    with rehearsal("bird-root", router="bird", transport="ssh") as found:
        yield found
