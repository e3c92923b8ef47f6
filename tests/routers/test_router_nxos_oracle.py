"""`show routing hash` of Cisco NX-OS: what is asked, and which next hop belongs to which flow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.model import Answer, Command, NextHop, OracleFlow
from routers.nxos import oracle as nxos_oracle
from routers.reader import ask_oracle
from routers.transport import RouterError
from tests.routers.captured import VIP, VIP6

SOURCE = "192.0.2.2"
FLOWS = [OracleFlow(SOURCE, port, VIP, 443) for port in range(20_000, 20_006)]
NODES = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
STYLES = {
    "plain": "Hashing to path *{0}\nFor route:\n",
    "vrf": "Hashing to path *{0}%default (hash: 0x2b), for route:\n",
    "interface": "Hashing to path *{0} (Ethernet1/{1})\n For route:\n",
    "out": "Hashing to path *{0}\nOut Interface: Eth1/{1}\nFor route:\n",
    "via": "Hashing to path *{0}\nFor route:\n",
}
INTERFACES = {"plain": None, "vrf": None, "interface": "Ethernet1/{}", "out": "Eth1/{}", "via": "Eth1/{}"}


class Switch:
    """Hashes flows to `NODES` in turn by their source port; `fails`: flows that it refuses to tell."""

    def __init__(self, style: str = "plain", *, fails: frozenset[int] = frozenset(), route: str = f"{VIP}/32") -> None:
        self.style = style
        self.fails = fails
        self.route = route
        self.lines: list[str] = []

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        assert timeout_seconds
        assert max_bytes
        assert command.raw
        self.lines.append(command.argv[0])
        parts = command.argv[0].split(" ; ")
        return Answer("".join(part[5:] if part.startswith("echo ") else self.answer(part) for part in _lines(parts)))

    def answer(self, asked: str) -> str:
        if asked == "\n":
            return asked
        port = int(asked.split()[7]) - 20_000
        if port in self.fails:
            return "% Invalid command at '^' marker."
        number = port % 3
        via = f", Eth1/{number + 1}" if self.style == "via" else ""
        hops = "".join(
            f"    *via {node}{via if node == NODES[number] else ''}, [20/0], 3d04h, bgp-64512\n" for node in NODES
        )
        return (
            "Load-share parameters used for software forwarding:\n"
            "load-share mode: address source-destination port source-destination\n"
            "Universal-id seed: 0x3a8f2c1d\n"
            'Hash for VRF "default"\n'
            f"{STYLES[self.style].format(NODES[number], number + 1)}{self.route}, ubest/mbest: 3/0\n{hops}"
        )

    async def close(self) -> None: ...

    async def told(self, flows: Sequence[OracleFlow] = tuple(FLOWS)) -> dict[int, NextHop]:
        found = await ask_oracle(nxos_oracle, self, flows, has_shell=False)
        return {flow.source_port - 20_000: hop for flow, hop in found.items()}


def _lines(parts: list[str]) -> list[str]:
    return [piece for part in parts for piece in (part, "\n")]


@pytest.mark.parametrize("style", STYLES)
async def test_each_flow_has_the_next_hop_of_its_own_answer(style: str) -> None:
    switch = Switch(style)
    name = INTERFACES[style]
    assert await switch.told() == {
        number: NextHop(NODES[number % 3], name.format(number % 3 + 1) if name else None) for number in range(6)
    }
    assert f"show routing hash {SOURCE} {VIP} ip-proto 6 20000 443" in switch.lines[0].split(" ; ")


async def test_udp_is_protocol_17() -> None:
    switch = Switch()
    await switch.told([OracleFlow(SOURCE, 20_000, VIP, 53, "udp")])
    assert " ip-proto 17 20000 53 " in switch.lines[0]


async def test_a_flow_that_is_refused_takes_no_other_with_it() -> None:
    assert set(await Switch(fails=frozenset({2, 4})).told()) == {0, 1, 3, 5}


async def test_many_flows_are_few_lines() -> None:
    switch = Switch()
    found = await switch.told([OracleFlow(SOURCE, 20_000 + number, VIP, 443) for number in range(200)])
    assert {number: hop.address for number, hop in found.items()} == {n: NODES[n % 3] for n in range(200)}
    assert len(switch.lines) < 12
    assert all(len(line) <= 2000 for line in switch.lines)


async def test_an_answer_about_another_route_takes_the_trust_from_all() -> None:
    with pytest.raises(RouterError, match=r"an answer is about 10\.0\.0\.0/8, which does not lead to 203\.0\.113\.10"):
        await Switch(route="10.0.0.0/8").told()
    assert len(await Switch(route="203.0.113.0/24").told()) == 6


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    (command,) = nxos_oracle.ask(FLOWS[:2], {})
    text = "ECMP0\nHashing to path *10.0.0.11\nECMP1\nHashing to path *10.0.0.1"
    assert nxos_oracle.read(FLOWS[:2], {command.name: Answer(text)}) == {FLOWS[0]: NextHop("10.0.0.11")}
    assert nxos_oracle.read(FLOWS[:2], {command.name: Answer(error="gone")}) == {}


async def test_flows_over_ipv6_are_left_out() -> None:
    switch = Switch()
    assert await switch.told([OracleFlow("2001:db8:9::2", 20_000, VIP6, 443)]) == {}
    assert switch.lines == []


def test_a_flow_in_a_vrf_is_asked_about_there() -> None:
    (command,) = nxos_oracle.ask([OracleFlow(SOURCE, 20_000, VIP, 443, vrf="blue")], {})
    assert "ip-proto 6 20000 443 vrf blue ;" in command.argv[0]
    with pytest.raises(ValueError, match="is no name of a VRF"):
        nxos_oracle.prepare([OracleFlow(SOURCE, 20_000, VIP, 443, vrf="blue ; reload")])


@pytest.mark.parametrize("source", ["192.0.2", "x", "192.0.2.2 ; reload"])
def test_only_addresses_become_part_of_a_question(source: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        nxos_oracle.prepare([OracleFlow(source, 20_000, VIP, 443)])


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80))
def test_whatever_the_switch_says_flows_are_answered_or_left_out(text: str) -> None:
    said = f"ECMP0\nHashing to path {text}\n*via {text}, {text},\nECMP1\n"
    try:
        found = nxos_oracle.read(FLOWS[:1], {"nxos oracle 1": Answer(said)})
    except ValueError:
        return
    assert set(found) <= set(FLOWS)
