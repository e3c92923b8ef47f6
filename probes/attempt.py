"""One probe while it runs: its clock, its phases, its socket, and the outcome at the end."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from probes import failure, flow
from probes.facts import Facts, TcpFacts
from probes.failure import ProbeError
from probes.model import Failure, Outcome
from probes.text import excerpt

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from probes.model import Flow, Request

TRANSCRIPT_LINES = 64
TRANSCRIPT_CHARACTERS = 200  # of one line

# struct tcp_info of <linux/tcp.h>: tcpi_rtt (microseconds) and tcpi_total_retrans, both 32 bits wide.
_RTT_AT, _RETRANSMITS_AT, _TCP_INFO_BYTES = 68, 100, 104


class Attempt:
    """Mutable, and never seen outside of its prober."""

    __slots__ = (
        "_flow",
        "_mark",
        "_now",
        "_phases",
        "_resent",
        "_started",
        "_transcript",
        "connected",
        "facts",
        "identity",
        "request",
        "sock",
        "step",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.connected = False
        self.identity: str | None = None
        self.sock: socket.socket | None = None
        self.step = "TCP handshake"  # what is being waited for, in words
        self.facts = Facts()  # replaced by dataclasses.replace as more is seen
        self._transcript: list[str] = []
        self._flow = request.flow
        self._phases: dict[str, float] = {}
        self._resent = 0  # segments, on connections before the present one
        self._now = asyncio.get_running_loop().time
        self._started = self._mark = self._now()

    async def run(self, exchange: Awaitable[None]) -> Outcome:
        """Await `exchange` under the request's time limit; whatever the network did becomes the outcome."""
        try:
            async with asyncio.timeout(self.request.timeout_seconds):
                await exchange
        except ProbeError as error:
            return self._outcome(error.failure, error.detail)
        except TimeoutError:
            return self._outcome(Failure.TIMEOUT, f"{self.step}: no end within {self.request.timeout_seconds:g} s")
        except OSError as error:
            ended = failure.network(error.errno, self.step)
            return self._outcome(ended.failure, ended.detail)
        return self._outcome(None, "")

    def leave_from(self, address: str | None) -> None:
        """Take a module's `source_ip_address`, unless what pins the flow has chosen a source already.

        Raises ProbeError (local) where it has chosen another one.
        """
        pinned = self.request.flow
        if address is None or address == pinned.source:
            return
        if pinned.source is not None:
            raise ProbeError(
                Failure.LOCAL,
                f"source_ip_address {address} of the module contradicts {pinned.source}, which pins this flow; "
                "name the sources in probing.source_addresses",
            )
        self._flow = replace(pinned, source=address)
        self.request = replace(self.request, flow=self._flow)

    async def connect(self) -> socket.socket:
        """Open the pinned flow; its socket is the attempt's to close."""
        self.sock = await self._connect(self.request.flow)
        self.connected = True
        self._flow = flow.used_flow(self.sock, self.request.flow)
        rtt, retransmits = _tcp_info(self.sock)
        self.facts = replace(self.facts, tcp=TcpFacts(rtt, retransmits))
        return self.sock

    async def connect_again(self, other: Flow | None = None) -> socket.socket:
        """Replace the connection, which is reset: by the same flow once more (the same addresses and ports, so the same
        path; a port of the kernel's choice it chooses anew) or by `other`. The outcome's flow and handshake round trip
        stay those of the first.
        """
        self.drop()
        if self.facts.tcp is not None:
            self._resent = self.facts.tcp.retransmits
        self.sock = await self._connect(other or self.request.flow)
        return self.sock

    async def _connect(self, wanted: Flow) -> socket.socket:
        self.step = "TCP handshake"
        self.note(f"connecting to {wanted.destination} port {wanted.destination_port}")
        sock = await flow.connect(wanted)
        self.end_phase("connect")
        used = flow.used_flow(sock, wanted)
        self.note(f"connected from {used.source} port {used.source_port}")
        return sock

    def take(self, sock: socket.socket, *, ports: bool = True) -> None:
        """A socket of the flow that was opened in another way than `connect`; it is its opener's to close. Without
        `ports` the flow has none, whatever the socket says.
        """
        used = flow.used_flow(sock, self.request.flow)
        self._flow = used if ports else replace(used, source_port=0, destination_port=0)
        self.note(f"sending from {used.source} port {used.source_port}" if ports else f"sending from {used.source}")

    def note(self, text: str) -> None:
        """Add a line to the transcript. What the network sent goes through `excerpt`; no secret ever goes in."""
        if len(self._transcript) < TRANSCRIPT_LINES - 1:  # the last line says how it ended
            self._write(text)

    def _write(self, text: str) -> None:
        line = excerpt(text, TRANSCRIPT_CHARACTERS)
        self._transcript.append(f"{self._now() - self._started:8.3f} s  {line}")

    def count_retransmits(self) -> None:
        """Take the kernel's count once more; call it before the socket is closed."""
        if self.sock is not None and self.sock.fileno() != -1 and self.facts.tcp is not None:
            _, retransmits = _tcp_info(self.sock)
            self.facts = replace(self.facts, tcp=replace(self.facts.tcp, retransmits=self._resent + retransmits))

    def end_phase(self, name: str) -> None:
        """Since the last end of a phase; phases of one name are summed."""
        now = self._now()
        self._phases[name] = self._phases.get(name, 0.0) + now - self._mark
        self._mark = now

    def drop(self) -> None:
        """Reset the connection if it is still open."""
        self.count_retransmits()
        if self.sock is not None:
            flow.reset(self.sock)

    def _outcome(self, kind: Failure | None, detail: str) -> Outcome:
        self.count_retransmits()
        self._write("success" if kind is None else f"failure, {kind.value}: {detail}")
        return Outcome(
            flow=self._flow,
            success=kind is None,
            failure=kind,
            detail=detail,
            duration_seconds=self._now() - self._started,
            phases=MappingProxyType(self._phases),
            connected=self.connected,
            identity=self.identity,
            facts=self.facts,
            transcript=tuple(self._transcript),
        )


def _tcp_info(sock: socket.socket) -> tuple[float, int]:
    """The smoothed round trip (seconds) and the segments sent again, as the kernel has them now."""
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if len(told) < _TCP_INFO_BYTES:
        return 0.0, 0  # no kernel that this program runs on tells less (tcpi_total_retrans is of 2.6)
    (rtt,) = struct.unpack_from("=I", told, _RTT_AT)
    (retransmits,) = struct.unpack_from("=I", told, _RETRANSMITS_AT)
    return rtt / 1e6, retransmits
