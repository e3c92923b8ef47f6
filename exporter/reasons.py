"""The sentence behind each verdict, with its evidence in it, and the commands that mend it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from exporter.evidence import Evidence, RouterView
from exporter.verdicts import PathFacts, PathResult, Sweep, Verdict
from probes.model import Failure
from routers.model import RemedyFacts, RemedyKind, SessionState, Snapshot, family_of
from routers.platforms import PLATFORMS

_MOST_NAMED = 4  # neighbors or next hops named in one sentence


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a path lies: what its sentence needs besides its facts."""

    router: str
    vip: str
    port: int
    view: RouterView | None
    expected_paths: int


@dataclass(frozen=True, slots=True)
class Cure:
    """A fault that a router's setting mends, and what the commands for it need to know."""

    platform: str
    kind: RemedyKind
    facts: RemedyFacts

    def on(self, platform: str) -> str | None:
        """The commands in a platform's own syntax, one a line."""
        facts = self.facts if platform == self.platform else replace(self.facts, version=None)
        return PLATFORMS[platform].remedy(self.kind, facts)

    @property
    def remedy(self) -> str | None:
        """The commands for the router itself."""
        return self.on(self.platform)


def reason(verdict: Verdict, path: PathFacts, setting: Setting) -> str:
    """One sentence that says why."""
    return _SENTENCES[verdict](path, setting)


def cure(verdict: Verdict, path: PathFacts, setting: Setting) -> Cure | None:
    """What a router's setting can mend; None where none does, or none is known for sure."""
    kind = _kind_of_cure(verdict, path)
    view = setting.view
    if kind is None or view is None or path.evidence is None:
        return None
    session = path.evidence.session
    remote_as = view.usual_remote_as
    # A session tells whether it is internal; the AS that it should have is that of the other nodes.
    seen_as = session.remote_as if session is not None and verdict is not Verdict.SESSION_DOWN else remote_as
    facts = RemedyFacts(
        local_as=view.snapshot.local_as,
        neighbor=(session.interface or session.address)
        if session is not None
        else _own_address(view, path, setting.vip),
        remote_as=remote_as,
        family=family_of(setting.vip),
        paths=setting.expected_paths,
        internal=seen_as is None or seen_as == view.snapshot.local_as,
        vrf=view.snapshot.vrf,
        version=view.snapshot.version,
    )
    return Cure(view.snapshot.platform, kind, facts)


def _own_address(view: RouterView, path: PathFacts, vip: str) -> str:
    """By which address a node becomes a neighbor: of the VIP's family where other nodes' sessions for it are, too."""
    node = path.evidence.node if path.evidence is not None else None
    if node is None:
        return path.via
    carrying = [
        one.address
        for sessions in view.sessions.values()
        for one in sessions
        if one.interface is None and family_of(vip) in (one.families or ())
    ]
    alike = bool(carrying) and all(family_of(address) == family_of(vip) for address in carrying)
    return (node.address_for(vip) if alike else None) or node.address


def _kind_of_cure(verdict: Verdict, path: PathFacts) -> RemedyKind | None:
    if verdict is Verdict.NEIGHBOR_MISSING:
        return RemedyKind.NEIGHBOR_MISSING
    if path.evidence is None:
        return None
    if verdict is Verdict.ROUTE_FILTERED:
        unread = path.evidence.session is not None and path.evidence.session.policy_missing
        return RemedyKind.POLICY_MISSING if unread else RemedyKind.ROUTE_FILTERED
    if verdict in (Verdict.ROUTE_UNUSED, Verdict.ROUTE_NOT_INSTALLED):
        return next((route.mended_by for route in path.evidence.routes or () if route.mended_by), None)
    session = path.evidence.session
    if verdict is Verdict.SESSION_DOWN and session is not None:
        if session.admin_down:
            return RemedyKind.SESSION_SHUTDOWN
        if "bad peer as" in (session.last_error or "").lower():
            return RemedyKind.SESSION_WRONG_AS
    return None


def _router_unknown(path: PathFacts, setting: Setting) -> str:
    if path.router_trouble is not None:
        return f"{setting.router} cannot be asked: {path.router_trouble}"
    if setting.view is not None and setting.view.unsure and path.evidence is not None and path.evidence.session is None:
        who = f"{_who(path)} is no neighbor by its address"
        return f"{who}, but {setting.router} has neighbors out of a range or over a link that it does not tell"
    problems = setting.view.snapshot.problems if setting.view is not None else ()
    detail = f": {problems[0]}" if problems else ""
    return f"{setting.router} did not tell enough about {setting.vip} to conclude{detail}"


