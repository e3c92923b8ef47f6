"""What is served over HTTP: metrics, the status page, the API and the handles of the operator (aiohttp)."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from exporter import history, history_page, metrics, page
from exporter.monitor import Monitor
from exporter.probe import ProbeHandler
from exporter.shown import shown
from exporter.status import events_to_json, to_json

_COMPRESSION_LEVEL = 4
_LONGEST_NUMBER = 19  # digits
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(slots=True)
class State:
    """What the handlers look at; `reload` reads the file anew and raises ConfigError if it cannot be used."""

    monitor: Monitor
    reload: Callable[[], Awaitable[None]]
    reloads: metrics.Reloads
    ready: bool = False
    prefix: str = ""  # where the application is mounted, without a slash at the end
    link_prefix: str = ""  # what a browser outside puts before its paths
    adhoc_probes: bool = False  # /probe takes targets that are not configured
    timeout_offset: float = 0.5  # seconds by which /probe answers before Prometheus gives up


def prefixes(route_prefix: str, external_url: str) -> tuple[str, str]:
    """Where to mount, and what to put before links; the former defaults to the path of the external URL."""
    outside = urlsplit(external_url).path.rstrip("/") if external_url else ""
    mounted = "/" + route_prefix.strip("/") if route_prefix.strip("/") else "" if route_prefix else outside
    return mounted, outside or mounted


def application(state: State) -> web.Application:
    """All routes under the prefix."""
    handlers = _Handlers(state)
    probe = ProbeHandler(state.monitor, anything=state.adhoc_probes, offset=state.timeout_offset)
    app = web.Application(middlewares=[_careful], client_max_size=1024)
    root = state.prefix
    app.add_routes(
        [
            web.get(f"{root}/", handlers.page),
            web.get(f"{root}/metrics", handlers.metrics),
            web.get(f"{root}/api/v1/status", handlers.status),
            web.get(f"{root}/api/v1/events", handlers.events),
            web.get(f"{root}/api/v1/history", handlers.history),
            web.get(f"{root}/history", handlers.history_page),
            web.get(f"{root}/probe", probe.handle, allow_head=False),
            web.get(f"{root}/config", handlers.config),
            web.get(f"{root}/-/healthy", handlers.healthy),
            web.get(f"{root}/-/ready", handlers.ready),
            web.post(f"{root}/-/reload", handlers.reload),
        ]
    )
    if root:
        app.add_routes([web.get("/", handlers.to_prefix), web.get(root, handlers.to_prefix)])
    return app


@web.middleware
async def _careful(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response = await handler(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


class _Handlers:
    def __init__(self, state: State) -> None:
        self._state = state
        self._rendering = asyncio.Lock()
        self._process = metrics.of_this_process()

    async def metrics(self, request: web.Request) -> web.Response:
        """Rendered in a thread, one scrape at a time: thousands of series must not delay probes."""
        status = self._state.monitor.status()
        squeeze = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        accept = request.headers.get(hdrs.ACCEPT, "")
        async with self._rendering:
            body, kind = await asyncio.to_thread(metrics.render, status, self._state.reloads, accept, self._process)
            if squeeze:
                body = await asyncio.to_thread(gzip.compress, body, _COMPRESSION_LEVEL)
        headers = {hdrs.CONTENT_TYPE: kind, hdrs.VARY: "Accept-Encoding"}
        if squeeze:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body, headers=headers)

    async def page(self, _request: web.Request) -> web.Response:
        status = self._state.monitor.status()
        text = await asyncio.to_thread(page.render, status, self._state.link_prefix, self._state.ready)
        return web.Response(text=text, content_type="text/html")

    async def status(self, _request: web.Request) -> web.Response:
        status = self._state.monitor.status()
        text = await asyncio.to_thread(lambda: json.dumps(to_json(status)))
        return web.Response(text=text, content_type="application/json")

    async def events(self, _request: web.Request) -> web.Response:
        return web.json_response(events_to_json(self._state.monitor.board.events))

    async def history(self, request: web.Request) -> web.Response:
        """All that is kept, or with `?id=` one record and its transcript."""
        kept = self._state.monitor.history
        if "id" not in request.query:
            now = kept.kept()
            text = await asyncio.to_thread(lambda: json.dumps(history.to_json(now)))
            return web.Response(text=text, content_type="application/json")
        record = kept.get(_number(request.query["id"]))
        if record is None:
            return web.json_response({"error": history_page.GONE}, status=404)
        return web.json_response(history.record_to_json(record))

    async def history_page(self, request: web.Request) -> web.Response:
        kept, prefix = self._state.monitor.history, self._state.link_prefix
        if "id" not in request.query:
            text = await asyncio.to_thread(history_page.render, kept.kept(), prefix)
            return web.Response(text=text, content_type="text/html")
        record = kept.get(_number(request.query["id"]))
        text = history_page.render_record(record, prefix)
        return web.Response(text=text, content_type="text/html", status=404 if record is None else 200)

    async def config(self, _request: web.Request) -> web.Response:
        return web.Response(text=shown(self._state.monitor.config))

    async def healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="ecmp-exporter is healthy.\n")

    async def ready(self, _request: web.Request) -> web.Response:
        if not self._state.ready:
            return web.Response(text="The first full round has not ended yet.\n", status=503)
        return web.Response(text="ecmp-exporter is ready.\n")

    async def reload(self, _request: web.Request) -> web.Response:
        # Every fault in the file stands in the answer: that is what the operator asked for.
        try:
            await self._state.reload()
        except ValueError as error:
            return web.Response(text=f"{error}\n", status=500)
        return web.Response(text="The configuration was reloaded.\n")

    async def to_prefix(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{self._state.prefix}/")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER else -1
