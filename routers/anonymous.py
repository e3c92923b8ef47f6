"""Addresses, hardware addresses and names of a capture replaced by others that tell the same story. Pure.

The mapping of IP addresses keeps prefixes: two addresses that share their first n bits share them afterwards, so
that a route still covers its VIP and a listen range its node (the idea is that of Crypto-PAn: Xu, Fan, Ammar and
Moon, "Prefix-preserving IP address anonymization", ICNP 2002). It also keeps the order of the addresses that stand
in the capture, by which routers sort and choose: where two of them part, the bit stays as it is. What has a meaning
of its own stays: private networks and fe80:: keep their prefix; loopback, 169.254, multicast, masks and zero stay
as they are. In IPv6 a group of zeros stays one, so that a text is as long as before.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.model import IPV4, IPV6

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BITS = MappingProxyType({IPV4: 32, IPV6: 128})
_GROUP = 16

_KEPT = {  # what follows the prefix is replaced
    IPV4: (
        *("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"),  # the classes, by which some tables leave the length out
        *("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"),
    ),
    IPV6: ("2000::/3", "fc00::/8", "fd00::/8", "fe80::/64"),
}
_FIXED = {  # nothing is
    IPV4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    IPV6: ("::/16", "ff00::/8"),
}

Node = tuple[int, int]  # a prefix: its length, and its bits as a number


def _networks(texts: Iterable[str]) -> Iterator[Node]:
    for text in texts:
        network = ipaddress.ip_network(text)
        yield network.prefixlen, int(network.network_address) >> (network.max_prefixlen - network.prefixlen)


_FIXED_NODES = {family: tuple(_networks(_FIXED[family])) for family in BITS}
_ANCESTORS = {
    family: frozenset(
        (shorter, bits >> (length - shorter))
        for length, bits in (*_networks(_KEPT[family]), *_FIXED_NODES[family])
        for shorter in range(length)
    )
    for family in BITS
}


def branches(family: int, addresses: Iterable[int]) -> frozenset[Node]:
    """The prefixes at which some of the addresses part."""
    width = BITS[family]
    ordered = sorted(set(addresses))
    lengths = ((one, width - (one ^ other).bit_length()) for one, other in pairwise(ordered))
    return frozenset((length, one >> (width - length)) for one, length in lengths)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The mapping of IP addresses, one to one. `key` is random, and used for one capture."""

    key: bytes
    together: Mapping[int, frozenset[Node]] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, family: int, number: int) -> int:
        """Another address for an address, both as numbers."""
        width = BITS[family]
        if any(number >> (width - length) == bits for length, bits in _FIXED_NODES[family]):
            return number
        found = 0
        for length in range(width):
            bit = number >> (width - 1 - length) & 1
            found = found << 1 | (bit ^ self._turned(family, length, number >> (width - length)))
        return found

    def _turned(self, family: int, length: int, bits: int) -> int:
        """Whether the bit that follows a prefix becomes the other one."""
        node = (length, bits)
        if node in _ANCESTORS[family] or node in self.together.get(family, ()):
            return 0
        if family == IPV6 and not bits & ((1 << length % _GROUP) - 1):
            return 0  # so that a group of zeros stays one
        return _coin(self.key, family, length, bits)


@lru_cache(maxsize=262_144)
def _coin(key: bytes, family: int, length: int, bits: int) -> int:
    message = bytes((family, length)) + bits.to_bytes(16, "big")
    return hashlib.blake2b(message, key=key, digest_size=1).digest()[0] & 1
