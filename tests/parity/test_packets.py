"""The same DNS, ICMP and gRPC targets, good and bad, through Debian's blackbox_exporter and through ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.cases import Group, group
from tests.parity.packet_cases import packet_cases
from tests.parity.packet_servers import SERVERS


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(tmp_path_factory.mktemp("packets"), packet_cases, SERVERS) as found:
        yield found


@pytest.mark.parametrize("name", [case.name for case in packet_cases(Path())])
async def test_packets(name: str, compared: Group) -> None:
    await compared.compare(name)
