"""All that a monitor needs from the world, in one place: a simulation stands in for the whole of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel

from exporter import local
from exporter.bypass import Bypass
from exporter.config import Router
from exporter.feed import RouterFeed
from probes.direct import DirectResult, check_all
from probes.flow import ephemeral_ports
from probes.model import Flow, Outcome, Request
from probes.scout import HopAnswer, Scout
from probes.table import Probers


class Hops(Protocol):
    """Asks the hop at a distance from here who it is (probes.scout.Scout)."""

    @property
    def why_not(self) -> str: ...

    def can_trace(self, family: int) -> bool: ...

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer: ...

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer: ...


class Bypassing(Protocol):
    """Leads marked packets straight to a node (exporter.bypass.Bypass)."""

    @property
    def why(self) -> Mapping[str, str]: ...

    async def install(self, addresses: Sequence[str], vips: Sequence[str]) -> Mapping[str, int]: ...

    async def close(self) -> None: ...


class Outside(Protocol):
    """Time in seconds since the epoch, probes, hops, direct checks, routers, and this machine's own routes."""

    @property
    def scout(self) -> Hops: ...

    def now(self) -> float: ...

    async def pause(self, seconds: float) -> None: ...

    async def probe(self, prober: str, request: Request, settings: BaseModel) -> Outcome: ...

    async def check(self, addresses: Collection[str], timeout_seconds: float) -> Mapping[str, DirectResult]: ...

    def feed(self, router: Router) -> RouterFeed: ...

    def local_source(self, vip: str) -> str | None: ...

    def gateway(self, vip: str) -> str | None: ...

    def busy_ports(self) -> range: ...

    def bypass(self) -> Bypassing: ...


class Machine:
    """The world as it is. `version` goes into what probes send."""

    def __init__(self, version: str) -> None:
        self.scout = Scout()
        self._probers = Probers(version)

    async def open(self) -> None:
        await self._probers.open()
        await self.scout.open()

    async def close(self) -> None:
        await self.scout.close()
        await self._probers.close()

    def now(self) -> float:
        return time.time()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def probe(self, prober: str, request: Request, settings: BaseModel) -> Outcome:
        return await self._probers.probe(prober, request, settings)

    async def check(self, addresses: Collection[str], timeout_seconds: float) -> Mapping[str, DirectResult]:
        return await check_all(addresses, timeout_seconds)

    def feed(self, router: Router) -> RouterFeed:
        return RouterFeed(router, self.now)

    def local_source(self, vip: str) -> str | None:
        return local.local_source(vip)

    def gateway(self, vip: str) -> str | None:
        return local.gateway_to(vip)

    def busy_ports(self) -> range:
        return ephemeral_ports()

    def bypass(self) -> Bypassing:
        return Bypass()
