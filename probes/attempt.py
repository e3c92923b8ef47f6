"""One probe while it runs: its clock, its phases, its socket, and the outcome at the end."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING

from probes import failure, flow
from probes.failure import ProbeError
from probes.model import Failure, Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

    from probes.model import Request


class Attempt:
    """Mutable, and never seen outside of its prober."""

    __slots__ = (
        "_flow",
        "_mark",
        "_now",
        "_phases",
        "_started",
        "connected",
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
        self._flow = request.flow
        self._phases: dict[str, float] = {}
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

    async def connect(self) -> socket.socket:
        """Open the pinned flow; its socket is the attempt's to close."""
        self.sock = await flow.connect(self.request.flow)
        self.end_phase("connect")
        self.connected = True
        self._flow = flow.used_flow(self.sock, self.request.flow)
        return self.sock

    def end_phase(self, name: str) -> None:
        now = self._now()
        self._phases[name] = now - self._mark
        self._mark = now

    def drop(self) -> None:
        """Reset the connection if it is still open."""
        if self.sock is not None:
            flow.reset(self.sock)

    def _outcome(self, kind: Failure | None, detail: str) -> Outcome:
        return Outcome(
            flow=self._flow,
            success=kind is None,
            failure=kind,
            detail=detail,
            duration_seconds=self._now() - self._started,
            phases=MappingProxyType(self._phases),
            connected=self.connected,
            identity=self.identity,
        )
