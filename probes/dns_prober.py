"""`dns`: one query over the pinned flow, by UDP, TCP or TLS, and what its answer must be (blackbox_exporter's prober).

One datagram is sent, and none again: a probe that fails is repeated by its caller, on another flow.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from dataclasses import replace
from typing import ClassVar

import dns.rcode
import dns.rdatatype
from pydantic import BaseModel

from probes import flow, tls
from probes.attempt import Attempt
from probes.datagram import Datagrams
from probes.dns_exchange import by_datagram, by_stream
from probes.dns_message import Answer, query, read
from probes.dns_module import DnsModule
from probes.facts import DnsFacts
from probes.failure import ProbeError
from probes.model import Failure, Outcome, Request
from probes.pattern import group
from probes.text import excerpt, identity_text
from probes.transports import open_stream

_RECORDS_NOTED = 16  # of each section, in the transcript


class DnsProber:
    """Keeps the UDP flows that are in use, and TLS contexts."""

    module: ClassVar[type[BaseModel]] = DnsModule
    identities: ClassVar[tuple[str, ...]] = ("body",)
    transport: ClassVar[str] = "udp"  # where the module does not say otherwise

    def __init__(self, version: str) -> None:
        del version  # nothing of it goes into a query
        self._datagrams = Datagrams()
        self._contexts = tls.Contexts()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def probe(self, request: Request, module: DnsModule) -> Outcome:
        attempt = Attempt(request)
        attempt.end_phase("resolve")  # the flow leads to an address: there is nothing to look up
        try:
            return await attempt.run(self._exchange(attempt, module))
        finally:
            attempt.drop()

    async def _exchange(self, attempt: Attempt, module: DnsModule) -> None:
        asked = query(
            module.query_name,
            module.query_type,
            module.query_class,
            secrets.randbelow(1 << 16),
            recursion=module.recursion_desired,
        )
        attempt.note(f"query: {module.query_name} {dns.rdatatype.to_text(dns.rdatatype.RdataType(module.query_type))}")
        if module.transport_protocol == "udp":
            answer = await self._by_udp(attempt, asked)
        else:
            answer = await self._by_stream(attempt, module, asked)
        attempt.end_phase("request")
        attempt.connected = True
        _note(attempt, answer)
        attempt.facts = replace(
            attempt.facts,
            dns=DnsFacts(
                rcode=answer.rcode_text,
                answer_records=len(answer.answer),
                authority_records=len(answer.authority),
                additional_records=len(answer.additional),
                serial=answer.serial,
            ),
        )
        _name_node(attempt, answer)
        await _judged(answer, module)

    async def _by_udp(self, attempt: Attempt, asked: bytes) -> Answer:
        attempt.step = "answer"
        with self._datagrams.opened(attempt.request.flow) as sock:
            attempt.take(sock)
            attempt.end_phase("connect")
            return await by_datagram(sock, asked, read, attempt.note)

    async def _by_stream(self, attempt: Attempt, module: DnsModule, asked: bytes) -> Answer:
        sock = await attempt.connect()
        context = self._contexts.context(module.tls_config) if module.dns_over_tls else None
        attempt.step = "TLS handshake" if context else "answer"
        if context is not None:
            flow.harden(sock)  # a handshake that fails is ended by asyncio: that, too, shall free the flow
        try:
            reader, writer = await open_stream(sock, context, tls.server_name(module.tls_config, attempt.request.host))
        except ssl.SSLError as error:
            attempt.facts = replace(attempt.facts, tls=tls.shown(error))
            raise tls.tls_error(error) from error
        answer = None
        try:
            if context is not None:
                _note_session(attempt, writer)
                attempt.end_phase("connect")  # as blackbox_exporter counts it
            attempt.step = "answer"
            answer = await by_stream(reader, writer, asked, read)
        except ssl.SSLError as error:
            raise tls.tls_error(error, attempt.step) from error
        finally:
            attempt.count_retransmits()
            if answer is None or context is not None:
                flow.harden(sock)
                writer.transport.abort()
            else:  # an orderly end, which is the transport's now
                attempt.sock = None
                flow.soften(sock)
                writer.close()
        return answer


async def _judged(answer: Answer, module: DnsModule) -> None:
    """Raises ProbeError where the answer is not what it must be."""
    if answer.rcode not in module.valid_rcodes:
        valid = ", ".join(dns.rcode.to_text(dns.rcode.Rcode(one)) for one in module.valid_rcodes)
        raise ProbeError(Failure.EXPECTATION, f"response code {answer.rcode_text}; valid: {valid or 'none'}")
    sections = (
        ("answer", module.validate_answer_rrs, answer.answer),
        ("authority", module.validate_authority_rrs, answer.authority),
        ("additional", module.validate_additional_rrs, answer.additional),
    )
    cut = " (the answer was truncated)" if answer.truncated else ""
    for name, rules, records in sections:
        broken = rules.broken_by(records)
        if broken:
            raise ProbeError(Failure.EXPECTATION, f"{name} records: {excerpt(broken, 240)}{cut}")
        await asyncio.sleep(0)


def _name_node(attempt: Attempt, answer: Answer) -> None:
    """An answer may name its server, as `CH TXT id.server` does (RFC 4892)."""
    wanted = attempt.request.identity
    if wanted is None or wanted.kind != "body":
        return
    found = (group(wanted.rule, record) for record in answer.answer)
    named = next((one for one in found if one is not None), None)
    attempt.identity = None if named is None else identity_text(named)


def _note(attempt: Attempt, answer: Answer) -> None:
    cut = ", truncated" if answer.truncated else ""
    counts = f"{len(answer.answer)} answer, {len(answer.authority)} authority, {len(answer.additional)} additional"
    attempt.note(f"{answer.rcode_text}{cut}; records: {counts}")
    for name, records in (("answer", answer.answer), ("authority", answer.authority)):
        for record in records[:_RECORDS_NOTED]:
            attempt.note(f"{name}: {record.expandtabs(1)}")


def _note_session(attempt: Attempt, writer: asyncio.StreamWriter) -> None:
    session = writer.get_extra_info("ssl_object")
    seen = tls.facts(session) if session is not None else None
    if seen is not None:
        attempt.facts = replace(attempt.facts, tls=seen)
        attempt.note(tls.in_words(seen))
