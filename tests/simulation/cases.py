"""Worlds as data: tests/scenarios/simulated/*.toml hold those that once failed, whatever seeds draw today.

[[case]]
name        what it showed
...         the fields of tests.simulation.world.World; one that is missing has its default
nodes, targets, faults
            inline tables of their fields
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from tests.simulation.faults import Fault, Kind
from tests.simulation.world import Direct, Hashing, Icmp, Node, Oracle, Target, World

FOLDER = Path(__file__).parent.parent / "scenarios" / "simulated"
_KINDS: Mapping[str, Callable[[str], object]] = {
    "hashing": Hashing,
    "oracle": Oracle,
    "icmp": Icmp,
    "direct": Direct,
    "kind": Kind,
}


def all_cases() -> dict[str, World]:
    """Every world that is kept, by what it showed."""
    found: dict[str, World] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for name, world in load(path.read_text(encoding="utf-8")):
            if name in found:
                raise ValueError(f"{path.name}: two cases are called {name!r}")
            found[name] = world
    return found


def load(text: str) -> Iterator[tuple[str, World]]:
    """Names and worlds. Raises TypeError for a field that is none, ValueError for a value that is none."""
    for case in tomllib.loads(text)["case"]:
        given = dict(case)
        name = given.pop("name")
        parts: dict[str, Any] = {
            "nodes": tuple(Node(**_values(one)) for one in given.pop("nodes")),
            "targets": tuple(Target(**_values(one)) for one in given.pop("targets")),
            "faults": tuple(Fault(**_values(one)) for one in given.pop("faults", [])),
        }
        yield name, World(**_values(given), **parts)


def dump(name: str, world: World) -> str:
    """A case as text: only what differs from the defaults."""
    lines = ["[[case]]", f"name = {json.dumps(name)}"]
    for key, value in _told(world).items():
        if key in ("nodes", "targets", "faults"):
            rows = [f"  {{{', '.join(f'{k} = {_text(v)}' for k, v in _told(one).items())}}}," for one in value]
            lines += [f"{key} = [", *rows, "]"]
        else:
            lines.append(f"{key} = {_text(value)}")
    return "\n".join(lines) + "\n"


def shrink(world: World, fails: Callable[[World], bool]) -> World:
    """A smaller world that fails too: without the faults, targets and oddities that it does not need."""
    found = world
    while True:
        smaller = next((one for one in _smaller(found) if fails(one)), None)
        if smaller is None:
            return found
        found = smaller


def _smaller(world: World) -> Iterator[World]:
    for fault in world.faults:
        yield replace(world, faults=tuple(one for one in world.faults if one is not fault))
    for target in world.targets if len(world.targets) > 1 else ():
        yield replace(
            world,
            targets=tuple(one for one in world.targets if one is not target),
            faults=tuple(fault for fault in world.faults if fault.target != target.name),
        )
    plain = World(world.seed, world.nodes, world.targets)
    for field in fields(World):
        default = getattr(plain, field.name)
        if field.name not in ("seed", "nodes", "targets", "faults", "rounds") and getattr(world, field.name) != default:
            yield replace(world, **{field.name: default})
    for node in world.nodes:
        usual = Node(node.name, node.addresses)
        if node != usual:
            yield replace(world, nodes=tuple(usual if one is node else one for one in world.nodes))
    for count in (1, 2, 4, 8, 16, 32):
        if count < world.rounds:
            yield replace(world, rounds=count)


def _told(thing: World | Node | Target | Fault) -> dict[str, Any]:
    return {
        field.name: getattr(thing, field.name)
        for field in fields(thing)
        if field.default is MISSING or getattr(thing, field.name) != field.default
    }


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else _KINDS[key](value) if key in _KINDS else value
        for key, value in given.items()
    }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_text(one) for one in value)}]"
    return json.dumps(str(value)) if isinstance(value, str) else repr(value)
