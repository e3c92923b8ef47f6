"""Steering by the router's own answer to which next hop a flow takes (DESIGN.md section 4, 1 and 2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.by_address import Parts
from exporter.coverage import flows_needed
from exporter.hashing import HashKind
from exporter.pathmap import Basis
from exporter.rounds import Round, Senses
from exporter.run import MOVED, Run
from exporter.steering import Means, Method, Trust, choose
from exporter.verdicts import PathResult
from probes.ports import Source

if TYPE_CHECKING:
    from exporter.endpoint import Endpoint

MAP_LIFETIME = 300.0  # seconds; a router that restarts hashes anew though its next hops look the same
_LARGEST_BATCH = 1024  # flows in one question to the oracle
_MOST_QUESTIONS = 3  # to the oracle before a next hop that no flow takes is given up until the map is old
_TELLING = 20  # repeats of an address on one next hop, of which chance explains 1 in 1,000,000 over two
_USUAL = 0.8  # of an address's answers that name one next hop: what the others name is an error of the oracle
_RARE = math.log(1e6)  # what chance does not explain: less than one case in a million
_MOST_COMPARED = 64  # flows in one comparison of oracle and answers
_UNCONFIRMED = "the router did not confirm that the flows which were probed still take it"


async def learn(endpoint: Endpoint, basis: Basis, senses: Senses) -> bool:
    """Ask about as many flows as should give every next hop its share; now and then ask about all anew.

    False if no flow is known afterwards: the oracle is mute.
    """
    known, vias = endpoint.map, [via for via, _ in basis]
    expired = senses.now() - known.learned_at > MAP_LIFETIME
    if expired:
        endpoint.asked = 0
    while endpoint.asked < _MOST_QUESTIONS and (expired or _thin(endpoint, vias)):
        old = known.known() if expired else {}
        count = min(_LARGEST_BATCH, 2 * known.limit * len(vias) + flows_needed(len(vias)))
        answers = await senses.ask_oracle([*old, *known.fresh(count, senses.now())])
        if not answers:
            break
        endpoint.told_hashing, answers = consistent(answers, basis)
        if expired:
            known.forget_all()
            known.learned_at = senses.now()
            endpoint.told = {}
        for source, via in answers.items():
            if known.learn(source, via) and source not in old:
                endpoint.told[via] = endpoint.told.get(via, 0) + 1
        endpoint.asked += 1
        expired = False
    return any(known.sources(via) for via in vias)


def consistent(answers: Mapping[Source, str], basis: Basis) -> tuple[HashKind, Mapping[Source, str]]:
    """What the answers depend on, and those of them that can be believed together.

    Where nearly all flows of each address take one next hop, more than any spread over ports would bring there,
    ports do not count: the few other answers are wrong, and would be all that is known of the paths that they name.
    """
    by_address: dict[str | None, Counter[str]] = {}
    for source, via in answers.items():
        by_address.setdefault(source.address, Counter())[via] += 1
    usual = {address: counts.most_common(1)[0] for address, counts in by_address.items()}
    telling = len(answers) - len(usual)
    agreeing = sum(count - 1 for _, count in usual.values())
    largest = max(weight for _, weight in basis) / sum(weight for _, weight in basis)
    if telling == agreeing:
        return HashKind.ADDRESSES if telling >= _TELLING else HashKind.UNKNOWN, answers
    if agreeing < _USUAL * telling or telling * _divergence(agreeing / telling, largest) < _RARE:
        return HashKind.FIVE_TUPLE, answers
    return HashKind.ADDRESSES, {source: via for source, via in answers.items() if via == usual[source.address][0]}


def _divergence(seen: float, chance: float) -> float:
    """Kullback and Leibler's, of two coins: n throws show `seen` or more with probability exp(-n times this) at most
    (Chernoff's bound); 0 where `seen` is no more than `chance`.
    """
    if seen <= chance:
        return 0.0
    return seen * math.log(seen / chance) + (1 - seen) * math.log((1 - seen) / (1 - chance))


def _thin(endpoint: Endpoint, vias: list[str]) -> bool:
    return any(len(endpoint.map.sources(via)) < max(2, endpoint.map.limit // 2) for via in vias)


async def go(endpoint: Endpoint, run: Run, means: Means, trust: Trust, parts: Parts) -> Round:
    """Probe each path on flows that the router says take it; fall back as soon as answers contradict it."""
    for via in run.vias:
        if not run.map.sources(via):
            run.no_flow[via] = (
                "of all flows that the router was asked about none takes it; "
                "if it hashes on addresses only, give source_addresses"
            )
    await run.probe_paths(run.vias)
    await parts.probe(run)
    await run.look_again(trust.oracle, run.senses.ask_oracle, endpoint.begin_anew)
    choice = choose(means, trust, oracle=run.checks)
    if choice.method is not Method.ORACLE:
        endpoint.use(choice)
        run.choice = choice
        for source, via in run.answers().items():
            endpoint.known.learn(source, via)
        return run.round(run.results(believed=False), oracle_checks=run.checks)
    results = await _confirmed(endpoint, run, run.results())
    return run.round(results, oracle_checks=run.checks)


async def _confirmed(endpoint: Endpoint, run: Run, results: dict[str, PathResult]) -> dict[str, PathResult]:
    """Before a path is called down, or works again, ask once more whether its flows take it."""
    doubted = run.doubted(results)
    if not doubted:
        return results
    answers = await run.senses.ask_oracle([sent.source for flows in doubted.values() for sent in flows])
    moved = {via for via, flows in doubted.items() if any(answers.get(sent.source, via) != via for sent in flows)}
    unsure = {via for via, flows in doubted.items() if any(sent.source not in answers for sent in flows)}
    if moved:
        endpoint.begin_anew()
    run.no_flow |= dict.fromkeys(unsure, _UNCONFIRMED) | dict.fromkeys(moved, MOVED)
    return {via: found for via, found in results.items() if via not in moved | unsure}


async def hold_against(endpoint: Endpoint, run: Run, means: Means, trust: Trust) -> list[bool]:
    """Ask the oracle about flows whose answers named their next hop; one that was wrong only now and then."""
    seen = dict(list(run.answers().items())[:_MOST_COMPARED])
    if not seen or means.no_oracle or means.wanted not in ("auto", Method.ORACLE):
        return []
    now = run.senses.now()
    lately = run.started > endpoint.compared_at >= now - MAP_LIFETIME  # but not in this round
    if endpoint.silent_until > now or (trust.oracle.disproved() and lately):
        return []
    endpoint.compared_at = now
    others = [sent.source for sent in run.sent if sent.named is None][:_MOST_COMPARED]
    answers = await run.senses.ask_oracle([*seen, *others])
    if not answers:
        endpoint.silent_until = now + MAP_LIFETIME
    if not trust.comparable(answers.values()):
        return []
    return [answers[source] == via for source, via in seen.items() if source in answers]
