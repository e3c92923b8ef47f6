"""What is served over HTTP: metrics, the status page, the API and the handles of the operator (aiohttp)."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml
from aiohttp import hdrs, web

from exporter import metrics, page
from exporter.config import Config, Module
from exporter.durations import format_duration
from exporter.monitor import Monitor
from exporter.status import events_to_json, to_json

_COMPRESSION_LEVEL = 4
_PLAIN_HEADERS = frozenset({"accept", "accept-language", "host", "user-agent"})
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


def prefixes(route_prefix: str, external_url: str) -> tuple[str, str]:
    """Where to mount, and what to put before links; the former defaults to the path of the external URL."""
    outside = urlsplit(external_url).path.rstrip("/") if external_url else ""
    mounted = "/" + route_prefix.strip("/") if route_prefix.strip("/") else "" if route_prefix else outside
    return mounted, outside or mounted


def application(state: State) -> web.Application:
    """All routes under the prefix."""
    handlers = _Handlers(state)
    app = web.Application(middlewares=[_careful], client_max_size=1024)
    root = state.prefix
    app.add_routes(
        [
            web.get(f"{root}/", handlers.page),
            web.get(f"{root}/metrics", handlers.metrics),
            web.get(f"{root}/api/v1/status", handlers.status),
            web.get(f"{root}/api/v1/events", handlers.events),
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


def shown(config: Config) -> str:
    """The running configuration as YAML. Secrets stand in files, of which only the path is shown; a header's
    value may be one, so only those that cannot are.
    """
    values = config.model_dump(mode="json", exclude_none=True, exclude={"modules"})
    values["modules"] = {name: _shown_module(module) for name, module in config.modules.items()}
    return yaml.safe_dump(values, sort_keys=False)


def _shown_module(module: Module) -> dict[str, Any]:
    settings = module.settings.model_dump(mode="json", exclude_unset=True)
    if isinstance(settings.get("headers"), dict):
        settings["headers"] = {
            name: value if name.lower() in _PLAIN_HEADERS else "<hidden>" for name, value in settings["headers"].items()
        }
    found: dict[str, Any] = {"prober": module.prober, module.prober: settings}
    return found if module.timeout is None else {**found, "timeout": format_duration(module.timeout)}
