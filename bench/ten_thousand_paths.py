"""How long it takes to judge and publish 10,000 paths (`make bench`): figures side by side, nothing asserted.

313 VIPs behind one router with 32 next hops each, every path probed; CPU time of this process.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

from exporter import metrics, page
from exporter.conclude import Exercise, Standpoint, Surroundings, conclude
from exporter.endpoint import Endpoint
from exporter.evidence import Hop, RouterView
from exporter.expected import Expected, Node, Target
from exporter.pathmap import PathMap
from exporter.status import Status, TargetStatus, to_json
from exporter.steering import Method
from exporter.steering_status import SteeringStatus
from exporter.verdicts import PathResult
from exporter.vip_status import vip_status
from probes.ports import candidates
from routers.model import FibEntry, NextHop, Route, Session, SessionState, Snapshot

NODES = 32
VIPS = 313
NOW = 1_795_384_400.0
REPEAT = 5


def expected() -> Expected:
    nodes = {f"node{number}": Node(f"node{number}", (f"10.0.0.{number + 10}",)) for number in range(NODES)}
    vips = [f"203.0.{113 + number // 250}.{number % 250 + 1}" for number in range(VIPS)]
    targets = {f"target{vip}": Target(f"target{vip}", vip, 443, (vip,), tuple(nodes)) for vip in vips}
    return Expected(nodes, targets)


def snapshot(state: Expected) -> Snapshot:
    peers = [node.address for node in state.nodes.values()]
    hops = tuple(NextHop(peer, "br0") for peer in peers)
    vips = [target.address for target in state.targets.values()]
    return Snapshot(
        router="edge",
        platform="frr",
        taken_at=NOW,
        sessions=tuple(Session(peer, SessionState.ESTABLISHED, 64512, 64512) for peer in peers),
        routes={vip: tuple(Route(f"{vip}/32", peer, (peer,), used=True) for peer in peers) for vip in vips},
        fib={vip: FibEntry(f"{vip}/32", hops) for vip in vips},
        local_as=64512,
    )


def exercise(state: Expected) -> Exercise:
    result = PathResult(NOW, True, None, "", 0.004, "oracle", 1.0, True, (20000, 20001), {"connect": 0.001})
    return Exercise(dict.fromkeys(state.nodes, result), {}, "oracle")


def learned(state: Expected) -> dict[str, Endpoint]:
    """An endpoint for each VIP, with six known flows of each next hop and a sample of some hundred."""
    hops = [Hop(node.name, node.name, node.address) for node in state.nodes.values()]
    endpoints = {}
    for name, target in state.targets.items():

        def start(seed: str = name) -> PathMap:
            return PathMap(lambda: candidates([None], range(20000, 28192), seed), 6)

        endpoint = Endpoint(start(), start(), method=Method.TRACE, confidence=1.0)
        endpoint.rebase(hops, NOW)
        for number, source in enumerate(endpoint.traced.fresh(320, NOW)):
            via = hops[number % len(hops)].via
            endpoint.traced.learn(source, via)
            endpoint.sightings.segment(source, target.port, via)
        endpoints[target.address] = endpoint
    return endpoints


def measured(name: str, action: Callable[[], object], unit: int) -> None:
    """The best of some runs, in all and for each path."""
    best = min(_once(action) for _ in range(REPEAT))
    print(f"{name:<42} {best * 1000:9.1f} ms {best / unit * 1e6:9.2f} us a path")


def _once(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def main() -> None:
    state = expected()
    taken = snapshot(state)
    view = RouterView.of(taken, state)
    seen = exercise(state)
    around = Surroundings(dict.fromkeys(state.nodes, True), {})

    def judge() -> tuple[TargetStatus, ...]:
        return tuple(
            conclude(
                state, target, [Standpoint("edge", view, None, True, dict.fromkeys(target.vips, seen))], around, NOW
            )
            for target in state.targets.values()
        )

    endpoints = learned(state)

    def steer() -> tuple[SteeringStatus, ...]:
        return tuple(
            vip_status(("edge", f"target{vip}", vip), endpoint, 443, (NODES, NODES), endpoint.hashing.value)
            for vip, endpoint in endpoints.items()
        )

    status = Status(NOW, "bench", (), (), judge(), steering=steer())
    paths = len(status.paths)
    print(f"{paths} paths, {VIPS} VIPs, {NODES} next hops each; best of {REPEAT}, CPU time")
    reloads = metrics.Reloads(True, NOW)
    measured("sort a snapshot by node", lambda: RouterView.of(taken, state), paths)
    measured("judge every path", judge, paths)
    measured("publish the path map", steer, paths)
    measured("render /metrics, text", lambda: metrics.render(status, reloads, ""), paths)
    openmetrics = "application/openmetrics-text; version=1.0.0"
    measured("render /metrics, OpenMetrics", lambda: metrics.render(status, reloads, openmetrics), paths)
    measured("render /api/v1/status", lambda: json.dumps(to_json(status)), paths)
    measured("render the status page", lambda: page.render(status, "", True), paths)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory of this process':<42} {peak:9.1f} MB")


if __name__ == "__main__":
    main()
