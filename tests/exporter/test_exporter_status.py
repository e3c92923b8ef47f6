from __future__ import annotations

import json

from exporter.durations import timestamp
from exporter.status import Event, Tally, events_to_json, to_json
from exporter.verdicts import Verdict
from probes.model import Failure
from tests.exporter.scenario import NOW, build
from tests.exporter.statuses import status_of

UNKNOWN = {"routers": {"edge": {"snapshot": False}}}


ADDED = ["dns_problem", "dns_answers"]  # to the contract: keys may be added


def test_the_document_has_exactly_the_keys_of_the_contract() -> None:
    for case in ({}, UNKNOWN, {"routers": {"edge": {"fib": ["10.0.0.99"]}}}):
        document = to_json(status_of(case))
        assert list(document) == ["generated_at", "version", "routers", "nodes", "targets", "paths"]
        for router in document["routers"]:
            assert list(router) == ["name", "platform", "up", "snapshot_age_seconds", "error"]
        for node in document["nodes"]:
            assert list(node) == [
                "name", "address", "verdict", "paths_ok", "paths_expected", "direct_check", "since",
            ]  # fmt: skip
        for target in document["targets"]:
            assert list(target) == ["name", "address", "port", "vips", "verdict", "next_hops", *ADDED]
            assert list(target["next_hops"]) == ["expected", "announced", "installed", "exercised", "ok"]
        assert document["paths"]
        for path in document["paths"]:
            assert list(path) == [
                "target", "vip", "port", "router", "node", "next_hop", "verdict", "reason", "remedy", "since",
                "steering", "probe", "bgp", "differs",
            ]  # fmt: skip
            assert list(path["steering"]) == ["method", "confidence", "source_ports"]
            assert list(path["probe"]) == ["success", "failure", "duration_seconds", "phases"]
            assert list(path["bgp"]) == ["session", "route", "fib"]
        assert json.loads(json.dumps(document)) == document


def test_the_outage() -> None:
    document = to_json(status_of())
    assert document["generated_at"] == timestamp(NOW)
    assert document["version"] == "0.0.test"
    third = document["nodes"][2]
    assert (third["name"], third["verdict"], third["paths_ok"], third["paths_expected"]) == (
        "leviathan3", "unreachable", 0, 2,
    )  # fmt: skip
    assert [node["direct_check"] for node in document["nodes"]] == [True, None, True]
    web, gitea = document["targets"]
    assert web["next_hops"] == {"expected": 3, "announced": 2, "installed": 2, "exercised": 2, "ok": 2}
    assert gitea["next_hops"] == {"expected": 1, "announced": 0, "installed": 0, "exercised": 0, "ok": 0}
    good = document["paths"][0]
    assert good["steering"] == {"method": "oracle", "confidence": 1.0, "source_ports": [20001]}
    assert good["probe"] == {
        "success": True,
        "failure": None,
        "duration_seconds": 0.004,
        "phases": {"connect": 0.001, "tls": 0.002},
    }
    assert good["bgp"] == {"session": "Established", "route": "used", "fib": "installed"}
    assert good["remedy"] is None
    bad = document["paths"][3]
    assert (bad["target"], bad["node"], bad["verdict"]) == ("gitea-ssh", "leviathan3", "neighbor_missing")
    assert "neighbor 10.0.0.13 remote-as 64513" in bad["remedy"]
    assert bad["steering"] == {"method": None, "confidence": None, "source_ports": []}
    assert bad["probe"] == {"success": None, "failure": None, "duration_seconds": None, "phases": {}}
    assert bad["bgp"] == {"session": "not configured", "route": "missing", "fib": "missing"}


def test_nulls_where_nothing_is_known() -> None:
    document = to_json(status_of(UNKNOWN))
    assert document["routers"][0]["snapshot_age_seconds"] is None
    assert document["routers"][0]["up"] is False
    next_hops = document["targets"][0]["next_hops"]
    assert (next_hops["announced"], next_hops["installed"]) == (None, None)
    path = document["paths"][0]
    assert path["next_hop"] is None
    assert path["bgp"] == {"session": None, "route": None, "fib": None}
    stranger = to_json(status_of({"routers": {"edge": {"fib": ["10.0.0.99"]}}}))["paths"][-1]
    assert (stranger["node"], stranger["next_hop"]) == (None, "10.0.0.99")


def test_failures_by_name() -> None:
    document = to_json(status_of({"probes": {"leviathan1": "refused"}}))
    probe = document["paths"][0]["probe"]
    assert (probe["success"], probe["failure"]) == (False, "refused")


def test_what_bgp_says_in_words() -> None:
    case = {
        "nodes": {name: [f"10.0.0.{number}"] for number, name in enumerate("abcdefg", start=1)},
        "routers": {
            "edge": {
                "sessions": {"e": "absent", "f": "absent", "g": "Active"},
                "dynamic_ranges": ["10.0.0.5/32"],
                "routes": {"b": "filtered", "c": "stale", "d": "untold", "a": "unused"},
                "more_routes": [{"vip": "203.0.113.22", "peer": "10.9.9.9", "next_hops": ["10.0.0.6"]}],
            }
        },
    }
    bgp = {path["node"]: path["bgp"] for path in to_json(status_of(case))["paths"]}
    assert {node: said["route"] for node, said in bgp.items()} == {
        "a": "unused", "b": "filtered", "c": "stale", "d": "present", "e": "missing", "f": "used", "g": "missing",
    }  # fmt: skip
    assert {node: said["session"] for node, said in bgp.items() if node in "efg"} == {
        "e": "not connected", "f": "other peer", "g": "Active",
    }  # fmt: skip


def test_events_the_newest_first() -> None:
    def event(at: float, before: Verdict | None) -> Event:
        return Event(at, "web", "203.0.113.10", "edge", None, "10.0.0.99", before, Verdict.OK, "it was reached")

    document = events_to_json([event(1.5, None), event(3.0, Verdict.BLACKHOLE), event(2.0, Verdict.OK)])
    assert [one["at"] for one in document["events"]] == [
        "1970-01-01T00:00:03.000Z", "1970-01-01T00:00:02.000Z", "1970-01-01T00:00:01.500Z",
    ]  # fmt: skip
    assert document["events"][0] == {
        "at": "1970-01-01T00:00:03.000Z",
        "target": "web",
        "vip": "203.0.113.10",
        "router": "edge",
        "node": None,
        "next_hop": "10.0.0.99",
        "from": "blackhole",
        "to": "ok",
        "reason": "it was reached",
    }
    assert document["events"][2]["from"] is None


def test_a_tally_counts_probes_and_reasons() -> None:
    world = build({"probes": {"leviathan1": "timeout"}})
    results = world.standpoints[0].exercises["203.0.113.22"].results
    tally = Tally().after(results["leviathan2"]).after(results["leviathan1"]).after(results["leviathan1"])
    assert tally.probes == 5
    assert tally.failures == {Failure.TIMEOUT: 4}
    assert tally.last_success == NOW
    assert Tally().failures == {}
