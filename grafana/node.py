"""ecmp-node: one node from outside, its paths, its sessions, and how long probes through it take."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana import answers
from grafana.board import Board, Section, session_flaps, to, verdict_changes
from grafana.panels import (
    Look,
    Query,
    heatmap_panel,
    lines_panel,
    stat_panel,
    timeline_panel,
)
from grafana.paths import paths_table
from grafana.promql import RATE, select, worst_path, worst_summary
from grafana.verdicts import GREEN, ORANGE, PATH, RED, SUMMARY, either, words

_NODE = 'node="$node"'


def board() -> Board:
    return Board(
        uid="ecmp-node",
        description="Whether one node can be reached from outside, why not, and since when.",
        variable=("node", "ecmp_node_verdict_info"),
        sections=(
            Section("", (*_now(), paths_table(_NODE, columns_for="node"))),
            Section("History", (_history(), _sessions(), _reachability())),
            Section("Probes through the node", (_latency(), _quantiles(), _phases(), _failures(), *_connections())),
            Section("Share of the flows", (_shares(),)),
        ),
        annotations=(verdict_changes(_NODE), session_flaps(_NODE)),
    )


def _connections() -> list[Panel]:
    return [answers.handshakes(_NODE, "target", "vip"), answers.retransmissions(_NODE, "target", "vip")]


def _now() -> list[Panel]:
    size = (4, 4)
    return [
        stat_panel(
            Look("Verdict", "On the node, by each exporter.", "none", size, mappings=words(SUMMARY)),
            [Query(worst_summary("ecmp_node_verdict_info", "instance", _NODE), "{{instance}}")],
        ),
        stat_panel(
            Look("Why", "The worst verdict on a path through the node.", "none", size, mappings=words(PATH)),
            [Query(worst_path("instance", _NODE), "{{instance}}")],
        ),
        stat_panel(
            Look("Since", "When the node's verdict last changed, or the exporter started.", "dateTimeFromNow", size),
            [
                Query(
                    f"min by (instance) ({select('ecmp_node_verdict_since_timestamp_seconds', _NODE)}) * 1000",
                    "{{instance}}",
                )
            ],
        ),
        stat_panel(
            Look(
                "Reachability",
                "Paths that are ok per path that is expected.",
                "percentunit",
                size,
                steps=((None, ORANGE), (1, GREEN)),
            ),
            [Query(f"min by (instance) ({select('ecmp_node_reachability_ratio', _NODE)})", "{{instance}}")],
        ),
        stat_panel(
            Look(
                "Direct check",
                "Whether the node answers past the router's BGP. Answers while it is unreachable: the way to it is "
                "broken, not the node.",
                "none",
                size,
                mappings=either("silent", RED, "answers", GREEN),
            ),
            [Query(f"min by (instance) ({select('ecmp_node_direct_up', _NODE)})", "{{instance}}")],
        ),
        stat_panel(
            Look(
                "BGP neighbor",
                "Whether each router is configured to know the node, as a neighbor or in a dynamic range.",
                "none",
                size,
                mappings=either("missing", RED, "configured", GREEN),
                links=[to("ecmp-router", "This router", "router", "${__field.labels.router}")],
            ),
            [Query(f"min by (router) ({select('ecmp_bgp_neighbor_configured', _NODE)})", "{{router}}")],
        ),
    ]


def _history() -> Panel:
    worst = worst_path("instance, target", _NODE)
    look = Look(
        "Verdict history",
        "The worst verdict on the paths to each target through this node; the 30 worst of this time.",
        "none",
        (24, 9),
        mappings=words(PATH),
        links=[to("ecmp-target", "This target", "target", "${__field.labels.target}")],
    )
    bad = select("ecmp_path_verdict_info", _NODE, 'verdict!="ok"')
    every = select("ecmp_path_verdict_info", _NODE)
    by = "count by (instance, target)"
    limit = f"topk(30, {by} (last_over_time({bad}[$__range] @ end())) or {by} ({every} @ end()) * 0)"
    return timeline_panel(look, [Query(f"{worst} and on (instance, target) {limit}", "{{target}} ({{instance}})")])


def _sessions() -> Panel:
    look = Look(
        "BGP sessions",
        "Whether each session with the node is Established. No row: no router is configured to have one.",
        "none",
        (12, 8),
        mappings=either("down", RED, "Established", GREEN),
        no_value="No router has a BGP session with this node.",
    )
    up = f"min by (router, neighbor) ({select('ecmp_bgp_session_up', _NODE)})"
    return timeline_panel(look, [Query(up, "{{router}}: {{neighbor}}")])


def _reachability() -> Panel:
    look = Look(
        "Reachability over time",
        "Paths that are ok per path that is expected, as each exporter sees it.",
        "percentunit",
        (12, 8),
        minimum=0,
        maximum=1,
    )
    return lines_panel(
        look, [Query(f"min by (instance) ({select('ecmp_node_reachability_ratio', _NODE)})", "{{instance}}")]
    )


def _latency() -> Panel:
    look = Look("Probe durations", "How long probes through the node took, successes and failures.", "s", (12, 9))
    bucket = select("ecmp_node_probe_duration_seconds_bucket", _NODE)
    return heatmap_panel(look, Query(f"sum by (le) (rate({bucket}{RATE}))", "{{le}}"))


def _quantiles() -> Panel:
    bucket = select("ecmp_node_probe_duration_seconds_bucket", _NODE)
    look = Look("Probe duration, median and 95th percentile", "By prober, from the histogram's buckets.", "s", (12, 9))
    return lines_panel(
        look,
        [
            Query(f"histogram_quantile({q}, sum by (le, prober) (rate({bucket}{RATE})))", f"{{{{prober}}}} {name}")
            for q, name in (("0.5", "median"), ("0.95", "95%"))
        ],
    )


def _phases() -> Panel:
    look = Look(
        "Phases of a probe",
        "Where the time of a probe goes, on average over the node's paths: resolve, connect, tls, banner, processing, "
        "transfer.",
        "s",
        (12, 9),
        minimum=0,
    )
    phases = f"avg by (phase) ({select('ecmp_path_probe_phase_seconds', _NODE)})"
    return lines_panel(look, [Query(phases, "{{phase}}")], stacked=True)


def _failures() -> Panel:
    look = Look(
        "Failures by reason",
        "Probes through the node that failed, per second. None is shown while none ever failed.",
        "ops",
        (12, 9),
        no_value="No probe through this node has failed.",
        minimum=0,
    )
    rate = f"sum by (target, reason) (rate({select('ecmp_path_probe_failures_total', _NODE)}{RATE}))"
    return lines_panel(look, [Query(f"topk(20, {rate} > 0)", "{{target}}: {{reason}}")])


def _shares() -> Panel:
    look = Look(
        "Share of the flows that the node gets",
        "Measured with sampled flows, by router and VIP; the 10 highest. And the share that the weights give.",
        "percentunit",
        (24, 9),
        minimum=0,
    )
    by = "avg by (router, vip)"
    return lines_panel(
        look,
        [
            Query(f"topk(10, {by} ({select('ecmp_next_hop_flow_share_ratio', _NODE)}))", "{{router}} {{vip}}"),
            Query(
                f"topk(10, {by} ({select('ecmp_next_hop_flow_share_expected_ratio', _NODE)}))",
                "{{router}} {{vip}} expected",
            ),
        ],
    )
