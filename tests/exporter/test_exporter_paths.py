from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from exporter.coverage import flows_needed
from exporter.durations import timestamp
from exporter.hashing import HashKind
from exporter.pathmap import Rehash
from exporter.paths import path_maps, show_paths, to_json
from exporter.status import Status
from exporter.steering import Method
from exporter.steering_status import SteeringStatus
from probes.ports import Source
from tests.exporter.scenario import NOW
from tests.exporter.statuses import OUTAGE, status_of

VIP6 = "2001:db8:203::22"
MANUAL = Path(__file__).parent.parent.parent / "docs" / "steering.md"
V6: Mapping[str, Any] = {
    "nodes": {"a": ["10.0.0.1", "2001:db8:10::1"], "b": ["10.0.0.2", "2001:db8:10::2"]},
    "targets": {"git": {"vips": ["203.0.113.22", VIP6], "port": 22}},
}


def shown(status: Status, name: str, width: int = 160) -> str:
    out = io.StringIO()
    show_paths(Console(file=out, width=width, highlight=False), status, name)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def row(said: str, start: str) -> list[str]:
    found = [line.split() for line in said.splitlines() if line.split()[:1] == [start]]
    assert len(found) == 1, said
    return found[0]


def changed(status: Status, **fields: Any) -> Status:
    """The status with other facts about its first endpoint."""
    return replace(status, steering=(replace(status.steering[0], **fields), *status.steering[1:]))


def test_a_path_map_as_a_table() -> None:
    said = shown(status_of({}), "git")
    assert "git at 203.0.113.22:22 through edge\n" in said
    assert "trace, confidence 0.95" in said
    assert "the router cannot be asked about single flows" in said
    assert "addresses and ports" in said
    assert "right for 75% of 4 flows" in said
    assert "100% of 12 flows" in said
    assert "the next hops are 2 hops away" in said
    assert "4 sent in the last round, 3 of 3 paths covered, 1.3 per path" in said
    assert "33 flows sampled, as even as chance has it (p-value 0.91)" in said
    assert "the next hops changed 10m ago; 3 of 10 flows moved (30%)" in said
    assert row(said, "10.0.0.12") == [
        "10.0.0.12",
        "leviathan2",
        "trace",
        "0.95",
        "2",
        "20002,",
        "20102",
        "33.3%",
        "33.3%",
    ]
    assert "strangers" not in said
    assert "unseen" not in said


def test_one_next_hop_needs_no_steering() -> None:
    case = {"routers": {"edge": {"fib": ["leviathan1"]}}}
    said = shown(changed(status_of(case), sampled=0, p_value=None, polarised=None, rehash=None), "git")
    assert "single, confidence 0.95" in said
    assert row(said, "10.0.0.11")[1:3] == ["leviathan1", "single"]
    for absent in ("hashes on", "spread", "compared", "distance", "not stronger", "last change"):
        assert absent not in said


def test_a_vip_that_is_forwarded_nowhere() -> None:
    status = status_of(OUTAGE)
    assert "edge forwards 203.0.113.22 nowhere" in shown(status, "gitea-ssh")
    (document,) = to_json(status, "gitea-ssh")["vips"]
    assert document["next_hops"] == []
    assert document["method"] == "none"
    assert "forwards 203.0.113.22 nowhere" in document["why_not_stronger"]


def test_what_was_learned_before_the_router_stopped_forwarding_is_not_shown() -> None:
    status = status_of(OUTAGE)
    old = replace(status_of({}).steering[0], target="gitea-ssh")
    status = replace(status, steering=(*status.steering, old))
    assert [one.hops for one in path_maps(status, "gitea-ssh")] == [()]


def test_a_router_that_cannot_be_asked() -> None:
    status = status_of({"routers": {"edge": {"snapshot": False}}})
    status = replace(status, routers=tuple(replace(router, error="ssh: no route") for router in status.routers))
    assert "edge did not tell its next hops for 203.0.113.22: ssh: no route" in shown(status, "git")


def test_a_router_beside_the_way() -> None:
    status = status_of({"routers": {"edge": {}, "core": {"crossed": False}}})
    said = shown(status, "git")
    assert "git at 203.0.113.22:22 through edge" in said
    assert "through core\n  the prober's flows are not known to pass core" in said
    assert [one.router for one in path_maps(status, "git")] == ["edge", "core"]


