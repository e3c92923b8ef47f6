from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import (
    DataObject,
    booleans,
    builds,
    data,
    floats,
    integers,
    just,
    lists,
    none,
    sampled_from,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.board import Board
from exporter.hashing import HashKind
from exporter.metrics import Reloads, render
from exporter.pathmap import Rehash
from exporter.status import DirectProbe, Status
from exporter.steering_status import HopSteering, SteeringStatus
from tests.exporter.scenario import NOW, build
from tests.exporter.statuses import OUTAGE, run, status_of

RELOADS = Reloads(successful=True, last_success=NOW)
PAST_THE_ROUTER = "ecmp_path_direct_probe_success"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PATH = frozenset({"target", "vip", "port", "router", "node", "next_hop"})
ENDPOINT = frozenset({"target", "vip", "router"})
NEXT_HOP = frozenset({"router", "vip", "next_hop", "node"})
SERIES = {
    "ecmp_path_up": PATH,
    "ecmp_path_verdict_info": PATH | {"verdict"},
    "ecmp_path_verdict_since_timestamp_seconds": PATH,
    "ecmp_path_probes_total": PATH,
    "ecmp_path_probe_failures_total": PATH | {"reason"},
    "ecmp_path_probe_phase_seconds": PATH | {"phase"},
    "ecmp_path_last_success_timestamp_seconds": PATH,
    "ecmp_path_tls_earliest_expiry_timestamp_seconds": PATH,
    "ecmp_path_tls_info": PATH | {"version", "cipher", "fingerprint_sha256"},
    "ecmp_path_http_status_code": PATH,
    "ecmp_path_tcp_handshake_rtt_seconds": PATH,
    "ecmp_path_tcp_retransmits_total": PATH,
    "ecmp_path_backend_differs": PATH,
    "ecmp_path_ssh_info": PATH | {"protocol", "software", "comment", "host_key"},
    "ecmp_node_reachability_ratio": {"node"},
    "ecmp_node_verdict_info": {"node", "verdict"},
    "ecmp_node_verdict_since_timestamp_seconds": {"node"},
    "ecmp_node_direct_up": {"node"},
    "ecmp_node_last_reachable_timestamp_seconds": {"node"},
    "ecmp_node_probe_duration_seconds_bucket": {"node", "prober", "le"},
    "ecmp_node_probe_duration_seconds_count": {"node", "prober"},
    "ecmp_node_probe_duration_seconds_sum": {"node", "prober"},
    "ecmp_target_next_hops": {"target", "vip", "router", "stage"},
    "ecmp_target_verdict_info": {"target", "verdict"},
    "ecmp_target_dns_answers": {"target"},
    "ecmp_target_dns_success": {"target"},
    "ecmp_target_dns_lookup_success": {"target", "resolver"},
    "ecmp_target_dns_lookup_seconds": {"target", "resolver"},
    "ecmp_target_dns_unexpected_addresses": {"target"},
    "ecmp_target_dns_missing_addresses": {"target"},
    "ecmp_target_dns_resolvers_disagree": {"target"},
    "ecmp_bgp_neighbor_configured": {"router", "node"},
    "ecmp_bgp_session_up": {"router", "neighbor", "node"},
    "ecmp_bgp_session_established_timestamp_seconds": {"router", "neighbor", "node"},
    "ecmp_bgp_prefixes_received": {"router", "neighbor", "node"},
    "ecmp_next_hop_installed": NEXT_HOP,
    "ecmp_steering_info": {"target", "vip", "router", "method"},
    "ecmp_steering_oracle_agreement_ratio": {"router"},
    "ecmp_steering_agreement_ratio": {"router", "family", "method"},
    "ecmp_steering_compared_flows": {"router", "family", "method"},
    "ecmp_steering_hash_info": ENDPOINT | {"hash"},
    "ecmp_steering_confidence_ratio": ENDPOINT,
    "ecmp_steering_probes_per_path_ratio": ENDPOINT,
    "ecmp_target_stranger_next_hops": ENDPOINT,
    "ecmp_target_unseen_next_hops": ENDPOINT,
    "ecmp_next_hop_flow_share_ratio": NEXT_HOP,
    "ecmp_next_hop_flow_share_expected_ratio": NEXT_HOP,
    "ecmp_flow_share_sampled_flows": ENDPOINT,
    "ecmp_flow_share_chi_square_p_value": ENDPOINT,
    "ecmp_flow_share_polarised": ENDPOINT,
    "ecmp_rehash_timestamp_seconds": ENDPOINT,
    "ecmp_rehash_compared_flows": ENDPOINT,
    "ecmp_rehash_moved_flows_ratio": ENDPOINT,
    "ecmp_trace_packets_total": {"kind"},
    "ecmp_trace_answers_total": {"kind"},
    "ecmp_router_up": {"router"},
    "ecmp_router_snapshot_timestamp_seconds": {"router"},
    "ecmp_router_query_duration_seconds": {"router"},
    "ecmp_exporter_build_info": {"version"},
    "ecmp_exporter_config_last_reload_successful": frozenset(),
    "ecmp_exporter_config_last_reload_success_timestamp_seconds": frozenset(),
    "ecmp_exporter_last_round_timestamp_seconds": frozenset(),
    "ecmp_exporter_rounds_missed_total": frozenset(),
}
RICH = {
    **OUTAGE,
    "routers": {
        "edge": {
            "sessions": {
                "leviathan1": {"established_at": NOW - 60, "prefixes_received": {"4": 2, "6": 1}},
                "leviathan3": "absent",
                "10.9.9.9": "Idle",
            },
            "fib": {"203.0.113.22": "default"},
        }
    },
    "probes": {"web leviathan2": {"failure": "expectation", "connected": True, "probes": 2}},
}


def samples(status: Status, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = render(status, RELOADS, accept)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics") else parse_text
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def value(status: Status, name: str, **labels: str) -> list[float]:
    wanted = set(labels.items())
    return [number for (found, own), number in samples(status).items() if found == name and wanted <= own]


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_metric_of_the_contract_with_its_labels(accept: str) -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for name, labels in samples(status_of(RICH), accept):
        found.setdefault(name, set()).add(frozenset(key for key, _ in labels))
    assert found == {name: {frozenset(labels)} for name, labels in SERIES.items()}


def test_text_and_openmetrics_say_the_same() -> None:
    status = status_of(RICH)
    assert samples(status) == samples(status, OPENMETRICS)


def test_content_types() -> None:
    status = status_of()
    assert render(status, RELOADS, "")[1].startswith("text/plain; version=0.0.4")
    body, content_type = render(status, RELOADS, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_counters_end_in_total_and_nothing_else_does() -> None:
    body, _ = render(status_of(RICH), RELOADS, "")
    kinds = dict(line.split()[2:4] for line in body.decode().splitlines() if line.startswith("# TYPE"))
    assert kinds
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter"), name
    assert all(f"# HELP {name} " in body.decode() for name in kinds)


def test_values() -> None:
    status = status_of(RICH)
    assert value(status, "ecmp_path_up", node="leviathan1", target="web") == [1]
    assert value(status, "ecmp_path_up", node="leviathan2", target="web") == [0]
    assert value(status, "ecmp_path_up", node="leviathan3") == [], "absent while no flow exercises it"
    assert value(status, "ecmp_path_probes_total", node="leviathan2") == [2]
    assert value(status, "ecmp_path_probe_failures_total", node="leviathan2", reason="expectation") == [2]
    assert value(status, "ecmp_path_verdict_info", node="leviathan3", verdict="neighbor_missing") == [1, 1]
    assert value(status, "ecmp_path_probe_phase_seconds", node="leviathan1", phase="tls") == [0.002]
    assert value(status, "ecmp_node_reachability_ratio", node="leviathan1") == [1]
    assert value(status, "ecmp_node_reachability_ratio", node="leviathan3") == [0]
    assert value(status, "ecmp_node_direct_up", node="leviathan2") == []
    assert value(status, "ecmp_node_direct_up", node="leviathan3") == [1]
    assert value(status, "ecmp_target_next_hops", target="web", stage="expected") == [3]
    assert value(status, "ecmp_target_next_hops", target="web", stage="ok") == [1]
    assert value(status, "ecmp_target_next_hops", target="gitea-ssh", stage="installed") == [0], "none is no gap"
    assert value(status, "ecmp_target_dns_answers") == [1]
    assert value(status, "ecmp_bgp_neighbor_configured", node="leviathan3") == [0]
    assert value(status, "ecmp_bgp_neighbor_configured", node="leviathan1") == [1]
    assert value(status, "ecmp_bgp_session_up", neighbor="10.9.9.9", node="") == [0]
    assert value(status, "ecmp_bgp_prefixes_received", node="leviathan1") == [3]
    assert value(status, "ecmp_steering_oracle_agreement_ratio") == [0.75]
    assert value(status, "ecmp_exporter_build_info", version="0.0.test") == [1]
    assert value(status, "ecmp_next_hop_installed", vip="203.0.113.22", node="leviathan3") == [0]
    assert value(status, "ecmp_next_hop_installed", vip="203.0.113.10", node="leviathan1") == [1]
    assert value(status, "ecmp_node_probe_duration_seconds_bucket", node="leviathan1", le="0.005") == [1]
    assert value(status, "ecmp_node_probe_duration_seconds_bucket", node="leviathan1", le="0.0025") == [0]
    assert value(status, "ecmp_node_probe_duration_seconds_sum", node="leviathan1") == [0.004]


def test_values_of_steering() -> None:
    status = status_of(RICH)
    assert value(status, "ecmp_steering_hash_info", target="web", hash="five_tuple") == [1]
    assert value(status, "ecmp_steering_confidence_ratio", target="web") == [0.95]
    assert value(status, "ecmp_steering_probes_per_path_ratio", target="web", router="edge") == [1.5]
    assert value(status, "ecmp_steering_agreement_ratio", router="edge", family="4", method="oracle") == [0.75]
    assert value(status, "ecmp_steering_agreement_ratio", router="edge", family="4", method="trace") == [1]
    assert value(status, "ecmp_steering_compared_flows", method="trace") == [12]
    assert value(status, "ecmp_next_hop_flow_share_ratio", node="leviathan1", next_hop="10.0.0.11") == [10 / 21]
    assert value(status, "ecmp_next_hop_flow_share_ratio", node="leviathan2") == [11 / 21]
    assert value(status, "ecmp_next_hop_flow_share_expected_ratio", node="leviathan2") == [0.5]
    assert value(status, "ecmp_flow_share_sampled_flows", target="web") == [21]
    assert value(status, "ecmp_flow_share_chi_square_p_value", target="web") == [pytest.approx(0.827, abs=0.001)]
    assert value(status, "ecmp_flow_share_polarised", target="web") == [0]
    assert value(status, "ecmp_rehash_moved_flows_ratio", target="web") == [0.3]
    assert value(status, "ecmp_rehash_compared_flows", target="web") == [10]
    assert value(status, "ecmp_rehash_timestamp_seconds", target="web") == [NOW - 600]
    assert value(status, "ecmp_trace_packets_total", kind="segment") == [40]
    assert value(status, "ecmp_trace_answers_total", kind="segment") == [38]
    assert value(status, "ecmp_target_stranger_next_hops", target="web") == [0]
    assert value(status, "ecmp_target_unseen_next_hops", target="web") == [0]
    assert value(status, "ecmp_next_hop_flow_share_ratio", vip="203.0.113.22") == [], "it is forwarded nowhere"
    odd = replace(status.steering[0], strangers=("10.0.0.99",), unseen=("leviathan1", "leviathan2"), polarised=True)
    status = replace(status, steering=(odd,))
    assert value(status, "ecmp_target_stranger_next_hops", target="web") == [1]
    assert value(status, "ecmp_target_unseen_next_hops", target="web") == [2]
    assert value(status, "ecmp_flow_share_polarised", target="web") == [1]


def test_the_least_confidence_of_the_next_hops_with_flows() -> None:
    status = status_of({})
    first, second, third = status.steering[0].hops
    hops = (replace(first, confidence=0.97), second, replace(third, sources=(), confidence=0.0))
    status = replace(status, steering=(replace(status.steering[0], hops=hops),))
    assert value(status, "ecmp_steering_confidence_ratio") == [0.95]
    swept = tuple(replace(hop, confidence=0.0) for hop in status_of({}).steering[0].hops)
    status = replace(status, steering=(replace(status.steering[0], hops=swept),))
    assert value(status, "ecmp_steering_confidence_ratio") == [], "a sweep proves nothing of a single path"


def test_what_is_not_known_of_steering_is_left_out() -> None:
    status = status_of({})
    hops = tuple(replace(hop, sources=(), sampled=0, share=None) for hop in status.steering[0].hops)
    bare = replace(
        status.steering[0],
        hops=hops,
        sampled=0,
        p_value=None,
        polarised=None,
        rehash=Rehash(NOW, 0, 0),
        covered=0,
        unseen=None,
    )
    trust = tuple(replace(one, oracle_agreement=None, oracle_compared=0) for one in status.trust)
    status = replace(status, steering=(bare,), trust=trust)
    for name in (
        "ecmp_next_hop_flow_share_ratio",
        "ecmp_flow_share_chi_square_p_value",
        "ecmp_flow_share_polarised",
        "ecmp_steering_confidence_ratio",
        "ecmp_steering_probes_per_path_ratio",
        "ecmp_rehash_moved_flows_ratio",
        "ecmp_target_unseen_next_hops",
    ):
        assert value(status, name) == [], name
    assert value(status, "ecmp_steering_agreement_ratio", method="oracle") == []
    assert value(status, "ecmp_steering_compared_flows", method="oracle") == [0]
    assert value(status, "ecmp_flow_share_sampled_flows") == [0]
    assert len(value(status, "ecmp_next_hop_flow_share_expected_ratio")) == 3
    assert value(replace(status, steering=(replace(bare, rehash=None),)), "ecmp_rehash_timestamp_seconds") == []


def test_targets_that_share_a_vip_share_its_next_hops() -> None:
    status = status_of({"routers": {"edge": {"fib": ["leviathan1", "leviathan2"]}}})
    own = status.steering[0]
    first, second = own.hops
    other = replace(own, target="web", port=443, hops=(replace(first, sampled=29), replace(second, sampled=0)))
    status = replace(status, steering=(own, other))
    assert value(status, "ecmp_next_hop_flow_share_ratio", node="leviathan1") == [39 / 50]
    assert value(status, "ecmp_next_hop_flow_share_ratio", node="leviathan2") == [11 / 50]
    assert value(status, "ecmp_next_hop_flow_share_expected_ratio") == [0.5, 0.5]


@settings(deadline=None, max_examples=60)
@given(data())
def test_the_shares_of_a_vip_are_those_of_one_whole(draw: DataObject) -> None:
    """Whatever the targets, VIPs and routers: no series stands there twice, and all shares make one."""
    names = sampled_from(["a", "b", "c"])
    hop = builds(
        HopSteering,
        via=names,
        node=none() | names,
        next_hop=names,
        sources=just(()),
        confidence=floats(0, 1),
        sampled=integers(0, 100),
        share=none(),
        expected_share=floats(0, 1),
    )
    endpoint = builds(
        SteeringStatus,
        target=names,
        vip=names,
        router=names,
        port=integers(1, 65535),
        method=just("trace"),
        why_not_stronger=just(""),
        hashing=sampled_from(HashKind),
        hops=lists(hop, max_size=4).map(tuple),
        sampled=integers(0, 100),
        p_value=none(),
        polarised=none() | booleans(),
        rehash=none(),
        probes=integers(0, 9),
        covered=integers(0, 9),
    )
    found = draw.draw(lists(endpoint, max_size=6, unique_by=lambda one: (one.target, one.vip, one.router)))
    seen = samples(replace(status_of(), steering=tuple(found)))  # fails where a series stands there twice
    wholes: dict[tuple[str, str], float] = {}
    for (name, labels), share in seen.items():
        if name == "ecmp_next_hop_flow_share_ratio":
            key = (dict(labels)["router"], dict(labels)["vip"])
            wholes[key] = wholes.get(key, 0) + share
    met = {(one.router, one.vip) for one in found if any(hop.sampled for hop in one.hops)}
    assert wholes == {key: pytest.approx(1) for key in met}


def test_exactly_one_verdict_for_each_path_node_and_target() -> None:
    status = status_of(RICH)
    assert len(value(status, "ecmp_path_verdict_info")) == len(status.paths)
    assert len(value(status, "ecmp_node_verdict_info")) == len(status.nodes)
    assert len(value(status, "ecmp_target_verdict_info")) == len(status.targets)


def test_a_series_disappears_with_its_path() -> None:
    board = Board("0.0.test")
    with_stranger = build({"routers": {"edge": {"fib": ["leviathan1", "leviathan2", "leviathan3", "10.0.0.99"]}}})
    assert value(run(board, with_stranger), "ecmp_path_verdict_info", next_hop="10.0.0.99") == [1]
    world = build({})
    later = run(board, world, NOW + 15)
    assert not [key for key in samples(later) if ("next_hop", "10.0.0.99") in key[1]]
    smaller = build({"nodes": {"leviathan1": ["10.0.0.11"]}})
    board.keep({("edge", "git", "203.0.113.22")}, smaller.expected)
    last = run(board, smaller, NOW + 30)
    assert not [key for key in samples(last) if ("node", "leviathan2") in key[1]]
    assert value(last, "ecmp_path_probes_total", node="leviathan1") == [3]


def test_an_unknown_router_leaves_out_what_it_did_not_say() -> None:
    status = status_of({"routers": {"edge": {"snapshot": False}}, "probes": {"leviathan1": "ok"}})
    assert value(status, "ecmp_router_up") == [0]
    assert value(status, "ecmp_router_snapshot_timestamp_seconds") == []
    assert value(status, "ecmp_bgp_neighbor_configured") == []
    assert value(status, "ecmp_target_next_hops", stage="installed") == []
    assert value(status, "ecmp_next_hop_installed") == []
    assert value(status, "ecmp_path_up", node="leviathan1") == [1], "probes alone decide up or down"


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "ä<&>"])
def test_label_values_are_escaped(text: str) -> None:
    status = status_of({"nodes": {text: ["10.0.0.1"]}})
    assert value(status, "ecmp_node_verdict_info", node=text) == [1]


def test_failed_reloads_show() -> None:
    body, _ = render(status_of(), Reloads(successful=False, last_success=5.0), "")
    assert b"ecmp_exporter_config_last_reload_successful 0.0" in body
    assert b"ecmp_exporter_config_last_reload_success_timestamp_seconds 5.0" in body


def test_promtool_has_nothing_to_say() -> None:
    body, _ = render(status_of(RICH), RELOADS, "")
    promtool = shutil.which("promtool")
    if promtool is not None:
        done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    # What promtool would say, as far as a name shows it.
    for name in (line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")):
        assert name.startswith("ecmp_")
        assert not name.endswith(("_milliseconds", "_ms", "_minutes", "_hours", "_count", "_sum", "_bucket"))


def test_a_probe_past_the_router() -> None:
    """Absent while there is none (test_every_metric_of_the_contract_with_its_labels): here is one."""
    status = status_of(RICH)
    targets = [
        replace(target, paths=tuple(replace(path, direct=DirectProbe(NOW, True, "", 0.1)) for path in target.paths))
        for target in status.targets
    ]
    labels = {"target": "web", "vip": "203.0.113.10", "port": "443", "router": "edge", "node": "leviathan3"}
    found = samples(replace(status, targets=tuple(targets)))
    assert found[PAST_THE_ROUTER, frozenset(labels.items())] == 1


def test_the_manual_knows_the_metrics_of_steering() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "steering.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(ecmp_[a-z_]+)`", text))
    assert PAST_THE_ROUTER in named
    named -= {PAST_THE_ROUTER}
    assert named <= set(SERIES)
    steering = re.compile("ecmp_(steering|flow_share|next_hop_flow|rehash|trace|target_(stranger|unseen))")
    assert {name for name in SERIES if steering.match(name)} == named
