"""Asks resolvers for the addresses of names: those of this system, or others over UDP, TCP, TLS (RFC 7858) or
HTTPS (RFC 8484). Bounded in time and size, and nothing is raised for what a resolver does.

Look-ups are no probes: they start from any port, and go where this machine's routes lead.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiohttp
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from exporter.config import SYSTEM_RESOLVER, Resolver
from exporter.dns_status import Lookup
from probes import flow, tls
from probes.datagram import Datagrams
from probes.dns_exchange import by_datagram, by_stream
from probes.dns_message import MessageError, parse, query
from probes.failure import ProbeError
from probes.model import Flow
from probes.text import excerpt
from probes.transports import open_stream
from routers.model import canonical

LIFETIME = 5.0  # seconds for one type of record, all tries
_TRY = 2.0  # seconds for an answer by UDP, which is asked for again once
_MOST_ANSWERS = 64
_MOST_AT_ONCE = 64  # queries under way
_LARGEST = 65_535  # bytes of a message
_MUCH = 4096
_ERROR_CHARACTERS = 200
_KINDS = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}
_MEDIA_TYPE = "application/dns-message"


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up, and for how long its addresses may be kept (seconds); None where there are none.

    `failed` are the families (4, 6) of which nothing is known now.
    """

    lookup: Lookup
    ttl: float | None
    failed: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Records:
    addresses: tuple[str, ...] = ()
    ttl: float | None = None
    error: str | None = None
    answered: bool = True
    missing: bool = False