def _neighbor_missing(path: PathFacts, setting: Setting) -> str:
    snapshot = _snapshot(setting)
    known = [session.address for session in snapshot.sessions or ()]
    others = f"it has {_several(known, 'neighbor')}" if known else "it has no neighbor at all"
    return f"{setting.router} has no BGP neighbor {_who(path)}, and no dynamic-neighbor range covers it; {others}"


def _session_down(path: PathFacts, setting: Setting) -> str:
    session = path.evidence.session if path.evidence is not None else None
    if session is None and setting.view is not None and setting.view.waiting and path.node not in setting.view.dynamic:
        waiting = _several(list(setting.view.waiting), "unnumbered neighbor")
        return f"no session of {setting.router} is with {_who(path)}, and it has {waiting} that nobody answers for"
    if session is None:
        return f"a dynamic-neighbor range of {setting.router} covers {_who(path)}, but no session has come from it"
    state = "shut down by configuration" if session.admin_down else f"{session.state}, not Established"
    limit = ", its prefix limit was hit" if session.prefix_limit_hit else ""
    error = f"; last error: {session.last_error}" if session.last_error else ""
    silent = session.state in (SessionState.CONNECT, SessionState.ACTIVE) and not session.last_error
    hint = "; no BGP message came back: wrong password, packet filter or speaker not running" if silent else ""
    untold = "; whether the FIB still forwards to it was not told" if path.forwarded is None else ""
    return f"{setting.router}'s BGP session with {_who(path)} is {state}{limit}{error}{hint}{untold}"


def _route_filtered(path: PathFacts, setting: Setting) -> str:
    session = path.evidence.session if path.evidence is not None else None
    if session is not None and session.policy_missing:
        return f"{setting.router} takes no routes from {_who(path)}: the eBGP session has no import policy (RFC 8212)"
    return f"{_who(path)} announces {setting.vip}, and an import policy of {setting.router} drops it"


def _route_missing(path: PathFacts, setting: Setting) -> str:
    received = ""
    if path.evidence is not None and path.evidence.session is not None:
        count = path.evidence.session.prefixes_received.get(family_of(setting.vip))
        received = f" ({count} prefixes received)" if count is not None else ""
    return f"the BGP session with {_who(path)} is Established{received}, but it announces no route for {setting.vip}"


def _route_unused(path: PathFacts, setting: Setting) -> str:
    routes = path.evidence.routes if path.evidence is not None else None
    why = next((route.unused_reason for route in routes or () if route.unused_reason), None)
    chosen = _installed(setting)
    return (
        f"{setting.router} has the route for {setting.vip} from {_who(path)} and does not use it"
        f"{': ' + why if why else ''}; it forwards to {chosen}"
    )


def _route_not_installed(path: PathFacts, setting: Setting) -> str:
    routes = path.evidence.routes if path.evidence is not None else None
    why = next((route.unused_reason for route in routes or () if route.unused_reason), None)
    return (
        f"BGP on {setting.router} selected the route for {setting.vip} from {_who(path)}, but the FIB does not hold "
        f"it{f' ({why})' if why else ''}; it forwards to {_installed(setting)}"
    )


def _stale_route(path: PathFacts, setting: Setting) -> str:
    session = path.evidence.session if path.evidence is not None else None
    state = session.state if session is not None else "gone"
    return (
        f"{setting.router} still forwards {setting.vip} to {_who(path)}, although the BGP session is {state} "
        f"(graceful restart or hold timer); {_probed(path)}"
    )


def _node_down(path: PathFacts, setting: Setting) -> str:
    if path.result is None:
        return (
            f"inferred, not observed: {_probed(path)}, and of the next hops it is {_who(path)} that has ceased to "
            f"answer directly; {setting.router} still forwards to it"
        )
    return f"{_probed(path)}, and the node itself does not answer either; {setting.router} still forwards to it"


