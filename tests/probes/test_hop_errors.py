from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import hop_errors
from probes.hop_errors import HopAnswer, HopError, Kind, Quoted, Seen

V4 = Quoted(IPv4Address("198.51.100.10"), IPv4Address("203.0.113.10"), 20000, 80, 0xDEADBEEF)
V6 = Quoted(IPv6Address("2001:db8::a"), IPv6Address("2001:db8:203::10"), 20000, 80, 0xDEADBEEF)
NODE = ip_address("10.0.0.11")
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
TCP, UDP, ESP = 6, 17, 50


def ipv4(quoted: Quoted = V4, *, options: bytes = b"", protocol: int = TCP, offset: int = 0) -> bytes:
    header = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 40 + len(options), 7, offset, 1, protocol, 0)
    return header + quoted.source.packed + quoted.destination.packed + options + hop_errors.segment(quoted)


def ipv6(quoted: Quoted = V6, *extensions: tuple[int, bytes], last: int = TCP) -> bytes:
    """Each extension: its number, and itself but for the number of what follows."""
    numbers = [*(number for number, _ in extensions), last]
    chain = b"".join(bytes([numbers[i + 1]]) + body for i, (_, body) in enumerate(extensions))
    payload = chain + hop_errors.segment(quoted)
    header = struct.pack(">IHBB", 6 << 28, len(payload), numbers[0], 1)
    return header + quoted.source.packed + quoted.destination.packed + payload


def icmp(original: bytes, message: int, code: int = 0, unused: bytes = bytes(4)) -> bytes:
    return struct.pack(">BBH4s", message, code, 0, unused) + original


@pytest.mark.parametrize(
    ("family", "message", "code", "kind"),
    [
        (4, 11, 0, Kind.EXPIRED),
        (4, 3, 0, Kind.UNREACHABLE),
        (4, 3, 13, Kind.UNREACHABLE),
        (4, 11, 1, None),  # reassembly took too long
        (4, 5, 0, None),
        (4, 0, 0, None),
        (4, 1, 0, None),
        (6, 3, 0, Kind.EXPIRED),
        (6, 1, 0, Kind.UNREACHABLE),
        (6, 1, 4, Kind.UNREACHABLE),
        (6, 3, 1, None),
        (6, 11, 0, None),
        (6, 128, 0, None),
        (6, 2, 0, None),
    ],
)
def test_types_and_codes(family: int, message: int, code: int, kind: Kind | None) -> None:
    quoted = V4 if family == 4 else V6
    found = hop_errors.parse(family, icmp(ipv4() if family == 4 else ipv6(), message, code))
    assert found == (kind and HopError(kind, quoted))


def test_eight_bytes_of_tcp_are_enough() -> None:
    assert hop_errors.parse(4, icmp(ipv4()[:28], 11)) == HopError(Kind.EXPIRED, V4)
    assert hop_errors.parse(4, icmp(ipv4()[:27], 11)) is None
    assert hop_errors.parse(6, icmp(ipv6()[:48], 3)) == HopError(Kind.EXPIRED, V6)
    assert hop_errors.parse(6, icmp(ipv6()[:47], 3)) is None


def test_ipv4_options() -> None:
    assert hop_errors.parse(4, icmp(ipv4(options=b"\1" * 40), 11)) == HopError(Kind.EXPIRED, V4)


def test_extensions_of_the_error_itself() -> None:
    """RFC 4884: the quoted datagram is filled up to 128 bytes, its length said in words, and more follows."""
    labels = bytes.fromhex("2000bd5f 0008 0101 00066540")
    v4 = icmp(ipv4().ljust(128, b"\0") + labels, 11, unused=bytes([0, 32, 0, 0]))
    assert hop_errors.parse(4, v4) == HopError(Kind.EXPIRED, V4)
    v6 = icmp(ipv6().ljust(128, b"\0") + labels, 3, unused=bytes([16, 0, 0, 0]))
    assert hop_errors.parse(6, v6) == HopError(Kind.EXPIRED, V6)


@pytest.mark.parametrize(
    "extensions",
    [
        [(HOP_BY_HOP, bytes([0]) + bytes(6))],
        [(DESTINATION_OPTIONS, bytes([1]) + bytes(14))],
        [(FRAGMENT, bytes(1) + bytes([0, 1]) + bytes(4))],  # the first one, and more follow
        [(AUTHENTICATION, bytes([4]) + bytes(22))],
        [(HOP_BY_HOP, bytes([0]) + bytes(6)), (ROUTING, bytes([2]) + bytes(22)), (FRAGMENT, bytes(7))],
        [(DESTINATION_OPTIONS, bytes(7))] * 7,
    ],
)
def test_ipv6_extension_headers(extensions: list[tuple[int, bytes]]) -> None:
    assert hop_errors.parse(6, icmp(ipv6(V6, *extensions), 3)) == HopError(Kind.EXPIRED, V6)


