"""The metrics of DESIGN.md section 8, rendered from one status. Pure but for `of_this_process`: no state is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from exporter import backends, dns_metrics, fact_metrics, steering_metrics
from exporter.status import DURATION_BUCKETS, PathStatus, Status
from exporter.steering import Method
from exporter.steering_metrics import Family
from routers.model import SessionState

_PATH = fact_metrics.PATH
_SUFFIXES = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True, slots=True)
class Reloads:
    """How the last reading of the configuration file went; the time is in seconds since the epoch."""

    successful: bool
    last_success: float


@dataclass(frozen=True, slots=True)
class Described:
    """One metric as it is exposed: `kind` is gauge, counter, histogram or info; `labels` without `le`."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]


def catalogue() -> tuple[Described, ...]:
    """Every metric of this program's own, by the name that its samples start with."""
    nothing = Status(0.0, "", routers=(), nodes=(), targets=())
    families = _StatusCollector(nothing, Reloads(successful=True, last_success=0.0)).collect()
    return tuple(
        Described(family.name + _SUFFIXES.get(family.type, ""), family.type, family.documentation, _labels_of(family))
        for family in families
    )


def of_this_process() -> Collector:
    """The `process_` metrics that client libraries give: processor time, memory, descriptors, start (proc(5))."""
    return ProcessCollector(registry=None)


