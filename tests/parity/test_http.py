"""The same HTTP targets, good and bad, through Debian's blackbox_exporter and through ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.cases import Group, group
from tests.parity.http_cases import http_cases
from tests.parity.http_servers import SERVERS


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(tmp_path_factory.mktemp("http"), http_cases, SERVERS) as found:
        yield found


@pytest.mark.parametrize("name", [case.name for case in http_cases(Path())])
async def test_http(name: str, compared: Group) -> None:
    await compared.compare(name)
