"""One router as the monitor knows it: how it is asked, its last snapshot, and why there is none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from exporter.config import Router
from routers.exec import ExecTransport
from routers.https import HttpsSettings, HttpsTransport
from routers.model import NextHop, OracleFlow, Query, Snapshot
from routers.platforms import PLATFORMS
from routers.reader import Record, ask_oracle, take_snapshot
from routers.ssh import SshSettings, SshTransport
from routers.transport import RouterError, Transport, read_secret

_STALE_AFTER_POLLS = 3
_QUERY_SECONDS = 10.0  # for all answers together; a small router with a login shell may need some


class RouterFeed:
    """Asks one router. Nothing here raises for what the router does: `error` says what went wrong."""

    def __init__(self, config: Router, now: Callable[[], float] = time.time) -> None:
        """`now` tells the time in seconds since the epoch."""
        self.config = config
        self._now = now
        self.platform = PLATFORMS[config.platform]
        self.snapshot: Snapshot | None = None
        self.error: str | None = None
        self.query_seconds: float | None = None
        self.record: Record | None = None  # to keep what the router says, set one
        self._transport: Transport | None = None

    async def poll(self, query: Query) -> bool:
        """Take a snapshot. True if there is a new one, else `error` says why not (and the old one stays)."""
        begun = time.monotonic()
        try:
            snapshot = await take_snapshot(
                self.config.name,
                self.platform,
                self._connected(),
                replace(query, vrf=self.config.vrf, default_routes=self.config.default_routes),
                self._now,
                timeout_seconds=_QUERY_SECONDS,
                record=self.record,
            )
            self.snapshot, self.error = _telling(snapshot), None
        except (RouterError, OSError, ValueError) as error:
            self.error = str(error)
            return False
        finally:
            self.query_seconds = time.monotonic() - begun
        return True

    async def ask_oracle(self, flows: Sequence[OracleFlow]) -> Mapping[OracleFlow, NextHop]:
        """The next hop of each flow, as far as the router tells; nothing if it cannot be asked."""
        oracle = self.platform.ORACLE
        if oracle is None or not flows:
            return {}
        try:
            return await ask_oracle(
                oracle,
                self._connected(),
                flows,
                has_shell=self.platform.HAS_SHELL,
                timeout_seconds=_QUERY_SECONDS,
                record=self.record,
            )
        except (RouterError, OSError, ValueError) as error:
            self.error = str(error)
            return {}

    def trouble(self, now: float) -> str | None:
        """Why the snapshot cannot be used at `now` (seconds since the epoch); None if it can."""
        if self.snapshot is None:
            return self.error or "it has not answered yet"
        age = now - self.snapshot.taken_at
        if age <= _STALE_AFTER_POLLS * self.config.poll_interval + _QUERY_SECONDS:
            return None
        return f"its last answer is {age:.0f} s old" + (f" ({self.error})" if self.error else "")

    @property
    def confirmed_within(self) -> float:
        """Seconds that a round may have to wait for the next answer: two polls."""
        return 2 * (self.config.poll_interval + (self.query_seconds or 0.0))

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    def _connected(self) -> Transport:
        if self._transport is None:
            self._transport = _transport(self.config)
        return self._transport


def _telling(snapshot: Snapshot) -> Snapshot:
    """The snapshot. Raises ValueError if nothing in it was answered."""
    if snapshot.sessions is None and not snapshot.routes and not snapshot.fib:
        raise ValueError("; ".join(snapshot.problems) or "it told nothing")
    return snapshot


def _transport(config: Router) -> Transport:
    if config.exec is not None:
        return ExecTransport(config.exec.prefix)
    if config.https is not None:
        https = config.https
        return HttpsTransport(
            HttpsSettings(
                url=https.url,
                username=https.username,
                password_file=_expanded(https.password_file),
                ca_file=_expanded(https.ca_file) if https.ca_file is not None else None,
            )
        )
    if config.ssh is None:
        raise ValueError(f"router {config.name} has no transport")
    ssh = config.ssh
    return SshTransport(
        SshSettings(
            host=ssh.host,
            port=ssh.port,
            username=ssh.username,
            client_keys=tuple(_expanded(key) for key in ssh.client_keys),
            known_hosts=_expanded(ssh.known_hosts),
            password=read_secret(_expanded(ssh.password_file)) if ssh.password_file is not None else None,
        )
    )


def _expanded(path: str) -> str:
    """With the home directory for a ~ in front; as it is where there is none, so that reading it says what is wrong."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where a user has no home
