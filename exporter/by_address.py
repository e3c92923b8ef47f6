"""A node to which the router forwards by several addresses: its path works only if each of them does.

ICMP errors and answers name the node and not the address; only the router's own word tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from exporter.evidence import Hop
from exporter.rounds import Sent, result
from exporter.run import Run
from exporter.verdicts import PathResult
from probes.ports import Source

_MOST_ASKED = 64  # flows, to find some for each address
_CALM_SECONDS = 1.0
_TRIES = 3  # probes that fail before an address is called broken


@dataclass(slots=True)
class Parts:
    """By the node's name: its addresses in the FIB, and the probes that went by each of them."""

    addresses: dict[str, tuple[str, ...]]
    sent: dict[tuple[str, str], list[Sent]] = field(default_factory=dict)

    @classmethod
    def of(cls, hops: Iterable[Hop]) -> Parts:
        return cls({hop.via: (hop.address, *hop.more) for hop in hops if hop.more})

    async def probe(self, run: Run) -> None:
        """Probe each address on flows that the oracle puts on it, again where one fails."""
        for via, addresses in self.addresses.items():
            known = [*run.map.sources(via), *run.map.fresh(_MOST_ASKED, run.senses.now())]
            told = await run.senses.addresses(known)
            for address in addresses:
                flows = [source for source, found in told.items() if found == address and not run.was_sent(source)]
                await self._one(run, via, address, flows)

    async def _one(self, run: Run, via: str, address: str, flows: list[Source]) -> None:
        sent = self.sent.setdefault((via, address), [])
        for number, source in enumerate(flows[: 2 * _TRIES]):
            if number:
                await run.senses.pause(_CALM_SECONDS)
            found = await run.probe(source, via)
            if found is not None and found.named in (None, via):
                sent.append(found)
            if len(sent) >= _TRIES or (found is not None and found.outcome.success):
                return

    def apply(self, run: Run, results: dict[str, PathResult]) -> dict[str, PathResult]:
        """What the paths of such nodes came to: down with one address, up with all, else not known."""
        kept = dict(results)
        for via, addresses in self.addresses.items():
            if via not in kept:
                continue
            broken = next((one for one in addresses if self._is_broken(via, one)), None)
            if broken is not None:
                found = result(self.sent[via, broken], run.choice, run.senses.now())
                kept[via] = replace(found, detail=f"through {broken}: {found.detail}")
            elif kept[via].success and not all(self.sent.get((via, one)) for one in addresses):
                del kept[via]
                run.no_flow[via] = (
                    f"the router forwards to it by {len(addresses)} addresses ({', '.join(addresses)}), "
                    "and no flow is known to take each of them"
                )
        return kept

    def _is_broken(self, via: str, address: str) -> bool:
        sent = self.sent.get((via, address), [])
        return len(sent) >= _TRIES and not any(one.outcome.success for one in sent)
