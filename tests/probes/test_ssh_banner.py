from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probes.ssh_banner import (
    MAX_BYTES_BEFORE,
    MAX_LINE_BYTES,
    MAX_LINES_BEFORE,
    Banner,
    BannerError,
    BannerParser,
)


def parsed(*chunks: bytes) -> Banner | None:
    parser = BannerParser()
    for chunk in chunks:
        parser.feed(chunk)
    return parser.banner


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", Banner("SSH-2.0-OpenSSH_9.2p1", "2.0", "OpenSSH_9.2p1", "")),
        (b"SSH-2.0-dropbear\n", Banner("SSH-2.0-dropbear", "2.0", "dropbear", "")),
        (b"SSH-1.99-Cisco-1.25\r\n", Banner("SSH-1.99-Cisco-1.25", "1.99", "Cisco-1.25", "")),
        (b"SSH-2.0-Go\r\n\x00\x00\x01\xff", Banner("SSH-2.0-Go", "2.0", "Go", "")),
        (b"SSH-2.0-a b c\r\n", Banner("SSH-2.0-a b c", "2.0", "a", "b c")),
        (b"SSH-2.0-a \r\n", Banner("SSH-2.0-a ", "2.0", "a", "")),
        (b"SSH-2.0-a caf\xc3\xa9\r\n", Banner("SSH-2.0-a caf\u00e9", "2.0", "a", "caf\u00e9")),
        (b"Welcome\r\n\r\nto\tus\nSSH-2.0-a\r\n", Banner("SSH-2.0-a", "2.0", "a", "")),
        (b"not SSH-2.0-a\r\nSSH-2.0-b\r\n", Banner("SSH-2.0-b", "2.0", "b", "")),
    ],
)
def test_accepts(data: bytes, expected: Banner) -> None:
    assert parsed(data) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-1.5-old\r\n", "protocol version is neither 2.0 nor 1.99: SSH-1.5-old"),
        (b"SSH-2.0\r\n", "malformed identification string: SSH-2.0"),
        (b"SSH-2.0-\r\n", "malformed identification string: SSH-2.0-"),
        (b"SSH-2.0-caf\xc3\xa9\r\n", "malformed identification string: SSH-2.0-caf\\xc3\\xa9"),
        (b"SSH-2.0-a\x00b\r\n", "control character"),
        (b"SSH-2.0-a\rb\r\n", "control character"),
        (b"J\x00\x00\x00\n8.0.36\x00", "control character"),
        (b"\x15\x03\x01\x00\x02", "control character"),
        (b"\r\n" * 51, "more than 50 lines"),
    ],
)
def test_refuses(data: bytes, reason: str) -> None:
    with pytest.raises(BannerError, match="^" + reason.replace("\\", "\\\\")):
        parsed(data)


def test_limit_of_the_identification_string_counts_its_line_end() -> None:
    longest = b"SSH-2.0-" + b"a" * (MAX_LINE_BYTES - 10) + b"\r\n"
    assert len(longest) == MAX_LINE_BYTES
    assert parsed(longest) is not None
    with pytest.raises(BannerError, match="longer than 255"):
        parsed(longest.replace(b"\r\n", b"a\r\n"))
    with pytest.raises(BannerError, match="longer than 255"):
        parsed(b"SSH-2.0-" + b"a" * MAX_LINE_BYTES)  # without waiting for its end


def test_limits_before_it() -> None:
    assert parsed(b"hello\r\n" * MAX_LINES_BEFORE + b"SSH-2.0-a\r\n") is not None
    line = b"a" * 8000
    assert parsed(line + b"\r\nSSH-2.0-a\r\n") is not None
    with pytest.raises(BannerError, match="more than 8192 bytes"):
        parsed(line, line)
    with pytest.raises(BannerError, match="more than 8192 bytes"):
        parsed((line + b"\n") * 2)


def test_remembers_what_was_seen() -> None:
    parser = BannerParser()
    assert parser.seen == b""
    parser.feed(b"Exceeded MaxStartups\r\n")
    assert parser.seen == b"Exceeded MaxStartups"
    parser.feed(b"SSH-2")
    assert parser.seen == b"SSH-2"
    parser.feed(b".0-a\r\nrest")
    parser.feed(b"\x00 of the key exchange")
    assert parser.banner == Banner("SSH-2.0-a", "2.0", "a", "")


lines = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).filter(
    lambda line: not line.startswith("SSH-")
)
greetings = st.builds(
    lambda before, software, end: "".join(line + end for line in before) + f"SSH-2.0-{software}{end}",
    st.lists(lines, max_size=5),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    st.sampled_from(["\r\n", "\n"]),
)


@given(greetings, st.lists(st.integers(0, 400), max_size=8))
def test_chunks_do_not_matter(greeting: str, cuts: list[int]) -> None:
    data = greeting.encode()
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert parsed(*chunks) == parsed(data)
    assert parsed(data) is not None


@given(st.lists(st.binary(max_size=600) | st.sampled_from([b"SSH-", b"2.0-", b"\r\n", b"\n"]), max_size=60))
@example([b"SSH-2.0-a" * 40])
def test_anything_is_a_banner_an_error_or_too_little(chunks: list[bytes]) -> None:
    parser = BannerParser()
    error = ""
    try:
        for chunk in chunks:
            parser.feed(chunk)
            assert len(parser.seen) <= MAX_BYTES_BEFORE
    except BannerError as caught:
        error = str(caught)
    assert error.isascii()
    assert len(error) < 200
    if parser.banner is not None:
        assert not error
        assert parser.banner.version in {"2.0", "1.99"}
        assert len(parser.banner.line) <= MAX_LINE_BYTES
