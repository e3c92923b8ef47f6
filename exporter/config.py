"""The configuration file as values (DESIGN.md section 5). Strict: nothing unknown is passed over."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from exporter.durations import format_duration, parse_duration
from probes.pattern import expression
from probes.ssh_hostkey import ALGORITHMS

LOWEST_PORT = 1024
HIGHEST_PORT = 65535
_NAME = r"^[A-Za-z0-9_.:/-]{1,63}$"
_HOST = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\.?")

# Known to the contract, built by later issues: naming one is an error that says so, never ignored.
PLATFORMS_LATER = frozenset(
    {
        "edgeos",
        "vyos",
        "unifi",
        "opnsense",
        "routeros",
        "gobgp",
        "openbgpd",
        "eos",
        "nxos",
        "iosxe",
        "junos",
    }
)


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


Duration = Annotated[float, BeforeValidator(_duration), PlainSerializer(format_duration)]
Address = Annotated[str, BeforeValidator(_address)]
Host = Annotated[str, BeforeValidator(_host)]
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


class Exec(Section):
    prefix: tuple[str, ...] = Field(default=(), strict=False)


class Router(Section):
    name: Name
    platform: str
    poll_interval: Duration = 15.0
    ssh: Ssh | None = None
    exec: Exec | None = None

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if (self.ssh is None) == (self.exec is None):
            raise ValueError("give exactly one of ssh, exec")
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
    routers: tuple[Router, ...] = Field(strict=False)
    nodes: tuple[Node, ...] = Field(strict=False)
    targets: tuple[Target, ...] = Field(strict=False)
