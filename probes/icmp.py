"""`icmp`: one echo request and its reply (RFC 792, RFC 4443 section 4), from a pinned source address.

ICMP has no ports. A router that hashes ports leads every echo from one address to one VIP over one and the same path,
which the addresses choose: more paths than one are reached from several source addresses (probing.source_addresses),
and a router that hashes ICMP's identifier, as some do, may lead each echo over another path.

A ping socket (SOCK_DGRAM) needs no privilege where net.ipv4.ping_group_range permits it, for both families; a raw
socket needs CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from probes import failure, flow
from probes.attempt import Attempt
from probes.echo import ECHO_REPLY, ECHO_REQUEST, HEADER_BYTES, checksum, only_replies, without_ip_header
from probes.facts import IcmpFacts
from probes.failure import ProbeError
from probes.flow import SocketAddress
from probes.model import Failure, Flow, Outcome, Request
from probes.tcp_module import SourceAddress

DEFAULT_PAYLOAD_BYTES = 28  # blackbox_exporter's is a text of this length
MAX_PAYLOAD_BYTES = 65_507  # an IPv4 packet without the headers of IP and ICMP
NOT_PERMITTED = "this process may send no ICMP echo: it needs a group within net.ipv4.ping_group_range, or CAP_NET_RAW"

_HEADER = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence
_READ_BYTES = 65_600
_READ_ANCILLARY = 256
_READ_MESSAGES = 64  # in one turn of the event loop
_RESENT = 8  # links on a path, each narrower than the one before
_INT = struct.Struct("=i")
# <linux/in.h> and <linux/in6.h>; the socket module has no names for them.
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_RECVTTL, _PMTUDISC_DONT, _PMTUDISC_PROBE = 10, 11, 12, 0, 3
_IPV6_MTU_DISCOVER, _IPV6_RECVERR = 23, 25


class IcmpModule(BaseModel):
    """blackbox_exporter's schema, all of it. A `payload_size` of 0 is DEFAULT_PAYLOAD_BYTES, a `ttl` of 0 the kernel's
    own. `dont_fragment` holds for IPv6, too.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    preferred_ip_protocol: Literal["ip4", "ip6"] = "ip6"
    ip_protocol_fallback: bool = True
    source_ip_address: SourceAddress | None = None
    dont_fragment: bool = False
    payload_size: Annotated[int, Field(ge=0, le=MAX_PAYLOAD_BYTES)] = 0
    ttl: Annotated[int, Field(ge=0, le=255)] = 0


class IcmpProber:
    """Keeps nothing between probes."""

    transport: ClassVar[str] = "icmp"
    module: ClassVar[type[BaseModel]] = IcmpModule
    identities: ClassVar[tuple[str, ...]] = ()

    def __init__(self, version: str) -> None:
        del version  # nothing that is sent holds text

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def probe(self, request: Request, module: IcmpModule) -> Outcome:
        attempt = Attempt(request)
        return await attempt.run(self._exchange(attempt, module))

    async def _exchange(self, attempt: Attempt, module: IcmpModule) -> None:
        attempt.step = "ICMP echo request"
        attempt.leave_from(module.source_ip_address)
        pinned = replace(attempt.request.flow, source_port=0, destination_port=0)
        with _opened(pinned, module) as pinging:
            attempt.take(pinging.sock, ports=False)
            size = module.payload_size or DEFAULT_PAYLOAD_BYTES
            pinging.prepare(size)
            attempt.end_phase("setup")
            attempt.note(f"sending an echo request with {size} bytes to {pinned.destination}")
            pinging.send()
            attempt.step = "ICMP echo reply"
            hop_limit = await pinging.reply()
        attempt.end_phase("rtt")
        attempt.connected = True
        attempt.note(f"echo reply with {'TTL' if pinging.family == socket.AF_INET else 'hop limit'} {hop_limit}")
        attempt.facts = replace(attempt.facts, icmp=IcmpFacts(hop_limit))


