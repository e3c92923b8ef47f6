"""The evidence behind a node's verdict, step by step, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from exporter.durations import format_duration
from exporter.evidence import RouterView
from exporter.status import DirectProbe, NodeStatus, PathStatus, Status
from exporter.verdicts import Summary, Verdict

_MARK = {True: ("ok  ", "green"), False: ("FAIL", "red"), None: ("?   ", "yellow")}


def show_explanation(
    out: Console, status: Status, views: Mapping[str, RouterView], name: str, syntax: str | None = None
) -> None:
    """Say what is known of one node: alive, neighbor, session, then each path from route to probe.

    The commands that mend a fault are the router's own; `syntax` names a platform whose commands are shown, too.
    """
    node = next(one for one in status.nodes if one.name == name)
    paths = [path for path in status.paths if path.node == name]
    out.print(Text.assemble((f"{node.name} ({node.address}) is "), (node.verdict.value, _colour(node.verdict))))
    out.print(f"{node.paths_ok} of {node.paths_expected} paths are ok\n")
    _step(out, node.direct, _direct(node))
    for router in dict.fromkeys(path.router for path in paths):
        own = [path for path in paths if path.router == router]
        _explain_sessions(out, router, own[0], views.get(router), name)
        for path in own:
            _explain_path(out, path)
    for target in status.targets:
        if target.dns_problem is not None and any(path.target == target.name for path in paths):
            out.print()
            _step(out, False, f"{target.name}: {target.dns_problem}")
    for path in _distinct(paths):
        out.print()
        out.print(Text.assemble((path.verdict.value, "bold red"), f": {path.reason}"))
        _show_cure(out, path, syntax)


def _explain_sessions(out: Console, router: str, path: PathStatus, view: RouterView | None, node: str) -> None:
    if view is None:
        _step(out, None, f"{router} could not be asked: {path.reason}")
        return
    sessions = view.sessions.get(node, ())
    if view.snapshot.sessions is None:
        _step(out, None, f"{router} did not tell its BGP neighbors")
    elif not sessions:
        covered = node in view.dynamic
        missing = None if view.unsure else False
        _step(out, covered or bool(view.waiting) or missing, f"{router} has no BGP neighbor with an address of {node}")
        if view.waiting and not covered:
            _step(out, False, f"nobody answers for {router}'s unnumbered neighbors {', '.join(view.waiting)}")
        if covered:
            _step(out, False, f"a dynamic-neighbor range of {router} covers it, but it has not connected")
    for session in sessions:
        up = session.state.value == "Established"
        error = f", last error: {session.last_error}" if session.last_error and not up else ""
        _step(out, up, f"{router}'s session with {session.address} is {session.state}{error}")


def _explain_path(out: Console, path: PathStatus) -> None:
    where = f"[{path.vip}]:{path.port}" if ":" in path.vip else f"{path.vip}:{path.port}"
    out.print(Text.assemble("\n  ", (path.target, "bold"), f" at {where} through {path.next_hop or path.node}: ", ""))
    route_good = {None: None, "used": True, "stale": True, "present": True}.get(path.route, False)
    _step(out, route_good, f"BGP route: {path.route or 'not told'}", indent=4)
    _step(out, {None: None, "installed": True}.get(path.fib, False), f"FIB: {path.fib or 'not told'}", indent=4)
    if path.direct is not None:
        _step(out, path.direct.success, _past_the_router(path, path.direct), indent=4)
    result = path.result
    if result is None:
        _step(out, None, "probe: no flow is known to take this path", indent=4)
        return
    ports = ", ".join(map(str, result.source_ports))
    took = format_duration(result.duration_seconds)
    said = "succeeded" if result.success else f"{result.failure}, {result.detail}"
    text = f"probe: {said} ({took}; source ports {ports}; {result.method}, confidence {result.confidence:.2f})"
    _step(out, result.success, text, indent=4)


def _past_the_router(path: PathStatus, probe: DirectProbe) -> str:
    if probe.success is None:
        return f"past the router, straight through {path.node}: could not be tried: {probe.detail}"
    known = f"the router {'knew' if path.verdict is Verdict.NEIGHBOR_MISSING else 'forwarded to'} it"
    if probe.success:
        said = f"the service answers in {format_duration(probe.duration_seconds)}: it would serve if {known}"
    else:
        said = f"the service does not answer either ({probe.detail}): it would not serve if {known}"
    return f"past the router, straight through {path.node}: {said}"


def _show_cure(out: Console, path: PathStatus, syntax: str | None) -> None:
    if path.cure is None:
        return
    for platform in dict.fromkeys((path.cure.platform, *([syntax] if syntax else ()))):
        text = path.cure.on(platform)
        where = f"on {path.router}" if platform == path.cure.platform else "where it would be"
        if text is None and platform == syntax:
            out.print(Text(f"  {platform} has no setting that mends this"))
        elif text is not None:
            out.print(Text(f"  type {where} ({platform}):"))
            for line in text.splitlines():
                out.print(Text(f"    {line}", style="cyan"))


def _distinct(paths: list[PathStatus]) -> list[PathStatus]:
    """One path for each thing that is wrong."""
    wrong = [path for path in paths if path.verdict is not Verdict.OK]
    return list({(path.verdict, path.reason, path.remedy): path for path in wrong}.values())


def _step(out: Console, good: bool | None, text: str, indent: int = 2) -> None:
    mark, colour = _MARK[good]
    out.print(Text.assemble(" " * indent, (mark, colour), f" {text}"))


def _direct(node: NodeStatus) -> str:
    if node.direct is None:
        return "direct check: could not be made"
    return f"direct check: the node {'answers' if node.direct else 'does not answer'}"


def _colour(verdict: Summary) -> str:
    return "green" if verdict is Summary.OK else "bold red"
