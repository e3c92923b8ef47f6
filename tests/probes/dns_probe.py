"""One probe by the dns prober, as its tests make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.dns_module import DnsModule
from probes.model import Flow, Identity, Outcome, Request

if TYPE_CHECKING:
    from probes.ports import Source
    from probes.table import Probers

QUESTION = {"query_name": "www.example.org", "query_type": "A"}


def module(**settings: Any) -> DnsModule:
    return DnsModule.model_validate(QUESTION | settings)


async def probe(
    probers: Probers,
    port: int,
    source: Source,
    *,
    settings: DnsModule | None = None,
    host: str = "127.0.0.1",
    seconds: float = 5.0,
    name: str = "ns.example.org",
    identity: Identity | None = None,
) -> Outcome:
    pinned = Flow(host, port, source.address if host == "127.0.0.1" else host, source.port)
    return await probers.probe("dns", Request(pinned, name, seconds, identity), settings or module())
