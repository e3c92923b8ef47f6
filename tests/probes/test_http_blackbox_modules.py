"""Modules in the ways in which blackbox_exporter's documentation writes them, as files bring them."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from probes.http_module import MAX_BODY_BYTES, HttpModule, acceptable
from probes.table import Probers
from tests.probes.http_probe import Site, page, probe
from tests.probes.servers import serving

MODULES = """
defaults: {}
nothing:
strict_2xx:
  valid_http_versions: ["HTTP/1.1", "HTTP/2.0"]
  valid_status_codes: []  # 2xx
  method: GET
  headers:
    Host: vhost.example.com
    Accept-Language: en-US
    Origin: example.com
  follow_redirects: true
  fail_if_ssl: false
  fail_if_not_ssl: false
  fail_if_body_matches_regexp:
    - "Could not connect to database"
  fail_if_body_not_matches_regexp:
    - "Download the latest version here"
  fail_if_header_matches:
    - header: Set-Cookie
      allow_missing: true
      regexp: '.*'
  fail_if_header_not_matches:
    - header: Access-Control-Allow-Origin
      regexp: '(\\*|example\\.com)'
  tls_config:
    insecure_skip_verify: false
  preferred_ip_protocol: "ip4"
  ip_protocol_fallback: false
post:
  method: POST
  headers:
    Content-Type: application/json
  body: '{}'
post_file:
  method: POST
  body_file: "/files/body.txt"
basic_auth:
  method: POST
  headers:
    Host: "login.example.com"
  basic_auth:
    username: "username"
    password: "mysecret"
custom_ca:
  method: GET
  tls_config:
    ca_file: "/certs/my_cert.crt"
gzip:
  method: GET
  compression: gzip
gzip_with_accept_encoding:
  method: GET
  compression: gzip
  headers:
    Accept-Encoding: gzip
sized:
  body_size_limit: 10MB
  no_follow_redirects: true
mutual_tls:
  tls_config:
    ca_file: ca.pem
    cert_file: client.pem
    key_file: client.key
    server_name: www.example.org
    min_version: TLS12
    max_version: TLS13
token:
  bearer_token: abcdef
token_file:
  bearer_token_file: /etc/token
authorization:
  authorization:
    type: Bearer
    credentials: abcdef
authorization_file:
  authorization:
    credentials_file: /etc/token
more_headers:
  http_headers:
    X-Scope:
      values: [one, two]
      secrets: [three]
      files: [/etc/four]
http1:
  enable_http2: false
  enable_http3: false
  proxy_from_environment: false
