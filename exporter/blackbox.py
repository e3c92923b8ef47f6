"""What blackbox_exporter understands by a target, and how long a probe may take. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import BaseModel

LONGEST_TARGET = 2048
LONGEST_SECONDS = 120.0  # for a probe, if nobody says anything shorter

_DEFAULT_PORTS: Mapping[str, int] = {"ssh": 22, "grpc": 443}
_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[!-~]{1,253}(%[!-~]{1,32})?")
_HIGHEST_PORT = 65535


class TargetError(ValueError):
    """The target is none that the module's prober could probe; says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a target's text stands for; `scheme` and `path` are of URLs, None leaves them to the module."""

    host: str  # a name or an address, without brackets
    port: int
    scheme: str | None = None
    path: str | None = None
    name: str = ""  # to be asked for and verified, where it is not the host


def aim(target: str, prober: str, settings: BaseModel) -> Aim:
    """Read a target as blackbox_exporter does: a URL, host:port or a host. Raises TargetError."""
    if len(target) > LONGEST_TARGET:
        raise TargetError(f"the target is longer than {LONGEST_TARGET} characters")
    if prober == "http":
        return _url(target)
    if prober == "icmp":
        return Aim(checked(target.removeprefix("[").removesuffix("]")), 0)
    host, port = _host_and_port(target.partition("://")[2] if prober == "grpc" and "://" in target else target)
    if port is None:
        port = _default_port(prober, settings)
    return Aim(checked(host), port)


def renamed(settings: BaseModel, hostname: str) -> BaseModel:
    """The settings of an http module with the Host header that the `hostname` parameter asks for.

    Raises TargetError for what is no host, and where the module has another Host header.
    """
    headers: Mapping[str, str] = getattr(settings, "headers", {})
    own = next((value for name, value in headers.items() if name.lower() == "host"), hostname)
    if own != hostname:
        raise TargetError("the module has a Host header, and the hostname parameter says another one")
    return settings.model_copy(update={"headers": {**headers, "Host": checked(hostname)}})


def seconds_for(header: str | None, offset: float, own: float | None, otherwise: float) -> float:
    """How long a probe may take.

    `header` is what Prometheus says of its scrape: `offset` less than that, so that the answer still arrives. The
    module's `own` limit wins if it is shorter. Without either it is `otherwise`. Raises TargetError for another header.
    """
    if not header:
        return min(own or otherwise, LONGEST_SECONDS)
    try:
        scrape = float(header)
    except ValueError:
        scrape = math.nan
    if not (math.isfinite(scrape) and scrape >= 0):
        raise TargetError("X-Prometheus-Scrape-Timeout-Seconds must be a number of seconds")
    limit = LONGEST_SECONDS if scrape == 0 else scrape
    if limit > offset:
        limit -= offset
    return min(limit, own or limit, LONGEST_SECONDS)


def in_order(addresses: Mapping[int, str], settings: BaseModel) -> str | None:
    """The address to probe, of those by version (4, 6): blackbox_exporter prefers IPv6 and takes the other one."""
    preferred = 4 if getattr(settings, "preferred_ip_protocol", None) == "ip4" else 6
    if preferred in addresses:
        return addresses[preferred]
    if getattr(settings, "ip_protocol_fallback", True) is False:
        return None
    return addresses.get(10 - preferred)


def _url(target: str) -> Aim:
    text = target if target.startswith(("http://", "https://")) else f"http://{target}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise TargetError(f"the target is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise TargetError("the target holds a user name; basic_auth of the module is the place for it")
    path = None
    if parts.path or parts.query:
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        if not _PATH.fullmatch(path):
            raise TargetError("the path of the target must be printable ASCII; write other characters as %XX")
    return Aim(checked(host), port or (443 if parts.scheme == "https" else 80), parts.scheme, path)


def _host_and_port(target: str) -> tuple[str, int | None]:
    """`host:port`, `[v6]:port`, or a host alone."""
    if target.startswith("["):
        host, bracket, rest = target[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise TargetError("write an IPv6 address with a port as [ADDRESS]:PORT")
        port = rest[1:]
    elif target.count(":") == 1:
        host, _, port = target.partition(":")
    else:
        return target, None
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port[:6]) <= _HIGHEST_PORT:
        raise TargetError(f"a port is a number from 1 to {_HIGHEST_PORT}")
    return host, int(port)


def _default_port(prober: str, settings: BaseModel) -> int:
    if prober == "dns":
        return 853 if getattr(settings, "dns_over_tls", False) else 53
    if prober not in _DEFAULT_PORTS:
        raise TargetError(f"a target of prober {prober} is HOST:PORT")
    return _DEFAULT_PORTS[prober]


def checked(host: str) -> str:
    """`host`, if it can be looked up. Raises TargetError."""
    if not _HOST.fullmatch(host):
        raise TargetError("the target has no host that could be looked up")
    return host
