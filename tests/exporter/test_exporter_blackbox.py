"""How targets are read, and how long a probe may take, as blackbox_exporter has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import text
from pydantic import BaseModel

from exporter.blackbox import Aim, TargetError, aim, in_order, renamed, seconds_for


class Settings(BaseModel):
    headers: dict[str, str] = {}
    preferred_ip_protocol: str = "ip6"
    ip_protocol_fallback: bool = True
    dns_over_tls: bool = False


PLAIN = Settings()


@pytest.mark.parametrize(
    ("prober", "target", "expected"),
    [
        ("http", "http://example.org", Aim("example.org", 80, "http")),
        ("http", "example.org", Aim("example.org", 80, "http")),
        ("http", "127.0.0.1:8080", Aim("127.0.0.1", 8080, "http")),
        ("http", "https://example.org/a?b=c", Aim("example.org", 443, "https", "/a?b=c")),
        ("http", "https://[2001:db8::1]:8443?x", Aim("2001:db8::1", 8443, "https", "/?x")),
        ("tcp", "example.org:25", Aim("example.org", 25)),
        ("tcp", "[2001:db8::1]:25", Aim("2001:db8::1", 25)),
        ("icmp", "example.org", Aim("example.org", 0)),
        ("icmp", "2001:db8::1", Aim("2001:db8::1", 0)),
        ("dns", "192.0.2.1", Aim("192.0.2.1", 53)),
        ("dns", "192.0.2.1:5353", Aim("192.0.2.1", 5353)),
        ("dns", "2001:db8::1", Aim("2001:db8::1", 53)),
        ("ssh", "example.org", Aim("example.org", 22)),
        ("grpc", "example.org", Aim("example.org", 443)),
        ("grpc", "grpc://example.org:50051", Aim("example.org", 50051)),
    ],
)
def test_targets(prober: str, target: str, expected: Aim) -> None:
    assert aim(target, prober, PLAIN) == expected


def test_dns_over_tls_has_its_own_port() -> None:
    assert aim("192.0.2.1", "dns", Settings(dns_over_tls=True)).port == 853


@pytest.mark.parametrize(
    ("prober", "target", "why"),
    [
        ("http", "http://user:secret@example.org", "basic_auth of the module is the place for it"),
        ("http", "http://example.org:99999", "no URL"),
        ("http", "http://[::1", "no URL"),
        ("http", "http://", "no host"),
        ("http", "http://example.org/\u00e4", "printable ASCII"),
        ("http", "http://example.org/a b", "printable ASCII"),
        ("tcp", "example.org", "HOST:PORT"),
        ("tcp", "example.org:port", "from 1 to 65535"),
        ("tcp", "example.org:0", "from 1 to 65535"),
        ("tcp", "[::1]25", r"\[ADDRESS\]:PORT"),
        ("tcp", ":25", "no host"),
        ("icmp", "a host", "no host"),
        ("icmp", "", "no host"),
        ("icmp", "a" * 3000, "longer than 2048"),
    ],
)
def test_what_is_no_target(prober: str, target: str, why: str) -> None:
    with pytest.raises(TargetError, match=why) as caught:
        aim(target, prober, PLAIN)
    assert "secret" not in str(caught.value)


@given(text())
def test_any_text_is_a_target_or_an_error(target: str) -> None:
    for prober in ("http", "tcp", "icmp", "dns", "grpc", "ssh"):
        try:
            found = aim(target, prober, PLAIN)
        except TargetError:
            continue
        assert found.host.isprintable()
        assert found.host.isascii()
        assert " " not in f"{found.host}{found.path}"
        assert 0 <= found.port <= 65535


@pytest.mark.parametrize(
    ("header", "own", "expected"),
    [
        (None, None, 3.0),
        ("", 5.0, 5.0),
        ("10", None, 9.5),
        ("10", 5.0, 5.0),
        ("4", 5.0, 3.5),
        ("0.4", None, 0.4),
        ("0", None, 119.5),
        ("1000", None, 120.0),
    ],
)
def test_time(header: str | None, own: float | None, expected: float) -> None:
    assert seconds_for(header, 0.5, own, 3.0) == expected


@pytest.mark.parametrize("header", ["x", "nan", "inf", "-1", "1s"])
def test_what_is_no_time(header: str) -> None:
    with pytest.raises(TargetError, match="a number of seconds"):
        seconds_for(header, 0.5, None, 3.0)


def test_the_preferred_address() -> None:
    both = {4: "192.0.2.1", 6: "2001:db8::1"}
    assert in_order(both, PLAIN) == "2001:db8::1"
    assert in_order(both, Settings(preferred_ip_protocol="ip4")) == "192.0.2.1"
    assert in_order({4: "192.0.2.1"}, PLAIN) == "192.0.2.1"
    assert in_order({4: "192.0.2.1"}, Settings(ip_protocol_fallback=False)) is None
    assert in_order({}, PLAIN) is None


def test_a_host_of_its_own() -> None:
    changed = renamed(Settings(headers={"X-A": "b"}), "vhost.example")
    assert isinstance(changed, Settings)
    assert changed.headers == {"X-A": "b", "Host": "vhost.example"}
    with pytest.raises(TargetError, match="another one"):
        renamed(Settings(headers={"host": "other.example"}), "vhost.example")
    with pytest.raises(TargetError, match="no host"):
        renamed(PLAIN, "a\r\nX-B: c")
