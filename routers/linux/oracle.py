"""The Linux kernel's flow oracle: which next hop a flow would take, without sending it (DESIGN.md section 4, 1).

`ip route get VIP from SRC iif IN ipproto .. sport .. dport ..` hashes the flow as the kernel would. It needs
the interface by which the flow enters the router: the one that leads back to its source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.jsontext import as_address, as_dict, as_list, as_text, parse
from routers.linux import BATCH, INTERFACE, aligned, in_vrf, missing_vrf, next_hop_of, usable
from routers.model import Answer, Command, NextHop, OracleFlow, canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORACLE = "kernel flow oracle"
INGRESS = "kernel route to the prober"


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Ask which interface leads back to each source, in the flows' VRF: flows that enter by it are routed there.

    Raises ValueError for an address that is none.
    """
    return tuple(_way_back(source, _of(source, flows)[0].vrf) for source in _sources(flows))


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """Ask for the next hop of each flow, the flows of one source in one process.

    Flows to whose source there is no way back are left out. Raises ValueError where that is all of them.
    """
    commands = []
    for source in _sources(flows):
        interface = _interface(answers.get(_name(INGRESS, source), Answer()))
        if interface is not None:
            commands.append(_question(source, interface, _of(source, flows)))
    if flows and not commands:
        complaints = (missing_vrf(answer, flows[0].vrf) for answer in answers.values())
        if complaint := next(filter(None, complaints), None):
            raise ValueError(complaint)
        raise ValueError(f"the router has no route back to {', '.join(_sources(flows))}")
    return tuple(commands)


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """Flow -> next hop, for the flows that the router forwards.

    The kernel repeats a flow's addresses but not its ports, so answers are aligned by the numbers of the
    failed lines. Raises ValueError when they do not add up or an answer is about other addresses: then
    none can be trusted.
    """
    found: dict[OracleFlow, NextHop] = {}
    for source in _sources(flows):
        answer = answers.get(_name(ORACLE, source))
        if answer is not None:
            found.update(_read(answer, _of(source, flows)))
    return found


def _sources(flows: Sequence[OracleFlow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical(flow.source) for flow in flows))


def _of(source: str, flows: Sequence[OracleFlow]) -> list[OracleFlow]:
    return [flow for flow in flows if canonical(flow.source) == source]


def _name(what: str, source: str) -> str:
    return f"{what} {source}"


def _way_back(source: str, vrf: str | None) -> Command:
    return Command(_name(INGRESS, source), ("ip", "-j", "route", "get", canonical(source), *in_vrf(vrf)))


def _interface(answer: Answer) -> str | None:
    """The interface towards the prober, None when the router does not tell."""
    try:
        rows = as_list(parse(usable(answer)))
    except ValueError:
        return None
    name = as_text(as_dict(rows[0]).get("dev")) if rows else None
    return name if name and INTERFACE.fullmatch(name) else None


def _question(source: str, interface: str, flows: Sequence[OracleFlow]) -> Command:
    lines = "".join(
        f"route get {canonical(flow.destination)} from {canonical(flow.source)} iif {interface} "
        f"ipproto {17 if flow.protocol == 'udp' else 6} "
        f"sport {flow.source_port:d} dport {flow.destination_port:d}\n"
        for flow in flows
    )
    return Command(_name(ORACLE, source), BATCH, stdin=lines)


def _read(answer: Answer, flows: Sequence[OracleFlow]) -> dict[OracleFlow, NextHop]:
    rows, _ = aligned(answer, len(flows))
    found = {}
    for number, answered in rows.items():
        flow = flows[number]
        row = answered[0] if answered else {}
        if (as_address(row.get("dst")), as_address(row.get("from"))) != (
            canonical(flow.destination),
            canonical(flow.source),
        ):
            raise ValueError(f"answer {number + 1} is about another flow")
        if row.get("type", "unicast") == "unicast":
            found[flow] = next_hop_of(row)
    return found
