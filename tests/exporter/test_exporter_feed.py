"""What a router's feed makes of its configuration."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter import feed as feeds
from exporter.config import Config, Router
from exporter.feed import RouterFeed
from exporter.shown import shown
from routers.model import Answer, Command, Query, Session, SessionState, Snapshot
from tests.routers.vendors_https import SECRET, USERNAME, Api, Fault, serving_api


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


class _Platform:
    """A platform with one question over its API."""

    TRANSPORTS = frozenset({"https"})
    HAS_SHELL = False
    ORACLE = None

    def ask(self, _query: Query) -> tuple[Command, ...]:
        return (Command("peers", ("GET", "/peers?of=%2F")),)

    def follow_up(self, _query: Query, _answers: dict[str, Answer]) -> tuple[Command, ...]:
        return ()

    def read(self, router: str, _query: Query, answers: dict[str, Answer], taken_at: float) -> Snapshot:
        address = answers["peers"].stdout
        return Snapshot(router, "api", taken_at, (Session(address, SessionState.ESTABLISHED),))


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(feeds, "PLATFORMS", {"api": _Platform()})
    async with serving_api(Api(lambda one: "10.0.0.11" if one.path == "/v1/peers?of=%2F" else None), tmp_path) as api:
        yield api


def router_of(api: Api, directory: Path, **changes: Any) -> Router:
    https = {
        "url": f"{api.url}/v1/",
        "username": USERNAME,
        "password_file": str(directory / "secret"),
        "ca_file": str(directory / "ca.pem"),
    }
    return Router.model_validate({"name": "edge", "platform": "api", "https": https | changes})


async def test_a_router_is_read_over_its_api(api: Api, tmp_path: Path) -> None:
    router = router_of(api, tmp_path)
    feed = RouterFeed(router, time.time)
    try:
        assert await feed.poll(Query(vips=(), node_addresses=())), feed.error
        assert feed.snapshot is not None
        assert [one.address for one in feed.snapshot.sessions or ()] == ["10.0.0.11"]
        api.fault = Fault.LOGIN_REFUSED
        assert not await feed.poll(Query(vips=(), node_addresses=()))
        assert "refuses the login of user 'monitor'" in (feed.error or "")
        assert SECRET not in (feed.error or "") + repr(feed.config) + str(router.model_dump())
    finally:
        await feed.close()


def test_the_shown_configuration_names_the_password_file_and_not_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    https = {"url": "https://10.0.0.1", "username": USERNAME, "password_file": str(tmp_path / "secret")}
    text = shown(
        Config.model_validate(
            {"routers": [{"name": "edge", "platform": "eos", "https": https}], "nodes": [], "targets": []}
        )
    )
    assert f"password_file: {tmp_path / 'secret'}" in text
    assert "url: https://10.0.0.1" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "https://10.0.0.1/?token=x"}, "without a query"),
        ({"url": "https://monitor:secret@10.0.0.1"}, "without a user"),
        ({"url": "https://10.0.0.1/#a"}, "without a query"),
        ({"url": "https://10.0.0.1:99999"}, "'https://10.0.0.1:99999' must be a URL like .* a port from 1 to 65535"),
        ({"url": "https://10.0.0.1:0"}, "ports run from 1 to 65535"),
        ({"url": "https://2001:db8::1"}, "an IPv6 address in brackets"),
        ({"url": "https://[2001:db8::1"}, "an IPv6 address in brackets"),
        ({"url": "https://[fe80::1%25eth0]"}, "without % in its host"),
        ({"url": "monitor:secret@10.0.0.1"}, "what stands here must be a URL like https://10.0.0.1"),
        ({"url": "https://monitor:secret@[10.0.0.1"}, "what stands here must be a URL like https://10.0.0.1"),
        ({"url": "https://monitor:sec#:secret@10.0.0.1"}, "what stands here must be a URL like https://10.0.0.1"),
        ({"url": "https://10.0.0.1/a path"}, "must have what is not ASCII, and blanks, encoded"),
        ({"username": "a:b"}, "has no colon in it"),
        ({"ca_file": ""}, "at least 1 character"),
        ({"password_file": ""}, "at least 1 character"),
    ],
)
async def test_what_no_api_can_be_reached_by(api: Api, tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        router_of(api, tmp_path, **changes)
    assert not any("token=x" in one["msg"] or ":secret@" in one["msg"] for one in caught.value.errors())
