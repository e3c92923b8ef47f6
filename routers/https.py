"""Questions to a router's API over HTTPS (aiohttp), with its certificate always verified."""

from __future__ import annotations

import asyncio
import base64
import ssl
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from routers.jsontext import phrase
from routers.model import Answer, Command
from routers.transport import ErrorKind, OutputLimit, RouterError, read_secret, timed_out, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTPS_PORT = 443
READ_CHUNK = 65_536
CONNECT_TIMEOUT_SECONDS = 4.0  # below the time of one answer, so that a silent host is told from a slow one
CONNECTIONS = 2  # small routers log in anew and log each request: many at once help nobody
REFUSED_SECONDS = 60.0

_METHODS = frozenset({"GET", "POST"})
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
# OpenSSL's X509_V_ERR_*, see openssl-verification-options(1) and x509_vfy.h.
_TOO_EARLY_OR_LATE = frozenset({9, 10})
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 63, 64})


@dataclass(frozen=True, slots=True)
class HttpsSettings:
    """Where the API stands and as whom to log in (basic auth: an API key and its secret count as user and password).

    `url`: https, a host, a port if need be, and the path below which the API stands. `password_file` is read when it
    is needed, and again after a login was refused. Without `ca_file` the system's authorities are trusted; with it
    only the certificates in it, the router's own included.
    """

    url: str
    username: str
    password_file: str
    ca_file: str | None = None
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or HTTPS_PORT

    @property
    def place(self) -> str:
        return f"{self.host} port {self.port}"


