"""`/probe`: blackbox_exporter's question and its answer, and the same for every path of a configured target."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from aiohttp import hdrs, web

from exporter import history, metrics
from exporter.adhoc import Asker, Probed, RefusedError, Wanted, of_path, wanted
from exporter.blackbox import TargetError, seconds_for
from exporter.blackbox_metrics import Seen, families
from exporter.monitor import Monitor
from exporter.shown import HIDDEN, shown_module

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
_TRUE = "true"
_QUERY = re.compile(r"\?\S*")


class ProbeHandler:
    """Answers `/probe`. With `anything` targets need not be configured; `offset` in seconds."""

    def __init__(self, monitor: Monitor, *, anything: bool, offset: float) -> None:
        self._monitor = monitor
        self._anything = anything
        self._offset = offset
        self._asker = Asker(monitor)

    async def handle(self, request: web.Request) -> web.Response:
        """One probe and its metrics; with `debug=true` its transcript, and the module's configuration, as well."""
        query = request.query
        debug = query.get("debug") == _TRUE
        try:
            what = wanted(
                self._monitor.config,
                query.get("target", ""),
                query.get("module", ""),
                query.get("hostname", ""),
                anything=self._anything,
            )
            if "paths" in query:
                seen = self._paths(what, query["paths"])
                return await _answer(request, seen, _debug(what, (), seen) if debug else None)
            header = request.headers.get(TIMEOUT_HEADER)
            seconds = seconds_for(header, self._offset, what.module.timeout, self._monitor.config.probing.timeout)
            probed = await self._asker.probe(what, seconds)
        except RefusedError as error:
            return web.Response(text=f"{error}\n", status=error.status)
        except TargetError as error:
            return web.Response(text=f"{error}\n", status=400)
        self._note(what, probed)
        text = _debug(what, probed.outcome.transcript, [probed.seen]) if debug else None
        return await _answer(request, [probed.seen], text)

    def _paths(self, what: Wanted, paths: str) -> list[Seen]:
        """What the last round saw of each path of a target."""
        if paths != "all":
            raise RefusedError(400, "the parameter paths has the value all, or is not there")
        if what.own is None:
            raise RefusedError(404, "paths=all is for configured targets, and none has this name")
        if what.module.name != what.own.module:
            raise RefusedError(
                400, f"paths=all tells what rounds saw, and rounds of this target go by module {what.own.module}"
            )
        found = (path for path in self._monitor.status().paths if path.target == what.own.name)
        return [seen for path in found if (seen := of_path(path, what.module.prober)) is not None]

    def _note(self, what: Wanted, probed: Probed) -> None:
        """Keep it with the other results; what stands behind the `?` of a URL may be a secret."""
        target, query, _ = what.text.partition("?")
        outcome = probed.outcome
        if query:
            outcome = replace(outcome, transcript=tuple(_QUERY.sub(f"?{HIDDEN}", line) for line in outcome.transcript))
        now = self._monitor.outside.now()
        self._monitor.history.add(now, target, what.module.name, history.ADHOC, None, outcome)


async def _answer(request: web.Request, seen: list[Seen], text: str | None) -> web.Response:
    if text is not None:
        return web.Response(text=text)
    accept = request.headers.get(hdrs.ACCEPT, "")
    body, kind = await asyncio.to_thread(metrics.render_families, families(seen), accept)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: kind})


def _debug(what: Wanted, transcript: tuple[str, ...], seen: list[Seen]) -> str:
    """In the order of blackbox_exporter: what happened, the metrics, the module."""
    body, _ = metrics.render_families(families(seen), "")
    lines = "\n".join(transcript) or "see /history: these are results of the last rounds"
    return (
        f"Logs for the probe:\n{lines}\n\n\n\n"
        f"Metrics that would have been returned:\n{body.decode()}\n\n\n"
        f"Module configuration:\n{shown_module(what.module)}"
    )
