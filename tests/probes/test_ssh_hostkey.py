from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.ssh_hostkey import ALGORITHMS, MOST_BYTES, HostKeyError, HostKeyExchange

BLOB = {
    "ssh-ed25519": b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32)),
    "ssh-rsa": b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\x00\x01\0\0\0\x02\x00\xff",
    "ecdsa-sha2-nistp256": b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x01\x04",
}
KEX = ("curve25519-sha256", "diffie-hellman-group14-sha256")


def entropy(count: int) -> bytes:
    return b"\xff" * count


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def packet(payload: bytes, padding: int | None = None) -> bytes:
    padding = 11 - len(payload) % 8 if padding is None else padding
    padding += 0 if padding >= 4 else 8
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


def kexinit(kex: Sequence[str] = KEX, host_keys: Sequence[str] = ("ssh-ed25519",)) -> bytes:
    lists = [",".join(kex).encode(), ",".join(host_keys).encode(), b"c", b"c", b"m", b"m", b"none", b"none", b"", b""]
    return packet(b"\x14" + bytes(16) + b"".join(map(string, lists)) + bytes(5))


def reply(blob: bytes) -> bytes:
    return packet(b"\x1f" + string(blob) + string(b"f" * 32) + string(b"signature"))


def payloads(data: bytes) -> list[bytes]:
    found = []
    while data:
        length, padding = int.from_bytes(data[:4], "big"), data[4]
        assert (length + 4) % 8 == 0
        assert padding >= 4
        found.append(data[5 : 4 + length - padding])
        assert len(data) >= length + 4
        data = data[4 + length :]
    return found


def fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def run(*chunks: bytes, algorithm: str = "") -> tuple[HostKeyExchange, bytes]:
    exchange = HostKeyExchange(ALGORITHMS[algorithm], entropy)
    return exchange, b"".join(exchange.feed(chunk) for chunk in chunks)


def test_what_is_sent_first() -> None:
    exchange, _ = run()
    (payload,) = payloads(exchange.opening)
    assert payload[:17] == b"\x14" + b"\xff" * 16
    lists, rest = [], payload[17:]
    for _ in range(10):
        end = 4 + int.from_bytes(rest[:4], "big")
        lists.append(rest[4:end].decode("ascii").split(","))
        rest = rest[end:]
    assert rest == bytes(5)  # no guess follows; reserved
    assert lists[0][0] == "curve25519-sha256"
    assert lists[1] == [name for name in ALGORITHMS if name]
    assert lists[2] == lists[3]
    assert "none" in lists[6]
    only = HostKeyExchange(ALGORITHMS["ssh-ed25519"], entropy)
    assert string(b"ssh-ed25519") in only.opening
    assert b"rsa" not in only.opening
    assert string(b"rsa-sha2-512,rsa-sha2-256,ssh-rsa") in HostKeyExchange(ALGORITHMS["ssh-rsa"], entropy).opening


@given(st.lists(st.integers(0, 600), max_size=8), st.booleans())
def test_chunks_do_not_matter(cuts: list[int], chatty: bool) -> None:
    noise = packet(b"\x02" + string(b"ignored")) + packet(b"\x04\0" + string(b"debug") + string(b"")) if chatty else b""
    data = noise + kexinit() + noise + reply(BLOB["ssh-ed25519"]) + packet(b"\x15")
    edges = [0, *sorted(cuts), len(data)]
    exchange, sent = run(*[data[start:end] for start, end in itertools.pairwise(edges)])
    assert exchange.done
    assert exchange.fingerprint == fingerprint(BLOB["ssh-ed25519"])
    assert payloads(sent) == [b"\x1e" + string(b"\xff" * 32)]


@pytest.mark.parametrize(
    ("theirs", "number"),
    [
        (["mlkem768x25519-sha256", "curve25519-sha256"], b"\xff" * 32),
        (["curve25519-sha256@libssh.org"], b"\xff" * 32),
        (["diffie-hellman-group14-sha256", "curve25519-sha256"], b"\xff" * 32),  # the client's first counts
        (["diffie-hellman-group14-sha256"], b"\x7f" + b"\xff" * 255),
        (["diffie-hellman-group16-sha512"], b"\x7f" + b"\xff" * 511),
        (["diffie-hellman-group14-sha1"], b"\x7f" + b"\xff" * 255),
    ],
)
def test_public_numbers_are_valid_ones(theirs: list[str], number: bytes) -> None:
    exchange, sent = run(kexinit(kex=theirs))
    assert payloads(sent) == [b"\x1e" + string(number)]
    assert not exchange.done
    quiet = HostKeyExchange(ALGORITHMS[""], bytes)  # an mpint has no leading zeros, and is not zero
    (payload,) = payloads(quiet.feed(kexinit(kex=["diffie-hellman-group14-sha256"])))
    assert payload == b"\x1e" + string(b"\x40" + bytes(255))


