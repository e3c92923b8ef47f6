"""FRR's configuration as settings, and the commands that lead from one lab's settings to another's."""

from __future__ import annotations

from dataclasses import dataclass

from lab import faults
from lab.plan import AS_NUMBER, EDGE_V4, Lab, Node

_BGP = (f"router bgp {AS_NUMBER}",)
_FAMILIES = ("ipv4", "ipv6")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of configuration; settings with the same key replace each other."""

    key: str
    context: tuple[str, ...]
    line: str
    undo: str
    undone_by: str = ""  # the key whose removal takes this setting along


def _neighbor(lab: Lab, node: Node) -> list[Setting]:
    peer = f"neighbor {node.v4}"
    remote = 64999 if lab.has("session_down", node) else AS_NUMBER
    found = [Setting(peer, _BGP, f"{peer} remote-as {remote}", f"no {peer}")]

    def add(context: tuple[str, ...], line: str) -> None:
        found.append(Setting(f"{context[-1]} {peer} {line}", context, f"{peer} {line}", f"no {peer} {line}", peer))

    add(_BGP, "timers 30 3600")
    add(_BGP, "timers connect 1")
    if lab.has("session_down_md5", node):
        add(_BGP, "password lab")
    for family in _FAMILIES:
        context = (*_BGP, f"address-family {family} unicast")
        add(context, "activate")
        add(context, "soft-reconfiguration inbound")
        if lab.has("route_filtered", node):
            add(context, "route-map nothing in")
    return found


def _not_installed(lab: Lab) -> list[Setting]:
    """A table map stands between BGP and the kernel and is asked about each path of a route.

    (zebra's own `ip protocol bgp route-map` cannot tell IPv6 next hops apart.)
    """
    nodes = sorted(lab.having("route_not_installed"))
    if not nodes:
        return []
    entries = [(f"route-map fib deny {node.index}", f"match peer {node.v4}") for node in nodes]
    found = [Setting(entry, (entry,), match, f"no {entry}") for entry, match in entries]
    found.append(Setting("fib", (), "route-map fib permit 9999", "no route-map fib permit 9999"))
    for family in _FAMILIES:
        context = (*_BGP, f"address-family {family} unicast")
        found.append(Setting(f"table-map {family}", context, "table-map fib", "no table-map fib"))
    return found


def settings(lab: Lab) -> dict[str, Setting]:
    """Every setting of the router, in an order in which they can be typed."""

    def always(context: tuple[str, ...], line: str, key: str = "") -> Setting:
        return Setting(key or line, context, line, f"no {line}")

    found = [
        always((), "frr defaults traditional"),
        always((), "bgp route-map delay-timer 0"),
        always((), "route-map nothing deny 10"),
        always(_BGP, f"bgp router-id {EDGE_V4}"),
        always(_BGP, "no bgp default ipv4-unicast"),
        always(_BGP, "bgp graceful-restart stalepath-time 3600"),
    ]
    limit = faults.maximum_paths(lab)
    for node in lab.nodes:
        if not lab.has("neighbor_missing", node):
            found += _neighbor(lab, node)
    for family in _FAMILIES:
        context = (*_BGP, f"address-family {family} unicast")
        found.append(always(context, f"maximum-paths ibgp {limit}", f"maximum-paths {family}"))
    found += _not_installed(lab)
    return {setting.key: setting for setting in found}


def _in_context(context: tuple[str, ...], line: str) -> list[str]:
    leave = ["exit-address-family"] if len(context) > 1 else []
    return [*context, line, *leave, *(["exit"] if context else [])]


def changes(old: Lab | None, new: Lab) -> list[str]:
    """Configuration lines that turn the router of `old` (None: without any configuration) into `new`'s."""
    before = settings(old) if old else {}
    after = settings(new)
    gone = [key for key in before if key not in after]
    lines: list[str] = []
    for key in reversed(gone):
        setting = before[key]
        if setting.undone_by not in gone:
            # a route-map entry is removed from outside its own context
            context = () if setting.context and setting.undo == f"no {setting.context[-1]}" else setting.context
            lines += _in_context(context, setting.undo)
    for key, setting in after.items():
        if before.get(key) != setting:
            lines += _in_context(setting.context, setting.line)
    return lines
