"""Targets by name, compared in namespaces of their own, where the system's resolver is ours: run by test_names.py.

python -m tests.parity.named DIRECTORY    (as root of a network and a mount namespace)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.parity.cases import Case, Group, Server, group
from tests.parity.certificates import Certificates
from tests.parity.http_servers import http
from tests.probes.servers import answering, serving

_ZONE: Mapping[tuple[str, str], str] = {
    ("four.test.", "A"): "127.0.0.1",
    ("six.test.", "AAAA"): "::1",
    ("both.test.", "A"): "127.0.0.1",
    ("both.test.", "AAAA"): "::1",
    ("empty.test.", "TXT"): "no address",
}
_SILENT, _FAILING = "silent.test.", "failing.test."


class _Resolver(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        name, kind = query.question[0].name.to_text(), query.question[0].rdtype.name
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        found = _ZONE.get((name, kind))
        if found is not None:
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", kind, found))
        elif name == _FAILING:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in {known for known, _ in _ZONE}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if name != _SILENT:
            self._transport.sendto(answer.to_wire(), addr)


def on(host: str) -> Server:
    @asynccontextmanager
    async def start(_: Certificates) -> AsyncIterator[int]:
        async with serving(answering(http()), host=host) as port:
            yield port

    return start


SERVERS = {"four": on("127.0.0.1"), "six": on("::1")}


def cases(_: Path) -> list[Case]:
    preferring_six = {"preferred_ip_protocol": "ip6"}
    alone = {"ip_protocol_fallback": False}
    to = partial("http://{0}.test:{{port}}/".format)
    return [
        Case("IPv4 by name", "four", True, {}, to("four")),
        Case("IPv6 only by name", "six", True, {}, to("six")),
        Case("IPv6 is preferred", "six", True, preferring_six, to("both")),
        Case("IPv4 is preferred", "four", True, {}, to("both")),
        Case("IPv6 where there is none", "four", True, preferring_six, to("four")),
        Case("IPv4 alone where there is none", "six", False, alone, to("six")),
        Case("IPv6 alone where there is none", "four", False, {**preferring_six, **alone}, to("four")),
        Case("a name that does not exist", "four", False, {}, to("absent")),
        Case("a name without an address", "four", False, {}, to("empty")),
        Case("a name whose servers fail", "four", False, {}, to("failing")),
        Case("a name whose servers are silent", "four", False, {}, to("silent"), timeout="1s"),
        Case("ping by name", "", True, {}, "both.test", prober="icmp"),
        Case("tcp by name", "six", True, preferring_six, "both.test:{port}", prober="tcp"),
    ]


async def compare(found: Group, name: str) -> str:
    """Empty if both sides say the same."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Resolver, local_addr=("127.0.0.1", 53))
    try:
        await found.compare(name)
    except AssertionError as error:
        return str(error) or repr(error)
    finally:
        transport.close()
    return ""


def main(directory: Path) -> int:
    resolv = directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)
    wrong = 0
    with group(directory, cases, SERVERS) as found:
        for name in found.cases:
            difference = asyncio.run(compare(found, name))
            wrong += bool(difference)
            print(f"{'differs' if difference else 'same'}: {name}\n{difference}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
