"""TCP: connections, exchanges, TLS from the start and in between."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.parity.cases import Case
from tests.parity.certificates import ca_file

_SSH: list[Mapping[str, Any]] = [{"expect": "^SSH-2.0-"}, {"send": "SSH-2.0-blackbox-ssh-check"}]


def _smtp(*after: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        {"expect": "^220 ([^ ]+) (.+)$"},
        {"send": "EHLO prober\r"},
        {"expect": "^250-STARTTLS"},
        {"send": "STARTTLS\r"},
        {"expect": "^220"},
        {"starttls": True},
        {"send": "EHLO prober\r"},
        *after,
    ]


def tcp_cases(directory: Path) -> list[Case]:
    trusting = {"tls_config": {"ca_file": str(ca_file(directory))}}
    lenient = {"tls_config": {"insecure_skip_verify": True}}
    case = partial(Case, prober="tcp", target="127.0.0.1:{port}")
    mail = _smtp({"expect": "^250-AUTH"}, {"send": "QUIT\r"})
    return [
        case("tcp", "silent", True, {}),
        case("tcp refused", "", False, {}),
        case("tcp to no name", "", False, {}, target="no..name:{port}"),
        case("tcp closing", "closing", True, {}),
        case("ssh", "sshd", True, {"query_response": _SSH}),
        case("no ssh", "not_ssh", False, {"query_response": _SSH}, timeout="1s"),
        case("ssh that closes", "closing", False, {"query_response": _SSH}),
        case("ssh that is silent", "silent", False, {"query_response": _SSH}, timeout="1s"),
        case("irc", "irc", True, {"query_response": [{"expect": "PING :([^ ]+)", "send": "PONG ${1}"}]}),
        case("smtp", "smtp", True, {"query_response": mail, **trusting}),
        case("smtp, let through", "smtp_expired", True, {"query_response": mail, **lenient}),
        case("smtp, expired", "smtp_expired", False, {"query_response": mail, **trusting}),
        case("smtp without TLS", "smtp_plain", False, {"query_response": mail, **trusting}, timeout="1s"),
        case(
            "smtp that does not say it",
            "smtp",
            False,
            {"query_response": _smtp({"expect": "^250-ABSENT"}), **trusting},
            timeout="1s",
        ),
        case("tls, at once", "tls", True, {"tls": True, **trusting}),
        case("tls, expired", "tls_expired", False, {"tls": True, **trusting}),
        case("tls, expired, let through", "tls_expired", True, {"tls": True, **lenient}),
        case("tls, self-signed", "tls_self_signed", False, {"tls": True, **trusting}),
        case("tls, self-signed, let through", "tls_self_signed", True, {"tls": True, **lenient}),
        case("tls to a silent port", "silent", False, {"tls": True, **trusting}, timeout="1s"),
        case("tls to ssh", "sshd", False, {"tls": True, **trusting}),
    ]
