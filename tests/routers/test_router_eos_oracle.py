"""`show load-balance destination` of Arista EOS: what is asked, and which port belongs to which flow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.eos import oracle as eos_oracle
from routers.model import Answer, Command, NextHop, OracleFlow
from routers.reader import ask_oracle
from routers.transport import ErrorKind, RouterError
from tests.routers.captured import VIP, VIP6

SOURCE = "192.0.2.2"
FLOWS = [OracleFlow(SOURCE, port, VIP, 443) for port in range(20_000, 20_006)]
ROUTED = {f"10.0.0.1{number}": f"Ethernet1{number}" for number in (1, 2, 3)}
BRIDGED = dict.fromkeys(ROUTED, "Vlan10")


def route(prefix: str, vias: Mapping[Any, str]) -> dict[str, Any]:
    rows = [{"interface": name, **({"nexthopAddr": address} if address else {})} for address, name in vias.items()]
    entry = {"hardwareProgrammed": True, "kernelProgrammed": True, "routeAction": "forward", "vias": rows}
    return {"vrfs": {"default": {"routes": {prefix: entry}, "routingDisabled": False}}}


class Switch:
    """Answers eAPI: routes by `vias`, neighbors at `ports`, and flows out of `ports` in turn.

    `trusts`: the user may enter privileged mode. `fails`: the numbers of flows (from 0) which it cannot tell.
    """

    def __init__(
        self,
        vias: Mapping[str, str] = ROUTED,
        ports: Sequence[str] = tuple(ROUTED.values()),
        *,
        way_back: Mapping[Any, str] | None = None,
        trusts: bool = True,
        fails: frozenset[int] = frozenset(),
        as_text: bool = False,
    ) -> None:
        self.vias = vias
        self.ports = ports
        self.way_back: Mapping[Any, str] = {"198.51.100.9": "Ethernet1"} if way_back is None else way_back
        self.trusts = trusts
        self.fails = fails
        self.as_text = as_text
        self.asked: list[str] = []
        self.requests = 0

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        assert timeout_seconds
        assert max_bytes
        assert command.argv == ("POST", "/command-api")
        self.requests += 1
        commands = json.loads(command.stdin or "")["params"]["cmds"]
        done: list[Any] = []
        for number, asked in enumerate(commands, start=1):
            self.asked.append(asked)
            answer = self.answer(asked)
            if answer is None:
                message = f"CLI command {number} of {len(commands)} '{asked}' failed: could not run command"
                data = [*done, {"errors": ["Unable to compute"]}]
                return Answer(json.dumps({"error": {"code": 1000, "message": message, "data": data}}))
            done.append(answer)
        return Answer(json.dumps({"result": done}))

    def answer(self, asked: str) -> dict[str, Any] | None:
        if asked == "enable":
            return {} if self.trusts else None
        if asked.startswith("show ip arp"):
            rows = [
                {"address": address, "hwAddress": "0200.0000.0011", "interface": f"Vlan10, {port}"}
                for address, port in zip(BRIDGED, self.ports, strict=False)
            ]
            return {"ipV4Neighbors": rows if set(self.vias.values()) == {"Vlan10"} else []}
        if asked == f"show ip route vrf default {SOURCE}":
            return route("192.0.2.0/24", self.way_back)
        if asked == f"show ip route vrf default {VIP}":
            return route(f"{VIP}/32", self.vias)
        port = int(asked.split("src-l4-port ")[1].split(maxsplit=1)[0]) - 20_000
        if port in self.fails:
            return None
        name = self.ports[port % len(self.ports)]
        return {"output": f"Output Interface: {name}\n"} if self.as_text else {"outputIntf": name}

    async def close(self) -> None: ...

    async def told(self, flows: Sequence[OracleFlow] = tuple(FLOWS)) -> dict[int, NextHop]:
        found = await ask_oracle(eos_oracle, self, flows, has_shell=False)
        return {flow.source_port - 20_000: hop for flow, hop in found.items()}


@pytest.mark.parametrize("as_text", [False, True])
async def test_each_flow_has_the_port_of_its_own_answer(*, as_text: bool) -> None:
    switch = Switch(as_text=as_text)
    ports = tuple(ROUTED.values())
    assert await switch.told() == {number: NextHop(None, ports[number % 3]) for number in range(6)}
    assert (
        f"show load-balance destination ip ingress-interface Ethernet1 src-ipv4-address {SOURCE} "
        f"dst-ipv4-address {VIP} ip-protocol 6 src-l4-port 20000 dst-l4-port 443"
    ) in switch.asked


async def test_udp_is_protocol_17() -> None:
    switch = Switch()
    await switch.told([OracleFlow(SOURCE, 20_000, VIP, 53, "udp")])
    assert any("ip-protocol 17 " in asked for asked in switch.asked)


async def test_behind_a_vlan_the_port_names_the_only_neighbor_learned_there() -> None:
    found = await Switch(BRIDGED, ("Ethernet11", "Ethernet12", "Ethernet13")).told()
    assert found[1] == NextHop("10.0.0.12", "Ethernet12")


async def test_two_nodes_behind_one_port_stay_ambiguous() -> None:
    found = await Switch(BRIDGED, ("Ethernet11", "Ethernet12", "Ethernet12")).told()
    assert found[0] == NextHop("10.0.0.11", "Ethernet11")
    assert {found[1], found[2]} == {NextHop(None, "Ethernet12")}


async def test_flows_behind_one_that_failed_are_left_out() -> None:
    assert set(await Switch(fails=frozenset({2})).told()) == {0, 1}


async def test_many_flows_are_asked_in_few_requests() -> None:
    switch = Switch(fails=frozenset({40}))
    flows = [OracleFlow(SOURCE, 20_000 + number, VIP, 443) for number in range(200)]
    found = await switch.told(flows)
    assert switch.requests < 12
    assert set(found) == set(range(200)) - set(range(40, 64)), "only those of its request are lost"


async def test_without_privileged_mode_the_question_is_asked_all_the_same() -> None:
    switch = Switch(trusts=False)
    assert len(await switch.told()) == 6
    assert switch.asked.count("enable") == 1, "to learn whether it is allowed"


@pytest.mark.parametrize(
    ("way_back", "port"),
    [
        ({"198.51.100.9": "Ethernet1"}, "Ethernet1"),
        ({None: "Ethernet2"}, "Ethernet2"),
        ({"198.51.100.9": "Ethernet1", "198.51.100.10": "Ethernet1"}, "Ethernet1"),
    ],
)
async def test_flows_come_in_by_the_way_back(way_back: Mapping[Any, str], port: str) -> None:
    switch = Switch(way_back=way_back)
    assert len(await switch.told()) == 6
    assert all(f"ingress-interface {port} " in asked for asked in switch.asked if "load-balance" in asked)


async def test_a_prober_in_the_vlan_of_the_nodes_comes_in_by_its_own_port() -> None:
    switch = Switch(BRIDGED, way_back={"10.0.0.12": "Vlan10"})
    await switch.told()
    assert all("ingress-interface Ethernet12 " in asked for asked in switch.asked if "load-balance" in asked)


@pytest.mark.parametrize(
    "way_back", [{}, {"198.51.100.9": "Ethernet1", "198.51.100.10": "Ethernet2"}, {None: "Ethernet1 ; reload"}]
)
async def test_no_way_in_no_question(way_back: Mapping[Any, str]) -> None:
    switch = Switch(way_back=way_back)
    with pytest.raises(RouterError, match=f"by which port flows from {SOURCE} come in") as caught:
        await switch.told()
    assert caught.value.kind is ErrorKind.REFUSED
    assert not any("load-balance" in asked for asked in switch.asked)


async def test_flows_over_ipv6_are_left_out() -> None:
    over_ipv6 = OracleFlow("2001:db8:9::2", 20_000, VIP6, 443)
    assert await Switch().told([over_ipv6]) == {}
    assert set(await Switch().told([over_ipv6, *FLOWS])) == set(range(6))


def test_a_flow_in_a_vrf_is_asked_about_there() -> None:
    flow = OracleFlow(SOURCE, 20_000, VIP, 443, vrf="blue")
    asked = [line for one in eos_oracle.prepare([flow]) for line in json.loads(one.stdin or "")["params"]["cmds"]]
    assert f"show ip route vrf blue {VIP}" in asked
    with pytest.raises(ValueError, match="is no name of a VRF"):
        eos_oracle.prepare([OracleFlow(SOURCE, 20_000, VIP, 443, vrf="blue ; reload")])


@pytest.mark.parametrize("source", ["192.0.2", "x", "192.0.2.2 ; reload"])
def test_only_addresses_become_part_of_a_question(source: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        eos_oracle.prepare([OracleFlow(source, 20_000, VIP, 443)])


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60), name=st.sampled_from(["eos oracle tables 1", "eos oracle 1", "eos oracle rights"]))
def test_whatever_the_switch_says_flows_are_answered_or_left_out(text: str, name: str) -> None:
    tables = [
        {"ipV4Neighbors": []},
        route("192.0.2.0/24", {None: "Ethernet1"}),
        route(f"{VIP}/32", {None: "Ethernet1"}),
    ]
    whole = {
        "eos oracle rights": Answer('{"result": [{}]}'),
        "eos oracle tables 1": Answer(json.dumps({"result": tables})),
        "eos oracle 1": Answer(json.dumps({"result": [{}, {"outputIntf": text}]})),
    } | {name: Answer(text)}
    found = eos_oracle.read(FLOWS[:1], whole)
    assert set(found) <= set(FLOWS)
