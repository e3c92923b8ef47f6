"""When what happens, on apscheduler: rounds spread over the interval, none of one target over the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from exporter.monitor import Monitor

_NAMES_INTERVAL = 15.0  # the shortest time for which a DNS answer is kept
_LEARNING_INTERVAL = 3.0  # of the survey, which paces itself
_ROUND = "round:"

log = logging.getLogger(__name__)


class Schedule:
    """Runs a monitor: polls of routers, rounds of targets, direct checks, look-ups of names."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._stopping = False
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._scheduler.add_listener(self._missed, EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED)

    def start(self) -> None:
        """Begin; the first run of each job lies within its interval, evenly spread."""
        self._scheduler.start()
        self.plan()

    def stop(self) -> None:
        """No job starts any more, and those that run are cancelled."""
        self._stopping = True
        if self._scheduler.running:  # else the end comes before the beginning
            self._scheduler.shutdown(wait=False)

    def plan(self) -> None:
        """Plan the jobs anew, for the monitor's present configuration."""
        self._scheduler.remove_all_jobs()
        config = self._monitor.config
        for position, router in enumerate(config.routers):
            share = position / len(config.routers)
            self._every(router.poll_interval, share, f"poll:{router.name}", partial(self._poll, router.name))
        for position, target in enumerate(config.targets):
            share = position / len(config.targets)
            self._every(config.probing.interval, share, _ROUND + target.name, partial(self._monitor.round, target.name))
        self._every(config.probing.interval, 0.5, "direct", self._monitor.check_nodes)
        if config.probing.direct_steering:
            self._every(config.probing.interval, 0.75, "straight", self._monitor.go_straight)
        learn = partial(self._monitor.learn, _LEARNING_INTERVAL - 1.0)
        self._every(_LEARNING_INTERVAL, 0.5, "learn", learn)
        self._every(_NAMES_INTERVAL, 0.25, "names", self._monitor.resolve)

    def _every(self, seconds: float, share: float, name: str, action: Callable[[], Awaitable[None]]) -> None:
        start = datetime.now(UTC) + timedelta(seconds=seconds * share)
        self._scheduler.add_job(
            self._guarded,
            IntervalTrigger(seconds=seconds, timezone=UTC),
            args=(name, action),
            id=name,
            next_run_time=start,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=max(1, round(seconds)),
        )

    async def _poll(self, name: str) -> None:
        if name not in self._monitor.feeds:
            return
        for target in await self._monitor.poll(name):
            self._soon(target)

    def _soon(self, target: str) -> None:
        """The router's next hops changed under a round: make it again now, not an interval later."""
        job = self._scheduler.get_job(_ROUND + target)
        if job is not None:
            job.modify(next_run_time=datetime.now(UTC))

    async def _guarded(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        """A fault of ours in one job is logged and stops neither this job's next run nor any other."""
        try:
            await action()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except Exception:
            log.exception("job %s failed", name)

    def _missed(self, event: JobEvent) -> None:
        if event.job_id.startswith(_ROUND):
            self._monitor.board.rounds_missed += 1
            log.warning("a round of target %s was missed: the one before still ran", event.job_id.removeprefix(_ROUND))
