"""RouterOS and OPNsense over the real HTTPS transport, from servers on loopback that misbehave.

The RouterOS of this test runs queries as MikroTik's manual has them ("API", Queries): a word pushes whether it
holds, `#|` replaces two values by whether one of them is true.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from routers.https import HttpsSettings, HttpsTransport
from routers.model import Snapshot
from routers.platforms import PLATFORMS
from routers.reader import take_snapshot
from routers.transport import RouterError
from tests.routers.captured import QUERY, TAKEN_AT, answers, snapshot
from tests.routers.vendors_https import HARMLESS, USERNAME, Api, Fault, Request, serving_api

ROUTES = {"routeros": "/rest/routing/route/print", "opnsense": "/api/quagga/diagnostics/searchBgproute4"}
STRANGER = {"dst-address": "203.0.113.11/32", "contribution": "active", "gateway": "10.0.0.99", "bgp": "true"}
TIMEOUT = 1.0
FAULTS = sorted(set(Fault) - HARMLESS - {Fault.ENDLESS, Fault.HEADERS, Fault.BOMB})  # test_router_https has these


def holds(row: dict[str, Any], words: list[str]) -> bool:
    stack: list[bool] = []
    for word in words:
        if not word.startswith("#"):
            name, _, value = word.partition("=")
            stack.append(row.get(name) == value)
            continue
        for operation in word[1:]:
            assert operation == "|"
            one, other = stack.pop(), stack.pop()
            stack.append(one or other)
    return all(stack)


def routeros(request: Request) -> str | None:
    parts = urlsplit(request.path)
    whole = answers("routeros", "healthy")
    if (request.method, parts.path) == ("POST", ROUTES["routeros"]):
        body = json.loads(request.body)
        table = [*json.loads(whole["routeros routes 1"].stdout), STRANGER]
        rows = [row for row in table if holds(row, body[".query"])]
        return json.dumps([{key: row[key] for key in body[".proplist"] if key in row} for row in rows])
    menus = {
        urlsplit(command.argv[1]).path: command.name
        for command in PLATFORMS["routeros"].ask(QUERY)
        if command.argv[0] == "GET"
    }
    if request.method != "GET" or parts.path not in menus:
        return None
    document = json.loads(whole[menus[parts.path]].stdout)
    chosen = parse_qs(parts.query).get(".proplist")
    if not chosen:
        return json.dumps(document)
    keys = set(chosen[0].split(","))
    rows = document if isinstance(document, list) else [document]
    kept = [{key: value for key, value in row.items() if key in keys} for row in rows]
    return json.dumps(kept if isinstance(document, list) else kept[0])


def opnsense(request: Request) -> str | None:
    names = {command.argv: command.name for command in PLATFORMS["opnsense"].ask(QUERY)}
    name = names.get((request.method, request.path))
    return None if name is None else answers("opnsense", "healthy")[name].stdout


SERVERS: dict[str, Callable[[Request], str | None]] = {"routeros": routeros, "opnsense": opnsense}


async def read(platform: str, api: Api, directory: Path) -> Snapshot:
    async with serving_api(api, directory):
        settings = HttpsSettings(api.url, USERNAME, str(directory / "secret"), str(directory / "ca.pem"))
        transport = HttpsTransport(settings)
        try:
            return await take_snapshot(
                "edge",
                PLATFORMS[platform],
                transport,
                QUERY,
                lambda: TAKEN_AT,
                timeout_seconds=TIMEOUT,
                max_bytes=1_000_000,
            )
        finally:
            await transport.close()


@pytest.mark.parametrize("fault", sorted(HARMLESS))
@pytest.mark.parametrize("platform", sorted(SERVERS))
async def test_a_poll(platform: str, fault: Fault, tmp_path: Path) -> None:
    taken = await read(platform, Api(SERVERS[platform], fault), tmp_path)
    assert taken == snapshot(platform, "healthy")


@pytest.mark.parametrize("fault", [one for one in FAULTS if one is not Fault.LOGIN_REFUSED])
@pytest.mark.parametrize("platform", sorted(SERVERS))
async def test_one_answer_that_goes_wrong_costs_its_own_part(platform: str, fault: Fault, tmp_path: Path) -> None:
    api = Api(SERVERS[platform], fault, lambda request: request.path.startswith(ROUTES[platform]))
    taken = await read(platform, api, tmp_path)
    healthy = snapshot(platform, "healthy")
    assert "203.0.113.10" not in taken.routes
    assert (taken.sessions, taken.neighbors) == (healthy.sessions, healthy.neighbors)
    assert taken.problems


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("platform", sorted(SERVERS))
async def test_a_router_that_answers_nothing_rightly_is_unknown(platform: str, fault: Fault, tmp_path: Path) -> None:
    try:
        taken = await read(platform, Api(SERVERS[platform], fault), tmp_path)
    except RouterError:
        return
    assert taken.sessions is None
    assert taken.neighbors is None
    assert not taken.routes
    assert not taken.fib
    assert taken.problems
