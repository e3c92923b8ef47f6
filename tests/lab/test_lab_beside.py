"""The daemons beside the router: their configuration as text, and a lab that has one."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lab
from lab import beside, bird, faults, gobgp, openbgpd
from lab.exporter_config import configuration
from lab.observe import Observed, Tables
from lab.plan import BESIDE, Lab, LabError, Node
from tests.lab.rehearsal import RunningLab, cannot_run

if TYPE_CHECKING:
    from collections.abc import Iterator

LAB = Lab("x", beside=BESIDE)
CONTROL = Path("/nowhere/bgpd.sock")


def broken(kind: str) -> Lab:
    return faults.with_fault(LAB, kind)


def neighbors(of: Lab) -> dict[str, dict[str, Any]]:
    rows = tomllib.loads(gobgp.config(of))["neighbors"]
    return {row["config"]["neighbor-address"]: row["config"] for row in rows}


def test_gobgp_without_and_with_faults() -> None:
    assert {row["peer-as"] for row in neighbors(LAB).values()} == {64512}
    assert set(neighbors(broken("neighbor_missing"))) == {"10.0.0.11", "10.0.0.12"}
    assert neighbors(broken("session_down"))["10.0.0.13"]["peer-as"] == 64999
    assert neighbors(broken("session_down_md5"))["10.0.0.13"]["auth-password"] == "lab"
    for one, dropped in ((LAB, ["192.0.2.255/32"]), (broken("route_filtered"), ["10.0.0.13/32"])):
        (names,) = tomllib.loads(gobgp.config(one))["defined-sets"]["neighbor-sets"]
        assert names["neighbor-info-list"] == dropped


@pytest.mark.parametrize(
    ("kind", "there", "gone"),
    [
        ("neighbor_missing", "neighbor 10.0.0.12 {", "neighbor 10.0.0.13 {"),
        ("session_down", "remote-as 64999", ""),
        ("session_down_md5", 'tcp md5sig password "lab"', ""),
        ("route_filtered", "deny from 10.0.0.13\n", ""),
    ],
)
def test_openbgpd_faults(kind: str, there: str, gone: str) -> None:
    text, healthy = openbgpd.config(broken(kind), CONTROL), openbgpd.config(LAB, CONTROL)
    assert there in text
    assert (there in healthy) == (kind == "neighbor_missing")
    assert not gone or (gone in healthy and gone not in text)


@pytest.mark.parametrize("kind", ["blackhole", "node_down", "stale_route", "route_not_installed", "route_unused"])
def test_what_the_daemons_beside_do_not_know_of(kind: str) -> None:
    assert gobgp.config(broken(kind)) == gobgp.config(LAB)
    assert openbgpd.config(broken(kind), CONTROL) == openbgpd.config(LAB, CONTROL)


def test_nodes_peer_with_all_of_them() -> None:
    text = bird.node_config(LAB, Node(1), "log")
    assert [f"neighbor 10.0.0.{last} as 64512;" in text for last in (1, 3, 4)] == [True] * 3
    assert "10.0.0.3 " not in bird.node_config(Lab("x"), Node(1), "log")
    assert "strict bind" in bird.router_config(LAB, "log")
    assert "strict bind" not in bird.router_config(Lab("x"), "log")


def test_a_next_hop_that_sorts_last_is_for_the_router_alone() -> None:
    text = bird.node_config(faults.with_fault(LAB, "route_unused", "leviathan1"), Node(1), "log")
    assert text.count("bgp_next_hop = 10.0.0.254") == 1


def test_the_exporter_reads_them_where_it_reads_the_router() -> None:
    way = {"exec": {"prefix": ["on-edge"]}}
    routers = configuration(LAB, way)["routers"]
    assert [(one["name"], one["platform"]) for one in routers] == [
        ("edge", "frr"),
        ("edge-gobgp", "gobgp"),
        ("edge-openbgpd", "openbgpd"),
    ]
    assert all(one["exec"] == way["exec"] for one in routers)


def test_what_their_tables_lack_is_said() -> None:
    expected = faults.expected(LAB)
    whole = {vip: frozenset(node.name for node in nodes) for vip, nodes in expected.routes.items()}
    up = dict.fromkeys(("leviathan1", "leviathan2", "leviathan3"), "Established")
    good = Observed(up, whole, whole, beside={"gobgp": Tables(up, whole)})
    assert good.differences(expected) == []
    bad = Observed(up, whole, whole, beside={"gobgp": Tables(up | {"leviathan3": "Idle"}, {})})
    found = bad.differences(expected)
    assert found[0] == "gobgp: sessions up: leviathan1, leviathan2; expected leviathan1, leviathan2, leviathan3"
    assert any("gobgp: 203.0.113.22 from nobody; expected leviathan3" in one for one in found)


def test_openbgpd_needs_root() -> None:
    with pytest.raises(LabError, match="--router gobgp"):
        beside.check(("openbgpd",), privileged=False)
    beside.check(("gobgp",), privileged=False)
    beside.check(BESIDE, privileged=True)


@pytest.fixture
def name() -> Iterator[str]:
    found = f"b{os.getpid()}"
    yield found
    lab.down(found)


@pytest.mark.lab
def test_a_lab_with_a_daemon_that_cannot_forward(name: str) -> None:
    if missing := beside.missing(LAB):
        cannot_run(f"missing packages: {', '.join(missing)}")
    kind = "openbgpd" if os.geteuid() == 0 else "gobgp"
    running = RunningLab(name, router=kind, fault=["neighbor_missing"])
    status = lab.status(name)
    assert status.beside == [kind]
    assert status.router in {"frr", "bird"}
    assert status.daemons[f"edge-{kind}"]
    assert status.problems == []
    lab.break_("route_filtered", "leviathan1", name=name)
    lab.heal(name=name)
    assert lab.status(name).problems == []
    lab.down(name)
    assert not running.state.exists()
