"""The `http` section of a module: blackbox_exporter's names and defaults.

What blackbox_exporter knows and this program does not do is refused by name, never ignored. Two things differ
because a target here is an address and a port, not a URL: `path` says what to ask for, and `https` says
which scheme is spoken. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    model_validator,
)

from probes.pattern import Pattern
from probes.tls_config import TlsConfig, unsupported

JUDGED_BYTES = 1_048_576
MAX_BODY_BYTES = 16_777_216
HTTP_PORT, HTTPS_PORT = 80, 443

_SIZE = re.compile(r"(\d{1,12}) ?([KMG]?)i?B", re.IGNORECASE)
_FACTOR = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_PROXY = "a proxy would choose the path, and probes go over chosen ones; leave it out, and probe the target itself"
_NO_CEL = "there is no well-kept library for CEL; use fail_if_body_matches_regexp or fail_if_body_not_matches_regexp"
_UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "enable_http3": "probes are flows of TCP; leave it out, and HTTP/2 or HTTP/1.1 is spoken",
        "fail_if_body_json_matches_cel": _NO_CEL,
        "fail_if_body_json_not_matches_cel": _NO_CEL,
        "no_proxy": _NO_PROXY,
        "oauth2": "it talks to somebody else first; keep a token in a file, and name it in bearer_token_file",
        "proxy_connect_header": _NO_PROXY,
        "proxy_from_environment": _NO_PROXY,
        "proxy_url": _NO_PROXY,
        "skip_resolve_phase_with_proxy": _NO_PROXY,
        "use_proxy_dns": _NO_PROXY,
    }
)
# What the request itself says of its framing, and where it is said otherwise.
_FRAMING = frozenset({"content-length", "transfer-encoding", "trailer", "te", "http2-settings"})
_ELSEWHERE = frozenset({"authorization", "host", "user-agent", "connection", "keep-alive", "proxy-authorization"})


def _size(value: object) -> object:
    """Bytes from `10MB`: like blackbox_exporter's Base2Bytes, MB and MiB are both 1,048,576."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError("a size is bytes, or a number with B, KB, MB or GB")
    return int(match[1]) * _FACTOR[match[2].upper()]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_of(model: BaseModel, *names: str) -> None:
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} exclude each other")


def _text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("holds a control character, such as the end of a line")
    return value


def _printable(secret: SecretStr) -> SecretStr:
    _text(secret.get_secret_value())
    return secret


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is no name of a header: letters, digits and ! # $ % & ' * + - . ^ _ ` | ~, without spaces")
    return name


def _scheme(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("is no type of credentials: write one word, like Bearer; what follows it goes to credentials")
    return name


def _method(name: str) -> str:
    if not re.fullmatch(r"[A-Z]{1,16}", name):
        raise ValueError("is no method: write one word in capital letters, like GET, HEAD or POST")
    return name


def _path(path: str) -> str:
    if not re.fullmatch(r"/[!-~]*", path):
        raise ValueError("begins with / and holds no spaces and printable ASCII alone; write other characters as %XX")
    return path


def _version(version: str) -> str:
    if not re.fullmatch(r"HTTP/\d(\.\d)?", version):
        raise ValueError("is no version of HTTP: write it like HTTP/1.1 or HTTP/2.0")
    return version


Status = Annotated[int, Field(ge=100, le=999)]  # three digits are all that a status line can hold
Header = Annotated[str, AfterValidator(_header)]
HeaderValue = Annotated[str, AfterValidator(_text)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_tuple)]
HttpVersion = Annotated[str, AfterValidator(_version)]
_MASKED = PlainSerializer(lambda _: "<hidden>", return_type=str, when_used="json")
Secret = Annotated[SecretStr, AfterValidator(_printable), _MASKED]
File = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class HeaderMatch(_Section):
    """One expectation of a header field; a field that is missing fails it unless `allow_missing`."""

    header: Header
    regexp: Pattern
    allow_missing: bool = False


HeaderMatches = Annotated[tuple[HeaderMatch, ...], BeforeValidator(_tuple)]


class HttpHeader(_Section):
    """Values of one header field of the request: in the open, secret, or in files."""

    values: Annotated[tuple[HeaderValue, ...], BeforeValidator(_tuple)] = ()
    secrets: Annotated[tuple[Secret, ...], BeforeValidator(_tuple)] = ()
    files: Annotated[tuple[File, ...], BeforeValidator(_tuple)] = ()


class BasicAuth(_Section):
    """RFC 7617. A file is read anew for every probe."""

    username: HeaderValue | None = None
    username_file: File | None = None
    password: Secret | None = None
    password_file: File | None = None

    @model_validator(mode="after")
    def _consistent(self) -> BasicAuth:
        _one_of(self, "username", "username_file")
        _one_of(self, "password", "password_file")
        return self


class Authorization(_Section):
    """The Authorization field: a type and credentials. A file is read anew for every probe."""

    type: Annotated[str, AfterValidator(_scheme)] = "Bearer"
    credentials: Secret | None = None
    credentials_file: File | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Authorization:
        _one_of(self, "credentials", "credentials_file")
        if self.type.lower() == "basic":
            raise ValueError("type cannot be Basic; use basic_auth instead")
        return self


