"""Targets that are given by a DNS name: every A and AAAA answer is a VIP (dnspython, the system's resolvers)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.resolver

from routers.model import canonical

_LIFETIME = 5.0  # seconds for one name, all retries
_MOST_ANSWERS = 64
_SHORTEST_TTL = 15.0
_LONGEST_TTL = 300.0


@dataclass(slots=True)
class _Name:
    vips: tuple[str, ...] = ()
    due: float = 0.0
    success: bool | None = None
    error: str | None = None


class Names:
    """The last addresses of each name. A failed look-up never takes known addresses away."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}

    def vips(self, host: str) -> tuple[str, ...]:
        """The VIPs behind an address or name; none while a name has never been resolved."""
        if _is_address(host):
            return (canonical(host),)
        return self._names[host].vips if host in self._names else ()

    def success(self, host: str) -> bool | None:
        """Whether the last look-up of a name worked; None for an address, or before the first one."""
        return self._names[host].success if host in self._names else None

    async def refresh(self, hosts: Iterable[str], now: float) -> bool:
        """Look up the names whose time has come (seconds since the epoch). True if some address changed."""
        wanted = {host for host in hosts if not _is_address(host)}
        self._names = {host: self._names.get(host, _Name()) for host in wanted}
        due = [host for host, name in self._names.items() if name.due <= now]
        return any(await asyncio.gather(*(self._look_up(host, now) for host in due)))

    async def _look_up(self, host: str, now: float) -> bool:
        name = self._names[host]
        answers = await asyncio.gather(*(_ask(host, kind) for kind in ("A", "AAAA")))
        found = tuple(sorted({address for addresses, _, _ in answers for address in addresses}))
        errors = [error for _, _, error in answers if error is not None]
        ttl = min((ttl for addresses, ttl, _ in answers if addresses), default=_SHORTEST_TTL)
        name.due = now + max(_SHORTEST_TTL, min(_LONGEST_TTL, ttl))
        name.success = not errors and bool(found)
        name.error = errors[0] if errors else None
        if errors:
            # One family failed: what is known of it stays, what the other one answered is added.
            found = tuple(sorted({*found, *name.vips}))
        if not found or found == name.vips:
            return False
        name.vips = found
        return True


async def _ask(host: str, kind: str) -> tuple[list[str], float, str | None]:
    try:
        resolver = dns.asyncresolver.Resolver()
        answer = await resolver.resolve(host, kind, lifetime=_LIFETIME, raise_on_no_answer=False, search=False)
    except dns.resolver.NXDOMAIN:
        return [], _SHORTEST_TTL, f"{host} does not exist"
    except (dns.exception.DNSException, OSError) as error:
        return [], _SHORTEST_TTL, f"{host}: {error}"
    if answer.rrset is None:
        return [], _SHORTEST_TTL, None
    addresses = [canonical(record.to_text()) for record in answer.rrset][:_MOST_ANSWERS]
    return addresses, float(answer.rrset.ttl), None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
