from __future__ import annotations

from probes.dns_module import DnsModule
from probes.grpc import GrpcModule
from probes.http_module import HttpModule
from probes.icmp import IcmpModule
from probes.ssh_module import SshModule
from probes.table import PROBERS
from probes.tcp_module import TcpModule


def test_each_prober_says_what_it_takes_and_tells() -> None:
    assert {name: (prober.module, prober.transport, prober.identities) for name, prober in PROBERS.items()} == {
        "dns": (DnsModule, "udp", ("body",)),
        "grpc": (GrpcModule, "tcp", ("header",)),
        "http": (HttpModule, "tcp", ("body", "header")),
        "icmp": (IcmpModule, "icmp", ()),
        "ssh": (SshModule, "tcp", ("banner", "host_key")),
        "tcp": (TcpModule, "tcp", ("banner",)),
    }
