"""Every fault of the lab, seen from outside: the right verdict on the right paths, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from lab import commands
from lab.plan import RouterKind
from tests.chain.rehearsal import SLACK, TWO_ROUNDS, Rehearsal, Verdicts, rehearsal

pytestmark = pytest.mark.lab

WEB = ("web", "web-v6")
ALL = ("web", "web-v6", "gitea-ssh", "gitea-ssh-v6")
OK: Verdicts = {(target, f"leviathan{node}"): "ok" for target in WEB for node in (1, 2, 3)} | {
    ("gitea-ssh", "leviathan3"): "ok",
    ("gitea-ssh-v6", "leviathan3"): "ok",
}

# fault, node, verdict, targets that it hits
FAULTS = [
    ("neighbor_missing", "leviathan3", "neighbor_missing", ALL),
    ("neighbor_missing", "leviathan1", "neighbor_missing", WEB),
    ("session_down", "leviathan3", "session_down", ALL),
    ("session_down_md5", "leviathan2", "session_down", WEB),
    ("route_missing", "leviathan3", "route_missing", ALL),
    ("route_filtered", "leviathan3", "route_filtered", ALL),
    ("route_unused", "leviathan3", "route_unused", WEB),
    ("route_unused_as_path", "leviathan1", "route_unused", WEB),
    ("route_not_installed", "leviathan3", "route_not_installed", ALL),
    ("stale_route", "leviathan3", "stale_route", ALL),
    ("node_down", "leviathan3", "node_down", ALL),
    ("blackhole", "leviathan3", "blackhole", ALL),
    ("blackhole", "leviathan2", "blackhole", WEB),
    ("service_down", "leviathan3", "service_down", ALL),
]


# FRR cannot start in a user namespace: without root BIRD is the router (see test_rootless.py).
# Behind a command prefix (exec) it is read in test_steering.py and others.
WAYS: list[tuple[RouterKind, str]] = [("frr", "ssh")] if os.geteuid() == 0 else [("bird", "ssh")]


@pytest.fixture(scope="module", params=WAYS, ids=["-".join(way) for way in WAYS])
def chain(request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
    router, transport = request.param
    with rehearsal(f"{router}-{transport}", router=router, transport=transport) as found:
        yield found


@pytest.fixture(autouse=True)
def _healthy(chain: Rehearsal) -> Iterator[None]:
    verdicts, _ = chain.wait_for(lambda now: now == OK, TWO_ROUNDS + SLACK)
    assert verdicts == OK, f"before the fault: {chain.why(OK)}"
    yield
    commands.heal(name=chain.name)


@pytest.mark.parametrize(("fault", "node", "verdict", "targets"), FAULTS, ids=[f"{row[0]}-{row[1]}" for row in FAULTS])
def test_fault_and_nothing_else(
    chain: Rehearsal, fault: str, node: str, verdict: str, targets: tuple[str, ...]
) -> None:
    wanted = OK | {(target, node): verdict for target in targets}
    commands.break_(fault, node, name=chain.name)
    verdicts, _ = chain.wait_for(lambda now: now == wanted, TWO_ROUNDS + SLACK)
    assert verdicts == wanted, chain.why(wanted)
    commands.heal(fault, name=chain.name)
    verdicts, _ = chain.wait_for(lambda now: now == OK, TWO_ROUNDS + SLACK)
    assert verdicts == OK, f"after healing: {chain.why(OK)}"


def test_unexpected_next_hop(chain: Rehearsal) -> None:
    """The router sends part of Gitea's flows to a node that has no pod for it."""
    wanted = OK | {(target, "leviathan1"): "unexpected_next_hop" for target in ("gitea-ssh", "gitea-ssh-v6")}
    commands.break_("unexpected_next_hop", "leviathan1", name=chain.name)

    def seen(now: Verdicts) -> bool:
        # Nothing identifies Gitea's pod over IPv6, and there the oracle cannot be believed.
        return now in (wanted, wanted | {("gitea-ssh-v6", "leviathan3"): "unverified"})

    verdicts, _ = chain.wait_for(seen, TWO_ROUNDS + SLACK)
    assert seen(verdicts), verdicts


def test_what_the_remedy_says_mends_it(chain: Rehearsal) -> None:
    """The commands are typed on the router as they stand; only nothing is written to its disk."""
    commands.break_("neighbor_missing", "leviathan3", name=chain.name)
    chain.wait_for(lambda now: now["gitea-ssh-v6", "leviathan3"] == "neighbor_missing", TWO_ROUNDS + SLACK)
    remedies = {path["remedy"] for path in chain.status()["paths"] if path["remedy"]}
    assert remedies
    if chain.name.startswith("bird"):
        assert all("neighbor 10.0.0.13 as 64512;" in remedy for remedy in remedies)
        return
    for remedy in remedies:
        typed = [word for line in remedy.splitlines() if line != "write memory" for word in ("-c", line)]
        on_edge = commands.state_directory(chain.name) / "on-edge"
        subprocess.run([str(on_edge), "vtysh", *typed], check=True, timeout=30)
    verdicts, _ = chain.wait_for(lambda now: now == OK, TWO_ROUNDS + SLACK)
    assert verdicts == OK, chain.why(OK)
