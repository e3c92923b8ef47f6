"""From what is remembered of an endpoint to what is published of its steering. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.coverage import stopping_point
from exporter.endpoint import Endpoint
from exporter.evidence import Hop
from exporter.senses import Place
from exporter.shares import chi_square_p, flow_shares, polarised
from exporter.steering_status import HopSteering, SteeringStatus


def vip_status(
    place: Place, endpoint: Endpoint, port: int, hops: Sequence[Hop], last_round: tuple[int, int], hashing: str
) -> SteeringStatus:
    """`hops` are the router's next hops now; `last_round` the probes that it sent and the paths that it covered."""
    router, target, vip = place
    counts = endpoint.sampled()
    weights = dict(endpoint.map.basis)
    shares = {share.via: share for share in flow_shares(counts, weights)}
    total = sum(counts.values())
    by_via = {hop.via: hop for hop in hops}
    uneven = polarised(counts, weights) if len(weights) > 1 else None
    rows = []
    for via in weights:
        hop = by_via.get(via)
        sources = endpoint.known.sources(via)
        rows.append(
            HopSteering(
                via=via,
                node=hop.node if hop is not None else None,
                next_hop=hop.address if hop is not None else via,
                sources=sources,
                confidence=endpoint.confidence if sources else 0.0,
                sampled=counts[via],
                share=shares[via].share if total else None,
                expected_share=shares[via].expected,
            )
        )
    expected = [share.expected for share in shares.values()]
    # So many flows would have met one next hop more than were seen, were there one.
    enough = total >= stopping_point(sum(count > 0 for count in counts.values()))
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
        p_value=None if uneven is None else chi_square_p([counts[via] for via in weights], expected),
        polarised=uneven,
        rehash=endpoint.known.rehash,
        probes=last_round[0],
        covered=last_round[1],
        strangers=tuple(endpoint.strangers),
        unseen=tuple(via for via in weights if not counts[via]) if enough else None,
    )
