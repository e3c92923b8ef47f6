"""From evidence and probe results to the published status of a target. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter import backends, reasons
from exporter.dns_status import DnsStatus
from exporter.evidence import Evidence, RouterView, VipEvidence, of_vip
from exporter.expected import Expected, Target
from exporter.status import PathStatus, Tally, TargetStatus, VipStatus, relevant
from exporter.verdicts import PathFacts, PathResult, Summary, Sweep, Verdict, judge, summarize


@dataclass(frozen=True, slots=True)
class Exercise:
    """What is known from probes of one endpoint: results by via, and for the others why there is none."""

    results: Mapping[str, PathResult] = field(default_factory=lambda: MappingProxyType({}))
    no_flow: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    method: str | None = None
    tallies: Mapping[str, Tally] = field(default_factory=lambda: MappingProxyType({}))
    sweep: Sweep | None = None


@dataclass(frozen=True, slots=True)
class Standpoint:
    """One router's part in a conclusion. `view` is None without a snapshot; `trouble` says why it is no use."""

    router: str
    view: RouterView | None
    trouble: str | None
    crossed: bool
    exercises: Mapping[str, Exercise]  # by VIP


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies beside a target: direct checks by node, and by node the targets that work through it.

    `lost` are the nodes that answered direct checks and do not any more, with the time of the first check since
    that they did not answer; `checked_at` is that of the last check.
    """

    direct: Mapping[str, bool | None]
    working: Mapping[str, frozenset[str]]
    lost: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    checked_at: float = float("inf")


def conclude(
    expected: Expected,
    target: Target,
    standpoints: Sequence[Standpoint],
    around: Surroundings,
    now: float,
    before: TargetStatus | None = None,
    dns: DnsStatus | None = None,
) -> TargetStatus:
    """Judge every path of a target; `before` is its last status, from which unchanged verdicts keep their time.

    A name with which something is wrong is no target that is ok, though every address that is known of it works.
    """
    since = {path.key: path for path in before.paths} if before is not None else {}
    paths: list[PathStatus] = []
    stages: list[VipStatus] = []
    for standpoint in standpoints:
        seen = {vip: _look(standpoint, expected, target, vip) for vip in target.vips}
        facts = [
            (vip, path) for vip, evidence in seen.items() for path in _facts(standpoint, target, vip, evidence, around)
        ]
        verdicts = judge([path for _, path in facts])
        own = [
            _status(standpoint, target, vip, path, verdict, now, since)
            for (vip, path), verdict in zip(facts, verdicts, strict=True)
        ]
        paths += own
        stages += [_stages(standpoint, target, vip, evidence, own) for vip, evidence in seen.items()]
    paths = backends.compared(paths, target.identity)
    verdict = summarize(path.verdict for path in relevant(paths))
    if dns is not None and dns.problem is not None and verdict is Summary.OK:
        verdict = Summary.DEGRADED
    return TargetStatus(
        name=target.name,
        address=target.address,
        port=target.port,
        vips=target.vips,
        verdict=verdict,
        paths=tuple(paths),
        stages=tuple(stages),
        dns=dns,
    )


def _look(standpoint: Standpoint, expected: Expected, target: Target, vip: str) -> VipEvidence | None:
    if standpoint.view is None:
        return None
    return of_vip(standpoint.view, expected, target, vip)


def _facts(
    standpoint: Standpoint, target: Target, vip: str, evidence: VipEvidence | None, around: Surroundings
) -> Iterable[PathFacts]:
    exercise = standpoint.exercises.get(vip, Exercise())
    for name in target.nodes:
        own = evidence.nodes[name] if evidence is not None else None
        yield PathFacts(
            via=name,
            node=name,
            next_hop=own.next_hop if own is not None else None,
            evidence=own,
            forwarded=own.forwarded if own is not None else None,
            # What flows did before the router stopped forwarding says nothing of this path any more.
            result=exercise.results.get(name) if own is None or own.forwarded is not False else None,
            direct=around.direct.get(name),
            works_elsewhere=bool(around.working.get(name, frozenset()) - {target.name}),
            router_trouble=standpoint.trouble,
            no_flow=_no_flow(standpoint, exercise, name),
            crossed=standpoint.crossed,
            sweep=exercise.sweep,
            direct_lost=_silent_throughout(name, exercise.sweep, around) or _unresolved(standpoint.view, own),
        )
    hops = evidence.hops if evidence is not None and standpoint.trouble is None else None
    for hop in hops or ():
        if hop.node not in target.nodes:
            yield PathFacts(
                via=hop.via,
                node=hop.node,
                next_hop=hop.addresses,
                evidence=None,
                forwarded=True,
                result=exercise.results.get(hop.via),
                crossed=standpoint.crossed,
            )


def _silent_throughout(node: str, sweep: Sweep | None, around: Surroundings) -> bool:
    """A node that answered before was silent before the sweep began and after it ended."""
    since = around.lost.get(node)
    return since is not None and sweep is not None and since <= sweep.began and around.checked_at >= sweep.at


def _unresolved(view: RouterView | None, evidence: Evidence | None) -> bool:
    """The router itself gets no answer from an address of the node (ARP, neighbor discovery)."""
    own = evidence.node.addresses if evidence is not None else ()
    neighbors = view.snapshot.neighbors if view is not None else None
    return any(not row.reachable and row.address in own for row in neighbors or ())


def _no_flow(standpoint: Standpoint, exercise: Exercise, via: str) -> str:
    if not standpoint.crossed:
        return "the prober's flows are not known to pass this router"
    return exercise.no_flow.get(via, "")


def _status(
    standpoint: Standpoint,
    target: Target,
    vip: str,
    path: PathFacts,
    verdict: Verdict,
    now: float,
    since: Mapping[tuple[str, str, str], PathStatus],
) -> PathStatus:
    setting = reasons.Setting(standpoint.router, vip, target.port, standpoint.view, len(target.nodes))
    expected = path.node in target.nodes
    before = since.get((standpoint.router, vip, path.via))
    exercise = standpoint.exercises.get(vip, Exercise())
    return PathStatus(
        target=target.name,
        vip=vip,
        port=target.port,
        router=standpoint.router,
        node=path.node,
        next_hop=path.next_hop,
        verdict=verdict,
        reason=reasons.reason(verdict, path, setting),
        cure=reasons.cure(verdict, path, setting),
        since=before.since if before is not None and before.verdict is verdict else now,
        result=path.result,
        method=path.result.method if path.result is not None else exercise.method if path.forwarded else None,
        session=_session(path.evidence),
        route=_route(path.evidence),
        fib=None if path.forwarded is None else "installed" if path.forwarded else "missing",
        expected=expected,
        crossed=path.crossed,
        tally=exercise.tallies.get(path.via, Tally()),
    )


def _session(evidence: Evidence | None) -> str | None:
    if evidence is None or evidence.configured is None:
        return None
    if evidence.session is not None:
        return evidence.session.state.value
    if evidence.dynamic:
        return "not connected"
    return "other peer" if evidence.configured else "not configured"


def _route(evidence: Evidence | None) -> str | None:
    if evidence is None or evidence.routes is None:
        return None
    if not evidence.routes:
        return "missing"
    accepted = [route for route in evidence.routes if not route.filtered]
    if not accepted:
        return "filtered"
    if any(route.stale for route in accepted):
        return "stale"
    if any(route.used or route.best for route in accepted):
        return "used"
    return "unused" if any(route.used is False for route in accepted) else "present"


def _stages(
    standpoint: Standpoint,
    target: Target,
    vip: str,
    evidence: VipEvidence | None,
    paths: Sequence[PathStatus],
) -> VipStatus:
    own = [path for path in paths if path.vip == vip]
    known = evidence is not None and standpoint.trouble is None
    return VipStatus(
        vip=vip,
        router=standpoint.router,
        expected=len(target.nodes),
        announced=evidence.announced if known and evidence is not None else None,
        installed=len(evidence.hops) if known and evidence is not None and evidence.hops is not None else None,
        exercised=sum(path.result is not None and path.expected for path in own),
        ok=sum(path.verdict is Verdict.OK for path in own),
    )
