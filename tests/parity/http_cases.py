"""HTTP: which server, which module, which target; {port} stands for the server's."""

from __future__ import annotations

from pathlib import Path

from tests.parity.cases import Case
from tests.parity.certificates import ca_file

_HTTPS = "https://127.0.0.1:{port}/"


def http_cases(directory: Path) -> list[Case]:
    trusting = {"tls_config": {"ca_file": str(ca_file(directory))}}
    lenient = {"tls_config": {"insecure_skip_verify": True}}
    basic = {"basic_auth": {"username": "monitor", "password": "sesame"}}
    return [
        Case("good", "good", True, {}),
        Case("bare host and port", "good", True, {}, "127.0.0.1:{port}"),
        Case("last modified", "dated", True, {}),
        Case("http 1.0", "http10", True, {}),
        Case("http 1.0 refused", "http10", False, {"valid_http_versions": ["HTTP/1.1", "HTTP/2.0"]}),
        Case("without a length", "without_length", True, {}),
        Case("chunked", "chunked", True, {}),
        Case("wrong status", "not_found", False, {}),
        Case("status that is wanted", "not_found", True, {"valid_status_codes": [404]}),
        Case("status that is not wanted", "good", False, {"valid_status_codes": [204]}),
        Case("server error", "broken", False, {}),
        Case("body matches", "good", False, {"fail_if_body_matches_regexp": ["w[o]rld"]}),
        Case("body does not match", "good", False, {"fail_if_body_not_matches_regexp": ["absent"]}),
        Case("body is right", "good", True, {"fail_if_body_not_matches_regexp": ["^hello"]}),
        Case(
            "header matches",
            "cookie",
            False,
            {"fail_if_header_matches": [{"header": "Set-Cookie", "allow_missing": True, "regexp": ".*"}]},
        ),
        Case(
            "header is missing",
            "good",
            False,
            {"fail_if_header_not_matches": [{"header": "Access-Control-Allow-Origin", "regexp": "example"}]},
        ),
        Case(
            "header is right",
            "cookie",
            True,
            {"fail_if_header_not_matches": [{"header": "Access-Control-Allow-Origin", "regexp": r"(\*|example\.com)"}]},
        ),
        Case("redirect followed", "moved_away", True, {}),
        Case("redirect not followed", "moved_away", False, {"follow_redirects": False}),
        Case(
            "redirect that is wanted",
            "moved_away",
            True,
            {"follow_redirects": False, "valid_status_codes": [302]},
        ),
        Case("permanent redirect", "permanently", True, {}),
        Case("redirect loop", "looping", False, {}),
        Case("silent", "silent", False, {}, timeout="1s"),
        Case("closing", "closing", False, {}),
        Case("resetting", "resetting", False, {}),
        Case("not http", "not_http", False, {}),
        Case("refused", "", False, {}),
        Case("truncated", "truncated", False, {}),
        Case("cut in a chunk", "chunk_cut", False, {}),
        Case("endless body", "endless", False, {}, timeout="1s"),
        Case("endless body, limited", "endless", False, {"body_size_limit": "1KB"}, timeout="1s"),
        Case("endless headers", "endless_head", False, {}, timeout="2s"),
        Case("gzip", "gzipped", True, {"compression": "gzip"}),
        Case(
            "gzip body matches",
            "gzipped",
            False,
            {"compression": "gzip", "fail_if_body_matches_regexp": ["hello"]},
        ),
        Case("gzip bomb", "bomb", False, {"compression": "gzip", "body_size_limit": "1MB"}),
        Case("no gzip", "no_gzip", False, {"compression": "gzip"}),
        Case("basic auth", "demanding", True, basic),
        Case("basic auth is missing", "demanding", False, {}),
        Case("bearer", "bearer", True, {"authorization": {"type": "Bearer", "credentials": "sesame"}}),
        Case("post", "posted", True, {"method": "POST", "body": '{"a": 1}'}),
        Case("post without its body", "posted", False, {"method": "POST"}),
        Case("virtual host", "virtual", True, {"headers": {"Host": "vhost.example"}}),
        Case("no virtual host", "virtual", False, {}),
        Case("tls", "tls", True, trusting, _HTTPS),
        Case(
            "tls by a name of its own",
            "tls",
            True,
            {"tls_config": {**trusting["tls_config"], "server_name": "localhost"}},
            _HTTPS,
        ),
        Case("tls of another name", "other_name", False, trusting, _HTTPS),
        Case("expired", "expired", False, trusting, _HTTPS),
        Case("expired, let through", "expired", True, lenient, _HTTPS),
        Case("self-signed", "self_signed", False, trusting, _HTTPS),
        Case("self-signed, let through", "self_signed", True, lenient, _HTTPS),
        Case("silent after tls", "tls_silent", False, trusting, _HTTPS, timeout="1s"),
        Case("tls that is forbidden", "tls", False, {"fail_if_ssl": True}, _HTTPS),
        Case("tls that is missing", "good", False, {"fail_if_not_ssl": True}),
        Case("tls to a plain port", "good", False, trusting, _HTTPS),
        Case("plain to a tls port", "tls", False, {}),
        Case("IPv6 only", "ip6", True, {}, "http://[::1]:{port}/"),
        Case("IPv6 preferred", "ip6", True, {"preferred_ip_protocol": "ip6"}, "http://[::1]:{port}/"),
        Case("IPv4 alone", "ip6", False, {"ip_protocol_fallback": False}, "http://[::1]:{port}/"),
        Case("a name that is none", "", False, {}, "http://no..name:{port}/"),
    ]
