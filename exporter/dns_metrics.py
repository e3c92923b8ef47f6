"""What the metrics say of the look-ups of targets' names, as values; exporter.metrics renders them. Pure.

`ecmp_target_dns_answers` and `ecmp_target_dns_success` stand in exporter.metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.status import Status
from exporter.steering_metrics import Family

_LOOKUP = ("target", "resolver")
_TARGET = ("target",)
_Labels = tuple[str, ...]


def families(status: Status) -> Iterator[Family]:
    """Series stand there for targets given by name, the last three only where there is something to compare."""
    success: dict[_Labels, float] = {}
    seconds: dict[_Labels, float] = {}
    unexpected: dict[_Labels, float] = {}
    missing: dict[_Labels, float] = {}
    disagree: dict[_Labels, float] = {}
    for target in status.targets:
        found = target.dns
        if found is None:
            continue
        for lookup in found.lookups:
            success[target.name, lookup.resolver] = lookup.success
            seconds[target.name, lookup.resolver] = lookup.seconds
        labels = (target.name,)
        if found.unexpected is not None:
            unexpected[labels] = len(found.unexpected)
        if found.missing is not None:
            missing[labels] = len(found.missing)
        if found.disagree is not None:
            disagree[labels] = found.disagree
    yield Family(
        "ecmp_target_dns_lookup_success",
        "Whether the last look-up of the target's name by the resolver worked.",
        _LOOKUP,
        success,
    )
    yield Family("ecmp_target_dns_lookup_seconds", "How long that look-up took.", _LOOKUP, seconds)
    yield Family(
        "ecmp_target_dns_unexpected_addresses",
        "Addresses that resolvers give for the target's name and expected_addresses does not.",
        _TARGET,
        unexpected,
    )
    yield Family(
        "ecmp_target_dns_missing_addresses",
        "Addresses of expected_addresses that the target's name does not stand for.",
        _TARGET,
        missing,
    )
    yield Family(
        "ecmp_target_dns_resolvers_disagree",
        "Whether the target's resolvers give different answers.",
        _TARGET,
        disagree,
    )
