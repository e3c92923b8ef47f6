"""The state of a lab, for `lab status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lab import beside, daemons, faults, netns, place
from lab.observe import observe
from lab.plan import LabError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Status:
    name: str
    router: str
    beside: list[str]
    hash_mode: str
    transit: bool
    beside_nodes: bool
    nodes: int
    complete: bool
    faults: list[str]
    namespaces: int
    namespaces_missing: list[str]
    daemons: dict[str, bool]  # name to alive
    sessions: dict[str, str]  # node to BGP state, or "not configured"
    next_hops: dict[str, list[str]]  # VIP to nodes
    problems: list[str]
    state_directory: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(record: place.Record) -> Status:
    lab = record.lab
    state = place.state_directory(lab.name)
    there = set(netns.existing())
    missing = [namespace for namespace in lab.namespaces if namespace not in there]
    sessions: dict[str, str] = {}
    next_hops: dict[str, list[str]] = {}
    try:
        observed = observe(lab, state)
    except (LabError, OSError, ValueError) as error:
        problems = [f"the router does not answer: {error}"]
    else:
        sessions = {n.name: observed.sessions.get(n.name, "not configured") for n in lab.nodes}
        next_hops = {vip: sorted(nodes) for vip, nodes in observed.next_hops.items()}
        problems = observed.differences(faults.expected(lab))
    return Status(
        name=lab.name,
        router=lab.router,
        beside=list(lab.beside),
        hash_mode=lab.hash_mode,
        transit=lab.transit,
        beside_nodes=lab.beside_nodes,
        nodes=lab.size,
        complete=record.complete,
        faults=[f"{fault.kind} {daemon_node}" for fault in sorted(lab.faults) for daemon_node in [_name(fault.node)]],
        namespaces=len(lab.namespaces) - len(missing),
        namespaces_missing=missing,
        daemons=_daemons(record, state),
        sessions=sessions,
        next_hops=next_hops,
        problems=problems,
        state_directory=str(state),
    )


def _name(index: int) -> str:
    return f"leviathan{index}"


def _daemons(record: place.Record, state: Path) -> dict[str, bool]:
    lab = record.lab
    files = {f"{server}-sshd": state / "ssh" / f"{server}.pid" for server in ("edge", "gitea")}
    if lab.router == "frr":
        files |= {name: state / "frr" / f"{name}.pid" for name in ("zebra", "bgpd")}
    else:
        files["edge-bird"] = daemons.bird_files(state, "edge")[2]
    files |= beside.alive(lab, state)
    files |= {f"{node.name}-bird": daemons.bird_files(state, node.name)[2] for node in lab.nodes}
    found = {name: daemons.alive(path) for name, path in files.items()}
    found["pods"] = bool(netns.processes_naming(state, frozenset({"python"})))
    return found
