"""DNS, ICMP and gRPC."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.parity.cases import Case
from tests.parity.certificates import ca_file


def packet_cases(directory: Path) -> list[Case]:
    return [*_dns(directory), *_icmp(), *_grpc(directory)]


def _dns(directory: Path) -> list[Case]:
    trusting = {"tls_config": {"ca_file": str(ca_file(directory)), "server_name": "127.0.0.1"}}
    a = {"query_name": "www.test", "query_type": "A"}
    case = partial(Case, prober="dns", target="127.0.0.1:{port}", timeout="2s")
    records = "www.test.\t300\tIN\tA\t192.0.2.1"
    return [
        case("dns", "dns", True, a),
        case("dns, any type", "dns", False, {"query_name": "www.test"}),
        case("dns, AAAA", "dns", True, {"query_name": "www.test", "query_type": "AAAA"}),
        case("dns, soa", "dns", True, {"query_name": "test", "query_type": "SOA"}),
        case("dns by tcp", "dns", True, {**a, "transport_protocol": "tcp"}),
        case("dns by tls", "dns_tls", True, {**a, "transport_protocol": "tcp", "dns_over_tls": True, **trusting}),
        case(
            "dns by tls, expired",
            "dns_tls_expired",
            False,
            {**a, "transport_protocol": "tcp", "dns_over_tls": True, **trusting},
        ),
        case("nxdomain", "dns", False, {"query_name": "absent.test", "query_type": "A"}),
        case(
            "nxdomain that is wanted",
            "dns",
            True,
            {"query_name": "absent.test", "query_type": "A", "valid_rcodes": ["NXDOMAIN"]},
        ),
        case("servfail", "dns_failing", False, a),
        case("dns refusing", "dns_refusing", False, a),
        case(
            "dns answer matches",
            "dns",
            False,
            {**a, "validate_answer_rrs": {"fail_if_matches_regexp": [".*192.0.2.2"]}},
        ),
        # Whatever its name says: blackbox_exporter fails unless all match.
        case("dns answers all match", "dns", True, {**a, "validate_answer_rrs": {"fail_if_all_match_regexp": ["192"]}}),
        case("not all match", "dns", False, {**a, "validate_answer_rrs": {"fail_if_all_match_regexp": [records]}}),
        case(
            "dns answer is wrong", "dns", False, {**a, "validate_answer_rrs": {"fail_if_not_matches_regexp": [records]}}
        ),
        case(
            "dns answer is right",
            "dns",
            True,
            {**a, "validate_answer_rrs": {"fail_if_none_matches_regexp": [records]}},
        ),
        case(
            "dns authority is wrong",
            "dns",
            False,
            {**a, "validate_authority_rrs": {"fail_if_matches_regexp": [r"ns\.test"]}},
        ),
        case(
            "dns additional is right",
            "dns",
            True,
            {**a, "validate_additional_rrs": {"fail_if_not_matches_regexp": [r"192\.0\.2\.53"]}},
        ),
        case("dns port is closed", "", False, a),
        case("dns by tcp, port is closed", "", False, {**a, "transport_protocol": "tcp"}),
        case("dns by tcp is silent", "silent", False, {**a, "transport_protocol": "tcp"}, timeout="1s"),
        case("dns server of no name", "", False, a, target="no..name"),
    ]


def _icmp() -> list[Case]:
    case = partial(Case, server="", prober="icmp")
    return [
        case("icmp", success=True, settings={}, target="127.0.0.1"),
        case("icmp for IPv6", success=True, settings={"preferred_ip_protocol": "ip6"}, target="::1"),
        case(
            "icmp with a payload",
            success=True,
            settings={"payload_size": 500, "dont_fragment": True},
            target="127.0.0.1",
        ),
        case("icmp with a short life", success=True, settings={"ttl": 1}, target="127.0.0.1"),
        case("icmp to no name", success=False, settings={}, target="no..name"),
    ]


def _grpc(directory: Path) -> list[Case]:
    trusting = {"tls": True, "tls_config": {"ca_file": str(ca_file(directory))}}
    case = partial(Case, prober="grpc", target="127.0.0.1:{port}")
    return [
        case("grpc", "serving", True, {}),
        case("grpc of one service", "serving", True, {"service": "my.service"}),
        case("grpc does not serve", "not_serving", False, {}),
        case("grpc knows no service", "no_service", False, {}),
        case("grpc knows no health", "no_health", False, {}),
        case("grpc refused", "", False, {}),
        case("grpc is silent", "silent", False, {}, timeout="1s"),
        # A server that takes the call and never answers is not compared: blackbox_exporter 0.23 waits for ever.
        case("grpc over tls", "serving_tls", True, trusting),
        case("grpc over tls, expired", "serving_tls_expired", False, trusting),
        case("grpc to no name", "", False, {}, target="no..name:{port}"),
    ]
