"""Asks a hop for its address without any privilege: a TCP handshake whose SYN lives for only so many hops.

The kernel keeps the ICMP error that ends the handshake, with its sender, in the socket's error queue
(IP_RECVERR, ip(7)). Use a port of the VIP that no service uses: connection tracking with DNAT writes the
VIP into errors about a service's own flows.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

from probes import flow as pinning
from probes import hop_errors
from probes.failure import ProbeError
from probes.hop_errors import HopAnswer, Seen

if TYPE_CHECKING:
    from probes.model import Flow

MOST_SECONDS = 0.9
"""The kernel repeats a SYN after one second (RFC 6298); a knock is over by then and stays one packet."""

_IP_RECVERR, _IPV6_RECVERR = 11, 25  # <linux/in.h>, <linux/in6.h>
_MSG_ERRQUEUE = 0x2000  # <linux/socket.h>
_READ_BYTES = 512
_ANSWERED = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})


async def knock(flow: Flow, hops: int, seconds: float) -> HopAnswer:
    """Send one SYN of this flow that `hops` routers may touch, and await what comes back, for `seconds` and
    at most MOST_SECONDS. Never raises for what the network or this machine does.
    """
    try:
        sock, destination = pinning.opened(flow)
    except ProbeError as error:
        return HopAnswer(Seen.LOCAL, detail=error.detail)
    limit = min(seconds, MOST_SECONDS)
    try:
        _limit(sock, hops)
        code = sock.connect_ex(destination)
        if code == errno.EINPROGRESS:
            async with asyncio.timeout(limit):
                await pinning.writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return _answer(sock, code, flow)
    except TimeoutError:
        return HopAnswer(Seen.SILENCE, detail=f"no answer within {limit:g} s")
    except OSError as error:
        return HopAnswer(Seen.LOCAL, detail=f"this machine cannot knock at {flow.destination}: {error.strerror}")
    finally:
        pinning.reset(sock)


def _limit(sock: socket.socket, hops: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def _answer(sock: socket.socket, code: int, flow: Flow) -> HopAnswer:
    """The error queue goes before `code`, which tells not who sent the error."""
    error = _queued_error(sock)
    if error is not None:
        kind, offender = error
        source = hop_errors.plain_address(sock.getsockname()[0])
        return hop_errors.judge(kind, offender, source, hop_errors.plain_address(flow.destination))
    if code == 0:
        return HopAnswer(Seen.DESTINATION, detail="handshake completed")
    if code in _ANSWERED:
        return HopAnswer(Seen.DESTINATION, detail=os.strerror(code))
    if code in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        return HopAnswer(Seen.LOCAL, detail=f"the flow is still in use on this machine: {os.strerror(code)}")
    return HopAnswer(Seen.LOCAL, detail=f"this machine cannot send to {flow.destination}: {os.strerror(code)}")


def _queued_error(sock: socket.socket) -> tuple[hop_errors.Kind, hop_errors.Address] | None:
    wanted = {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}
    try:
        _, ancillary, _, _ = sock.recvmsg(_READ_BYTES, _READ_BYTES, _MSG_ERRQUEUE)
    except OSError:  # the queue is empty
        return None
    errors = (hop_errors.parse_extended_error(data) for level, kind, data in ancillary if (level, kind) in wanted)
    return next((error for error in errors if error is not None), None)
