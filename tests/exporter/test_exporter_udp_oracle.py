"""A real Linux router with three next hops, in network namespaces of the test's own: DNS servers on the nodes say where
datagrams came out, and the router's oracle says where they should.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import dns.message
import dns.rrset
import pytest

from lab import netns
from probes.dns_module import DnsModule
from probes.model import Failure, Flow, Identity, Request
from probes.table import Probers
from routers.linux import oracle as linux_oracle
from routers.model import Answer, OracleFlow

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the network that datagrams go through"),
]

NAME = f"udp-{os.getpid()}"
NEAR, ROUTER = f"{NAME}-near", f"{NAME}-router"
NODES = {f"node{number}": f"10.0.{number}.2" for number in (1, 2, 3)}
SOURCE, VIP = "198.51.100.2", "203.0.113.53"
REFUSED = {"unreachable": "203.0.113.97", "prohibit": "203.0.113.98"}  # by the router, with an ICMP error
PORTS = range(20_000, 20_048)
MODULE = DnsModule.model_validate({"query_name": "id.server", "query_type": "TXT", "query_class": "CH"})


def network() -> dict[str, tuple[str, ...]]:
    near = f"link add to-router type veth peer name to-near netns {ROUTER}"
    made = {
        NEAR: ("link set lo up", near, "link set to-router up", f"addr add {SOURCE}/24 dev to-router"),
        ROUTER: ("link set lo up", "link set to-near up", "addr add 198.51.100.1/24 dev to-near"),
    }
    for number, node in enumerate(NODES, 1):
        name = f"{NAME}-{node}"
        made[ROUTER] += (
            f"link add to-{node} type veth peer name to-router netns {name}",
            f"link set to-{node} up",
            f"addr add 10.0.{number}.1/24 dev to-{node}",
        )
        made[name] = (
            "link set lo up",
            "link set to-router up",
            f"addr add 10.0.{number}.2/24 dev to-router",
            f"addr add {VIP}/32 dev lo",
            f"route add default via 10.0.{number}.1",
        )
    return made


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[dict[str, socket.socket]]:
    """The thread stands in near; the sockets of the nodes' servers, by node."""
    made = network()
    try:
        netns.add(made)
        for name, commands in made.items():
            netns.run_in(name, ["ip", "-batch", "-"], text="\n".join(commands))
        hops = [word for address in NODES.values() for word in ("nexthop", "via", address)]
        netns.run_in(ROUTER, ["ip", "route", "add", VIP, *hops])
        for kind, address in REFUSED.items():
            netns.run_in(ROUTER, ["ip", "route", "add", kind, address])
        with netns.entered(ROUTER):
            netns.write_sysctls({"net/ipv4/ip_forward": "1"})
            netns.write_sysctls({"net/ipv4/fib_multipath_hash_fields": "55", "net/ipv4/fib_multipath_hash_policy": "3"})
        with ExitStack() as stack:
            sockets = {}
            for node in NODES:
                with netns.entered(f"{NAME}-{node}"):
                    sockets[node] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sockets[node].bind((VIP, 53))
            with netns.entered(NEAR):
                netns.run(["ip", "route", "add", "default", "via", "198.51.100.1"])
                yield sockets
    finally:
        netns.remove(made)


class Server(asyncio.DatagramProtocol):
    """Says its node's name (RFC 4892)."""

    def __init__(self, node: str) -> None:
        self.node = node

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        response = dns.message.make_response(dns.message.from_wire(data))
        response.answer.append(dns.rrset.from_text("id.server.", 0, "CH", "TXT", self.node))
        self.transport.sendto(response.to_wire(), address)


def told(protocol: str) -> dict[int, str]:
    """By source port: the node that the router says datagrams or connections take."""
    flows = [OracleFlow(SOURCE, port, VIP, 53, protocol) for port in PORTS]
    way_back = Answer(f'[{{"dst": "{SOURCE}", "dev": "to-near"}}]')
    (command,) = linux_oracle.ask(flows, {f"{linux_oracle.INGRESS} {SOURCE}": way_back})
    done = subprocess.run(
        ["ip", "netns", "exec", ROUTER, *command.argv],
        input=command.stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    hops = linux_oracle.read(flows, {command.name: Answer(done.stdout, done.stderr, done.returncode)})
    names = {address: node for node, address in NODES.items()}
    return {flow.source_port: names[hop.address or ""] for flow, hop in hops.items()}


@pytest.fixture
async def probers() -> AsyncIterator[Probers]:
    live = Probers("0.0.test")
    await live.open()
    yield live
    await live.close()


async def test_the_oracle_is_right_for_datagrams_if_it_is_asked_of_datagrams(
    lab: dict[str, socket.socket], probers: Probers
) -> None:
    loop = asyncio.get_running_loop()
    transports = []
    for node, sock in lab.items():
        own = sock.dup()
        transport, _ = await loop.create_datagram_endpoint(lambda node=node: Server(node), sock=own)  # type: ignore[misc]
        transports.append(transport)
    served: dict[int, str | None] = {}
    try:
        for port in PORTS:
            request = Request(Flow(VIP, 53, SOURCE, port), VIP, 5.0, Identity("body", 'TXT\t"(.*)"'))
            outcome = await probers.probe("dns", request, MODULE)
            assert outcome.success, outcome.detail
            served[port] = outcome.identity
    finally:
        for transport in transports:
            transport.close()
        await asyncio.sleep(0)
    assert set(served.values()) == set(NODES), "datagrams are spread over all nodes"
    assert told("udp") == served
    assert told("tcp") != served, "connections of the same ports go elsewhere"


@pytest.mark.parametrize("address", REFUSED.values())
async def test_what_a_router_says_of_a_datagram_is_heard_at_once(probers: Probers, address: str) -> None:
    request = Request(Flow(address, 53, SOURCE, PORTS[0]), address, 30.0)
    outcome = await probers.probe("dns", request, MODULE)
    assert outcome.failure is Failure.UNREACHABLE, outcome.detail
    assert outcome.duration_seconds < request.timeout_seconds
