"""What to type into a RouterOS terminal."""

from __future__ import annotations

import pytest

from routers import routeros
from routers.model import RemedyFacts, RemedyKind
from tests.routers.captured import NODE3

FACTS = RemedyFacts(local_as=64512, neighbor=NODE3, remote_as=64513, paths=3, internal=False)
FACTS6 = RemedyFacts(local_as=None, neighbor="2001:db8::13", family=6)


@pytest.mark.parametrize(
    ("kind", "facts", "line"),
    [
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS,
            (
                "/routing/bgp/connection/add name=<name> instance=<instance of AS 64512> "
                "remote.address=10.0.0.13 remote.as=64513 local.role=ebgp"
            ),
        ),
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS6,
            (
                "/routing/bgp/connection/add name=<name> instance=<instance of AS <AS of the router>> "
                "remote.address=2001:db8::13 remote.as=<AS of the node> local.role=ibgp afi=ipv6"
            ),
        ),
        (
            RemedyKind.SESSION_SHUTDOWN,
            FACTS,
            "/routing/bgp/connection/enable [find name=<name of the connection to 10.0.0.13>]",
        ),
        (
            RemedyKind.SESSION_WRONG_AS,
            FACTS,
            "/routing/bgp/connection/set [find name=<name of the connection to 10.0.0.13>] remote.as=64513",
        ),
        (RemedyKind.PATH_LIMIT, FACTS, "/routing/bgp/instance/set [find as=64512] multipath=3"),
    ],
)
def test_remedies(kind: RemedyKind, facts: RemedyFacts, line: str) -> None:
    assert line in (routeros.remedy(kind, facts) or "").splitlines()


def test_faults_without_a_setting() -> None:
    assert routeros.remedy(RemedyKind.POLICY_MISSING, FACTS) is None
    assert routeros.remedy(RemedyKind.AS_PATH_RELAX, FACTS) is None
    assert "{ accept }" in (routeros.remedy(RemedyKind.ROUTE_FILTERED, FACTS) or "")
    assert "tcp-md5-key=" in (routeros.remedy(RemedyKind.SESSION_PASSWORD, FACTS) or "")
