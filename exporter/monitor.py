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
from exporter.config import Config
from exporter.coverage import flows_per_path
from exporter.endpoint import Endpoint
from exporter.evidence import RouterView, of_vip
from exporter.expected import Expected, from_config
from exporter.feed import RouterFeed
from exporter.local import crosses
from exporter.names import Names
from exporter.outside import Outside
from exporter.pathmap import Basis, PathMap
from exporter.rounds import Round
from exporter.senses import EndpointSenses, Job, Place
from exporter.status import Status
from exporter.steering import Agreement, Means
from probes.ports import REST_SECONDS, candidates
from routers.model import Query, family_of

MAX_PROBES_AT_ONCE = 512
_MOST_PENDING = 8  # rounds of one endpoint that wait for the router's next answer


class Monitor:
    """Asks, probes and judges; everything published is `status()`."""

    def __init__(self, config: Config, outside: Outside, version: str) -> None:
        self.config = config
        self._outside = outside
        self.feeds: dict[str, RouterFeed] = {}
        self.views: dict[str, RouterView] = {}
        self.trust: dict[tuple[str, int], Agreement] = {}
        self.endpoints: dict[Place, Endpoint] = {}
        self.board = Board(version)
        self._names = Names()
        self._pending: dict[Place, deque[Round]] = {}
        self._running: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(MAX_PROBES_AT_ONCE)
        self._expected = Expected({}, {})
        self.configure(config)

    def configure(self, config: Config) -> list[RouterFeed]:
        """Take over a configuration; what it leaves unchanged is kept. Returns the feeds to be closed."""
        old = self.feeds
        if config.probing != self.config.probing:
            self.endpoints = {}  # their flows start from other addresses and ports
            self._pending = {}
        self.config = config
        self.feeds = {
            router.name: old[router.name]
            if router.name in old and old[router.name].config == router
            else self._outside.feed(router)
            for router in config.routers
        }
        self.views = {name: view for name, view in self.views.items() if self.feeds.get(name) is old[name]}
        self._expect()
        self._targets = {target.name: target for target in config.targets}
        return [feed for name, feed in old.items() if self.feeds.get(name) is not feed]

    @property
    def expected(self) -> Expected:
        return self._expected

    def status(self) -> Status:
        """The immutable snapshot that everything published comes from."""
        return self.board.status(self._expected, self.feeds, self.views, self.trust, self._outside.now())

    async def resolve(self) -> None:
        """Look up the targets that are given by name; an answer that fails leaves their last VIPs."""
        if await self._names.refresh([target.address for target in self.config.targets], self._outside.now()):
            self._expect()

    async def poll(self, name: str) -> list[str]:
        """Ask one router, then judge what waited for its answer. Returns the targets to be probed again."""
        feed = self.feeds[name]
        query = Query(
            vips=tuple(dict.fromkeys(vip for target in self._expected.targets.values() for vip in target.vips)),
            node_addresses=tuple(self._expected.owners),
        )
        fresh = await feed.poll(query)
        if self.feeds.get(name) is not feed:
            return []  # another configuration was taken over meanwhile
        if fresh and feed.snapshot is not None:
            self.views[name] = RouterView.of(feed.snapshot, self._expected)
        again = self._settle(name)
        for target in self._expected.targets:
            self._judge(target)
            await asyncio.sleep(0)
        return again

    async def check_nodes(self) -> None:
        """Make every node's direct check."""
        results = await self._outside.check(self._expected.owners, self.config.probing.timeout)
        self.board.direct = {
            name: _any_alive([results[address].alive for address in node.addresses])
            for name, node in self._expected.nodes.items()
        }

    async def round(self, name: str) -> None:
        """Probe every path of one target. Never two rounds of one target at a time."""
        async with self._running.setdefault(name, asyncio.Lock()):
            jobs = self._jobs(name) if name in self._targets else []
            rounds = await asyncio.gather(*(self._endpoint_round(job) for job in jobs))
            for job, finished in zip(jobs, rounds, strict=True):
                if job.place not in self.endpoints or name not in self._targets:
                    continue  # another configuration, or another answer of DNS, was taken over meanwhile
                if finished is None:
                    self.board.forget(job.place)
                elif job.evidence is None:
                    self._commit(job.place, finished, confirmed=False)
                else:
                    self._pending.setdefault(job.place, deque(maxlen=_MOST_PENDING)).append(finished)
            self.board.round_ended(self._outside.now())
            self._judge(name)

    async def full_round(self) -> None:
        """From nothing to verdicts: ask, probe, ask again. What needs a checked oracle goes second."""
        await asyncio.gather(self.resolve(), self.check_nodes())
        await self._poll_all(self.feeds)
        second = {name for name in self._expected.targets if self._needs_checked_oracle(name)}
        moved = await self._wave(name for name in self._expected.targets if name not in second)
        if second or moved:
            await self._wave([*second, *moved])

    async def _wave(self, names: Iterable[str]) -> list[str]:
        """One round of each target and the answer that confirms it; names those to be probed again."""
        await asyncio.gather(*(self.round(name) for name in names))
        # A router that did not answer a moment ago has nothing to confirm, and may hang.
        return await self._poll_all(
            name for name, feed in self.feeds.items() if feed.trouble(self._outside.now()) is None
        )

    def _needs_checked_oracle(self, name: str) -> bool:
        if self._targets[name].identity is not None:
            return False
        return any(job.evidence is not None and len(job.evidence.hops or ()) > 1 for job in self._jobs(name))

    async def close(self) -> None:
        await asyncio.gather(*(feed.close() for feed in self.feeds.values()))

    async def _poll_all(self, names: Iterable[str]) -> list[str]:
        found = await asyncio.gather(*(self.poll(name) for name in names))
        return sorted(set(itertools.chain.from_iterable(found)))

    def _expect(self) -> None:
        vips = {target.name: self._names.vips(target.address) for target in self.config.targets}
        self._expected = from_config(self.config, vips)
        self.views = {name: RouterView.of(view.snapshot, self._expected) for name, view in self.views.items()}
        places = {
            (router, name, vip)
            for router in self.feeds
            for name, target in self._expected.targets.items()
            for vip in target.vips
        }
        self.endpoints = {place: found for place, found in self.endpoints.items() if place in places}
        self._pending = {place: found for place, found in self._pending.items() if place in places}
        self.board.keep(places, self._expected)

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
                evidence = of_vip(self.views[router], self._expected, target, vip) if known else None
                if evidence is not None and evidence.hops is None:
                    evidence = None
                jobs.append(Job((router, name, vip), config, module, evidence))
        return jobs

    def _crosses(self, feed: RouterFeed, vip: str) -> bool:
        addresses = feed.snapshot.addresses if feed.snapshot is not None else frozenset()
        gateway = self._outside.gateway(vip) if len(self.feeds) > 1 else None
        return crosses(feed.config, len(self.feeds) > 1, gateway, addresses)

    async def _endpoint_round(self, job: Job) -> Round | None:
        """One endpoint's round; None when the router forwards the VIP nowhere, so there is no path to probe."""
        router, name, vip = job.place
        endpoint = self.endpoints.get(job.place)
        if endpoint is None:
            endpoint = self.endpoints[job.place] = Endpoint(self._path_map(job.place))
        senses = EndpointSenses(self._outside, self.config, self.feeds[router], self._expected, job, self._slots)
        if job.evidence is None:
            last = [via for via, _ in endpoint.map.basis]
            vias = last or list(self._expected.targets[name].nodes)
            return await endpoint.blind_round(vias, senses, has_identity=job.target.identity is not None)
        if not job.evidence.hops:
            return None
        means = Means(
            next_hops=len(job.evidence.hops),
            wanted=self.config.probing.steering,
            has_oracle=self.feeds[router].platform.HAS_LINUX_ORACLE,
            has_identity=job.target.identity is not None,
            checkable=self._checkable(router, family_of(vip)),
        )
        return await endpoint.round(job.evidence.hops, means, self._trust(router, vip), senses)

    def _checkable(self, router: str, family: int) -> bool:
        """Whether some target could show, on two next hops or more, if the router's oracle is right."""
        return any(
            place[0] == router
            and family_of(place[2]) == family
            and len(endpoint.map.basis) > 1
            and self._targets[place[1]].identity is not None
            for place, endpoint in self.endpoints.items()
        )

    def _path_map(self, place: Place) -> PathMap:
        probing = self.config.probing
        own = [address for address in probing.source_addresses if family_of(address) == family_of(place[2])]
        addresses: Sequence[str | None] = own or [None]
        avoid = self._outside.busy_ports()
        limit = flows_per_path(probing.interval, REST_SECONDS)
        return PathMap(lambda: candidates(addresses, probing.source_ports, " ".join(place), avoid), limit)

    def _trust(self, router: str, vip: str) -> Agreement:
        return self.trust.setdefault((router, family_of(vip)), Agreement())

    def _settle(self, router: str) -> list[str]:
        """Commit the rounds that this router's new snapshot confirms; name the targets of the others."""
        again: list[str] = []
        feed = self.feeds[router]
        usable = feed.trouble(self._outside.now()) is None
        for place, waiting in self._pending.items():
            if place[0] != router:
                continue
            while waiting and not usable:
                self._commit(place, waiting.popleft(), confirmed=False)
            basis = self._basis(place) if waiting else None
            # Without an answer on this VIP its rounds go on waiting.
            while basis is not None and waiting and waiting[0].ended <= self.views[router].snapshot.taken_at:
                finished = waiting.popleft()
                if finished.basis == basis:
                    self._commit(place, finished, confirmed=True)
                else:
                    again.append(place[1])
        if usable:
            again += [place[1] for place in self.endpoints if place[0] == router and self._can_see_again(place)]
        return again

    def _can_see_again(self, place: Place) -> bool:
        """Whether an endpoint was probed blind and the router tells of it now, so that it can be probed rightly."""
        return self.board.is_blind(place) and not self._pending.get(place) and self._basis(place) is not None

    def _basis(self, place: Place) -> Basis | None:
        """The next hops of an endpoint in the router's newest snapshot; None if it did not tell."""
        router, name, vip = place
        hops = of_vip(self.views[router], self._expected, self._expected.targets[name], vip).hops
        return None if hops is None else tuple((hop.via, hop.weight) for hop in hops)

    def _commit(self, place: Place, finished: Round, *, confirmed: bool) -> None:
        if confirmed:
            self._trust(place[0], place[2]).record(finished.oracle_checks)
            self.endpoints[place].memory.record(finished.memory_checks)
        prober = self.config.modules[self._targets[place[1]].module].prober
        self.board.commit(place, finished, prober, self._expected.nodes, confirmed=confirmed)

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
        self.board.judge(self._expected, target, standpoints, now, self._names.success(target.address))


def _any_alive(answers: Sequence[bool | None]) -> bool | None:
    if any(answers):
        return True
    return False if any(answer is False for answer in answers) else None