def render_families(found: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """The exposition of these metrics alone, as `render` gives it."""
    registry = CollectorRegistry()
    registry.register(_FamilyCollector(tuple(found)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def render(status: Status, reloads: Reloads, accept: str, process: Collector | None = None) -> tuple[bytes, str]:
    """The exposition for an Accept header, text or OpenMetrics, and its content type. `process` is rendered too."""
    registry = CollectorRegistry()
    registry.register(_StatusCollector(status, reloads))
    if process is not None:
        registry.register(process)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _StatusCollector(Collector):
    def __init__(self, status: Status, reloads: Reloads) -> None:
        self._status = status
        self._reloads = reloads

    def collect(self) -> Iterator[Metric]:
        yield from _paths(self._status.paths)
        yield from _metrics_of(fact_metrics.families(self._status))
        yield from _metrics_of(backends.families(self._status))
        yield from _nodes(self._status)
        yield from _targets(self._status)
        yield from _metrics_of(dns_metrics.families(self._status))
        yield from _metrics_of(steering_metrics.families(self._status))
        yield from _routers(self._status)
        yield from _itself(self._status, self._reloads)

    def describe(self) -> list[Metric]:
        return []  # a collector that is asked once needs no check for repeated names


class _FamilyCollector(Collector):
    def __init__(self, found: tuple[Family, ...]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        return _metrics_of(self._found)

    def describe(self) -> list[Metric]:
        return []


def _paths(paths: Iterable[PathStatus]) -> Iterator[Metric]:
    up = _gauge("ecmp_path_up", "Whether the last probe through the path succeeded.", _PATH)
    verdict = _gauge("ecmp_path_verdict_info", "The verdict on the path.", (*_PATH, "verdict"))
    since = _gauge("ecmp_path_verdict_since_timestamp_seconds", "When the path's verdict last changed.", _PATH)
    probes = _counter("ecmp_path_probes", "Probes sent through the path.", _PATH)
    failures = _counter(
        "ecmp_path_probe_failures", "Probes through the path that failed, by reason.", (*_PATH, "reason")
    )
    phase = _gauge("ecmp_path_probe_phase_seconds", "Duration of each phase of the last probe.", (*_PATH, "phase"))
    success = _gauge("ecmp_path_last_success_timestamp_seconds", "When a probe last succeeded.", _PATH)
    installed = _gauge(
        "ecmp_next_hop_installed",
        "Whether the router forwards the VIP to the next hop.",
        ("router", "vip", "next_hop", "node"),
    )
    direct = _gauge(
        "ecmp_path_direct_probe_success",
        "Whether a probe past the router, straight through a node that it does not forward to, succeeded.",
        ("target", "vip", "port", "router", "node"),
    )
    hops: dict[tuple[str, ...], bool] = {}  # by the labels of `installed`
    for path in paths:
        labels = fact_metrics.labels_of(path)
        verdict.add_metric((*labels, path.verdict.value), 1)
        since.add_metric(labels, path.since)
        probes.add_metric(labels, path.tally.probes)
        for reason, count in path.tally.failures.items():
            failures.add_metric((*labels, reason.value), count)
        if path.result is not None:
            up.add_metric(labels, path.result.success)
            for name, seconds in path.result.phases.items():
                phase.add_metric((*labels, name), seconds)
        if path.tally.last_success is not None:
            success.add_metric(labels, path.tally.last_success)
        if path.direct is not None and path.direct.success is not None:
            direct.add_metric(labels[:-1], path.direct.success)
        if path.fib is not None:
            labels = (path.router, path.vip, path.next_hop or "", path.node or "")
            hops[labels] = hops.get(labels, False) or path.fib == "installed"
    for hop, there in hops.items():
        installed.add_metric(hop, there)
    yield from (up, verdict, since, probes, failures, phase, success, direct, installed)


def _nodes(status: Status) -> Iterator[Metric]:
    ratio = _gauge("ecmp_node_reachability_ratio", "Paths that are ok per path that is expected.", ("node",))
    verdict = _gauge("ecmp_node_verdict_info", "The verdict on the node.", ("node", "verdict"))
    since = _gauge("ecmp_node_verdict_since_timestamp_seconds", "When the node's verdict last changed.", ("node",))
    direct = _gauge("ecmp_node_direct_up", "Whether the node answers directly, past BGP.", ("node",))
    reached = _gauge(
        "ecmp_node_last_reachable_timestamp_seconds", "When a path through the node last worked.", ("node",)
    )
    duration = HistogramMetricFamily(
        "ecmp_node_probe_duration_seconds", "Duration of probes through the node.", labels=("node", "prober")
    )
    for node in status.nodes:
        if node.paths_expected:
            ratio.add_metric((node.name,), node.paths_ok / node.paths_expected)
        verdict.add_metric((node.name, node.verdict.value), 1)
        since.add_metric((node.name,), node.since)
        if node.direct is not None:
            direct.add_metric((node.name,), node.direct)
        if node.last_reachable is not None:
            reached.add_metric((node.name,), node.last_reachable)
    for one in status.durations:
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, DURATION_BUCKETS), "+Inf"), one.counts, strict=True):
            total += count
            buckets.append((bound, total))
        duration.add_metric((one.node, one.prober), buckets, one.total)
    yield from (ratio, verdict, since, direct, reached, duration)


def _targets(status: Status) -> Iterator[Metric]:
    hops = _gauge(
        "ecmp_target_next_hops",
        "Next hops of a VIP that reach each stage on the way from expected to ok.",
        ("target", "vip", "router", "stage"),
    )
    verdict = _gauge("ecmp_target_verdict_info", "The verdict on the target.", ("target", "verdict"))
    answers = _gauge("ecmp_target_dns_answers", "Addresses that the target's name stands for.", ("target",))
    success = _gauge("ecmp_target_dns_success", "Whether the last look-up of the target's name worked.", ("target",))
    method = _gauge("ecmp_steering_info", "The steering method in use.", ("target", "vip", "router", "method"))
    for target in status.targets:
        verdict.add_metric((target.name, target.verdict.value), 1)
        if target.dns_success is not None:
            answers.add_metric((target.name,), len(target.vips))
            success.add_metric((target.name,), target.dns_success)
        for stage in target.stages:
            stages: Mapping[str, int | None] = {
                "expected": stage.expected,
                "announced": stage.announced,
                "installed": stage.installed,
                "exercised": stage.exercised,
                "ok": stage.ok,
            }
            for name, count in stages.items():
                if count is not None:
                    hops.add_metric((target.name, stage.vip, stage.router, name), count)
        in_use = {(path.vip, path.router): path.method for path in target.paths if path.method is not None}
        for (vip, router), name in in_use.items():
            if name != Method.NONE:
                method.add_metric((target.name, vip, router, name), 1)
    yield from (hops, verdict, answers, success, method)


def _metrics_of(found: Iterable[Family]) -> Iterator[Metric]:
    for family in found:
        metric = (_counter if family.counts else _gauge)(family.name, family.text, family.labels)
        for labels, value in family.values.items():
            metric.add_metric(labels, value)
        yield metric


def _routers(status: Status) -> Iterator[Metric]:
    up = _gauge("ecmp_router_up", "Whether the router answered when it was last asked.", ("router",))
    taken = _gauge("ecmp_router_snapshot_timestamp_seconds", "When the router's tables were last read.", ("router",))
    query = _gauge("ecmp_router_query_duration_seconds", "How long the last reading took.", ("router",))
    agreement = _gauge(
        "ecmp_steering_oracle_agreement_ratio",
        "Share of flows for which the router's own answer agreed with what was observed.",
        ("router",),
    )
    configured = _gauge(
        "ecmp_bgp_neighbor_configured", "Whether the expected node is a BGP neighbor.", ("router", "node")
    )
    labels = ("router", "neighbor", "node")
    session_up = _gauge("ecmp_bgp_session_up", "Whether the BGP session is Established.", labels)
    since = _gauge("ecmp_bgp_session_established_timestamp_seconds", "When the session came up.", labels)
    prefixes = _gauge("ecmp_bgp_prefixes_received", "Prefixes received over the session.", labels)
    for router in status.routers:
        up.add_metric((router.name,), router.up)
        if router.taken_at is not None:
            taken.add_metric((router.name,), router.taken_at)
        if router.query_seconds is not None:
            query.add_metric((router.name,), router.query_seconds)
        if router.oracle_agreement is not None:
            agreement.add_metric((router.name,), router.oracle_agreement)
        for node, there in router.configured.items():
            configured.add_metric((router.name, node), there)
        for session, owner in router.sessions:
            values = (router.name, session.address, owner or "")
            if session.state is not SessionState.UNKNOWN:
                session_up.add_metric(values, session.state is SessionState.ESTABLISHED)
            if session.established_at is not None:
                since.add_metric(values, session.established_at)
            if session.prefixes_received:
                prefixes.add_metric(values, sum(session.prefixes_received.values()))
    yield from (up, taken, query, agreement, configured, session_up, since, prefixes)


def _itself(status: Status, reloads: Reloads) -> Iterator[Metric]:
    build = InfoMetricFamily("ecmp_exporter_build", "The version that runs.", labels=())
    build.add_metric((), {"version": status.version})
    successful = _gauge("ecmp_exporter_config_last_reload_successful", "Whether the last reload worked.", ())
    successful.add_metric((), reloads.successful)
    last = _gauge("ecmp_exporter_config_last_reload_success_timestamp_seconds", "When a reload last worked.", ())
    last.add_metric((), reloads.last_success)
    ended = _gauge("ecmp_exporter_last_round_timestamp_seconds", "When a round of probes last ended.", ())
    if status.last_round is not None:
        ended.add_metric((), status.last_round)
    missed = _counter("ecmp_exporter_rounds_missed", "Rounds that did not start because the one before ran.", ())
    missed.add_metric((), status.rounds_missed)
    yield from (build, successful, last, ended, missed)


def _labels_of(family: Metric) -> tuple[str, ...]:
    return ("version",) if family.name == "ecmp_exporter_build" else tuple(getattr(family, "_labelnames", ()))


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
