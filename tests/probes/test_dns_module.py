from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from probes.dns_module import DnsModule


def problem(**settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        DnsModule.model_validate({"query_name": "example.org"} | settings)
    return str(caught.value)


def test_defaults_are_those_of_blackbox_exporter() -> None:
    module = DnsModule.model_validate({"query_name": "example.org"})
    assert (module.preferred_ip_protocol, module.ip_protocol_fallback) == ("ip6", True)
    assert (module.transport_protocol, module.dns_over_tls, module.recursion_desired) == ("udp", False, True)
    assert module.model_dump()["query_type"] == "ANY"
    assert module.model_dump()["query_class"] == "IN"
    assert module.model_dump()["valid_rcodes"] == ("NOERROR",)


def test_what_is_shown_can_be_loaded_again() -> None:
    module = DnsModule.model_validate(
        {
            "query_name": "example.org",
            "query_type": "SOA",
            "query_class": "CH",
            "valid_rcodes": ["NXDOMAIN", "REFUSED"],
            "validate_answer_rrs": {"fail_if_matches_regexp": ["x.*"]},
        }
    )
    assert DnsModule.model_validate(module.model_dump(mode="json")) == module


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"query_name": ""}, "must be the DNS name that is asked for"),
        ({"query_name": "a..b"}, "'a..b' is no DNS name"),
        ({"query_name": "x" * 70}, "is no DNS name"),
        ({"query_type": "AAAAA"}, "'AAAAA' is no type of record"),
        ({"query_class": "INN"}, "'INN' is no class of records"),
        ({"valid_rcodes": ["NOERR"]}, "'NOERR' is no response code"),
        ({"transport_protocol": "quic"}, "'udp' or 'tcp'"),
        ({"preferred_ip_protocol": "ip5"}, "'ip4' or 'ip6'"),
        ({"dns_over_tls": True}, "dns_over_tls needs transport_protocol: tcp"),
        ({"tls_config": {}}, "tls_config is of no use without dns_over_tls"),
        ({"source_ip_address": "192.0.2.1"}, "source_ip_address is known to blackbox_exporter, but not supported"),
        ({"validate_answer_rrs": {"fail_if_matches_regexp": ["("]}}, "is no regular expression"),
        ({"validate_answer_rrs": {"fail_if_matches": []}}, "fail_if_matches"),
        ({"query": "A"}, "query"),
    ],
)
def test_errors_say_what_is_wrong(settings: dict[str, Any], words: str) -> None:
    assert words in problem(**settings)


def test_a_module_as_blackbox_exporter_documents_them() -> None:
    """With every key of its schema but source_ip_address."""
    rules = {
        "fail_if_matches_regexp": [".*127.0.0.1"],
        "fail_if_all_match_regexp": [".*127.0.0.1"],
        "fail_if_not_matches_regexp": ["www.prometheus.io.\t300\tIN\tA\t127.0.0.1"],
        "fail_if_none_matches_regexp": ["127.0.0.1"],
    }
    DnsModule.model_validate(
        {
            "preferred_ip_protocol": "ip4",
            "ip_protocol_fallback": False,
            "transport_protocol": "tcp",
            "dns_over_tls": True,
            "tls_config": {"insecure_skip_verify": True},
            "query_name": "www.prometheus.io",
            "query_type": "A",
            "query_class": "IN",
            "recursion_desired": True,
            "valid_rcodes": ["NOERROR"],
            "validate_answer_rrs": rules,
            "validate_authority_rrs": rules,
            "validate_additional_rrs": rules,
        }
    )
