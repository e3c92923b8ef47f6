"""From errno to Failure: what the network said, kept apart from what this machine could not do."""

from __future__ import annotations

import errno
import os

from probes.model import Failure


class ProbeError(Exception):
    """Ends a probe: `failure` classifies it, `detail` is one sentence for a person."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


# EACCES comes from the network here: an ICMPv6 "administratively prohibited" (net/ipv6/icmp.c, tab_unreach).
# The machine's own firewall answers EPERM, and its own routes answer before a packet leaves (see `local`).
_FROM_NETWORK = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.RESET,
    errno.EPIPE: Failure.RESET,
    errno.ETIMEDOUT: Failure.TIMEOUT,
    errno.EHOSTUNREACH: Failure.UNREACHABLE,
    errno.ENETUNREACH: Failure.UNREACHABLE,
    errno.EHOSTDOWN: Failure.UNREACHABLE,
    errno.ENONET: Failure.UNREACHABLE,
    errno.ENOPROTOOPT: Failure.UNREACHABLE,
    errno.EPROTO: Failure.UNREACHABLE,
    errno.EACCES: Failure.UNREACHABLE,
}


def network(code: int | None, doing: str) -> ProbeError:
    """An error that arrived on a socket whose packets had left; an errno unknown here is `local`."""
    if code is None:
        return ProbeError(Failure.CLOSED, f"{doing}: connection closed by the peer")
    failure = _FROM_NETWORK.get(code, Failure.LOCAL)
    return ProbeError(failure, f"{doing}: {os.strerror(code)}")


def local(code: int | None, doing: str) -> ProbeError:
    """An error that a system call gave before any packet left: no route, no address, no descriptor."""
    reason = "unknown error" if code is None else os.strerror(code)
    return ProbeError(Failure.LOCAL, f"this machine cannot {doing}: {reason}")
