"""The `tcp` section of a module: blackbox_exporter's schema, all of it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probes.pattern import Pattern
from probes.tls_config import TlsConfig

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MAX_STEPS = 256


def as_tuple(value: object) -> object:
    """YAML has lists, a frozen module holds tuples."""
    return tuple(value) if isinstance(value, list) else value


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("must be an IP address") from None
    return value


SourceAddress = Annotated[str, BeforeValidator(_address)]
"""A pydantic field type: `source_ip_address`, for `Attempt.leave_from`."""


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError("is no name of a label: letters, digits and _, the first one no digit")
    return name


class Label(BaseModel):
    """`value` may name groups of `expect`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_label), Field(max_length=128)]
    value: str = ""


class Step(BaseModel):
    """In this order: wait for a line or for bytes, send a line (in which ${1} is what `expect` found), begin TLS."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    expect: Pattern | None = None
    expect_bytes: Annotated[str, Field(max_length=65_536)] = ""
    labels: Annotated[tuple[Label, ...], BeforeValidator(as_tuple)] = ()
    send: str = ""
    starttls: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        if self.labels and self.expect is None:
            raise ValueError("labels are filled from what expect finds; there is no expect")
        names = [label.name for label in self.labels]
        if len(names) != len(set(names)):
            raise ValueError("labels: a name is used twice")
        return self


class TcpModule(BaseModel):
    """A connection that is opened, and what is said over it, if anything."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    preferred_ip_protocol: Literal["ip4", "ip6"] = "ip6"
    ip_protocol_fallback: bool = True
    source_ip_address: SourceAddress | None = None
    query_response: Annotated[tuple[Step, ...], BeforeValidator(as_tuple), Field(max_length=MAX_STEPS)] = ()
    tls: bool = False
    tls_config: TlsConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TcpModule:
        started = [number for number, step in enumerate(self.query_response) if step.starttls]
        if len(started) > 1 or (started and self.tls):
            raise ValueError("TLS begins twice: once by tls or by one starttls is enough")
        return self
