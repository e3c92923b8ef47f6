"""The contract of every prober: one flow in, one outcome out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from probes.facts import NOTHING, Facts


@dataclass(frozen=True, slots=True)
class Flow:
    """One 5-tuple (the protocol is the prober's). `None` and 0 leave the choice to the kernel.

    `mark` is this machine's own (SO_MARK): its policy routing may go by it, no packet carries it.
    """

    destination: str
    destination_port: int
    source: str | None = None
    source_port: int = 0
    mark: int = 0


class Failure(StrEnum):
    """Why a probe did not succeed. `local_port` is this machine's own trouble, never the path's."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    CLOSED = "closed"
    PROTOCOL = "protocol"
    EXPECTATION = "expectation"
    TLS = "tls"
    DNS = "dns"
    LOCAL_PORT = "local_port"
    LOCAL = "local"

    @property
    def answered(self) -> bool:
        """Packets came back from something that speaks for the service (so it is no silence)."""
        return self in _ANSWERED

    @property
    def local(self) -> bool:
        """The probe could not be sent from here; it says nothing of the path."""
        return self in (Failure.LOCAL_PORT, Failure.LOCAL)


_ANSWERED = frozenset(
    {
        Failure.REFUSED,
        Failure.RESET,
        Failure.CLOSED,
        Failure.PROTOCOL,
        Failure.EXPECTATION,
        Failure.TLS,
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exactly what happened to one probe.

    `flow` has the source address and port that were really used. `phases` are seconds by name (resolve,
    connect, tls, banner, processing, transfer), only those that were finished. `connected` tells whether
    the transport handshake finished (a silence after it is not the path's). `identity` is the raw text in
    which the answer may name its node, if the target has an identity rule and the answer held it. `facts` are what
    else was seen, `transcript` what happened, line by line: bounded, printable, and without secrets.
    """

    flow: Flow
    success: bool
    failure: Failure | None
    detail: str
    duration_seconds: float
    phases: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    connected: bool = False
    identity: str | None = None
    facts: Facts = NOTHING
    transcript: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Where an answer names its node: `kind` header, body, banner or host_key; `rule` a name or pattern.

    A pattern's single group is the value; the value is mapped to a node by the caller.
    """

    kind: str
    rule: str


@dataclass(frozen=True, slots=True)
class Request:
    """All that a prober needs besides its module: the pinned flow, the name asked for, a deadline.

    The last four are of http alone. `leave_path` follows a redirect to another origin, too, on flows that the kernel
    chooses; `resolve` then gives an IP address for a host name, or raises OSError.
    """

    flow: Flow
    host: str  # as configured: goes into Host and SNI
    timeout_seconds: float
    identity: Identity | None = None
    scheme: str | None = None  # http or https; None leaves it to the module
    path: str | None = None  # with its query; None is the module's
    leave_path: bool = False
    resolve: Callable[[str], Awaitable[str]] | None = None
