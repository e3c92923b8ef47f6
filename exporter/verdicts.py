"""The verdicts of DESIGN.md section 6: what is known of a target's paths in, one word for each out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from exporter.coverage import SURE
from exporter.evidence import Evidence
from probes.facts import NOTHING, Facts
from probes.model import Failure
from routers.model import SessionState


class Verdict(StrEnum):
    """The conclusion about a path, in the order in which the first match wins."""

    ROUTER_UNKNOWN = "router_unknown"
    NEIGHBOR_MISSING = "neighbor_missing"
    SESSION_DOWN = "session_down"
    ROUTE_FILTERED = "route_filtered"
    ROUTE_MISSING = "route_missing"
    ROUTE_UNUSED = "route_unused"
    ROUTE_NOT_INSTALLED = "route_not_installed"
    STALE_ROUTE = "stale_route"
    NODE_DOWN = "node_down"
    SERVICE_DOWN = "service_down"
    BLACKHOLE = "blackhole"
    UNEXPECTED_NEXT_HOP = "unexpected_next_hop"
    UNVERIFIED = "unverified"
    OK = "ok"


class Summary(StrEnum):
    """The conclusion about a node or a target."""

    OK = "ok"
    DEGRADED = "degraded"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class PathResult:
    """What the flows of one round on one path came to; the last probe decides.

    `success` is the outcome of the last probe; `confidence` (0 to 1) how sure it is that the flows took
    this path; `connected` that its transport handshake finished; `probes` and `failures` count this
    round's, by reason; `phases` are seconds by name; `retransmits` are segments that this round's probes sent again,
    None without a connection.
    """

    at: float  # seconds since the epoch
    success: bool
    failure: Failure | None
    detail: str
    duration_seconds: float
    method: str
    confidence: float
    connected: bool = False
    source_ports: tuple[int, ...] = ()
    phases: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    probes: int = 1
    failures: tuple[Failure, ...] = ()
    facts: Facts = NOTHING
    retransmits: int | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Flows of one round whose way nobody knows, and what they came to together.

    `low` and `high` bound the share of all flows that fail (95 % Wilson interval). `coverage` is a lower bound
    of the probability that each next hop was met, 0 while it is not known that the router spreads such flows.
    `shares` are those of the next hops in use, by via, `detail` and `failure` those of one failure.
    """

    began: float  # seconds since the epoch
    at: float  # when it ended
    sent: int
    failed: int
    low: float
    high: float
    coverage: float
    shares: Mapping[str, float]
    failure: Failure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PathFacts:
    """All that is known of one path. `evidence` is None for a next hop that no expected node has.

    `router_trouble` says why the router's snapshot cannot be used (None: it can). `forwarded` is None when
    the router did not say. `result` is None when no flow is known to take the path, and `no_flow` then says
    why. `direct` is the node's direct check, None if it could not be made. `works_elsewhere` is true while
    another target's path through the same node succeeds. `crossed` is false on a router that the prober's
    flows are not known to pass. `sweep` is what flows of unknown way came to, the same for all paths of a VIP;
    `direct_lost` that the node has answered directly before, or that the router itself gets no answer from it.
    """

    via: str
    node: str | None
    next_hop: str | None
    evidence: Evidence | None
    forwarded: bool | None
    result: PathResult | None = None
    direct: bool | None = None
    works_elsewhere: bool = False
    router_trouble: str | None = None
    no_flow: str = ""
    crossed: bool = True
    sweep: Sweep | None = None
    direct_lost: bool = False

    @property
    def singled_out(self) -> bool:
        """The node's own silence, past BGP, speaks against it."""
        return bool(self.forwarded) and self.direct is False and self.direct_lost

    @property
    def fails(self) -> bool:
        return self.result is not None and not self.result.success

    @property
    def answered(self) -> bool:
        """Something that speaks for the service sent packets back, so its failure is no silence."""
        result = self.result
        return result is not None and (result.connected or (result.failure is not None and result.failure.answered))


def judge(paths: Sequence[PathFacts]) -> tuple[Verdict, ...]:
    """The verdict of each of a target's paths through one router, in their order."""
    used = [path for path in paths if path.forwarded]
    everything_fails = len({path.via for path in used}) > 1 and all(path.fails for path in used)
    only_path = len({path.via for path in used}) == 1
    return tuple(
        _of_tables(path)
        or _of_sweep(path, paths)
        or _of_probes(path, everything_fails=everything_fails, only_path=only_path)
        for path in paths
    )