def test_an_endpoint_that_was_not_probed_yet() -> None:
    assert "no flow was sent to it yet" in shown(replace(status_of({}), steering=()), "git")


def test_a_name_without_an_address() -> None:
    status = status_of({})
    bare = replace(status, targets=tuple(replace(one, vips=(), stages=(), paths=()) for one in status.targets))
    assert "no address of it is known" in shown(bare, "git")
    assert to_json(bare, "git")["vips"] == []
    assert to_json(bare, "git")["routers"] == []


def test_each_vip_has_its_own_map() -> None:
    status = status_of(V6)
    said = shown(status, "git")
    assert "git at 203.0.113.22:22 through edge" in said
    assert f"git at [{VIP6}]:22 through edge" in said
    six = said.partition(VIP6)[2]
    assert "right for 75%" not in six, "what is known of IPv4 says nothing of IPv6"
    assert row(six, "2001:db8:10::1")[1] == "a"


def test_a_next_hop_without_flows_claims_no_confidence() -> None:
    status = status_of({})
    first, *others = status.steering[0].hops
    said = shown(changed(status, hops=(replace(first, sources=(), confidence=0.0), *others)), "git")
    assert row(said, "10.0.0.11") == ["10.0.0.11", "leviathan1", "-", "-", "0", "-", "30.3%", "33.3%"]
    assert "trace, confidence 0.95" in said, "the least of those that flows are known for"


def test_no_flow_at_all() -> None:
    status = status_of({})
    hops = tuple(replace(hop, sources=(), confidence=0.0, share=None) for hop in status.steering[0].hops)
    fields = {"hops": hops, "sampled": 0, "p_value": None, "polarised": None, "covered": 0, "probes": 9}
    said = shown(changed(status, method=Method.NONE, **fields), "git")
    assert "none, no flow is proven to take any next hop" in said
    assert "0 flows sampled, too few to judge" in said
    assert "9 sent in the last round, 0 of 3 paths covered\n" in said
    assert row(said, "10.0.0.11")[-2:] == ["-", "33.3%"]


def test_what_a_sweep_met_is_not_proven() -> None:
    status = status_of({})
    hops = tuple(replace(hop, confidence=0.0) for hop in status.steering[0].hops)
    said = shown(changed(status, method=Method.SWEEP, hops=hops, covered=0), "git")
    assert "sweep, no flow is proven to take any next hop" in said
    assert row(said, "10.0.0.11")[2:6] == ["-", "-", "2", "20001,"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (HashKind.FIVE_TUPLE, "addresses and ports"),
        (HashKind.ADDRESSES, "addresses only"),
        (HashKind.PER_PACKET, "packets of one flow take different next hops"),
        (HashKind.RANDOM, "connections of one flow take different next hops"),
        (HashKind.UNKNOWN, "not known yet"),
    ],
)
def test_what_the_router_hashes_on(kind: HashKind, words: str) -> None:
    assert words in shown(changed(status_of({}), hashing=kind), "git")


def test_addresses_that_are_needed() -> None:
    status = status_of({})
    pinned = tuple(
        replace(hop, sources=(Source("192.0.2.7", 20001), Source(f"192.0.2.{10 + number}", 20002)))
        for number, hop in enumerate(status.steering[0].hops)
    )
    said = shown(changed(status, hashing=HashKind.ADDRESSES, hops=pinned), "git")
    assert f"{flows_needed(3)} source addresses meet every next hop with probability 99%" in said
    assert "the known flows start from 4" in said
    assert "192.0.2.7:20001, 192.0.2.10:20002" in said


def test_unevenness() -> None:
    status = status_of({})
    said = shown(changed(status, p_value=1.2e-9, polarised=True), "git")
    assert "polarised" in said
    assert "p-value 1.2e-09" in said
    said = shown(changed(status, p_value=1.2e-9, polarised=False), "git")
    assert "polarised" not in said
    assert "few hash buckets" in said


def test_last_change_without_a_comparison() -> None:
    said = shown(changed(status_of({}), rehash=Rehash(NOW - 5, 0, 0)), "git")
    assert "changed 5s ago; no flow was learned both before and after" in said


