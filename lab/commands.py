"""The lab as a library: up, down, status, break_, heal, prober_command."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lab import apply, daemons, exporter_config, faults, netns, network, outside, place, sshd
from lab.beside import check as check_beside
from lab.beside import tidy as tidy_beside
from lab.inspection import Status, inspect
from lab.plan import (
    BESIDE,
    HASH_MODES,
    BesideKind,
    HashMode,
    Lab,
    LabError,
    RouterKind,
    check_name,
    check_size,
    lab_of_namespace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DEFAULT_NAME: Final = "lab"


def _silent(_line: str) -> None:
    pass


def up(
    name: str = DEFAULT_NAME,
    *,
    nodes: int = 3,
    router: RouterKind | BesideKind | None = None,
    hash_mode: HashMode = "five-tuple",
    fault: Sequence[str] = (),
    transit: bool = False,
    beside_nodes: bool = False,
    beside: Sequence[BesideKind] = (),
    say: Callable[[str], None] = _silent,
) -> Path:
    """Build the lab and return its state directory once BGP and forwarding are as they should be.

    What is left of a lab of the same name is removed first. `fault` holds faults to start with, as
    `KIND` or `KIND:NODE`. `router` is by default FRR for root and BIRD for others. With `transit` one more
    router stands between prober and edge; with `beside_nodes` the prober is also on the nodes' LAN (lan0).
    `beside` are BGP daemons that cannot forward and stand on the router beside the one that does; as `router`
    such a one stands beside the default.
    """
    _ready()
    forwards: RouterKind | None = router if router == "frr" or router == "bird" else None  # noqa: PLR1714 (for mypy)
    lab = replace(
        _plan(name, nodes, forwards, hash_mode, fault),
        transit=transit,
        beside_nodes=beside_nodes,
        beside=tuple(kind for kind in BESIDE if kind == router or kind in beside),
    )
    check_beside(lab.beside, privileged=place.mode() == "root")
    daemons.check_programs(lab)
    with _locked(name):
        if place.mode() == "outside":
            outside.up(lab, fault, say)
        else:
            _clear(name)
            with place.readable():
                _build(lab, say)
    return place.state_directory(name)


def _plan(name: str, nodes: int, router: RouterKind | None, mode: HashMode, fault: Sequence[str]) -> Lab:
    privileged = place.mode() == "root"
    if router == "frr" and not privileged:
        msg = "FRR refuses to start in a user namespace: run as root, or use --router bird"
        raise LabError(msg)
    if mode not in HASH_MODES:
        msg = f"unknown hash mode {mode!r}; there are: {', '.join(HASH_MODES)}"
        raise LabError(msg)
    lab = Lab(check_name(name), check_size(nodes), router or ("frr" if privileged else "bird"), mode)
    for item in fault:
        kind, _, node = item.partition(":")
        lab = faults.with_fault(lab, kind, node or None)
    return lab


def _build(lab: Lab, say: Callable[[str], None]) -> None:
    state = place.state_directory(lab.name)
    state.mkdir(mode=0o755)
    holder = outside.given_holder()
    steps = faults.stages(replace(lab, faults=frozenset()), lab)
    first = steps[0]
    place.save(place.Record(first, complete=False, holder=holder))
    say(f"building {len(lab.namespaces)} network namespaces")
    daemons.write_scripts(lab, state)
    network.build(first)
    apply.start(first, state, say)
    sshd.make_keys(state)
    sshd.start(lab, state, place.mode())
    daemons.start_pods(lab, state)
    for node in lab.nodes:
        if first.has("node_down", node):
            network.set_link(first, node, up=False)
    exporter_config.write(lab, state)
    apply.wait(first, state, say)
    place.save(place.Record(first, complete=True, holder=holder))
    _go(first, steps[1:], state, holder, say)


def _go(lab: Lab, steps: list[Lab], state: Path, holder: place.Holder | None, say: Callable[[str], None]) -> None:
    for step in steps:
        apply.change(lab, step, state)
        place.save(place.Record(step, complete=True, holder=holder))
        returned = lab.having("stale_route") - step.having("stale_route")
        apply.wait(step, state, say, returned=returned)
        lab = step


def down(name: str | None = None, *, say: Callable[[str], None] = _silent) -> None:
    """Remove the lab, whole or in ruins: processes, namespaces, state. Nothing to remove is fine."""
    _ready()
    names = place.known()
    if name is None and not names:
        say("no lab to remove")
        place.tidy()
        return
    name = _choose(name, names, must_exist=False)
    with _locked(name):
        if place.mode() == "outside":
            outside.down(name)
        else:
            _clear(name)
    place.tidy()
    say(f"lab {name} is gone")


def _clear(name: str) -> None:
    namespaces = [ns for ns in netns.existing() if lab_of_namespace(ns) == name]
    state = place.state_directory(name)
    own = _ancestors(os.getpid())
    pids = {*netns.processes_in(namespaces), *netns.processes_naming(state, daemons.PROGRAMS)} - own
    daemons.end(pids)
    netns.remove(namespaces)
    tidy_beside(state)
    place.forget(name)


def _ancestors(pid: int) -> set[int]:
    """The process and those that it descends from: `down` may be typed inside the prober."""
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = place.parent(pid)
    return found


def break_(kind: str, node: str | None = None, *, name: str | None = None, say: Callable[[str], None] = _silent) -> str:
    """Inject a fault; returns, with a sentence on what was done, when it took effect on the router."""
    faults.check_kind(kind)
    with _existing(name) as record:
        lab = faults.with_fault(record.lab, kind, node)
        if kind in faults.HASH_FAULTS:
            told = f"{kind}: the router now hashes by {faults.HASH_FAULTS[kind]}"
        else:
            victim = node or faults.default_node(lab, kind).name
            told = f"{kind} on {victim}: {faults.KINDS[kind]}"
        if outside.needed():
            outside.enter(record, ["break", kind, *([node] if node else [])], say)
        else:
            _change(record, lab, say)
    return told


def heal(
    kind: str | None = None,
    node: str | None = None,
    *,
    name: str | None = None,
    say: Callable[[str], None] = _silent,
) -> str:
    """Take back a fault (None: all); returns when BGP and forwarding are right again."""
    with _existing(name) as record:
        lab = faults.without_fault(record.lab, kind, node)
        if outside.needed():
            outside.enter(record, ["heal", *([kind] if kind else []), *([node] if node else [])], say)
        else:
            _change(record, lab, say)
    where = f" on {node}" if node else ""
    return f"healed: {kind}{where}" if kind else "healed: everything"


def _change(record: place.Record, new: Lab, say: Callable[[str], None]) -> None:
    state = place.state_directory(new.name)
    _go(record.lab, faults.stages(record.lab, new), state, record.holder, say)


def status(name: str | None = None) -> Status:
    with _existing(name, whole=False) as record:
        return outside.status(record) if outside.needed() else inspect(record)


def state_directory(name: str | None = None) -> Path:
    """Where exporter.yml, exporter-exec.yml, on-edge and ssh/ of a running lab are."""
    _ready()
    return place.state_directory(_choose(name, place.known()))


def prober_command(name: str | None, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` in the prober's namespace; open files are inherited."""
    _ready()
    chosen = _choose(name, place.known())
    record = place.load(chosen)
    if record is None:
        msg = f"lab {chosen} is in ruins; `lab up` builds it again"
        raise LabError(msg)
    enter = ["nsenter", f"--net={netns.NAMED / record.lab.namespace('prober')}", "--", *argv]
    return outside.prefix(record) + enter if outside.needed() else enter


@contextmanager
def _existing(name: str | None, *, whole: bool = True) -> Iterator[place.Record]:
    _ready()
    chosen = _choose(name, place.known())
    with _locked(chosen):
        record = place.load(chosen)
        if record is None or (whole and not record.complete):
            msg = f"lab {chosen} was not built to the end; `lab up --name {chosen}` builds it again"
            raise LabError(msg)
        yield record


@contextmanager
def _locked(name: str) -> Iterator[None]:
    if place.within():
        yield
    else:
        with place.locked(name):
            yield


def _choose(name: str | None, names: list[str], *, must_exist: bool = True) -> str:
    if name is not None:
        check_name(name)
        if must_exist and name not in names:
            there = f"; there are: {', '.join(names)}" if names else ""
            msg = f"no lab {name!r}{there}"
            raise LabError(msg)
        return name
    if not names:
        msg = "no lab is running; start one with `lab up`"
        raise LabError(msg)
    if len(names) > 1:
        msg = f"several labs are running, choose one with --name: {', '.join(names)}"
        raise LabError(msg)
    return names[0]


def _ready() -> None:
    daemons.extend_path()
    place.prepare()
