"""BIRD as the router: next hops that the kernel loses behind BIRD's back, so that a selected route is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lab import bird, daemons, netns
from lab.observe import bird_exports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.plan import Lab, Node

_OWN: Final = "proto bird metric 32"  # as BIRD installs its routes


def _withheld(lab: Lab) -> frozenset[Node]:
    return lab.having("route_not_installed") if lab.router == "bird" else frozenset()


def settling_time(lab: Lab) -> float:
    """For how many seconds BIRD has to leave the kernel alone: what it writes is whole again."""
    return 0.3 if _withheld(lab) else 0.0


def take_away(lab: Lab, state: Path) -> None:
    """Leave the kernel those of BIRD's next hops that are not withheld. Idempotent."""
    if nodes := _withheld(lab):
        text = "".join(f"{line}\n" for line in lines(nodes, bird_exports(lab, state)))
        # what has been taken away already is no failure
        netns.run_in(lab.namespace("edge"), ["ip", "-force", "-batch", "-"], text=text, check=False)


def lines(nodes: frozenset[Node], exports: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """IPv6 next hops can be taken away one by one, IPv4 routes only be replaced."""
    gone = {address for node in nodes for address in (node.v4, node.v6)}
    for vip, hops in exports.items():
        if not gone.intersection(hops):
            continue
        left = [hop for hop in hops if hop not in gone]
        if ":" in vip:
            yield from (f"route del {vip} via {hop} dev lan0 {_OWN}" for hop in hops if hop in gone)
        elif left:
            weights = "".join(f" nexthop via {hop} dev lan0 weight 1" for hop in left)
            yield f"route replace {vip} {_OWN}{weights}"
        else:
            yield f"route del {vip} {_OWN}"


def give_back(old: Lab, new: Lab, state: Path) -> None:
    """BIRD writes all its routes again where fewer next hops are to be missing than were."""
    if _withheld(old) - _withheld(new):
        for kernel in bird.KERNELS.values():
            daemons.ask_router(new, state, f"reload out {kernel}")
