"""Look-ups of real names at real servers on loopback: UDP, TCP, TLS, HTTPS, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from exporter import resolvers as module
from exporter.config import Resolver
from exporter.resolvers import Found, Resolvers
from tests.probes import nameserver
from tests.probes.certificates import authority
from tests.probes.nameserver import NAME, Zone
from tests.probes.servers import closed_port, open_descriptors, saying, serving, silent

HOST = "www.example.org"
BOTH = (4, 6)
ADDRESSES = {"A": ["203.0.113.11", "203.0.113.10"], "AAAA": ["2001:db8::10"]}


def resolver(address: str, **keys: object) -> Resolver:
    return Resolver.model_validate({"name": "one", "address": address, **keys})


async def look_up(config: Resolver | None, families: tuple[int, ...] = BOTH, name: str = "one") -> Found:
    asked = Resolvers([] if config is None else [config])
    try:
        return await asked.look_up(name, HOST, families, 7.0)
    finally:
        await asked.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waiting, for servers that are silent."""
    monkeypatch.setattr(module, "LIFETIME", 3.0)
    monkeypatch.setattr(module, "_TRY", 0.5)


@asynccontextmanager
async def both_transports(
    by_udp: nameserver.Answering, by_tcp: nameserver.Answering | None = None
) -> AsyncIterator[int]:
    """UDP and TCP on one port."""
    async with nameserver.tcp(by_tcp or by_udp) as port, nameserver.udp(by_udp, port=port):
        yield port


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_both_families(transport: str) -> None:
    zone = Zone(records=ADDRESSES, ttl=77)
    async with both_transports(zone) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}", transport=transport))
        only = await look_up(resolver(f"127.0.0.1:{port}", transport=transport), families=(6,))
    assert found.lookup.addresses == ("2001:db8::10", "203.0.113.10", "203.0.113.11")
    assert (found.lookup.success, found.lookup.answered, found.lookup.missing) == (True, True, False)
    assert (found.lookup.at, found.ttl, found.failed) == (7.0, 77.0, frozenset())
    assert found.lookup.seconds > 0
    assert only.lookup.addresses == ("2001:db8::10",)
    assert sorted(zone.asked) == ["A", "AAAA", "AAAA"]


async def test_a_name_may_lead_to_another() -> None:
    def answer(query: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(NAME, 20, "IN", "CNAME", "lb.example.net."))
        if "AAAA" not in query.question[0].to_text():
            response.answer.append(dns.rrset.from_text("lb.example.net.", 60, "IN", "A", "203.0.113.10"))
        return [response.to_wire()]

    async with nameserver.udp(answer) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert (found.lookup.addresses, found.ttl) == (("203.0.113.10",), 20.0)


async def test_a_chain_of_names_that_ends_nowhere() -> None:
    def answer(query: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(NAME, 20, "IN", "CNAME", NAME))
        return [response.to_wire()]

    async with nameserver.udp(answer) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert not found.lookup.success
    assert not found.lookup.addresses


async def test_what_is_too_long_for_udp_is_asked_for_by_tcp() -> None:
    async with both_transports(nameserver.truncated, Zone(records=ADDRESSES)) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert len(found.lookup.addresses) == 3


async def test_a_lost_datagram_is_sent_again() -> None:
    zone = Zone(records=ADDRESSES)
    lost: set[str] = set()

    def answer(query: dns.message.Message) -> list[bytes]:
        kind = query.question[0].to_text()
        if kind not in lost:
            lost.add(kind)
            return []
        return zone(query)

    async with nameserver.udp(answer) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert found.lookup.success, found.lookup.error


async def test_a_name_that_does_not_exist() -> None:
    async with nameserver.udp(Zone(rcode=dns.rcode.NXDOMAIN)) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert (found.lookup.missing, found.lookup.answered, found.failed) == (True, True, frozenset())
    assert found.lookup.error == "www.example.org does not exist"