class HttpModule(_Section):
    """One request, and what its answer must be.

    A body longer than `body_size_limit` fails the probe, as in blackbox_exporter. Without it, patterns judge the
    first JUDGED_BYTES, and a body longer than MAX_BODY_BYTES fails.
    """

    _later: ClassVar[Mapping[str, str]] = _UNSUPPORTED

    valid_status_codes: Annotated[tuple[Status, ...], BeforeValidator(_tuple)] = ()
    valid_http_versions: Annotated[tuple[HttpVersion, ...], BeforeValidator(_tuple)] = ()
    method: Annotated[str, AfterValidator(_method)] = "GET"
    path: Annotated[str, AfterValidator(_path), Field(max_length=2048)] = "/"
    headers: dict[Header, HeaderValue] = {}
    http_headers: dict[Header, HttpHeader] = {}
    body: Annotated[str, Field(max_length=JUDGED_BYTES), _MASKED] | None = None  # a login, perhaps
    body_file: File | None = None
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    bearer_token: Secret | None = None
    bearer_token_file: File | None = None
    follow_redirects: bool = True
    no_follow_redirects: bool | None = None
    compression: Literal["", "identity", "gzip", "br", "deflate"] = ""
    body_size_limit: Annotated[int, BeforeValidator(_size), Field(ge=0, le=MAX_BODY_BYTES)] = 0
    fail_if_ssl: bool = False
    fail_if_not_ssl: bool = False
    fail_if_body_matches_regexp: Patterns = ()
    fail_if_body_not_matches_regexp: Patterns = ()
    fail_if_header_matches: HeaderMatches = ()
    fail_if_header_not_matches: HeaderMatches = ()
    tls_config: TlsConfig | None = None
    enable_http2: bool = True
    preferred_ip_protocol: Literal["ip4", "ip6"] = "ip6"
    ip_protocol_fallback: bool = True

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        # To switch off what there is not is to say how things are.
        wanted = [key for key in values if key in cls._later and values[key] is not False]
        if wanted:
            raise unsupported(
                {key: f"{key} is known to blackbox_exporter, but not supported: {cls._later[key]}" for key in wanted}
            )
        # A key without a value is a key that is not there, as for Go's programs.
        known = cls.model_fields.keys()
        return {
            key: value
            for key, value in values.items()
            if key not in cls._later and not (value is None and key in known)
        }

    @model_validator(mode="after")
    def _consistent(self) -> HttpModule:
        if self.fail_if_ssl and (self.fail_if_not_ssl or self.tls_config is not None):
            raise ValueError("fail_if_ssl contradicts fail_if_not_ssl and tls_config")
        _one_of(self, "body", "body_file")
        _one_of(self, "basic_auth", "authorization", "bearer_token", "bearer_token_file")
        for name, value in self.headers.items():
            _no_framing(name)
            if name.lower() == "accept-encoding" and not acceptable(self.compression, value):
                raise ValueError(f"{name}: {value} does not accept compression: {self.compression}")
        for name in self.http_headers:
            _no_framing(name)
            if name.lower() in _ELSEWHERE:
                raise ValueError(
                    f"http_headers cannot set {name}; write it in headers, or use basic_auth or authorization"
                )
            if name.lower() in {other.lower() for other in self.headers}:
                raise ValueError(f"{name} stands in headers and in http_headers")
        return self

    @property
    def follows(self) -> bool:
        """Whether redirects are followed; the older key wins, as in blackbox_exporter."""
        return self.follow_redirects if self.no_follow_redirects is None else not self.no_follow_redirects

    def https(self, port: int) -> bool:
        """TLS is spoken on port 443, and where the module demands it, or configures it for a port but 80; nowhere if it
        forbids it.
        """
        if self.fail_if_ssl:
            return False
        return port == HTTPS_PORT or self.fail_if_not_ssl or (self.tls_config is not None and port != HTTP_PORT)

    def accepts(self, status: int) -> bool:
        if self.valid_status_codes:
            return status in self.valid_status_codes
        return 200 <= status < 300  # noqa: PLR2004 - RFC 9110, section 15.3

    def accepts_version(self, version: float) -> bool:
        """`HTTP/2` and `HTTP/2.0` are one."""
        return not self.valid_http_versions or version in {float(text[5:]) for text in self.valid_http_versions}

    @property
    def body_bytes(self) -> int:
        """How much of a body is read, decompressed, at most."""
        return self.body_size_limit or MAX_BODY_BYTES

    @property
    def judged_bytes(self) -> int:
        """How much of a body patterns see."""
        return self.body_size_limit or JUDGED_BYTES

    @property
    def judges_body(self) -> bool:
        return bool(self.fail_if_body_matches_regexp or self.fail_if_body_not_matches_regexp)


def acceptable(compression: str, accept_encoding: str) -> bool:
    """Whether a server that honours `accept_encoding` may answer with `compression`; the best match decides."""
    if not compression or not accept_encoding:
        return True
    offers = sorted(map(_offer, accept_encoding.split(",")), key=lambda offer: -offer[1])
    return next((quality > 0 for coding, quality in offers if coding in (compression, "*")), False)


def _offer(text: str) -> tuple[str, float]:
    coding, _, parameter = text.partition(";")
    name, _, value = parameter.partition("=")
    if not parameter:
        return coding.strip(), 1.0
    try:
        return coding.strip(), float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return coding.strip(), 0.0


def _no_framing(name: str) -> None:
    if name.lower() in _FRAMING:
        raise ValueError(f"{name} is the request's own and cannot be set")
