"""Captures: the format keeps every byte, and what is broken is told by file and line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.captures import (
    Capture,
    CaptureError,
    Manifest,
    manifest_text,
    read_answers,
    read_manifest,
    written,
)
from routers.model import Answer, Command, OracleFlow, Query
from routers.platforms import PLATFORMS
from routers.secrets_removed import without_secrets
from tests.routers.captured import FIXTURES, QUERY, TAKEN_AT, answers, capture, scenarios, snapshot

BODIES = st.text(st.characters(codec="utf-8")) | st.lists(
    st.sampled_from(["===== a", "\\===== b", "\\ no line break at the end", "\\\\", "x", "", "=====", "a\r"]),
    max_size=6,
).map("\n".join)
ANSWERS = st.builds(
    Answer, stdout=BODIES, stderr=BODIES, exit_status=st.integers(-255, 255), error=st.none() | st.just("gone")
)
MANIFEST = Manifest(
    "frr",
    "edge",
    "1.0",
    TAKEN_AT,
    replace(QUERY, sources={"203.0.113.10": "192.0.2.2"}, vrf="blue", default_routes=True),
    {"leviathan1": ("10.0.0.11", "2001:db8::11")},
    (Command("show", ("show", "bgp"), stdin="x\n", raw=True), Command("b", ("c",))),
    (OracleFlow("192.0.2.2", 20000, "203.0.113.10", 22, "udp"),),
    anonymised=True,
)
FIXTURE_FILES = [(platform, one) for platform in sorted(PLATFORMS) for one in scenarios(platform)]


@given(st.dictionaries(st.sampled_from(["show version", "vtysh 1", "GET /rest/ip?x=y"]), ANSWERS, min_size=1))
def test_every_byte_comes_back(said: dict[str, Answer]) -> None:
    assert read_answers(written(said)) == said


@pytest.mark.parametrize(("platform", "scenario"), FIXTURE_FILES)
def test_every_fixture_is_a_capture(platform: str, scenario: str) -> None:
    said = answers(platform, scenario)
    assert read_answers(written(said)) == said


def test_what_stands_in_fixtures_stays_valid() -> None:
    text = "===== show version\none\n===== show version stderr\ntwo\n===== other\n===== last\nunended"
    assert read_answers(text) == {
        "show version": Answer("one\n", "two\n"),
        "other": Answer(""),
        "last": Answer("unended"),
    }


@pytest.mark.parametrize("name", ["", " x", "x stderr", "a\nb", "x exit status", "x error"])
def test_names_that_are_no_headings(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        written({name: Answer()})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f:1: no section"),
        ("\nBIRD ready\n===== a\n", "f:2: this stands above the first heading"),
        ("===== a\nx\n===== a\n", "f:3: a second section 'a': remove one"),
        ("===== a stderr\nx\n", "f:1: no section 'a' stands above 'a stderr': put one there"),
        ("===== a\n===== a exit status\nseven\n", "f:3: 'seven' is no exit status: write a whole number"),
        ("===== a\n===== a exit status\n99999\n", "f:3: '99999' is no exit status"),
    ],
)
def test_broken_answers(text: str, message: str) -> None:
    with pytest.raises(CaptureError) as caught:
        read_answers(text, "f")
    assert str(caught.value).startswith(message)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_answers, read_manifest):
        said = ""
        try:
            read(text, "f")
        except CaptureError as error:
            said = str(error)
        assert not said or (said.startswith("f:") and "\n" not in said)


def test_manifest() -> None:
    assert read_manifest(manifest_text(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "f:2: format must be 1: a newer release"),
        ({"platform": 5}, "f:3: platform must be a text on one line"),
        ({"router": "a\nb"}, "f:4: router must be a text on one line"),
        ({"taken_at": "now"}, "f:6: taken_at must be the time"),
        ({"taken_at": True}, "f:6: taken_at must be the time"),
        ({"query": []}, "f:8: query must stand in a JSON object"),
        ({"query": {"vips": "x"}}, "f:9: vips must be a list"),
        ({"query": {"vips": ["10.0.0.300"]}}, "f:9: vips holds '10.0.0.300', which is no IP address"),
        ({"query": {"vips": [], "sources": {"x": "y"}}}, "f:10: sources holds 'x', which is no IP address"),
        ({"nodes": {"a\x1b[31m": []}}, "nodes must have names that can be printed"),
        ({"flows": [{}]}, "flows must have ports"),
        ({"flows": [{"source_port": 1, "destination_port": 2, "protocol": "x"}]}, "flows must be of tcp or udp"),
        ({"flows": [{"source_port": 1, "destination_port": 2}]}, "flows holds None, which is no IP address"),
    ],
)
def test_broken_manifests(change: dict[str, Any], message: str) -> None:
    document = json.loads(manifest_text(MANIFEST)) | change
    with pytest.raises(CaptureError) as caught:
        read_manifest(json.dumps(document, indent=2), "f")
    assert message in str(caught.value)


def test_a_manifest_that_is_no_json_is_told_by_its_line() -> None:
    with pytest.raises(CaptureError, match=r"^f:3: .*: mend it, or take the capture again$"):
        read_manifest('{\n "format": 1,\n "platform" "frr"\n}', "f")


@pytest.mark.parametrize(
    "line",
    [
        "neighbor 10.0.0.13 password 7 {}",
        "neighbor 10.0.0.13 password {}",
        "set protocols bgp 64512 neighbor 10.0.0.13 password '{}'",
        "set protocols bgp 64512 neighbor 10.0.0.13 password {}",
        '  password "{}";',
        '    authentication-key "{}"; ## SECRET-DATA',
        "enable secret 9 {}",
        "username admin secret sha512 {}",
        "snmp-server community {} RO",
        "ip ospf message-digest-key 1 md5 {}",
        "key-string 7 {}",
        "tacacs-server key 7 {}",
        "tacacs-server host 192.0.2.9 key {}",
        "crypto isakmp key {} address 192.0.2.9",
        "tcp md5sig key {}",
        'tcp-md5-key="{}" disabled=no',
        '{{"tcp-md5-key": "{}", "name": "n1"}}',
        '{{"password":"{}"}}',
        '"authentication-key" : [{{"data" : "{}"}}]',
        "encrypted-password {}",
        "plaintext-password: {}",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
@pytest.mark.parametrize("secret", ["0822455D0A16", "$9$Bw/aSrlvWNdbvWs4JGji", "s3cr3t,x"])
def test_secrets_are_left_out(line: str, secret: str) -> None:
    shown = without_secrets(line.format(secret))
    assert secret[:6] not in shown
    assert secret[-2:] not in shown
    assert "removed" in shown


@pytest.mark.parametrize(("platform", "scenario"), FIXTURE_FILES)
def test_without_secrets_the_same_is_read(platform: str, scenario: str) -> None:
    harmless = {
        name: replace(one, stdout=without_secrets(one.stdout), stderr=without_secrets(one.stderr))
        for name, one in answers(platform, scenario).items()
    }
    query = capture(platform, scenario).manifest.query
    taken = PLATFORMS[platform].read("edge", query, harmless, capture(platform, scenario).manifest.taken_at)
    assert taken == snapshot(platform, scenario)


def test_fixtures_of_both_kinds_are_found() -> None:
    assert "healthy" in scenarios("frr")
    assert capture("frr", "healthy").manifest.query == QUERY
    assert FIXTURES.is_dir()
    assert isinstance(capture("frr", "healthy"), Capture)
    assert Query(("203.0.113.10",), ()).vrf is None
