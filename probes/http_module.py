"""The `http` section of a module: blackbox_exporter's names, as far as they are supported.

What blackbox_exporter knows and this program does not do is refused by name, never ignored. Two things differ
because a target here is an address and a port, not a URL: `path` says what to ask for, and `https` says
which scheme is spoken.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probes.pattern import Pattern

DEFAULT_BODY_BYTES = 1_048_576
MAX_BODY_BYTES = 16_777_216
HTTPS_PORT = 443

_SIZE = re.compile(r"(\d{1,12}) ?([KMG]?)i?B", re.IGNORECASE)
_FACTOR = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # noqa: S105 - RFC 9110, section 5.6.2, not a secret


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


def _refuse(values: object, later: frozenset[str]) -> object:
    if isinstance(values, dict):
        for key in values:
            if key in later:
                raise ValueError(f"{key} is known to blackbox_exporter, not supported yet")
    return values


Status = Annotated[int, Field(ge=100, le=599)]
Header = Annotated[str, Field(pattern=_TOKEN)]
HeaderValue = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_tuple)]


class TlsConfig(BaseModel):
    """`ca_file` replaces the system's authorities; `server_name` is verified and sent as SNI."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    _later: ClassVar[frozenset[str]] = frozenset(
        {
            "ca",
            "ca_ref",
            "cert",
            "cert_file",
            "cert_ref",
            "key",
            "key_file",
            "key_ref",
            "min_version",
            "max_version",
        }
    )

    insecure_skip_verify: bool = False
    ca_file: str | None = None
    server_name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return _refuse(values, cls._later)


class HttpModule(BaseModel):
    """One request, and what its answer must be. Redirects are answers: following one would leave the path.

    Without `body_size_limit` the first DEFAULT_BODY_BYTES of a body are read and judged; with it, a longer
    body fails the probe, as in blackbox_exporter.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    _later: ClassVar[frozenset[str]] = frozenset(
        {
            "authorization",
            "basic_auth",
            "bearer_token",
            "bearer_token_file",
            "body",
            "body_file",
            "compression",
            "enable_http2",
            "enable_http3",
            "fail_if_body_json_matches_cel",
            "fail_if_body_json_not_matches_cel",
            "fail_if_header_matches",
            "fail_if_header_not_matches",
            "http_headers",
            "ip_protocol_fallback",
            "no_follow_redirects",
            "no_proxy",
            "oauth2",
            "preferred_ip_protocol",
            "proxy_connect_header",
            "proxy_from_environment",
            "proxy_url",
            "skip_resolve_phase_with_proxy",
            "valid_http_versions",
        }
    )

    valid_status_codes: Annotated[tuple[Status, ...], BeforeValidator(_tuple)] = ()
    method: Annotated[str, Field(pattern=r"^[A-Z]{1,16}$")] = "GET"
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2048)] = "/"
    headers: dict[Header, HeaderValue] = {}
    fail_if_body_matches_regexp: Patterns = ()
    fail_if_body_not_matches_regexp: Patterns = ()
    body_size_limit: Annotated[int, BeforeValidator(_size), Field(ge=0, le=MAX_BODY_BYTES)] = 0
    fail_if_ssl: bool = False
    fail_if_not_ssl: bool = False
    follow_redirects: bool = False
    tls_config: TlsConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return _refuse(values, cls._later)

    @model_validator(mode="after")
    def _consistent(self) -> HttpModule:
        if self.follow_redirects:
            raise ValueError("follow_redirects: a redirect leads off the path that is probed, not supported")
        if self.fail_if_ssl and (self.fail_if_not_ssl or self.tls_config is not None):
            raise ValueError("fail_if_ssl contradicts fail_if_not_ssl and tls_config")
        return self

    def https(self, port: int) -> bool:
        """TLS is spoken on port 443 and where the module demands or configures it, unless it forbids it."""
        if self.fail_if_ssl:
            return False
        return port == HTTPS_PORT or self.fail_if_not_ssl or self.tls_config is not None

    def accepts(self, status: int) -> bool:
        if self.valid_status_codes:
            return status in self.valid_status_codes
        return 200 <= status < 300  # noqa: PLR2004 - RFC 9110, section 15.3

    @property
    def body_bytes(self) -> int:
        """How much of a body is read, at most."""
        return self.body_size_limit or DEFAULT_BODY_BYTES

    @property
    def judges_body(self) -> bool:
        return bool(self.fail_if_body_matches_regexp or self.fail_if_body_not_matches_regexp)