def _service_down(path: PathFacts, setting: Setting) -> str:
    if path.result is None:
        return (
            f"inferred, not observed: {_probed(path)}, so many that each next hop was met, {_who(path)} too; "
            f"the service at {setting.vip}:{setting.port} itself is down"
        )
    if path.answered:
        return f"packets reach {_who(path)}, but the service does not answer rightly: {_probed(path)}"
    cause = "other targets through this node work" if path.works_elsewhere else "so do all other paths of the target"
    return f"{_probed(path)}; {cause}, so the service at {setting.vip}:{setting.port} itself is down"


def _blackhole(path: PathFacts, _setting: Setting) -> str:
    direct = (
        "although the node answers directly" if path.direct else "and whether the node is alive could not be checked"
    )
    return f"flows through {_who(path)} vanish: {_probed(path)}, {direct}"


def _unexpected_next_hop(path: PathFacts, setting: Setting) -> str:
    owner = f", which is node {path.node} and should not serve it" if path.node is not None else ", which no node has"
    probed = f"; {_probed(path)}" if path.result is not None else ""
    return f"{setting.router} forwards {setting.vip} to {path.next_hop}{owner}{probed}"


def _unverified(path: PathFacts, setting: Setting) -> str:
    why = path.no_flow or "no flow is known to take this path yet"
    if path.sweep is not None:
        met = f", which meet each next hop with confidence {path.sweep.coverage:.2f}" if path.sweep.coverage else ""
        why = f"{why}; {_probed(path)}{met}"
    return f"{setting.router} forwards {setting.vip} to {_who(path)}, but nothing was proven: {why}"


def _ok(path: PathFacts, _setting: Setting) -> str:
    return f"{_who(path)} was reached: {_probed(path)}"


_SENTENCES: dict[Verdict, Callable[[PathFacts, Setting], str]] = {
    Verdict.ROUTER_UNKNOWN: _router_unknown,
    Verdict.NEIGHBOR_MISSING: _neighbor_missing,
    Verdict.SESSION_DOWN: _session_down,
    Verdict.ROUTE_FILTERED: _route_filtered,
    Verdict.ROUTE_MISSING: _route_missing,
    Verdict.ROUTE_UNUSED: _route_unused,
    Verdict.ROUTE_NOT_INSTALLED: _route_not_installed,
    Verdict.STALE_ROUTE: _stale_route,
    Verdict.NODE_DOWN: _node_down,
    Verdict.SERVICE_DOWN: _service_down,
    Verdict.BLACKHOLE: _blackhole,
    Verdict.UNEXPECTED_NEXT_HOP: _unexpected_next_hop,
    Verdict.UNVERIFIED: _unverified,
    Verdict.OK: _ok,
}


def _who(path: PathFacts) -> str:
    evidence: Evidence | None = path.evidence
    if evidence is None:
        return path.via
    address = evidence.session.address if evidence.session is not None else evidence.node.address
    return f"{address} ({evidence.node.name})"


def _probed(path: PathFacts) -> str:
    result: PathResult | None = path.result
    if result is None:
        return "it was not probed" if path.sweep is None else _swept(path.sweep)
    if result.success:
        return f"a probe through it succeeded in {result.duration_seconds * 1000:.0f} ms"
    times = f"{result.probes} probes failed" if result.probes > 1 else "the probe failed"
    kind = result.failure or Failure.TIMEOUT
    return f"{times} ({kind}: {result.detail})"


def _swept(sweep: Sweep) -> str:
    failures = f"; {sweep.failure}: {sweep.detail}" if sweep.failure is not None else ""
    return (
        f"of {sweep.sent} flows swept over all {len(sweep.shares)} next hops {sweep.failed} failed (95 % interval of "
        f"the failing share: {sweep.low:.0%} to {sweep.high:.0%}{failures})"
    )


def _installed(setting: Setting) -> str:
    if setting.view is None:
        return "an unknown next hop"
    entry = setting.view.snapshot.fib.get(setting.vip)
    if entry is None:
        return "no next hop"
    return _several([hop.address or f"dev {hop.interface}" for hop in entry.next_hops], "next hop")


def _several(names: list[str], noun: str) -> str:
    shown = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}: {shown}" if names else f"no {noun}"


def _snapshot(setting: Setting) -> Snapshot:
    if setting.view is None:
        raise ValueError("a verdict from a router's tables needs its snapshot")
    return setting.view.snapshot