def _of_tables(path: PathFacts) -> Verdict | None:
    """What the router's tables alone conclude; None leaves it to the probes."""
    evidence = path.evidence
    if path.router_trouble is not None or (evidence is None and path.forwarded is None):
        return Verdict.ROUTER_UNKNOWN
    if evidence is None:
        return None
    if evidence.configured is False and not evidence.dynamic:
        return Verdict.NEIGHBOR_MISSING
    if _session_is_down(evidence):
        return Verdict.STALE_ROUTE if path.forwarded else Verdict.SESSION_DOWN
    verdict = _of_routes(evidence, forwarded=path.forwarded)
    if verdict is None and not path.forwarded:
        return Verdict.ROUTER_UNKNOWN  # the answer that would tell why, or whether, is missing
    return verdict


def _session_is_down(evidence: Evidence) -> bool:
    if evidence.session is None:
        # Nothing but a dynamic range stands for the node, and nobody has connected from it.
        return evidence.configured is not None and evidence.dynamic and not evidence.routes
    return evidence.session.state not in (SessionState.ESTABLISHED, SessionState.UNKNOWN)


def _of_routes(evidence: Evidence, *, forwarded: bool | None) -> Verdict | None:
    """What a route comes to; one that is there and may be forwarded by is left open."""
    if evidence.routes is None:
        return None
    accepted = [route for route in evidence.routes if not route.filtered]
    unfiltered = evidence.session is None or not evidence.session.policy_missing
    if not accepted and (evidence.routes or not unfiltered):
        return Verdict.ROUTE_FILTERED
    if not accepted:
        known = evidence.session is not None and evidence.session.state is SessionState.ESTABLISHED
        return Verdict.ROUTE_MISSING if known else None
    if forwarded is not False:
        return None
    if any(route.used or (route.best and route.mended_by is None) for route in accepted):
        return Verdict.ROUTE_NOT_INSTALLED
    if all(route.used is None and route.valid and route.unused_reason is None for route in accepted):
        return Verdict.ROUTE_NOT_INSTALLED  # nothing in BGP speaks against the route
    return Verdict.ROUTE_UNUSED


def _of_sweep(path: PathFacts, paths: Sequence[PathFacts]) -> Verdict | None:
    """What can be inferred for a path that no flow of its own exercised; None where nothing can.

    If each flow failed, and they were so many that each next hop was met, all of them are down. Else a node is
    named only if it is one of those that have ceased to answer directly, and the failing share is theirs.
    """
    sweep = path.sweep
    if sweep is None or path.result is not None or path.evidence is None or not sweep.failed:
        return None
    if sweep.failed == sweep.sent and sweep.coverage >= SURE:
        return Verdict.NODE_DOWN if path.singled_out else Verdict.SERVICE_DOWN
    suspects = sum(sweep.shares.get(one.via, 0.0) for one in paths if one.sweep is sweep and one.singled_out)
    if path.singled_out and sweep.low <= suspects <= sweep.high:
        return Verdict.NODE_DOWN
    return None


def _of_probes(path: PathFacts, *, everything_fails: bool, only_path: bool) -> Verdict:
    result = path.result
    if path.evidence is not None and result is not None and not result.success:
        if path.direct is False:
            return Verdict.NODE_DOWN
        if path.answered or everything_fails or (only_path and path.works_elsewhere):
            return Verdict.SERVICE_DOWN
        return Verdict.BLACKHOLE
    if path.evidence is None:
        return Verdict.UNEXPECTED_NEXT_HOP
    return Verdict.OK if result is not None else Verdict.UNVERIFIED


def summarize(verdicts: Iterable[Verdict]) -> Summary:
    """`ok` when every path is, `unreachable` when each is known not to be (or there is none), else `degraded`.

    What was not proven, because the router cannot be asked or no flow could be found, makes nobody unreachable.
    """
    found = list(verdicts)
    if found and all(verdict is Verdict.OK for verdict in found):
        return Summary.OK
    unproven = (Verdict.OK, Verdict.UNVERIFIED, Verdict.ROUTER_UNKNOWN)
    return Summary.DEGRADED if any(verdict in unproven for verdict in found) else Summary.UNREACHABLE
