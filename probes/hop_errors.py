"""What a hop on the way says of a packet, and the packet that makes it say so. Pure.

A router that drops a packet quotes it in an ICMP error: the IP header and at least eight bytes behind it
(RFC 792), as much as fits for IPv6 (RFC 4443 section 2.4). That is enough for the ports and the sequence
number of a TCP segment, by which the answer is known to be ours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


class Seen(StrEnum):
    """What came back. DESTINATION and SILENCE name nobody; SILENCE is no evidence of anything."""

    HOP = "hop"
    DESTINATION = "destination"
    SILENCE = "silence"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class HopAnswer:
    """HOP: an ICMP error came from `address`, which is not the destination (canonical text, without zone).

    DESTINATION: the destination itself answered, or an error under its address (connection tracking writes
    that into a node's error). LOCAL: this machine could not send. `detail` says more for a person.
    """

    seen: Seen
    address: str | None = None
    detail: str = ""


class Kind(StrEnum):
    EXPIRED = "time exceeded"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Quoted:
    """The TCP segment that an ICMP error is about, as far as errors are sure to quote it."""

    source: Address
    destination: Address
    source_port: int
    destination_port: int
    sequence: int


@dataclass(frozen=True, slots=True)
class HopError:
    kind: Kind
    quoted: Quoted


CHECKSUM_OFFSET = 16
"""Where a TCP header holds its checksum (RFC 9293 section 3.1), for the socket option IPV6_CHECKSUM."""

_TCP = 6
_TCP_HEADER = struct.Struct(">HHIIBBHHH")
_TCP_START = struct.Struct(">HHI")  # ports and sequence number
_DATA_OFFSET = 5 << 4  # no options
_WINDOW = 1024
_ICMP_HEADER_BYTES = 8
_IPV4_BYTES, _IPV6_BYTES = 20, 40
_IPV4, _IPV6 = 4, 6

# Type and code of time exceeded in transit; a code of None stands for any (RFC 792; RFC 4443 section 3).
_KINDS: dict[int, dict[int, tuple[int | None, Kind]]] = {
    4: {11: (0, Kind.EXPIRED), 3: (None, Kind.UNREACHABLE)},
    6: {3: (0, Kind.EXPIRED), 1: (None, Kind.UNREACHABLE)},
}
# Extension headers that may stand before TCP: hop-by-hop, routing, destination options, mobility, HIP, shim6
# count 8-byte units after the first (RFC 8200 section 4, RFC 7045).
_FRAGMENT = 44
_AUTHENTICATION = 51
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
_MOST_EXTENSIONS = 8

_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err, <linux/errqueue.h>
_ORIGINS = {2: 4, 3: 6}  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_AF_INET, _AF_INET6 = 2, 10  # Linux


def parse(family: int, message: bytes) -> HopError | None:
    """Reads an ICMP (`family` 4) or ICMPv6 (6) message, from its type on.

    None for every message that is no error of a hop about a TCP segment, or too short to tell. Never raises.
    Extensions (RFC 4884) follow at least 128 bytes of quoted datagram, so they need no care here.
    """
    if len(message) < _ICMP_HEADER_BYTES:
        return None
    kind = _kind(family, message[0], message[1])
    if kind is None:
        return None
    quoted = _quoted(family, message[_ICMP_HEADER_BYTES:])
    return None if quoted is None else HopError(kind, quoted)


def without_ipv4_header(packet: bytes) -> bytes:
    """The ICMP message in what a raw IPv4 socket delivers (raw(7)); ICMPv6 sockets deliver no header."""
    header = (packet[0] & 0x0F) * 4 if packet else 0
    return packet[header:] if header >= _IPV4_BYTES else b""


def parse_extended_error(data: bytes) -> tuple[Kind, Address] | None:
    """Kind and sender of the ICMP error in an IP_RECVERR or IPV6_RECVERR control message (ip(7)).

    None for errors that no hop sent. Never raises.
    """
    if len(data) < _EXTENDED_ERROR.size:
        return None
    _, origin, message, code, *_ = _EXTENDED_ERROR.unpack_from(data)
    family = _ORIGINS.get(origin)
    kind = None if family is None else _kind(family, message, code)
    offender = _socket_address(data[_EXTENDED_ERROR.size :])
    return None if kind is None or offender is None else (kind, offender)


def judge(kind: Kind, offender: Address, source: Address | None, destination: Address) -> HopAnswer:
    """What an ICMP error from `offender` about a packet from `source` to `destination` tells."""
    if offender == destination:
        return HopAnswer(Seen.DESTINATION, detail=f"{kind}, under the destination's address")
    if offender == source:  # the kernel answers itself where a neighbor does not
        return HopAnswer(Seen.LOCAL, detail=f"this machine itself says {kind}")
    return HopAnswer(Seen.HOP, str(offender), kind)


def plain_address(text: str) -> Address:
    """The address without its zone. Raises ValueError when it is none."""
    return ip_address(text.partition("%")[0])


def segment(quoted: Quoted) -> bytes:
    """A TCP header without flags, options and data. Its checksum is right for IPv4 and left 0 for IPv6, where
    the kernel computes it (IPV6_CHECKSUM).

    Connection tracking calls such a segment invalid and leaves it and its errors as they are (Linux,
    nf_conntrack_proto_tcp.c, tcp_valid_flags); an open connection drops it unread (tcp_input.c,
    tcp_rcv_established: neither ACK, RST nor SYN), a listener too.
    """
    ports = quoted.source_port, quoted.destination_port
    header = _TCP_HEADER.pack(*ports, quoted.sequence, 0, _DATA_OFFSET, 0, _WINDOW, 0, 0)
    if quoted.destination.version == _IPV6:
        return header
    pseudo = quoted.source.packed + quoted.destination.packed + struct.pack(">BBH", 0, _TCP, len(header))
    return _TCP_HEADER.pack(*ports, quoted.sequence, 0, _DATA_OFFSET, 0, _WINDOW, _checksum(pseudo + header), 0)


def _checksum(even: bytes) -> int:
    """RFC 1071: the one's complement sum of 16-bit words is their value modulo 0xFFFF."""
    return 0xFFFF - int.from_bytes(even, "big") % 0xFFFF


def _kind(family: int, message: int, code: int) -> Kind | None:
    wanted, kind = _KINDS[family].get(message, (-1, None))
    return kind if wanted in (None, code) else None


def _quoted(family: int, original: bytes) -> Quoted | None:
    ports = _ipv4_payload(original) if family == _IPV4 else _ipv6_payload(original)
    if ports is None or len(ports) < _TCP_START.size:
        return None
    source, destination = (
        (IPv4Address(original[12:16]), IPv4Address(original[16:20]))
        if family == _IPV4
        else (IPv6Address(original[8:24]), IPv6Address(original[24:40]))
    )
    return Quoted(source, destination, *_TCP_START.unpack_from(ports))


def _ipv4_payload(original: bytes) -> bytes | None:
    """The start of the TCP segment; None if there is another protocol, or a fragment that is not the first."""
    if len(original) < _IPV4_BYTES or original[0] >> 4 != _IPV4 or original[9] != _TCP:
        return None
    header = (original[0] & 0x0F) * 4
    if header < _IPV4_BYTES or int.from_bytes(original[6:8], "big") & 0x1FFF:
        return None
    return original[header:]


def _ipv6_payload(original: bytes) -> bytes | None:
    if len(original) < _IPV6_BYTES or original[0] >> 4 != _IPV6:
        return None
    protocol, rest = original[6], original[_IPV6_BYTES:]
    for _ in range(_MOST_EXTENSIONS):
        if protocol == _TCP:
            return rest
        length = _extension_bytes(protocol, rest)
        if length is None:
            return None
        protocol, rest = rest[0], rest[length:]
    return None


def _extension_bytes(protocol: int, rest: bytes) -> int | None:
    """How long the extension header at the start of `rest` is; None where TCP cannot follow."""
    if len(rest) < 8:  # noqa: PLR2004 - the least that any extension header has
        return None
    if protocol == _FRAGMENT:
        return None if int.from_bytes(rest[2:4], "big") & 0xFFF8 else 8
    if protocol == _AUTHENTICATION:
        return (rest[1] + 2) * 4
    return (rest[1] + 1) * 8 if protocol in _EXTENSIONS else None


def _socket_address(data: bytes) -> Address | None:
    """From struct sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", data)[0] if len(data) >= struct.calcsize("=H") else None
    if family == _AF_INET and len(data) >= 8:  # noqa: PLR2004
        return IPv4Address(data[4:8])
    if family == _AF_INET6 and len(data) >= 24:  # noqa: PLR2004
        return IPv6Address(data[8:24])
    return None
