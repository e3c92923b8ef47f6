"""What answers show besides success: certificates, status codes, connections, names, and whose server it is."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import to
from grafana.panels import Column, Look, Query, Steps, lines_panel, stat_panel, table_panel, timeline_panel
from grafana.promql import ON_PATH, RATE, count_or_zero, ever_troubled, named, select
from grafana.verdicts import BLUE, GREEN, GREY, ORANGE, RED, either

_EXPIRY: Final = "ecmp_path_tls_earliest_expiry_timestamp_seconds"
_DIFFERS: Final = "ecmp_path_backend_differs"
# Those of EcmpCertificateExpiring.
DAYS: Final[Steps] = ((None, RED), (3, ORANGE), (21, GREEN))
_CODES: Final[Steps] = ((None, GREY), (200, GREEN), (300, BLUE), (400, ORANGE), (500, RED))
_NO_TLS: Final = "no TLS"
_NO_NAME: Final = "an address, no name"
_TO_NODE: Final = to("ecmp-node", "This node", "node", "${__value.raw}")


def overview() -> list[Panel]:
    """For all targets at once: numbers, and the certificates that expire first."""
    return [
        stat_panel(
            Look(
                "Certificates: days left",
                "Days until the first certificate expires that any path showed; below zero it has expired.",
                "short",
                (4, 9),
                steps=DAYS,
                no_value=_NO_TLS,
                decimals=0,
            ),
            [Query(f"floor(min({_days_left()}))")],
        ),
        stat_panel(
            Look(
                "Names with a mismatch",
                "Targets whose name gives addresses outside expected_addresses, or not all of them, or on which "
                "resolvers disagree.",
                "short",
                (4, 9),
                steps=((None, GREEN), (1, ORANGE)),
                no_value="no names",
                decimals=0,
            ),
            [Query(count_or_zero("target", _mismatch(), select("ecmp_target_dns_success")))],
        ),
        stat_panel(
            Look(
                "Targets with unlike servers",
                "Targets of which a path shows another SSH banner, host key or certificate than most paths do, or of "
                "which no most paths agree.",
                "short",
                (4, 9),
                steps=((None, GREEN), (1, ORANGE)),
                no_value="nothing to compare",
                decimals=0,
            ),
            [Query(count_or_zero("target", f"{select(_DIFFERS)} == 1", select(_DIFFERS)))],
        ),
        _expire_first(),
    ]


def now(about: str) -> list[Panel]:
    """Two numbers of one target."""
    size = (4, 4)
    return [
        stat_panel(
            Look(
                "Certificate: days left",
                "Days until the first certificate expires that any path of the target showed; below zero it has "
                "expired.",
                "short",
                size,
                steps=DAYS,
                no_value=_NO_TLS,
                decimals=0,
            ),
            [Query(f"floor(min({_days_left(about)}))", "left")],
        ),
        stat_panel(
            Look(
                "Unlike servers",
                "Paths that show another SSH banner, host key or certificate than most; all of them if no most agree.",
                "short",
                size,
                steps=((None, GREEN), (1, ORANGE)),
                no_value="nothing to compare",
                decimals=0,
            ),
            [Query(f"max(sum by (instance) ({select(_DIFFERS, about)}))", "paths")],
        ),
    ]


def of_target(about: str) -> list[Panel]:
    """By path of one target."""
    return [
        _by_path(about),
        _status_codes(about),
        _differs(about),
        handshakes(about, "node", "vip"),
        retransmissions(about, "node", "vip"),
        _sessions(about),
        _ssh(about),
    ]


def of_name(about: str) -> list[Panel]:
    """Of the look-ups of a target that is given by name."""
    return [_resolvers(about), _lookup_seconds(about), _addresses(about)]


def handshakes(about: str, *labels: str) -> Panel:
    by = ", ".join(labels)
    look = Look(
        "Handshake round trip",
        "The kernel's round trip time of the TCP handshake in the last probe of each path; the 20 longest. It is of "
        "the network, not of the service.",
        "s",
        (12, 8),
        no_value="no TCP",
        minimum=0,
    )
    rtt = f"topk(20, max by ({by}) ({select('ecmp_path_tcp_handshake_rtt_seconds', about)}))"
    return lines_panel(look, [Query(rtt, _legend(labels))])


def retransmissions(about: str, *labels: str) -> Panel:
    by = ", ".join(labels)
    look = Look(
        "Retransmissions per probe",
        "TCP segments sent again per probe; the 20 highest. On one node only: look at its link. On all: at the way to "
        "the router.",
        "short",
        (12, 8),
        no_value="no TCP",
        minimum=0,
    )
    again = f"sum by ({by}) (rate({select('ecmp_path_tcp_retransmits_total', about)}{RATE}))"
    probes = f"sum by ({by}) (rate({select('ecmp_path_probes_total', about)}{RATE}))"
    return lines_panel(look, [Query(f"topk(20, {again} / ({probes} > 0))", _legend(labels))])


def _expire_first() -> Panel:
    look = Look(
        "Certificates that expire first",
        "By target and node; the 20 that expire first, by any exporter. A node that is alone with an early date still "
        "has an old certificate.",
        "short",
        (12, 9),
        no_value="No probe was shown a certificate.",
    )
    columns = [
        Column("target", "Target", links=[to("ecmp-target", "This target", "target", "${__value.raw}")]),
        Column("node", "Node", links=[_TO_NODE]),
        Column("vip", "VIP"),
        Column("Value #A", "Days left", "short", steps=DAYS, width=100),
        Column("Value #B", "Expires", "dateTimeFromNow"),
    ]
    by_next_hop = f"min by (target, node, next_hop, vip) ({select(_EXPIRY)})"
    earliest = f"bottomk(20, min by (target, node, vip) ({named(by_next_hop)}))"
    queries = [Query(f"floor(({earliest} - time()) / 86400)"), Query(f"{earliest} * 1000")]
    return table_panel(look, columns, queries, sort="Days left")


def _by_path(about: str) -> Panel:
    by = "by (instance, vip, router, node, next_hop)"
    look = Look(
        "What the last answers show",
        "By path: when the first of its certificates expires, the HTTP status, the handshake's round trip, segments "
        "sent again in the time shown, and whether its server is like those of the other paths.",
        "short",
        (24, 9),
    )
    columns = [
        Column("node", "Node", links=[_TO_NODE]),
        Column("vip", "VIP"),
        Column("router", "Router", links=[to("ecmp-router", "This router", "router", "${__value.raw}")]),
        Column("next_hop", "Next hop"),
        Column("Value #A", "Certificate: days left", "short", steps=DAYS),
        Column("Value #B", "HTTP status", "none", steps=_CODES),
        Column("Value #C", "Handshake", "s"),
        Column("Value #D", "Sent again", "short"),
        Column("Value #E", "Server", "none", mappings=either("like most", GREEN, "unlike", ORANGE)),
        Column("instance", "Exporter"),
    ]
    queries = [
        f"floor(min {by} ({_days_left(about)}))",
        f"max {by} ({select('ecmp_path_http_status_code', about)})",
        f"max {by} ({select('ecmp_path_tcp_handshake_rtt_seconds', about)})",
        f"sum {by} (increase({select('ecmp_path_tcp_retransmits_total', about)}[$__range]))",
        f"max {by} ({select(_DIFFERS, about)})",
    ]
    return table_panel(look, columns, [Query(expr) for expr in queries], sort="Node")


def _status_codes(about: str) -> Panel:
    look = Look(
        "HTTP status",
        "The highest status code that the last probes of each node's paths got; the 30 worst nodes of this time.",
        "none",
        (12, 8),
        steps=_CODES,
        no_value="no HTTP",
    )
    return timeline_panel(look, [_worst_by_node("ecmp_path_http_status_code", about)])


def _differs(about: str) -> Panel:
    look = Look(
        "Unlike servers over time",
        "Whether a path through the node shows another SSH banner, host key or certificate than most paths of the "
        "target; the 30 worst nodes of this time.",
        "none",
        (12, 8),
        mappings=either("like most", GREEN, "unlike", ORANGE),
        no_value="nothing to compare",
    )
    return timeline_panel(look, [_worst_by_node(_DIFFERS, about)])


def _sessions(about: str) -> Panel:
    look = Look(
        "TLS sessions",
        "What was agreed on by the last probe of each path, and the SHA-256 of the server's own certificate.",
        "short",
        (12, 9),
        no_value=_NO_TLS,
    )
    labels = "instance, node, vip, version, cipher, fingerprint_sha256"
    columns = [
        Column("node", "Node", links=[_TO_NODE]),
        Column("vip", "VIP"),
        Column("version", "Version", width=80),
        Column("cipher", "Cipher"),
        Column("Value", "Expires", "dateTimeFromNow"),
        Column("fingerprint_sha256", "Certificate"),
        Column("instance", "Exporter"),
    ]
    joined = f"{select('ecmp_path_tls_info', about)} * {ON_PATH} group_left () {select(_EXPIRY, about)}"
    return table_panel(look, columns, [Query(f"min by ({labels}) ({joined}) * 1000")], sort="Node")


def _ssh(about: str) -> Panel:
    look = Look(
        "SSH servers",
        "What the SSH server of each path said of itself to the last probe, and its host key where it is asked for.",
        "short",
        (12, 9),
        no_value="no SSH",
    )
    labels = "instance, node, vip, protocol, software, comment, host_key"
    columns = [
        Column("node", "Node", links=[_TO_NODE]),
        Column("vip", "VIP"),
        Column("protocol", "Protocol", width=80),
        Column("software", "Software"),
        Column("comment", "Comment"),
        Column("host_key", "Host key"),
        Column("instance", "Exporter"),
    ]
    return table_panel(
        look, columns, [Query(f"max by ({labels}) ({select('ecmp_path_ssh_info', about)})")], sort="Node"
    )


def _resolvers(about: str) -> Panel:
    look = Look(
        "Look-ups by resolver",
        "The last look-up of the target's name by each resolver and exporter. One that is silent is not compared.",
        "short",
        (8, 8),
        no_value=_NO_NAME,
    )
    columns = [
        Column("resolver", "Resolver"),
        Column("Value #A", "Last look-up", "none", mappings=either("failed", RED, "worked", GREEN)),
        Column("Value #B", "Took", "s"),
        Column("instance", "Exporter"),
    ]
    by = "by (instance, resolver)"
    queries = [
        Query(f"min {by} ({select('ecmp_target_dns_lookup_success', about)})"),
        Query(f"max {by} ({select('ecmp_target_dns_lookup_seconds', about)})"),
    ]
    return table_panel(look, columns, queries, sort="Last look-up")


def _lookup_seconds(about: str) -> Panel:
    look = Look(
        "Look-up time", "By resolver, of several exporters the longest.", "s", (8, 8), no_value=_NO_NAME, minimum=0
    )
    return lines_panel(
        look, [Query(f"max by (resolver) ({select('ecmp_target_dns_lookup_seconds', about)})", "{{resolver}}")]
    )


def _addresses(about: str) -> Panel:
    look = Look(
        "Addresses of the name",
        "Addresses that are probed; those that any resolver gives and expected_addresses does not; those of "
        "expected_addresses that the first resolver does not give; and 1 while resolvers disagree.",
        "short",
        (8, 8),
        no_value=_NO_NAME,
        minimum=0,
        decimals=0,
    )
    shown = {
        "ecmp_target_dns_answers": "probed",
        "ecmp_target_dns_unexpected_addresses": "unexpected",
        "ecmp_target_dns_missing_addresses": "missing",
        "ecmp_target_dns_resolvers_disagree": "resolvers disagree",
    }
    return lines_panel(look, [Query(f"max({select(metric, about)})", legend) for metric, legend in shown.items()])


def _worst_by_node(metric: str, about: str) -> Query:
    highest = f"max by (node) ({named(f'max by (node, next_hop) ({select(metric, about)})')})"
    return Query(f"{highest} and on (node) {ever_troubled('node', 30, about)}", "{{node}}")


def _days_left(*matchers: str) -> str:
    return f"({select(_EXPIRY, *matchers)} - time()) / 86400"


def _mismatch() -> str:
    wrong = ("unexpected_addresses", "missing_addresses", "resolvers_disagree")
    return " or ".join(f"{select(f'ecmp_target_dns_{one}')} > 0" for one in wrong)


def _legend(labels: tuple[str, ...]) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)
