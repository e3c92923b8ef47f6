"""One seed played: a monitor on its schedule in a simulated network, every status held against the truth."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from exporter.config import Config
from exporter.configfile import loads
from exporter.monitor import Monitor
from exporter.schedule import _LEARNING_INTERVAL
from exporter.status import Status
from tests.simulation import loop
from tests.simulation.faults import Fault, Kind
from tests.simulation.network import Network
from tests.simulation.outside import SimulatedOutside, source_addresses
from tests.simulation.watch import Span, Violation, Watch
from tests.simulation.world import World, draw


@dataclass(slots=True)
class Played:
    """What became of a world. `history` is every change of a verdict, `shares` are verdicts by target and truth."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    rounds: int = 0
    probes: int = 0
    segments: int = 0
    seconds: float = 0.0  # of virtual time
    shares: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)


def play(seed: int, tell: Callable[[str], None] | None = None) -> Played:
    """Play a seed to its end. `tell` is called with every event, as it happens."""
    return play_world(draw(seed), tell)


def play_world(world: World, tell: Callable[[str], None] | None = None) -> Played:
    """The same with a world that was made by hand."""
    played = Played(world)
    try:
        loop.run(_Play(played, tell).run())
    except Exception as error:  # noqa: BLE001  (whatever the exporter raises is a finding)
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        place = ""
        trace = cause.__traceback__
        while trace is not None:
            place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
            trace = trace.tb_next
        played.violations.append(Violation("exception", played.seconds, f"{cause!r} at {place}"))
    return played


def config_of(world: World, timeout: float = 3.0) -> Config:
    """The configuration of an exporter that watches a world; `timeout` of probes in seconds."""
    families = sorted({6 if ":" in address else 4 for node in world.nodes for address in node.addresses})
    routers = ["edge", "beside"] if world.beside else ["edge"]
    text = {
        "probing": {
            "interval": f"{world.interval:g}s",
            "timeout": f"{round(1000 * timeout)}ms",
            "source_addresses": [one for family in families for one in source_addresses(family, world.sources)],
        },
        "routers": [
            {
                "name": name,
                "platform": world.platform,
                "poll_interval": f"{world.poll_interval:g}s",
                "exec": {"prefix": []},
            }
            for name in routers
        ],
        "nodes": [{"name": node.name, "addresses": list(node.addresses)} for node in world.nodes],
        "targets": [
            {
                "name": target.name,
                "address": target.vip,
                "port": target.port,
                "module": "http_2xx",
                "nodes": list(target.nodes),
                **({"identity": {"header": "X-Node"}} if target.identity else {}),
            }
            for target in world.targets
        ],
    }
    return loads(json.dumps(text))


class _Watched(Monitor):
    """A monitor that tells of its rounds and polls."""

    def __init__(self, world: World, outside: SimulatedOutside, play: _Play) -> None:
        self._play = play
        super().__init__(config_of(world), outside, "simulated")

    async def round(self, name: str) -> None:
        begin, probes = self._play.network.clock(), self._play.sent_to(name)
        await super().round(name)
        self._play.round_ended(self, name, begin, self._play.sent_to(name) - probes)

    async def poll(self, name: str) -> list[str]:
        begin = self._play.network.clock()
        again = await super().poll(name)
        self._play.poll_ended(self, name, begin, again)
        return again


@dataclass(slots=True)
class _Job:
    """What exporter.schedule plans: an action every so many seconds, never twice at a time."""

    action: Callable[[], Awaitable[None]]
    seconds: float
    due: float
    running: asyncio.Task[None] | None = None


