"""The straight line of a round: expected state and router snapshot -> path map -> probes -> verdicts.

What a round saw is judged only when a later snapshot shows that the router's next hops did not change
while it ran; else the round is thrown away and made again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Sequence

from exporter.board import Board
from exporter.conclude import Standpoint
from exporter.config import Config, Module
from exporter.config import Target as TargetConfig
from exporter.direct_steering import DirectSteering
from exporter.endpoints import ENOUGH_TO_BEGIN, Endpoints
from exporter.evidence import RouterView, VipEvidence, of_vip
from exporter.expected import Expected, from_config
from exporter.feed import RouterFeed
from exporter.history import History
from exporter.local import crosses
from exporter.names import Names, wanted_by
from exporter.outside import Outside
from exporter.pathmap import Basis
from exporter.rounds import Round
from exporter.run import MOVED
from exporter.senses import Job, Place
from exporter.status import Status
from routers.model import Query, family_of

_FIRST_LEARNING = 20.0  # seconds, at most, before the first round; mostly it takes less than 5
_MOST_PENDING = 8  # rounds of one endpoint that wait for the router's next answer


class Monitor:
    """Asks, probes and judges; everything published is `status()`."""

    def __init__(self, config: Config, outside: Outside, version: str) -> None:
        self.config = config
        self._outside = outside
        self.feeds: dict[str, RouterFeed] = {}
        self.views: dict[str, RouterView] = {}
        self.endpoints = Endpoints(outside, config)
        self.board = Board(version)
        self.history = History()
        self.direct_steering = DirectSteering(outside)
        self._names = Names()
        self._names.configure(config.resolvers)
        self._pending: dict[Place, deque[Round]] = {}
        self._running: dict[str, asyncio.Lock] = {}
        self._expected = Expected({}, {})
        self._seen: dict[Place, tuple[RouterView, VipEvidence]] = {}
        self._shown: dict[Place, tuple[Basis, float]] = {}  # next hops, and since which snapshot they are the same
        self._silent: set[str] = set()  # routers that did not answer their last poll
        self._away: dict[str, float] = {}  # when one of them was back
        self.configure(config)

    def configure(self, config: Config) -> list[RouterFeed]:
        """Take over a configuration; what it leaves unchanged is kept. Returns the feeds to be closed."""
        old = self.feeds
        if config.probing != self.config.probing:
            self._pending = {}
        if config.resolvers != self.config.resolvers:
            self._names.configure(config.resolvers)
        self.config = config
        self.feeds = {
            router.name: old[router.name]
            if router.name in old and old[router.name].config == router
            else self._outside.feed(router)
            for router in config.routers
        }
        self.views = {name: view for name, view in self.views.items() if self.feeds.get(name) is old[name]}
        self._targets = {target.name: target for target in config.targets}
        self._expect()
        return [feed for name, feed in old.items() if self.feeds.get(name) is not feed]

    @property
    def expected(self) -> Expected:
        return self._expected

    @property
    def outside(self) -> Outside:
        return self._outside

    def status(self) -> Status:
        """The immutable snapshot that everything published comes from."""
        steered = self.endpoints.steered(
            job.place for job in self._all_jobs() if job.evidence is None or job.evidence.hops
        )
        found = self.board.status(self._expected, self.feeds, self.views, steered, self._outside.now())
        return self.direct_steering.onto(found)

    async def resolve(self) -> None:
        """Look up the targets that are given by name; an answer that fails leaves their last VIPs."""
        wanted = [wanted_by(target, self._module(target)) for target in self.config.targets]
        if await self._names.refresh(wanted, self._outside.now()):
            self._expect()

    async def poll(self, name: str) -> list[str]:
        """Ask one router, then judge what waited for its answer. Returns the targets to be probed again."""
        feed = self.feeds[name]
        vips = tuple(dict.fromkeys(vip for target in self._expected.targets.values() for vip in target.vips))
        query = Query(vips, tuple(self._expected.owners), self._sources(vips))
        wandered: frozenset[tuple[Place, str]] = frozenset()
        fresh = await feed.poll(query)
        if self.feeds.get(name) is not feed:
            return []  # another configuration was taken over meanwhile
        if not fresh:
            self._silent.add(name)
        elif name in self._silent:
            self._silent.remove(name)
            self._away[name] = self._outside.now()
            self.endpoints.router_was_away(name)
        if fresh and feed.snapshot is not None:
            self.views[name] = RouterView.of(feed.snapshot, self._expected)
            wandered = await self.endpoints.wandered(name, self._waiting(name))
            if self.feeds.get(name) is not feed:
                return []
        again = self._settle(name, wandered)
        for target in self._expected.targets:
            self._judge(target)
            await asyncio.sleep(0)
        return again

    async def check_nodes(self) -> None:
        """Make every node's direct check."""
        began = self._outside.now()
        results = await self._outside.check(self._expected.owners, self.config.probing.timeout)
        self.board.checked(
            {
                name: _any_alive([results[address].alive for address in node.addresses])
                for name, node in self._expected.nodes.items()
            },
            began,
        )

    async def round(self, name: str) -> None:
        """Probe every path of one target. Never two rounds of one target at a time."""
        async with self._running.setdefault(name, asyncio.Lock()):
            jobs = self._jobs(name) if name in self._targets else []
            rounds = await asyncio.gather(*(self.endpoints.round(job) for job in jobs))
            for job, finished in zip(jobs, rounds, strict=True):
                if job.place not in self.endpoints.known or name not in self._targets:
                    continue  # another configuration, or another answer of DNS, was taken over meanwhile
                if finished is None:
                    self.board.forget(job.place)
                elif job.evidence is None:
                    self._commit(job.place, finished, confirmed=False)
                else:
                    self._pending.setdefault(job.place, deque(maxlen=_MOST_PENDING)).append(finished)
            self.board.round_ended(self._outside.now())
            if any(one is not None and one.sweep is not None and one.sweep.failed for one in rounds):
                await self.check_nodes()  # is a node silent that was so before these flows failed?
            self._judge(name)

    async def learn(self, seconds: float, *, publish: bool = False) -> None:
        """Go on finding out which flows take which next hops; `publish` it at once, and not by the next round."""
        jobs = self._all_jobs()
        await self.endpoints.learn(jobs, seconds)
        for job in jobs if publish else ():
            if job.place in self.endpoints.known and job.evidence is not None and job.evidence.hops:
                self.endpoints.publish(job.place, self.board.last_round(job.place))

    async def go_straight(self) -> None:
        """Probe past the routers what they do not forward to, where that is configured."""
        await self.direct_steering.round(self.config, self._expected, self.board.paths())

    async def full_round(self) -> None:
        """From nothing to verdicts: ask, learn, probe, ask again. What a method was proven for meanwhile goes twice."""
        await asyncio.gather(self.resolve(), self.check_nodes())
        await self._poll_all(self.feeds)
        asked = self._asked()
        await self.endpoints.learn(self._all_jobs(), _FIRST_LEARNING, ENOUGH_TO_BEGIN)
        await self._poll_all(asked)
        moved = await self._wave(self._expected.targets)
        await self.go_straight()
        better = {name for name in self._expected.targets if self._could_do_better(name)}
        if better or moved:
            await self._wave({*better, *moved})

    async def _wave(self, names: Iterable[str]) -> list[str]:
        """One round of each target and the answer that confirms it; names those to be probed again."""
        await asyncio.gather(*(self.round(name) for name in names))
        return await self._poll_all(self._asked())

    def _asked(self) -> list[str]:
        """The routers that can be asked. One that did not answer a moment ago has nothing to confirm, and may hang."""
        now = self._outside.now()
        return [name for name, feed in self.feeds.items() if feed.trouble(now) is None]

    def _could_do_better(self, name: str) -> bool:
        """Whether what was learned since a target's last round gives it another method."""
        return any(
            (endpoint := self.endpoints.known.get(job.place)) is not None
            and job.evidence is not None
            and len(job.evidence.hops or ()) > 1
            and self.endpoints.choice(job).method is not endpoint.method
            for job in self._jobs(name)
        )

    async def close(self) -> None:
        await asyncio.gather(
            self._names.close(), self.direct_steering.close(), *(feed.close() for feed in self.feeds.values())
        )

    async def _poll_all(self, names: Iterable[str]) -> list[str]:
        found = await asyncio.gather(*(self.poll(name) for name in names))
        return sorted(set(itertools.chain.from_iterable(found)))

    def _expect(self) -> None:
        vips = {
            target.name: self._names.vips(wanted_by(target, self._module(target))) for target in self._targets.values()
        }
        self._expected = from_config(self.config, vips)
        self.views = {name: RouterView.of(view.snapshot, self._expected) for name, view in self.views.items()}
        places = {
            (router, name, vip)
            for router in self.feeds
            for name, target in self._expected.targets.items()
            for vip in target.vips
        }
        self.endpoints.configure(self.config, self.feeds, self._expected, places)
        self._pending = {place: found for place, found in self._pending.items() if place in places}
        self._shown = {place: found for place, found in self._shown.items() if place in places}
        self._seen = {}
        self.board.keep(places, self._expected)

    def _module(self, target: TargetConfig) -> Module:
        return self.config.modules[target.module]

    def _all_jobs(self) -> list[Job]:
        return [job for name in self._targets for job in self._jobs(name)]

    def _jobs(self, name: str) -> list[Job]:
        target = self._expected.targets[name]
        config = self._targets[name]
        module = self.config.modules[config.module]
        jobs: list[Job] = []
        for router, feed in self.feeds.items():
            known = feed.trouble(self._outside.now()) is None and router in self.views
            for vip in target.vips:
                if not self._crosses(feed, vip):
                    continue
                evidence = self._evidence((router, name, vip)) if known else None
                if evidence is not None and evidence.hops is None:
                    evidence = None
                jobs.append(Job((router, name, vip), config, module, evidence))
        return jobs

    def _crosses(self, feed: RouterFeed, vip: str) -> bool:
        addresses = feed.snapshot.addresses if feed.snapshot is not None else frozenset()
        gateway = self._outside.gateway(vip) if len(self.feeds) > 1 else None
        return crosses(feed.config, len(self.feeds) > 1, gateway, addresses)

    def _sources(self, vips: Iterable[str]) -> dict[str, str]:
        """By VIP: the address from which its flows start, or the first one of those that are configured."""
        own = self.config.probing.source_addresses
        found = {}
        for vip in vips:
            pinned = next((address for address in own if family_of(address) == family_of(vip)), None)
            source = pinned or self._outside.local_source(vip)
            if source is not None:
                found[vip] = source
        return found

    def _waiting(self, router: str) -> list[tuple[Job, Round]]:
        """The rounds that this router's newest snapshot may confirm."""
        found: list[tuple[Job, Round]] = []
        for place, waiting in self._pending.items():
            if place[0] == router and waiting and place[1] in self._targets:
                jobs = [job for job in self._jobs(place[1]) if job.place == place and job.evidence is not None]
                found += [(job, finished) for job in jobs for finished in waiting]
        return found

    def _settle(self, router: str, wandered: frozenset[tuple[Place, str]]) -> list[str]:
        """Commit the rounds that this router's new snapshot confirms; name the targets of the others.

        A snapshot of other next hops throws away what was seen before or while it was taken, whatever later ones
        show, also if the round still runs. Paths whose flows have `wandered` have no result.
        """
        again: list[str] = []
        feed = self.feeds[router]
        usable = feed.trouble(self._outside.now()) is None
        if usable:
            self._note_next_hops(router)
        for place, waiting in self._pending.items():
            if place[0] != router:
                continue
            while waiting and not usable:
                self._commit(place, waiting.popleft(), confirmed=False)
            basis = self._basis(place) if waiting else None
            if basis is None:
                continue  # without an answer on this VIP its rounds go on waiting
            taken_at, back_at = self.views[router].snapshot.taken_at, self._away.get(router, float("-inf"))
            since = max(back_at, self._shown[place][1])
            sound = [one for one in waiting if one.basis == basis and one.started >= since]
            if len(sound) < len(waiting):
                waiting.clear()
                waiting.extend(sound)
                again.append(place[1])
            while waiting and waiting[0].ended <= taken_at:
                moved = {via for one, via in wandered if one == place}
                self._commit(place, waiting.popleft().without(moved, MOVED), confirmed=True)
        if usable:
            self.endpoints.survey.settle(router, self.views[router].snapshot.taken_at, self._basis)
            again += [place[1] for place in self.endpoints.known if place[0] == router and self._can_see_again(place)]
        return again

    def _note_next_hops(self, router: str) -> None:
        """Forget results of next hops that left, and note since which snapshot each endpoint has those of now."""
        for name, target in self._expected.targets.items():
            for vip in target.vips:
                place = (router, name, vip)
                basis = self._basis(place)
                before, _ = self._shown.get(place, (None, 0.0))
                if basis is None:
                    continue
                self.board.forwarded(place, {via for via, _ in basis})
                if basis != before:
                    since = float("-inf") if before is None else self.views[router].snapshot.taken_at
                    self._shown[place] = basis, since

    def _can_see_again(self, place: Place) -> bool:
        """Whether an endpoint was probed blind and the router tells of it now, so that it can be probed rightly."""
        return self.board.is_blind(place) and not self._pending.get(place) and self._basis(place) is not None

    def _basis(self, place: Place) -> Basis | None:
        """The next hops of an endpoint in the router's newest snapshot; None if it did not tell."""
        hops = self._evidence(place).hops
        return None if hops is None else tuple((hop.via, hop.weight) for hop in hops)

    def _evidence(self, place: Place) -> VipEvidence:
        """What the router's newest snapshot holds on an endpoint, sorted once."""
        router, name, vip = place
        view = self.views[router]
        seen = self._seen.get(place)
        if seen is None or seen[0] is not view:
            seen = self._seen[place] = (view, of_vip(view, self._expected, self._expected.targets[name], vip))
        return seen[1]

    def _commit(self, place: Place, finished: Round, *, confirmed: bool) -> None:
        if confirmed:
            self.endpoints.record(place, finished)
        module = self.config.modules[self._targets[place[1]].module]
        self.board.commit(place, finished, module.prober, self._expected.nodes, confirmed=confirmed)
        for sent in finished.sent:
            via = sent.named or sent.meant
            self.history.add(finished.ended, place[1], module.name, place[0], via, sent.outcome)
        self.endpoints.publish(place, self.board.last_round(place))

    def _judge(self, name: str) -> None:
        target = self._expected.targets.get(name)
        if target is None:
            return
        now = self._outside.now()
        probing = self.config.probing
        round_seconds = probing.interval + probing.timeout
        standpoints = [
            Standpoint(
                router=router,
                view=self.views.get(router),
                trouble=(trouble := feed.trouble(now)),
                crossed=all(self._crosses(feed, vip) for vip in target.vips),
                exercises={
                    vip: self.board.exercise(
                        (router, name, vip),
                        now - feed.confirmed_within - 4 * round_seconds,
                        blind=trouble is not None or vip not in self.views[router].snapshot.fib,
                    )
                    for vip in target.vips
                },
            )
            for router, feed in self.feeds.items()
        ]
        config = self._targets[name]
        dns = self._names.status(config, self._module(config))
        self.board.judge(self._expected, target, standpoints, now, dns)


def _any_alive(answers: Sequence[bool | None]) -> bool | None:
    if any(answers):
        return True
    return False if any(answer is False for answer in answers) else None
