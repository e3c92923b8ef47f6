"""ecmp-target: one target, its VIPs and paths, from expected to ok."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana import answers
from grafana.board import Board, Section, to, verdict_changes
from grafana.panels import Column, Look, Query, lines_panel, stat_panel, table_panel, timeline_panel
from grafana.paths import paths_table
from grafana.promql import RATE, ever_troubled, select, worst_named, worst_path, worst_summary
from grafana.verdicts import GREEN, ORANGE, PATH, RED, SUMMARY, either, words

_TARGET = 'target="$target"'


def board() -> Board:
    return Board(
        uid="ecmp-target",
        description="Whether one target can be reached through every path that should lead to it.",
        variable=("target", "ecmp_target_verdict_info"),
        sections=(
            Section("", (*_now(), paths_table(_TARGET, columns_for="target"))),
            Section("History", (_history(), _stages(), _probes())),
            Section("Probes", (_phases(), _failures())),
            Section("What answers show", answers.of_target(_TARGET)),
            Section("The target's name", answers.of_name(_TARGET)),
            Section("Flows", (_steering(), _shares(), _oddities(), _moved())),
        ),
        annotations=(verdict_changes(_TARGET),),
    )


def _now() -> list[Panel]:
    hops = "ecmp_target_next_hops"
    ok, expected = (
        f"min by (vip, router) ({select(hops, _TARGET, matcher)})" for matcher in ('stage="ok"', 'stage="expected"')
    )
    return [
        stat_panel(
            Look("Verdict", "On the target, by each exporter.", "none", (4, 4), mappings=words(SUMMARY)),
            [Query(worst_summary("ecmp_target_verdict_info", "instance", _TARGET), "{{instance}}")],
        ),
        stat_panel(
            Look("Why", "The worst verdict on a path to the target.", "none", (4, 4), mappings=words(PATH)),
            [Query(worst_path("instance", _TARGET), "{{instance}}")],
        ),
        stat_panel(
            Look(
                "Paths left",
                "Next hops that are ok, of the VIP that has fewest. With one left the next failure is an outage.",
                "short",
                (4, 4),
                steps=((None, ORANGE), (2, GREEN)),
                decimals=0,
            ),
            [Query(f"min({ok})", "ok"), Query(f"min({expected})", "expected")],
        ),
        stat_panel(
            Look(
                "DNS",
                "Whether the last look-up of the target's name worked, and how many addresses it gave. No data: the "
                "target is an address.",
                "none",
                (4, 4),
                mappings=either("failed", RED, "worked", GREEN),
                no_value="an address, no name",
            ),
            [Query(f"min by (instance) ({select('ecmp_target_dns_success', _TARGET)})", "{{instance}}")],
        ),
        *answers.now(_TARGET),
    ]


def _history() -> Panel:
    worst = worst_named("node", _TARGET)
    look = Look(
        "Verdict history",
        "The worst verdict on the target's paths through each node, by any exporter; the 30 worst nodes of this time.",
        "none",
        (24, 9),
        mappings=words(PATH),
        links=[to("ecmp-node", "This node", "node", "${__field.labels.node}")],
    )
    return timeline_panel(look, [Query(f"{worst} and on (node) {ever_troubled('node', 30, _TARGET)}", "{{node}}")])


def _stages() -> Panel:
    look = Look(
        "Next hops by stage",
        "Of all VIPs of the target: expected, announced, installed, exercised, ok. Of several exporters the least.",
        "short",
        (12, 9),
        minimum=0,
    )
    hops = f"sum by (stage) (min by (vip, router, stage) ({select('ecmp_target_next_hops', _TARGET)}))"
    return lines_panel(look, [Query(hops, "{{stage}}")])


def _probes() -> Panel:
    look = Look(
        "Probes per second",
        "Probes to the target, by node; the 20 busiest nodes.",
        "ops",
        (12, 9),
        minimum=0,
    )
    rate = f"sum by (node) (rate({select('ecmp_path_probes_total', _TARGET)}{RATE}))"
    return lines_panel(look, [Query(f"topk(20, {rate})", "{{node}}")])


def _phases() -> Panel:
    look = Look(
        "Phases of a probe",
        "The slowest path's time in each phase of its last probe, by node; the 20 longest.",
        "s",
        (12, 9),
        minimum=0,
    )
    phases = f"topk(20, max by (node, phase) ({select('ecmp_path_probe_phase_seconds', _TARGET)}))"
    return lines_panel(look, [Query(phases, "{{node}} {{phase}}")])


def _failures() -> Panel:
    look = Look(
        "Failures by reason",
        "Probes to the target that failed, per second. None is shown while none ever failed.",
        "ops",
        (12, 9),
        no_value="No probe to this target has failed.",
        minimum=0,
    )
    rate = f"sum by (node, reason) (rate({select('ecmp_path_probe_failures_total', _TARGET)}{RATE}))"
    return lines_panel(look, [Query(f"topk(20, {rate} > 0)", "{{node}}: {{reason}}")])


def _steering() -> Panel:
    look = Look(
        "How flows get onto its paths",
        "The steering method, what the router hashes on, how surely flows take the next hops that they are known for, "
        "and how many flows are known by their next hop. See docs/steering.md.",
        "short",
        (24, 7),
    )
    by = "by (instance, vip, router)"
    columns = [
        Column("vip", "VIP"),
        Column("router", "Router", links=[to("ecmp-router", "This router", "router", "${__value.raw}")]),
        Column("method", "Method"),
        Column("hash", "Hashes on"),
        Column("Value #C", "Confidence", "percentunit"),
        Column("Value #D", "Sampled flows", "short"),
        Column("Value #E", "Probes per path", "short"),
        Column("instance", "Exporter"),
    ]
    queries = [
        f"max by (instance, vip, router, method) ({select('ecmp_steering_info', _TARGET)})",
        f"max by (instance, vip, router, hash) ({select('ecmp_steering_hash_info', _TARGET)})",
        f"min {by} ({select('ecmp_steering_confidence_ratio', _TARGET)})",
        f"max {by} ({select('ecmp_flow_share_sampled_flows', _TARGET)})",
        f"max {by} ({select('ecmp_steering_probes_per_path_ratio', _TARGET)})",
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="VIP")


def _shares() -> Panel:
    mine = f"and on (job, instance, router, vip) {select('ecmp_target_next_hops', _TARGET)}"
    by = "avg by (router, vip, node)"
    measured = f"{by} ({select('ecmp_next_hop_flow_share_ratio')} {mine})"
    look = Look(
        "Share of the flows",
        "Measured share of the flows of the target's VIPs that each node gets; the 20 highest. Targets with the same "
        "VIP share it.",
        "percentunit",
        (12, 9),
        minimum=0,
    )
    return lines_panel(look, [Query(f"topk(20, {measured})", "{{node}} {{vip}}")])


def _oddities() -> Panel:
    look = Look(
        "Next hops that should not be, or are not seen",
        "Strangers: flows take them although they are not in the FIB. Unseen: in the FIB, and no sampled flow took "
        "them. Both should be 0.",
        "short",
        (12, 9),
        minimum=0,
    )
    by = "max by (vip, router)"
    return lines_panel(
        look,
        [
            Query(f"topk(10, {by} ({select('ecmp_target_stranger_next_hops', _TARGET)}))", "strangers {{vip}}"),
            Query(f"topk(10, {by} ({select('ecmp_target_unseen_next_hops', _TARGET)}))", "unseen {{vip}}"),
        ],
    )


def _moved() -> Panel:
    look = Look(
        "Flows moved by the last change of next hops",
        "Of the flows known before and after, the share that moved although their next hop stayed: connections that "
        "broke. No data before the first change.",
        "percentunit",
        (24, 8),
        no_value="The next hops have not changed since the exporter started.",
        minimum=0,
        maximum=1,
    )
    moved = f"topk(20, max by (vip, router) ({select('ecmp_rehash_moved_flows_ratio', _TARGET)}))"
    return lines_panel(look, [Query(moved, "{{vip}} {{router}}")])
