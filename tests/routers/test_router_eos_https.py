"""Arista EOS over the real HTTPS transport, from a server on loopback that misbehaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routers import eos
from routers.eos import oracle as eos_oracle
from routers.https import HttpsSettings, HttpsTransport
from routers.model import NextHop, OracleFlow, Snapshot
from routers.reader import ask_oracle, take_snapshot
from routers.transport import RouterError
from tests.routers.captured import QUERY, TAKEN_AT, VIP, answers, snapshot
from tests.routers.test_router_eos_oracle import Switch
from tests.routers.vendors_https import HARMLESS, USERNAME, Api, Fault, Request, serving_api

NAMES = {command.stdin: command.name for command in eos.ask(QUERY)}
HEALTHY = answers("eos", "healthy")
TIMEOUT = 1.0
FAULTS = sorted(set(Fault) - HARMLESS - {Fault.ENDLESS, Fault.HEADERS, Fault.BOMB})  # test_router_https has these


def answered(request: Request) -> str | None:
    name = NAMES.get(request.body)
    return HEALTHY[name].stdout if name is not None and request.path == "/command-api" else None


async def read(api: Api, directory: Path) -> Snapshot:
    async with serving_api(api, directory):
        settings = HttpsSettings(api.url, USERNAME, str(directory / "secret"), str(directory / "ca.pem"))
        transport = HttpsTransport(settings)
        try:
            return await take_snapshot(
                "edge", eos, transport, QUERY, lambda: TAKEN_AT, timeout_seconds=TIMEOUT, max_bytes=1_000_000
            )
        finally:
            await transport.close()


@pytest.mark.parametrize("fault", sorted(HARMLESS))
async def test_a_poll(fault: Fault, tmp_path: Path) -> None:
    api = Api(answered, fault)
    assert await read(api, tmp_path) == snapshot("eos", "healthy")
    assert {request.method for request in api.requests} == {"POST"}


@pytest.mark.parametrize("fault", [one for one in FAULTS if one is not Fault.LOGIN_REFUSED])
async def test_one_answer_that_goes_wrong_costs_its_own_part(fault: Fault, tmp_path: Path) -> None:
    faulty = "eos bgp routes 1"
    taken = await read(Api(answered, fault, lambda request: NAMES.get(request.body) == faulty), tmp_path)
    healthy = snapshot("eos", "healthy")
    assert taken.routes == {}
    assert (taken.sessions, taken.fib, taken.neighbors) == (healthy.sessions, healthy.fib, healthy.neighbors)
    assert any("show ip bgp" in problem for problem in taken.problems)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_switch_that_answers_nothing_rightly_is_unknown(fault: Fault, tmp_path: Path) -> None:
    try:
        taken = await read(Api(answered, fault), tmp_path)
    except RouterError:
        return
    assert taken.sessions is None
    assert not taken.routes
    assert not taken.fib
    assert taken.problems


async def test_the_oracle(tmp_path: Path) -> None:
    switch = Switch()

    def asked(request: Request) -> str | None:
        commands = json.loads(request.body)["params"]["cmds"]
        return json.dumps({"jsonrpc": "2.0", "id": "x", "result": [switch.answer(one) for one in commands]})

    flows = [OracleFlow("192.0.2.2", 20_000 + number, VIP, 443) for number in range(40)]
    async with serving_api(Api(asked), tmp_path) as api:
        settings = HttpsSettings(api.url, USERNAME, str(tmp_path / "secret"), str(tmp_path / "ca.pem"))
        transport = HttpsTransport(settings)
        try:
            found = await ask_oracle(eos_oracle, transport, flows, has_shell=False)
        finally:
            await transport.close()
    assert found == {flow: NextHop(None, switch.ports[number % 3]) for number, flow in enumerate(flows)}
