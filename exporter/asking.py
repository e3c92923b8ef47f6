"""Asks who forwards a flow, one packet at a time, at the pace at which nodes may send ICMP errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from exporter.budget import IcmpBudget
from exporter.endpoint import Endpoint
from exporter.outside import Outside
from exporter.pathmap import Basis
from exporter.senses import EndpointSenses, Place
from exporter.steering import Trust
from exporter.together import each
from probes.model import Flow
from probes.ports import Source
from probes.scout import HopAnswer, Seen
from routers.model import family_of

ANSWER_SECONDS = 0.8
_MOST_STRANGERS = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """An endpoint with two or more next hops, as the survey sees it."""

    place: Place
    endpoint: Endpoint
    senses: EndpointSenses
    trust: Trust
    basis: Basis
    port: int
    taken_ports: frozenset[int]  # of the VIP's known services
    router_addresses: frozenset[str]
    has_oracle: bool
    addresses: int  # that flows start from
    wanted: str  # the steering that the configuration asks for
    traceable: bool = True  # its flows are of TCP: a router that hashes the protocol, too, puts others elsewhere

    @property
    def vip(self) -> str:
        return self.place[2]

    @property
    def vias(self) -> tuple[str, ...]:
        return tuple(via for via, _ in self.basis)

    @property
    def current(self) -> bool:
        """False when the next hops have changed since: what is seen now says nothing of the map."""
        return self.endpoint.map.basis == self.basis


@dataclass(slots=True)
class Traffic:
    """How many packets with a short life were sent, and how many were answered, since the start."""

    sent: int = 0
    answered: int = 0


class Asker:
    """Sends what its callers want to know, as far as the nodes' ICMP allowance goes."""

    def __init__(self, outside: Outside) -> None:
        self.traffic: dict[str, Traffic] = {"segment": Traffic(), "knock": Traffic()}
        self._outside = outside
        # Linux gives IPv6 more: net/ipv6/icmp.c, icmpv6_xrlim_allow halves the time for every 32 bits that the
        # route back to us is wider than a host's; a subnet of 64 bits gets 4 errors a second.
        self._budgets = {4: IcmpBudget(), 6: IcmpBudget(per_second=3.5)}

    @property
    def sent(self) -> int:
        """Packets since the start."""
        return sum(kind.sent for kind in self.traffic.values())

    def can_trace(self, subject: Subject) -> bool:
        return self._outside.scout.can_trace(family_of(subject.vip))

    async def segment(
        self, subject: Subject, source: Source, port: int, hops: int, deadline: float, via: str | None = None
    ) -> HopAnswer:
        """One packet of a flow to a port of the VIP; LOCAL if it could not be sent before the deadline.

        `via` is the next hop that should have to answer, None where any may. Until it is answered, the flow counts
        as one that stays without an answer.
        """
        sent = partial(subject.endpoint.sightings.segment, source, port, None)
        send = self._outside.scout.segment
        vias = subject.vias if via is None else (via,)
        return await self._ask(subject, "segment", send, source, port, hops, deadline, sent, vias)

    async def knock(self, subject: Subject, source: Source, port: int, hops: int, deadline: float) -> HopAnswer:
        """An attempt to connect to a port that no service uses; as `segment`."""
        sent = partial(subject.endpoint.sightings.connection, source, port, None)
        send = self._outside.scout.knock
        return await self._ask(subject, "knock", send, source, port, hops, deadline, sent, subject.vias)

    async def either(self, subject: Subject, source: Source, port: int, hops: int, deadline: float) -> HopAnswer:
        """Whichever of both this process may send, to whatever distance: nothing is concluded from silence."""
        scout = self._outside.scout
        kind, send = ("segment", scout.segment) if self.can_trace(subject) else ("knock", scout.knock)
        return await self._ask(subject, kind, send, source, port, hops, deadline, lambda: None, subject.vias)

    def via_of(self, subject: Subject, answer: HopAnswer) -> str | None:
        """The next hop that answered; one that the FIB does not hold is noted."""
        if answer.seen is not Seen.HOP or answer.address is None or not subject.current:
            return None
        via = subject.senses.via_at(answer.address)
        if via is None and answer.address not in subject.router_addresses:
            strangers = subject.endpoint.strangers
            if answer.address in strangers or len(strangers) < _MOST_STRANGERS:
                strangers[answer.address] = strangers.get(answer.address, 0) + 1
        return via

    async def knock_all(
        self, subject: Subject, sources: Iterable[Source], port: int, hops: int, deadline: float
    ) -> dict[Source, str]:
        """The next hops that connections from these sources take, as far as nodes answer; each is asked twice."""
        seen: dict[Source, str] = {}

        async def ask(source: Source) -> None:
            for _ in range(2):
                via = self.via_of(subject, await self.knock(subject, source, port, hops, deadline))
                if via is not None:
                    subject.endpoint.sightings.connection(source, port, via)
                    seen[source] = via
                    return

        await each(ask, sources)
        return seen if subject.current else {}

    async def segment_all(
        self, subject: Subject, sources: Iterable[Source], port: int, hops: int, deadline: float
    ) -> dict[Source, str]:
        """As `knock_all`, with single packets, each asked once."""
        seen: dict[Source, str] = {}

        async def ask(source: Source) -> None:
            via = self.via_of(subject, await self.segment(subject, source, port, hops, deadline))
            if via is not None:
                subject.endpoint.sightings.segment(source, port, via)
                seen[source] = via

        await each(ask, sources)
        return seen if subject.current else {}

    async def _ask(
        self,
        subject: Subject,
        kind: str,
        send: Callable[[Flow, int, float], Awaitable[HopAnswer]],
        source: Source,
        port: int,
        hops: int,
        deadline: float,
        sent: Callable[[], None],
        vias: Iterable[str],
    ) -> HopAnswer:
        """Send as soon as every node that may have to answer may send one more ICMP error."""
        address = subject.senses.address_of(source)
        if address is None:
            return HopAnswer(Seen.LOCAL, None, "no route to the VIP")
        budget = self._budgets[family_of(subject.vip)]
        keys = [(address, via) for via in vias]
        while (wait := budget.wait(keys, self._outside.now())) > 0:
            if self._outside.now() + wait > deadline:
                return HopAnswer(Seen.LOCAL, None, "no time left to ask")
            await self._outside.pause(wait)
        ticket = budget.reserve(keys, self._outside.now())
        answer = HopAnswer(Seen.SILENCE)
        if subject.current:
            sent()
        try:
            answer = await send(Flow(subject.vip, port, address, source.port), hops, ANSWER_SECONDS)
        finally:
            now = self._outside.now()
            if answer.seen is Seen.SILENCE:
                budget.silent(ticket, now)
            else:
                via = subject.senses.via_at(answer.address)
                key = None if via is None else (address, via)
                budget.answered(ticket, key, now)
                if key is not None and key not in keys:  # another one answered than should have
                    budget.answered(budget.reserve([key], now), key, now)
        if answer.seen is not Seen.LOCAL:
            self.traffic[kind].sent += 1
            self.traffic[kind].answered += answer.seen is not Seen.SILENCE
        return answer
