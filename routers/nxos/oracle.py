"""Which next hop NX-OS gives a flow: `show routing hash`, many on one command line.

The answer says `Hashing to path *10.0.0.13`, with the VRF (%default), the interface or the hash behind it, and below it
the route (seen in Cisco's flow tracker on GitHub). It repeats no flow, so answers are told apart by the marks between
them. What it computes are the "load-share parameters used for software forwarding": on a switch whose chip hashes
otherwise it may be wrong, which the exporter finds out. It takes IPv4 only.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from routers.jsontext import as_address, as_prefix
from routers.model import IPV4, Answer, Command, NextHop, OracleFlow, canonical, family_of
from routers.nxos.cli import batches, said
from routers.nxos.sessions import DEFAULT_VRF, vrf_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = "nxos oracle"
_PATH = re.compile(r"Hashing to path \*?([0-9A-Fa-f.:]{2,45})(?:%\S{1,64})?(?: \((?!hash)([A-Za-z][\w./-]{0,39})\))?")
_OUT = re.compile(r"Out Interface: ([A-Za-z][\w./-]{0,39})")
_VIA = re.compile(r"\*via ([0-9A-Fa-f.:]{2,45})(?:%\S{1,64})?, ([A-Za-z][\w./-]{0,39}),")
_ROUTE = re.compile(r"^\s*([0-9A-Fa-f.:]{2,45}/[0-9]{1,3}), ubest", re.MULTILINE)


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Nothing has to be known before. Raises ValueError for an address that is none."""
    _questions(flows)
    return ()


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The question about each flow, many on one line."""
    del answers
    return tuple(batches(_NAME, list(_questions(flows))))


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """Flow -> next hop, for the flows that were answered.

    Raises ValueError when an answer is about a route that does not lead to the flow's destination: then the answers
    are not in their order, and none can be trusted.
    """
    questions = _questions(flows)
    told = said(_NAME, list(questions), answers).bodies
    found: dict[OracleFlow, NextHop] = {}
    for question, flow in questions.items():
        next_hop = _next_hop(told.get(question, ""), flow)
        if next_hop is not None:
            found[flow] = next_hop
    return found


def _questions(flows: Sequence[OracleFlow]) -> dict[str, OracleFlow]:
    return {_question(flow): flow for flow in flows if family_of(flow.destination) == IPV4}


def _question(flow: OracleFlow) -> str:
    protocol = 17 if flow.protocol == "udp" else 6
    vrf = vrf_name(flow.vrf)
    return (
        f"show routing hash {canonical(flow.source)} {canonical(flow.destination)} ip-proto {protocol} "
        f"{flow.source_port:d} {flow.destination_port:d}{'' if vrf == DEFAULT_VRF else f' vrf {vrf}'}"
    )


def _next_hop(body: str, flow: OracleFlow) -> NextHop | None:
    path = _PATH.search(body)
    address = as_address(path[1]) if path else None
    if path is None or address is None:
        return None
    route = as_prefix(named[1]) if (named := _ROUTE.search(body)) else None
    if route is not None and ipaddress.ip_address(canonical(flow.destination)) not in route:
        raise ValueError(f"an answer is about {route}, which does not lead to {flow.destination}")
    vias = {as_address(match[1]): match[2] for match in _VIA.finditer(body)}
    out = _OUT.search(body)
    interface = path[2] or (out[1] if out else None) or vias.get(address)
    return NextHop(None if address == canonical(flow.destination) else address, interface)