class Resolvers:
    """The configured resolvers, and the system's under the name `system`."""

    def __init__(self, configs: Iterable[Resolver] = ()) -> None:
        self._configs: dict[str, Resolver] = {}
        self._datagrams = Datagrams()
        self._contexts = tls.Contexts()
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self.configure(configs)

    def configure(self, configs: Iterable[Resolver]) -> None:
        self._configs = {config.name: config for config in configs}
        self._contexts.clear()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def look_up(self, resolver: str, host: str, families: Sequence[int], now: float) -> Found:
        """The addresses of these families (4, 6), as one resolver gives them."""
        clock = asyncio.get_running_loop().time
        began = clock()
        answers = await asyncio.gather(*(self._ask(resolver, host, _KINDS[family]) for family in families))
        errors = list(dict.fromkeys(one.error for one in answers if one.error is not None and not one.missing))
        addresses = tuple(sorted({address for one in answers for address in one.addresses}))[:_MOST_ANSWERS]
        missing = not errors and not addresses
        if missing:
            nowhere = [one.error for one in answers if one.error is not None]
            errors = [nowhere[0] if len(nowhere) == len(answers) else f"{host} has no address"]
        lookup = Lookup(
            resolver=resolver,
            at=now,
            addresses=addresses,
            error="; ".join(errors) or None,
            answered=all(one.answered for one in answers),
            missing=missing,
            seconds=clock() - began,
        )
        ttls = [one.ttl for one in answers if one.ttl is not None]
        failed = {
            family for family, one in zip(families, answers, strict=True) if one.error is not None and not one.missing
        }
        return Found(lookup, min(ttls, default=None), frozenset(failed))

    async def _ask(self, resolver: str, host: str, kind: dns.rdatatype.RdataType) -> _Records:
        try:
            async with self._slots, asyncio.timeout(LIFETIME):
                if resolver == SYSTEM_RESOLVER:
                    return await _by_system(host, kind)
                return _records(await self._message(self._configs[resolver], host, kind), host)
        except TimeoutError:
            return _Records(error=f"no answer within {LIFETIME:g} s", answered=False)
        except (ProbeError, MessageError) as error:
            return _Records(error=_text(error), answered=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Records(error=_text(error) or type(error).__name__, answered=False)
        except dns.exception.DNSException as error:
            return _Records(error=_text(error))

    async def _message(self, config: Resolver, host: str, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        message_id = 0 if config.protocol == "https" else secrets.randbelow(1 << 16)  # RFC 8484, section 4.1
        asked = query(host, kind, dns.rdataclass.IN, message_id, recursion=True)
        if config.protocol == "https":
            return await self._by_https(config, asked)
        if config.protocol == "udp":
            answer = await self._by_udp(config, asked)
            if not answer.flags & dns.flags.Flag.TC:
                return answer
        return await self._by_stream(config, asked)

    async def _by_udp(self, config: Resolver, asked: bytes) -> dns.message.Message:
        destination = Flow(config.host, config.port)
        try:
            async with asyncio.timeout(_TRY):
                with self._datagrams.opened(destination) as sock:
                    return await by_datagram(sock, asked, parse, _unheard)
        except TimeoutError:  # a datagram may be lost
            with self._datagrams.opened(destination) as sock:
                return await by_datagram(sock, asked, parse, _unheard)

    async def _by_stream(self, config: Resolver, asked: bytes) -> dns.message.Message:
        own = config.tls_config
        context = self._contexts.context(own) if config.protocol == "tls" else None
        name = tls.server_name(own, config.host) if context is not None else None
        sock = await flow.connect(Flow(config.host, config.port))
        try:
            reader, writer = await open_stream(sock, context, name)
        except BaseException as error:
            sock.close()
            if isinstance(error, ssl.SSLError):
                raise tls.tls_error(error) from error
            raise
        try:
            return await by_stream(reader, writer, asked, parse)
        finally:
            flow.harden(sock)
            writer.transport.abort()

    async def _by_https(self, config: Resolver, asked: bytes) -> dns.message.Message:
        own = config.tls_config
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        async with self._http().post(
            config.address,
            data=asked,
            headers=headers,
            allow_redirects=False,
            ssl=self._contexts.context(own),
            server_hostname=own.server_name if own is not None else None,
        ) as response:
            if response.status != 200:  # noqa: PLR2004 - RFC 8484, section 4.2.1
                raise MessageError(f"HTTP status {response.status}")
            if response.content_type != _MEDIA_TYPE:
                raise MessageError(f"{excerpt(response.content_type)} instead of {_MEDIA_TYPE}")
            data = bytearray()
            async for chunk in response.content.iter_chunked(_LARGEST):
                data += chunk
                if len(data) > _LARGEST:
                    raise MessageError("more than 64 KiB")
        if len(data) > _MUCH:
            return await asyncio.to_thread(parse, bytes(data), asked)
        return parse(bytes(data), asked)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent",),
                timeout=aiohttp.ClientTimeout(total=LIFETIME),
            )
        return self._session


async def _by_system(host: str, kind: dns.rdatatype.RdataType) -> _Records:
    """As resolv.conf says, read anew each time; search domains are left out."""
    try:
        answer = await dns.asyncresolver.Resolver().resolve(
            host, kind, lifetime=LIFETIME, raise_on_no_answer=False, search=False
        )
    except dns.resolver.NXDOMAIN:
        return _nonexistent(host)
    except dns.resolver.NoNameservers as error:
        tried = error.kwargs.get("errors") or ()
        return _Records(error=_text(error), answered=any(one[4] is not None for one in tried))
    except (dns.resolver.LifetimeTimeout, dns.exception.Timeout):
        return _Records(error=f"no answer within {LIFETIME:g} s", answered=False)
    if answer.rrset is None:
        return _Records()
    found = tuple(canonical(record.to_text()) for record in answer.rrset)[:_MOST_ANSWERS]
    return _Records(found, float(answer.rrset.ttl))


def _records(message: dns.message.Message, host: str) -> _Records:
    """Raises DNSException for chains of names that lead nowhere."""
    code = message.rcode()
    if code == dns.rcode.NXDOMAIN:
        return _nonexistent(host)
    if code != dns.rcode.NOERROR:
        return _Records(error=f"it answered {dns.rcode.to_text(code)}")
    if not isinstance(message, dns.message.QueryMessage):
        return _Records(error="it answered something that is no query")
    chain = message.resolve_chaining()
    if chain.answer is None:
        return _Records()
    found = tuple(canonical(record.to_text()) for record in chain.answer)[:_MOST_ANSWERS]
    return _Records(found, float(chain.minimum_ttl))


def _nonexistent(host: str) -> _Records:
    return _Records(error=f"{host} does not exist", missing=True)


def _text(error: Exception) -> str:
    return excerpt(str(error), _ERROR_CHARACTERS)


def _unheard(text: str) -> None:
    """Nobody reads what a look-up passed over."""
    del text
