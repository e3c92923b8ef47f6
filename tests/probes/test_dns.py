"""The dns prober against servers that behave, or do not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from probes.dns_module import DnsModule
from probes.dns_prober import DnsProber
from probes.model import Failure, Flow, Identity
from tests.probes import nameserver
from tests.probes.certificates import authority
from tests.probes.dns_probe import module, probe
from tests.probes.nameserver import NAME, Zone
from tests.probes.servers import open_descriptors, saying, serving, silent

if TYPE_CHECKING:
    from probes.ports import Source
    from probes.table import Probers

HAS_IPV6 = Path("/proc/net/if_inet6").exists()


async def test_udp_asks_once_over_the_pinned_flow(probers: Probers, source: Source) -> None:
    seen: list[tuple[str, int]] = []
    async with nameserver.udp(Zone(), seen=seen) as port:
        outcome = await probe(probers, port, source)
    assert outcome.success, outcome.detail
    assert seen == [source]
    assert outcome.flow == Flow("127.0.0.1", port, source.address, source.port)
    assert set(outcome.phases) == {"resolve", "connect", "request"}
    assert outcome.facts.dns is not None
    assert (outcome.facts.dns.rcode, outcome.facts.dns.answer_records) == ("NOERROR", 1)
    assert any("203.0.113.10" in line for line in outcome.transcript)


@pytest.mark.parametrize("recursion", [True, False])
async def test_the_query_is_what_the_module_says(probers: Probers, source: Source, recursion: bool) -> None:
    asked: list[dns.message.Message] = []

    def answer(message: dns.message.Message) -> list[bytes]:
        asked.append(message)
        return [dns.message.make_response(message).to_wire()]

    settings = module(query_type="TXT", query_class="CH", query_name="id.server", recursion_desired=recursion)
    async with nameserver.udp(answer) as port:
        assert (await probe(probers, port, source, settings=settings)).success
    assert asked[0].question[0].to_text() == "id.server. CH TXT"
    assert bool(asked[0].flags & dns.flags.Flag.RD) is recursion
    assert asked[0].edns == -1


async def test_the_default_question_is_any(probers: Probers, source: Source) -> None:
    asked: list[str] = []

    def answer(message: dns.message.Message) -> list[bytes]:
        asked.append(message.question[0].to_text())
        return [dns.message.make_response(message).to_wire()]

    async with nameserver.udp(answer) as port:
        settings = DnsModule.model_validate({"query_name": "example.org"})
        assert (await probe(probers, port, source, settings=settings)).success
    assert asked == ["example.org. IN ANY"]


async def test_tcp(probers: Probers, source: Source) -> None:
    before = open_descriptors()
    async with nameserver.tcp(Zone()) as port:
        outcome = await probe(probers, port, source, settings=module(transport_protocol="tcp"))
        await asyncio.sleep(0.05)
    assert outcome.success, outcome.detail
    assert outcome.flow.source_port == source.port
    assert outcome.facts.tcp is not None
    assert open_descriptors() == before


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 at all")
async def test_ipv6(probers: Probers, source: Source) -> None:
    async with nameserver.udp(Zone(), host="::1") as port:
        outcome = await probe(probers, port, source, host="::1")
        other = await probe(probers, port, source, host="::1", settings=module(valid_rcodes=["NXDOMAIN"]))
    assert outcome.success, outcome.detail
    assert other.failure is Failure.EXPECTATION


async def test_over_tls_the_certificate_counts(probers: Probers, source: Source, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority().pem())
    context = authority().server_context(tmp_path, "ns.example.org")
    over_tls = {"transport_protocol": "tcp", "dns_over_tls": True}
    async with nameserver.tcp(Zone(), tls=context) as port:
        good = await probe(probers, port, source, settings=module(**over_tls, tls_config={"ca_file": str(ca)}))
        wrong = await probe(
            probers, port, source, settings=module(**over_tls, tls_config={"ca_file": str(ca)}), name="ns.example.net"
        )
        unknown = await probe(probers, port, source, settings=module(**over_tls))
        named = module(**over_tls, tls_config={"ca_file": str(ca), "server_name": "ns.example.org"})
        renamed = await probe(probers, port, source, settings=named, name="127.0.0.1")
    assert good.success, good.detail
    assert good.facts.tls is not None
    assert good.facts.tls.version == "TLS 1.3"
    assert set(good.phases) == {"resolve", "connect", "request"}
    assert (wrong.failure, unknown.failure) == (Failure.TLS, Failure.TLS)
    assert wrong.facts.tls is not None, "what was refused is seen, too"
    assert renamed.success, renamed.detail


async def test_a_server_that_speaks_no_tls(probers: Probers, source: Source) -> None:
    settings = module(transport_protocol="tcp", dns_over_tls=True)
    async with serving(saying(b"\0\x0cnot a handshake")) as port:
        assert (await probe(probers, port, source, settings=settings)).failure in (Failure.TLS, Failure.CLOSED)
    async with serving(silent) as port:
        quiet = await probe(probers, port, source, settings=settings, seconds=0.3)
    assert (quiet.failure, "TLS" in quiet.detail) == (Failure.TIMEOUT, True)


@pytest.mark.parametrize(
    ("code", "valid", "success"),
    [
        (dns.rcode.NOERROR, [], True),
        (dns.rcode.NXDOMAIN, [], False),
        (dns.rcode.SERVFAIL, [], False),
        (dns.rcode.NXDOMAIN, ["NXDOMAIN"], True),
        (dns.rcode.NOERROR, ["NXDOMAIN", "REFUSED"], False),
        (dns.rcode.REFUSED, ["NXDOMAIN", "REFUSED"], True),
    ],
)
async def test_valid_rcodes(
    probers: Probers, source: Source, code: dns.rcode.Rcode, valid: list[str], success: bool
) -> None:
    settings = module(valid_rcodes=valid) if valid else module()
    async with nameserver.udp(Zone(rcode=code)) as port:
        outcome = await probe(probers, port, source, settings=settings)
    assert outcome.success is success
    assert outcome.facts.dns is not None
    assert outcome.facts.dns.rcode == dns.rcode.to_text(code)
    if not success:
        assert outcome.failure is Failure.EXPECTATION
        assert dns.rcode.to_text(code) in outcome.detail


TWO = Zone(records={"A": ["203.0.113.10", "203.0.113.11"]})


@pytest.mark.parametrize(
    ("rule", "patterns", "success"),
    [
        ("fail_if_matches_regexp", [r"203\.0\.113\.1\d$"], False),
        ("fail_if_matches_regexp", [r"198\.51\.100\."], True),
        ("fail_if_matches_regexp", [r"198\.51\.100\.", r"\.11$"], False),
        ("fail_if_not_matches_regexp", [r"203\.0\.113\.1\d$"], True),
        ("fail_if_not_matches_regexp", [r"203\.0\.113\.10$"], False),
        ("fail_if_not_matches_regexp", [r"^www\.example\.org\.\t60\tIN\tA\t203"], True),
        ("fail_if_all_match_regexp", [r"203\.0\.113\.1\d$"], True),  # as blackbox_exporter does it
        ("fail_if_all_match_regexp", [r"\.10$"], False),
        ("fail_if_none_matches_regexp", [r"\.11$"], True),
        ("fail_if_none_matches_regexp", [r"\.12$", r"\.10$"], True),
        ("fail_if_none_matches_regexp", [r"\.12$"], False),
    ],
)
async def test_rules_for_answers(
    probers: Probers, source: Source, rule: str, patterns: list[str], success: bool
) -> None:
    async with nameserver.udp(TWO) as port:
        outcome = await probe(probers, port, source, settings=module(validate_answer_rrs={rule: patterns}))
    assert outcome.success is success, outcome.detail
    if not success:
        assert outcome.failure is Failure.EXPECTATION
        assert rule in outcome.detail


@pytest.mark.parametrize("rule", ["fail_if_not_matches_regexp", "fail_if_none_matches_regexp"])
async def test_no_record_matches_nothing(probers: Probers, source: Source, rule: str) -> None:
    async with nameserver.udp(Zone(records={})) as port:
        outcome = await probe(probers, port, source, settings=module(validate_answer_rrs={rule: [".*"]}))
        others = ("fail_if_matches_regexp", "fail_if_all_match_regexp")
        fine = await probe(probers, port, source, settings=module(validate_answer_rrs={key: [".*"] for key in others}))
    assert outcome.failure is Failure.EXPECTATION
    assert fine.success


async def test_authority_and_additional_have_rules_of_their_own(probers: Probers, source: Source) -> None:
    zone = Zone(
        extra=[("authority", NAME, "NS", "ns.example.org."), ("additional", "ns.example.org.", "A", "192.0.2.5")]
    )
    async with nameserver.udp(zone) as port:
        good = await probe(probers, port, source)
        bad = {
            section: await probe(
                probers, port, source, settings=module(**{section: {"fail_if_matches_regexp": [pattern]}})
            )
            for section, pattern in (
                ("validate_authority_rrs", r"NS\tns\.example\.org\.$"),
                ("validate_additional_rrs", r"192\.0\.2\.5"),
                ("validate_answer_rrs", r"192\.0\.2\.5"),
            )
        }
    assert good.facts.dns is not None
    assert (good.facts.dns.authority_records, good.facts.dns.additional_records) == (1, 1)
    assert {section: outcome.success for section, outcome in bad.items()} == {
        "validate_authority_rrs": False,
        "validate_additional_rrs": False,
        "validate_answer_rrs": True,
    }


async def test_equal_records_are_counted_each(probers: Probers, source: Source) -> None:
    def answer(message: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(message)
        one = dns.rrset.from_text(NAME, 60, "IN", "A", "203.0.113.10")
        wire = bytearray(response.to_wire())
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x0a"
        wire[6:8] = (2).to_bytes(2, "big")
        del one
        return [bytes(wire + record + record)]

    async with nameserver.udp(answer) as port:
        outcome = await probe(probers, port, source)
    assert outcome.facts.dns is not None
    assert outcome.facts.dns.answer_records == 2


async def test_the_serial_of_a_zone(probers: Probers, source: Source) -> None:
    zone = Zone(records={"SOA": ["ns.example.org. admin.example.org. 2026112701 1 2 3 4"]})
    async with nameserver.udp(zone) as port:
        outcome = await probe(probers, port, source, settings=module(query_type="SOA"))
    assert outcome.facts.dns is not None
    assert outcome.facts.dns.serial == 2026112701


async def test_an_answer_may_name_its_node(probers: Probers, source: Source) -> None:
    zone = Zone(records={"TXT": ["leviathan2"]})
    rule = Identity("body", 'TXT\t"(.*)"$')
    async with nameserver.udp(zone) as port:
        outcome = await probe(probers, port, source, settings=module(query_type="TXT"), identity=rule)
        silent_one = await probe(probers, port, source, settings=module(query_type="A"), identity=rule)
    assert outcome.identity == "leviathan2"
    assert silent_one.identity is None


def test_a_prober_is_made_once() -> None:
    assert DnsProber.module is DnsModule
    assert DnsProber.transport == "udp"
    assert module(transport_protocol="tcp").transport == "tcp"
