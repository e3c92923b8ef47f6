"""Pinned flows: TCP connections whose source address and port we choose (Linux only).

What was measured on Linux 6.18, and therefore is done here
- Without SO_REUSEADDR a bound port is refused (EADDRINUSE at bind) while any connection of the same
  address and port lives or rests in TIME_WAIT, whatever its destination. With it, one port serves any
  number of destinations at once, and a port that someone listens on is still refused.
- A busy 4-tuple then shows at connect, as EADDRNOTAVAIL; at bind the same errno means that the source
  address is not this machine's.
- IP_BIND_ADDRESS_NO_PORT changes nothing for a port that is given; with port 0 it lets the kernel choose
  at connect, when it knows the destination, so that ports are shared there too.
- An explicitly bound 4-tuple in our own TIME_WAIT may connect again at once if both sides use TCP
  timestamps (net/ipv4/tcp_ipv4.c, tcp_twsk_unique); without them it answers EADDRNOTAVAIL for 60 s.
- The kernel draws a flow label for each IPv6 socket, and Linux routers with fib_multipath_hash_policy 0 hash
  it: 40 connections of one and the same 5-tuple had 40 labels. With IPV6_AUTOFLOWLABEL 0 every packet of
  them had label 0, except where net.ipv6.auto_flowlabels is 3, which lets no socket decide.

How connections end
- `finish` after a good exchange: FIN, so that the service sees an orderly end and logs nothing. If we close
  first the 4-tuple rests in our TIME_WAIT for 60 s, which rotation of ports allows for. A peer that never
  closes would hold it in FIN_WAIT2 for as long; TCP_LINGER2 cuts that to FIN_WAIT2_SECONDS.
- `reset` after anything else: SO_LINGER 0 sends RST, leaves no state on either side, and frees the 4-tuple.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from pathlib import Path

from probes import failure
from probes.failure import ProbeError
from probes.model import Failure, Flow

FIN_WAIT2_SECONDS = 5
MARK_FORBIDDEN = "this process may not mark packets: SO_MARK needs CAP_NET_ADMIN or, since Linux 5.17, CAP_NET_RAW"

_IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>; the socket module has no name for it before Python 3.12
_IPV6_AUTOFLOWLABEL = 70  # <linux/in6.h>
_LINGER_OFF = struct.pack("ii", 1, 0)
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


async def connect(flow: Flow) -> socket.socket:
    """A connected non-blocking socket that is bound as `flow` says. The caller sets the time limit.

    Raises ProbeError. A failure or cancellation leaves no descriptor behind.
    """
    sock, destination = opened(flow)
    try:
        await _handshake(sock, destination)
    except BaseException:
        sock.close()
        raise
    return sock


def opened(flow: Flow, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> tuple[socket.socket, SocketAddress]:
    """A non-blocking socket that is bound and marked as `flow` says, and where it is to connect to.

    Raises ProbeError.
    """
    family, destination = socket_address(flow.destination, flow.destination_port)
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise failure.local(error.errno, "open a socket") from error
    try:
        if family == socket.AF_INET6:
            pin_label(sock)
        _mark(sock, flow)
        _bind(sock, flow, family)
    except BaseException:
        sock.close()
        raise
    return sock, destination


async def writable(sock: socket.socket) -> None:
    """Until the handshake of a non-blocking connect has ended, well or badly."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_writer(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def pin_label(sock: socket.socket) -> None:
    """Let an IPv6 socket send flow label 0, so that a flow is pinned for routers that hash the label."""
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_AUTOFLOWLABEL, 0)


def finish(sock: socket.socket) -> None:
    """Close in an orderly way, without waiting."""
    soften(sock)
    sock.close()


def reset(sock: socket.socket) -> None:
    """Close with RST; does nothing to a closed socket."""
    harden(sock)
    sock.close()


def soften(sock: socket.socket) -> None:
    """Bound the time that a polite close may hold the 4-tuple."""
    if sock.fileno() != -1:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, FIN_WAIT2_SECONDS)


def harden(sock: socket.socket) -> None:
    """Let the coming close send RST."""
    if sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)


def used_flow(sock: socket.socket, flow: Flow) -> Flow:
    """`flow` with the source address and port that the kernel really used."""
    name = sock.getsockname()
    return Flow(flow.destination, flow.destination_port, name[0], name[1], flow.mark)


def socket_address(address: str, port: int) -> tuple[socket.AddressFamily, SocketAddress]:
    """Family and socket address of an IP literal, `fe80::1%eth0` included. Never asks DNS.

    Raises ProbeError (local) when it is no address, or its zone no interface of this machine.
    """
    try:
        if ":" not in address:
            socket.inet_pton(socket.AF_INET, address)
            return socket.AF_INET, (address, port)
        host, _, zone = address.partition("%")
        socket.inet_pton(socket.AF_INET6, host)
        if not zone:
            return socket.AF_INET6, (host, port, 0, 0)
        scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    except (OSError, ValueError) as error:
        raise ProbeError(Failure.LOCAL, f"{address!r} is no usable IP address: {error}") from error
    return socket.AF_INET6, (host, port, 0, scope)


def ephemeral_ports() -> range:
    """The ports that the kernel gives to unbound sockets of either family (ip-sysctl.rst)."""
    try:
        first, last = _EPHEMERAL.read_text(encoding="ascii").split()
    except OSError:
        return range(32768, 61000)  # the kernel's default
    return range(int(first), int(last) + 1)


def _mark(sock: socket.socket, flow: Flow) -> None:
    if not flow.mark:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", flow.mark))
    except PermissionError as error:
        raise ProbeError(Failure.LOCAL, MARK_FORBIDDEN) from error


def _bind(sock: socket.socket, flow: Flow, family: socket.AddressFamily) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if flow.source is None and not flow.source_port:
        return
    unspecified = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - a source, not a listener
    source_family, source = socket_address(flow.source or unspecified, flow.source_port)
    if source_family != family:
        raise ProbeError(Failure.LOCAL, f"source {flow.source} and destination {flow.destination} differ in family")
    if not flow.source_port and sock.type != socket.SOCK_RAW:  # which has no ports
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind(source)
    except OSError as error:
        raise _bind_error(error, flow) from error


def _bind_error(error: OSError, flow: Flow) -> ProbeError:
    if error.errno == errno.EADDRINUSE:
        return ProbeError(Failure.LOCAL_PORT, f"source port {flow.source_port} is taken on this machine")
    if error.errno == errno.EADDRNOTAVAIL:
        return ProbeError(Failure.LOCAL, f"source address {flow.source} is not on this machine")
    return failure.local(error.errno, f"bind {flow.source or '*'} port {flow.source_port}")


async def _handshake(sock: socket.socket, destination: SocketAddress) -> None:
    code = sock.connect_ex(destination)
    if code in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        raise ProbeError(Failure.LOCAL_PORT, f"the flow is still in use on this machine: {os.strerror(code)}")
    if code not in (0, errno.EINPROGRESS, errno.ECONNREFUSED):
        raise failure.local(code, f"send to {destination[0]}")
    if code == errno.EINPROGRESS:
        await writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise failure.network(code, "TCP handshake")


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
