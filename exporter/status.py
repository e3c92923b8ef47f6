"""The one immutable snapshot that everything published comes from: metrics, JSON, page, command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from exporter.dns_status import DnsStatus, Lookup
from exporter.durations import timestamp
from exporter.reasons import Cure
from exporter.steering_status import SteeringStatus, TraceTraffic, TrustStatus
from exporter.verdicts import PathResult, Summary, Verdict
from probes.model import Failure
from routers.model import Session

# Seconds; upper bounds as blackbox-style probes over a LAN and over the Internet need them.
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Tally:
    """A path's counters since it is known; `last_success` in seconds since the epoch. `over_tcp`: a probe of it had a
    connection, so that `retransmits`, segments sent again, were counted.
    """

    probes: int = 0
    failures: Mapping[Failure, int] = field(default_factory=lambda: MappingProxyType({}))
    last_success: float | None = None
    retransmits: int = 0
    over_tcp: bool = False

    def after(self, result: PathResult) -> Tally:
        """The tally with one more round in it."""
        failures = dict(self.failures)
        for failure in result.failures:
            failures[failure] = failures.get(failure, 0) + 1
        last = result.at if result.success else self.last_success
        return Tally(
            probes=self.probes + result.probes,
            failures=failures,
            last_success=last,
            retransmits=self.retransmits + (result.retransmits or 0),
            over_tcp=self.over_tcp or result.retransmits is not None,
        )


@dataclass(frozen=True, slots=True)
class DurationStatus:
    """Probe durations through one node: counts by DURATION_BUCKETS (and above), and their sum in seconds."""

    node: str
    prober: str
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Event:
    """A path's verdict changed, or (without a VIP and a router) what is wrong with a target's name; then both verdicts
    are the target's, which may be the same. `before` is None when it is new. Seconds since the epoch.
    """

    at: float
    target: str
    vip: str | None
    router: str | None
    node: str | None
    next_hop: str | None
    before: Verdict | Summary | None
    after: Verdict | Summary
    reason: str


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """How well a router can be asked; times are seconds since the epoch."""

    name: str
    platform: str
    up: bool
    taken_at: float | None
    error: str | None
    query_seconds: float | None = None
    sessions: tuple[tuple[Session, str | None], ...] = ()  # with the node at the other end
    configured: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))  # by node
    oracle_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class DirectProbe:
    """A probe past the router, straight through the node; `success` is None where it could not be sent.

    `detail` says why it failed or was not sent. Times in seconds, `at` since the epoch.
    """

    at: float
    success: bool | None
    detail: str
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class PathStatus:
    """One path: the verdict and all that led to it. `steering` fields are None while no flow exercises it."""

    target: str
    vip: str
    port: int
    router: str
    node: str | None
    next_hop: str | None
    verdict: Verdict
    reason: str
    cure: Cure | None
    since: float
    result: PathResult | None
    method: str | None
    session: str | None
    route: str | None
    fib: str | None
    expected: bool = True
    crossed: bool = True  # the prober's flows pass this router
    tally: Tally = Tally()
    direct: DirectProbe | None = None  # while the router does not forward to it, if that is configured
    compared: bool = False  # its server with those of the target's other paths
    differs: str | None = None  # in what that server differs

    @property
    def remedy(self) -> str | None:
        """The commands that mend it on the router, one a line; None where no router setting does."""
        return None if self.cure is None else self.cure.remedy

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same path of its target from one status to the next."""
        return (self.router, self.vip, self.node or self.next_hop or "")


@dataclass(frozen=True, slots=True)
class VipStatus:
    """How many next hops of a VIP reach each stage at one router; None: the router did not say."""

    vip: str
    router: str
    expected: int
    announced: int | None
    installed: int | None
    exercised: int
    ok: int


@dataclass(frozen=True, slots=True)
class TargetStatus:
    name: str
    address: str
    port: int
    vips: tuple[str, ...]
    verdict: Summary
    paths: tuple[PathStatus, ...]
    stages: tuple[VipStatus, ...]
    dns: DnsStatus | None = None  # None: the target is given by its address, or was not looked up yet

    @property
    def dns_success(self) -> bool | None:
        """Whether the last look-up of its name worked."""
        return None if self.dns is None else self.dns.success

    @property
    def dns_problem(self) -> str | None:
        """What is wrong with its name, in sentences for a person."""
        return None if self.dns is None else self.dns.problem


