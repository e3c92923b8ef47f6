"""Which port an Arista switch gives a flow: `show load-balance destination`, as its forwarding chip would hash it.

The command takes IPv4 only, needs the port by which the flow comes in, and names one by which it leaves (seen in
scripts on GitHub: `outputIntf` as JSON, `Output Interface: Ethernet43` as text). It stands in privileged mode, and
virtual switches have no chip to ask.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from routers.eos import routes as eos_routes
from routers.eos.api import Request, batches, said
from routers.eos.api import read as read_request
from routers.eos.sessions import vrf_name
from routers.jsontext import as_dict, as_text
from routers.lookup import next_hops_behind
from routers.model import IPV4, Answer, Command, FibEntry, NextHop, OracleFlow, canonical, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_RIGHTS = Request("eos oracle rights", ("enable",))
_TABLES = "eos oracle tables"
_FLOWS = "eos oracle"
_FLOWS_PER_REQUEST = 32  # the first that fails takes those behind it with it
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9/.:-]{0,39}")
_OUTPUT = re.compile(r"Output Interface: ([A-Za-z][A-Za-z0-9/.:-]{0,39})")


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Ask for the ways to the sources and destinations, where neighbors are, and whether privileged mode is allowed.

    Raises ValueError for text that is no address.
    """
    tables = _tables(flows)
    return (_RIGHTS.command(), *(table.command() for table in tables)) if tables else ()


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The question about each flow of which the port is known by which it comes in.

    Raises ValueError where that is none of them.
    """
    asked = _asked(flows, answers, _Tables(flows, answers))
    if _asked_about(flows) and not asked:
        sources = ", ".join(dict.fromkeys(flow.source for flow in _asked_about(flows)))
        raise ValueError(f"the switch does not tell by which port flows from {sources} come in")
    return tuple(request.command() for request, _ in asked)


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """Flow -> the port that it leaves by, with the next hop's address only where a VLAN hides which one is meant.

    Of flows in one request, those behind one that failed are left out.
    """
    found: dict[OracleFlow, NextHop] = {}
    tables = _Tables(flows, answers)
    for request, asked in _asked(flows, answers, tables):
        told = read_request(request, answers.get(request.name))
        for flow, question in asked.items():
            port = _port(as_dict(told.results.get(question)))
            if port is not None:
                found[flow] = tables.next_hop(flow, port)
    return found


def _asked_about(flows: Iterable[OracleFlow]) -> list[OracleFlow]:
    return [flow for flow in flows if family_of(flow.destination) == IPV4]


def _vrf(flow: OracleFlow) -> str:
    return vrf_name(flow.vrf)


def _tables(flows: Sequence[OracleFlow]) -> tuple[Request, ...]:
    commands = dict.fromkeys(
        command
        for flow in _asked_about(flows)
        for command in (_arp(_vrf(flow)), _way(flow.source, _vrf(flow)), _way(flow.destination, _vrf(flow)))
    )
    return tuple(batches(_TABLES, list(commands), _FLOWS_PER_REQUEST))


def _arp(vrf: str) -> str:
    return f"show ip arp vrf {vrf}"


def _way(address: str, vrf: str) -> str:
    return f"show ip route vrf {vrf} {canonical(address)}"


def _question(flow: OracleFlow, ingress: str) -> str:
    return (
        f"show load-balance destination ip ingress-interface {ingress} "
        f"src-ipv4-address {canonical(flow.source)} dst-ipv4-address {canonical(flow.destination)} "
        f"ip-protocol {17 if flow.protocol == 'udp' else 6} "
        f"src-l4-port {flow.source_port:d} dst-l4-port {flow.destination_port:d}"
    )


def _asked(
    flows: Sequence[OracleFlow], answers: Mapping[str, Answer], tables: _Tables
) -> list[tuple[Request, dict[OracleFlow, str]]]:
    """The requests, and the question about each flow in them."""
    privileged = not read_request(_RIGHTS, answers.get(_RIGHTS.name)).failed
    questions = {
        flow: _question(flow, ingress)
        for flow in _asked_about(flows)
        if (ingress := tables.ingress(flow.source, _vrf(flow))) is not None
    }
    asked, known = [], list(questions)
    for number, start in enumerate(range(0, len(known), _FLOWS_PER_REQUEST), start=1):
        chosen = {flow: questions[flow] for flow in known[start : start + _FLOWS_PER_REQUEST]}
        commands = ("enable", *chosen.values()) if privileged else tuple(chosen.values())
        asked.append((Request(f"{_FLOWS} {number}", commands), chosen))
    return asked


def _port(result: Mapping[str, Any]) -> str | None:
    name = as_text(result.get("outputIntf"))
    if name is None and (match := _OUTPUT.search(as_text(result.get("output")) or "")):
        name = match[1]
    return name if name and _NAME.fullmatch(name) else None


class _Tables:
    """The answers to `prepare`: ways to addresses, and ports at which neighbors were learned; each looked up once."""

    def __init__(self, flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> None:
        self._said = said(_tables(flows), answers)
        self._ways: dict[tuple[str, str], FibEntry | None] = {}
        self._ports: dict[str, dict[str, set[str | None]]] = {}

    def ingress(self, source: str, vrf: str) -> str | None:
        """The port that leads back to a source; None where that may be more than one."""
        entry = self._way(source, vrf)
        places = {
            self._port_of(hop.address or canonical(source), vrf) or hop.interface
            for hop in (entry.next_hops if entry is not None else ())
        }
        name = places.pop() if len(places) == 1 else None
        return name if name and _NAME.fullmatch(name) else None

    def next_hop(self, flow: OracleFlow, port: str) -> NextHop:
        """The answer as it is, or the only next hop learned at that port where routes name a VLAN and not the port."""
        entry = self._way(flow.destination, _vrf(flow))
        if entry is None or next_hops_behind(entry, port):
            return NextHop(None, port)
        learned = [hop for hop in entry.next_hops if hop.address and self._port_of(hop.address, _vrf(flow)) == port]
        return NextHop(learned[0].address, port) if len(learned) == 1 else NextHop(None, port)

    def _way(self, address: str, vrf: str) -> FibEntry | None:
        """The route to an address; a default route leads to a prober as well as any."""
        if (address, vrf) not in self._ways:
            answer = as_dict(self._said.results.get(_way(address, vrf)))
            try:
                entry = eos_routes.fib_of(answer, canonical(address), vrf, default_routes=True)[0]
            except ValueError:
                entry = None
            self._ways[(address, vrf)] = entry
        return self._ways[(address, vrf)]

    def _port_of(self, address: str, vrf: str) -> str | None:
        """The port behind a VLAN's interface at which an address was learned."""
        if vrf not in self._ports:
            ports = self._ports.setdefault(vrf, {})
            for row in eos_routes.arp_rows(as_dict(self._said.results.get(_arp(vrf))), vrf) or ():
                ports.setdefault(as_text(row.get("address")) or "", set()).add(eos_routes.places_of(row)[1])
        found = self._ports[vrf].get(address, set())
        return next(iter(found)) if len(found) == 1 else None
