"""What resolvers say of a target's name, and what is wrong with that. Pure.

The first resolver of a target decides which addresses are probed; the others are compared with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from routers.model import family_of

_MOST_NAMED = 8  # addresses in one sentence


@dataclass(frozen=True, slots=True)
class Lookup:
    """One resolver's last word on a name. `addresses` are sorted and canonical; `error` is None where all went well.

    `answered`: it spoke of the name, be it with an error; a resolver that is silent says nothing of the name.
    `missing`: it says that the name does not exist or has no address. Times in seconds, `at` since the epoch.
    """

    resolver: str
    at: float
    addresses: tuple[str, ...] = ()
    error: str | None = None
    answered: bool = True
    missing: bool = False
    seconds: float = 0.0

    @property
    def success(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a name should stand for: `addresses` and `networks`, of the families (4, 6) that are probed.

    Every address should be among the answers; a network permits answers and demands none.
    """

    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    families: tuple[int, ...] = (4, 6)

    @property
    def stated(self) -> bool:
        return bool(self.addresses or self.networks)

    def unexpected(self, found: Iterable[str]) -> tuple[str, ...]:
        """Those that should not be there; none where nothing is expected."""
        if not self.stated:
            return ()
        return tuple(sorted({address for address in found if not self._expects(address)}))

    def missing(self, found: Iterable[str]) -> tuple[str, ...]:
        """Those that should be there, of the families that are probed."""
        there = set(found)
        wanted = (address for address in self.addresses if family_of(address) in self.families)
        return tuple(address for address in wanted if address not in there)

    def _expects(self, address: str) -> bool:
        if address in self.addresses:
            return True
        own = ipaddress.ip_address(address)
        return any(own in ipaddress.ip_network(network) for network in self.networks)


@dataclass(frozen=True, slots=True)
class DnsStatus:
    """A target's name: `lookups` by its resolvers, the deciding one first, and what is wrong. `unexpected` is of all
    answers together, `missing` of the deciding one's. None means that nothing could be said: nothing is expected, or
    there are not two answers to compare.
    """

    host: str
    lookups: tuple[Lookup, ...]
    held: tuple[str, ...] = ()  # the addresses that are probed
    unexpected: tuple[str, ...] | None = None
    missing: tuple[str, ...] | None = None
    disagree: bool | None = None
    problem: str | None = None  # sentences for a person

    @property
    def wrong(self) -> frozenset[str]:
        """What is wrong, in words that stay the same while it lasts."""
        found = {
            "look-up": not self.success,
            "unexpected": bool(self.unexpected),
            "missing": bool(self.missing),
            "disagree": bool(self.disagree),
        }
        return frozenset(word for word, there in found.items() if there)

    @property
    def success(self) -> bool:
        """Whether the deciding resolver's last look-up worked."""
        return bool(self.lookups) and self.lookups[0].success


def dns_status(
    host: str, lookups: Sequence[Lookup], held: Sequence[str], expectation: Expectation = Expectation()
) -> DnsStatus:
    """Judge what the resolvers said (at least one of them)."""
    first = lookups[0]
    said = [one for one in lookups if one.answered]
    answers = sorted({address for one in said for address in one.addresses})
    unexpected = expectation.unexpected(answers) if expectation.stated and answers else None
    missing = expectation.missing(first.addresses) if expectation.stated and first.success else None
    disagree = _disagree(said) if len(said) > 1 else None
    problems = (
        _failure(host, first, held),
        _strangers(host, unexpected or (), said),
        f"{host} does not stand for {_listed(missing)}, which it should" if missing else "",
        _difference(host, said) if disagree else "",
    )
    return DnsStatus(
        host=host,
        lookups=tuple(lookups),
        held=tuple(held),
        unexpected=unexpected,
        missing=missing,
        disagree=disagree,
        problem="; ".join(filter(None, problems)) or None,
    )


def _disagree(said: Sequence[Lookup]) -> bool:
    """A resolver whose answer for one family failed is compared by nothing but what it did say."""
    return len({(one.addresses, one.success or one.missing) for one in said}) > 1


def _failure(host: str, first: Lookup, held: Sequence[str]) -> str:
    if first.success:
        return ""
    doing = f"its last addresses are still probed ({_listed(held)})" if held else "there is nothing to probe"
    return f"the look-up of {host} by {first.resolver} failed ({first.error}); {doing}"


def _strangers(host: str, unexpected: Sequence[str], said: Sequence[Lookup]) -> str:
    if not unexpected:
        return ""
    by = [one.resolver for one in said if set(unexpected) & set(one.addresses)]
    return f"{host} stands for {_listed(unexpected)}, which is not in expected_addresses (says {', '.join(by)})"


def _difference(host: str, said: Sequence[Lookup]) -> str:
    views = "; ".join(f"{one.resolver}: {', '.join(filter(None, (_listed(one.addresses), one.error)))}" for one in said)
    return f"resolvers disagree on {host} ({views})"


def _listed(addresses: Sequence[str]) -> str:
    more = len(addresses) - _MOST_NAMED
    return ", ".join(addresses[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
