"""The configuration file as values (DESIGN.md section 5). Strict: nothing unknown is passed over."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from exporter.durations import format_duration, parse_duration
from probes.pattern import expression
from probes.ssh_hostkey import ALGORITHMS
from probes.tls_config import TlsConfig

SYSTEM_RESOLVER = "system"  # the resolvers of resolv.conf
LOWEST_PORT = 1024
HIGHEST_PORT = 65535
TRANSPORTS = ("ssh", "exec", "https")
_DNS_PORTS = {"udp": 53, "tcp": 53, "tls": 853}
_NAME = r"^[A-Za-z0-9_.:/-]{1,63}$"
_HOST = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\.?")


def is_address(host: str) -> bool:
    """Whether a target's address is an IP address, so that there is nothing to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Section(BaseModel):
    """A mapping of the file: frozen, and an unknown key in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _duration(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, like 15s")  # noqa: TRY004  (pydantic wants ValueError)
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an IP address, quoted if need be")  # noqa: TRY004
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is no IP address") from None


def _host(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an IP address or a DNS name")  # noqa: TRY004
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not _HOST.fullmatch(value) or value.rstrip(".").rsplit(".", 1)[-1].isdigit():
        raise ValueError(f"{value!r} is neither an IP address nor a DNS name")
    return value


def _network(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an IP address or a prefix like 192.0.2.0/24")  # noqa: TRY004
    try:
        return str(ipaddress.ip_network(value)) if "/" in value else str(ipaddress.ip_address(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is neither an IP address nor a prefix: {error}") from None


def _ports(value: object) -> range:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a range of ports like 20000-28191")
    first, last = int(match[1]), int(match[2])
    if not LOWEST_PORT <= first <= last <= HIGHEST_PORT:
        raise ValueError(f"ports run from {LOWEST_PORT} to {HIGHEST_PORT}, the lower one first")
    return range(first, last + 1)


def _host_key(value: object) -> object:
    if value is not True and not (isinstance(value, str) and value and value in ALGORITHMS):
        known = ", ".join(name for name in ALGORITHMS if name)
        raise ValueError(f"write true, or the algorithm to ask for: {known}")
    return value


def _socket_address(text: str, port: int) -> tuple[str, int]:
    """Address and port of `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`. Raises ValueError."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+):(\d{1,5})", text)
    host, given = (text, None) if match is None else (match[1] or match[3], match[2] or match[4])
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address, with :port if need be, and no https URL") from None
    if given is not None and not 1 <= int(given) <= HIGHEST_PORT:
        raise ValueError(f"{text!r}: ports run from 1 to {HIGHEST_PORT}")
    return address, port if given is None else int(given)


def _check_url(text: str, example: str = "https://dns.example.org/dns-query") -> None:
    shown = "what stands here" if "@" in text else repr(text)  # a password is not repeated
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(
            f"{shown} must be a URL like {example}: an IPv6 address in brackets, a port from 1 to {HIGHEST_PORT}"
        ) from None
    if parts.username is not None:
        raise ValueError(f"the URL must be one like {example}, without a user")
    if parts.scheme != "https" or not parts.hostname or not text.isprintable():
        raise ValueError(f"{shown} must be a URL like {example}, without a user")
    if port == 0:
        raise ValueError(f"{shown}: ports run from 1 to {HIGHEST_PORT}")


def _api_url(text: str) -> str:
    _check_url(text, "https://10.0.0.1")
    if "?" in text or "#" in text:
        raise ValueError("must be a URL like https://10.0.0.1 or https://10.0.0.1:8443/api, without a query")
    if "%" in urlsplit(text).netloc:
        raise ValueError("must be a URL like https://10.0.0.1 or https://[2001:db8::1], without % in its host")
    if not text.isascii() or " " in text:
        raise ValueError("must have what is not ASCII, and blanks, encoded: https://10.0.0.1/a%20path")
    return text


def _user_name(text: str) -> str:
    if ":" in text:
        raise ValueError("a user name for basic authentication has no colon in it")
    return text


Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(format_duration)]
Address = Annotated[str, BeforeValidator(_address)]
Host = Annotated[str, BeforeValidator(_host)]
Network = Annotated[str, BeforeValidator(_network)]
PortRange = Annotated[range, BeforeValidator(_ports), PlainSerializer(lambda ports: f"{ports[0]}-{ports[-1]}")]
Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Name = Annotated[str, Field(pattern=_NAME)]


class Probing(Section):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    interval: Duration = 15.0
    timeout: Duration = 3.0
    steering: Literal["auto", "oracle", "trace", "identity", "sweep"] = "auto"
    direct_steering: bool = False
    source_addresses: tuple[Address, ...] = Field(default=(), strict=False)
    source_ports: PortRange = range(20000, 28192)


class Ssh(Section):
    host: Host
    port: Port = 22
    username: str = Field(min_length=1)
    client_keys: tuple[str, ...] = Field(default=(), strict=False)
    known_hosts: str = Field(default="~/.ssh/known_hosts", min_length=1)
    password_file: str | None = None


