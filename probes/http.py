"""`http`: one request over one pinned flow, redirects within its origin followed, its answer judged by a module."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

from probes import http2, tls
from probes.attempt import Attempt
from probes.facts import HttpFacts
from probes.failure import ProbeError
from probes.http_decode import Decoder
from probes.http_handler import HEAD_BYTES
from probes.http_judge import (
    Answer,
    PatternError,
    content_length,
    judge_body,
    judge_head,
    last_modified,
    named_by_body,
    named_by_header,
)
from probes.http_module import HttpModule
from probes.http_request import HIDDEN, MAX_REDIRECTS, MOVED, Asked, first, follow, location, shown_location
from probes.http_wire import Connection, PinnedConnector, Reply
from probes.model import Failure, Flow, Outcome, Request
from probes.text import excerpt

if TYPE_CHECKING:
    import ssl

    from pydantic import BaseModel
    from yarl import URL

# Bodies that are kept for a pattern, all probes together: many hostile servers at once exhaust this, not us.
MAX_KEPT_BYTES = 67_108_864
_SHOWN_FIELDS = 20  # of a response, in a transcript
_SKIPPED_BYTES = 65_536  # of a redirect's body, for the sake of its connection
_TURN_BYTES = 1_048_576  # decompressed before others get their turn
_PRIVATE = re.compile(r"auth|cookie|csrf|key|secret|session|token", re.IGNORECASE)  # what such a field holds


class HttpProber:
    """One aiohttp session for all probes, from `open` to `close`."""

    transport: ClassVar[str] = "tcp"
    module: ClassVar[type[BaseModel]] = HttpModule
    identities: ClassVar[tuple[str, ...]] = ("body", "header")

    def __init__(self, version: str) -> None:
        self._defaults = {"User-Agent": f"ecmp-exporter/{version}", "Accept": "*/*", "Accept-Encoding": "identity"}
        self._session: ClientSession | None = None
        self._contexts = tls.Contexts()
        self._kept_bytes = 0

    async def open(self) -> None:
        self._session = ClientSession(
            connector=PinnedConnector(),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,  # it has no limit; http_decode has one
            headers=self._defaults,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
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
        if self._session is None:
            raise RuntimeError("HttpProber is not open")
        attempt = Attempt(request)
        run = _Run(attempt, module, self._session, self._contexts, self._defaults)
        return await attempt.run(self._exchange(run))

    async def _exchange(self, run: _Run) -> None:
        whole = False
        try:
            reply = await run.last_reply()
            answer = await self._answer(run, reply)
            whole = answer.whole
            judge_head(answer, run.module)
            judge_body(answer, run.module)
        except ProbeError as error:
            error.detail = run.masked(error.detail)
            run.saw(**({"failed_by_pattern": True} if isinstance(error, PatternError) else {}))
            raise
        finally:
            await run.end(well=whole)

    async def _answer(self, run: _Run, reply: Reply) -> Answer:
        """The answer with its body, decompressed, up to the module's limit; kept only if something will look at it."""
        module, identity = run.module, run.attempt.request.identity
        keep = module.judged_bytes if module.judges_body or (identity is not None and identity.kind == "body") else 0
        decoder = Decoder(module.compression)
        kept = bytearray()
        length = received = turn = 0
        ended = False
        try:
            while not ended and length <= module.body_bytes:
                chunk = await reply.chunk()
                ended = not chunk
                received += len(chunk)
                for piece in decoder.feed(chunk) if chunk else ():
                    length += len(piece)
                    wanted = piece[: max(0, keep - len(kept))]
                    self._kept_bytes += len(wanted)
                    kept += wanted
                    if self._kept_bytes > MAX_KEPT_BYTES:
                        raise ProbeError(Failure.LOCAL, f"bodies of all probes exceed {MAX_KEPT_BYTES} bytes")
                    if length > module.body_bytes:
                        break
                    if length - turn > _TURN_BYTES:
                        turn = length
                        await asyncio.sleep(0)
        finally:
            self._kept_bytes -= len(kept)
            run.saw(uncompressed_body_bytes=min(length, module.body_bytes))
            run.attempt.note(
                f"read {received} bytes of body" + (f", {length} decompressed" if module.compression else "")
            )
        run.attempt.end_phase("transfer")
        if ended:
            decoder.end()
        body = kept.decode("utf-8", "replace")
        run.attempt.identity = named_by_body(identity, body) or run.attempt.identity
        https = run.asked.url.scheme == "https"
        return Answer(reply.status, reply.version, reply.headers, https, run.moved, body, length, ended)


