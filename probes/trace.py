"""Traces TCP flows: one segment without flags over raw sockets, and the ICMP error of the hop that drops it.

Needs CAP_NET_RAW. What was measured on Linux 6.18, with DNAT and connection tracking on the node
- Hundreds of such segments, of every TTL, on the 5-tuple of a connection while it carried data both ways:
  the connection lost nothing, and each answer bore the hop's own address.
- It is silent where a packet filter drops what connection tracking calls invalid: on the router, before
  routing on the node (kube-proxy's own such rule comes later and changes nothing), and on this machine's way
  in, unless the flow was used a moment ago. On this machine's way out, sending fails with EPERM.
- The kernel hands a raw TCP socket a copy of every TCP segment that reaches this machine. A socket filter
  that accepts nothing drops the copies before they are queued; a small receive buffer would hold some.
- TTL and source address go along with each segment as ancillary data: the socket keeps no state between
  segments, so one socket serves any number of flows.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import secrets
import socket
import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from probes import flow as pinning
from probes import hop_errors
from probes.failure import ProbeError
from probes.hop_errors import HopAnswer, HopError, Quoted, Seen

if TYPE_CHECKING:
    from probes.model import Flow

_READ_BYTES = 2048  # errors are shorter than 576 bytes, or 1280 for IPv6
_READ_MESSAGES = 64  # in one turn of the event loop
_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
_ACCEPT_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # struct sock_filter, BPF_RET | BPF_K: zero bytes
_SOL_RAW, _ICMP_FILTER = 255, 1  # <linux/icmp.h>
_ICMP6_FILTER = 1  # <linux/icmpv6.h>
_IP_PKTINFO = 8  # <linux/in.h>
_PASSED = {socket.AF_INET: (3, 11), socket.AF_INET6: (1, 3)}  # unreachable, time exceeded

_Waiting = tuple[Quoted, "asyncio.Future[tuple[HopError, hop_errors.Address]]"]


class Tracer:
    """The two raw sockets of one family, read by the running event loop until `close`."""

    def __init__(self, family: socket.AddressFamily) -> None:
        """Raises OSError, mostly PermissionError, and leaves nothing open then."""
        self._family = family
        self._waiting: dict[int, _Waiting] = {}
        self._sender = _sender(family)
        try:
            self._receiver = _receiver(family)
        except BaseException:
            self._sender.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._receiver.fileno(), self._receive)

    def close(self) -> None:
        """Who still waits for an answer sees silence."""
        self._loop.remove_reader(self._receiver.fileno())
        self._receiver.close()
        self._sender.close()

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        """Send one segment of exactly this 5-tuple that `hops` routers may touch, and await the answer.

        Never raises for what the network or this machine does.
        """
        try:
            _, destination = pinning.socket_address(flow.destination, flow.destination_port)
            quoted = _quoted(flow, self._new_cookie())
        except (ProbeError, ValueError) as error:
            return HopAnswer(Seen.LOCAL, detail=str(error))
        answer: asyncio.Future[tuple[HopError, hop_errors.Address]] = self._loop.create_future()
        self._waiting[quoted.sequence] = quoted, answer
        try:
            self._send(quoted, destination, hops, flow.mark)
            async with asyncio.timeout(seconds):
                said, offender = await answer
        except TimeoutError:
            return HopAnswer(Seen.SILENCE, detail=f"no answer within {seconds:g} s")
        except OSError as error:
            return HopAnswer(Seen.LOCAL, detail=_why_unsent(error, flow))
        finally:
            del self._waiting[quoted.sequence]
        return hop_errors.judge(said.kind, offender, quoted.source, quoted.destination)

    def _new_cookie(self) -> int:
        while (cookie := secrets.randbits(32)) in self._waiting:
            pass
        return cookie

    def _send(self, quoted: Quoted, destination: pinning.SocketAddress, hops: int, mark: int) -> None:
        host, _, *rest = destination
        scope = rest[1] if rest else 0
        ancillary = _ancillary(quoted.source, hops, scope)
        if mark:
            ancillary.append((socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark)))
        self._sender.sendmsg([hop_errors.segment(quoted)], ancillary, 0, (host, 0, *rest))

    def _receive(self) -> None:
        for _ in range(_READ_MESSAGES):
            try:
                message, sender = self._receiver.recvfrom(_READ_BYTES)
            except OSError:  # nothing left to read
                return
            if self._family == socket.AF_INET:
                message = hop_errors.without_ipv4_header(message)
            error = hop_errors.parse(4 if self._family == socket.AF_INET else 6, message)
            if error is not None:
                self._settle(error, hop_errors.plain_address(sender[0]))

    def _settle(self, error: HopError, offender: hop_errors.Address) -> None:
        quoted, answer = self._waiting.get(error.quoted.sequence, (None, None))
        if answer is not None and quoted == error.quoted and not answer.done():
            answer.set_result((error, offender))


def _sender(family: socket.AddressFamily) -> socket.socket:
    sock = _raw(family, socket.IPPROTO_TCP)
    try:
        program = ctypes.create_string_buffer(_ACCEPT_NOTHING, len(_ACCEPT_NOTHING))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
        if family == socket.AF_INET6:
            pinning.pin_label(sock)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, hop_errors.CHECKSUM_OFFSET)
    except BaseException:
        sock.close()
        raise
    return sock


def _receiver(family: socket.AddressFamily) -> socket.socket:
    sock = _raw(family, socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6)
    blocked = [0xFFFFFFFF] * 8
    for message in _PASSED[family]:
        blocked[message >> 5] &= ~(1 << (message & 31))
    try:
        if family == socket.AF_INET:
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", blocked[0]))
        else:
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
    except BaseException:
        sock.close()
        raise
    return sock


def _raw(family: socket.AddressFamily, protocol: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)


def _quoted(flow: Flow, cookie: int) -> Quoted:
    """Raises ValueError."""
    source, destination = hop_errors.plain_address(flow.source or ""), hop_errors.plain_address(flow.destination)
    if source.version != destination.version:
        raise ValueError(f"source {flow.source} and destination {flow.destination} differ in family")
    return Quoted(source, destination, flow.source_port, flow.destination_port, cookie)


def _ancillary(source: hop_errors.Address, hops: int, scope: int) -> list[tuple[int, int, bytes]]:
    """The source address (struct in_pktinfo, in6_pktinfo) and the TTL (ip(7), ipv6(7))."""
    if isinstance(source, IPv4Address):
        return [
            (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, source.packed)),
            (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", hops)),
        ]
    return [
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16si", source.packed, scope)),
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", hops)),
    ]


def _why_unsent(error: OSError, flow: Flow) -> str:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno == errno.EPERM:
        reason = "its packet filter drops segments without flags"
        if flow.mark:
            reason = f"{reason}, or {pinning.MARK_FORBIDDEN}"
    return f"this machine cannot send from {flow.source} to {flow.destination}: {reason}"