@pytest.mark.parametrize(
    ("algorithm", "theirs", "blob"),
    [
        ("", ["rsa-sha2-512", "ssh-ed25519", "ecdsa-sha2-nistp256"], "ssh-ed25519"),
        ("", ["rsa-sha2-256", "ecdsa-sha2-nistp256"], "ecdsa-sha2-nistp256"),
        ("ssh-rsa", ["ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"], "ssh-rsa"),
        ("rsa-sha2-256", ["ssh-rsa"], "ssh-rsa"),
        ("ecdsa-sha2-nistp256", ["ssh-ed25519", "ecdsa-sha2-nistp256"], "ecdsa-sha2-nistp256"),
    ],
)
def test_which_host_key_it_is(algorithm: str, theirs: list[str], blob: str) -> None:
    exchange, _ = run(kexinit(host_keys=theirs), reply(BLOB[blob]), algorithm=algorithm)
    assert exchange.fingerprint == fingerprint(BLOB[blob])
    for other in BLOB.values():
        if other != BLOB[blob]:
            with pytest.raises(HostKeyError, match=r"where .* was agreed on"):
                run(kexinit(host_keys=theirs), reply(other), algorithm=algorithm)


def test_which_other_keys_there_are() -> None:
    theirs = ["ssh-rsa", "rsa-sha2-512", "ssh-ed25519", "ssh-dss", "ecdsa-sha2-nistp256"]
    exchange, _ = run(kexinit(host_keys=theirs), reply(BLOB["ssh-ed25519"]))
    assert exchange.others == ("ecdsa-sha2-nistp256", "rsa-sha2-512", "ssh-rsa")
    next_one = HostKeyExchange(exchange.others[1:], entropy)
    next_one.feed(kexinit(host_keys=theirs) + reply(BLOB["ssh-rsa"]))
    assert (next_one.fingerprint, next_one.others) == (fingerprint(BLOB["ssh-rsa"]), ())
    assert run(kexinit(host_keys=theirs), reply(BLOB["ssh-rsa"]), algorithm="ssh-rsa")[0].others == ()


@pytest.mark.parametrize(
    ("algorithm", "theirs"),
    [("ssh-ed25519", kexinit(host_keys=["rsa-sha2-512"])), ("", kexinit(kex=["sntrup761x25519-sha512@openssh.com"]))],
)
def test_nothing_in_common_is_no_fault_of_the_server(algorithm: str, theirs: bytes) -> None:
    exchange, sent = run(theirs, b"\0" * 100, algorithm=algorithm)
    assert (exchange.done, exchange.fingerprint, sent) == (True, None, b"")


LONG = packet(b"\x02" + bytes(30_000))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 400 Bad\r\n", "no SSH packet after the identification string: HTTP/1.1"),
        (b"\0\0\0\0\0\0\0\0", "no SSH packet"),
        (b"\0\0\0\x04\x04\0\0\0", "no SSH packet"),  # 8 bytes would hold no message
        (b"\0\0\0\x0d\x04\x14\0\0", "no SSH packet"),  # no multiple of 8
        (b"\0\0\0\x0c\x03\x14\0\0", "no SSH packet"),  # 3 bytes of padding
        (b"\0\0\0\x0c\x0b\x14\0\0", "no SSH packet"),  # nothing but padding
        (b"\x7f\xff\xff\xfc\x04\x14\0\0", "no SSH packet"),
        (b"\0\0\x88\xbc\x04\x14\0\0", "no SSH packet"),  # 35,008 bytes
        (kexinit() * 2, "message 20 where the key exchange does not have it"),
        (reply(BLOB["ssh-ed25519"]), "message 31 where the key exchange does not have it"),
        (packet(b"\x63"), "message 99 where the key exchange does not have it"),
        (packet(b"\x14"), "message ends too early"),
        (packet(b"\x14" + bytes(16) + b"\xff\xff\xff\xff"), "message ends too early"),
        (kexinit() + packet(b"\x1f\0\0"), "message ends too early"),
        (kexinit() + reply(b"\0\0\0\x09ssh"), "message ends too early"),
        (packet(b"\x01\0\0\0\x0c" + string(b"Too many \x1b]0;x") + string(b"")), r"disconnected: Too many \\x1b]0;x"),
        (packet(b"\x01"), "message ends too early"),
        (LONG * 3, f"more than {MOST_BYTES} bytes before the host key"),
        (packet(b"\x02") * 5000, f"more than {MOST_BYTES} bytes before the host key"),
    ],
)
def test_refuses(data: bytes, reason: str) -> None:
    for size in (len(data), 2048, 7):
        with pytest.raises(HostKeyError, match=reason.replace("]", r"\]")) as caught:
            run(*[data[start : start + size] for start in range(0, len(data), size)])
        assert caught.value.ended == ("disconnected" in reason)


messages = st.builds(
    packet, st.builds(bytes.__add__, st.sampled_from([b"\x01", b"\x02", b"\x14", b"\x1e", b"\x1f"]), st.binary())
)


@given(
    st.lists(
        st.binary(max_size=300)
        | messages
        | st.sampled_from([kexinit(), reply(BLOB["ssh-ed25519"]), LONG, packet(b"\x04")]),
        max_size=30,
    )
)
def test_anything_is_a_host_key_an_error_or_too_little(chunks: list[bytes]) -> None:
    exchange = HostKeyExchange(ALGORITHMS[""], entropy)
    sent, error = b"", ""
    try:
        for chunk in chunks:
            sent += exchange.feed(chunk)
            assert len(exchange._pending) <= 35_000
    except HostKeyError as caught:
        error = str(caught)
    assert error.isascii()
    assert len(error) < 200
    assert len(payloads(sent)) <= 1
    assert not (error and exchange.done)
    assert exchange.fingerprint is None or exchange.done
