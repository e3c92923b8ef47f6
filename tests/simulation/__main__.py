"""python -m tests.simulation: plays seeds and prints those that fail; or one in full, or a table of what was seen."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.simulation.cases import all_cases, dump, shrink
from tests.simulation.play import Played, play_world
from tests.simulation.table import Table
from tests.simulation.world import World, draw


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", metavar="A-B", default="1-100", help="one seed, or the first and the last one")
    parser.add_argument(
        "--cases", metavar="WORDS", help="instead of seeds: the kept worlds with these words in their name"
    )
    parser.add_argument("--verbose", action="store_true", help="print everything that happens")
    parser.add_argument("--table", action="store_true", help="print how much was concluded, under which conditions")
    parser.add_argument("--kinds", metavar="KIND,KIND", default="", help="only violations of these kinds")
    parser.add_argument("--case", metavar="NAME", help="make the failing world smaller and print it as a case")
    options = parser.parse_args(arguments)
    kinds = frozenset(options.kinds.split(",")) - {""}
    begun = time.monotonic()
    failed: Counter[str] = Counter()
    table = Table()
    rounds = probes = segments = 0
    for world in _worlds(options.seeds, options.cases):
        if options.verbose:
            _print("\n".join(world.lines()))
        played = play_world(world, _print if options.verbose else None)
        table.add(played)
        rounds, probes, segments = rounds + played.rounds, probes + played.probes, segments + played.segments
        found = _kinds(played, kinds)
        failed.update(found)
        if found and options.case is not None:
            _print(dump(options.case, smallest(world, found)))
        elif found and not options.verbose:
            _print(report(played))
    seconds = time.monotonic() - begun
    _print(
        f"{rounds} rounds, {probes} probes and {segments} segments in {seconds:.1f} s ({rounds / seconds:.0f} rounds a "
        f"second); seeds that fail, by kind: {dict(failed) or 'none'}"
    )
    if options.table:
        _print("\n".join(table.lines()))
    return 1 if failed else 0


def report(played: Played) -> str:
    """What a failing world prints of itself."""
    lines = [*played.world.lines(), *(f"  ! {violation}" for violation in played.violations)]
    lines.append(f"  again: python -m tests.simulation --verbose --seeds {played.world.seed}")
    lines.append(f"  keep:  python -m tests.simulation --seeds {played.world.seed} --case 'what it shows'")
    return "\n".join(lines)


def smallest(world: World, kinds: set[str]) -> World:
    """A world with as little in it as still fails in one of these kinds."""
    return shrink(world, lambda smaller: bool(_kinds(play_world(smaller), kinds)))


def _kinds(played: Played, wanted: frozenset[str] | set[str]) -> set[str]:
    return {violation.kind for violation in played.violations if not wanted or violation.kind in wanted}


def _worlds(seeds: str, words: str | None) -> list[World]:
    if words is not None:
        return [world for name, world in all_cases().items() if words in name]
    first, _, last = seeds.partition("-")
    return [draw(seed) for seed in range(int(first), int(last or first) + 1)]


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
