"""What this machine itself knows: the source address that it would choose, and its gateway to a VIP."""

from __future__ import annotations

import socket
import struct
from typing import Final

from exporter.config import Router
from routers.model import canonical

_ANY_PORT: Final = 9  # nothing is sent: connect() on a datagram socket only looks up the route
_MOST_BYTES: Final = 8192
# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE: Final = 0
_NLM_F_REQUEST: Final = 1
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_RTA_DST: Final = 1
_RTA_GATEWAY: Final = 5
_RTA_VIA: Final = 18
_MESSAGE: Final = struct.Struct("=IHHII")  # nlmsghdr
_ROUTE: Final = struct.Struct("=8BI")  # rtmsg
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr
_ALIGNED: Final = 4
_V6_BYTES: Final = 16


def local_source(vip: str) -> str | None:
    """The source address that the kernel would choose for a VIP; None if there is no route."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((vip, _ANY_PORT))
        except OSError:
            return None
        return canonical(str(probe.getsockname()[0]))


def crosses(router: Router, others: bool, gateway: str | None, addresses: frozenset[str]) -> bool:
    """Whether the prober's flows are known to pass this router; `addresses` are the router's own.

    The only router there is must be on the way. With `others`, it is the one that has the address of this
    machine's `gateway` to the VIP; where none has, none is known to be.
    """
    if not others:
        return True
    login = router.ssh.host if router.ssh is not None else None
    return gateway is not None and (gateway in addresses or gateway == login)


def gateway_to(vip: str) -> str | None:
    """The gateway by which this machine sends to a VIP, its policy rules included; None without one, or if unknown.

    One question to the kernel (RTM_GETROUTE, rtnetlink(7)), which is answered before send returns.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as asking:
            asking.send(question(vip))
            return gateway_in(asking.recv(_MOST_BYTES, socket.MSG_DONTWAIT))
    except (OSError, ValueError, struct.error):
        return None


def question(vip: str) -> bytes:
    """An RTM_GETROUTE message. Raises OSError for text that is no address."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    address = socket.inet_pton(family, vip)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _RTA_DST) + address
    route = _ROUTE.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    size = _MESSAGE.size + len(route) + len(attribute)
    return _MESSAGE.pack(size, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + route + attribute


def gateway_in(answer: bytes) -> str | None:
    """The gateway that an RTM_NEWROUTE message names. Raises ValueError or struct.error if it is cut off."""
    size, kind, _, _, _ = _MESSAGE.unpack_from(answer)
    if kind != _RTM_NEWROUTE:
        return None
    if size > len(answer):
        raise ValueError("a part is missing")
    at = _MESSAGE.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= size:
        length, name = _ATTRIBUTE.unpack_from(answer, at)
        if not _ATTRIBUTE.size <= length <= size - at:
            raise ValueError("an attribute is longer than its message")
        value = answer[at + _ATTRIBUTE.size : at + length]
        if name == _RTA_GATEWAY:
            return _address(value)
        if name == _RTA_VIA:  # of another family than the route: that family stands before the address
            return _address(value[2:])
        at += -(-length // _ALIGNED) * _ALIGNED
    return None


def _address(packed: bytes) -> str:
    family = socket.AF_INET6 if len(packed) == _V6_BYTES else socket.AF_INET
    return canonical(socket.inet_ntop(family, packed))
