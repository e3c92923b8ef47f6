"""The flow oracle of IOS and IOS-XE: `show ip cef exact-route`, which next hop CEF would take for a flow. Pure.

Ports are told only by releases that know `src-port`, and count only where CEF hashes on them (`ip cef load-sharing
algorithm include-ports`); else one answer holds for every flow between two addresses (Cisco IOS IP Switching Command
Reference, show ip cef exact-route and ip cef load-sharing algorithm). What the hardware of a switch does may differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from routers.iosxe.questions import command, in_vrf
from routers.iosxe.text import address_of, interface_of, plain, refused
from routers.jsontext import phrase
from routers.model import IPV4, Answer, Command, NextHop, OracleFlow, canonical, family_of

STATE = "show cef state"
_MOST_QUESTIONS = 24  # of one round: each may cost a login; flows beyond are left out
_ANSWER = re.compile(r"(?P<source>\S{1,60}) +-> +(?P<destination>\S{1,60}) *(?:=>|:)(?P<way>.{0,400})")
_OUT_OF = re.compile(r"out of (?P<interface>[^\s,]{1,60})(?:, addr (?P<address>[0-9A-Fa-f.:]{2,60}))?")
_OLD_WAY = re.compile(r" *(?P<interface>[^\s(]{1,60}) +\(next hop (?P<address>[0-9A-Fa-f.:]{2,60})\)")


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Ask what CEF hashes on, and about the first flow with ports, which an old release does not know."""
    return (command(STATE), *(command(_question(flow, ports=True)) for flow in flows[:1]))


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The question about each flow, or about each pair of addresses.

    Raises ValueError where ports count and the release cannot be asked about them.
    """
    ports = _with_ports(flows, answers)
    names = dict.fromkeys(_question(flow, ports=ports) for flow in flows)
    return tuple(command(name) for name in list(names)[:_MOST_QUESTIONS] if name not in answers)


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """The next hop of each flow that was answered. Raises ValueError where an answer is about another flow."""
    ports = _with_ports(flows, answers)
    told: dict[str, NextHop | None] = {}
    found: dict[OracleFlow, NextHop] = {}
    for flow in flows:
        name = _question(flow, ports=ports)
        if name not in told:
            told[name] = _next_hop(flow, answers.get(name))
        if (hop := told[name]) is not None:
            found[flow] = hop
    return found


def _with_ports(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> bool:
    """Whether ports are asked for: they count unless CEF says that it hashes on addresses alone."""
    algorithm = _algorithm(answers.get(STATE))
    if algorithm is not None and "include-ports" not in algorithm:
        return False
    probe = answers.get(_question(flows[0], ports=True)) if flows else None
    if not refused(probe):
        return True
    if algorithm is not None:
        raise ValueError("CEF hashes on ports, and this release does not tell of them in exact-route")
    return False


def _algorithm(answer: Answer | None) -> str | None:
    """The load sharing algorithm in use; None when not told."""
    if answer is None or answer.error:
        return None
    return next((line for line in plain(answer.stdout) if "load sharing algorithm" in line), None)


def _question(flow: OracleFlow, *, ports: bool) -> str:
    source, destination = canonical(flow.source), canonical(flow.destination)
    ip = "ip" if family_of(destination) == IPV4 else "ipv6"
    of, to = (f" src-port {flow.source_port:d}", f" dest-port {flow.destination_port:d}") if ports else ("", "")
    return f"show {ip} cef{in_vrf(flow.vrf)} exact-route {source}{of} {destination}{to}"


def _next_hop(flow: OracleFlow, answer: Answer | None) -> NextHop | None:
    """None for a flow that was not answered, is dropped, or ends at the router itself."""
    if answer is None or answer.error:
        return None
    for line in plain(answer.stdout):
        match = _ANSWER.match(line.strip())
        if match is None:
            continue
        ends = (address_of(match["source"]), address_of(match["destination"]))
        if ends != (canonical(flow.source), canonical(flow.destination)):
            raise ValueError(f"the answer is about another flow: {phrase(line)}")
        return _way(match["way"])
    return None


def _way(text: str) -> NextHop | None:
    """`IP adj out of GigabitEthernet1, addr 10.0.0.11`; the last of several, which is the outermost packet's."""
    matches = list(_OUT_OF.finditer(text)) or [match for match in (_OLD_WAY.match(text),) if match]
    if not matches:
        return None
    last = matches[-1]
    return NextHop(address_of(last["address"] or ""), interface_of(last["interface"]))