class _Play:
    def __init__(self, played: Played, tell: Callable[[str], None] | None) -> None:
        self._played = played
        self._tell = tell
        self._world = played.world
        self._verdicts: dict[tuple[str, str, str], str] = {}
        self._jobs: dict[str, _Job] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        ticking = asyncio.get_running_loop()
        ticking.set_exception_handler(self._note_exception)
        # A timer may come due a billionth of a second early.
        self.network = Network(
            self._world, lambda: ticking.time() + 1e-6, lambda moment: ticking.call_at(moment, self._turn)
        )
        self.outside = SimulatedOutside(self.network)
        self.watch = Watch(self.network)
        self.monitor = _Watched(self._world, self.outside, self)
        try:
            await self.monitor.full_round()
            self._plan()
            await self._keep_to_it()
        finally:
            for job in self._jobs.values():
                if job.running is not None:
                    job.running.cancel()
            await self.monitor.close()
            self._sum_up()

    def _sum_up(self) -> None:
        played = self._played
        self.watch.finish()
        played.violations += self.watch.violations
        played.seconds = self.network.clock()
        played.probes, played.segments = self.outside.sent, self.outside.scout.sent
        played.shares = self.watch.shares

    def _plan(self) -> None:
        """As exporter.schedule does it: spread over the interval."""
        now, config = self.network.clock(), self.monitor.config
        for position, router in enumerate(config.routers):
            seconds = router.poll_interval
            self._jobs[f"poll {router.name}"] = _Job(
                partial(self._poll, router.name), seconds, now + seconds * position / len(config.routers)
            )
        seconds = config.probing.interval
        for position, target in enumerate(config.targets):
            self._jobs[target.name] = _Job(
                partial(self.monitor.round, target.name), seconds, now + seconds * position / len(config.targets)
            )
        self._jobs["learn"] = _Job(
            partial(self.monitor.learn, _LEARNING_INTERVAL - 1.0), _LEARNING_INTERVAL, now + _LEARNING_INTERVAL / 2
        )
        self._jobs["direct"] = _Job(self.monitor.check_nodes, seconds, now + seconds / 2)

    async def _keep_to_it(self) -> None:
        while self.network.clock() < self._world.length:
            self._wake.clear()
            now = self.network.clock()
            for name, job in self._jobs.items():
                if job.running is not None and job.running.done():
                    job.running.result()
                    job.running = None
                if job.due > now:
                    continue
                if job.running is None:
                    job.running = asyncio.create_task(_run(job.action), name=name)
                    job.running.add_done_callback(lambda _: self._wake.set())
                while job.due <= now:
                    job.due += job.seconds
            soonest = min(job.due for job in self._jobs.values())
            try:
                async with asyncio.timeout(max(0.0, min(soonest, self._world.length) - self.network.clock())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _poll(self, router: str) -> None:
        for target in await self.monitor.poll(router):
            job = self._jobs[target]
            job.due = self.network.clock()
            self._wake.set()

    # What is noted.

    def sent_to(self, name: str) -> int:
        """How many probes a target got so far."""
        target = next(one for one in self._world.targets if one.name == name)
        return self.outside.to[target.vip, target.port]

    def _note_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        what = f"{context['message']}: {context.get('exception')!r}"
        self._played.violations.append(Violation("exception", self.network.clock(), what))

    def _turn(self) -> None:
        for fault in self.network.turn():
            self._say(f"{'begins' if fault in self.network.active else 'ends'}: {fault}")
            if fault.kind is Kind.RELOAD:
                self._reload(fault)

    def _reload(self, fault: Fault) -> None:
        self.monitor.configure(config_of(self._world, timeout=2.0 + fault.level))

    def round_ended(self, monitor: Monitor, name: str, begin: float, probes: int) -> None:
        now = self.network.clock()
        self.watch.rounds.setdefault(name, []).append(Span(begin, now))
        self._played.rounds += 1
        self._say(f"round of {name} since {begin:.3f}: {probes} probes")
        status = monitor.status()
        self.watch.count_probes(status, name, probes, self.outside.scout.sent)
        self._look(status, count=False)

    def poll_ended(self, monitor: Monitor, name: str, begin: float, again: list[str]) -> None:
        now = self.network.clock()
        feed = monitor.feeds[name]
        if name == "edge":
            snapshot = feed.snapshot
            self.watch.whole = (
                feed.error is None
                and snapshot is not None
                and all(target.vip in snapshot.fib for target in self._world.targets)
            )
            if self.watch.whole:
                self.watch.answered.append(Span(begin, now))
        more = f", again {' '.join(dict.fromkeys(again))}" if again else ""
        self._say(f"poll of {name} since {begin:.3f}: {feed.error or 'answered'}{more}")
        self._look(monitor.status(), count=name == "edge")

    def _look(self, status: Status, *, count: bool) -> None:
        known = len(self.watch.violations)
        for path in status.paths:
            key = (path.target, path.router, path.node or path.next_hop or "")
            if self._verdicts.get(key) != path.verdict.value:
                self._verdicts[key] = path.verdict.value
                line = f"{' '.join(key)} is {path.verdict.value}: {path.reason}"
                self._played.history.append(f"{self.network.clock():.6f} {line}")
                self._say(line)
            if count and path.result is not None and path.router == "edge":
                self._played.methods[path.result.method] += 1
        self.watch.look(status, count=count)
        for violation in self.watch.violations[known:]:
            self._say(f"VIOLATION {violation}")

    def _say(self, line: str) -> None:
        if self._tell is not None:
            self._tell(f"{self.network.clock():10.3f} {line}")


async def _run(action: Callable[[], Awaitable[None]]) -> None:
    await action()
