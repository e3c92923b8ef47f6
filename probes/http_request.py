"""What one request of an http probe asks, and what the next one asks after a redirect."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import unquote_plus

from yarl import URL

from probes.failure import ProbeError
from probes.http_module import HttpModule
from probes.model import Failure, Request
from probes.text import excerpt

MAX_REDIRECTS = 10  # blackbox_exporter's
MOVED = frozenset({301, 302, 303, 307, 308})
HIDDEN = "<hidden>"

_REPEATED = frozenset({307, 308})  # with the same method and body: RFC 9110, sections 15.4.8 and 15.4.9
_FILE_BYTES = 1_048_576  # of a body, or of a secret
_URL_CHARACTERS = 4096
_COOKIES, _COOKIE_CHARACTERS = 16, 4096
# Sent also to a host that the operator did not name, and shown in transcripts.
_PLAIN = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language", "user-agent"})
_SHOWN = _PLAIN | {
    "cache-control",
    "connection",
    "content-type",
    "host",
    "if-modified-since",
    "origin",
    "range",
    "upgrade",
}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `names` are the host names of this origin, in lower case; `secrets` may stand in no transcript."""

    url: URL
    method: str
    headers: Headers
    body: bytes
    names: frozenset[str]
    server_name: str
    secrets: tuple[str, ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()
    own: bool = True  # still the host that the operator named

    @property
    def sent(self) -> Headers:
        """The header fields, cookies included."""
        if not self.cookies:
            return self.headers
        return (*self.headers, ("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies)))

    def described(self) -> list[str]:
        """For a transcript: the request line, whose query may be a secret, and the header fields."""
        shown = [f"{name}: {value if name.lower() in _SHOWN else HIDDEN}" for name, value in self.sent]
        query = f"?{HIDDEN}" if self.url.raw_query_string else ""
        return [f"{self.method} {self.url.raw_path}{query}", *shown]

    def masked(self, text: str) -> str:
        """`text` of the network without our own secrets, should a server repeat them."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def same_origin(self, other: URL) -> bool:
        return other.scheme == self.url.scheme and other.port == self.url.port and _name(other.host) in self.names

    def keep_cookies(self, fields: list[str]) -> Asked:
        """What Set-Cookie fields set, for the requests after a redirect: to the same origin alone."""
        kept = dict(self.cookies)
        for field in fields[:_COOKIES]:
            name, _, value = field.partition(";")[0].partition("=")
            if name.strip() and len(field) <= _COOKIE_CHARACTERS and len(kept) < _COOKIES:
                kept[name.strip()] = value.strip()
        return replace(self, cookies=tuple(kept.items()))


def first(request: Request, module: HttpModule) -> Asked:
    """What the module asks. Raises ProbeError (local) for files that cannot be read and a host that no URL holds."""
    secrets: list[str] = []
    headers = [*module.headers.items(), *_authorization(module, secrets), *_http_headers(module, secrets)]
    secrets += [value for name, value in module.headers.items() if name.lower() not in _SHOWN]
    path = request.path or module.path
    secrets += _of_query(path.partition("?")[2])
    names = {name.lower() for name, _ in headers}
    if module.compression and "accept-encoding" not in names:
        headers.append(("Accept-Encoding", module.compression))
    if module.follows and "connection" not in names:
        headers.append(("Connection", "keep-alive"))  # for what a redirect asks for
    port = request.flow.destination_port
    https = module.https(port) if request.scheme is None else request.scheme == "https"
    virtual = _hostname(next((value for name, value in module.headers.items() if name.lower() == "host"), ""))
    return Asked(
        url=_url(https, request.host, port, path),
        method=module.method,
        headers=tuple(headers),
        body=_body(module),
        names=frozenset({_name(request.host), _name(virtual), _name(request.flow.destination)} - {""}),
        server_name=(module.tls_config.server_name if module.tls_config else None) or virtual or request.host,
        secrets=tuple(sorted((text for text in secrets if len(text) > 3), key=len, reverse=True)),  # noqa: PLR2004
    )


def location(asked: Asked, text: str) -> URL:
    """Where a redirect leads. Raises ProbeError."""
    if len(text) > _URL_CHARACTERS:
        raise ProbeError(Failure.PROTOCOL, f"redirect to more than {_URL_CHARACTERS} characters")
    try:
        octets = text.encode("utf-8", "surrogateescape")
        url = asked.url.join(URL("".join(chr(octet) if octet < 0x80 else f"%{octet:02X}" for octet in octets)))  # noqa: PLR2004 - ASCII
        host = url.host or ""
        usable = url.scheme in ("http", "https") and bool(host) and "%" not in host and url.port is not None
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise ProbeError(Failure.PROTOCOL, f"redirect to what is no URL: {shown_location(asked, text)}")
    return url


def follow(asked: Asked, status: int, url: URL) -> Asked:
    """What the redirect asks for. To another host goes nothing that the operator meant for this one."""
    method, body, headers = asked.method, asked.body, asked.headers
    if status not in _REPEATED:
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
        headers = tuple(pair for pair in headers if pair[0].lower() != "content-type")
    if asked.same_origin(url):
        # The name stays ours: an address, or the name of a Host field, was another word for it.
        own = URL.build(
            scheme=url.scheme,
            authority=asked.url.raw_authority,
            path=url.raw_path,
            query_string=url.raw_query_string,
            encoded=True,
        )
        return replace(asked, url=own, method=method, body=body, headers=headers)
    name = _name(url.host)
    trusted = asked.own and name in asked.names and not (asked.url.scheme == "https" and url.scheme == "http")
    kept = tuple(
        pair
        for pair in headers
        if (trusted and pair[0].lower() != "host") or pair[0].lower() in {*_PLAIN, "connection"}
    )
    if not trusted and status in _REPEATED and body:
        raise ProbeError(Failure.EXPECTATION, f"status {status} would send the body to another host, {excerpt(name)}")
    return replace(
        asked,
        url=url,
        method=method,
        body=body,
        headers=kept,
        names=frozenset({name}),
        server_name=name,
        cookies=(),
        own=trusted,
    )


def shown_location(asked: Asked, text: str) -> str:
    """Printable, and without what may be secret: our own secrets, user information and the query."""
    bare, mark, _ = asked.masked(text[:_URL_CHARACTERS]).partition("?")
    scheme, slashes, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    if slashes:
        bare = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return excerpt(bare + (f"?{HIDDEN}" if mark else ""))


@lru_cache(maxsize=4096)
def _url(https: bool, host: str, port: int, path: str) -> URL:
    scheme = "https" if https else "http"
    path, _, query = path.partition("?")
    try:
        authority = URL.build(scheme=scheme, host=host, port=port).raw_authority
        return URL.build(scheme=scheme, authority=authority, path=path, query_string=query, encoded=True)
    except ValueError as error:
        raise ProbeError(Failure.LOCAL, f"host {excerpt(host)} cannot stand in a URL") from error


def _of_query(query: str) -> Iterator[str]:
    """What a server could repeat of it."""
    yield query
    for pair in query.split("&"):
        value = pair.partition("=")[2] or pair
        yield value
        yield unquote_plus(value)


def _name(host: str | None) -> str:
    return (host or "").lower().removesuffix(".")


def _hostname(authority: str) -> str:
    """Without the port; an IPv6 address stands in brackets there."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _authorization(module: HttpModule, secrets: list[str]) -> list[tuple[str, str]]:
    if module.basic_auth is not None:
        auth = module.basic_auth
        user = auth.username or (_secret_file(auth.username_file) if auth.username_file else "")
        password = auth.password.get_secret_value() if auth.password else ""
        password = _secret_file(auth.password_file) if auth.password_file else password
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        secrets += [password, pair]
        return [("Authorization", f"Basic {pair}")]
    kind, inline, file = "Bearer", module.bearer_token, module.bearer_token_file
    if module.authorization is not None:
        auth_ = module.authorization
        kind, inline, file = auth_.type, auth_.credentials, auth_.credentials_file
    if inline is None and file is None:
        return []
    token = _secret_file(file) if file else inline.get_secret_value() if inline else ""
    secrets.append(token)
    return [("Authorization", f"{kind} {token}")]


def _http_headers(module: HttpModule, secrets: list[str]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for name, given in module.http_headers.items():
        hidden = [secret.get_secret_value() for secret in given.secrets] + [_secret_file(path) for path in given.files]
        secrets += [*given.values, *hidden]
        headers += [(name, value) for value in (*given.values, *hidden)]
    return headers


def _body(module: HttpModule) -> bytes:
    if module.body_file is None:
        return (module.body or "").encode()
    return _read(module.body_file)


def _secret_file(path: str) -> str:
    """A file's text without white space around it, as Prometheus reads it."""
    try:
        text = _read(path).decode().strip()
    except UnicodeDecodeError:
        raise ProbeError(Failure.LOCAL, f"{path} is not UTF-8 text") from None
    if not text.isprintable():
        raise ProbeError(Failure.LOCAL, f"{path} holds more than one line, or control characters")
    return text


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - once for each probe
            data = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise ProbeError(Failure.LOCAL, f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_BYTES:
        raise ProbeError(Failure.LOCAL, f"{path} is longer than {_FILE_BYTES} bytes")
    return data