@dataclass(frozen=True, slots=True)
class NodeStatus:
    name: str
    address: str
    verdict: Summary
    paths_ok: int
    paths_expected: int
    direct: bool | None
    since: float
    last_reachable: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, at one time. `rounds_missed` counts since the start."""

    generated_at: float
    version: str
    routers: tuple[RouterStatus, ...]
    nodes: tuple[NodeStatus, ...]
    targets: tuple[TargetStatus, ...]
    durations: tuple[DurationStatus, ...] = ()
    rounds_missed: int = 0
    last_round: float | None = None
    steering: tuple[SteeringStatus, ...] = ()
    trust: tuple[TrustStatus, ...] = ()
    traffic: TraceTraffic = field(default_factory=TraceTraffic)

    @property
    def paths(self) -> tuple[PathStatus, ...]:
        return tuple(path for target in self.targets for path in target.paths)

    @property
    def all_ok(self) -> bool:
        """Every target is ok: it has addresses, and each path that counts was proven."""
        return all(target.verdict is Summary.OK for target in self.targets)


def relevant(paths: Iterable[PathStatus]) -> list[PathStatus]:
    """The paths that count for their node or target: all, or those of the routers on the way, where there are some.

    A router beside the way proves nothing good; what its tables show to be wrong counts nevertheless.
    """
    found = list(paths)
    counted = [path for path in found if path.crossed or path.verdict is not Verdict.UNVERIFIED]
    return counted or found


def to_json(status: Status) -> dict[str, Any]:
    """The status document of DESIGN.md section 7; no key is ever missing."""
    return {
        "generated_at": timestamp(status.generated_at),
        "version": status.version,
        "routers": [_router(router, status.generated_at) for router in status.routers],
        "nodes": [_node(node) for node in status.nodes],
        "targets": [_target(target) for target in status.targets],
        "paths": [_path(path) for path in status.paths],
    }


def events_to_json(events: Iterable[Event]) -> dict[str, Any]:
    """Verdict changes, the newest first."""
    return {
        "events": [
            {
                "at": timestamp(event.at),
                "target": event.target,
                "vip": event.vip,
                "router": event.router,
                "node": event.node,
                "next_hop": event.next_hop,
                "from": None if event.before is None else event.before.value,
                "to": event.after.value,
                "reason": event.reason,
            }
            for event in sorted(events, key=lambda event: event.at, reverse=True)
        ]
    }


def _router(router: RouterStatus, now: float) -> dict[str, Any]:
    return {
        "name": router.name,
        "platform": router.platform,
        "up": router.up,
        "snapshot_age_seconds": None if router.taken_at is None else round(max(0.0, now - router.taken_at), 3),
        "error": router.error,
    }


def _node(node: NodeStatus) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": node.address,
        "verdict": node.verdict.value,
        "paths_ok": node.paths_ok,
        "paths_expected": node.paths_expected,
        "direct_check": node.direct,
        "since": timestamp(node.since),
    }


def _target(target: TargetStatus) -> dict[str, Any]:
    return {
        "name": target.name,
        "address": target.address,
        "port": target.port,
        "vips": list(target.vips),
        "verdict": target.verdict.value,
        "next_hops": {
            "expected": sum(stage.expected for stage in target.stages),
            "announced": _total([stage.announced for stage in target.stages]),
            "installed": _total([stage.installed for stage in target.stages]),
            "exercised": sum(stage.exercised for stage in target.stages),
            "ok": sum(stage.ok for stage in target.stages),
        },
        "dns_problem": target.dns_problem,
        "dns_answers": None if target.dns is None else [_lookup(one) for one in target.dns.lookups],
    }


def _lookup(lookup: Lookup) -> dict[str, Any]:
    return {
        "resolver": lookup.resolver,
        "success": lookup.success,
        "addresses": list(lookup.addresses),
        "error": lookup.error,
        "duration_seconds": round(lookup.seconds, 6),
        "at": timestamp(lookup.at),
    }


def _total(counts: list[int | None]) -> int | None:
    """None as soon as one part is unknown: a sum that leaves something out would be too low."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _path(path: PathStatus) -> dict[str, Any]:
    result = path.result
    return {
        "target": path.target,
        "vip": path.vip,
        "port": path.port,
        "router": path.router,
        "node": path.node,
        "next_hop": path.next_hop,
        "verdict": path.verdict.value,
        "reason": path.reason,
        "remedy": path.remedy,
        "since": timestamp(path.since),
        "steering": {
            "method": path.method,
            "confidence": None if result is None else round(result.confidence, 3),
            "source_ports": [] if result is None else list(result.source_ports),
        },
        "probe": {
            "success": None if result is None else result.success,
            "failure": None if result is None or result.failure is None else result.failure.value,
            "duration_seconds": None if result is None else round(result.duration_seconds, 6),
            "phases": {} if result is None else {name: round(value, 6) for name, value in result.phases.items()},
        },
        "bgp": {"session": path.session, "route": path.route, "fib": path.fib},
        "differs": path.differs,
    }