class _Run:
    """The requests of one probe: the first one, and those that redirects ask for."""

    def __init__(
        self,
        attempt: Attempt,
        module: HttpModule,
        session: ClientSession,
        contexts: tls.Contexts,
        defaults: Mapping[str, str],
    ) -> None:
        self.attempt = attempt
        self.module = module
        self.moved = ""  # where the last answer leads, in words
        self._asked: Asked | None = None
        self._connection: Connection | None = None
        self._contexts = contexts
        self._defaults = defaults
        self._elsewhere: Flow | None = None  # where a redirect led off the path
        self._redirects = 0
        self._session = session

    @property
    def asked(self) -> Asked:
        if self._asked is None:
            raise RuntimeError("nothing has been asked")
        return self._asked

    async def last_reply(self) -> Reply:
        """The reply that is no redirect, or is not followed."""
        self._asked = first(self.attempt.request, self.module)
        self._context(self._asked)  # files that cannot be used are found before anything is sent
        while True:
            reply = await self._ask(self.asked)
            following = self._following(reply)
            if following is None:
                return reply
            await self._skip(reply)
            self.moved = ""
            self._await_another()
            if following.names != self.asked.names or not self.asked.same_origin(following.url):
                await self._leave(following)
            self._asked = following

    def masked(self, text: str) -> str:
        """`text` without our own secrets, which a server may have repeated."""
        return text if self._asked is None else self._asked.masked(text)

    def saw(self, **seen: float | bool | None) -> None:
        """Add to the facts."""
        facts = self.attempt.facts
        if facts.http is not None:
            self.attempt.facts = replace(facts, http=replace(facts.http, **seen))  # type: ignore[arg-type]

    async def end(self, *, well: bool) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.end(well=well)
        elif self.attempt.sock is not None:
            self.attempt.drop()

    async def _ask(self, asked: Asked) -> Reply:
        used = self._connection is not None and self._connection.reusable
        connection = self._connection if used and self._connection is not None else await self._connect(asked)
        for line in asked.described()[: 1 if self._redirects else None]:
            self.attempt.note(f"> {line}")
        try:
            reply = await connection.ask(self._session, asked)
        except ProbeError as error:
            stale = used and not connection.heard and error.failure in (Failure.CLOSED, Failure.RESET)
            if not stale or asked.method not in ("GET", "HEAD"):
                raise
            self.attempt.note("the server had closed the connection after its redirect")
            reply = await (await self._connect(asked)).ask(self._session, asked)
        self._take_head(reply)
        return reply

    def _take_head(self, reply: Reply) -> None:
        attempt, asked = self.attempt, self.asked
        version = f"{reply.version:.1f}".replace("2.0", "2")
        attempt.note(asked.masked(f"< HTTP/{version} {reply.status} {reply.reason}"))
        fields = list(reply.headers.items())
        if reply.status in MOVED:
            fields = [field for field in fields if field[0].lower() == "location"]
        for name, value in fields[:_SHOWN_FIELDS]:
            hidden = HIDDEN if _PRIVATE.search(name) else asked.masked(value)
            attempt.note(f"< {name}: {shown_location(asked, value) if name.lower() == 'location' else hidden}")
        if len(reply.headers) > min(len(fields), _SHOWN_FIELDS):
            attempt.note(f"< and {len(reply.headers) - min(len(fields), _SHOWN_FIELDS)} more header fields")
        attempt.identity = named_by_header(attempt.request.identity, reply.headers)
        seen = HttpFacts(
            status_code=reply.status,
            version=reply.version,
            content_length=content_length(reply.status, reply.headers),
            redirects=self._redirects,
            tls=asked.url.scheme == "https",
            last_modified=last_modified(reply.headers),
        )
        attempt.facts = replace(attempt.facts, http=seen)

    def _following(self, reply: Reply) -> Asked | None:
        """The request that a redirect asks for, None where the reply is the last. Raises ProbeError."""
        text = reply.headers.get("Location", "")
        if reply.status not in MOVED or not text:
            return None
        asked, module = self.asked, self.module
        self._redirects += 1
        self.saw(redirects=self._redirects)
        self.moved = f", a redirect to {shown_location(asked, text)}"
        if not module.follows:
            return None
        if self._redirects > MAX_REDIRECTS:
            self.moved += f", the last of {self._redirects} redirects"
            return None
        url = location(asked, text)
        if not asked.same_origin(url) and not self.attempt.request.leave_path:
            self.moved += (
                f", which leaves the path ({_difference(asked, url)}) and is not followed; point the target there, "
                f"or let valid_status_codes hold {reply.status}"
            )
            self.attempt.note("not followed: it leaves the path")
            return None
        return follow(asked.keep_cookies(reply.headers.getall("Set-Cookie", [])), reply.status, url)

    def _await_another(self) -> None:
        """A redirect is no answer: until another reply comes there is none, as blackbox_exporter has it, too."""
        none = HttpFacts(status_code=0, version=0.0, content_length=0, redirects=self._redirects)
        self.attempt.facts = replace(self.attempt.facts, http=none)

    async def _skip(self, reply: Reply) -> None:
        """Read a redirect's body, so that its connection can be used again; a long or broken one is not worth it."""
        length = 0
        with suppress(ProbeError):
            while length <= _SKIPPED_BYTES and (chunk := await reply.chunk()):
                length += len(chunk)
        self.attempt.end_phase("transfer")

    async def _connect(self, asked: Asked) -> Connection:
        """The first connection; the same flow once more where the server closed it; or the one that leaves the path."""
        attempt = self.attempt
        if self._connection is not None:
            attempt.note("the connection cannot be used again: the same flow is opened once more")
            await self._connection.end(well=False)
        sock = await (attempt.connect_again(self._elsewhere) if attempt.connected else attempt.connect())
        self._connection = Connection(attempt, sock, self._defaults)
        await self._connection.open(self._context(asked), asked.server_name.removesuffix("."))
        return self._connection

    async def _leave(self, following: Asked) -> None:
        """End this connection; the next goes where the redirect leads, by a flow that the kernel chooses."""
        if self._connection is not None:
            await self._connection.end(well=self._connection.reusable)
            self._connection = None
        here = self.attempt.request.flow
        address = await self._address(following)
        source = here.source if (":" in address) == (":" in here.destination) else None
        self._elsewhere = Flow(address, following.url.port or 0, source, 0, here.mark)

    async def _address(self, following: Asked) -> str:
        host, resolve = following.url.host or "", self.attempt.request.resolve
        if following.names <= self.asked.names:
            return (self._elsewhere or self.attempt.request.flow).destination
        with suppress(ValueError):
            return str(ipaddress.ip_address(host))
        self.attempt.step = f"address of {excerpt(host)}"
        if resolve is None:
            raise ProbeError(
                Failure.DNS, f"{self.attempt.step}: a redirect leads there, and names are not resolved here"
            )
        try:
            address = await resolve(host)
        except OSError as error:
            raise ProbeError(Failure.DNS, f"{self.attempt.step}: {excerpt(str(error))}") from error
        self.attempt.end_phase("resolve")
        return address

    def _context(self, asked: Asked) -> ssl.SSLContext | None:
        if asked.url.scheme != "https":
            return None
        config = self.module.tls_config
        if config is not None and not asked.own:  # our certificate is for the host that the operator named
            config = config.model_copy(update={"cert": None, "cert_file": None, "key": None, "key_file": None})
        http2_too = self.module.enable_http2 and not any(name.lower() == "upgrade" for name, _ in asked.headers)
        return self._contexts.context(config, (http2.ALPN, *tls.HTTP1) if http2_too else tls.HTTP1)


def _difference(asked: Asked, url: URL) -> str:
    here = asked.url
    found = [
        *(["another scheme"] if url.scheme != here.scheme else []),
        *(["another host"] if (url.host or "").lower().removesuffix(".") not in asked.names else []),
        *(["another port"] if url.port != here.port else []),
    ]
    return ", ".join(found)
