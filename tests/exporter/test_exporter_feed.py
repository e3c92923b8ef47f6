"""What a router's feed makes of its configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.config import Config, Https, Router
from exporter.feed import RouterFeed, _transport
from exporter.shown import shown
from routers.model import Command, Query
from tests.routers.vendors_https import SECRET, USERNAME, Api, serving_api


async def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with a user that has no entry in /etc/passwd a ~ stands for nothing."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    router = Router.model_validate(
        {"name": "edge", "platform": "frr", "ssh": {"host": "127.0.0.1", "port": 9, "username": "monitor"}}
    )
    feed = RouterFeed(router, time.time)
    try:
        assert not await feed.poll(Query(vips=("203.0.113.10",), node_addresses=("10.0.0.11",)))
        assert feed.error == "this user has no home directory, and SSH needs one: set HOME"
    finally:
        await feed.close()


def https(url: str, directory: Path) -> dict[str, Any]:
    return {
        "url": url,
        "username": USERNAME,
        "password_file": str(directory / "secret"),
        "ca_file": str(directory / "ca.pem"),
    }


async def test_a_router_with_an_api_is_asked_over_https(tmp_path: Path) -> None:
    async with serving_api(Api(lambda request: f"{request.method} {request.path}"), tmp_path) as api:
        router = Router.model_validate({"name": "edge", "platform": "frr", "https": https(f"{api.url}/x", tmp_path)})
        transport = _transport(router)
        assert (await transport.run(Command("a", ("GET", "/rest")), 5, 1000)).stdout == "GET /x/rest"
        await transport.close()


def test_the_shown_configuration_names_the_password_file_and_not_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    router = {"name": "edge", "platform": "frr", "https": https("https://10.0.0.1", tmp_path)}
    text = shown(Config.model_validate({"routers": [router], "nodes": [], "targets": []}))
    assert f"password_file: {tmp_path / 'secret'}" in text
    assert "url: https://10.0.0.1" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "https://10.0.0.1/?a=b"}, "without a query"),
        ({"url": "https://10.0.0.1/#a"}, "without a query"),
        ({"url": "https://u:p@10.0.0.1"}, "without a user"),
        ({"username": "a:b"}, "no colon in it"),
        ({"password_file": ""}, "at least 1 character"),
    ],
)
def test_what_cannot_be_an_api(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Https.model_validate(https("https://10.0.0.1", tmp_path) | changes)