@contextmanager
def _opened(pinned: Flow, module: IcmpModule) -> Iterator[_Pinging]:
    """Raises ProbeError."""
    family, _ = flow.socket_address(pinned.destination, 0)
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    raw = False
    try:
        sock, destination = flow.opened(pinned, socket.SOCK_DGRAM, protocol)
    except ProbeError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        sock, destination = _opened_raw(pinned, protocol)
        raw = True
    try:
        _prepare(sock, family, module)
        if raw:
            only_replies(sock, family)
        code = sock.connect_ex(destination)
        if code:
            raise failure.local(code, f"send to {pinned.destination}")
        sender = socket.inet_ntop(family, socket.inet_pton(family, destination[0]))  # as the kernel writes it
        yield _Pinging(sock, family, sender, raw, may_fragment=not module.dont_fragment)
    finally:
        sock.close()


def _opened_raw(pinned: Flow, protocol: int) -> tuple[socket.socket, SocketAddress]:
    try:
        return flow.opened(pinned, socket.SOCK_RAW, protocol)
    except ProbeError as error:
        if isinstance(error.__cause__, PermissionError):
            raise ProbeError(Failure.LOCAL, NOT_PERMITTED) from error
        raise


def _prepare(sock: socket.socket, family: socket.AddressFamily, module: IcmpModule) -> None:
    """Ask for ICMP errors and for the hop limit of what comes, and set what the module says of what leaves."""
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        if module.ttl:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, module.ttl)
        discover = _PMTUDISC_PROBE if module.dont_fragment else _PMTUDISC_DONT  # the kernel's default forbids, too
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discover)
        return
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    if module.ttl:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, module.ttl)
    if module.dont_fragment:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)


@dataclass(slots=True)
class _Pinging:
    """One request, and the wait for its reply, on a connected socket."""

    sock: socket.socket
    family: socket.AddressFamily
    destination: str
    raw: bool
    may_fragment: bool
    identifier: int = 0
    sequence: int = 0
    payload: bytes = b""
    request: bytes = b""

    def prepare(self, size: int) -> None:
        """The payload is random, so that no other echo's reply is taken for ours. The kernel puts the identifier of a
        ping socket in, and the checksum of ICMPv6.
        """
        self.identifier, self.sequence = struct.unpack("=HH", os.urandom(4))
        self.payload = secrets.token_bytes(size)
        header = _HEADER.pack(ECHO_REQUEST[self.family], 0, 0, self.identifier, self.sequence)
        checked = checksum(header + self.payload + b"\x00" * (size & 1))
        header = _HEADER.pack(ECHO_REQUEST[self.family], 0, checked, self.identifier, self.sequence)
        self.request = header + self.payload

    def send(self) -> None:
        try:
            self.sock.send(self.request)
        except OSError as error:
            raise failure.local(error.errno, f"send {len(self.request)} bytes of ICMP") from error

    async def reply(self) -> int | None:
        """The hop limit of the reply."""
        resent = 0
        while True:
            await _readable(self.sock)
            for _ in range(_READ_MESSAGES):
                try:
                    packet, ancillary, _, sender = self.sock.recvmsg(_READ_BYTES, _READ_ANCILLARY)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno == errno.EMSGSIZE and self.may_fragment and resent < _RESENT:
                        self.send()  # IPv6: a router told the largest size, and only the sender may fragment
                        resent += 1
                        continue
                    raise _network(error) from error
                if self._is_reply(packet, sender):
                    return _hop_limit(ancillary)
            await asyncio.sleep(0)

    def _is_reply(self, packet: bytes, sender: SocketAddress) -> bool:
        message = without_ip_header(packet) if self.raw and self.family == socket.AF_INET else packet
        if len(message) < HEADER_BYTES or sender[0] != self.destination:
            return False
        kind, code, _, identifier, sequence = _HEADER.unpack_from(message)
        if (kind, code, sequence) != (ECHO_REPLY[self.family], 0, self.sequence):
            return False
        return (not self.raw or identifier == self.identifier) and message[HEADER_BYTES:] == self.payload


def _network(error: OSError) -> ProbeError:
    if error.errno == errno.EMSGSIZE:
        return ProbeError(Failure.UNREACHABLE, "ICMP echo reply: a router has no room for a packet of this size")
    return failure.network(error.errno, "ICMP echo reply")


def _hop_limit(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            (value,) = _INT.unpack(data[: _INT.size])
            return int(value)
    return None


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