async def test_a_name_without_addresses() -> None:
    async with nameserver.udp(Zone(records={})) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert (found.lookup.missing, found.lookup.error) == (True, "www.example.org has no address")


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_an_error_is_an_answer_that_takes_nothing_away(code: dns.rcode.Rcode) -> None:
    async with nameserver.udp(Zone(rcode=code)) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert found.lookup.error == f"it answered {dns.rcode.to_text(code)}"
    assert (found.lookup.answered, found.lookup.missing, found.failed) == (True, False, frozenset(BOTH))


async def test_one_family_that_fails() -> None:
    def answer(query: dns.message.Message) -> list[bytes]:
        failing = "AAAA" in query.question[0].to_text()
        return Zone(records=ADDRESSES, rcode=dns.rcode.SERVFAIL if failing else dns.rcode.NOERROR)(query)

    async with nameserver.udp(answer) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert (found.lookup.addresses, found.failed) == (("203.0.113.10", "203.0.113.11"), frozenset({6}))
    assert not found.lookup.success


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_nobody_listens(transport: str) -> None:
    found = await look_up(resolver(f"127.0.0.1:{closed_port()}", transport=transport))
    assert not found.lookup.answered
    assert "refused" in str(found.lookup.error)


async def test_silence() -> None:
    async with nameserver.udp(lambda _: []) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}"))
    assert (found.lookup.error, found.lookup.answered) == ("no answer within 3 s", False)
    async with serving(silent) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}", transport="tls"))
    assert (found.lookup.error, found.lookup.answered) == ("no answer within 3 s", False)


@pytest.mark.parametrize("noise", [b"\0\x05short", b"HTTP/1.1 200 OK\r\n\r\n" * 200, b"\xff\xff"])
async def test_garbage_over_tcp(noise: bytes) -> None:
    before = open_descriptors()
    async with serving(saying(noise)) as port:
        found = await look_up(resolver(f"127.0.0.1:{port}", transport="tcp"))
        await asyncio.sleep(0.05)
    assert (found.lookup.success, found.lookup.answered) == (False, False)
    assert open_descriptors() == before


@pytest.fixture
def ca(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority().pem())
    return str(path)


async def test_over_tls(tmp_path: Path, ca: str) -> None:
    context = authority().server_context(tmp_path, "dns.example.org")
    before = open_descriptors()
    async with nameserver.tcp(Zone(records=ADDRESSES), tls=context) as port:
        address = f"127.0.0.1:{port}"
        good = await look_up(
            resolver(address, transport="tls", tls_config={"ca_file": ca, "server_name": "dns.example.org"})
        )
        wrong = await look_up(
            resolver(address, transport="tls", tls_config={"ca_file": ca, "server_name": "dns.example.net"})
        )
        by_address = await look_up(resolver(address, transport="tls", tls_config={"ca_file": ca}))
        unknown = await look_up(resolver(address, transport="tls", tls_config={"server_name": "dns.example.org"}))
        await asyncio.sleep(0.05)
    assert good.lookup.success, good.lookup.error
    assert len(good.lookup.addresses) == 3
    for bad in (wrong, by_address, unknown):
        assert not bad.lookup.answered
        assert "certificate" in str(bad.lookup.error)
    assert open_descriptors() == before


async def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    context = authority().server_context(tmp_path, "dns.example.org")
    async with nameserver.tcp(Zone(), tls=context) as port:
        missing = {"ca_file": str(tmp_path / "none.pem")}
        found = await look_up(resolver(f"127.0.0.1:{port}", transport="tls", tls_config=missing))
    assert "none.pem" in str(found.lookup.error)


def answering(zone: Zone) -> Callable[[web.Request], web.StreamResponse]:
    def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Content-Type"] == "application/dns-message"
        assert request._read_bytes is not None
        query = dns.message.from_wire(request._read_bytes)
        assert query.id == 0
        return web.Response(body=zone(query)[0], content_type="application/dns-message")

    return handler


async def over_https(
    handler: Callable[[web.Request], web.StreamResponse], tmp_path: Path, ca: str, *names: str
) -> Found:
    context = authority().server_context(tmp_path, *(names or ("127.0.0.1",)))
    async with nameserver.https(handler, context) as port:
        return await look_up(resolver(f"https://127.0.0.1:{port}/dns-query", tls_config={"ca_file": ca}))


