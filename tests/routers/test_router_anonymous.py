"""Captures made anonymous: the same story with other addresses, whatever the platform."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.anonymous import BITS, Addresses, branches
from routers.anonymous_text import Anonymiser, anonymised, anonymiser
from routers.captures import Capture, Manifest
from routers.model import IPV4, IPV6, Answer, Query
from routers.platforms import PLATFORMS
from routers.secrets_removed import without_secrets
from tests.routers.captured import QUERY, TAKEN_AT, VIP, capture, scenarios

KEY = bytes(range(32))
NODES = {"leviathan1": ("10.0.0.11", "2001:db8::11"), "leviathan3": ("10.0.0.13",)}
FIXTURES = [(platform, one) for platform in sorted(PLATFORMS) for one in scenarios(platform)]
KEYS = st.binary(min_size=16, max_size=32)


def numbers(family: int) -> st.SearchStrategy[int]:
    """Any address, more often than not near others."""
    near = {IPV4: ("10.0.0.0", "203.0.113.0", "127.0.0.0"), IPV6: ("2001:db8::", "fe80::", "fd00::", "ff02::")}
    bases = st.sampled_from([int(ipaddress.ip_address(one)) for one in near[family]])
    return st.integers(0, 2 ** BITS[family] - 1) | st.builds(int.__add__, bases, st.integers(0, 300))


SETS = st.sampled_from((IPV4, IPV6)).flatmap(
    lambda family: st.tuples(st.just(family), st.lists(numbers(family), min_size=2, max_size=12, unique=True))
)


def mapping(key: bytes, family: int, inside: list[int]) -> Addresses:
    return Addresses(key, MappingProxyType({family: branches(family, inside)}))


@given(KEYS, SETS, st.data())
def test_prefixes_are_kept(key: bytes, chosen: tuple[int, list[int]], data: st.DataObject) -> None:
    """Of any two addresses, whether they stand in the capture or not."""
    family, inside = chosen
    one, other = data.draw(numbers(family)), data.draw(numbers(family))
    of = mapping(key, family, inside).of
    assert (of(family, one) ^ of(family, other)).bit_length() == (one ^ other).bit_length()


@given(KEYS, SETS)
def test_the_order_of_those_in_the_capture_is_kept(key: bytes, chosen: tuple[int, list[int]]) -> None:
    family, inside = chosen
    of = mapping(key, family, inside).of
    assert [of(family, one) for one in sorted(inside)] == sorted(of(family, one) for one in inside)


@given(KEYS, numbers(IPV4))
def test_kinds_of_ipv4_addresses_are_kept(key: bytes, number: int) -> None:
    one = ipaddress.IPv4Address(number)
    other = ipaddress.IPv4Address(Addresses(key).of(IPV4, number))
    kinds = ("is_loopback", "is_multicast", "is_link_local", "is_unspecified", "is_reserved")
    assert [getattr(one, kind) for kind in kinds] == [getattr(other, kind) for kind in kinds]
    for network in map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")):
        assert (one in network) == (other in network)


@given(KEYS, numbers(IPV6))
def test_ipv6_addresses_are_as_long_as_before(key: bytes, number: int) -> None:
    one = ipaddress.IPv6Address(number)
    other = ipaddress.IPv6Address(Addresses(key).of(IPV6, number))
    assert len(str(one)) == len(str(other))
    kinds = ("is_loopback", "is_multicast", "is_link_local", "is_unspecified")
    assert [getattr(one, kind) for kind in kinds] == [getattr(other, kind) for kind in kinds]


def told(text: str, names: tuple[str, ...] = ()) -> tuple[str, Anonymiser]:
    manifest = Manifest("frr", "edge", "", TAKEN_AT, QUERY, dict.fromkeys(names, ("10.0.0.11",)))
    whole = Capture(manifest, {"a": Answer(text)})
    return anonymised(whole, KEY).answers["a"].stdout, anonymiser(whole, KEY)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("via 203.0.113.10, eth0", ("via ", "203.0.113.10", ", eth0")),
        ('"prefix":"203.0.113.10\\/32"', ('"prefix":"', "203.0.113.10", '\\/32"')),
        ("peer 10.0.0.13+179", ("peer ", "10.0.0.13", "+179")),
        ("10.0.0.13:100 is an RD", ("", "10.0.0.13", ":100 is an RD")),
        ("neighbor 2001:db8::13: down", ("neighbor ", "2001:db8::13", ": down")),
        ("fe80::aa:1%br0", ("", "fe80::aa:1", "%br0")),
        ("from ::ffff:203.0.113.10.", ("from ::ffff:", "203.0.113.10", ".")),
        ("peer_10.0.0.13 up", ("peer_", "10.0.0.13", " up")),
    ],
)
def test_addresses_in_texts(text: str, parts: tuple[str, str, str]) -> None:
    before, address, after = parts
    found, replacer = told(text)
    assert found == before + replacer.address(address) + after
    assert address not in found


def test_an_address_in_a_url() -> None:
    found, replacer = told("/rest/ipv6/route?dst-address=2001%3Adb8%3Af%3A%3A10%2F128&x=203.0.113.10%2F32")
    other = replacer.address("2001:db8:f::10").replace(":", "%3A")
    assert found == f"/rest/ipv6/route?dst-address={other}%2F128&x={replacer.address(VIP)}%2F32"


@pytest.mark.parametrize("length", [8, 20, 24, 31, 32])
def test_a_network_stays_one_and_covers_what_it_covered(length: int) -> None:
    network = ipaddress.ip_network(f"203.0.113.10/{length}", strict=False)
    found, replacer = told(f"{network} via 10.0.0.13")
    other = ipaddress.ip_network(found.split()[0])
    assert other.prefixlen == length
    assert ipaddress.ip_address(replacer.address(VIP)) in other


@pytest.mark.parametrize(
    "text",
    [
        "255.255.255.0 0.0.0.255 0.0.0.0/0 ::/0 :: ::1 127.0.0.1 224.0.0.5 ff02::5",
        "00:02:28 64512:1 1:2:3 8.4.4 21.4R3.15 2.0.12 64512.1 03w0d00h",
        "ff:ff:ff:ff:ff:ff 00:00:00:00:00:00 01:00:5e:00:00:05",
        "299.0.0.1 1.2.3.4.5 BGP.next_hop: std::vector",
    ],
)
def test_what_names_nobody_stays(text: str) -> None:
    assert told(text)[0] == text


@pytest.mark.parametrize("mac", ["de:ad:be:ef:00:13", "DE-AD-BE-EF-00-13", "dead.beef.0013"])
def test_hardware_addresses_are_the_same_in_every_spelling(mac: str) -> None:
    found, _ = told(f"{mac} de:ad:be:ef:00:13")
    one, other = found.split()
    assert one.replace("-", "").replace(":", "").replace(".", "").lower() == other.replace(":", "")
    assert other != "de:ad:be:ef:00:13"
    assert len(one) == len(mac)


def test_columns_stay_where_there_is_room() -> None:
    found, replacer = told("10.0.0.13        4      64512\n2001:db8::13     4      64512\n", ())
    lines = found.splitlines()
    assert lines[0].index("4      64512") == lines[1].index("4      64512") == 17
    assert lines[0].startswith(replacer.address("10.0.0.13"))


def test_names() -> None:
    text = r"""edge-gw# show version
