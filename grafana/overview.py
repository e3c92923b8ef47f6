"""ecmp-overview: who is broken now, since when, why, and what to do; then how it came to be."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana import answers
from grafana.board import Board, Section, node_changes, restarts, runbook, session_flaps, to
from grafana.panels import (
    Column,
    Look,
    Query,
    bars_panel,
    heatmap_panel,
    lines_panel,
    matrix_panel,
    stat_panel,
    table_panel,
    timeline_panel,
)
from grafana.promql import (
    BROKEN,
    DOWN,
    RATE,
    UNJUDGED,
    count_or_zero,
    count_paths,
    ever_troubled,
    exporters_up,
    most_troubled,
    named,
    select,
    since,
    with_runbook,
    worst_named,
    worst_summary,
)
from grafana.verdicts import BLUE, GREEN, ORANGE, PATH, RED, SUMMARY, colors, words

_STAGES = ("expected", "announced", "installed", "exercised", "ok")
# A path that is not known to work counts as not ok, so no share is red: only verdicts say that something is broken.
_RATIO = ((None, ORANGE), (1, GREEN))
_NOTHING = "Nothing is known to be broken. If the numbers above say No data, nothing is known at all."


def board() -> Board:
    return Board(
        uid="ecmp-overview",
        description="Which node or target cannot be reached from outside, since when, why, and what to do about it.",
        sections=(
            Section("", (*_counts(), _broken_nodes(), _broken_targets())),
            Section("How it came to be", (_history(), _stages_over_time(), _latency())),
            Section("What answers show", answers.overview()),
            Section("Everything that should work", (_matrix(), _reachability(), _stages())),
        ),
        annotations=(node_changes(), session_flaps(), restarts()),
    )


def _counts() -> list[Panel]:
    once = "Counted once, however many exporters see it. No data: no exporter is scraped."
    return [
        _count("Nodes unreachable", f"No path through the node works. {once}", RED, _summary("node", "unreachable")),
        _count("Nodes degraded", f"Some path through the node is not ok. {once}", ORANGE, _summary("node", "degraded")),
        _count("Targets unreachable", f"No path to it works. {once}", RED, _summary("target", "unreachable")),
        _count("Targets degraded", f"Some path to it is not ok. {once}", ORANGE, _summary("target", "degraded")),
        _count("Paths down", f"Paths whose verdict says what is wrong. {once}", RED, count_paths(DOWN)),
        _count(
            "Paths not judged",
            f"unverified or router_unknown: neither known to work nor known to be broken. {once}",
            BLUE,
            count_paths(UNJUDGED),
            calm="transparent",
        ),
        _count(
            "Routers silent",
            f"Routers that did not answer an exporter when last asked: their paths get router_unknown. {once}",
            ORANGE,
            count_or_zero("router", f"{select('ecmp_router_up')} == 0", select("ecmp_router_up")),
            uid="ecmp-router",
        ),
        _count(
            "Exporters silent",
            "Exporters that Prometheus could not scrape. Nothing here shows what they see.",
            ORANGE,
            count_or_zero("job, instance", f"{exporters_up()} == 0", exporters_up()),
            uid="ecmp-exporter",
        ),
    ]


def _summary(kind: str, verdict: str) -> str:
    metric = f"ecmp_{kind}_verdict_info"
    matcher = f'verdict="{verdict}"'
    return count_or_zero(kind, select(metric, matcher), select(metric))


def _count(title: str, description: str, color: str, expr: str, *, calm: str = GREEN, uid: str = "") -> Panel:
    links = [to(uid, f"To the {uid.removeprefix('ecmp-')} dashboard")] if uid else []
    look = Look(title, description, "short", (3, 4), steps=((None, calm), (1, color)), links=links, decimals=0)
    return stat_panel(look, [Query(expr)])


def _broken_nodes() -> Panel:
    bad = select("ecmp_path_verdict_info", BROKEN)
    by = "by (node, verdict)"
    of_node = f"{bad} * 0 + on (job, instance, node) group_left ()"
    verdict = worst_summary("ecmp_node_verdict_info", "job, instance, node")
    queries = [
        f"{with_runbook(f'min {by} ({named(since(BROKEN))})')} * 1000",
        f"max {by} ({named(f'{of_node} {verdict}')})",
        f"count {by} (count by (node, verdict, target) ({named(bad)}))",
        f"count {by} (count by (node, verdict, job, instance) ({named(bad)}))",
        f"min {by} ({named(of_node + ' ' + select('ecmp_node_reachability_ratio'))})",
    ]
    look = Look(
        "Which node is broken, since when, and why",
        "Each node with a path that is not ok, and each verdict on its paths. Reachable is the share of the node's "
        "paths that are ok; 0% is unreachable from outside. Since is the oldest change among them; a start of the "
        "exporter counts as one, then the history below knows more. Seen by: how many exporters say so. An address "
        "instead of a node: a next hop that no expected node has.",
        "short",
        (15, 9),
        no_value=_NOTHING,
    )
    columns = [
        Column("node", "Node", links=[to("ecmp-node", "This node", "node", "${__value.raw}")]),
        Column("Value #B", "State", "none", mappings=words(SUMMARY), width=105),
        Column("verdict", "Why", mappings=colors(PATH), links=[runbook("${__data.fields.Runbook}")]),
        Column("Value #A", "Since", "dateTimeFromNow", width=125),
        Column("Value #E", "Paths ok", "percentunit", width=80),
        Column("Value #C", "Targets", "short", width=75),
        Column("Value #D", "Seen by", "short", width=75),
        Column("runbook", "Runbook", links=[runbook("${__value.raw}")]),
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="State", descending=True)


def _broken_targets() -> Panel:
    rank = f"{worst_summary('ecmp_target_verdict_info', 'target')} > 1"
    ok, expected = (f"sum by (target) (min by (target, vip, router) ({_stage(stage)}))" for stage in ("ok", "expected"))
    queries = [
        rank,
        f"{ok} / {expected} and on (target) {rank}",
        f"min by (target) ({since(BROKEN)}) * 1000 and on (target) {rank}",
    ]
    look = Look(
        "Which target is hurt",
        "Each target with a path that is not ok: unreachable if none works. Paths ok is the share of its next hops "
        "that are ok, of several exporters the least.",
        "short",
        (9, 9),
        no_value=_NOTHING,
    )
    columns = [
        Column("target", "Target", links=[to("ecmp-target", "This target", "target", "${__value.raw}")]),
        Column("Value #A", "Verdict", "none", mappings=words(SUMMARY)),
        Column("Value #B", "Paths ok", "percentunit", steps=_RATIO, width=90),
        Column("Value #C", "Since", "dateTimeFromNow", width=125),
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="Paths ok")


def _history() -> Panel:
    worst = worst_named("node")
    look = Look(
        "Verdict history",
        "The worst verdict on any path through each node, by any exporter. Of more than 20 nodes those with the most "
        "paths that were not ok in this time.",
        "none",
        (24, 10),
        mappings=words(PATH),
        links=[to("ecmp-node", "This node", "node", "${__field.labels.node}")],
    )
    return timeline_panel(look, [Query(f"{worst} and on (node) {ever_troubled('node', 20)}", "{{node}}")])


def _stages_over_time() -> Panel:
    hops = f"sum by (stage) (min by (target, vip, router, stage) ({select('ecmp_target_next_hops')}))"
    look = Look(
        "Next hops by stage, all targets",
        "Next hops of all VIPs: expected, announced over BGP, installed in the router's FIB, exercised by a flow, and "
        "ok. Of several exporters the least. A gap between two lines is where traffic is lost.",
        "short",
        (12, 9),
        minimum=0,
    )
    return lines_panel(look, [Query(hops, "{{stage}}")])


def _latency() -> Panel:
    look = Look(
        "Probe durations",
        "How long probes took, through all nodes. A second band beside the usual one is often a single node.",
        "s",
        (12, 9),
    )
    return heatmap_panel(
        look, Query(f"sum by (le) (rate({select('ecmp_node_probe_duration_seconds_bucket')}{RATE}))", "{{le}}")
    )


def _matrix() -> Panel:
    worst = worst_named("node, target")
    limits = f"and on (node) {most_troubled('node', 40)} and on (target) {most_troubled('target', 20)}"
    look = Look(
        "Nodes and targets",
        "The worst verdict on the paths of each target through each node; empty where the node is not expected to "
        "carry the target. Of more than 40 nodes or 20 targets those with the most paths that are not ok.",
        "none",
        (24, 10),
        mappings=words(PATH),
        links=[to("ecmp-target", "This target", "target", "${__field.name}")],
    )
    row_links = [to("ecmp-node", "This node", "node", "${__value.raw}")]
    return matrix_panel(look, "node", "target", Query(f"{worst} {limits}"), row_links=row_links)


def _reachability() -> Panel:
    look = Look(
        "Reachability per node",
        "Paths that are ok per path that is expected; of several exporters the least. The 20 lowest.",
        "percentunit",
        (8, 10),
        steps=_RATIO,
        links=[to("ecmp-node", "This node", "node", "${__field.labels.node}")],
        minimum=0,
        maximum=1,
    )
    ratio = f"sort(bottomk(20, min by (node) ({select('ecmp_node_reachability_ratio')})))"
    return bars_panel(look, [Query(ratio, "{{node}}")])


def _stages() -> Panel:
    counts = [f"min by (target, vip, router) ({_stage(stage)})" for stage in _STAGES]
    look = Look(
        "Next hops of each VIP",
        "How many next hops reach each stage on the way from expected to ok; of several exporters the least. The first "
        "stage that has fewer than the one before is where to look. Empty: not known.",
        "short",
        (16, 10),
        decimals=0,
    )
    letters = "ABCDE"
    columns = [
        Column("target", "Target", links=[to("ecmp-target", "This target", "target", "${__value.raw}")]),
        Column("vip", "VIP"),
        Column("router", "Router", links=[to("ecmp-router", "This router", "router", "${__value.raw}")]),
        *(
            Column(f"Value #{letter}", stage.title(), "short", width=95)
            for letter, stage in zip(letters, _STAGES, strict=True)
        ),
        Column("Value #F", "Missing", "short", steps=((None, GREEN), (1, ORANGE)), width=95),
    ]
    missing = f"{counts[0]} - {counts[-1]}"
    queries = [Query(expr) for expr in (*counts, missing)]
    return table_panel(look, columns, queries, sort="Missing", descending=True)


def _stage(stage: str) -> str:
    return select("ecmp_target_next_hops", f'stage="{stage}"')
