"""Probes past the router: straight through nodes that it does not forward to now, would they serve if it did?

Nothing here counts in a path's results or verdict: that stays what the router's tables say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from exporter.config import Config
from exporter.expected import Expected
from exporter.outside import Bypassing, Outside
from exporter.status import DirectProbe, PathStatus, Status
from exporter.together import each
from exporter.verdicts import Verdict
from probes.model import Flow, Outcome, Request
from routers.model import family_of

_AT_A_TIME = 32
_Way = tuple[str, str, str]
"""(target, vip, node): the same for all routers."""


class DirectSteering:
    """Keeps the newest probe of each such path. What it needs of this machine's routing is there only meanwhile."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._bypass: Bypassing | None = None
        self._found: dict[_Way, DirectProbe] = {}
        self._turn = asyncio.Lock()
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def round(self, config: Config, expected: Expected, paths: Iterable[PathStatus]) -> None:
        """One probe of each of these paths that its router is known not to forward to; none if not configured."""
        async with self._turn:
            ways = _ways(expected, paths) if config.probing.direct_steering else {}
            self._found = {way: found for way, found in self._found.items() if way in ways}
            if not ways:
                await self._let_go()
                return
            if self._bypass is None:
                self._bypass = self._outside.bypass()
            addresses = dict.fromkeys(address for own in ways.values() for address in own)
            marks = await self._bypass.install(list(addresses), list(dict.fromkeys(vip for _, vip, _ in ways)))
            why = self._bypass.why
            ready: dict[_Way, int] = {}
            for way, own in ways.items():
                mark = next((marks[address] for address in own if address in marks), None)
                if mark is None:
                    self._found[way] = DirectProbe(self._outside.now(), None, _why_not(way, own, why), 0.0)
                else:
                    ready[way] = mark
            await each(lambda one: self._probe(config, *one), ready.items())

    def onto(self, status: Status) -> Status:
        """The status, with what was found on its paths."""
        if not self._found:
            return status
        targets = [
            replace(target, paths=tuple(self._with_probe(path) for path in target.paths))
            if any(target.name == name for name, _, _ in self._found)
            else target
            for target in status.targets
        ]
        return replace(status, targets=tuple(targets))

    async def close(self) -> None:
        """Leave this machine's routing as it was. Idempotent; another round begins anew."""
        async with self._turn:
            self._found = {}
            await self._let_go()

    def _with_probe(self, path: PathStatus) -> PathStatus:
        found = self._found.get((path.target, path.vip, path.node or ""))
        return path if found is None or not _left_out(path) else replace(path, direct=found)

    async def _probe(self, config: Config, way: _Way, mark: int) -> None:
        name, vip, _ = way
        target = next(one for one in config.targets if one.name == name)
        module = config.modules[target.module]
        request = Request(
            flow=Flow(vip, target.port, mark=mark),
            host=target.address,
            timeout_seconds=module.timeout or config.probing.timeout,
        )
        async with self._slots:
            outcome = await self._outside.probe(module.prober, request, module.settings)
        self._found[way] = _seen(outcome, self._outside.now())

    async def _let_go(self) -> None:
        if self._bypass is not None:
            await self._bypass.close()
            self._bypass = None


def _left_out(path: PathStatus) -> bool:
    """Whether the router tells that it does not forward to this node, which should serve."""
    return path.expected and path.fib == "missing" and path.verdict is not Verdict.ROUTER_UNKNOWN


def _ways(expected: Expected, paths: Iterable[PathStatus]) -> dict[_Way, tuple[str, ...]]:
    """The node's addresses of the VIP's family, for each path that is left out and still expected."""
    found: dict[_Way, tuple[str, ...]] = {}
    for path in paths:
        target = expected.targets.get(path.target)
        node = expected.nodes.get(path.node or "")
        if target is None or node is None or path.vip not in target.vips or not _left_out(path):
            continue
        family = family_of(path.vip)
        own = tuple(address for address in node.addresses if family_of(address) == family)
        found[target.name, path.vip, node.name] = own
    return found


def _why_not(way: _Way, own: tuple[str, ...], why: Mapping[str, str]) -> str:
    if not own:
        return f"no IPv{family_of(way[1])} address of {way[2]} is configured"
    return next((why[address] for address in own if address in why), "no policy route could be made")


def _seen(outcome: Outcome, now: float) -> DirectProbe:
    if outcome.failure is None:
        return DirectProbe(now, True, "", outcome.duration_seconds)
    if outcome.failure.local:
        return DirectProbe(now, None, f"this machine could not send a probe: {outcome.detail}", 0.0)
    return DirectProbe(now, False, f"{outcome.failure}, {outcome.detail}", outcome.duration_seconds)
