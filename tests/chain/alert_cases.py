"""Every fault that is broken and healed under alerting, and the alerts that must reach somebody then: these only.

The faults of the lab, and what no fault of the lab does: to the exporter, its configuration, its link, its way to
the router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from urllib.error import HTTPError

from lab import commands
from tests.chain.cycles import Fault, Named
from tests.chain.rehearsal import Verdicts
from tests.chain.test_faults import ALL, FAULTS, WEB
from tests.chain.watched import Watched

GITEA = ("gitea-ssh", "gitea-ssh-v6")
# Over IPv6 a silent node is proven by traces of its flows, which a busy machine may leave without an answer for a
# while: then one of its paths is unverified, so that the other one is told, and not the node.
_UNPROVEN = frozenset({("EcmpPathsUnverified", "web-v6")})
# A table of its own, as the lab writes its own tables anew with each fault.
_CUT = "table inet cut {{ chain input {{ type filter hook input priority -10; {match} drop; }}; }}"
_JOIN = ("nft", "delete", "table", "inet", "cut")

# By the verdict of FAULTS: the alert that names the cause, if a symptom does not say it all.
_CAUSES: Mapping[str, str | None] = {
    "neighbor_missing": "EcmpNeighborMissing",
    "session_down": "EcmpBgpSessionDown",
    "route_missing": "EcmpRouteMissing",
    "route_filtered": "EcmpRouteFiltered",
    "route_unused": "EcmpRouteUnused",
    "route_not_installed": "EcmpRouteNotInstalled",
    "stale_route": "EcmpStaleRoute",
    "node_down": "EcmpNodeDown",
    "blackhole": None,
    "service_down": None,
}


def _lab_fault(
    kind: str,
    *nodes: str,
    seen: Callable[[Verdicts], bool] | None,
    alerts: Iterable[Named],
    perhaps: Iterable[Named] = (),
    otherwise: Iterable[Named] = (),
) -> Fault:
    def break_(watched: Watched) -> None:
        for node in nodes or (None,):
            commands.break_(kind, node, name=watched.name)

    def heal(watched: Watched) -> None:
        commands.heal(name=watched.name)

    told, maybe, instead = frozenset(alerts), frozenset(perhaps), frozenset(otherwise)
    return Fault(" ".join((kind, *nodes)), break_, heal, seen, told, maybe, instead)


def _all_have(wanted: Verdicts) -> Callable[[Verdicts], bool]:
    return lambda now: all(now.get(path) == verdict for path, verdict in wanted.items())


def _some_have(verdict: str) -> Callable[[Verdicts], bool]:
    return lambda now: verdict in now.values()


def _single_faults() -> list[Fault]:
    return [
        _lab_fault(
            kind,
            node,
            # Linux soon sends no more flows to a dead neighbor where it has another: those paths are unverified then.
            seen=_all_have({(target, node): verdict for target in (GITEA if verdict == "node_down" else targets)}),
            alerts=_alerts_of(verdict, node, targets),
            perhaps=_chance(verdict, node),
            otherwise={("EcmpPathBlackhole", node)} if (verdict, node) == ("blackhole", "leviathan2") else (),
        )
        for kind, node, verdict, targets in FAULTS
    ]


def _chance(verdict: str, node: str) -> frozenset[Named]:
    """What may be told beside it, in the same page: a path of web through the node, if it is judged before the node."""
    path = {"blackhole": "EcmpPathBlackhole", "service_down": "EcmpPathServiceDown"}.get(verdict)
    beside = {(path, node)} if path and node == "leviathan3" else set()
    return frozenset(beside) | (_UNPROVEN if verdict == "blackhole" else frozenset())


def _alerts_of(verdict: str, node: str, targets: tuple[str, ...]) -> set[Named]:
    """What users meet, told once, and the cause.

    Gitea is served by leviathan3 alone: its alert names the node and stands for it. A node that still serves something
    is not unreachable, and a stale route carries flows until its timer ends.
    """
    cause = _CAUSES[verdict]
    causes = {(cause, node)} if cause else set()
    if verdict == "stale_route" or (node == "leviathan3" and targets != ALL):
        return causes
    symptom = "EcmpTargetUnreachable" if node == "leviathan3" else "EcmpNodeUnreachable"
    return {(symptom, node), *causes}


def _other_faults() -> list[Fault]:
    """Those of the lab that have no one verdict, or need two nodes."""
    pair = ("leviathan1", "leviathan2")
    return [
        _lab_fault(
            "unexpected_next_hop",
            "leviathan1",
            seen=_all_have({(target, "leviathan1"): "unexpected_next_hop" for target in GITEA}),
            alerts={("EcmpUnexpectedNextHop", "leviathan1")},
        ),
        _lab_fault(
            "neighbor_missing",
            *pair,
            seen=_all_have({("web", node): "neighbor_missing" for node in pair}),
            alerts={
                *(("EcmpNodeUnreachable", node) for node in pair),
                *(("EcmpNeighborMissing", node) for node in pair),
                *(("EcmpRedundancyLost", target) for target in WEB),
            },
        ),
        _lab_fault("no_icmp", "leviathan2", seen=None, alerts=()),
        # Over IPv6 Linux hashes the flow label too, which nobody chooses: each node may be met, or not.
        _lab_fault(
            "hash_addresses",
            seen=_some_have("unverified"),
            alerts={("EcmpPathsUnverified", "web")},
            perhaps={("EcmpPathsUnverified", "web-v6")},
        ),
        _lab_fault("hash_random", seen=None, alerts=()),
    ]


def _own_faults() -> list[Fault]:
    """What happens to the monitor itself. What is read in no table and probed on no path is told once, as a whole."""
    return [
        Fault(
            "exporter gone",
            lambda watched: watched.stop(),
            lambda watched: watched.start(),
            None,
            frozenset({("EcmpExporterDown", "")}),
        ),
        Fault(
            "router does not answer SSH",
            lambda watched: watched.on_edge("nft", _CUT.format(match="tcp dport 22")),
            lambda watched: watched.on_edge(*_JOIN),
            _some_have("router_unknown"),
            frozenset({("EcmpRouterDown", "edge")}),
            transport="ssh",
        ),
        Fault(
            "prober's link silent",
            lambda watched: watched.in_prober("nft", _CUT.format(match='iifname != "lo"')),
            lambda watched: watched.in_prober(*_JOIN),
            lambda now: bool(now) and "ok" not in now.values(),
            frozenset({("EcmpProberIsolated", "")}),
            transport="ssh",
        ),
        Fault(
            "configuration broken",
            _break_configuration,
            _heal_configuration,
            None,
            frozenset({("EcmpExporterReloadFailed", "")}),
        ),
    ]


def _break_configuration(watched: Watched) -> None:
    kept = watched.config.read_text(encoding="utf-8")
    watched.config.with_suffix(".kept").write_text(kept, encoding="utf-8")
    watched.config.write_text(kept + "probng: {}\n", encoding="utf-8")
    with suppress(HTTPError):  # it says what is wrong with the file
        watched.reload()


def _heal_configuration(watched: Watched) -> None:
    watched.config.with_suffix(".kept").replace(watched.config)
    watched.reload()


ALL_FAULTS: tuple[Fault, ...] = (*_single_faults(), *_other_faults(), *_own_faults())
