"""Every prober, by the name that a module gives: a new one is a file and a line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from probes.dns_prober import DnsProber
from probes.grpc import GrpcProber
from probes.http import HttpProber
from probes.icmp import IcmpProber
from probes.ssh import SshProber
from probes.tcp import TcpProber

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from probes.model import Outcome, Request


class Prober(Protocol):
    """Speaks one protocol. `module` is the schema of its section in a module of the configuration, `identities`
    are the kinds of identity that its answers can hold. `transport` (tcp, udp or icmp) is what its flows are made
    of, unless its module says otherwise: one of icmp has no ports.
    """

    transport: ClassVar[str]
    module: ClassVar[type[BaseModel]]
    identities: ClassVar[tuple[str, ...]]

    def __init__(self, version: str) -> None: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def probe(self, request: Request, module: Any) -> Outcome:
        """Never raises for what the network does; cancellation passes through."""


PROBERS: Mapping[str, type[Prober]] = MappingProxyType(
    {
        "dns": DnsProber,
        "grpc": GrpcProber,
        "http": HttpProber,
        "icmp": IcmpProber,
        "ssh": SshProber,
        "tcp": TcpProber,
    }
)


class Probers:
    """All probers, opened and closed together; `version` goes into what they send."""

    def __init__(self, version: str) -> None:
        self._probers: dict[str, Prober] = {name: kind(version) for name, kind in PROBERS.items()}

    async def open(self) -> None:
        for prober in self._probers.values():
            await prober.open()

    async def close(self) -> None:
        for prober in self._probers.values():
            await prober.close()

    async def probe(self, prober: str, request: Request, module: BaseModel) -> Outcome:
        """One probe by `prober` (a key of PROBERS) with its own kind of module."""
        return await self._probers[prober].probe(request, module)
