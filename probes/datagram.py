"""Pinned flows of datagrams: UDP sockets whose source address and port we choose (Linux only).

What was measured on Linux 6.18, and therefore is done here
- With SO_REUSEADDR one source port serves any number of destinations at once, as for TCP, and a port that someone
  else is bound to without it is refused (EADDRINUSE at bind).
- But two sockets of one and the same 5-tuple are both accepted, and the later one gets the answers of both. So a flow
  that is in use is refused here, as the kernel does it for TCP.
- Between bind and connect a socket takes datagrams of anybody, and keeps them: an answer counts only if it comes from
  the flow's destination.
- Without IP_RECVERR a connected socket is told of "port unreachable" alone, of ICMP's answers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from probes import failure, flow
from probes.failure import ProbeError
from probes.model import Failure, Flow

_IP_RECVERR = 11  # <linux/in.h>
_IPV6_RECVERR = 25  # <linux/in6.h>
_LARGEST = 65_535


class Datagrams:
    """The UDP flows that are in use."""

    def __init__(self) -> None:
        self._used: set[Flow] = set()

    @contextmanager
    def opened(self, wanted: Flow) -> Iterator[socket.socket]:
        """A connected non-blocking socket that is bound as `wanted` says, until the end of the block.

        Raises ProbeError.
        """
        sock, destination = flow.opened(wanted, socket.SOCK_DGRAM)
        used: Flow | None = None
        try:
            _report_errors(sock)
            code = sock.connect_ex(destination)
            if code:
                raise failure.local(code, f"send to {wanted.destination}")
            own = flow.used_flow(sock, wanted)
            if own in self._used:
                raise ProbeError(Failure.LOCAL_PORT, "the flow is still in use on this machine")
            used = own
            self._used.add(own)
            yield sock
        finally:
            sock.close()
            if used is not None:
                self._used.discard(used)


def send(sock: socket.socket, data: bytes) -> None:
    """One datagram. Raises ProbeError where this machine cannot send it."""
    try:
        sock.send(data)
    except OSError as error:
        raise failure.local(error.errno, "send a datagram") from error


async def receive(sock: socket.socket) -> bytes | None:
    """The next datagram, None for one that does not come from where the socket is connected to.

    Raises OSError for what ICMP said of the flow.
    """
    data, sender = await asyncio.get_running_loop().sock_recvfrom(sock, _LARGEST)
    return data if sender[:2] == sock.getpeername()[:2] else None


def _report_errors(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