def test_strangers_and_unseen_next_hops() -> None:
    said = shown(changed(status_of({}), strangers=("10.0.0.99",), unseen=("leviathan3",)), "git")
    assert "10.0.0.99: forwards flows, and is not in the FIB" in said
    assert "leviathan3: in the FIB, and none of the sampled flows took it" in said


def test_many_ports_are_cut_short_and_none_is_lost_in_json() -> None:
    status = status_of({})
    first, *others = status.steering[0].hops
    many = replace(first, sources=tuple(Source("2001:db8::7", 20000 + number) for number in range(9)))
    status = changed(status, hops=(many, *others))
    assert "[2001:db8::7]:20003, and 5 more" in shown(status, "git", width=240)
    hop = to_json(status, "git")["vips"][0]["next_hops"][0]
    assert hop["source_ports"] == list(range(20000, 20009))
    assert hop["sources"][8] == {"address": "2001:db8::7", "port": 20008}


def test_nothing_that_the_table_says_is_missing_in_json() -> None:
    document = to_json(status_of({}), "git")
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"generated_at", "target", "vips", "routers"}
    assert document["target"] == "git"
    (vip,) = document["vips"]
    assert {"vip", "port", "router", "method", "why_not_stronger", "hash", "p_value", "polarised"} <= set(vip)
    assert vip["probes_per_path"] == pytest.approx(4 / 3)
    assert vip["last_change"] == {
        "at": timestamp(NOW - 600),
        "flows_compared": 10,
        "flows_moved": 3,
        "moved_ratio": 0.3,
    }
    assert [hop["node"] for hop in vip["next_hops"]] == ["leviathan1", "leviathan2", "leviathan3"]
    assert document["routers"] == [
        {
            "name": "edge",
            "family": 4,
            "hash": "five_tuple",
            "hop_distance": 2,
            "oracle_agreement": 0.75,
            "oracle_compared": 4,
            "trace_agreement": 1.0,
            "trace_compared": 12,
        }
    ]


def test_every_map_has_the_same_keys() -> None:
    """Whether there is a next hop or none."""
    status = status_of(OUTAGE)
    keys = {frozenset(one) for name in ("web", "gitea-ssh") for one in to_json(status, name)["vips"]}
    assert len(keys) == 1


def test_markup_is_text() -> None:
    status = changed(status_of({}), why_not_stronger="[red]no[/red]", strangers=("[bold]",))
    said = shown(status, "git")
    assert "[red]no[/red]" in said
    assert "[bold]:" in said


def test_the_hop_of_no_node() -> None:
    status = status_of({"routers": {"edge": {"fib": ["leviathan1", "10.0.0.99"]}}})
    found: SteeringStatus = path_maps(status, "git")[0]
    assert [hop.node for hop in found.hops] == ["leviathan1", None]
    assert row(shown(status, "git"), "10.0.0.99")[1] == "-"


def test_the_manual_names_every_key_of_the_document() -> None:
    document = to_json(status_of({}), "git")
    (vip,) = document["vips"]
    named = set(re.findall(r"`([a-z_]+)`", MANUAL.read_text(encoding="utf-8")))
    assert {*document, *vip, *vip["next_hops"][0]} - {"vips"} <= named
    measured = ("oracle_agreement", "oracle_compared", "trace_agreement", "trace_compared")
    assert {*document["routers"][0]} - set(measured) <= named


def test_the_manual_says_how_many_addresses_are_needed() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    hops, addresses = (
        [int(number) for number in re.findall(r"\d+", line)]
        for line in text.splitlines()
        if line.startswith(("| next hops | 2", "| source addresses |"))
    )
    assert addresses == [flows_needed(count) for count in hops]


def test_the_manual_explains_every_line() -> None:
    status = status_of({})
    odd = changed(status, strangers=("10.0.0.99",), unseen=("leviathan3",))
    before_table = shown(odd, "git").partition("  next hop")[0]
    lines = {re.split(r"  +", line.strip())[0] for line in before_table.splitlines()[1:] if not line.startswith("   ")}
    assert len(lines) == 10
    text = MANUAL.read_text(encoding="utf-8")
    assert not [line for line in lines if f"| `{line}` |" not in text]
