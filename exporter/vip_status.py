"""From what is remembered of an endpoint to what is published of its steering. Pure."""

from __future__ import annotations

from exporter.coverage import coverage
from exporter.endpoint import Endpoint
from exporter.hashing import HashKind
from exporter.senses import Place
from exporter.shares import chi_square_p, flow_shares, polarised
from exporter.steering import Method
from exporter.steering_status import HopSteering, SteeringStatus

_ENOUGH = 0.9999  # the probability that so many flows meet every next hop, from which on one without any is unseen


def vip_status(
    place: Place, endpoint: Endpoint, port: int, last_round: tuple[int, int], hashing: str
) -> SteeringStatus:
    """`last_round` are the probes that the last round sent and the paths that it covered."""
    router, target, vip = place
    counts = endpoint.sampled()
    weights = dict(endpoint.map.basis)
    shares = {share.via: share for share in flow_shares(counts, weights)}
    total = sum(counts.values())
    by_via = {hop.via: hop for hop in endpoint.hops}
    expected = [share.expected for share in shares.values()]
    # A router that ignores ports gives all flows of one address to one next hop: that is no unevenness.
    telling = len(weights) > 1 and hashing != HashKind.ADDRESSES
    # Next hops that answer nothing are no proof of unevenness; where the oracle counts, each would be named.
    heard = {via: weight for via, weight in weights.items() if counts[via] or endpoint.method is Method.ORACLE}
    uneven = polarised({via: counts[via] for via in heard}, heard) if telling and len(heard) > 1 else None
    enough = telling and coverage(expected, total) >= _ENOUGH
    rows = []
    for via in weights:
        hop = by_via.get(via)
        sources = endpoint.known.sources(via)
        rows.append(
            HopSteering(
                via=via,
                node=hop.node if hop is not None else None,
                next_hop=hop.addresses if hop is not None else via,
                sources=sources,
                confidence=endpoint.confidence if sources else 0.0,
                sampled=counts[via],
                share=shares[via].share if total else None,
                expected_share=shares[via].expected,
            )
        )
    return SteeringStatus(
        target=target,
        vip=vip,
        port=port,
        router=router,
        method=endpoint.method,
        why_not_stronger=endpoint.why_not_stronger,
        hashing=hashing,
        hops=tuple(rows),
        sampled=total,
        p_value=None
        if uneven is None
        else chi_square_p([counts[via] for via in heard], [shares[via].expected for via in heard]),
        polarised=uneven,
        rehash=endpoint.known.rehash,
        probes=last_round[0],
        covered=last_round[1],
        strangers=tuple(endpoint.strangers),
        unseen=tuple(via for via in weights if not counts[via]) if enough else None,
    )
