"""ecmp-router: one router, what it was told, believes and forwards by, and how well it can be read."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import Board, Section, session_flaps, to
from grafana.panels import Column, Look, Query, bars_panel, lines_panel, stat_panel, table_panel, timeline_panel
from grafana.promql import select
from grafana.verdicts import BLUE, GREEN, ORANGE, RED, either

_ROUTER = 'router="$router"'
_ESTABLISHED = either("down", RED, "Established", GREEN)


def board() -> Board:
    return Board(
        uid="ecmp-router",
        description="What one router was told, believes and forwards by, and whether the exporter can read it.",
        variable=("router", "ecmp_router_up"),
        sections=(
            Section("", (*_now(), _neighbors(), _sessions())),
            Section("Sessions over time", (_session_history(), _prefixes())),
            Section("FIB", (_fib(), _installed())),
            Section("Spread of the flows", (_shares(), _evenness(), _polarised())),
            Section("How well it is read", (_agreement(), _query_duration(), _age())),
        ),
        annotations=(session_flaps(_ROUTER),),
    )


def _now() -> list[Panel]:
    size = (4, 4)
    by = "by (instance)"
    configured = select("ecmp_bgp_neighbor_configured", _ROUTER)
    session = select("ecmp_bgp_session_up", _ROUTER)
    bad = ((None, GREEN), (1, RED))
    return [
        stat_panel(
            Look(
                "Answers",
                "Whether the router answered each exporter when last asked. If not, verdicts are router_unknown.",
                "none",
                size,
                mappings=either("silent", RED, "answers", GREEN),
            ),
            [Query(f"min {by} ({select('ecmp_router_up', _ROUTER)})", "{{instance}}")],
        ),
        stat_panel(
            Look(
                "Snapshot age",
                "How old the tables are that verdicts rest on.",
                "s",
                size,
                steps=((None, GREEN), (60, ORANGE), (300, RED)),
            ),
            [Query(f"time() - min {by} ({select('ecmp_router_snapshot_timestamp_seconds', _ROUTER)})", "{{instance}}")],
        ),
        stat_panel(
            Look(
                "Neighbors missing",
                "Nodes that the router is not configured to know.",
                "short",
                size,
                steps=bad,
                decimals=0,
            ),
            [Query(f"count(min by (node) ({configured}) == 0) or count({configured}) * 0")],
        ),
        stat_panel(
            Look("Sessions down", "Sessions that are not Established.", "short", size, steps=bad, decimals=0),
            [Query(f"count(min by (neighbor) ({session}) == 0) or count({session}) * 0")],
        ),
        stat_panel(
            Look(
                "Oracle agreement",
                "Share of flows for which the router's own answer agreed with what was observed. No data: nothing was "
                "compared.",
                "percentunit",
                size,
                steps=((None, ORANGE), (0.95, GREEN)),
                no_value="not compared",
            ),
            [Query(f"min {by} ({select('ecmp_steering_oracle_agreement_ratio', _ROUTER)})", "{{instance}}")],
        ),
        stat_panel(
            Look("Last query took", "How long the last reading of the router took.", "s", size),
            [Query(f"max {by} ({select('ecmp_router_query_duration_seconds', _ROUTER)})", "{{instance}}")],
        ),
    ]


def _neighbors() -> Panel:
    look = Look(
        "Configured neighbors",
        "Each expected node, and whether the router is configured to know it; by any exporter. Missing: the node "
        "takes no traffic from this router, and nothing else says so.",
        "none",
        (8, 9),
    )
    columns = [
        Column("node", "Node", links=[to("ecmp-node", "This node", "node", "${__value.raw}")]),
        Column("Value", "Neighbor", "none", mappings=either("missing", RED, "configured", GREEN)),
    ]
    configured = f"min by (node) ({select('ecmp_bgp_neighbor_configured', _ROUTER)})"
    return table_panel(look, columns, [Query(configured)], sort="Neighbor")


def _sessions() -> Panel:
    look = Look("Sessions", "Each BGP session: its state, since when, and the prefixes received.", "short", (16, 9))
    by = "by (neighbor, node)"
    columns = [
        Column("neighbor", "Neighbor"),
        Column("node", "Node", links=[to("ecmp-node", "This node", "node", "${__value.raw}")]),
        Column("Value #A", "Session", "none", mappings=_ESTABLISHED),
        Column("Value #B", "Established", "dateTimeFromNow"),
        Column("Value #C", "Prefixes", "short"),
    ]
    queries = [
        f"min {by} ({select('ecmp_bgp_session_up', _ROUTER)})",
        f"max {by} ({select('ecmp_bgp_session_established_timestamp_seconds', _ROUTER)}) * 1000",
        f"min {by} ({select('ecmp_bgp_prefixes_received', _ROUTER)})",
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="Session")


def _session_history() -> Panel:
    up = f"min by (neighbor, node) ({select('ecmp_bgp_session_up', _ROUTER)})"
    ever = f"min by (neighbor, node) (min_over_time({select('ecmp_bgp_session_up', _ROUTER)}[$__range] @ end()))"
    look = Look(
        "Session history",
        "Whether each session is Established. Of more than 30 those that were down in this time.",
        "none",
        (24, 9),
        mappings=_ESTABLISHED,
        links=[to("ecmp-node", "This node", "node", "${__field.labels.node}")],
    )
    expr = f"{up} and on (neighbor, node) bottomk(30, {ever})"
    return timeline_panel(look, [Query(expr, "{{node}} {{neighbor}}")])


def _prefixes() -> Panel:
    look = Look("Prefixes received", "By session; the 20 with the fewest.", "short", (24, 8), minimum=0)
    received = f"bottomk(20, min by (neighbor, node) ({select('ecmp_bgp_prefixes_received', _ROUTER)}))"
    return lines_panel(look, [Query(received, "{{node}} {{neighbor}}")])


def _fib() -> Panel:
    look = Look(
        "What it forwards by",
        "Each next hop that is expected or found for a VIP, whether the router forwards to it, and its share of the "
        "flows: measured, and by the router's weights.",
        "short",
        (16, 10),
    )
    by = "by (vip, next_hop, node)"
    columns = [
        Column("vip", "VIP"),
        Column("node", "Node", links=[to("ecmp-node", "This node", "node", "${__value.raw}")]),
        Column("next_hop", "Next hop"),
        Column("Value #A", "FIB", "none", mappings=either("not installed", ORANGE, "installed", GREEN)),
        Column("Value #B", "Share", "percentunit"),
        Column("Value #C", "Expected share", "percentunit"),
    ]
    first = f"bottomk(500, min {by} ({select('ecmp_next_hop_installed', _ROUTER)}))"
    queries = [
        first,
        f"avg {by} ({select('ecmp_next_hop_flow_share_ratio', _ROUTER)}) and {first}",
        f"avg {by} ({select('ecmp_next_hop_flow_share_expected_ratio', _ROUTER)}) and {first}",
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="FIB")


def _installed() -> Panel:
    look = Look("Next hops installed", "By target and VIP; the 20 with the fewest.", "short", (8, 10), minimum=0)
    installed = select("ecmp_target_next_hops", _ROUTER, 'stage="installed"')
    return lines_panel(look, [Query(f"bottomk(20, min by (target, vip) ({installed}))", "{{target}} {{vip}}")])


def _shares() -> Panel:
    look = Look(
        "Farthest from the expected share",
        "Measured share of the flows less the share by the router's weights; the 20 largest differences.",
        "percentunit",
        (12, 9),
        steps=((None, BLUE),),
        minimum=0,
        maximum=1,
    )
    by = "avg by (vip, node)"
    measured = f"{by} ({select('ecmp_next_hop_flow_share_ratio', _ROUTER)})"
    expected = f"{by} ({select('ecmp_next_hop_flow_share_expected_ratio', _ROUTER)})"
    return bars_panel(look, [Query(f"sort_desc(topk(20, abs({measured} - {expected})))", "{{node}} {{vip}}")])


def _evenness() -> Panel:
    look = Look(
        "Chance of shares this uneven",
        "If the router spread flows by its weights, how likely shares as uneven as these would be; the 20 least "
        "likely. No data while the sample is too small.",
        "percentunit",
        (12, 9),
        minimum=0,
        maximum=1,
    )
    chance = f"bottomk(20, min by (target, vip) ({select('ecmp_flow_share_chi_square_p_value', _ROUTER)}))"
    return lines_panel(look, [Query(chance, "{{target}} {{vip}}")])


def _polarised() -> Panel:
    look = Look(
        "Polarised",
        "Whether the shares differ from the weights beyond chance, and beyond what few hash buckets explain: some next "
        "hops get too much. At most 30. No data while the sample is too small.",
        "none",
        (24, 7),
        mappings=either("even", GREEN, "polarised", ORANGE),
        links=[to("ecmp-target", "This target", "target", "${__field.labels.target}")],
    )
    metric, by = "ecmp_flow_share_polarised", "max by (target, vip)"
    ever = f"topk(30, {by} (max_over_time({select(metric, _ROUTER)}[$__range] @ end())))"
    return timeline_panel(
        look, [Query(f"{by} ({select(metric, _ROUTER)}) and on (target, vip) {ever}", "{{target}} {{vip}}")]
    )


def _agreement() -> Panel:
    look = Look(
        "Agreement of steering with connections",
        "How often the router's word and single packets told the next hop that a connection really took. A method "
        "that is too often wrong is not used.",
        "percentunit",
        (8, 9),
        minimum=0,
        maximum=1,
    )
    ratio = f"min by (method, family) ({select('ecmp_steering_agreement_ratio', _ROUTER)})"
    return lines_panel(look, [Query(ratio, "{{method}} IPv{{family}}")])


def _query_duration() -> Panel:
    look = Look("Query duration", "How long each reading of the router took, by exporter.", "s", (8, 9), minimum=0)
    taken = f"max by (instance) ({select('ecmp_router_query_duration_seconds', _ROUTER)})"
    return lines_panel(look, [Query(taken, "{{instance}}")])


def _age() -> Panel:
    look = Look("Snapshot age over time", "By exporter. It should not exceed a few polls.", "s", (8, 9), minimum=0)
    age = f"time() - min by (instance) ({select('ecmp_router_snapshot_timestamp_seconds', _ROUTER)})"
    return lines_panel(look, [Query(age, "{{instance}}")])
