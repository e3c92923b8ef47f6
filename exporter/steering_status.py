"""What is published of steering: the path map of each VIP, how it was learned, and how it is spread. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from exporter.durations import timestamp
from exporter.pathmap import Rehash
from probes.ports import Source


@dataclass(frozen=True, slots=True)
class HopSteering:
    """One next hop in the path map. `sources` are the flows known to take it, `confidence` (0 to 1) how surely.

    `sampled` counts the flows, of those tried without regard to where they go, that took it; `share` is their
    part of all, None without any, and `expected_share` what the router's weights give it.
    """

    via: str
    node: str | None
    next_hop: str
    sources: tuple[Source, ...]
    confidence: float
    sampled: int
    share: float | None
    expected_share: float


@dataclass(frozen=True, slots=True)
class SteeringStatus:
    """How flows to one VIP are put on its paths at one router.

    `hashing` is what the router was found to hash on (a word of exporter.hashing.HashKind). `p_value` is the
    chance of an unevenness like the sample's if the router spreads flows by its weights, None while the sample
    is too small; `polarised` that it is too small to be chance. `probes` were sent in the last round, `covered`
    paths have a result from it. `strangers` are addresses that answered as next hops and are none in the FIB;
    `unseen` next hops of the FIB that so many `sampled` flows should have met (None: not enough yet).
    """

    target: str
    vip: str
    port: int
    router: str
    method: str
    why_not_stronger: str
    hashing: str
    hops: tuple[HopSteering, ...]
    sampled: int
    p_value: float | None
    polarised: bool | None
    rehash: Rehash | None
    probes: int
    covered: int
    strangers: tuple[str, ...] = ()
    unseen: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TrustStatus:
    """How far a router's oracle, and traces behind it, were right, for one family; None: not compared yet."""

    router: str
    family: int
    hashing: str
    hop_distance: int | None  # from here to the next hops
    oracle_agreement: float | None
    oracle_compared: int
    trace_agreement: float | None
    trace_compared: int


@dataclass(frozen=True, slots=True)
class TraceTraffic:
    """Packets with a short life since the start: how many were sent, and how many answered, by kind."""

    sent: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    answered: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Steered:
    """All of it, at one time."""

    vips: tuple[SteeringStatus, ...] = ()
    trust: tuple[TrustStatus, ...] = ()
    traffic: TraceTraffic = field(default_factory=TraceTraffic)


def to_json(found: Iterable[SteeringStatus]) -> list[dict[str, Any]]:
    """The documents of `ecmp-exporter paths --output=json`; no key is ever missing."""
    return [_vip(one) for one in found]


def _vip(one: SteeringStatus) -> dict[str, Any]:
    rehash = one.rehash
    return {
        "target": one.target,
        "vip": one.vip,
        "port": one.port,
        "router": one.router,
        "method": one.method,
        "why_not_stronger": one.why_not_stronger or None,
        "hash": one.hashing,
        "sampled_flows": one.sampled,
        "p_value": one.p_value,
        "polarised": one.polarised,
        "last_change": None
        if rehash is None
        else {
            "at": timestamp(rehash.at),
            "flows_compared": rehash.compared,
            "flows_moved": rehash.moved,
            "moved_ratio": rehash.moved / rehash.compared if rehash.compared else None,
        },
        "probes_sent": one.probes,
        "paths_covered": one.covered,
        "probes_per_path": one.probes / one.covered if one.covered else None,
        "strangers": list(one.strangers),
        "unseen": None if one.unseen is None else list(one.unseen),
        "next_hops": [
            {
                "node": hop.node,
                "next_hop": hop.next_hop,
                "confidence": round(hop.confidence, 3),
                "sources": [{"address": source.address, "port": source.port} for source in hop.sources],
                "source_ports": list(dict.fromkeys(source.port for source in hop.sources)),
                "sampled_flows": hop.sampled,
                "share": None if hop.share is None else round(hop.share, 4),
                "expected_share": round(hop.expected_share, 4),
            }
            for hop in one.hops
        ],
    }
