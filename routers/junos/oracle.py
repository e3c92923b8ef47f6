"""The flow oracle of Junos: `show forwarding-options load-balance`, which next hop a packet would be hashed to. Pure.

MX and PTX know it; elsewhere the CLI answers `syntax error`, and the router cannot tell (Junos OS CLI Reference, show
forwarding-options load-balance). It needs the logical interface by which the flow enters: the one that leads back to
its source. The reference names the question, but shows no answer that could be held on to: whatever names one next
hop or one interface is understood, and anything else leaves the flow out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from routers.jsontext import as_address
from routers.junos import questions as junos_questions
from routers.junos import routes as junos_routes
from routers.junos.json import PIPE, Said, documents_of, nodes, plain, text
from routers.model import IPV4, Answer, Command, NextHop, OracleFlow, canonical, family_of

_MOST_QUESTIONS = 32  # of one round: each is a process on the router; flows beyond are left out
_INTERFACE = re.compile(r"[a-z]{2,5}[A-Za-z0-9/:-]{0,30}\.\d{1,6}")
_ADDRESS_KEYS = ("to", "next-hop", "nexthop", "next-hop-address", "nh-address", "gateway")
_INTERFACE_KEYS = (
    "via",
    "interface-name",
    "output-interface",
    "egress-interface",
    "next-hop-interface",
    "nh-interface",
)
_TO_VIA = re.compile(r"(?<![\w.:])to (?P<address>[0-9A-Fa-f.:]{2,60}) via (?P<interface>[\w/.:-]{2,60})")
_LABELLED = re.compile(r"(?P<key>[A-Za-z][\w -]{0,30}?) *[:=] *(?P<value>[\w/.:-]{2,60})\b.*")
_NAMES_OF_INTERFACES = frozenset({"output interface", "egress interface", "interface", "next hop interface"})
_DEPTH = 12


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Ask which interface leads back to each source. Raises ValueError for text that is no address."""
    return tuple(junos_questions.command(name) for name in dict.fromkeys(map(_way_back, flows)))


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The question about each flow. Raises ValueError where the router knows no way back to any source."""
    asked = [name for flow in flows if (name := _question(flow, answers)) is not None]
    if flows and not asked:
        sources = ", ".join(dict.fromkeys(canonical(flow.source) for flow in flows))
        raise ValueError(f"the router does not tell the interface that leads back to {sources}")
    return tuple(junos_questions.command(name) for name in list(dict.fromkeys(asked))[:_MOST_QUESTIONS])


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """The next hop of each flow of which the answer names exactly one."""
    found: dict[OracleFlow, NextHop] = {}
    for flow in flows:
        name = _question(flow, answers)
        hop = _next_hop(answers.get(name)) if name is not None else None
        if hop is not None:
            found[flow] = hop
    return found


def _way_back(flow: OracleFlow) -> str:
    return junos_questions.fib(flow.vrf, canonical(flow.source))


def _question(flow: OracleFlow, answers: Mapping[str, Answer]) -> str | None:
    source, destination = canonical(flow.source), canonical(flow.destination)
    interface = _interface(flow, answers)
    if interface is None:
        return None
    return (
        f"show forwarding-options load-balance ingress-interface {interface} "
        f"family {'inet' if family_of(destination) == IPV4 else 'inet6'} "
        f"source-address {source} destination-address {destination} "
        f"transport-protocol {'udp' if flow.protocol == 'udp' else 'tcp'} "
        f"source-port {flow.source_port:d} destination-port {flow.destination_port:d}{PIPE}"
    )


def _interface(flow: OracleFlow, answers: Mapping[str, Answer]) -> str | None:
    """The logical interface towards the prober; a default route leads back, too."""
    source = canonical(flow.source)
    tables = Said(answers).about(_way_back(flow), "forwarding-table-information")
    entries = junos_routes.fib_of(tables or (), family_of(source), flow.vrf)
    longest = junos_routes.covering(source, [prefix for prefix, _ in entries], shortest=0)
    entry = next((entry for prefix, entry in entries if prefix == longest), None)
    names = [hop.interface for hop in entry.next_hops if hop.interface] if entry is not None else []
    return names[0] if names and _INTERFACE.fullmatch(names[0]) else None


def _next_hop(answer: Answer | None) -> NextHop | None:
    if answer is None or answer.error:
        return None
    try:
        documents = documents_of(answer)
    except ValueError:
        return _only(_of_text(plain(answer.stdout)))
    hops = [hop for document in documents for hop in _of_tree(document, _DEPTH)]
    printed = [line for document in documents for node in nodes(document, "output") for line in _lines(node)]
    return _only([*hops, *_of_text(printed)])


def _lines(node: Mapping[str, Any]) -> list[str]:
    return (text({"": node}, "") or "").splitlines()


def _only(named: Iterable[NextHop]) -> NextHop | None:
    """The one that all agree on. Several steps of a resolution, or a list of candidates, decide nothing."""
    hops = list(named)
    addresses = {hop.address for hop in hops if hop.address is not None}
    interfaces = {hop.interface for hop in hops if hop.interface is not None}
    if len(addresses) > 1 or len(interfaces) > 1 or not (addresses or interfaces):
        return None
    return NextHop(next(iter(addresses), None), next(iter(interfaces), None))


def _of_tree(value: object, depth: int) -> Iterator[NextHop]:
    """What the elements that are named like next hops or outgoing interfaces hold, wherever they stand."""
    if depth == 0:
        return
    if isinstance(value, dict):
        address = next((one for key in _ADDRESS_KEYS if (one := as_address(text(value, key)))), None)
        interface = next(
            (one for key in _INTERFACE_KEYS if (one := text(value, key)) and _INTERFACE.fullmatch(one)), None
        )
        if address is not None or interface is not None:
            yield NextHop(address, interface)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _of_tree(child, depth - 1)


def _of_text(lines: Sequence[str]) -> Iterator[NextHop]:
    """`to 10.0.0.11 via ge-0/0/1.0`, or lines such as `Next hop: 10.0.0.11` and `Output interface: ge-0/0/1.0`."""
    for line in lines[:1000]:
        if match := _TO_VIA.search(line[:400]):
            yield NextHop(as_address(match["address"]), match["interface"])
            continue
        match = _LABELLED.fullmatch(line[:400].strip())
        if match is None:
            continue
        key = match["key"].lower().replace("-", " ")
        if key in {"next hop", "nexthop", "next hop address"} and (address := as_address(match["value"])):
            yield NextHop(address)
        elif key in _NAMES_OF_INTERFACES and _INTERFACE.fullmatch(match["value"]):
            yield NextHop(None, match["value"])