"""
REFUSED = {
    "proxy_url": "http://127.0.0.1:3128",
    "no_proxy": "127.0.0.1",
    "proxy_from_environment": True,
    "proxy_connect_header": {"Proxy-Authorization": ["Bearer token"]},
    "skip_resolve_phase_with_proxy": True,
    "oauth2": {"client_id": "client_id", "client_secret": "abcdef", "token_url": "https://api.example.com/token"},
    "enable_http3": True,
    "fail_if_body_json_matches_cel": "body.foo == 'bar'",
    "fail_if_body_json_not_matches_cel": "body.foo == 'bar'",
}
LOADED = yaml.safe_load(MODULES)


@pytest.mark.parametrize("name", LOADED)
def test_loads_unchanged(name: str) -> None:
    HttpModule.model_validate(LOADED[name] or {})


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_supported_is_refused_by_name(key: str) -> None:
    with pytest.raises(
        ValidationError, match=f"{key} is known to blackbox_exporter, but not supported: .*; "
    ) as caught:
        HttpModule.model_validate({key: REFUSED[key]})
    assert "abcdef" not in str(caught.value)


def test_defaults_are_blackbox_exporters() -> None:
    module = HttpModule()
    assert module.follows
    assert module.enable_http2
    assert module.preferred_ip_protocol == "ip6"
    assert module.ip_protocol_fallback
    assert module.body_bytes == MAX_BODY_BYTES
    assert not HttpModule.model_validate(LOADED["sized"]).follows
    assert HttpModule.model_validate(dict.fromkeys(HttpModule.model_fields)) == module  # YAML's keys without a value


def test_tls_config_does_not_turn_port_80_into_https() -> None:
    module = HttpModule.model_validate(LOADED["strict_2xx"])
    assert not module.https(80)
    assert module.https(443)
    assert module.https(8443)
    assert HttpModule.model_validate({"fail_if_not_ssl": True}).https(80)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"body": "a", "body_file": "b"}, "body and body_file exclude each other"),
        ({"basic_auth": {}, "bearer_token": "b"}, "basic_auth and bearer_token exclude each other"),
        ({"bearer_token": "a", "bearer_token_file": "b"}, "bearer_token and bearer_token_file exclude each other"),
        ({"basic_auth": {"password": "a", "password_file": "b"}}, "password and password_file exclude each other"),
        ({"basic_auth": {"username": "a", "username_file": "b"}}, "username and username_file exclude each other"),
        ({"authorization": {"credentials": "a", "credentials_file": "b"}}, "credentials and credentials_file exclude"),
        ({"authorization": {"type": "basic"}}, "use basic_auth instead"),
        ({"authorization": {"type": "a b"}}, "is no type of credentials"),
        ({"bearer_token": "a\nb"}, "holds a control character"),
        ({"compression": "zstd"}, "Input should be '', 'identity', 'gzip', 'br' or 'deflate'"),
        ({"compression": "gzip", "headers": {"accept-encoding": "br, identity"}}, "does not accept compression: gzip"),
        ({"compression": "gzip", "headers": {"Accept-Encoding": "*;q=0.0"}}, "does not accept compression: gzip"),
        ({"headers": {"Content-Length": "3"}}, "Content-Length is the request's own"),
        ({"http_headers": {"Authorization": {"values": ["a"]}}}, "http_headers cannot set Authorization"),
        ({"http_headers": {"X-A": {"values": ["a"]}}, "headers": {"x-a": "b"}}, "in headers and in http_headers"),
        ({"http_headers": {"X-A": {"value": "a"}}}, "Extra inputs are not permitted"),
        ({"fail_if_header_matches": [{"header": "X-A"}]}, "Field required"),
        ({"fail_if_header_matches": [{"header": "X-A", "regexp": "("}]}, "is no regular expression"),
        ({"valid_http_versions": ["1.1"]}, "is no version of HTTP"),
        ({"preferred_ip_protocol": "ip5"}, "Input should be 'ip4' or 'ip6'"),
        ({"fail_if_ssl": True, "tls_config": {"ca_file": "x"}}, "fail_if_ssl contradicts"),
    ],
)
def test_contradictions(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HttpModule.model_validate(section)


@pytest.mark.parametrize(
    ("compression", "accept_encoding", "fine"),
    [
        ("", "gzip", True),
        ("gzip", "", True),
        ("gzip", "br, gzip", True),
        ("gzip", "br;q=1.0, gzip;q=0.9", True),
        ("br", "gzip, compress, br;q=0.0", False),
        ("br", "gzip, compress, *;q=0.1", True),
        ("br", "*;q=0.0, compress;q=0.5, br ; q=0.1, gzip;q=1.0", True),
        ("br", "gzip, br;q=nonsense", False),
        ("br", "gzip, br;level=1", False),
    ],
)
def test_accept_encoding(compression: str, accept_encoding: str, fine: bool) -> None:
    assert acceptable(compression, accept_encoding) is fine


async def test_the_strict_module_on_a_page_that_it_likes(probers: Probers) -> None:
    likes = page("Download the latest version here", "Access-Control-Allow-Origin: *")
    cookie = page("Download the latest version here", "Access-Control-Allow-Origin: *", "Set-Cookie: a=b")
    site = Site({"/": likes, "/cookie": cookie})
    async with serving(site.serve) as port:
        good = await probe(probers, port, scheme="http", module=LOADED["strict_2xx"])
        bad = await probe(probers, port, scheme="http", module=LOADED["strict_2xx"], path="/cookie")
    assert good.success, good.detail
    assert bad.detail == "header Set-Cookie matches .*"
    assert "Host: vhost.example.com" in site.asked[0]
