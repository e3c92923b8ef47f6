"""Who forwards a flow: asks the hop at a distance from here, by raw segments or without any privilege."""

from __future__ import annotations

import socket

from probes import knock
from probes.hop_errors import HopAnswer, Seen
from probes.model import Flow
from probes.trace import Tracer

__all__ = ["HopAnswer", "Scout", "Seen"]

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Scout:
    """Any number of questions may be open at once. Hops limit the rate of their answers: pacing is the caller's.

    `why_not` is one phrase that says why one family or both cannot be traced, empty when both can.
    """

    def __init__(self) -> None:
        self.why_not = "not opened"
        self._tracers: dict[int, Tracer] = {}

    async def open(self) -> None:
        """Opens raw sockets where this process may; never raises."""
        missing: list[str] = []
        for family, number in _FAMILIES.items():
            if family in self._tracers:
                continue
            try:
                self._tracers[family] = Tracer(number)
            except PermissionError:
                missing.append("no CAP_NET_RAW")
            except OSError as error:
                missing.append(f"no raw IPv{family} socket: {error.strerror}")
        self.why_not = "; ".join(dict.fromkeys(missing))

    async def close(self) -> None:
        """Who still waits for an answer sees silence. May be opened again."""
        while self._tracers:
            self._tracers.popitem()[1].close()
        self.why_not = "closed"

    def can_trace(self, family: int) -> bool:
        """Whether `segment` works for IPv4 (4) or IPv6 (6)."""
        return family in self._tracers

    async def segment(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        """Sends one TCP segment without flags, of exactly this 5-tuple, with a TTL of `hops`.

        `flow.source` is an address. An open connection of the same 5-tuple is not disturbed. Never raises
        for what the network or this machine does.
        """
        tracer = self._tracers.get(6 if ":" in flow.destination else 4)
        if tracer is None:
            return HopAnswer(Seen.LOCAL, detail=self.why_not)
        return await tracer.segment(flow, hops, seconds)

    async def knock(self, flow: Flow, hops: int, seconds: float) -> HopAnswer:
        """Sends one SYN with a TTL of `hops`, without any privilege: for ports that no service uses.

        Waits no longer than `knock.MOST_SECONDS`. Never raises for what the network or this machine does.
        """
        return await knock.knock(flow, hops, seconds)