async def test_over_https(tmp_path: Path, ca: str) -> None:
    found = await over_https(answering(Zone(records=ADDRESSES, ttl=33)), tmp_path, ca)
    assert found.lookup.success, found.lookup.error
    assert (len(found.lookup.addresses), found.ttl) == (3, 33.0)


async def test_over_https_the_certificate_counts(tmp_path: Path, ca: str) -> None:
    found = await over_https(answering(Zone()), tmp_path, ca, "dns.example.net")
    assert not found.lookup.answered
    assert "certificate" in str(found.lookup.error).lower()


def page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>captive portal</html>", content_type="text/html")


def elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("https://127.0.0.1:9/")


def noise(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\xff" * 300, content_type="application/dns-message")


def endless(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\0" * 200_000, content_type="application/dns-message")


def another_id(request: web.Request) -> web.StreamResponse:
    assert request._read_bytes is not None
    response = Zone().response(dns.message.from_wire(request._read_bytes))
    response.id = 9
    return web.Response(body=response.to_wire(), content_type="application/dns-message")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (page, "text/html instead of application/dns-message"),
        (elsewhere, "HTTP status 302"),
        (noise, "another message id"),
        (endless, "more than 64 KiB"),
        (another_id, "another message id"),
    ],
)
async def test_over_https_garbage_is_no_answer(
    tmp_path: Path, ca: str, handler: Callable[[web.Request], web.StreamResponse], words: str
) -> None:
    found = await over_https(handler, tmp_path, ca)
    assert not found.lookup.answered
    assert words in str(found.lookup.error)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let resolv.conf name a server on loopback: the file cannot tell a port."""
    real = dns.asyncresolver.Resolver

    def at(port: int) -> None:
        def made() -> dns.asyncresolver.Resolver:
            found = real(configure=False)
            found.nameservers = ["127.0.0.1"]
            found.port = port
            return found

        monkeypatch.setattr(dns.asyncresolver, "Resolver", made)

    return at


async def test_the_systems_resolvers(system: Callable[[int], None]) -> None:
    zone = Zone(records=ADDRESSES, ttl=44)
    async with both_transports(zone) as port:
        system(port)
        good = await look_up(None, name="system")
        zone.rcode = dns.rcode.NXDOMAIN
        gone = await look_up(None, name="system")
        zone.rcode = dns.rcode.SERVFAIL
        failed = await look_up(None, name="system")
        zone.rcode, zone.records = dns.rcode.NOERROR, {}
        empty = await look_up(None, name="system")
    assert (len(good.lookup.addresses), good.ttl, good.lookup.success) == (3, 44.0, True)
    assert (gone.lookup.missing, gone.lookup.error) == (True, "www.example.org does not exist")
    assert (failed.lookup.answered, failed.lookup.missing, failed.failed) == (True, False, frozenset(BOTH))
    assert "SERVFAIL" in str(failed.lookup.error)
    assert (empty.lookup.missing, empty.lookup.error) == (True, "www.example.org has no address")


async def test_the_systems_resolvers_are_silent(system: Callable[[int], None]) -> None:
    async with nameserver.udp(lambda _: []) as port:
        system(port)
        found = await look_up(None, name="system")
    assert (found.lookup.success, found.lookup.answered) == (False, False)


async def test_another_configuration_is_taken_over() -> None:
    first, second = Zone(records={"A": ["203.0.113.1"]}), Zone(records={"A": ["203.0.113.2"]})
    async with nameserver.udp(first) as one, nameserver.udp(second) as two:
        asked = Resolvers([resolver(f"127.0.0.1:{one}")])
        before = await asked.look_up("one", HOST, BOTH, 0.0)
        asked.configure([resolver(f"127.0.0.1:{two}")])
        after = await asked.look_up("one", HOST, BOTH, 0.0)
    assert (before.lookup.addresses, after.lookup.addresses) == (("203.0.113.1",), ("203.0.113.2",))
