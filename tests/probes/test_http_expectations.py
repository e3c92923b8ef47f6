from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from multidict import CIMultiDict

from probes.failure import ProbeError
from probes.http_decode import SLICE_BYTES, Decoder
from probes.http_judge import last_modified
from probes.http_module import JUDGED_BYTES, MAX_BODY_BYTES
from probes.model import Failure, Identity
from probes.table import Probers
from tests.probes.http_probe import Site, page, probe
from tests.probes.servers import answering, serving

TEXT = b"The quick brown fox. " * 50_000


def bare(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "two members": gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
    "deflate": zlib.compress(TEXT),
    "bare deflate": bare(TEXT),
    "br": brotli.compress(TEXT, quality=4),
    "identity": TEXT,
}
KIND = {"two members": "gzip", "bare deflate": "deflate"}


def decoded(kind: str, data: bytes, size: int) -> bytes:
    decoder = Decoder(kind)
    whole = bytearray()
    for start in range(0, len(data), size):
        for piece in decoder.feed(data[start : start + size]):
            assert kind == "identity" or len(piece) <= 2 * SLICE_BYTES
            whole += piece
    decoder.end()
    return bytes(whole)


@pytest.mark.parametrize("size", [1, 7, 100_000, 10_000_000])
@pytest.mark.parametrize("name", PACKED)
def test_decoded(name: str, size: int) -> None:
    data = PACKED[name]
    if size == 1 and len(data) > 100_000:
        data, size = data[:100], 1
        assert decoded("identity", data, size) == data
        return
    assert decoded(KIND.get(name, name), data, size) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("data", [b"", b"\x1f", b"plain text that was never compressed", b"\xff" * 64])
def test_what_is_not_compressed(kind: str, data: bytes) -> None:
    with pytest.raises(ProbeError) as caught:
        decoded(kind, data, 16)
    assert caught.value.failure is Failure.EXPECTATION


@pytest.mark.parametrize("name", [name for name in PACKED if name != "identity"])
def test_what_breaks_off(name: str) -> None:
    with pytest.raises(ProbeError, match="is no whole"):
        decoded(KIND.get(name, name), PACKED[name][:-9], 4096)


def answer_of(data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


@pytest.mark.parametrize("name", PACKED)
async def test_decompressed_for_patterns(probers: Probers, name: str) -> None:
    module = {
        "compression": KIND.get(name, name),
        "fail_if_body_not_matches_regexp": ["quick brown"],
        "body_size_limit": "2MB",
    }
    async with serving(answering(answer_of(PACKED[name]))) as port:
        outcome = await probe(probers, port, module=module)
        plain = await probe(probers, port, module={**module, "compression": "identity"})
    assert outcome.success, outcome.detail
    assert outcome.facts.http is not None
    assert outcome.facts.http.content_length == len(PACKED[name])
    assert outcome.facts.http.uncompressed_body_bytes == len(TEXT)
    assert plain.success is (name == "identity")


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br"])
async def test_bomb_ends_in_a_bounded_failure(probers: Probers, kind: str) -> None:
    zeros = bytes(200_000_000)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda data: brotli.compress(data, quality=1)}
    async with serving(answering(answer_of(pack[kind](zeros)))) as port:
        outcome = await probe(probers, port, module={"compression": kind, "fail_if_body_matches_regexp": ["x"]})
        limited = await probe(probers, port, module={"compression": kind, "body_size_limit": 1000})
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == f"body is longer than {MAX_BODY_BYTES} bytes"
    assert outcome.facts.http is not None
    assert outcome.facts.http.uncompressed_body_bytes == MAX_BODY_BYTES
    assert limited.detail == "body is longer than body_size_limit (1000 bytes)"


async def test_compression_asks_for_itself(probers: Probers) -> None:
    site = Site({"/": page()})
    async with serving(site.serve) as port:
        await probe(probers, port, module={"compression": "br"})
        await probe(probers, port, module={"compression": "br", "headers": {"accept-encoding": "gzip, br;q=0.1"}})
        await probe(probers, port)
    asked = [line for request in site.asked for line in request.split("\r\n") if line.lower().startswith("accept-enc")]
    assert [line.split(": ")[1] for line in asked] == ["br", "gzip, br;q=0.1", "identity"]


HEADERS = ("X-Node: one", "X-Node: two", "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT")


