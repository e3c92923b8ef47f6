"""What an answer showed besides success or failure, one value for each protocol. Pure.

A prober fills what it has seen, also when the probe failed afterwards; None is what it did not see. Nothing here is
a secret, and every text is printable and bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class TcpFacts:
    """Of the connection (Linux, struct tcp_info): `handshake_rtt_seconds` is the kernel's first sample, right after the
    handshake; `retransmits` counts segments sent again until the connection was closed.
    """

    handshake_rtt_seconds: float
    retransmits: int = 0


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """Of the session. Times are seconds since the epoch; `earliest_expiry` is the earliest of all certificates that the
    server sent, `chain_expiry` the latest of the earliest expiries of verified chains, None without a verified one.
    """

    version: str  # as blackbox_exporter writes it: TLS 1.3
    cipher: str
    earliest_expiry: float
    chain_expiry: float | None = None
    fingerprint_sha256: str = ""  # of the server's own certificate, lower case hexadecimal
    subject: str = ""
    issuer: str = ""
    subject_alternative: str = ""
    serial_number: str = ""


@dataclass(frozen=True, slots=True)
class HttpFacts:
    """`content_length` is -1 where the answer did not tell; `version` is 1.0, 1.1 or 2.0. Where a redirect was followed
    and nothing answered then, `status_code` and `version` are 0.
    """

    status_code: int
    version: float
    content_length: int = -1
    uncompressed_body_bytes: int = 0
    redirects: int = 0
    tls: bool = False
    last_modified: float | None = None  # seconds since the epoch
    failed_by_pattern: bool = False


@dataclass(frozen=True, slots=True)
class SshFacts:
    """The identification string (RFC 4253, section 4.2) and, where it was asked for, the host key's fingerprint.

    `host_key_expected`: it is one of those that the configuration lists.
    """

    protocol: str
    software: str
    comment: str = ""
    host_key: str | None = None  # SHA256:... as ssh-keygen -lf prints it
    host_key_expected: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeFacts:
    """Of a `query_response`: whether a pattern, or bytes, decided that it failed, and the labels that patterns gave."""

    failed_by_pattern: bool = False
    failed_by_bytes: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """The message that answered; `serial` is the SOA's, where the answer holds one."""

    rcode: str
    answer_records: int
    authority_records: int
    additional_records: int
    serial: int | None = None


@dataclass(frozen=True, slots=True)
class IcmpFacts:
    """`reply_hop_limit` is the TTL or hop limit with which the echo reply arrived."""

    reply_hop_limit: int | None = None


@dataclass(frozen=True, slots=True)
class GrpcFacts:
    """The status of the call (0 is OK) and what the service said of its health."""

    status_code: int
    serving_status: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one probe saw."""

    tcp: TcpFacts | None = None
    tls: TlsFacts | None = None
    http: HttpFacts | None = None
    ssh: SshFacts | None = None
    exchange: ExchangeFacts | None = None
    dns: DnsFacts | None = None
    icmp: IcmpFacts | None = None
    grpc: GrpcFacts | None = None


NOTHING = Facts()
