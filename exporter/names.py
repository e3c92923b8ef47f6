"""Targets that are given by a DNS name: every A and AAAA answer is a VIP.

How long an address is kept
- Answers are followed by their TTL, looked up at least every 5 minutes and at most every 15 seconds.
- A look-up that fails (no answer, SERVFAIL, garbage) takes nothing away: the last addresses are probed until a look-up
  succeeds again. If one family fails, its addresses stay, and those of the other family follow their answer.
- A name that does not exist, or has no address any more, may be a mistake that somebody is about to mend. Its last
  addresses are given up when GONE_LOOKUPS look-ups in a row said so, over GONE_SECONDS or more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.config import SYSTEM_RESOLVER, Module, Resolver, Target, is_address
from exporter.dns_status import DnsStatus, Expectation, Lookup, dns_status
from exporter.resolvers import Found, Resolvers
from routers.model import canonical, family_of

GONE_LOOKUPS = 3
GONE_SECONDS = 300.0
_SHORTEST_TTL = 15.0
_LONGEST_TTL = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A host as a target gives it, the resolvers to be asked, the deciding one first, and the families (4, 6)."""

    host: str
    resolvers: tuple[str, ...] = (SYSTEM_RESOLVER,)
    families: tuple[int, ...] = (4, 6)


@dataclass(slots=True)
class _Name:
    vips: tuple[str, ...] = ()
    due: float = 0.0
    lookups: tuple[Lookup, ...] = ()
    gone: int = 0  # look-ups in a row by which there is no address
    gone_since: float = field(default=float("inf"))


class Names:
    """The last addresses of each name."""

    def __init__(self, resolvers: Resolvers | None = None) -> None:
        self._resolvers = resolvers or Resolvers()
        self._names: dict[Wanted, _Name] = {}

    def vips(self, wanted: Wanted) -> tuple[str, ...]:
        """The VIPs behind an address or name; none while a name has never been resolved."""
        if is_address(wanted.host):
            return (canonical(wanted.host),)
        return self._known(wanted).vips

    def lookups(self, wanted: Wanted) -> tuple[Lookup, ...]:
        """The last look-up by each resolver; none for an address, or before the first."""
        return self._names[wanted].lookups if wanted in self._names else ()

    async def refresh(self, wanted: Iterable[Wanted], now: float) -> bool:
        """Look up the names whose time has come (seconds since the epoch). True if some address changed."""
        names = {one for one in wanted if not is_address(one.host)}
        self._names = {one: self._known(one) for one in names}
        due = [one for one, name in self._names.items() if name.due <= now]
        return any(await asyncio.gather(*(self._look_up(one, now) for one in due)))

    def status(self, target: Target, module: Module) -> DnsStatus | None:
        """What is known of a target's name, and what is wrong with it; None for an address, or before the first
        look-up.
        """
        wanted = wanted_by(target, module)
        found = self.lookups(wanted)
        if not found:
            return None
        addresses = tuple(one for one in target.expected_addresses if is_address(one))
        networks = tuple(one for one in target.expected_addresses if not is_address(one))
        return dns_status(target.address, found, self.vips(wanted), Expectation(addresses, networks, wanted.families))

    def configure(self, resolvers: Iterable[Resolver]) -> None:
        """Ask these from now on; everything is looked up anew."""
        self._resolvers.configure(resolvers)
        for name in self._names.values():
            name.due = 0.0

    async def close(self) -> None:
        await self._resolvers.close()

    def _known(self, wanted: Wanted) -> _Name:
        """What is known of it; a name that others shall be asked about now keeps its addresses until they speak."""
        if wanted in self._names:
            return self._names[wanted]
        before = (name.vips for one, name in self._names.items() if one.host == wanted.host)
        return _Name(vips=tuple(vip for vip in next(before, ()) if family_of(vip) in wanted.families))

    async def _look_up(self, wanted: Wanted, now: float) -> bool:
        name = self._names[wanted]
        found = await asyncio.gather(
            *(self._resolvers.look_up(one, wanted.host, wanted.families, now) for one in wanted.resolvers)
        )
        ttls = [one.ttl for one in found if one.ttl is not None and one.lookup.success]
        wait = min(ttls) if len(ttls) == len(found) else _SHORTEST_TTL
        name.due = now + max(_SHORTEST_TTL, min(_LONGEST_TTL, wait))
        name.lookups = tuple(one.lookup for one in found)
        before, name.vips = name.vips, _after(name, found[0], now)
        return name.vips != before


def wanted_by(target: Target, module: Module) -> Wanted:
    """What is to be looked up for a target. Every address is probed, of both families, unless the module forbids it:
    `preferred_ip_protocol` alone prefers nothing here, without `ip_protocol_fallback` it leaves the other one out.
    """
    families: tuple[int, ...] = (4, 6)
    if getattr(module.settings, "ip_protocol_fallback", True) is False:
        families = (4,) if getattr(module.settings, "preferred_ip_protocol", None) == "ip4" else (6,)
    return Wanted(target.address, target.resolvers or (SYSTEM_RESOLVER,), families)


def _after(name: _Name, found: Found, now: float) -> tuple[str, ...]:
    """The addresses to be probed after a look-up by the deciding resolver."""
    lookup = found.lookup
    if lookup.missing:
        name.gone += 1
        name.gone_since = min(name.gone_since, now)
        lasting = name.gone >= GONE_LOOKUPS and now - name.gone_since >= GONE_SECONDS
        return () if lasting else name.vips
    if not lookup.addresses:
        return name.vips
    name.gone, name.gone_since = 0, float("inf")
    kept = (address for address in name.vips if family_of(address) in found.failed)
    return tuple(sorted({*lookup.addresses, *kept}))