class HttpsTransport:
    """One session with few connections, kept open between polls and shared by all callers."""

    def __init__(self, settings: HttpsSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._context: ssl.SSLContext | None = None
        self._login: str | None = None
        self._refused: tuple[str, float, RouterError] | None = None
        self._closed = False
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        """See `Transport.run` and `Answer`. GET and POST alone are sent, and no redirect is followed. What was
        cut off is asked for once more: questions only read.

        A refused login is not tried again for a minute, unless the password file changed: routers lock out who fails
        often.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._slots:
                try:
                    return await self._ask(command, max_bytes)
                except RouterError as error:
                    if error.kind is not ErrorKind.CLOSED:
                        raise
                return await self._ask(command, max_bytes)
        except TimeoutError as error:
            raise timed_out(command, timeout_seconds) from error

    async def close(self) -> None:
        """End all connections. Final: later calls of `run` are refused."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, command: Command, max_bytes: int) -> Answer:
        method, url = self._request(command)
        headers = {"Authorization": self._authorization(), "Content-Type": "application/json"}
        try:
            async with self._connected().request(
                method,
                url,
                data=None if command.stdin is None else command.stdin.encode(),
                headers=headers,
                skip_auto_headers=() if command.stdin is not None else ("Content-Type",),
                ssl=self._verifying(),
                allow_redirects=False,
            ) as response:
                self._check(response, command, headers["Authorization"])
                body = await _body(response, OutputLimit(command, max_bytes))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failed(error) from error
        if response.ok:
            return Answer(stdout=body)
        return Answer(stdout=body, stderr=_reason(response), exit_status=response.status)

    def _request(self, command: Command) -> tuple[str, URL]:
        """Method and URL; a path stands below the URL's own."""
        method, path = command.argv
        if method not in _METHODS:
            raise RouterError(f"{command.name!r} is no question: {method} is never sent to a router", ErrorKind.REFUSED)
        if not path.startswith("/") or not path.isascii() or any(not "!" <= letter <= "~" for letter in path):
            raise RouterError(f"{command.name!r} is no question: its path is not encoded", ErrorKind.REFUSED)
        return method, URL(self._settings.url.rstrip("/") + path, encoded=True)

    def _connected(self) -> aiohttp.ClientSession:
        if self._closed:
            raise _given_up(self._settings)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ecmp-exporter"},
                auto_decompress=False,  # nobody else bounds what comes out
                trust_env=False,
            )
        return self._session

    def _verifying(self) -> ssl.SSLContext:
        """The TLS context; files are read again after a certificate was refused."""
        if self._context is None:
            self._context = _context(self._settings.ca_file)
        return self._context

    def _authorization(self) -> str:
        if self._login is None:
            self._login = _basic(self._settings.username, read_secret(self._settings.password_file))
        if self._refused is not None:
            login, until, error = self._refused
            if login == self._login and asyncio.get_running_loop().time() < until:
                self._login = None
                raise RouterError(str(error), error.kind)
        return self._login

    def _check(self, response: aiohttp.ClientResponse, command: Command, login: str) -> None:
        """Raises RouterError for a status by which the router refuses to answer at all."""
        settings, status = self._settings, response.status
        if status == HTTPStatus.UNAUTHORIZED:
            refusal = RouterError(
                f"{settings.place} refuses the login of user {settings.username!r}: check the user name (or API key) "
                f"and the password (or secret) in {settings.password_file}",
                ErrorKind.AUTHENTICATION,
            )
            self._login = None
            self._refused = (login, asyncio.get_running_loop().time() + REFUSED_SECONDS, refusal)
            raise refusal
        self._refused = None
        path = command.argv[1].partition("?")[0]
        if status == HTTPStatus.FORBIDDEN:
            raise RouterError(
                f"{settings.place} lets user {settings.username!r} log in, but not read {path}: give it the right to "
                "read this part of the API",
                ErrorKind.AUTHENTICATION,
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            to = phrase(response.headers.get("Location", ""), 100) or "an unnamed place"
            raise RouterError(
                f"{settings.place} answers {path} with a redirect to {to}, and none is followed: check that url is "
                "where the API itself stands",
                ErrorKind.REFUSED,
            )

    def _failed(self, error: aiohttp.ClientError | OSError | ValueError) -> RouterError:
        """What a failure of the library means. Its own text may name headers, so little of it is passed on."""
        settings = self._settings
        if self._closed:
            return _given_up(settings)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            self._context = None
            return _certificate_error(settings, error.certificate_error)
        if isinstance(error, aiohttp.ClientSSLError):
            return RouterError(
                f"cannot talk TLS with {settings.place} ({_tls_reason(error.os_error)}): check that its HTTPS service "
                "listens there, with TLS 1.2 or later",
                ErrorKind.UNREACHABLE,
            )
        if isinstance(error, aiohttp.ServerTimeoutError):
            return RouterError(
                f"cannot connect to {settings.place} within {settings.connect_timeout_seconds:g} s",
                ErrorKind.UNREACHABLE,
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = phrase(error.os_error.strerror or str(error.os_error)) or "no reason given"
            return RouterError(f"cannot connect to {settings.place}: {reason}", ErrorKind.UNREACHABLE)
        if isinstance(error, aiohttp.ClientPayloadError):
            return RouterError(f"{settings.place} cut its answer off in the middle", ErrorKind.CLOSED)
        if isinstance(error, aiohttp.ServerDisconnectedError | OSError | aiohttp.ClientConnectionError):
            return RouterError(f"{settings.place} closed the connection without a complete answer", ErrorKind.CLOSED)
        return RouterError(
            f"{settings.place} does not answer in HTTP that can be read: check that url is its API's", ErrorKind.REFUSED
        )


def _given_up(settings: HttpsSettings) -> RouterError:
    return RouterError(f"the connection to {settings.place} was given up here", ErrorKind.UNREACHABLE)


def _basic(username: str, password: str) -> str:
    """RFC 7617: the first colon ends the user name, so it has none."""
    if ":" in username:
        raise RouterError("a user name for basic authentication has no colon in it", ErrorKind.KEY_FILE)
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise RouterError(f"the ca_file {ca_file} holds no certificate that can be read", ErrorKind.KEY_FILE) from error
    except OSError as error:
        raise RouterError(f"cannot read the ca_file {ca_file}: {unreadable(error)}", ErrorKind.KEY_FILE) from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a router's own certificate may stand in ca_file
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on from Python 3.13; routers' own certificates often fail it
    return context


async def _body(response: aiohttp.ClientResponse, limit: OutputLimit) -> str:
    """The body, unpacked if it is packed although that was not asked for, and never more than the limit."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in _PACKED and encoding != "identity":
        raise RouterError("the router answers in an encoding that it was not asked for", ErrorKind.REFUSED)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in _PACKED else None
    body = bytearray()
    async for chunk in response.content.iter_chunked(READ_CHUNK):
        for part in _unpacked(chunk, unpacker):
            body += limit.take(part)
    if unpacker is not None and not unpacker.eof:
        raise aiohttp.ClientPayloadError
    return body.decode(errors="replace")


def _unpacked(chunk: bytes, unpacker: zlib._Decompress | None) -> Iterator[bytes]:
    """Pieces of at most READ_CHUNK bytes, however much a chunk would swell."""
    if unpacker is None:
        yield chunk
        return
    try:
        while part := unpacker.decompress(chunk, READ_CHUNK):
            yield part
            chunk = unpacker.unconsumed_tail
    except zlib.error as error:
        raise RouterError("the router's packed answer cannot be unpacked", ErrorKind.REFUSED) from error


def _reason(response: aiohttp.ClientResponse) -> str:
    return phrase(f"{response.status} {response.reason or ''}", 100)


def _tls_reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return phrase((reason or "no reason given").replace("_", " ").lower(), 100)


def _certificate_error(settings: HttpsSettings, error: Exception) -> RouterError:
    """What is wrong with a certificate, and how to mend it."""
    known = isinstance(error, ssl.SSLCertVerificationError)
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else -1
    detail = phrase(str(error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error))
    address = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
    show = f"openssl s_client -connect {address} </dev/null | openssl x509"
    if known and code in _UNTRUSTED:
        file = settings.ca_file or "ROUTER.pem"
        rest = "" if settings.ca_file else f", and name {file} as ca_file"
        advice = (
            f"get it with `{show} > {file}`, compare `openssl x509 -in {file} -noout -fingerprint -sha256` with what "
            f"the router itself shows{rest}"
        )
    elif known and code in _OTHER_NAME:
        advice = (
            f"write a name or address in url for which it is (`{show} -noout -ext subjectAltName`), or give the router "
            f"one with {settings.host} among its subject alternative names"
        )
    elif known and code in _TOO_EARLY_OR_LATE:
        advice = "give the router a new one, and check that its clock and this machine's are right"
    else:
        advice = f"look at it with `{show} -noout -text`"
    return RouterError(
        f"the certificate of {settings.place} is not accepted ({detail}): {advice}", ErrorKind.CERTIFICATE
    )