@pytest.mark.parametrize(
    ("section", "detail"),
    [
        ({"fail_if_header_matches": [{"header": "x-node", "regexp": "^two$"}]}, "header x-node matches ^two$"),
        ({"fail_if_header_matches": [{"header": "X-Node", "regexp": "three"}]}, ""),
        ({"fail_if_header_matches": [{"header": "X-None", "regexp": "."}]}, "header X-None is missing"),
        ({"fail_if_header_matches": [{"header": "X-None", "regexp": ".", "allow_missing": True}]}, ""),
        ({"fail_if_header_not_matches": [{"header": "X-Node", "regexp": "two"}]}, ""),
        (
            {"fail_if_header_not_matches": [{"header": "X-Node", "regexp": "three"}]},
            "header X-Node does not match three",
        ),
        ({"fail_if_header_not_matches": [{"header": "X-None", "regexp": "."}]}, "header X-None is missing"),
        ({"fail_if_header_not_matches": [{"header": "X-None", "regexp": ".", "allow_missing": True}]}, ""),
        ({"valid_http_versions": ["HTTP/1.1", "HTTP/2"]}, ""),
        ({"valid_http_versions": ["HTTP/2.0"]}, "HTTP/1.1, which valid_http_versions does not hold"),
        ({"fail_if_body_matches_regexp": ["hel+o"]}, "body matches hel+o"),
        ({"valid_status_codes": [404], "fail_if_body_matches_regexp": ["hel+o"]}, "status 200"),
    ],
)
async def test_expectations(probers: Probers, section: dict[str, object], detail: str) -> None:
    async with serving(Site({"/": page("hello", *HEADERS)}).serve) as port:
        outcome = await probe(probers, port, module=section)
    assert outcome.detail == detail
    assert outcome.failure is (Failure.EXPECTATION if detail else None)
    seen = outcome.facts.http
    assert seen is not None
    assert seen.failed_by_pattern is ("match" in detail or "missing" in detail)
    assert (seen.status_code, seen.version, seen.content_length, seen.tls) == (200, 1.1, 5, False)
    assert (seen.uncompressed_body_bytes, seen.last_modified) == (5, 1445412480.0)
    assert outcome.facts.tcp is not None


async def test_old_version_without_length(probers: Probers) -> None:
    async with serving(answering(b"HTTP/1.0 200 OK\r\n\r\nhello")) as port:
        outcome = await probe(probers, port, module={"valid_http_versions": ["HTTP/1.0"]})
    assert outcome.success, outcome.detail
    assert outcome.facts.http is not None
    assert (outcome.facts.http.version, outcome.facts.http.content_length) == (1.0, -1)


@pytest.mark.parametrize(("status", "told"), [("204 No Content", 0), ("304 Not Modified", 0), ("200 OK", -1)])
async def test_length_that_is_not_told(probers: Probers, status: str, told: int) -> None:
    async with serving(answering(f"HTTP/1.1 {status}\r\n\r\n".encode())) as port:
        outcome = await probe(probers, port)
    assert outcome.facts.http is not None
    assert outcome.facts.http.content_length == told


async def test_facts_of_an_answer_that_breaks_off(probers: Probers) -> None:
    async with serving(answering(b"HTTP/1.1 503 Sorry\r\nContent-Length: 9\r\n\r\nhalf")) as port:
        outcome = await probe(probers, port, identity=Identity("header", "X-Node"))
    assert outcome.failure is Failure.CLOSED
    assert outcome.facts.http is not None
    assert outcome.facts.http.status_code == 503
    assert outcome.facts.http.uncompressed_body_bytes == 4


async def test_long_body_is_judged_by_its_beginning(probers: Probers) -> None:
    body = b"a" * JUDGED_BYTES + b"end"
    async with serving(answering(answer_of(body))) as port:
        outcome = await probe(probers, port, module={"fail_if_body_not_matches_regexp": ["end"]})
        limited = await probe(
            probers, port, module={"fail_if_body_not_matches_regexp": ["end"], "body_size_limit": "2MB"}
        )
    assert outcome.detail == f"body does not match end in its first {JUDGED_BYTES} bytes"
    assert limited.success, limited.detail


async def test_transcript_is_bounded(probers: Probers) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 400) for number in range(90))
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many + b"\r\n")) as port:
        outcome = await probe(probers, port)
    assert outcome.success, outcome.detail
    assert len(outcome.transcript) <= 64
    assert all(len(line) < 300 and line.isprintable() for line in outcome.transcript)
    assert any("more header fields" in line for line in outcome.transcript)


async def test_switching_protocols_is_an_answer(probers: Probers) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving(answering(switched)) as port:
        outcome = await probe(probers, port, module={"headers": upgrade, "valid_status_codes": [101]})
    assert outcome.success, outcome.detail


@pytest.mark.parametrize("text", ["", "yesterday", "x" * 99, "Wed, 99 Oct 99999 07:28:00 GMT", "Wed, 21 Oct 2015"])
def test_last_modified_that_is_no_date(text: str) -> None:
    last_modified(CIMultiDict({"Last-Modified": text}))  # a date or nothing, never an exception
