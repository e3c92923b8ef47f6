"""What the file says of resolvers and of names."""

# ruff: noqa: E501  (a case is one line)

from __future__ import annotations

import pytest

from exporter.config import Resolver
from exporter.configfile import ConfigError, loads
from exporter.shown import shown

BASE = """\
{extra}
routers: [{{name: edge, platform: frr, exec: {{}}}}]
nodes: [{{name: n1, address: 10.0.0.11}}]
targets:
  - {{name: www, address: {address}, port: 443, module: https_2xx{keys}}}
"""


def file(extra: str = "", keys: str = "", address: str = "www.example.org") -> str:
    return BASE.format(extra=extra, keys=keys, address=address)


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return [str(problem) for problem in caught.value.problems]


GOOD = file(
    "resolvers: [{name: isp, address: 192.0.2.53}, {name: doh, address: 'https://dns.example.org/dns-query'}, "
    "{name: dot, address: '[2001:db8::53]:8853', transport: tls, tls_config: {server_name: dns.example.org}}]",
    ", resolvers: [system, isp, dot, doh], expected_addresses: [203.0.113.10, '2001:0db8::/32']",
)


def test_a_whole_file() -> None:
    config = loads(GOOD)
    assert [(one.name, one.protocol) for one in config.resolvers] == [("isp", "udp"), ("doh", "https"), ("dot", "tls")]
    assert config.targets[0].resolvers == ("system", "isp", "dot", "doh")
    assert config.targets[0].expected_addresses == ("203.0.113.10", "2001:db8::/32")
    assert loads(shown(config)) == config


def test_the_default_is_the_system() -> None:
    config = loads(file())
    assert (config.resolvers, config.targets[0].resolvers, config.targets[0].expected_addresses) == ((), (), ())


@pytest.mark.parametrize(
    ("address", "transport", "host", "port"),
    [
        ("192.0.2.53", None, "192.0.2.53", 53),
        ("192.0.2.53:5353", "tcp", "192.0.2.53", 5353),
        ("192.0.2.53", "tls", "192.0.2.53", 853),
        ("2001:db8::53", None, "2001:db8::53", 53),
        ("[2001:db8::53]", "tls", "2001:db8::53", 853),
        ("[2001:DB8:0::53]:5353", "udp", "2001:db8::53", 5353),
    ],
)
def test_where_a_resolver_is(address: str, transport: str | None, host: str, port: int) -> None:
    found = Resolver.model_validate({"name": "a", "address": address, "transport": transport})
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    ("resolver", "words"),
    [
        ("{name: a, address: dns.example.org}", "is no IP address, with :port if need be, and no https URL"),
        ("{name: a, address: '192.0.2.1:0'}", "ports run from 1 to 65535"),
        ("{name: a, address: '192.0.2.1:99999'}", "ports run from 1 to 65535"),
        ("{name: a, address: '[192.0.2'}", "is no IP address"),
        ("{name: a, address: 'http://192.0.2.1/dns-query'}", "must be a URL like https://"),
        ("{name: a, address: 'https://user:secret@192.0.2.1/'}", "without a user"),
        ("{name: a, address: 'https:///dns-query'}", "must be a URL like https://"),
        ("{name: a, address: 'https://192.0.2.1/', transport: udp}", "transport https needs the URL"),
        ("{name: a, address: 192.0.2.1, transport: https}", "transport https needs the URL"),
        ("{name: a, address: 192.0.2.1, transport: quic}", "must be 'udp', 'tcp', 'tls' or 'https'"),
        ("{name: a, address: 192.0.2.1, tls_config: {}}", "tls_config is of no use over udp"),
        ("{name: system, address: 192.0.2.1}", "means the resolvers of this system"),
        ("{name: a, address: 192.0.2.1, server_name: x}", "unknown key; allowed here: address, name, tls_config"),
        ("{address: 192.0.2.1}", "resolvers[0].name: is missing"),
        ("{name: a, address: 192.0.2.1}, {name: a, address: 192.0.2.2}", "'a' is already resolvers[0]"),
    ],
)
def test_resolvers_that_are_none(resolver: str, words: str) -> None:
    (error,) = errors(file(f"resolvers: [{resolver}]"))
    assert error.startswith("line 1: resolvers[")
    assert words in error
    assert "secret" not in words


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (", resolvers: [publik]", "targets[0].resolvers[0]: no resolver 'publik' (did you mean public?); there are public, system"),
        (", resolvers: [system, system]", "targets[0].resolvers[1]: 'system' is there already"),
        (", expected_addresses: [203.0.113.300]", "targets[0].expected_addresses[0]: '203.0.113.300' is neither an IP address nor a prefix"),
        (", expected_addresses: [203.0.113.1/24]", "has host bits set"),
    ],
)  # fmt: skip
def test_targets_that_name_what_is_not_there(keys: str, message: str) -> None:
    (error,) = errors(file("resolvers: [{name: public, address: 192.0.2.1}]", keys))
    assert message in error


def test_what_is_for_names_alone() -> None:
    keys = ", resolvers: [system], expected_addresses: [203.0.113.10]"
    assert [error.partition(": ")[2] for error in errors(file(keys=keys, address="203.0.113.10"))] == [
        "targets[0].resolvers: is for targets that are given by a DNS name",
        "targets[0].expected_addresses: is for targets that are given by a DNS name",
    ]


def test_the_flow_of_a_module() -> None:
    modules = (
        "modules: {a: {prober: dns, dns: {query_name: x.org}}, "
        "b: {prober: dns, dns: {query_name: x.org, transport_protocol: tcp}}}"
    )
    found = loads(file(modules)).modules
    assert [found[name].transport for name in ("a", "b", "https_2xx", "ssh_banner")] == ["udp", "tcp", "tcp", "tcp"]
