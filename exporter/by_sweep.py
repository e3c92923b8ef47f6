"""Steering by nothing: so many flows that every next hop is met, and the share of them that fails (section 4, 5)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from exporter.coverage import SURE, coverage, flows_needed_for
from exporter.rounds import Round
from exporter.run import Run
from exporter.shares import wilson
from exporter.together import each
from exporter.verdicts import Sweep

if TYPE_CHECKING:
    from exporter.endpoint import Endpoint

_CONFIDENCE = 0.99  # that a sweep meets each next hop, if the router spreads flows as it says
_MOST_FLOWS = 2048  # in one round
_AT_ONCE = 128


async def go(endpoint: Endpoint, run: Run) -> Round:
    """Send the flows that it takes; where all of them fail, so many more that this can be no chance."""
    weights = dict(run.basis)
    total = sum(weights.values())
    shares = {via: weight / total for via, weight in weights.items()}
    await _send(run, flows_needed_for(list(shares.values()), _CONFIDENCE))
    spread = endpoint.spread()
    if spread is not None and run.sent and not any(sent.outcome.success for sent in run.sent):
        await run.senses.pause(1.0)
        await _send(run, flows_needed_for(list(spread.values()), SURE))
    failed = [sent for sent in run.sent if not sent.outcome.success]
    low, high = wilson(len(failed), len(run.sent))
    kinds = Counter(sent.outcome.failure for sent in failed)
    common = kinds.most_common(1)[0][0] if kinds else None
    run.sweep = Sweep(
        began=run.started,
        at=run.senses.now(),
        sent=len(run.sent),
        failed=len(failed),
        low=low,
        high=high,
        coverage=0.0 if spread is None else coverage(list(spread.values()), len(run.sent)),
        shares=shares,
        failure=common,
        detail=next((sent.outcome.detail for sent in failed if sent.outcome.failure is common), ""),
    )
    return run.round({})


async def _send(run: Run, flows: int) -> None:
    """Flows until so many were sent in this round, as far as there are ports that have rested."""
    flows = min(flows, _MOST_FLOWS)
    while len(run.sent) < flows:
        before = len(run.sent)
        sources = run.map.fresh(min(flows - before, _AT_ONCE), run.senses.now())
        await each(lambda source: run.probe(source, None), sources)
        if len(run.sent) == before:
            return
