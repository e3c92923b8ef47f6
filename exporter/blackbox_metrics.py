"""What blackbox_exporter exposes of one probe, under its names, from what one of our probes saw. Pure.

The reference are blackbox_exporter 0.23 to 0.27. Its zeros are kept (no answer is status 0, an address that was not
found hash 0), and its absences too: what a metric needs and the probe did not get to leaves it out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from exporter.steering_metrics import Family
from probes.facts import NOTHING, Facts, TlsFacts
from probes.model import Failure

PATH_LABELS = ("router", "vip", "node", "next_hop")
SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
UNAVAILABLE = 14  # the status of a gRPC call that reached nobody

_NO_CHAIN = -62135596800.0  # the first second of year 1, Go's zero time: what blackbox_exporter tells without a chain
_FNV_START, _FNV_PRIME = 0x811C9DC5, 0x01000193


@dataclass(frozen=True, slots=True)
class Seen:
    """One probe, seen by whoever asked for it.

    `address` is what was probed, None where the name gave none. `path` are the values of PATH_LABELS, where paths are
    told apart.
    """

    prober: str
    address: str | None
    success: bool
    failure: Failure | None
    duration_seconds: float
    lookup_seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    facts: Facts = NOTHING
    path: tuple[str, ...] = ()


def families(found: Iterable[Seen]) -> tuple[Family, ...]:
    """The metrics of these probes, each with the labels of its path. All probes have a path, or none has."""
    sheet = _Sheet()
    for seen in found:
        _common(sheet, seen)
        _PROBERS.get(seen.prober, _of_nothing_more)(sheet, seen)
    return sheet.families()


class _Sheet:
    """Samples by metric, while they are gathered."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, list[tuple[dict[str, str], float]]]] = {}

    def put(self, seen: Seen, name: str, text: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        own = dict(zip(PATH_LABELS, seen.path, strict=True)) if seen.path else {}
        _, rows = self._rows.setdefault(name, (text, []))
        rows.append(({**(labels or {}), **own}, value))

    def families(self) -> tuple[Family, ...]:
        """A label that one probe lacks is empty for it: one metric has the same labels everywhere."""
        found = []
        for name, (text, rows) in self._rows.items():
            names = tuple(dict.fromkeys(label for labels, _ in rows for label in labels))
            values = {tuple(labels.get(label, "") for label in names): value for labels, value in rows}
            found.append(Family(name, text, names, values))
        return tuple(found)


def _common(sheet: _Sheet, seen: Seen) -> None:
    sheet.put(seen, "probe_success", "Displays whether or not the probe was a success.", seen.success)
    sheet.put(seen, "probe_duration_seconds", "How long the probe took to complete.", seen.duration_seconds)
    if seen.failure is not None:
        reason = {"reason": seen.failure.value}
        sheet.put(seen, "probe_failure_info", "Why the probe failed (not of blackbox_exporter).", 1, reason)
    text = "How long the name look-up took."
    sheet.put(seen, "probe_dns_lookup_time_seconds", text, seen.lookup_seconds)
    version, hashed = _of_address(seen.address)
    sheet.put(seen, "probe_ip_protocol", "Whether the probe went over IPv4 or IPv6.", version)
    sheet.put(seen, "probe_ip_addr_hash", "A hash of the address: it tells that the address changed.", hashed)


def _http(sheet: _Sheet, seen: Seen) -> None:
    told = seen.facts.http
    answered = told is not None
    by_pattern = told is not None and told.failed_by_pattern
    values: dict[str, tuple[str, float]] = {
        "probe_failed_due_to_regex": ("Whether a pattern decided that the probe failed.", by_pattern),
        "probe_http_status_code": ("The status code of the answer.", told.status_code if told else 0),
        "probe_http_version": ("The version of HTTP of the answer.", told.version if told else 0),
        "probe_http_content_length": ("The length that the answer told.", told.content_length if told else 0),
        "probe_http_uncompressed_body_length": (
            "The length of the body, uncompressed.",
            told.uncompressed_body_bytes if told else 0,
        ),
        "probe_http_redirects": ("The number of redirects.", told.redirects if told else 0),
        "probe_http_ssl": ("Whether the last request went over TLS.", answered and told is not None and told.tls),
    }
    for name, (text, value) in values.items():
        sheet.put(seen, name, text, value)
    if told is not None and told.last_modified is not None:
        text = "The Last-Modified header, in seconds since the epoch."
        sheet.put(seen, "probe_http_last_modified_timestamp_seconds", text, told.last_modified)
    later = ("connect", "tls", "processing", "transfer") if seen.address is not None else ()
    # A body that never ended took all the rest of the time.
    _phases(sheet, _filled(seen, "transfer") if answered else seen, "probe_http_duration_seconds", later)
    if answered and seen.facts.tls is not None:
        _tls(sheet, seen, seen.facts.tls)


def _tcp(sheet: _Sheet, seen: Seen) -> None:
    exchange = seen.facts.exchange
    by_pattern = exchange is not None and exchange.failed_by_pattern
    sheet.put(seen, "probe_failed_due_to_regex", "Whether a pattern decided that the probe failed.", by_pattern)
    by_bytes = exchange is not None and exchange.failed_by_bytes
    sheet.put(seen, "probe_failed_due_to_bytes", "Whether bytes decided that the probe failed.", by_bytes)
    if exchange is not None and exchange.labels:
        text = "What the patterns of the exchange gave."
        sheet.put(seen, "probe_expect_info", text, 1, exchange.labels)
    if seen.facts.tls is not None and "tls" in seen.phases:
        _tls(sheet, seen, seen.facts.tls)


def _icmp(sheet: _Sheet, seen: Seen) -> None:
    _phases(sheet, seen, "probe_icmp_duration_seconds", ("setup", "rtt"))
    told = seen.facts.icmp
    if told is not None and told.reply_hop_limit is not None:
        text = "The TTL or hop limit with which the reply arrived."
        sheet.put(seen, "probe_icmp_reply_hop_limit", text, told.reply_hop_limit)


def _dns(sheet: _Sheet, seen: Seen) -> None:
    told = seen.facts.dns
    answers, authority, additional = (
        (told.answer_records, told.authority_records, told.additional_records) if told is not None else (0, 0, 0)
    )
    sheet.put(seen, "probe_dns_answer_rrs", "Records in the answer section.", answers)
    sheet.put(seen, "probe_dns_authority_rrs", "Records in the authority section.", authority)
    sheet.put(seen, "probe_dns_additional_rrs", "Records in the additional section.", additional)
    sheet.put(seen, "probe_dns_query_succeeded", "Whether a message answered the query.", told is not None)
    if told is not None and told.serial is not None:
        sheet.put(seen, "probe_dns_serial", "The serial number of the zone.", told.serial)
    if seen.address is not None and seen.failure is not Failure.TLS:  # what was waited for in vain took time, too
        seen = _filled(seen, "request" if "connect" in seen.phases else "connect")
    _phases(sheet, seen, "probe_dns_duration_seconds", ("connect", "request"))


def _grpc(sheet: _Sheet, seen: Seen) -> None:
    told, tls = seen.facts.grpc, seen.facts.tls
    reached = seen.address is not None
    status = told.status_code if told is not None else UNAVAILABLE if reached else 0
    sheet.put(seen, "probe_grpc_status_code", "The status of the call; 0 is OK.", status)
    sheet.put(seen, "probe_grpc_ssl", "Whether the call went over TLS.", tls is not None and "tls" in seen.phases)
    if reached:
        serving = told.serving_status if told is not None else ""
        for status_name in SERVING:
            text = "What the service said of its health."
            labels = {"serving_status": status_name}
            sheet.put(seen, "probe_grpc_healthcheck_response", text, serving == status_name, labels)
    check = {"check": seen.duration_seconds - seen.lookup_seconds}
    _phases(sheet, replace(seen, phases=check), "probe_grpc_duration_seconds", check if reached else ())
    if tls is not None and "tls" in seen.phases:
        _tls(sheet, seen, tls, chain=False)
    else:
        sheet.put(seen, "probe_ssl_earliest_cert_expiry", _EARLIEST, 0)


def _ssh(sheet: _Sheet, seen: Seen) -> None:
    for phase in ("connect", "banner", "login", "processing", "transfer"):
        if phase in seen.phases:
            text = "Duration of the probe by phase."
            sheet.put(seen, "probe_ssh_duration_seconds", text, seen.phases[phase], {"phase": phase})
    told = seen.facts.ssh
    if told is not None:
        labels = {
            "protocol": told.protocol,
            "software": told.software,
            "comment": told.comment,
            "host_key": told.host_key or "",
        }
        sheet.put(seen, "probe_ssh_info", "What the server said of itself, and its host key.", 1, labels)


def _of_nothing_more(sheet: _Sheet, seen: Seen) -> None:
    """A prober that blackbox_exporter does not have, and that shows nothing of its own."""


_PROBERS = {"http": _http, "tcp": _tcp, "icmp": _icmp, "dns": _dns, "grpc": _grpc, "ssh": _ssh}

_EARLIEST = "When the first of the certificates that the server sent expires, in seconds since the epoch."


def _tls(sheet: _Sheet, seen: Seen, told: TlsFacts, *, chain: bool = True) -> None:
    sheet.put(seen, "probe_ssl_earliest_cert_expiry", _EARLIEST, told.earliest_expiry)
    text = "When the last of the verified chains expires, in seconds since the epoch."
    last = _NO_CHAIN if told.chain_expiry is None else told.chain_expiry
    if chain:
        sheet.put(seen, "probe_ssl_last_chain_expiry_timestamp_seconds", text, last)
    labels = {
        "fingerprint_sha256": told.fingerprint_sha256,
        "subject": told.subject,
        "issuer": told.issuer,
        "subjectalternative": told.subject_alternative,
        "serialnumber": told.serial_number,
    }
    sheet.put(seen, "probe_ssl_last_chain_info", "The server's own certificate.", 1, labels)
    sheet.put(seen, "probe_tls_version_info", "The version of TLS in use.", 1, {"version": told.version})
    sheet.put(seen, "probe_tls_cipher_info", "The cipher suite in use.", 1, {"cipher": told.cipher})


def _phases(sheet: _Sheet, seen: Seen, name: str, later: Iterable[str]) -> None:
    """`resolve` and the phases after it; 0 is what was not got to."""
    text = "Duration of the probe by phase."
    sheet.put(seen, name, text, seen.lookup_seconds, {"phase": "resolve"})
    for phase in later:
        sheet.put(seen, name, text, seen.phases.get(phase, 0.0), {"phase": phase})


def _filled(seen: Seen, phase: str) -> Seen:
    """With the rest of the time as a phase that was begun and did not end."""
    rest = seen.duration_seconds - seen.lookup_seconds - sum(seen.phases.values())
    return seen if phase in seen.phases else replace(seen, phases={**seen.phases, phase: max(0.0, rest)})


def _of_address(address: str | None) -> tuple[int, int]:
    """The version of an address and its FNV-1a hash (32 bits); 0 and 0 for none."""
    if address is None:
        return 0, 0
    found = ipaddress.ip_address(address.partition("%")[0])
    hashed = _FNV_START
    for byte in found.packed:
        hashed = (hashed ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return found.version, hashed
