"""A connected socket on which another library speaks SSH, while we see and bound what it reads."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from probes.failure import ProbeError
from probes.model import Failure
from probes.ssh_banner import BannerError, BannerParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes.ssh_banner import Banner


class Tap(socket.socket):
    """A second descriptor of a connection: closing it ends nothing, the first one's owner does that.

    Reading fails as soon as the server's identification string is none, when `judge`, which gets it once, raises
    ProbeError, or after `most_bytes`; `trouble` then says why.
    """

    def __init__(self, sock: socket.socket, judge: Callable[[Banner], None], most_bytes: int) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.dup().detach())
        self.settimeout(sock.gettimeout())
        self.trouble: ProbeError | None = None
        self._judge = judge
        self._left = most_bytes
        self._most_bytes = most_bytes
        self._parser = BannerParser()
        self._judged = False

    @property
    def banner(self) -> Banner | None:
        return self._parser.banner

    @property
    def seen(self) -> bytes:
        """What came instead of an identification string."""
        return self._parser.seen

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        try:
            self._look(data)
        except ProbeError as error:
            self.trouble = error
            raise ConnectionAbortedError(errno.ECONNABORTED, "given up here") from error
        return data

    def _look(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise ProbeError(Failure.PROTOCOL, f"server sent more than {self._most_bytes} bytes")
        if self._judged:
            return
        try:
            self._parser.feed(data)
        except BannerError as error:
            raise ProbeError(Failure.PROTOCOL, str(error)) from error
        if self._parser.banner is not None:
            self._judged = True
            self._judge(self._parser.banner)
