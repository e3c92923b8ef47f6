"""A path that ends at another server than the others: who is blamed, who is not, and where it is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import backends
from exporter.config import IdentityRule
from exporter.status import PathStatus, Status, TargetStatus, to_json
from exporter.verdicts import PathResult, Summary, Verdict
from probes.facts import NOTHING, Facts, SshFacts, TlsFacts
from probes.model import Failure, Flow, Request
from probes.ssh_module import SshModule
from probes.table import Probers
from tests.exporter.scenario import NOW, build
from tests.probes.openssh import running

GIT = "OpenSSH_9.2p1"
KEYS = {node: f"SHA256:{node[-1] * 43}" for node in ("leviathan1", "leviathan2", "leviathan3")}
BY_HOST_KEY = IdentityRule.model_validate({"host_key": True, "map": {key: node for node, key in KEYS.items()}})
BY_BANNER = IdentityRule.model_validate({"banner": "([a-z0-9]+)$"})
BY_HEADER = IdentityRule.model_validate({"header": "X-Node"})


def ssh(software: str = GIT, comment: str = "", key: str | None = None, *, expected: bool = False) -> Facts:
    return Facts(ssh=SshFacts("2.0", software, comment, key, expected))


def certificate(digit: str) -> Facts:
    return Facts(tls=TlsFacts("TLS 1.3", "cipher", NOW, fingerprint_sha256=digit * 64))


def path(
    node: str | None,
    facts: Facts | None,
    *,
    vip: str = "203.0.113.22",
    router: str = "edge",
    next_hop: str | None = None,
    failure: Failure | None = None,
) -> PathStatus:
    result = None
    if facts is not None:
        result = PathResult(NOW, failure is None, failure, "", 0.004, "oracle", 1.0, facts=facts)
    return PathStatus(
        target="git",
        vip=vip,
        port=22,
        router=router,
        node=node,
        next_hop=next_hop,
        verdict=Verdict.OK if failure is None else Verdict.SERVICE_DOWN,
        reason="it was reached",
        cure=None,
        since=NOW,
        result=result,
        method="oracle",
        session=None,
        route=None,
        fib=None,
    )


def three(*facts: Facts | None) -> list[PathStatus]:
    return [path(f"leviathan{number}", one) for number, one in enumerate(facts, start=1)]


def said(paths: list[PathStatus], identity: IdentityRule | None = None) -> list[str | None]:
    return [one.differs for one in backends.compared(paths, identity)]


def values(paths: list[PathStatus]) -> dict[str, float]:
    """The metric, by node or next hop."""
    target = TargetStatus("git", "203.0.113.22", 22, (), Summary.OK, tuple(paths), ())
    (family,) = backends.families(Status(NOW, "", routers=(), nodes=(), targets=(target,)))
    assert family.name == "ecmp_path_backend_differs"
    assert family.labels == ("target", "vip", "port", "router", "node", "next_hop")
    assert not family.counts
    return {labels[4] or labels[5]: value for labels, value in family.values.items()}


def test_all_alike() -> None:
    found = backends.compared(three(ssh(), ssh(), ssh()), None)
    assert [one.differs for one in found] == [None, None, None]
    assert [one.reason for one in found] == ["it was reached"] * 3
    assert values(found) == {"leviathan1": 0, "leviathan2": 0, "leviathan3": 0}


def test_another_banner_on_one_path() -> None:
    found = backends.compared(three(ssh(), ssh("dropbear"), ssh()), None)
    difference = f"its SSH banner is SSH-2.0-dropbear, where 2 of 3 paths of this target show SSH-2.0-{GIT}"
    assert [one.differs for one in found] == [None, difference, None]
    assert found[1].reason == f"it was reached; but {difference}"
    assert found[1].verdict is Verdict.OK
    assert values(found) == {"leviathan1": 0, "leviathan2": 1, "leviathan3": 0}


def test_another_package_of_the_same_software() -> None:
    found = said(
        three(ssh(comment="Debian-2+deb12u3"), ssh(comment="Debian-2+deb12u2"), ssh(comment="Debian-2+deb12u3"))
    )
    assert found[0] is found[2] is None
    assert found[1] is not None
    assert "Debian-2+deb12u2, where 2 of 3" in found[1]


def test_another_host_key_on_one_path() -> None:
    found = said(three(ssh(key=KEYS["leviathan1"]), ssh(key=KEYS["leviathan1"]), ssh(key=KEYS["leviathan3"])))
    assert found == [
        None,
        None,
        f"its SSH host key is {KEYS['leviathan3']}, where 2 of 3 paths of this target show {KEYS['leviathan1']}",
    ]


def test_another_certificate_on_one_path() -> None:
    found = said(three(certificate("a"), certificate("b"), certificate("a")))
    assert found[1] == (
        "its certificate is sha256 bbbbbbbbbbbbbbbb..., "
        "where 2 of 3 paths of this target show sha256 aaaaaaaaaaaaaaaa..."
    )


def test_several_differences_are_all_said() -> None:
    other = ssh("dropbear", key=KEYS["leviathan2"])
    found = said(three(ssh(key=KEYS["leviathan1"]), other, ssh(key=KEYS["leviathan1"])))
    assert found[1] is not None
    assert found[1].count("; ") == 1
    assert "SSH banner" in found[1]
    assert "SSH host key" in found[1]


def test_two_paths_that_differ_are_both_told_and_nobody_is_blamed() -> None:
    found = backends.compared(three(ssh(), ssh("dropbear")), None)
    shown = f"SSH-2.0-{GIT} (leviathan1), SSH-2.0-dropbear (leviathan2)"
    difference = f"the paths of this target differ in their SSH banner: {shown}"
    assert [one.differs for one in found] == [difference, difference]
    assert values(found) == {"leviathan1": 1, "leviathan2": 1}


def test_half_of_a_rolling_upgrade_blames_nobody() -> None:
    four = [path(f"n{number}", ssh(GIT if number < 3 else "OpenSSH_9.6p1")) for number in range(1, 5)]
    assert all(one is not None and one.startswith("the paths of this target differ") for one in said(four))


def test_what_was_not_seen_is_not_compared() -> None:
    assert values(backends.compared(three(ssh(), None, NOTHING), None)) == {}
    found = backends.compared(three(ssh(), ssh(), None), None)
    assert values(found) == {"leviathan1": 0, "leviathan2": 0}
    assert not found[2].compared
    keys = said(three(ssh(key=KEYS["leviathan1"]), ssh(), ssh()))  # no key was asked for, or none was shown
    assert keys == [None, None, None]


def test_a_path_that_fails_and_showed_something_is_compared() -> None:
    found = backends.compared(
        [
            path("leviathan1", ssh()),
            path("leviathan2", ssh()),
            path("leviathan3", ssh("dropbear"), failure=Failure.EXPECTATION),
        ],
        None,
    )
    assert values(found)["leviathan3"] == 1


def test_a_node_behind_two_routers_has_one_voice() -> None:
    paths = [
        path("leviathan1", ssh("dropbear"), router="a"),
        path("leviathan1", ssh("dropbear"), router="b"),
        path("leviathan1", ssh("dropbear"), router="c"),
        path("leviathan2", ssh()),
        path("leviathan3", ssh()),
    ]
    found = said(paths)
    assert all(one is not None and "where 2 of 3 paths" in one for one in found[:3])
    assert found[3:] == [None, None]


def test_both_families_of_a_target_are_compared() -> None:
    found = said([path("leviathan1", ssh()), path("leviathan1", ssh("dropbear"), vip="2001:db8::22")])
    assert all(one is not None and "leviathan1" in one for one in found)


def test_a_next_hop_that_no_node_has_is_compared() -> None:
    paths = [*three(ssh(), ssh()), path(None, ssh("dropbear"), next_hop="10.0.0.99")]
    assert values(backends.compared(paths, None)) == {"leviathan1": 0, "leviathan2": 0, "10.0.0.99": 1}


def test_host_keys_that_the_configuration_lists_may_differ() -> None:
    paths = three(*(ssh(key=key, expected=True) for key in KEYS.values()))
    assert said(paths) == [None, None, None]


def test_host_keys_of_nodes_may_differ_where_the_map_says_so() -> None:
    found = backends.compared(three(*(ssh(key=key) for key in KEYS.values())), BY_HOST_KEY)
    assert [one.differs for one in found] == [None, None, None]
    assert values(found) == dict.fromkeys(KEYS, 0)


def test_the_key_of_another_node() -> None:
    found = backends.compared(three(ssh(key=KEYS["leviathan1"]), ssh(key=KEYS["leviathan3"]), None), BY_HOST_KEY)
    assert [one.differs for one in found] == [
        None,
        f"its SSH host key {KEYS['leviathan3']} is that of leviathan3",
        None,
    ]
    assert values(found) == {"leviathan1": 0, "leviathan2": 1}


def test_one_path_is_enough_where_the_map_knows_its_key() -> None:
    key = "SHA256:" + "x" * 43
    assert said(three(ssh(key=key)), BY_HOST_KEY) == [
        f"its SSH host key {key} is that of no node in the target's identity"
    ]


@pytest.mark.parametrize("identity", [BY_BANNER, BY_HEADER, BY_HOST_KEY])
def test_where_answers_name_nodes_their_host_keys_are_not_compared(identity: IdentityRule) -> None:
    paths = three(*(ssh(key=key) for key in KEYS.values()))
    assert said(paths, identity) == [None, None, None]


def test_banners_that_name_nodes_are_not_compared() -> None:
    paths = three(*(ssh(comment=node) for node in KEYS))
    assert said(paths, BY_BANNER) == [None, None, None]
    assert None not in said(paths, BY_HEADER)


facts = st.sampled_from(
    [None, NOTHING, ssh(), ssh("dropbear"), ssh(key=KEYS["leviathan1"]), certificate("a"), certificate("b")]
)


@given(st.lists(facts, max_size=8), st.sampled_from([None, BY_BANNER, BY_HOST_KEY]))
def test_nothing_else_of_a_path_changes(seen: list[Facts | None], identity: IdentityRule | None) -> None:
    paths = three(*seen)
    found = backends.compared(paths, identity)
    assert len(found) == len(paths)
    for before, after in zip(paths, found, strict=True):
        assert after.reason == before.reason + (f"; but {after.differs}" if after.differs else "")
        assert replace(after, reason=before.reason, compared=False, differs=None) == before
        assert after.compared or after.differs is None
        assert len(after.differs or "") < 2000


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=9))
def test_whoever_is_blamed_is_in_the_minority(shown: list[str]) -> None:
    found = said([path(f"n{number}", ssh(software)) for number, software in enumerate(shown)])
    for software, difference in zip(shown, found, strict=True):
        if difference is not None and difference.startswith("its "):
            assert 2 * shown.count(software) < len(shown)
        elif difference is None:
            assert 2 * shown.count(software) > len(shown)


# --- through the whole conclusion

CASE: Mapping[str, Any] = {"targets": {"git": {"vips": ["203.0.113.22"], "port": 22}}}


def test_it_is_concluded_and_published() -> None:
    world = build(CASE)
    (target,) = world.expected.targets.values()
    shown = {"leviathan1": ssh(), "leviathan2": ssh("dropbear"), "leviathan3": ssh()}
    points = []
    for point in world.standpoints:
        exercise = point.exercises["203.0.113.22"]
        results = {via: replace(result, facts=shown[via]) for via, result in exercise.results.items()}
        points.append(replace(point, exercises={"203.0.113.22": replace(exercise, results=results)}))
    (status,) = replace(world, standpoints=points).concluded().values()
    assert status.verdict is Summary.OK  # each path works: that one works otherwise is said beside it
    document = to_json(Status(NOW, "", routers=(), nodes=(), targets=(status,)))
    told = {one["node"]: one["differs"] for one in document["paths"]}
    assert told["leviathan1"] is told["leviathan3"] is None
    assert told["leviathan2"].startswith("its SSH banner is SSH-2.0-dropbear")
    reason = next(one["reason"] for one in document["paths"] if one["node"] == "leviathan2")
    assert reason.startswith("10.0.0.12 (leviathan2) was reached: ")
    assert reason.endswith(f"; but {told['leviathan2']}")
    assert target.identity is None


# --- two real servers


async def test_two_real_servers(tmp_path: Path) -> None:
    """What OpenSSH shows is enough to tell one from another, and the same one from itself."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    probers = Probers("0.0.test")
    async with running(folders[0]) as one, running(folders[1], settings=["VersionAddendum another"]) as two:

        async def seen(*ports: int) -> list[PathStatus]:
            module = SshModule.model_validate({"host_key": True})
            requests = [Request(Flow("127.0.0.1", port), "git", 20.0) for port in ports]
            outcomes = [await probers.probe("ssh", request, module) for request in requests]
            assert all(outcome.success for outcome in outcomes)
            return backends.compared(three(*(outcome.facts for outcome in outcomes)), None)

        same = await seen(one.port, one.port, one.port)
        outlier = await seen(one.port, two.port, one.port)
        tie = await seen(one.port, two.port)
        first, second = await one.fingerprint("ed25519"), await two.fingerprint("ed25519")
    assert values(same) == {"leviathan1": 0, "leviathan2": 0, "leviathan3": 0}
    assert values(outlier) == {"leviathan1": 0, "leviathan2": 1, "leviathan3": 0}
    told = outlier[1].differs or ""
    assert re.search(r"its SSH banner is SSH-2.0-OpenSSH\S+.* another, where 2 of 3 paths", told)
    assert f"its SSH host key is {second}, where 2 of 3 paths of this target show {first}" in told
    assert values(tie) == {"leviathan1": 1, "leviathan2": 1}
    assert f"{first} (leviathan1)" in (tie[0].differs or "")
    assert f"{second} (leviathan2)" in (tie[0].differs or "")
