from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from probes.http_module import HttpModule
from probes.model import Failure
from probes.table import Probers
from tests.probes.http_probe import Site, moved, page, probe
from tests.probes.servers import answering, closed_port, serving

SECRET = "correct horse battery staple"
PAIR = base64.b64encode(f"user:{SECRET}".encode()).decode()


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(f"  {SECRET}\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    path = tmp_path / "user"
    path.write_text("user\n", encoding="utf-8")
    return str(path)


def sections(secret_file: str, user_file: str) -> dict[str, tuple[dict[str, object], str]]:
    return {
        "basic": ({"basic_auth": {"username": "user", "password": SECRET}}, f"Authorization: Basic {PAIR}"),
        "basic files": (
            {"basic_auth": {"username_file": user_file, "password_file": secret_file}},
            f"Authorization: Basic {PAIR}",
        ),
        "bearer": ({"bearer_token": SECRET}, f"Authorization: Bearer {SECRET}"),
        "bearer file": ({"bearer_token_file": secret_file}, f"Authorization: Bearer {SECRET}"),
        "credentials": ({"authorization": {"credentials": SECRET}}, f"Authorization: Bearer {SECRET}"),
        "credentials file": (
            {"authorization": {"type": "Token", "credentials_file": secret_file}},
            f"Authorization: Token {SECRET}",
        ),
        "header": ({"headers": {"X-Api-Key": SECRET}}, f"X-Api-Key: {SECRET}"),
        "http_headers": ({"http_headers": {"X-Api-Key": {"secrets": [SECRET]}}}, f"X-Api-Key: {SECRET}"),
        "http_headers file": ({"http_headers": {"X-Api-Key": {"files": [secret_file]}}}, f"X-Api-Key: {SECRET}"),
    }


NAMES = tuple(sections("", ""))


@pytest.mark.parametrize("name", NAMES)
async def test_sent_and_told_to_nobody(probers: Probers, secret_file: str, user_file: str, name: str) -> None:
    section, sent = sections(secret_file, user_file)[name]
    echo = page(SECRET, f"X-Echo: {SECRET} {PAIR}", f"Location: /{PAIR}?{SECRET}", status="404 Not Found")
    site = Site({"/": echo})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, module={**section, "fail_if_body_matches_regexp": ["absent"]})
    assert sent in site.asked[0].split("\r\n")
    assert outcome.failure is Failure.EXPECTATION
    told = "\n".join([outcome.detail, *outcome.transcript, repr(outcome)])
    assert "X-Echo: <hidden>" in told
    assert SECRET not in told
    assert name in {"header", "http_headers", "http_headers file"} or f"{sent.partition(':')[0]}: <hidden>" in told
    if name.startswith("basic"):
        assert PAIR not in told


@pytest.mark.parametrize("name", [name for name in NAMES if name != "header"])
def test_shown_in_no_dump(secret_file: str, user_file: str, name: str) -> None:
    """Of `headers`, which the schema cannot tell from secrets, the web page hides the values."""
    module = HttpModule.model_validate(sections(secret_file, user_file)[name][0])
    for shown in (json.dumps(module.model_dump(mode="json", exclude_unset=True)), repr(module), str(module)):
        assert SECRET not in shown


def test_body_may_hold_a_secret_and_is_in_no_dump() -> None:
    dump = HttpModule.model_validate({"method": "POST", "body": SECRET}).model_dump(mode="json", exclude_unset=True)
    assert dump == {"method": "POST", "body": "<hidden>"}


async def test_server_that_repeats_a_secret_in_what_is_no_answer(probers: Probers) -> None:
    async with serving(answering(f"{SECRET} {PAIR}\r\n\r\n".encode())) as port:
        outcome = await probe(probers, port, module={"basic_auth": {"username": "user", "password": SECRET}})
    assert outcome.failure is Failure.PROTOCOL
    told = "\n".join([outcome.detail, *outcome.transcript])
    assert "horse" not in told
    assert PAIR[:12] not in told


@pytest.mark.parametrize("name", ["Set-Cookie", "X-Auth-Token", "X-Session-Id", "X-API-Key"])
async def test_secrets_of_the_server_are_in_no_transcript(probers: Probers, name: str) -> None:
    async with serving(answering(page("x", f"{name}: {SECRET}"))) as port:
        outcome = await probe(probers, port)
    assert any(f"{name}: <hidden>" in line for line in outcome.transcript)
    assert not any(SECRET in line for line in outcome.transcript)


async def test_cookies_and_user_information_are_in_no_transcript(probers: Probers) -> None:
    answer = moved(f"https://user:{SECRET.replace(' ', '-')}@other.example/?t=1", "Set-Cookie: session=abcdef")
    async with serving(answering(answer)) as port:
        outcome = await probe(probers, port)
    told = "\n".join([outcome.detail, *outcome.transcript])
    assert "https://other.example/?<hidden>" in told
    assert "horse" not in told
    assert "abcdef" not in told


async def test_the_query_of_a_path_is_in_no_transcript(probers: Probers) -> None:
    echo = page("", "X-Url: /x?token=open%2Bsesame&a=1", "X-Token-Was: open%2Bsesame", "X-Said: open+sesame")
    site = Site({"/x?token=open%2Bsesame&a=1": echo})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, module={"path": "/x?token=open%2Bsesame&a=1"})
        asked_for = await probe(probers, port, path="/x?token=open%2Bsesame&a=1")
    for one in (outcome, asked_for):
        assert one.success, one.detail
        told = "\n".join([one.detail, *one.transcript])
        assert "> GET /x?<hidden>" in told
        assert "X-Said: <hidden>" in told
        assert "sesame" not in told


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"two\nlines", b"x" * 1_100_000])
@pytest.mark.parametrize("section", ["password_file", "body_file"])
async def test_file_that_cannot_be_used(probers: Probers, tmp_path: Path, content: bytes | None, section: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    module: dict[str, object] = {"body_file": str(path)}
    if section == "password_file":
        module = {"basic_auth": {"username": "user", "password_file": str(path)}}
    outcome = await probe(probers, closed_port(), module=module)
    fits = section == "body_file" and content is not None and len(content) < 100
    assert outcome.failure is (Failure.REFUSED if fits else Failure.LOCAL)
    assert fits or outcome.detail.startswith(str(path))
    assert "two" not in outcome.detail


async def test_file_is_read_for_every_probe(probers: Probers, tmp_path: Path) -> None:
    path = tmp_path / "body"
    site = Site({"/": page()})
    async with serving(site.serve) as port:
        for text in ("one", "two"):
            path.write_text(text, encoding="ascii")
            outcome = await probe(probers, port, module={"method": "POST", "body_file": str(path)})
            assert outcome.success, outcome.detail
    assert [request.partition("\r\n\r\n")[2] for request in site.asked] == ["one", "two"]
    assert not any("Content-Type" in request for request in site.asked)
