"""What a router was asked and what it said, the same for every platform.

Values only: no I/O, no clock. `None` always means "this platform or this answer does not tell",
never "no"; an empty tuple means "asked, and there are none".
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

IPV4 = 4
IPV6 = 6


@lru_cache(maxsize=65_536)
def canonical(address: str) -> str:
    """The one spelling of an IP address by which addresses are compared; zone and prefix length dropped.

    Raises ValueError for text that is no IP address.
    """
    return str(ipaddress.ip_address(address.split("%", 1)[0].split("/", 1)[0]))


@lru_cache(maxsize=65_536)
def family_of(address: str) -> int:
    """4 or 6. Raises ValueError for text that is no IP address."""
    return ipaddress.ip_address(address.split("%", 1)[0].split("/", 1)[0]).version


@dataclass(frozen=True, slots=True)
class Command:
    """One read-only question to a router.

    Over ssh and exec: an argument vector, and what goes to its standard input. `raw`: the router's command
    line is no POSIX shell, so the words are sent as they are, with spaces between. `alone`: the router ends an SSH
    connection after one answer, so the question takes one of its own. Over https: the method
    and the path below the router's URL with its query, and the body (JSON) if there is one.
    """

    name: str
    argv: tuple[str, ...]
    stdin: str | None = None
    raw: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one command; `error` is set when no usable answer came (and says why).

    Over https `stdout` is the body, `exit_status` is 0 for a status of 2xx and else the status, and `stderr`
    its reason. `ended` is false where the router hung up without a word that this was all.
    """

    stdout: str = ""
    stderr: str = ""
    exit_status: int = 0
    error: str | None = None
    ended: bool = True


class SessionState(StrEnum):
    """BGP finite state machine (RFC 4271 section 8.2.2); `unknown` when the platform does not tell."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP neighbor as the router holds it. `families` are those negotiated or activated (4, 6).

    `interface`: the neighbor is configured by it alone (unnumbered); `address` is then the link-local one that was
    heard there, or the interface's name while nobody was. `router_id`: the neighbor's BGP identifier.
    """

    address: str
    state: SessionState
    remote_as: int | None = None
    local_as: int | None = None
    admin_down: bool = False
    dynamic: bool = False
    passive: bool = False
    last_error: str | None = None
    established_at: float | None = None  # seconds since the epoch
    prefixes_received: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    families: frozenset[int] | None = None
    policy_missing: bool = False  # RFC 8212: Established, but no policy lets routes in
    prefix_limit_hit: bool = False
    keeps_filtered: frozenset[int] | None = None  # families whose filtered routes the router remembers
    prefixes_filtered: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    interface: str | None = None
    router_id: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the BGP table: one prefix as heard from one peer (`None`: originated by the router itself).

    `used` says whether BGP chose it for forwarding (best path or multipath member), `None` if the platform
    does not mark multipath members. `filtered`: received and dropped by import policy. `unused_reason` is
    one phrase on why a route is not used. Of several addresses of one next hop (IPv6: global and link-local)
    the one that the router forwards by stands first.
    """

    prefix: str
    peer: str | None
    next_hops: tuple[str, ...]
    valid: bool = True
    best: bool = False
    used: bool | None = None
    stale: bool = False
    filtered: bool = False
    unused_reason: str | None = None
    mended_by: RemedyKind | None = None  # the setting that would bring an unused route into use


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next hop in the FIB. `address` is `None` for a directly connected route."""

    address: str | None
    interface: str | None = None
    weight: int = 1
    usable: bool = True  # False: dead or link down


@dataclass(frozen=True, slots=True)
class FibEntry:
    """The longest match in the FIB that covers a VIP; default routes never stand here.

    `kind` is the kernel's route type: unicast, local, or one that drops packets and has no next hops
    (blackhole, unreachable, prohibit).
    """

    prefix: str
    next_hops: tuple[NextHop, ...]
    protocol: str | None = None
    kind: str = "unicast"


@dataclass(frozen=True, slots=True)
class LinkNeighbor:
    """A row of the router's ARP or ND table."""

    address: str
    interface: str | None
    mac: str | None
    reachable: bool  # False: FAILED or INCOMPLETE


class HashPolicy(StrEnum):
    """What the router says that it hashes flows on (Linux: fib_multipath_hash_policy)."""

    ADDRESSES = "addresses"  # policy 0
    FIVE_TUPLE = "five-tuple"  # policy 1: the carried hash where there is one, else the 5-tuple
    INNER = "inner-addresses"  # policy 2
    FIELDS = "fields"  # policy 3: chosen fields
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Query:
    """What a snapshot should answer: these VIPs, seen by these expected nodes' addresses.

    `sources`: by VIP, the address from which the prober's flows to it start, where that is known. `vrf`: the
    VRF (VPN routing instance) in which the VIPs are routed, None for the default one. `default_routes`: a
    default route counts as a route to a VIP.
    """

    vips: tuple[str, ...]
    node_addresses: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    vrf: str | None = None
    default_routes: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A router's tables at one time, as far as the questions of one `Query` reach.

    routes: VIP -> every route in the BGP table for the longest prefix that covers it (filtered ones
    included); a VIP that is missing was not answered. fib: VIP -> entry, `None` when nothing but a default
    route covers it; a VIP that is missing was not answered. `sessions` and `neighbors` are `None` when the
    BGP neighbors, or the ARP and ND tables, could not be read. `problems` has one sentence for each answer
    that could not be used.
    """

    router: str
    platform: str
    taken_at: float  # seconds since the epoch
    sessions: tuple[Session, ...] | None = None
    dynamic_ranges: tuple[str, ...] = ()
    routes: Mapping[str, tuple[Route, ...]] = field(default_factory=lambda: MappingProxyType({}))
    fib: Mapping[str, FibEntry | None] = field(default_factory=lambda: MappingProxyType({}))
    neighbors: tuple[LinkNeighbor, ...] | None = ()
    addresses: frozenset[str] = frozenset()  # the router's own
    local_as: int | None = None
    maximum_paths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # "ibgp", "ebgp"
    hash_policy: Mapping[int, HashPolicy] = field(default_factory=lambda: MappingProxyType({}))
    version: str | None = None
    problems: tuple[str, ...] = ()
    vrf: str | None = None  # that was asked about; the reader sets it


@dataclass(frozen=True, slots=True)
class OracleFlow:
    """A flow for which the router is asked, without sending it, which next hop it would take.

    `vrf`: the VRF in which it is routed, None for the default one.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int
    protocol: str = "tcp"  # or "udp"
    vrf: str | None = None


class RemedyKind(StrEnum):
    """The faults that a router setting mends."""

    NEIGHBOR_MISSING = "neighbor_missing"
    SESSION_SHUTDOWN = "session_shutdown"
    SESSION_WRONG_AS = "session_wrong_as"
    SESSION_PASSWORD = "session_password"  # noqa: S105  (a kind of fault, no secret)
    ROUTE_FILTERED = "route_filtered"
    POLICY_MISSING = "policy_missing"  # RFC 8212
    PATH_LIMIT = "path_limit"
    AS_PATH_RELAX = "as_path_relax"


@dataclass(frozen=True, slots=True)
class RemedyFacts:
    """What a remedy needs to know; unknown values are `None` and become an angle-bracketed placeholder."""

    local_as: int | None
    neighbor: str
    remote_as: int | None = None
    family: int = IPV4
    paths: int | None = None  # next hops that should be installed together
    internal: bool = True  # iBGP
    vrf: str | None = None
    version: str | None = None  # the release of the router's own platform, where its syntax depends on it
