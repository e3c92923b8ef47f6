"""Steering by traces: a TTL-limited packet of a flow showed which next hop it takes (DESIGN.md section 4, 3).

The survey traces in the background; a round goes by what it has found, and has it traced anew before it
blames anybody: silence names nobody, and flows may have moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.by_identity import search
from exporter.by_oracle import hold_against
from exporter.rounds import Round
from exporter.run import MOVED, Run
from exporter.steering import Means, Method, Trust, choose
from exporter.verdicts import PathResult

if TYPE_CHECKING:
    from exporter.endpoint import Endpoint

_WITNESSES = 2  # flows of each path that works, traced anew beside those that fail
_UNSETTLED = 60.0  # seconds after a change of next hops in which single flows may still move
_MOST_TRACED = 16  # flows traced anew in one round
_UNVOUCHED = "no trace shows any more that the flows which were probed take it"


async def go(endpoint: Endpoint, run: Run, means: Means, trust: Trust) -> Round:
    """Probe each path on flows that were traced to it; fall back as soon as answers contradict traces."""
    for via in run.vias:
        if not run.map.sources(via):
            vain = endpoint.traced_in_vain
            found = f"{vain} stayed without an answer" if vain else "none of those that were traced did"
            run.no_flow[via] = f"no trace has found a flow that takes it ({found})"
    await run.probe_paths(run.vias)
    if means.has_identity and not all(run.map.sources(via) for via in run.vias):
        await search(endpoint, run)
    await run.look_again(trust.segments, run.senses.trace, endpoint.begin_anew)
    oracle_checks = await hold_against(endpoint, run, means, trust)
    choice = choose(means, trust, segments=run.checks)
    if choice.method is not Method.TRACE:
        endpoint.use(choice)
        run.choice = choice
        results = run.results(believed=False)
    else:
        results = await _confirmed(endpoint, run, trust, run.results())
    return run.round(results, oracle_checks=oracle_checks, segment_checks=run.checks)


async def _confirmed(
    endpoint: Endpoint, run: Run, trust: Trust, results: dict[str, PathResult]
) -> dict[str, PathResult]:
    """Trace the flows of this round anew, and some others before a path is called down: have they moved?

    The node of a broken path may answer no trace at all, so it is enough that the flows of others are where
    they were, as traces show or answers that name their node: what moves flows moves those of every path. Not so
    while a change of next hops is young: a resilient hash moves flows one by one then, so each flow that works
    must be seen where it should be.
    """
    doubted = run.doubted(results)
    young = run.started - run.map.changed_at < _UNSETTLED
    believed = {sent.source: via for via, flows in doubted.items() for sent in flows}
    for sent in run.sent:
        if sent.meant in results and sent.named is None and sent.outcome.success:
            believed[sent.source] = str(sent.meant)
            if young:
                doubted.setdefault(str(sent.meant), []).append(sent)
    if not believed:
        return results
    if not young and doubted:
        for via in run.vias:
            if via not in doubted:
                believed |= dict.fromkeys(run.map.sources(via)[:_WITNESSES], via)
    seen = await run.senses.trace(list(believed)[: max(_MOST_TRACED, len(run.vias))])
    if any(seen[source] != believed[source] for source in seen):
        endpoint.begin_anew()
        run.no_flow |= dict.fromkeys(results, MOVED)
        return {}
    if seen or _answers_agree(run):
        trust.vouched_at = run.senses.now()
    vouched = trust.vouched_at >= run.started
    unsure = {
        via
        for via in doubted
        if not vouched or (young and results[via].success and via not in {seen[source] for source in seen})
    }
    run.no_flow |= dict.fromkeys(unsure, _UNVOUCHED)
    return {via: found for via, found in results.items() if via not in unsure}


def _answers_agree(run: Run) -> bool:
    """Whether answers named nodes in this round, and all of them those that they were meant for."""
    told = [sent.named == sent.meant for sent in run.sent if sent.named is not None and sent.meant is not None]
    return bool(told) and all(told)
