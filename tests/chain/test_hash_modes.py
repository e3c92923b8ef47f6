"""Routers that do not hash the 5-tuple: what cannot be proven is `unverified`, and nobody is blamed."""

from __future__ import annotations

import os

import pytest

from lab import commands
from lab.plan import RouterKind
from tests.chain.rehearsal import rehearsal

pytestmark = pytest.mark.lab

WEB = ("web", "web-v6")
ROUTER: RouterKind = "frr" if os.geteuid() == 0 else "bird"


def test_addresses_only() -> None:
    """One source address takes one way: its node is ok, the others are not proven, whatever port is used.

    Over IPv6 Linux hashes the flow label too (ip-sysctl, fib_multipath_hash_policy), which the sender's
    kernel draws for each connection: there every node can be met, and no flow can be sent twice.
    """
    with rehearsal("l3hash", router=ROUTER, transport="exec", hash_mode="addresses") as chain:
        verdicts, _ = chain.wait_for(lambda now: _of(now, "web") == ["ok", "unverified", "unverified"], 30)
        assert _of(verdicts, "web") == ["ok", "unverified", "unverified"], verdicts
        assert set(_of(verdicts, "web-v6")) <= {"ok", "unverified"}, verdicts
        assert verdicts["gitea-ssh", "leviathan3"] == "ok"
        paths = [path for path in chain.status()["paths"] if path["verdict"] == "unverified"]
        assert all("nothing was proven" in path["reason"] for path in paths)
        assert all(path["probe"]["success"] is None for path in paths)


def test_random_hash_with_and_without_a_broken_node() -> None:
    """A flow takes another way each time: the oracle must lose, and a failure names nobody."""
    with rehearsal("random", router=ROUTER, transport="exec", hash_mode="random") as chain:
        for _ in range(3):
            verdicts = chain.verdicts()
            assert set(verdicts.values()) <= {"ok", "unverified"}, verdicts
        assert {path["steering"]["method"] for path in chain.status()["paths"]} <= {"identity", "single"}
        commands.break_("blackhole", "leviathan2", name=chain.name)
        chain.wait_for(lambda now: all(now[target, "leviathan2"] != "ok" for target in WEB), 60)
        for _ in range(10):
            verdicts = chain.verdicts()
            for target in WEB:
                assert verdicts[target, "leviathan2"] == "unverified", verdicts
                assert verdicts[target, "leviathan1"] in ("ok", "unverified"), verdicts
                assert verdicts[target, "leviathan3"] in ("ok", "unverified"), verdicts
            chain.wait_for(lambda _: False, 1)


def _of(verdicts: dict[tuple[str, str], str], target: str) -> list[str]:
    return sorted(verdict for (name, _), verdict in verdicts.items() if name == target)
