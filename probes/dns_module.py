"""The `dns` section of a module: blackbox_exporter's schema, and what an answer's records must be.

`fail_if_all_match_regexp` does what it does in blackbox_exporter (0.17 to 0.27), not what its name says: the probe
fails unless every record matches every pattern. Modules in use rest on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import dns.exception
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

from probes.pattern import Pattern
from probes.tls_config import TlsConfig

_PINNED = (
    "source_ip_address is known to blackbox_exporter, but not supported: every probe here starts from the address "
    "of its flow; give probing.source_addresses"
)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _name(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the DNS name that is asked for")
    try:
        dns.name.from_text(value)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"{value!r} is no DNS name: {error}") from None
    return value


def _type(value: object) -> object:
    try:
        return int(dns.rdatatype.from_text(value)) if isinstance(value, str) else value
    except (dns.exception.DNSException, ValueError):
        raise ValueError(f"{value!r} is no type of record, like A, AAAA, MX, SOA, TXT or ANY") from None


def _class(value: object) -> object:
    try:
        return int(dns.rdataclass.from_text(value)) if isinstance(value, str) else value
    except (dns.exception.DNSException, ValueError):
        raise ValueError(f"{value!r} is no class of records: IN, CH, HS, NONE or ANY") from None


def _rcode(value: object) -> object:
    try:
        return int(dns.rcode.from_text(value)) if isinstance(value, str) else value
    except (dns.exception.DNSException, ValueError):
        raise ValueError(f"{value!r} is no response code, like NOERROR, NXDOMAIN, SERVFAIL or REFUSED") from None


def _rdatatype_text(value: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType(value))


def _rdataclass_text(value: int) -> str:
    return dns.rdataclass.to_text(dns.rdataclass.RdataClass(value))


def _rcode_text(value: int) -> str:
    return dns.rcode.to_text(dns.rcode.Rcode(value))


Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_tuple)]
_Type = Annotated[int, BeforeValidator(_type), PlainSerializer(_rdatatype_text)]
_Class = Annotated[int, BeforeValidator(_class), PlainSerializer(_rdataclass_text)]
_Rcode = Annotated[int, BeforeValidator(_rcode), PlainSerializer(_rcode_text)]


class RecordRules(BaseModel):
    """What the records of one section must be. A pattern is searched in the text of a record, whose fields (name,
    TTL, class, type, data) stand between tabs, as blackbox_exporter writes it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    fail_if_matches_regexp: Patterns = ()
    fail_if_all_match_regexp: Patterns = ()
    fail_if_not_matches_regexp: Patterns = ()
    fail_if_none_matches_regexp: Patterns = ()

    def broken_by(self, records: Sequence[str]) -> str:
        """Which rule the records break, and by which record; empty if none."""
        for rule in ("fail_if_not_matches_regexp", "fail_if_none_matches_regexp"):
            if not records and getattr(self, rule):
                return f"there is none, and {rule} asks for one"
        rules = (
            ("fail_if_matches_regexp", "matches", self.fail_if_matches_regexp, True),
            ("fail_if_not_matches_regexp", "does not match", self.fail_if_not_matches_regexp, False),
            ("fail_if_all_match_regexp", "does not match", self.fail_if_all_match_regexp, False),
        )
        for rule, how, patterns, matching in rules:
            for pattern in patterns:
                record = next((record for record in records if pattern.search(record) is matching), None)
                if record is not None:
                    return f"{rule} {pattern.pattern!r} {how}: {record.expandtabs(1)}"
        wanted = self.fail_if_none_matches_regexp
        if wanted and not any(pattern.search(record) for record in records for pattern in wanted):
            return f"fail_if_none_matches_regexp: none of {len(records)} matches"
        return ""


class DnsModule(BaseModel):
    """One query, and what its answer must be."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    preferred_ip_protocol: Literal["ip4", "ip6"] = "ip6"
    ip_protocol_fallback: bool = True
    transport_protocol: Literal["udp", "tcp"] = "udp"
    dns_over_tls: bool = False
    tls_config: TlsConfig | None = None
    query_name: Annotated[str, BeforeValidator(_name)]
    query_type: _Type = int(dns.rdatatype.ANY)
    query_class: _Class = int(dns.rdataclass.IN)
    recursion_desired: bool = True
    valid_rcodes: Annotated[tuple[_Rcode, ...], BeforeValidator(_tuple)] = (int(dns.rcode.NOERROR),)
    validate_answer_rrs: RecordRules = RecordRules()
    validate_authority_rrs: RecordRules = RecordRules()
    validate_additional_rrs: RecordRules = RecordRules()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if isinstance(values, dict) and "source_ip_address" in values:
            raise ValueError(_PINNED)
        return values

    @model_validator(mode="after")
    def _consistent(self) -> DnsModule:
        if self.dns_over_tls and self.transport_protocol != "tcp":
            raise ValueError("dns_over_tls needs transport_protocol: tcp")
        if self.tls_config is not None and not self.dns_over_tls:
            raise ValueError("tls_config is of no use without dns_over_tls: true")
        return self

    @property
    def transport(self) -> str:
        """The protocol of the flow, where the prober has several."""
        return self.transport_protocol
