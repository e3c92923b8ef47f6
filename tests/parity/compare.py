"""What has to be the same on both sides, and what is different on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.parity.sides import Answer

# Gauges whose value is the same whoever measures: all others are durations.
SAME_VALUES = (
    "probe_success",
    "probe_http_status_code",
    "probe_http_version",
    "probe_http_content_length",
    "probe_http_uncompressed_body_length",
    "probe_http_redirects",
    "probe_http_ssl",
    "probe_http_last_modified_timestamp_seconds",
    "probe_failed_due_to_regex",
    "probe_ip_protocol",
    "probe_ip_addr_hash",
    "probe_ssl_earliest_cert_expiry",
    "probe_ssl_last_chain_expiry_timestamp_seconds",
    "probe_dns_answer_rrs",
    "probe_dns_authority_rrs",
    "probe_dns_additional_rrs",
    "probe_dns_query_succeeded",
    "probe_dns_serial",
    "probe_icmp_reply_hop_limit",
    "probe_grpc_status_code",
    "probe_grpc_ssl",
)
# Phases that are 0 for what was not got to, on both sides. The look-up of an address takes no time worth telling.
_RESOLVE = "resolve"


@dataclass(frozen=True)
class Difference:
    """One deliberate difference. `what` is a pattern for what `differences` gives, `cases` where it shows (empty:
    anywhere). `seldom`: it depends on chance if it shows.
    """

    what: str
    reason: str
    cases: tuple[str, ...] = ()
    seldom: bool = False


# The one table of them; docs/modules.md tells the same to users.
DELIBERATE = (
    Difference("+probe_failure_info", "blackbox_exporter has no failure reason"),
    Difference("+probe_failed_due_to_bytes", "of blackbox_exporter 0.26 and later"),
    Difference("+probe_tls_cipher_info", "of blackbox_exporter 0.24 and later"),
    Difference("+probe_ssl_last_chain_info{serialnumber}", "of blackbox_exporter 0.24 and later"),
    Difference(
        "probe_http_duration_seconds:connect took none -> took time",
        "a connection that was opened is told, also if TLS then failed over it",
        (
            "TLS to nginx that has none",
            "tls of another name",
            "expired",
            "self-signed",
            "tls to a plain port",
            "tls that is forbidden",
        ),
    ),
    Difference(
        "probe_http_duration_seconds:connect took none -> took time",
        "a reset right after the handshake finds blackbox_exporter with a connection or without",
        ("resetting",),
        seldom=True,
    ),
    *(
        Difference(
            what,
            "a module's compression goes into Accept-Encoding, where headers do not say it: a server may compress",
            ("gzip that is not asked for",),
        )
        for what in (
            "probe_success 0 -> 1",
            "probe_http_content_length 1300 -> -1",
            "probe_http_uncompressed_body_length 0 -> 1300",
        )
    ),
    Difference(
        "probe_http_uncompressed_body_length 0 -> *",
        "the body of a redirect that is not followed is read, as any other",
        ("nginx has moved it, and is not followed", "nginx in circles"),
    ),
    Difference(
        "probe_http_uncompressed_body_length *",
        "how much of a body without end arrives in time is chance",
        ("endless body",),
        seldom=True,
    ),
)


def differences(theirs: Answer, ours: Answer) -> Iterator[str]:
    """Each difference in one phrase: `+name` we alone have, `-name` they alone have, `name theirs -> ours`."""
    their_names, our_names = theirs.names(), ours.names()
    yield from (f"-{name}" for name in their_names.keys() - our_names.keys())
    yield from (f"+{name}" for name in our_names.keys() - their_names.keys())
    for name in sorted(their_names.keys() & our_names.keys()):
        yield from (f"-{name}{{{label}}}" for label in their_names[name] - our_names[name])
        yield from (f"+{name}{{{label}}}" for label in our_names[name] - their_names[name])
    for name in SAME_VALUES:
        before, after = theirs.value(name), ours.value(name)
        if before is not None and after is not None and before != after:
            yield f"{name} {before:g} -> {after:g}"
    yield from _phases(theirs.phases(), ours.phases())


def _phases(theirs: Mapping[tuple[str, str], float], ours: Mapping[tuple[str, str], float]) -> Iterator[str]:
    yield from (f"-{name}:{phase}" for name, phase in theirs.keys() - ours.keys())
    yield from (f"+{name}:{phase}" for name, phase in ours.keys() - theirs.keys())
    for name, phase in sorted(theirs.keys() & ours.keys()):
        before, after = theirs[name, phase] > 0, ours[name, phase] > 0
        if before != after and phase != _RESOLVE:
            yield f"{name}:{phase} {'took time' if before else 'took none'} -> {'took time' if after else 'took none'}"


def surprises(case: str, theirs: Answer, ours: Answer) -> list[str]:
    """The differences that no line of DELIBERATE tells, and the lines that name this case and tell none."""
    unexplained, used = [], set()
    for found in differences(theirs, ours):
        told = [one for one in DELIBERATE if fnmatchcase(found, one.what) and (not one.cases or case in one.cases)]
        used.update(told)
        if not told:
            unexplained.append(found)
    idle = [one for one in DELIBERATE if case in one.cases and not one.seldom and one not in used]
    return unexplained + [f"DELIBERATE tells of a difference that is none: {one.what}" for one in idle]
