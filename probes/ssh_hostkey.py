"""The first half of SSH's key exchange, as a client that is fed with bytes: as far as the server's host key.

RFC 4253: section 6 (packets), 7.1 (KEXINIT), 8 (Diffie-Hellman); RFC 8731 (curve25519). The server answers our
public number with its host key, and there we stop, as ssh-keyscan does. Its signature is not checked: the key
tells one node from another, it admits nobody. Nothing will be encrypted, so any number will do for a public
one, and no arithmetic is done here: each of the 2^255 is valid for curve25519 (RFC 7748, section 5), and each
below a group's prime for the group.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from probes.text import excerpt

MOST_BYTES = 65_536  # that a server may send; KEXINIT, host key and signature come to 3 KiB
_LONGEST_PACKET = 35_000  # section 6.1
_BLOCK = 8
_LEAST_PADDING = 4

_DISCONNECT, _KEXINIT, _INIT, _REPLY = 1, 20, 30, 31
_PASSED_OVER = frozenset({2, 3, 4})  # IGNORE, UNIMPLEMENTED, DEBUG

_RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")  # three signatures by one kind of key (RFC 8332)
_ECDSA = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_PREFERENCE = ("ssh-ed25519", *_ECDSA, *_RSA)

ALGORITHMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: _RSA if name in _RSA else (name,) for name in _PREFERENCE} | {"": _PREFERENCE}
)
"""What is asked for, by the name of an algorithm; empty: whichever comes first."""

_CURVE_BYTES = 32
_GROUPS = {
    "diffie-hellman-group14-sha256": 256,
    "diffie-hellman-group16-sha512": 512,
    "diffie-hellman-group14-sha1": 256,
}
_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", *_GROUPS)
# Never used, but without one in common a server gives up.
_CIPHERS = (
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes128-cbc",
    "3des-cbc",
)
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "umac-128-etm@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "umac-128@openssh.com",
    "hmac-sha1",
)
_COMPRESSION = ("none", "zlib@openssh.com", "zlib")


class HostKeyError(ValueError):
    """What was received is no key exchange. `ended`: the server said that it ends the connection."""

    def __init__(self, message: str, *, ended: bool = False) -> None:
        super().__init__(message)
        self.ended = ended


class HostKeyExchange:
    """Send `opening` after the identification string, then feed what comes, and send what that returns, until
    `done`. Then `fingerprint` is the host key's, as OpenSSH prints it; None: the server has no algorithm that
    was asked for, which is no fault of it. `others` are the algorithms of this server's other kinds of keys, of those
    asked for. Holds at most one unfinished packet.
    """

    __slots__ = (
        "_algorithms",
        "_entropy",
        "_kex",
        "_key_type",
        "_pending",
        "_read",
        "done",
        "fingerprint",
        "opening",
        "others",
    )

    def __init__(self, algorithms: tuple[str, ...], entropy: Callable[[int], bytes]) -> None:
        """`algorithms` are a value of ALGORITHMS or some of one, `entropy` gives as many random bytes as asked for."""
        self._algorithms = algorithms
        self.others: tuple[str, ...] = ()
        self._entropy = entropy
        self._kex = ""
        self._key_type = ""
        self._pending = b""
        self._read = 0
        self.done = False
        self.fingerprint: str | None = None
        lists = (_KEX, self._algorithms, _CIPHERS, _CIPHERS, _MACS, _MACS, _COMPRESSION, _COMPRESSION, (), ())
        names = b"".join(_string(",".join(names).encode("ascii")) for names in lists)
        self.opening = self._packet(bytes([_KEXINIT]) + entropy(16) + names + bytes(5))

    def feed(self, data: bytes) -> bytes:
        """Take bytes that follow the server's identification string; returns what to send now. Raises HostKeyError."""
        answer = b""
        self._read += len(data)
        self._pending += data
        while not self.done and (payload := self._next()) is not None:
            answer += self._take(payload)
        if self.done:
            self._pending = b""
        elif self._read > MOST_BYTES:
            raise HostKeyError(f"more than {MOST_BYTES} bytes before the host key")
        return answer

    def _next(self) -> bytes | None:
        """The next packet's payload, if it is all there (section 6; nothing is encrypted yet)."""
        if len(self._pending) < _BLOCK:
            return None
        length, padding = int.from_bytes(self._pending[:4], "big"), self._pending[4]
        sound = (
            _BLOCK < length + 4 <= _LONGEST_PACKET
            and not (length + 4) % _BLOCK
            and _LEAST_PADDING <= padding < length - 1
        )
        if not sound:
            raise HostKeyError(f"no SSH packet after the identification string: {excerpt(self._pending)}")
        if len(self._pending) < length + 4:
            return None
        payload = self._pending[5 : 4 + length - padding]
        self._pending = self._pending[4 + length :]
        return payload

    def _take(self, payload: bytes) -> bytes:
        kind, rest = payload[0], payload[1:]
        if kind in _PASSED_OVER:
            return b""
        if kind == _DISCONNECT:
            raise HostKeyError(f"server disconnected: {excerpt(_field(rest[4:])[0])}", ended=True)
        if kind == _KEXINIT and not self._kex:
            return self._agree(rest)
        if kind == _REPLY and self._kex:
            self._finish(_field(rest)[0])
            return b""
        raise HostKeyError(f"message {kind} where the key exchange does not have it")

    def _agree(self, kexinit: bytes) -> bytes:
        """Section 7.1: of each list the client's first name that the server has, too."""
        kex, rest = _field(kexinit[16:])
        host_key, _ = _field(rest)
        self._kex = _first(_KEX, kex)
        algorithm = _first(self._algorithms, host_key)
        if not (self._kex and algorithm):
            self.done = True
            return b""
        self._key_type = _kind(algorithm)
        theirs = frozenset(host_key.split(b","))
        self.others = tuple(
            name for name in self._algorithms if name.encode("ascii") in theirs and _kind(name) != self._key_type
        )
        return self._packet(bytes([_INIT]) + _string(self._public_number()))

    def _public_number(self) -> bytes:
        if self._kex not in _GROUPS:
            return self._entropy(_CURVE_BYTES)
        number = self._entropy(_GROUPS[self._kex])
        return bytes([number[0] & 0x7F | 0x40]) + number[1:]  # positive, of full length, and below the prime

    def _finish(self, host_key: bytes) -> None:
        name, _ = _field(host_key)
        if name != self._key_type.encode("ascii"):
            raise HostKeyError(f"host key is {excerpt(name)} where {self._key_type} was agreed on")
        digest = base64.b64encode(hashlib.sha256(host_key).digest()).decode("ascii")
        self.fingerprint = f"SHA256:{digest.rstrip('=')}"
        self.done = True

    def _packet(self, payload: bytes) -> bytes:
        padding = _BLOCK - (len(payload) + 5) % _BLOCK
        padding += _BLOCK if padding < _LEAST_PADDING else 0
        return (len(payload) + 1 + padding).to_bytes(4, "big") + bytes([padding]) + payload + self._entropy(padding)


def _kind(algorithm: str) -> str:
    return "ssh-rsa" if algorithm in _RSA else algorithm


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _field(data: bytes) -> tuple[bytes, bytes]:
    """A string of RFC 4251, section 5, and what follows it."""
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < max(4, end):
        raise HostKeyError(f"message ends too early: {excerpt(data)}")
    return data[4:end], data[end:]


def _first(ours: Iterable[str], theirs: bytes) -> str:
    names = frozenset(theirs.split(b","))
    return next((name for name in ours if name.encode("ascii") in names), "")
