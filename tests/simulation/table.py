"""How much is concluded, by what can be asked and what the router hashes on: of healthy paths, and of broken ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.simulation.network import State
from tests.simulation.play import Played
from tests.simulation.world import Hashing, Icmp, Oracle, Target, World

_NAMED = frozenset({"node_down", "service_down", "blackhole"})
_ROWS = (
    "one next hop",
    "identity and trace",
    "identity",
    "trace",
    "a right oracle, and knocks",
    "a right oracle alone",
    "knocks",
    "nothing",
)


class Table:
    """Counts every path at every answer of the router that a fair look had gone before."""

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[str, Hashing], Counter[tuple[str, str]]] = defaultdict(Counter)

    def add(self, played: Played) -> None:
        for target in played.world.targets:
            cell = self._cells[means(played.world, target), played.world.hashing]
            for (name, state, verdict), count in played.shares.items():
                if name == target.name:
                    cell[state, verdict] += count

    def lines(self) -> Iterator[str]:
        """Markdown. In each cell: healthy paths that are ok, broken ones that are called so, in percent."""
        yield "| what tells flows apart | " + " | ".join(Hashing) + " |"
        yield "|---" * (len(Hashing) + 1) + "|"
        for row in _ROWS:
            yield f"| {row} | " + " | ".join(self._cell(self._cells[row, hashing]) for hashing in Hashing) + " |"

    def _cell(self, counts: Counter[tuple[str, str]]) -> str:
        good = _share(counts, State.UP, frozenset({"ok"}))
        return f"{good} / {_share(counts, State.BROKEN, _NAMED)}"


def means(world: World, target: Target) -> str:
    """The best that could tell this target's flows apart."""
    own = [node for node in world.nodes if node.name in target.announcers]
    if len(own) == 1:
        return _ROWS[0]
    answering = all(node.icmp is Icmp.ANSWERS for node in own)
    traced, knocked = world.traces and answering, world.knocks and answering
    right = world.oracle is Oracle.HONEST or (world.oracle is Oracle.LYING_V6 and target.family == 4)
    if target.identity:
        return _ROWS[1] if traced else _ROWS[2]
    if traced:
        return _ROWS[3]
    if right:
        return _ROWS[4] if knocked else _ROWS[5]
    return _ROWS[6] if knocked else _ROWS[7]


def _share(counts: Counter[tuple[str, str]], state: State, verdicts: frozenset[str]) -> str:
    total = sum(count for (is_, _), count in counts.items() if is_ == state)
    if not total:
        return "-"
    return f"{100 * sum(counts[state.value, verdict] for verdict in verdicts) / total:.0f}"
