"""Steering by what answers say of themselves: each names the node that it came from (DESIGN.md section 4, 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.by_oracle import hold_against
from exporter.coverage import flows_needed
from exporter.rounds import Round
from exporter.run import Run
from exporter.steering import MIN_COMPARISONS, ORACLE_COMPARISONS, Means, Trust
from exporter.together import each

if TYPE_CHECKING:
    from exporter.endpoint import Endpoint

_IDLE_EXPLORATION = 2  # flows a round, at least, with which learning goes on once a full search has ended
_ENOUGH_FLOWS = 4  # known flows of a path at which learning stops


async def go(endpoint: Endpoint, run: Run, means: Means, trust: Trust) -> Round:
    """Probe each path on flows whose answers named it, and look for paths that no answer has named."""
    await run.probe_paths(run.vias)
    await run.look_again(endpoint.memory, None, endpoint.begin_anew)
    await search(endpoint, run)
    await _check_memory(endpoint, run)
    # Where a path answers and fails by turns, its flows may well go elsewhere by turns, where nobody answers.
    answering = {sent.named for sent in run.sent if sent.named is not None}
    run.checks += [False for sent in run.sent if sent.named is None and sent.meant in answering]
    keeps = endpoint.memory.proven(run.checks)
    if not keeps:
        for via in run.vias:
            run.no_flow.setdefault(via, "flows do not keep their next hop, so a failure names nobody")
    oracle_checks = await hold_against(endpoint, run, means, trust)
    if trust.oracle.comparisons() < ORACLE_COMPARISONS and oracle_checks and all(oracle_checks):
        lacking = trust.oracle.lacking(oracle_checks)
        sources = run.map.fresh(2 * lacking + len(run.vias), run.senses.now()) if lacking else ()
        await each(lambda source: run.probe(source, None), sources)
        oracle_checks = await hold_against(endpoint, run, means, trust)
    results = run.results(believed=keeps)
    traced = [(endpoint.traced.via_of(source), via) for source, via in run.answers().items()]
    if len(answering) == 1:
        traced = []  # where one node alone answers, every comparison agrees
    return run.round(
        results,
        oracle_checks=oracle_checks,
        memory_checks=run.checks,
        segment_checks=[found == via for found, via in traced if found is not None],
    )


async def search(endpoint: Endpoint, run: Run) -> None:
    """Send flows whose way is unknown until every next hop has answered, or the bound is reached."""
    bound = flows_needed(len(run.vias))
    budget = max(_IDLE_EXPLORATION, len(run.vias) // 2) if endpoint.searched else bound
    tried = failed = 0
    failing = run.failing()
    while tried < budget and (_wanting(endpoint, run) or failing):
        sources = run.map.fresh(min(budget - tried, 2 * len(run.vias)), run.senses.now())
        if not sources:
            break
        before = len(run.sent)
        await each(lambda source: run.probe(source, None), sources)
        failed += sum(not sent.outcome.success for sent in run.sent[before:])
        tried += len(sources)
    if tried >= bound or not _wanting(endpoint, run):
        endpoint.searched = True
    # An answer from a path whose known flows fail: these take another way by now, the path is up.
    mended = failing - run.failing()
    for sent in run.sent:
        if sent.meant in mended and not sent.outcome.success:
            run.map.forget(sent.source)
    for via in run.vias:
        if not run.map.sources(via):
            run.no_flow[via] = (
                f"no answer has named it yet ({tried} flows of unknown way were sent in the last round, "
                f"{failed} of them failed)"
            )


def _wanting(endpoint: Endpoint, run: Run) -> bool:
    enough = _ENOUGH_FLOWS if endpoint.searched else 1
    return any(len(run.map.sources(via)) < enough for via in run.vias)


async def _check_memory(endpoint: Endpoint, run: Run) -> None:
    """Send known flows again until it is clear whether a flow keeps its next hop, or one did not."""
    lacking = endpoint.memory.lacking(run.checks)
    flows = [(source, via) for via in run.vias for source in run.map.sources(via)]
    for _ in range(MIN_COMPARISONS):
        if not flows or lacking <= 0 or not all(run.checks):
            return
        before = len(run.checks)
        await each(lambda flow: run.probe(*flow), flows[:lacking])
        if len(run.checks) == before:
            return
        lacking = endpoint.memory.lacking(run.checks)