FRRouting 8.4.4 (edge-gw) on Linux
{"hostname":"leviathan3","advHostName":"edge-gw2","ifalias":"Bob","description":"rack 7","desc": "to \"bob\""}
leviathan3   BGP   up
  Description:    uplink of Bob
neighbor x description uplink of Bob
Hostname is core
core routes
"description" : [{"data" : "Bob"}]
n9.leviathan3.example.org
"""
    found, replacer = told(text, ("leviathan3",))
    for name in ("edge-gw", "leviathan3", "rack", "Bob", "bob", "Hostname is core"):
        assert name not in found
    assert "core routes" in found  # may be a word of the router's language
    other = replacer.name("leviathan3")
    assert f'"hostname":"{other}"' in found
    assert f"\n{other}" in found
    assert f"({replacer.name('edge-gw')}) on Linux" in found


def test_the_name_of_a_session_that_is_made_of_the_name_of_a_node() -> None:
    """RouterOS puts a number behind it."""
    found, replacer = told('"name":"leviathan3-1","bgp.session":"leviathan3-12","other":"eth3-1"', ("leviathan3",))
    other = replacer.name("leviathan3")
    assert found == f'"name":"{other}-1","bgp.session":"{other}-12","other":"eth3-1"'


@pytest.mark.parametrize(("platform", "scenario"), FIXTURES)
def test_the_same_story_is_read(platform: str, scenario: str) -> None:
    """The anonymised capture, read, is the snapshot of the original with every text in it replaced alike."""
    original = capture(platform, scenario)
    original = replace(original, manifest=replace(original.manifest, nodes=original.manifest.nodes or NODES))
    replacer = anonymiser(original, KEY)
    other = anonymised(original, KEY)
    read = PLATFORMS[platform].read
    before = read("edge", original.manifest.query, original.answers, TAKEN_AT)
    after = read("edge", other.manifest.query, other.answers, TAKEN_AT)
    assert set(after.routes) == set(other.manifest.query.vips) & set(map(replacer.address, before.routes))
    assert after == mapped(before, replacer)


def mapped(value: Any, replacer: Anonymiser) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kept = {"router", "platform"}
        return replace(
            value,
            **{one.name: mapped(getattr(value, one.name), replacer) for one in fields(value) if one.name not in kept},
        )
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return replacer.text(value)
    if isinstance(value, MappingProxyType | dict):
        return {mapped(key, replacer): mapped(own, replacer) for key, own in value.items()}
    if isinstance(value, (tuple, frozenset)):
        return type(value)(mapped(own, replacer) for own in value)
    return value


@pytest.mark.parametrize(("platform", "scenario"), FIXTURES)
def test_no_address_of_the_query_is_left(platform: str, scenario: str) -> None:
    original = capture(platform, scenario)
    other = anonymised(original, KEY)
    query = original.manifest.query
    texts = "".join(answer.stdout + answer.stderr for answer in other.answers.values())
    words = set(
        texts.replace("%", " ").replace("/", " ").replace('"', " ").replace(",", " ").replace("\\", " ").split()
    )
    left = words & {*query.vips, *query.node_addresses}
    assert not left - {*other.manifest.query.vips, *other.manifest.query.node_addresses}
    assert other.manifest.anonymised


@pytest.mark.parametrize(("platform", "scenario"), [("frr", "unnumbered"), ("bird", "vrf")])
def test_no_name_is_left(platform: str, scenario: str) -> None:
    original = capture(platform, scenario)
    before = [answer.stdout for answer in original.answers.values()]
    after = [answer.stdout for answer in anonymised(original, KEY).answers.values()]
    for name in ('"edge"', "is edge", "(edge)", "\nedge#", "leviathan"):
        assert not any(name in text for text in after)
    assert any("edge" in text for text in before)


ODD = st.text(st.sampled_from('0123456789abcdef:./-"\\ %\n[{}]') | st.characters(codec="utf-8"), max_size=200)


@given(ODD, KEYS)
def test_any_text_stays_a_text(text: str, key: bytes) -> None:
    whole = Capture(Manifest("frr", "edge", "", TAKEN_AT, QUERY), {"a": Answer(text)})
    found = anonymised(whole, key).answers["a"].stdout
    assert found.count("\n") <= text.count("\n")
    assert without_secrets(without_secrets(text)) == without_secrets(text)


@pytest.mark.parametrize(
    "filler",
    [
        *("a", " ", "1.", "fe80:", "%3A", "aa:", "aaaa.", "- ", "a-b.", "host# show ", '\\"', '"hostname":'),
        *('"description":"', "description ", "password ", 'key 7 "', "-----BEGIN A-----", "$1$", "secret='"),
    ],
)
def test_long_lines_take_linear_time(filler: str) -> None:
    text = filler * (400_000 // len(filler))
    started = time.process_time()
    told(text, ("leviathan3",))
    without_secrets(text)
    assert time.process_time() - started < 10


def test_another_key_gives_other_addresses() -> None:
    query = Query((VIP,), ())
    whole = Capture(Manifest("frr", "edge", "", TAKEN_AT, query), {"a": Answer(VIP)})
    found = {anonymised(whole, bytes([number]) * 32).manifest.query.vips for number in range(20)}
    assert len(found) == 20
    assert (VIP,) not in found
