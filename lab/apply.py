"""Turn one lab into another, and wait until the router shows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab import beside, bird, daemons, faults, netns, network, nft, withhold
from lab.observe import observe, still_stale
from lab.plan import Lab, LabError, Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NUDGE_AFTER = 4.0


def change(old: Lab, new: Lab, state: Path) -> None:
    """Apply the difference. Idempotent; returns before the router has converged."""
    daemons.configure_router(old, new, state)
    for node in new.nodes:
        _change_node(old, new, node, state)
    withhold.give_back(old, new, state)
    if old.hash_mode != new.hash_mode:
        network.set_hash(new)


def _change_node(old: Lab, new: Lab, node: Node, state: Path) -> None:
    if bird.node_config(old, node, "") != bird.node_config(new, node, ""):
        daemons.configure_speaker(new, node, state)
    if nft.node_rules(old, node) != nft.node_rules(new, node):
        network.set_node_rules(new, node)
    if nft.pod_rules(old, node) != nft.pod_rules(new, node):
        network.set_pod_rules(new, node)
    if old.has("stale_route", node) != new.has("stale_route", node):
        if new.has("stale_route", node):
            daemons.kill_speaker(node, state)
        else:
            daemons.start_speaker(new, node, state)
    if old.has("node_down", node) != new.has("node_down", node):
        network.set_link(new, node, up=not new.has("node_down", node))


def wait(lab: Lab, state: Path, say: Callable[[str], None], *, returned: frozenset[Node] = frozenset()) -> None:
    """Return when sessions and forwarding are what the lab's faults leave of them.

    `returned` are nodes whose killed speaker has been started again. LabError after half a minute, saying
    what is missing.
    """
    expected = faults.expected(lab)
    start = time.monotonic()
    nudged = start
    said = start
    settled: float | None = None
    while True:
        withhold.take_away(lab, state)
        differences = observe(lab, state).differences(expected) or [
            f"{node.name} has not sent all its routes"
            for node in returned & expected.established
            if still_stale(lab, node, state)
        ]
        now = time.monotonic()
        if differences:
            settled = None
        elif settled is None:
            settled = now
        if settled is not None and now - settled >= withhold.settling_time(lab):
            return
        if now - start > 30 + lab.size / 4:
            msg = f"the router did not get there: {'; '.join(differences[:4])}"
            raise LabError(msg)
        if now - nudged > _NUDGE_AFTER:
            nudged = now
            _nudge(lab, state, expected)
        if differences and now - said > 1:
            said = now
            say(f"  waiting for the router: {differences[0]}")
        time.sleep(0.05)


def _nudge(lab: Lab, state: Path, expected: faults.Expected) -> None:
    seen = observe(lab, state)
    for node in expected.established:
        if lab.has("node_down", node):
            continue
        if seen.sessions.get(node.name) != "Established":
            daemons.reset_session(lab, node, state)
        for kind in lab.beside:
            if seen.beside[kind].sessions.get(node.name) != "Established":
                beside.reset_session(kind, lab, node, state)


def start(lab: Lab, state: Path, say: Callable[[str], None]) -> None:
    """Start the router and all speakers of a network that has just been built."""
    (state / "bird").mkdir(mode=0o755)
    names = " and ".join((lab.router, *lab.beside))
    say(f"starting {names} on edge and BIRD on {lab.size} nodes")
    daemons.start_router(lab, state)
    netns.in_parallel(lambda node: daemons.start_speaker(lab, node, state), lab.nodes)
