"""The service: a monitor on its schedule, its web pages, reload on SIGHUP, an orderly end on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from exporter import __version__, rights
from exporter.config import Config
from exporter.configfile import ConfigError, load
from exporter.metrics import Reloads
from exporter.monitor import Monitor
from exporter.outside import Machine
from exporter.rights import Rights
from exporter.schedule import Schedule
from exporter.web import State, application, prefixes

_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_BACKLOG = 128

log = logging.getLogger(__name__)


async def serve(
    config: Config,
    path: Path,
    *,
    listen: Sequence[str],
    systemd_socket: bool = False,
    route_prefix: str = "",
    external_url: str = "",
    give_up_rights: bool = False,
    adhoc_probes: bool = False,
    timeout_offset: float = 0.5,
) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status: 2 if an address cannot be listened on.

    With `give_up_rights`, which is for good, the whole process keeps only those that `config` needs.
    """
    try:
        sockets = handed_over() if systemd_socket else [listening(address) for address in listen]
    except (OSError, ValueError) as error:
        log.error("%s", error)  # noqa: TRY400  (a usage error needs no traceback)
        return 2
    machine = Machine(__version__)
    await machine.open()
    if machine.scout.why_not:
        log.info("flows cannot be traced: %s", machine.scout.why_not)
    kept = rights.give_up(config, path, logging.INFO) if give_up_rights else rights.ALL
    monitor = Monitor(config, machine, __version__)
    service = _Service(monitor, path, *prefixes(route_prefix, external_url), kept)
    service.open_probes(adhoc_probes, timeout_offset)
    try:
        await service.run(sockets)
    finally:
        await monitor.close()
        await machine.close()
    return 0


class _Service:
    def __init__(self, monitor: Monitor, path: Path, prefix: str, link_prefix: str, kept: Rights = rights.ALL) -> None:
        self._monitor = monitor
        self._path = path
        self._rights = kept
        self._schedule = Schedule(monitor)
        self._reloading = asyncio.Lock()
        self._state = State(
            monitor=monitor,
            reload=self._reload,
            reloads=Reloads(successful=True, last_success=time.time()),
            prefix=prefix,
            link_prefix=link_prefix,
        )

    def open_probes(self, adhoc: bool, timeout_offset: float) -> None:
        """How `/probe` answers; call it before `run`."""
        self._state.adhoc_probes = adhoc
        self._state.timeout_offset = timeout_offset

    async def run(self, sockets: Sequence[socket.socket]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        hang_up = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hang_up.set)
        runner = web.AppRunner(application(self._state), access_log=None, handle_signals=False)
        await runner.setup()
        for sock in sockets:
            await web.SockSite(runner, sock, backlog=_BACKLOG).start()
            log.info("listening on %s", _named(sock))
        reloader = asyncio.create_task(self._reload_on(hang_up))
        first = asyncio.create_task(self._begin())
        try:
            await stop.wait()
        finally:
            log.info("stopping")
            reloader.cancel()
            first.cancel()
            await asyncio.gather(reloader, first, return_exceptions=True)
            self._schedule.stop()
            await runner.cleanup()

    async def _begin(self) -> None:
        """The first full round, then the schedule; ready in between."""
        try:
            await self._monitor.full_round()
        except Exception:
            log.exception("the first round failed")
        self._state.ready = True
        self._schedule.start()
        log.info("ready: %d paths", len(self._monitor.status().paths))

    async def _reload_on(self, hang_up: asyncio.Event) -> None:
        while True:
            await hang_up.wait()
            hang_up.clear()
            try:
                await self._reload()
            except ConfigError:
                continue  # said already

    async def _reload(self) -> None:
        """Raises ConfigError, and keeps the running configuration, if the file cannot be used."""
        async with self._reloading:
            try:
                config = await asyncio.to_thread(load, self._path)
            except ConfigError as error:
                self._state.reloads = Reloads(successful=False, last_success=self._state.reloads.last_success)
                for problem in error.problems:
                    log.error("%s: %s", self._path, problem)  # noqa: TRY400
                raise
            for feed in self._monitor.configure(config):
                await feed.close()
            if not config.probing.direct_steering:
                await self._monitor.direct_steering.close()
            if missing := rights.lacking(self._rights, config):
                log.warning("%s", missing)
            if self._state.ready:
                self._schedule.plan()
            self._state.reloads = Reloads(successful=True, last_success=time.time())
            log.info("configuration reloaded from %s", self._path)


def listening(address: str) -> socket.socket:
    """A listening socket for [HOST]:PORT. Raises ValueError for another form, OSError if it is taken."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise ValueError(f"{address!r} is no address to listen on; write [HOST]:PORT, like :10179")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET if host and ":" not in host else socket.AF_INET6
    try:
        infos = socket.getaddrinfo(host or "::", int(port), family if host else socket.AF_UNSPEC, socket.SOCK_STREAM)
        # Without a host: both families on one socket, as Prometheus' own programs do.
        both = not host and socket.has_dualstack_ipv6()
        return socket.create_server(infos[0][4][:2], family=infos[0][0], dualstack_ipv6=both, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from error


def handed_over() -> list[socket.socket]:
    """The sockets of the service manager (sd_listen_fds(3)). Raises ValueError if there are none for us."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise ValueError("--web.systemd-socket: no sockets were handed over to this process")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_HANDED_OVER + number) for number in range(count)]


def _named(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