class Resolver(Section):
    """Someone to ask for the addresses of names: `address` is an IP address, with a port if need be, or the URL of a
    resolver over HTTPS.
    """

    name: Name
    address: str
    transport: Literal["udp", "tcp", "tls", "https"] | None = None
    tls_config: TlsConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == SYSTEM_RESOLVER:
            raise ValueError(f"the name {SYSTEM_RESOLVER} means the resolvers of this system (resolv.conf)")
        is_url = "://" in self.address
        if is_url != (self.protocol == "https"):
            raise ValueError("transport https needs the URL of a resolver as its address, and no other one does")
        if is_url:
            _check_url(self.address)
        else:
            _socket_address(self.address, 0)
        if self.tls_config is not None and self.protocol not in ("tls", "https"):
            raise ValueError(f"tls_config is of no use over {self.protocol}")
        return self

    @property
    def protocol(self) -> str:
        """The transport, where it is not told the usual one of such an address."""
        return self.transport or ("https" if "://" in self.address else "udp")

    @property
    def host(self) -> str:
        """The IP address to be asked, unless that is a URL's matter."""
        return _socket_address(self.address, 0)[0]

    @property
    def port(self) -> int:
        return _socket_address(self.address, _DNS_PORTS.get(self.protocol, 0))[1]


class Exec(Section):
    prefix: tuple[str, ...] = Field(default=(), strict=False)


class Https(Section):
    """A router's API. `url`: scheme, host and port, and the path below which the API stands, if there is one."""

    url: Annotated[str, AfterValidator(_api_url)]
    username: Annotated[str, Field(min_length=1), AfterValidator(_user_name)]
    password_file: str = Field(min_length=1)
    ca_file: str | None = Field(default=None, min_length=1)


class Router(Section):
    """`vrf`: where the VIPs are routed, if not in the default one. `default_routes`: one counts as a route to a VIP."""

    name: Name
    platform: str
    poll_interval: Duration = 15.0
    vrf: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    default_routes: bool = False
    ssh: Ssh | None = None
    exec: Exec | None = None
    https: Https | None = None

    @property
    def transport(self) -> str:
        """The transport that is given: "ssh", "exec" or "https"."""
        return next(name for name in TRANSPORTS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if sum(getattr(self, name) is not None for name in TRANSPORTS) != 1:
            raise ValueError(f"give exactly one of {', '.join(TRANSPORTS)}")
        return self


class Node(Section):
    name: Name
    address: Address | None = None
    addresses: tuple[Address, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.address is None) == (not self.addresses):
            raise ValueError("give either address or addresses")
        return self

    @property
    def all_addresses(self) -> tuple[str, ...]:
        """Every address of the node, the first one first."""
        return (self.address,) if self.address is not None else self.addresses


class IdentityRule(Section):
    """Where an answer names its node; `map` leads from the value found to a node's name."""

    header: str | None = Field(default=None, min_length=1)
    body: str | None = Field(default=None, min_length=1)
    banner: str | None = Field(default=None, min_length=1)
    host_key: Annotated[bool | str, BeforeValidator(_host_key)] | None = None
    map: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if len([rule for rule in (self.header, self.body, self.banner, self.host_key) if rule is not None]) != 1:
            raise ValueError("give exactly one of header, body, banner, host_key")
        if self.host_key is not None and not self.map:
            raise ValueError("host_key needs a map from each node's fingerprint to its name: {'SHA256:...': node}")
        for pattern in (self.body, self.banner):
            if pattern is not None and expression(pattern).groups != 1:
                raise ValueError(f"{pattern!r} must be a pattern with exactly one group")
        return self

    @property
    def kind(self) -> Literal["header", "body", "banner", "host_key"]:
        if self.host_key is not None:
            return "host_key"
        return "header" if self.header is not None else "body" if self.body is not None else "banner"

    @property
    def rule(self) -> str:
        """The header's name, the pattern whose one group is the value, or the host key's algorithm (empty: any)."""
        algorithm = self.host_key if isinstance(self.host_key, str) else ""
        return self.header or self.body or self.banner or algorithm


class Target(Section):
    name: Name
    address: Host
    port: Port
    module: str
    nodes: tuple[str, ...] | None = Field(default=None, strict=False)
    identity: IdentityRule | None = None
    resolvers: tuple[str, ...] = Field(default=(), strict=False)
    expected_addresses: tuple[Network, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, slots=True)
class Module:
    """How to probe: the prober's name, its own validated settings, a timeout in seconds, if it has one, and what its
    flows are made of: tcp, udp or icmp.
    """

    name: str
    prober: str
    settings: BaseModel
    timeout: float | None = None
    transport: str = "tcp"


class Config(Section):
    """The whole file. `modules` holds, by name, the validated settings of probes.table."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    probing: Probing = Probing()
    modules: dict[str, Module] = Field(default_factory=dict)
    resolvers: tuple[Resolver, ...] = Field(default=(), strict=False)
    routers: tuple[Router, ...] = Field(strict=False)
    nodes: tuple[Node, ...] = Field(strict=False)
    targets: tuple[Target, ...] = Field(strict=False)