@pytest.mark.parametrize(
    ("family", "original"),
    [
        (4, ipv4(protocol=UDP)),
        (4, ipv4(offset=1)),  # not the first fragment: no ports in it
        (4, b"\x44" + ipv4()[1:]),  # a header of 16 bytes
        (4, ipv6()),
        (6, ipv4()),
        (6, ipv6(last=UDP)),
        (6, ipv6(V6, (ESP, bytes(7)))),
        (6, ipv6(V6, (FRAGMENT, bytes(1) + bytes([0, 8]) + bytes(4)))),
        (6, ipv6(V6, (HOP_BY_HOP, bytes([255]) + bytes(6)))),  # says to be longer than the packet
        (6, ipv6(V6, *[(DESTINATION_OPTIONS, bytes(7))] * 8)),
    ],
)
def test_what_is_no_tcp_segment(family: int, original: bytes) -> None:
    assert hop_errors.parse(family, icmp(original, 11 if family == 4 else 3)) is None


@given(st.binary(max_size=200), st.sampled_from([4, 6]), st.integers(0, 40))
def test_hostile_bytes(noise: bytes, family: int, kept: int) -> None:
    """Whatever stands in a message, and wherever it ends, parsing it ends with an error of a hop or None."""
    hop_errors.parse(family, noise)
    message = icmp(ipv4() if family == 4 else ipv6(), 11 if family == 4 else 3)
    found = hop_errors.parse(family, message[:kept] + noise)
    assert found is None or isinstance(found.quoted.sequence, int)
    hop_errors.parse(family, message[:kept])
    hop_errors.without_ipv4_header(noise)
    hop_errors.parse_extended_error(noise)
    hop_errors.parse_extended_error(struct.pack("=IBBBBII", 113, 2, 11, 0, 0, 0, 0) + noise)


def test_outer_header() -> None:
    message = icmp(ipv4(), 11)
    outer = struct.pack(">B19x", 0x45)
    assert hop_errors.without_ipv4_header(outer + message) == message
    assert hop_errors.without_ipv4_header(struct.pack(">B23x", 0x46) + message) == message
    for nonsense in (b"", b"\x45", b"\x44" + bytes(30)):
        assert hop_errors.without_ipv4_header(nonsense) == b""


def extended(origin: int, message: int, sender: bytes, code: int = 0) -> bytes:
    return struct.pack("=IBBBBII", 113, origin, message, code, 0, 0, 0) + sender


def test_error_queue() -> None:
    v4 = struct.pack("=HH", 2, 0) + NODE.packed + bytes(8)
    v6 = struct.pack("=HHI", 10, 0, 0) + V6.source.packed + struct.pack("=I", 3)
    assert hop_errors.parse_extended_error(extended(2, 11, v4)) == (Kind.EXPIRED, NODE)
    assert hop_errors.parse_extended_error(extended(2, 3, v4, 1)) == (Kind.UNREACHABLE, NODE)
    assert hop_errors.parse_extended_error(extended(3, 3, v6)) == (Kind.EXPIRED, V6.source)
    assert hop_errors.parse_extended_error(extended(3, 1, v6, 3)) == (Kind.UNREACHABLE, V6.source)
    assert hop_errors.parse_extended_error(extended(1, 11, v4)) is None, "of this machine, not of the network"
    assert hop_errors.parse_extended_error(extended(2, 11, bytes(16))) is None, "AF_UNSPEC"
    assert hop_errors.parse_extended_error(extended(2, 11, v4[:6])) is None


def test_segment() -> None:
    """Twenty bytes, no flags; the checksum over the pseudo header and itself makes all ones (RFC 1071)."""
    header = hop_errors.segment(V4)
    assert struct.unpack(">HHIIBB", header[:14]) == (20000, 80, 0xDEADBEEF, 0, 0x50, 0)
    assert len(header) == 20
    everything = V4.source.packed + V4.destination.packed + bytes([0, TCP, 0, 20]) + header
    total = sum(struct.unpack(">16H", everything))
    assert (total >> 16) + (total & 0xFFFF) == 0xFFFF
    v6 = hop_errors.segment(V6)
    assert v6[hop_errors.CHECKSUM_OFFSET :] == bytes(4)
    assert v6[:16] == header[:16]


def test_judge() -> None:
    source, destination = V4.source, V4.destination
    hop = hop_errors.judge(Kind.EXPIRED, NODE, source, destination)
    assert hop == HopAnswer(Seen.HOP, "10.0.0.11", "time exceeded")
    rewritten = hop_errors.judge(Kind.EXPIRED, destination, source, destination)
    assert (rewritten.seen, rewritten.address) == (Seen.DESTINATION, None)
    own = hop_errors.judge(Kind.UNREACHABLE, source, source, destination)
    assert (own.seen, own.address) == (Seen.LOCAL, None)
    here = hop_errors.judge(Kind.UNREACHABLE, source, source, source)
    assert here.seen is Seen.DESTINATION, "a destination on this machine"


def test_plain_address() -> None:
    assert str(hop_errors.plain_address("FE80:0::1%eth0")) == "fe80::1"
    for nonsense in ("", "www.example.org", "1.2.3"):
        with pytest.raises(ValueError, match="IPv4 or IPv6"):
            hop_errors.plain_address(nonsense)
