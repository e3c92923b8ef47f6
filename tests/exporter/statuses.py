"""A whole status for what renders it: made from scenarios, through a board, as the service does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from exporter.board import Board
from exporter.conclude import Standpoint
from exporter.config import Router
from exporter.dns_status import DnsStatus, Expectation, Lookup, dns_status
from exporter.evidence import Hop, of_vip
from exporter.expected import Target
from exporter.feed import RouterFeed
from exporter.hashing import HashKind
from exporter.pathmap import Rehash
from exporter.rounds import Round
from exporter.shares import chi_square_p, polarised
from exporter.status import Status
from exporter.steering import Choice, Method
from exporter.steering_status import HopSteering, Steered, SteeringStatus, TraceTraffic, TrustStatus
from exporter.verdicts import PathResult
from probes.facts import Facts, HttpFacts, SshFacts, TcpFacts, TlsFacts
from probes.ports import Source
from tests.exporter.scenario import NOW, World, build

OUTAGE: Mapping[str, Any] = {
    "targets": {
        "web": {"vips": ["203.0.113.10"]},
        "gitea-ssh": {"vips": ["203.0.113.22"], "port": 22, "nodes": ["leviathan3"]},
    },
    "routers": {"edge": {"sessions": {"leviathan3": "absent"}, "fib": {"203.0.113.22": "default"}}},
    "direct": {"leviathan2": "unknown"},
}
TRUST = (
    TrustStatus(
        router="edge",
        family=4,
        hashing=HashKind.FIVE_TUPLE,
        hop_distance=2,
        oracle_agreement=0.75,
        oracle_compared=4,
        trace_agreement=1.0,
        trace_compared=12,
    ),
)
FACTS = Facts(  # of more protocols than one answer can be of
    tcp=TcpFacts(handshake_rtt_seconds=0.0005),
    tls=TlsFacts("TLS 1.3", "TLS_AES_128_GCM_SHA256", earliest_expiry=NOW + 86400, fingerprint_sha256="ab" * 32),
    http=HttpFacts(status_code=200, version=1.1),
    ssh=SshFacts("2.0", "OpenSSH_9.2p1", "Debian-2", "SHA256:" + "A" * 43),
)
TRAFFIC = TraceTraffic({"segment": 40, "knock": 16}, {"segment": 38, "knock": 16})


def feed_of(world: World, name: str = "edge") -> RouterFeed:
    feed = RouterFeed(Router.model_validate({"name": name, "platform": "frr", "exec": {}}))
    view = next(point.view for point in world.standpoints if point.router == name)
    feed.snapshot = None if view is None else view.snapshot
    feed.query_seconds = 0.05
    return feed


def commit(board: Board, place: tuple[str, str, str], results: Mapping[str, PathResult]) -> None:
    """A confirmed round with these results."""
    board.commit(
        place,
        Round(
            basis=tuple((via, 1) for via in results),
            started=NOW,
            ended=NOW,
            choice=Choice(Method.ORACLE, 1.0),
            results=results,
            no_flow={},
            sent=(),
        ),
        "http",
        ("leviathan1", "leviathan2", "leviathan3"),
        confirmed=True,
    )


def names_of(target: Target, *strangers: str) -> DnsStatus:
    """Two resolvers that agree on the target's addresses, or all but that."""
    answers = (("system", target.vips), ("public", (*target.vips, *strangers)))
    lookups = [Lookup(resolver, NOW, addresses, seconds=0.02) for resolver, addresses in answers]
    return dns_status("www.example.org", lookups, target.vips, Expectation(target.vips))


def run(board: Board, world: World, now: float = NOW, names: Callable[[Target], DnsStatus | None] = names_of) -> Status:
    """Commit the world's results, judge every target and give the status; `names` are asked of the target web."""
    for point in world.standpoints:
        for target in world.expected.targets.values():
            for vip in target.vips:
                results = {
                    via: replace(
                        result,
                        phases=MappingProxyType({"connect": 0.001, "tls": 0.002}),
                        facts=FACTS,
                        retransmits=2,
                        at=now,
                    )
                    for via, result in point.exercises[vip].results.items()
                }
                commit(board, (point.router, target.name, vip), results)
    board.direct = world.around.direct
    for target in world.expected.targets.values():
        points = [
            replace(
                point,
                exercises={
                    vip: board.exercise((point.router, target.name, vip), now - 60, blind=False) for vip in target.vips
                },
            )
            for point in world.standpoints
        ]
        board.judge(world.expected, target, points, now, names(target) if target.name == "web" else None)
    board.round_ended(now)
    feeds = {point.router: feed_of(world, point.router) for point in world.standpoints}
    views = {point.router: point.view for point in world.standpoints if point.view is not None}
    steered = Steered(tuple(steering_of(world)), TRUST, TRAFFIC)
    return board.status(world.expected, feeds, views, steered, now)


def steering_of(world: World) -> list[SteeringStatus]:
    """What a survey would have found out where a router that flows pass forwards to anything."""
    return [
        path_map(point, target, vip, hops)
        for point in world.standpoints
        for target in world.expected.targets.values()
        for vip in target.vips
        if point.view is not None and point.crossed
        if (hops := of_vip(point.view, world.expected, target, vip).hops)
    ]


def path_map(point: Standpoint, target: Target, vip: str, hops: Sequence[Hop]) -> SteeringStatus:
    """Each next hop with two flows of its own, and 10, 11, ... of the sampled ones."""
    counts = {hop.via: 10 + number for number, hop in enumerate(hops)}
    weights = {hop.via: hop.weight for hop in hops}
    return SteeringStatus(
        target=target.name,
        vip=vip,
        port=target.port,
        router=point.router,
        method=Method.TRACE if len(hops) > 1 else Method.SINGLE,
        why_not_stronger="the router cannot be asked about single flows" if len(hops) > 1 else "",
        hashing=HashKind.FIVE_TUPLE,
        hops=tuple(
            HopSteering(
                via=hop.via,
                node=hop.node,
                next_hop=hop.address,
                sources=(Source(None, 20001 + number), Source(None, 20101 + number)),
                confidence=0.95,
                sampled=counts[hop.via],
                share=counts[hop.via] / sum(counts.values()),
                expected_share=hop.weight / sum(weights.values()),
            )
            for number, hop in enumerate(hops)
        ),
        sampled=sum(counts.values()),
        p_value=chi_square_p(list(counts.values()), list(weights.values())),
        polarised=polarised(counts, weights),
        rehash=Rehash(NOW - 600, 10, 3),
        probes=len(hops) + 1,
        covered=len(hops),
        unseen=(),
    )


def status_of(case: Mapping[str, Any] = OUTAGE) -> Status:
    return run(Board("0.0.test"), build(case))


def verdicts(status: Status) -> Sequence[str]:
    return [path.verdict.value for path in status.paths]
