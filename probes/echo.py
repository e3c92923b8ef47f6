"""ICMP echo (RFC 792, RFC 4443 section 4) to any number of destinations over one socket.

A ping socket (SOCK_DGRAM) needs no privilege where net.ipv4.ping_group_range permits it, for both families;
a raw socket needs CAP_NET_RAW. An answer is known by 16 random bytes that only its request carried.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.flow import SocketAddress

TOKEN_BYTES = 16
INDEX_BYTES = 4
HEADER_BYTES = 8
ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}

_HEADER = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence
_READ_BYTES = 2048
_READ_MESSAGES = 256  # in one turn of the event loop
_SOL_RAW, _ICMP_FILTER = 255, 1  # <linux/icmp.h>
_ICMP6_FILTER = 1  # <linux/icmpv6.h>


def build_request(family: socket.AddressFamily, identifier: int, index: int, token: bytes) -> bytes:
    """An echo request whose data is `token` and `index`, with its checksum (the kernel replaces ICMPv6's)."""
    data = token + index.to_bytes(INDEX_BYTES, "big")
    header = _HEADER.pack(ECHO_REQUEST[family], 0, 0, identifier, index & 0xFFFF)
    return _HEADER.pack(ECHO_REQUEST[family], 0, checksum(header + data), identifier, index & 0xFFFF) + data


def parse_reply(family: socket.AddressFamily, message: bytes, token: bytes) -> int | None:
    """The index that a reply to us carries, or None for any other message."""
    data = message[HEADER_BYTES:]
    if len(data) != TOKEN_BYTES + INDEX_BYTES or not data.startswith(token):
        return None
    if message[0] != ECHO_REPLY[family] or message[1] != 0:
        return None
    return int.from_bytes(data[TOKEN_BYTES:], "big")


def without_ip_header(packet: bytes) -> bytes:
    """What a raw IPv4 socket delivers, after the header (RFC 791, section 3.1: IHL counts 32-bit words)."""
    return packet[(packet[0] & 0x0F) * 4 :] if packet else packet


def checksum(message: bytes) -> int:
    """The internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def only_replies(sock: socket.socket, family: socket.AddressFamily) -> None:
    """Let the kernel drop all other ICMP messages to this machine, which a raw socket would see."""
    reply = ECHO_REPLY[family]
    if family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << reply) & 0xFFFFFFFF))
        return
    blocked = [0xFFFFFFFF] * 8
    blocked[reply >> 5] &= ~(1 << (reply & 31))
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))


class EchoSocket:
    """Non-blocking; the caller waits for `fileno` to be readable."""

    def __init__(self, family: socket.AddressFamily) -> None:
        """Raises OSError when this process may open neither kind of socket."""
        self._family = family
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._identifier = int.from_bytes(os.urandom(2), "big")
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._sock = socket.socket(family, socket.SOCK_DGRAM | flags, protocol)
            self._raw = False
        except PermissionError:
            self._sock = socket.socket(family, socket.SOCK_RAW | flags, protocol)
            self._raw = True
            only_replies(self._sock, family)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, destination: SocketAddress, index: int) -> None:
        """Raises OSError, BlockingIOError included."""
        request = build_request(self._family, self._identifier, index, self._token)
        host, _, *rest = destination
        self._sock.sendto(request, (host, 0, *rest))

    def receive(self) -> Iterator[int]:
        """The indexes of answers that wait to be read, some twice perhaps."""
        for _ in range(_READ_MESSAGES):
            try:
                packet = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                return
            message = without_ip_header(packet) if self._raw and self._family == socket.AF_INET else packet
            index = parse_reply(self._family, message, self._token)
            if index is not None:
                yield index

    def close(self) -> None:
        self._sock.close()
