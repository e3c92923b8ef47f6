"""What a router's feed makes of its configuration."""

from __future__ import annotations

import time

import pytest

from exporter.config import Router
from exporter.feed import RouterFeed
from routers.model import Query


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
