"""Is a node alive, past BGP: an ICMP echo, or a TCP answer from any of a few ports, a refusal included.

ICMP asks all nodes over one socket per family and has half of the time; nodes that stay silent, or all of
them where this process may send no ICMP, are then knocked at by TCP.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from probes import flow
from probes.echo import EchoSocket
from probes.failure import ProbeError
from probes.model import Failure, Flow

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping, Sequence

    from probes.flow import SocketAddress

DEFAULT_PORTS = (22, 179, 10250)
"""SSH, BGP and the kubelet: what a Kubernetes node with a BGP speaker nearly always lets in. A host without a
packet filter answers on any port; one that drops silently mostly leaves one of these open."""

ECHO_ROUNDS = 3  # a lost packet is no dead node
ECHO_BURST = 64  # requests in one turn of the event loop
MAX_KNOCKS = 256  # sockets at once

_RANK = {None: 0, False: 1, True: 2}
_REFUSALS = frozenset({Failure.REFUSED, Failure.RESET})


@dataclass(frozen=True, slots=True)
class DirectResult:
    """`alive` is None when nothing could be sent. `method` is icmp, tcp or none; `detail` is the evidence."""

    alive: bool | None
    method: str
    detail: str


async def check(address: str, timeout_seconds: float, ports: Sequence[int] = DEFAULT_PORTS) -> DirectResult:
    """`check_all` for one address."""
    return (await check_all([address], timeout_seconds, ports))[address]


async def check_all(
    addresses: Iterable[str], timeout_seconds: float, ports: Sequence[int] = DEFAULT_PORTS
) -> dict[str, DirectResult]:
    """One result for each distinct IP address (`fe80::1%eth0` included), within `timeout_seconds`.

    Never raises for what the network does. Needs up to MAX_KNOCKS descriptors.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    results: dict[str, DirectResult] = {}
    families: defaultdict[socket.AddressFamily, dict[str, SocketAddress]] = defaultdict(dict)
    for address in addresses:
        try:
            family, destination = flow.socket_address(address, 0)
        except ProbeError as error:
            results[address] = DirectResult(None, "none", error.detail)
            continue
        families[family][address] = destination
    rounds = [_echo(family, group, timeout_seconds / 2) for family, group in families.items()]
    for echoed in await asyncio.gather(*rounds):
        results.update(echoed)
    silent = [address for group in families.values() for address in group if not results[address].alive]
    knocked = await _knock_all(silent, ports, deadline)
    results.update({address: _stronger(results[address], result) for address, result in knocked.items()})
    return results


async def _echo(
    family: socket.AddressFamily, destinations: Mapping[str, SocketAddress], seconds: float
) -> dict[str, DirectResult]:
    try:
        echoes = EchoSocket(family)
    except OSError as error:
        return dict.fromkeys(destinations, DirectResult(None, "none", f"no ICMP socket: {error.strerror}"))
    pinging = _Pinging(echoes, destinations)
    try:
        await pinging.run(seconds)
    finally:
        pinging.close()
    return pinging.results()


class _Pinging:
    """Echo requests in rounds until every destination has answered or the time is over."""

    def __init__(self, echoes: EchoSocket, destinations: Mapping[str, SocketAddress]) -> None:
        self._loop = asyncio.get_running_loop()
        self._echoes = echoes
        self._addresses = list(destinations)
        self._destinations = list(destinations.values())
        self._waiting = set(range(len(self._addresses)))
        self._unsent: dict[int, str] = {}
        self._all_answered = asyncio.Event()
        self._loop.add_reader(echoes.fileno(), self._receive)

    async def run(self, seconds: float) -> None:
        for _ in range(ECHO_ROUNDS):
            await self._send_all()
            try:
                async with asyncio.timeout(seconds / ECHO_ROUNDS):
                    await self._all_answered.wait()
            except TimeoutError:
                continue
            return

    def close(self) -> None:
        self._loop.remove_reader(self._echoes.fileno())
        self._echoes.close()

    def results(self) -> dict[str, DirectResult]:
        return {address: self._result(index) for index, address in enumerate(self._addresses)}

    def _result(self, index: int) -> DirectResult:
        if index not in self._waiting:
            return DirectResult(True, "icmp", "echo answered")
        if index in self._unsent:
            return DirectResult(None, "none", f"ICMP echo not sent: {self._unsent[index]}")
        return DirectResult(False, "icmp", f"{ECHO_ROUNDS} ICMP echoes unanswered")

    async def _send_all(self) -> None:
        for sent, index in enumerate(sorted(self._waiting), start=1):
            try:
                self._echoes.send(self._destinations[index], index)
            except OSError as error:
                self._unsent[index] = error.strerror or type(error).__name__
            else:
                self._unsent.pop(index, None)
            if sent % ECHO_BURST == 0:
                await asyncio.sleep(0)  # read answers before the receive buffer is full

    def _receive(self) -> None:
        self._waiting.difference_update(self._echoes.receive())
        if not self._waiting:
            self._all_answered.set()


async def _knock_all(addresses: Sequence[str], ports: Sequence[int], deadline: float) -> dict[str, DirectResult]:
    if not addresses or not ports:
        return {}
    waves = -(-len(addresses) * len(ports) // MAX_KNOCKS)
    seconds = max(0.0, deadline - asyncio.get_running_loop().time()) / waves
    slots = asyncio.Semaphore(MAX_KNOCKS)
    knocks = [_any_port(address, ports, slots, seconds) for address in addresses]
    return dict(zip(addresses, await asyncio.gather(*knocks), strict=True))


async def _any_port(address: str, ports: Sequence[int], slots: asyncio.Semaphore, seconds: float) -> DirectResult:
    """The first port that answers decides; its siblings are called off."""
    knocks = [asyncio.create_task(_knock(Flow(address, port), slots, seconds)) for port in ports]
    silent: list[DirectResult] = []
    try:
        for knock in asyncio.as_completed(knocks):
            result = await knock
            if result.alive:
                return result
            silent.append(result)
    finally:
        for task in knocks:
            task.cancel()
        await asyncio.gather(*knocks, return_exceptions=True)
    return reduce(_stronger, silent)


async def _knock(target: Flow, slots: asyncio.Semaphore, seconds: float) -> DirectResult:
    port = target.destination_port
    async with slots:
        try:
            async with asyncio.timeout(seconds):
                sock = await flow.connect(target)
        except TimeoutError:
            return DirectResult(False, "tcp", f"port {port}: no answer")
        except ProbeError as error:
            if error.failure in _REFUSALS:
                return DirectResult(True, "tcp", f"port {port} answered: {error.failure}")
            if error.failure.local:
                return DirectResult(None, "none", error.detail)
            return DirectResult(False, "tcp", f"port {port}: {error.detail}")
    flow.reset(sock)
    return DirectResult(True, "tcp", f"port {port} answered: open")


def _stronger(first: DirectResult, second: DirectResult) -> DirectResult:
    """Alive before silent before unsent; the evidence of both where neither is the better."""
    if first.alive == second.alive and not first.alive:
        return DirectResult(first.alive, first.method, f"{first.detail}; {second.detail}")
    return max(first, second, key=lambda result: _RANK[result.alive])
