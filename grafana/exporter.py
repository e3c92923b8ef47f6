"""ecmp-exporter: the monitor itself, so that its silence is not taken for health."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import Board, Section, restarts, to
from grafana.panels import Column, Look, Query, lines_panel, stat_panel, table_panel
from grafana.promql import RATE, exporters_up, of_exporters, select
from grafana.verdicts import GREEN, ORANGE, RED, either

_BY = "by (instance)"
_EACH = "{{instance}}"


def board() -> Board:
    return Board(
        uid="ecmp-exporter",
        description="Whether the exporters themselves run, probe in time, and can be scraped.",
        sections=(
            Section("", (*_now(), _instances())),
            Section("Rounds and probes", (_rounds(), _missed(), _probes(), _effort(), _traces(), _failures())),
            Section("Scrapes", (_missing(), _scrape_duration(), _series())),
            Section("What it takes", (_cpu(), _memory(), _descriptors())),
        ),
        annotations=(restarts(),),
    )


def _now() -> list[Panel]:
    size = (4, 4)
    ended = f"time() - min {_BY} ({select('ecmp_exporter_last_round_timestamp_seconds')})"
    return [
        stat_panel(
            Look(
                "Scraped",
                "Whether Prometheus could scrape each exporter last time.",
                "none",
                size,
                mappings=either("down", RED, "up", GREEN),
            ),
            [Query(f"min {_BY} {exporters_up()}", _EACH)],
        ),
        stat_panel(
            Look(
                "Since the last round",
                "Time since a round of probes last ended. Verdicts are as old as this.",
                "s",
                size,
                steps=((None, GREEN), (60, ORANGE), (180, RED)),
            ),
            [Query(ended, _EACH)],
        ),
        stat_panel(
            Look(
                "Rounds missed",
                "Rounds in this time that did not start because the one before still ran.",
                "short",
                size,
                steps=((None, GREEN), (1, ORANGE)),
                decimals=0,
            ),
            [Query(f"sum {_BY} (increase({select('ecmp_exporter_rounds_missed_total')}[$__range]))", _EACH)],
        ),
        stat_panel(
            Look(
                "Last reload",
                "Whether the configuration file was last read without an error. If not, the one before is in use.",
                "none",
                size,
                mappings=either("failed", RED, "worked", GREEN),
            ),
            [Query(f"min {_BY} ({select('ecmp_exporter_config_last_reload_successful')})", _EACH)],
        ),
        stat_panel(
            Look("Configuration of", "When a reload last worked.", "dateTimeFromNow", size),
            [
                Query(
                    f"max {_BY} ({select('ecmp_exporter_config_last_reload_success_timestamp_seconds')}) * 1000", _EACH
                )
            ],
        ),
        stat_panel(
            Look("Paths", "Paths that each exporter judges.", "short", size, decimals=0),
            [Query(f"count {_BY} ({select('ecmp_path_verdict_info')})", _EACH)],
        ),
    ]


def _instances() -> Panel:
    look = Look("Exporters", "Each exporter: its version, when it started, and what it watches.", "short", (24, 7))
    columns = [
        Column("instance", "Exporter"),
        Column("job", "Job"),
        Column("version", "Version"),
        Column("Value #B", "Started", "dateTimeFromNow"),
        Column("Value #C", "Nodes", "short"),
        Column("Value #D", "Targets", "short"),
        Column("Value #E", "Routers", "short"),
    ]
    by = "by (job, instance)"
    queries = [
        f"max by (job, instance, version) ({select('ecmp_exporter_build_info')})",
        f"max {by} {of_exporters(select('process_start_time_seconds'))} * 1000",
        f"count {by} ({select('ecmp_node_verdict_info')})",
        f"count {by} ({select('ecmp_target_verdict_info')})",
        f"count {by} ({select('ecmp_router_up')})",
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="Exporter")


def _rounds() -> Panel:
    look = Look(
        "Age of the last round",
        "Time since a round of probes last ended. It should stay below twice the interval.",
        "s",
        (12, 8),
        minimum=0,
    )
    return lines_panel(
        look, [Query(f"time() - min {_BY} ({select('ecmp_exporter_last_round_timestamp_seconds')})", _EACH)]
    )


def _missed() -> Panel:
    look = Look(
        "Rounds missed per second",
        "Rounds per second that did not start because the one before still ran. The interval is too short if this "
        "goes on.",
        "ops",
        (12, 8),
        minimum=0,
    )
    return lines_panel(look, [Query(f"sum {_BY} (rate({select('ecmp_exporter_rounds_missed_total')}{RATE}))", _EACH)])


def _probes() -> Panel:
    look = Look("Probes", "Probes through all paths, per second.", "ops", (12, 8), minimum=0)
    return lines_panel(look, [Query(f"sum {_BY} (rate({select('ecmp_path_probes_total')}{RATE}))", _EACH)])


def _effort() -> Panel:
    look = Look(
        "Probes per path",
        "Probes of the last round per path that has a result from it; the 20 highest. One is the least; identity and "
        "sweep need more.",
        "short",
        (12, 8),
        minimum=0,
        links=[to("ecmp-target", "This target", "target", "${__field.labels.target}")],
    )
    ratio = f"topk(20, max by (instance, target, vip) ({select('ecmp_steering_probes_per_path_ratio')}))"
    return lines_panel(look, [Query(ratio, "{{target}} {{vip}} ({{instance}})")])


def _traces() -> Panel:
    look = Look(
        "Trace packets and answers",
        "Packets with a TTL that ends at a next hop, and those that something answered, per second. Few answers: a "
        "firewall, or nodes that limit ICMP.",
        "ops",
        (12, 8),
        minimum=0,
    )
    by = "by (instance, kind)"
    return lines_panel(
        look,
        [
            Query(f"sum {by} (rate({select('ecmp_trace_packets_total')}{RATE}))", "{{kind}} sent ({{instance}})"),
            Query(f"sum {by} (rate({select('ecmp_trace_answers_total')}{RATE}))", "{{kind}} answered ({{instance}})"),
        ],
    )


def _failures() -> Panel:
    look = Look(
        "Failed probes by reason",
        "Over all paths, per second. If everything fails at once, look at the exporter's own link first.",
        "ops",
        (12, 8),
        no_value="No probe has failed.",
        minimum=0,
    )
    failures = f"sum by (instance, reason) (rate({select('ecmp_path_probe_failures_total')}{RATE}))"
    return lines_panel(look, [Query(f"topk(20, {failures} > 0)", "{{reason}} ({{instance}})")])


def _missing() -> Panel:
    look = Look(
        "Missing scrapes",
        "Share of Prometheus's scrapes of each exporter that failed. What happened meanwhile is in no dashboard.",
        "percentunit",
        (8, 8),
        minimum=0,
        maximum=1,
    )
    answered = f"avg_over_time({select('up')}{RATE})"
    return lines_panel(look, [Query(f"1 - avg {_BY} ({answered} and on (job, instance) {exporters_up()})", _EACH)])


def _scrape_duration() -> Panel:
    look = Look("Scrape duration", "How long Prometheus waited for each exporter's metrics.", "s", (8, 8), minimum=0)
    return lines_panel(look, [Query(f"max {_BY} {of_exporters(select('scrape_duration_seconds'))}", _EACH)])


def _series() -> Panel:
    look = Look("Series", "Samples per scrape: what each exporter costs Prometheus.", "short", (8, 8), minimum=0)
    return lines_panel(look, [Query(f"max {_BY} {of_exporters(select('scrape_samples_scraped'))}", _EACH)])


def _cpu() -> Panel:
    look = Look("CPU", "Processors in use by each exporter; 1 is one of them all the time.", "short", (8, 8), minimum=0)
    cpu = of_exporters(f"rate({select('process_cpu_seconds_total')}{RATE})")
    return lines_panel(look, [Query(f"sum {_BY} {cpu}", _EACH)])


def _memory() -> Panel:
    look = Look("Memory", "Resident memory of each exporter.", "bytes", (8, 8), minimum=0)
    return lines_panel(look, [Query(f"max {_BY} {of_exporters(select('process_resident_memory_bytes'))}", _EACH)])


def _descriptors() -> Panel:
    look = Look("File descriptors", "Open file descriptors, and how many may be open.", "short", (8, 8), minimum=0)
    return lines_panel(
        look,
        [
            Query(f"max {_BY} {of_exporters(select('process_open_fds'))}", f"{_EACH} open"),
            Query(f"max {_BY} {of_exporters(select('process_max_fds'))}", f"{_EACH} limit"),
        ],
    )
