from __future__ import annotations

import pytest
from pydantic import ValidationError

from probes.pattern import expression
from probes.tcp_module import TcpModule


def refused(values: dict[str, object]) -> str:
    with pytest.raises(ValidationError) as caught:
        TcpModule.model_validate(values)
    return str(caught.value)


def test_every_key_of_the_schema_is_known() -> None:
    step = {"expect": "^a", "expect_bytes": "b", "labels": [{"name": "who", "value": "${1}"}], "send": "c"}
    module = TcpModule.model_validate(
        {
            "preferred_ip_protocol": "ip4",
            "ip_protocol_fallback": False,
            "source_ip_address": "2001:db8::1",
            "query_response": [step, {"starttls": True}],
            "tls": False,
            "tls_config": {"insecure_skip_verify": True},
        }
    )
    assert (module.preferred_ip_protocol, module.ip_protocol_fallback) == ("ip4", False)
    assert [one.starttls for one in module.query_response] == [False, True]


def test_what_nothing_is_said_of_is_as_in_blackbox_exporter() -> None:
    module = TcpModule()
    assert (module.preferred_ip_protocol, module.ip_protocol_fallback) == ("ip6", True)
    assert (module.tls, module.query_response, module.source_ip_address) == (False, (), None)


def test_errors() -> None:
    assert "tls_confg" in refused({"tls_confg": {}})
    assert "recieve" in refused({"query_response": [{"recieve": "x"}]})
    assert "must be an IP address" in refused({"source_ip_address": "localhost"})
    assert "no regular expression" in refused({"query_response": [{"expect": "("}]})
    assert "there is no expect" in refused({"query_response": [{"labels": [{"name": "a"}]}]})
    twice = [{"name": "a"}, {"name": "a"}]
    assert "used twice" in refused({"query_response": [{"expect": "x", "labels": twice}]})
    assert "is no name of a label: letters, digits and _" in refused(
        {"query_response": [{"expect": "x", "labels": [{"name": "a-b"}]}]}
    )
    assert "TLS begins twice" in refused({"tls": True, "query_response": [{"starttls": True}]})
    assert "TLS begins twice" in refused({"query_response": [{"starttls": True}, {"starttls": True}]})


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("PONG ${1}", "PONG token"),
        ("PONG $1", "PONG token"),
        ("$0", "PING :token"),
        ("${word}!", "token!"),
        ("$word!", "token!"),
        ("$words", ""),  # the longest name counts: there is no group of this one
        ("$1x", ""),
        ("${1}x", "tokenx"),
        ("$2|", "|"),  # took no part in the match
        ("$7|${99999999999999999999}", "|"),
        ("cost: $$1", "cost: $1"),
        ("100 $ or ${ or $-", "100 $ or ${ or $-"),
    ],
)
def test_templates_are_filled_as_go_does_it(template: str, filled: str) -> None:
    found = expression(r"PING :(?P<word>[^ ]+)( .*)?").find("> PING :token")
    assert found is not None
    assert found.expand(template) == filled


def test_nothing_found_is_nothing() -> None:
    assert expression("a(b)").find("ac") is None
