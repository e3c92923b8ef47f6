"""Probes that somebody asks for over HTTP: what to probe, one probe of it, and what came of it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace

import dns.asyncresolver
import dns.exception
from pydantic import BaseModel

from exporter.blackbox import Aim, TargetError, aim, checked, in_order, renamed
from exporter.blackbox_metrics import Seen
from exporter.config import Config, Module, Target
from exporter.monitor import Monitor
from exporter.status import PathStatus
from probes.model import Failure, Flow, Outcome, Request
from routers.model import canonical, family_of

MOST_AT_ONCE = 128
DEFAULT_MODULE = "http_2xx"  # blackbox_exporter's, too

_LOOPBACK: Mapping[int, str] = {4: "127.0.0.1", 6: "::1"}


class RefusedError(Exception):
    """Nothing is probed; `status` is HTTP's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, checked: a configured target (`own`), or else what `aimed` says."""

    text: str
    module: Module
    aimed: Aim
    own: Target | None


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe: what blackbox_exporter's metrics say of it, and its transcript."""

    seen: Seen
    outcome: Outcome


def wanted(config: Config, target: str, module: str, hostname: str, *, anything: bool) -> Wanted:
    """Check a request; with `anything` a target need not be configured. Raises RefusedError."""
    if not target:
        raise RefusedError(400, "the parameter target is missing")
    own = next((one for one in config.targets if one.name == target), None)
    if own is None and not anything:
        raise RefusedError(
            403, "only configured targets are probed, by their names; --web.enable-adhoc-probes would allow any other"
        )
    chosen = config.modules.get(module or (own.module if own is not None else DEFAULT_MODULE))
    if chosen is None:
        raise RefusedError(400, f"there is no module of this name; there are {', '.join(sorted(config.modules))}")
    try:
        aimed = Aim(own.address, own.port) if own is not None else aim(target, chosen.prober, chosen.settings)
        if hostname and chosen.prober == "http":
            chosen = replace(chosen, settings=renamed(chosen.settings, hostname))
        elif hostname:
            aimed = replace(aimed, name=checked(hostname))
    except TargetError as error:
        raise RefusedError(400, str(error)) from None
    return Wanted(target, chosen, aimed, own)


class Asker:
    """Makes single probes, so many at once at most."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._under_way = 0

    async def probe(self, what: Wanted, seconds: float) -> Probed:
        """One probe that ends in time. Raises RefusedError while too many are under way."""
        if self._under_way >= MOST_AT_ONCE:
            raise RefusedError(429, f"{MOST_AT_ONCE} probes are under way already; ask again later")
        self._under_way += 1
        try:
            return await self._probe(what, seconds)
        finally:
            self._under_way -= 1

    async def _probe(self, what: Wanted, seconds: float) -> Probed:
        now = asyncio.get_running_loop().time
        began = now()
        settings = what.module.settings
        try:
            address = await self._address(what, seconds)
        except OSError as error:
            spent = now() - began
            flow = Flow(what.aimed.host, what.aimed.port)
            line = f"{spent:8.3f} s  failure, dns: {error}"
            outcome = Outcome(flow, False, Failure.DNS, str(error), spent, transcript=(line,))
            return Probed(_seen(what, outcome, None, spent, spent), outcome)
        looked_up = now() - began
        aimed = what.aimed
        request = Request(
            flow=Flow(address, aimed.port, self._source(what, address)),
            host=aimed.name or aimed.host,
            timeout_seconds=max(0.001, round(seconds - looked_up, 3)),
            scheme=aimed.scheme,
            path=aimed.path,
            leave_path=what.own is None,
            resolve=_Resolve(settings, seconds) if what.own is None else None,
        )
        outcome = await self._monitor.outside.probe(what.module.prober, request, settings)
        return Probed(_seen(what, outcome, address, looked_up, now() - began), outcome)

    async def _address(self, what: Wanted, seconds: float) -> str:
        settings = what.module.settings
        if what.own is None:
            return await look_up(what.aimed.host, settings, seconds)
        vips = self._monitor.expected.targets[what.own.name].vips
        found = in_order({family_of(vip): vip for vip in reversed(vips)}, settings)
        if found is None:
            raise OSError(f"no address of {what.own.address} is known that the module may probe")
        return found

    def _source(self, what: Wanted, address: str) -> str | None:
        """For a target as configured for rounds. Anything else may be anywhere: the kernel chooses."""
        sources = self._monitor.config.probing.source_addresses if what.own is not None else ()
        return next((source for source in sources if family_of(source) == family_of(address)), None)


def of_path(path: PathStatus, prober: str) -> Seen | None:
    """What the last round saw of a path, as if it had been asked for; None while no flow exercises it."""
    result = path.result
    if result is None:
        return None
    return Seen(
        prober=prober,
        address=path.vip,
        success=result.success,
        failure=result.failure,
        duration_seconds=result.duration_seconds,
        phases=result.phases,
        facts=result.facts,
        path=(path.router, path.vip, path.node or "", path.next_hop or ""),
    )


async def look_up(host: str, settings: BaseModel, seconds: float) -> str:
    """An address of a host, of the version that a module prefers. Asks the system's resolvers. Raises OSError."""
    name = host.lower().rstrip(".")
    try:
        given = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        given_only = in_order({given.version: str(given)}, settings)
        if given_only is None:
            raise OSError("the address is not of the version that the module asks for")
        return given_only
    found = dict(_LOOPBACK) if name == "localhost" or name.endswith(".localhost") else await _ask(host, seconds)
    address = in_order(found, settings)
    if address is None:
        raise OSError("the name has no address of the version that the module asks for")
    return address


class _Resolve:
    """`look_up` with a module's preference, for redirects."""

    def __init__(self, settings: BaseModel, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds

    def __call__(self, host: str) -> Awaitable[str]:
        return look_up(host, self._settings, self._seconds)


async def _ask(host: str, seconds: float) -> dict[int, str]:
    """The first address of each version; one that cannot be asked for is left out, if the other one is there."""
    try:
        resolver = dns.asyncresolver.Resolver()
    except dns.exception.DNSException as error:
        raise OSError(f"the name could not be looked up: {error}") from None
    answers = await asyncio.gather(
        *(resolver.resolve(host, kind, lifetime=seconds, raise_on_no_answer=False) for kind in ("A", "AAAA")),
        return_exceptions=True,
    )
    found: dict[int, str] = {}
    for answer in answers:
        if isinstance(answer, dns.exception.DNSException | OSError | ValueError):
            continue
        if isinstance(answer, BaseException):
            raise answer
        for record in answer.rrset or ():
            address = canonical(record.to_text())
            found.setdefault(family_of(address), address)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if errors and not found:
        raise OSError(f"the name could not be looked up: {errors[0]}")
    return found


def _seen(what: Wanted, outcome: Outcome, address: str | None, lookup: float, whole: float) -> Seen:
    return Seen(
        prober=what.module.prober,
        address=address,
        success=outcome.success,
        failure=outcome.failure,
        duration_seconds=whole,
        lookup_seconds=lookup,
        phases=outcome.phases,
        facts=outcome.facts,
    )
