"""`http`: one request over one pinned flow, its answer judged by a module, on aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from aiohttp import (
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
)
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, TransferEncodingError
from yarl import URL

from probes import failure
from probes.attempt import Attempt
from probes.failure import ProbeError
from probes.http_module import HttpModule, TlsConfig
from probes.http_wire import Exchange, PinnedConnector, exchange_in_progress, tls_error
from probes.model import Failure, Outcome, Request
from probes.pattern import group
from probes.text import excerpt, identity_text

if TYPE_CHECKING:
    from pydantic import BaseModel

# Bodies that are kept for a pattern, all probes together: many hostile servers at once exhaust this, not us.
MAX_KEPT_BYTES = 67_108_864
_FIELD_BYTES = 8190  # of the status line and of each header field


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str
    body: str
    whole: bool  # read to its end, within the limit


class HttpProber:
    """One aiohttp session for all probes, from `open` to `close`."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = HttpModule
    identities: ClassVar[tuple[str, ...]] = ("body", "header")

    def __init__(self, version: str) -> None:
        self._user_agent = f"ecmp-exporter/{version}"
        self._session: ClientSession | None = None
        self._contexts: dict[TlsConfig, ssl.SSLContext] = {}
        self._kept_bytes = 0

    async def open(self) -> None:
        self._session = ClientSession(
            connector=PinnedConnector(),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            # A body is judged as it was sent: nothing is decompressed, so nothing can explode.
            auto_decompress=False,
            headers={"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            max_line_size=_FIELD_BYTES,
            max_field_size=_FIELD_BYTES,
        )
        self._session._retry_connection = False  # noqa: SLF001 - as aiohttp.test_utils does: one probe, one try

    async def close(self) -> None:
        """End of all probes; TLS contexts are read anew after the next `open`."""
        self._contexts.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # closed sockets leave the loop in its next turn

    async def probe(self, request: Request, module: HttpModule) -> Outcome:
        attempt = Attempt(request)
        return await attempt.run(self._exchange(attempt, module))

    async def _exchange(self, attempt: Attempt, module: HttpModule) -> None:
        request = attempt.request
        https = module.https(request.flow.destination_port)
        url = _url(https, request.host, request.flow.destination_port, module.path)
        context = self._context(module.tls_config or TlsConfig()) if https else None
        exchange = Exchange(attempt, context, _server_name(request, module))
        token = exchange_in_progress.set(exchange)
        whole = False
        try:
            answer = await self._ask(exchange, module, url)
            whole = answer.whole
        except (ClientError, HttpProcessingError, ValueError) as error:
            raise _classified(error, exchange) from error
        finally:
            exchange_in_progress.reset(token)
            exchange.end(well=whole)
        _name_by_body(attempt, answer.body)
        _judge(answer, module)

    async def _ask(self, exchange: Exchange, module: HttpModule, url: URL) -> _Answer:
        if self._session is None:
            raise RuntimeError("HttpProber is not open")
        response = await self._session.request(module.method, url, headers=module.headers, allow_redirects=False)
        try:
            exchange.expect_body(response.content)
            _name_by_header(exchange.attempt, response)
            return await self._read(exchange, response, module)
        finally:
            response.close()

    async def _read(self, exchange: Exchange, response: ClientResponse, module: HttpModule) -> _Answer:
        """The answer with its body up to the module's limit; kept only if something will look at it."""
        identity = exchange.attempt.request.identity
        keep = module.judges_body or (identity is not None and identity.kind == "body")
        kept = bytearray()
        length = 0
        try:
            while length <= module.body_bytes and (chunk := await response.content.readany()):
                length += len(chunk)
                exchange.allow(length)
                if keep:
                    self._kept_bytes += len(chunk)
                    kept += chunk
                    if self._kept_bytes > MAX_KEPT_BYTES:
                        raise ProbeError(Failure.LOCAL, f"bodies of all probes exceed {MAX_KEPT_BYTES} bytes")
        finally:
            self._kept_bytes -= len(kept)
        exchange.attempt.end_phase("transfer")
        body = kept[: module.body_bytes].decode("utf-8", "replace")
        location = response.headers.get("Location", "")
        return _Answer(response.status, location, body, length <= module.body_bytes)

    def _context(self, config: TlsConfig) -> ssl.SSLContext:
        context = self._contexts.get(config)
        if context is None:
            try:
                context = ssl.create_default_context(cafile=config.ca_file)
            except OSError as error:
                raise ProbeError(Failure.LOCAL, f"tls_config ca_file {config.ca_file}: {error}") from error
            if config.insecure_skip_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[config] = context
        return context


@lru_cache(maxsize=4096)
def _url(https: bool, host: str, port: int, path: str) -> URL:
    scheme = "https" if https else "http"
    path, _, query = path.partition("?")
    try:
        authority = URL.build(scheme=scheme, host=host, port=port).raw_authority
        return URL.build(scheme=scheme, authority=authority, path=path, query_string=query, encoded=True)
    except ValueError as error:
        raise ProbeError(Failure.LOCAL, f"host {excerpt(host)} cannot stand in a URL") from error


def _server_name(request: Request, module: HttpModule) -> str:
    """As in blackbox_exporter: tls_config, else a Host header, else the name that was asked for."""
    if module.tls_config is not None and module.tls_config.server_name:
        return module.tls_config.server_name
    for name, value in module.headers.items():
        if name.lower() == "host":
            return value.partition(":")[0]
    return request.host


def _name_by_header(attempt: Attempt, response: ClientResponse) -> None:
    identity = attempt.request.identity
    if identity is None or identity.kind != "header":
        return
    value = response.headers.get(identity.rule)
    if value is not None:
        attempt.identity = identity_text(value)


def _name_by_body(attempt: Attempt, body: str) -> None:
    identity = attempt.request.identity
    if identity is None or identity.kind != "body":
        return
    value = group(identity.rule, body)
    if value is not None:
        attempt.identity = identity_text(value)


def _judge(answer: _Answer, module: HttpModule) -> None:
    """Raise ProbeError for the first expectation that the answer does not meet."""
    if not module.accepts(answer.status):
        moved = f", a redirect to {excerpt(answer.location)}" if answer.location else ""
        raise ProbeError(Failure.EXPECTATION, f"status {answer.status}{moved}")
    if module.body_size_limit and not answer.whole:
        raise ProbeError(Failure.EXPECTATION, f"body is longer than body_size_limit ({module.body_size_limit} bytes)")
    for pattern in module.fail_if_body_matches_regexp:
        if pattern.search(answer.body):
            raise ProbeError(Failure.EXPECTATION, f"body matches {excerpt(pattern.pattern)}")
    for pattern in module.fail_if_body_not_matches_regexp:
        if not pattern.search(answer.body):
            raise ProbeError(Failure.EXPECTATION, f"body does not match {excerpt(pattern.pattern)}")


def _classified(error: Exception, exchange: Exchange) -> ProbeError:
    step = exchange.attempt.step
    if exchange.flood:
        return ProbeError(Failure.PROTOCOL, f"{step}: more than {exchange.max_bytes} bytes")
    if isinstance(exchange.lost, ssl.SSLError):
        return tls_error(exchange.lost, step)
    if exchange.lost is not None:
        return failure.network(exchange.lost.errno, step)
    if isinstance(error, InvalidURL):
        return ProbeError(Failure.LOCAL, f"unusable URL: {excerpt(str(error))}")
    if isinstance(error, ClientOSError | ServerDisconnectedError) or _cut_short(error, exchange):
        return ProbeError(Failure.CLOSED, f"{step}: connection closed before its end")
    message = error.message if isinstance(error, ClientResponseError | HttpProcessingError) else str(error)
    return ProbeError(Failure.PROTOCOL, f"{step}: {excerpt(message)}")


def _cut_short(error: Exception, exchange: Exchange) -> bool:
    """The body ended before its length or its last chunk; a malformed chunk is something else."""
    if not isinstance(error, ClientPayloadError):
        return False
    cause = error.__cause__
    return isinstance(cause, ContentLengthError) or (isinstance(cause, TransferEncodingError) and exchange.peer_closed)
