"""What the metrics say of steering and flow shares, as values; exporter.metrics renders them. Pure.

Values stand in mappings by labels, so that no series can stand there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.status import Status
from exporter.steering_status import HopSteering, SteeringStatus, TraceTraffic, TrustStatus

_ENDPOINT = ("target", "vip", "router")
_NEXT_HOP = ("router", "vip", "next_hop", "node")
_COMPARED = ("router", "family", "method")
_Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: a gauge, or a counter, whose name then has no `_total`. `values` by the values of `labels`."""

    name: str
    text: str
    labels: tuple[str, ...]
    values: Mapping[_Labels, float] = field(default_factory=dict)
    counts: bool = False


def families(status: Status) -> Iterator[Family]:
    """Every metric of steering but `ecmp_steering_info` and `ecmp_steering_oracle_agreement_ratio`."""
    yield from _endpoints(status.steering)
    yield from _shares(status.steering)
    yield from _rehashes(status.steering)
    yield from _trust(status.trust)
    yield from _traffic(status.traffic)


def _endpoints(found: Iterable[SteeringStatus]) -> Iterator[Family]:
    hashing: dict[_Labels, float] = {}
    confidence: dict[_Labels, float] = {}
    effort: dict[_Labels, float] = {}
    strangers: dict[_Labels, float] = {}
    unseen: dict[_Labels, float] = {}
    for one in found:
        labels = _labels(one)
        hashing[*labels, one.hashing] = 1
        sure = [hop.confidence for hop in one.hops if hop.sources and hop.confidence > 0]
        if sure:
            confidence[labels] = min(sure)
        if one.covered:
            effort[labels] = one.probes / one.covered
        strangers[labels] = len(one.strangers)
        if one.unseen is not None:
            unseen[labels] = len(one.unseen)
    yield Family("ecmp_steering_hash_info", "What the router was found to hash on.", (*_ENDPOINT, "hash"), hashing)
    yield Family(
        "ecmp_steering_confidence_ratio",
        "How surely flows take the next hops that they are known for: the least of all next hops with flows.",
        _ENDPOINT,
        confidence,
    )
    yield Family(
        "ecmp_steering_probes_per_path_ratio",
        "Probes sent in the last round per path that has a result from it.",
        _ENDPOINT,
        effort,
    )
    yield Family(
        "ecmp_target_stranger_next_hops",
        "Next hops that flows were found to take and that the FIB does not hold.",
        _ENDPOINT,
        strangers,
    )
    yield Family(
        "ecmp_target_unseen_next_hops",
        "Next hops in the FIB that no sampled flow took, although there were enough to meet each.",
        _ENDPOINT,
        unseen,
    )


def _shares(found: Iterable[SteeringStatus]) -> Iterator[Family]:
    p_value: dict[_Labels, float] = {}
    polarised: dict[_Labels, float] = {}
    sampled: dict[_Labels, float] = {}
    # Targets that share a VIP share its next hops.
    flows: dict[tuple[str, str], dict[_Labels, int]] = {}
    expected: dict[_Labels, float] = {}
    for one in found:
        labels = _labels(one)
        sampled[labels] = one.sampled
        if one.p_value is not None:
            p_value[labels] = one.p_value
        if one.polarised is not None:
            polarised[labels] = one.polarised
        counts = flows.setdefault((one.router, one.vip), {})
        for hop in one.hops:
            own = _hop_labels(one, hop)
            counts[own] = counts.get(own, 0) + hop.sampled
            expected[own] = hop.expected_share
    shares = {
        own: count / total
        for counts in flows.values()
        if (total := sum(counts.values()))
        for own, count in counts.items()
    }
    yield Family("ecmp_next_hop_flow_share_ratio", "Share of the sampled flows that it gets.", _NEXT_HOP, shares)
    yield Family(
        "ecmp_next_hop_flow_share_expected_ratio",
        "Share of the flows that it should get by the router's weights.",
        _NEXT_HOP,
        expected,
    )
    yield Family(
        "ecmp_flow_share_sampled_flows",
        "Flows, tried without regard to where they go, whose next hop is known.",
        _ENDPOINT,
        sampled,
    )
    yield Family(
        "ecmp_flow_share_chi_square_p_value",
        "Chance of shares as uneven as these if the router spreads flows by its weights.",
        _ENDPOINT,
        p_value,
    )
    yield Family(
        "ecmp_flow_share_polarised",
        "Whether shares differ from the weights beyond chance, and beyond what few hash buckets explain.",
        _ENDPOINT,
        polarised,
    )


def _rehashes(found: Iterable[SteeringStatus]) -> Iterator[Family]:
    at: dict[_Labels, float] = {}
    compared: dict[_Labels, float] = {}
    moved: dict[_Labels, float] = {}
    for one in found:
        if one.rehash is not None:
            labels = _labels(one)
            at[labels] = one.rehash.at
            compared[labels] = one.rehash.compared
            if one.rehash.compared:
                moved[labels] = one.rehash.moved / one.rehash.compared
    yield Family("ecmp_rehash_timestamp_seconds", "When the next hops last changed.", _ENDPOINT, at)
    yield Family(
        "ecmp_rehash_compared_flows", "Flows known both before and after the last change.", _ENDPOINT, compared
    )
    yield Family(
        "ecmp_rehash_moved_flows_ratio",
        "Share of the compared flows that the last change moved, though their next hop stayed in use.",
        _ENDPOINT,
        moved,
    )


def _trust(found: Iterable[TrustStatus]) -> Iterator[Family]:
    agreement: dict[_Labels, float] = {}
    compared: dict[_Labels, float] = {}
    for one in found:
        for method, ratio, count in (
            ("oracle", one.oracle_agreement, one.oracle_compared),
            ("trace", one.trace_agreement, one.trace_compared),
        ):
            labels = (one.router, str(one.family), method)
            compared[labels] = count
            if ratio is not None:
                agreement[labels] = ratio
    yield Family(
        "ecmp_steering_agreement_ratio",
        "Share of compared flows for which the method told the next hop that a connection really took.",
        _COMPARED,
        agreement,
    )
    yield Family(
        "ecmp_steering_compared_flows",
        "Comparisons that the agreement rests on; the last 64 count.",
        _COMPARED,
        compared,
    )


def _traffic(traffic: TraceTraffic) -> Iterator[Family]:
    for name, text, counts in (
        ("ecmp_trace_packets", "Packets sent with a TTL that ends at a next hop.", traffic.sent),
        ("ecmp_trace_answers", "Packets with such a TTL that something answered.", traffic.answered),
    ):
        yield Family(name, text, ("kind",), {(kind,): count for kind, count in counts.items()}, counts=True)


def _labels(one: SteeringStatus) -> _Labels:
    return (one.target, one.vip, one.router)


def _hop_labels(one: SteeringStatus, hop: HopSteering) -> _Labels:
    return (one.router, one.vip, hop.next_hop, hop.node or "")
