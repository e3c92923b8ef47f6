"""What this machine itself knows: the source address that it would choose, and its gateway to a VIP."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from exporter.config import Router
from routers.model import canonical

_ANY_PORT = 9  # nothing is sent: connect() on a datagram socket only looks up the route
_V4_TABLE = Path("/proc/self/net/route")
_V6_TABLE = Path("/proc/self/net/ipv6_route")
_GATEWAY_FLAG = 0x2  # RTF_GATEWAY, linux/route.h


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
    """The gateway in this machine's longest matching route (proc(5), /proc/net/route, ipv6_route)."""
    try:
        if ":" in vip:
            return gateway_v6(_V6_TABLE.read_text(encoding="ascii"), vip)
        return gateway_v4(_V4_TABLE.read_text(encoding="ascii"), vip)
    except (OSError, ValueError, IndexError):
        return None


def gateway_v4(table: str, vip: str) -> str | None:
    """From the text of /proc/net/route; addresses in it are hexadecimal in the byte order of the machine."""
    best: tuple[int, str | None] = (-1, None)
    for line in table.splitlines()[1:]:
        columns = line.split()
        network, gateway, mask = (_v4(columns[index]) for index in (1, 2, 7))
        prefix = ipaddress.ip_network(f"{network}/{mask}", strict=False)
        if ipaddress.ip_address(vip) in prefix and prefix.prefixlen > best[0]:
            via = str(gateway) if int(columns[3], 16) & _GATEWAY_FLAG else None
            best = (prefix.prefixlen, via)
    return best[1]


def gateway_v6(table: str, vip: str) -> str | None:
    """From the text of /proc/net/ipv6_route."""
    best: tuple[int, str | None] = (-1, None)
    for line in table.splitlines():
        columns = line.split()
        network = ipaddress.IPv6Address(bytes.fromhex(columns[0]))
        length = int(columns[1], 16)
        prefix = ipaddress.ip_network(f"{network}/{length}", strict=False)
        if ipaddress.ip_address(vip) in prefix and length > best[0] and columns[9] != "lo":
            gateway = ipaddress.IPv6Address(bytes.fromhex(columns[4]))
            best = (length, str(gateway) if int(gateway) else None)
    return best[1]


def _v4(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes.fromhex(text)[::-1])
