"""The HTTPS transport against a real server with real TLS on loopback."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from routers.https import CONNECTIONS, HttpsSettings, HttpsTransport
from routers.model import Answer, Command
from routers.transport import ErrorKind, RouterError
from tests.probes.certificates import authority
from tests.probes.issued import issue
from tests.routers.vendors_https import ELSEWHERE, PAGE, SECRET, USERNAME, Api, Fault, Request, serving_api

LIMIT = 1_000_000
SHOW = Command("version", ("GET", "/rest/system/resource"))


def said(request: Request) -> str | None:
    return (
        f'{{"asked": "{request.method} {request.path}", "body": "{request.body}"}}'
        if "none" not in request.path
        else None
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving_api(Api(said), tmp_path) as running:
        yield running


def settings(api: Api, directory: Path, **changes: Any) -> HttpsSettings:
    values: dict[str, Any] = {
        "url": api.url,
        "username": USERNAME,
        "password_file": str(directory / "secret"),
        "ca_file": str(directory / "ca.pem"),
    }
    return HttpsSettings(**values | changes)


@pytest.fixture
async def transport(api: Api, tmp_path: Path) -> AsyncIterator[HttpsTransport]:
    made = HttpsTransport(settings(api, tmp_path))
    yield made
    await made.close()


async def refusal(chosen: HttpsSettings, command: Command = SHOW, timeout_seconds: float = 5) -> RouterError:
    transport = HttpsTransport(chosen)
    try:
        with pytest.raises(RouterError) as caught:
            await transport.run(command, timeout_seconds, LIMIT)
    finally:
        await transport.close()
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


async def test_few_connections_carry_many_questions(api: Api, transport: HttpsTransport) -> None:
    paths = [f"/rest/ip/route?dst-address=203.0.113.{number}/32" for number in range(12)]
    answers = await asyncio.gather(*(transport.run(Command(path, ("GET", path)), 5, LIMIT) for path in paths))
    assert answers == [Answer(stdout=f'{{"asked": "GET {path}", "body": ""}}') for path in paths]
    assert api.connections <= CONNECTIONS
    assert {request.headers["accept-encoding"] for request in api.requests} == {"identity"}
    assert not any("cookie" in request.headers for request in api.requests)


async def test_a_path_stands_below_that_of_the_url(api: Api, tmp_path: Path) -> None:
    transport = HttpsTransport(settings(api, tmp_path, url=f"{api.url}/api/v1/"))
    await transport.run(Command("a", ("POST", "/search?a=b%2Fc"), stdin="{}"), 5, LIMIT)
    await transport.close()
    (request,) = api.requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/search?a=b%2Fc", "{}")
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "argv", [("DELETE", "/rest/x"), ("PUT", "/rest/x"), ("GET", "rest"), ("GET", "/a b"), ("GET", "/ü")]
)
async def test_what_is_no_question_is_not_sent(api: Api, tmp_path: Path, argv: tuple[str, str]) -> None:
    error = await refusal(settings(api, tmp_path), Command("bad", argv))
    assert error.kind is ErrorKind.REFUSED
    assert api.requests == []


async def test_an_error_status_is_an_answer(api: Api, transport: HttpsTransport) -> None:
    missing = await transport.run(Command("x", ("GET", "/none")), 5, LIMIT)
    assert missing == Answer('{"error": 404, "message": "Not Found"}', "404 Reason 404", 404)
    api.fault = Fault.BAD_GATEWAY
    assert await transport.run(SHOW, 5, LIMIT) == Answer(PAGE, "502 Reason 502", 502)
    api.fault = Fault.OTHER_LANGUAGE
    assert await transport.run(SHOW, 5, LIMIT) == Answer(ELSEWHERE, "400 Reason 400", 400)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.LOGIN_REFUSED, ErrorKind.AUTHENTICATION, "refuses the login of user 'monitor': check the user name"),
        (Fault.FORBIDDEN, ErrorKind.REFUSED, "log in, but not read /rest/system/resource: give it the right"),
        (Fault.REDIRECT, ErrorKind.REFUSED, "a redirect to /login?next=/, and none is followed"),
        (Fault.SLOW, ErrorKind.TIMEOUT, "no complete answer to 'version' within 0.5 s"),
        (Fault.CUT, ErrorKind.CLOSED, "cut its answer off in the middle"),
        (Fault.CUT_HARD, ErrorKind.CLOSED, ""),
        (Fault.BOMB, ErrorKind.TOO_LARGE, "the answer to 'version' is longer than 1000000 bytes"),
        (Fault.ENDLESS, ErrorKind.TOO_LARGE, "the answer to 'version' is longer than 1000000 bytes"),
        (Fault.HEADERS, ErrorKind.REFUSED, "does not answer in HTTP that can be read"),
        (Fault.GARBAGE, ErrorKind.REFUSED, "does not answer in HTTP that can be read"),
    ],
)
async def test_refusals(api: Api, tmp_path: Path, fault: Fault, kind: ErrorKind, words: str) -> None:
    api.fault = fault
    error = await refusal(settings(api, tmp_path), timeout_seconds=0.5 if fault is Fault.SLOW else 10)
    assert (error.kind, words in str(error)) == (kind, True), str(error)
    assert len(api.requests) == (2 if kind is ErrorKind.CLOSED else 1)


@pytest.mark.parametrize("fault", [Fault.PACKED, Fault.CLOSES_AFTER_EACH])
async def test_oddities_do_no_harm(api: Api, transport: HttpsTransport, fault: Fault) -> None:
    api.fault = fault
    for _ in range(4):
        answer = await transport.run(SHOW, 5, LIMIT)
        assert answer.stdout == '{"asked": "GET /rest/system/resource", "body": ""}'


async def test_a_refused_login_is_not_tried_again_before_the_password_changed(api: Api, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wrong horse\n")
    transport = HttpsTransport(settings(api, tmp_path))
    for _ in range(5):
        with pytest.raises(RouterError, match="refuses the login") as caught:
            await transport.run(SHOW, 5, LIMIT)
        assert caught.value.kind is ErrorKind.AUTHENTICATION
        assert "wrong horse" not in str(caught.value)
    assert len(api.requests) == 1
    (tmp_path / "secret").write_text(SECRET)
    assert (await transport.run(SHOW, 5, LIMIT)).exit_status == 0
    await transport.close()


async def test_the_secret_never_shows(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: HttpsTransport
) -> None:
    with caplog.at_level(logging.DEBUG):
        await transport.run(SHOW, 5, LIMIT)
    assert SECRET not in caplog.text + repr(settings(api, tmp_path)) + repr(transport)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("secret", None, "cannot read the password file .*secret: No such file"),
        ("secret", "\n", "the password file .*secret is empty"),
        (
            "secret",
            "key=a\nsecret=b\n",
            "the password file .*secret has several lines: let the password",
        ),
        ("ca.pem", None, "cannot read the ca_file .*ca.pem: No such file"),
        ("ca.pem", "no certificate", "the ca_file .*ca.pem holds no certificate"),
    ],
)
async def test_files_of_ours(api: Api, tmp_path: Path, file: str, content: str | None, words: str) -> None:
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    error = await refusal(settings(api, tmp_path))
    assert error.kind is ErrorKind.KEY_FILE
    assert_matches(words, error)
    assert api.requests == []


def assert_matches(words: str, error: RouterError) -> None:
    with pytest.raises(RouterError, match=words):
        raise error


async def shown_certificate(directory: Path, context: ssl.SSLContext, **changes: Any) -> tuple[RouterError, Api]:
    async with serving_api(Api(said), directory, context) as api:
        return await refusal(settings(api, directory, **changes)), api


async def test_a_self_signed_certificate_is_refused_with_the_way_to_trust_it(tmp_path: Path) -> None:
    own = issue("router", "localhost", self_signed=True)
    error, api = await shown_certificate(tmp_path, own.server(tmp_path), ca_file=None)
    assert error.kind is ErrorKind.CERTIFICATE
    assert f"openssl s_client -connect 127.0.0.1:{api.port} </dev/null | openssl x509 > ROUTER.pem" in str(error)
    assert "-fingerprint -sha256" in str(error)
    assert "name ROUTER.pem as ca_file" in str(error)
    assert api.requests == []


@pytest.mark.parametrize("self_signed", [True, False])
async def test_the_routers_own_certificate_may_stand_in_ca_file(tmp_path: Path, self_signed: bool) -> None:
    own = issue("router", "localhost", self_signed=self_signed)
    async with serving_api(Api(said), tmp_path, own.server(tmp_path)) as api:
        (tmp_path / "ca.pem").write_text(own.pem)
        transport = HttpsTransport(settings(api, tmp_path, url=f"https://localhost:{api.port}"))
        assert (await transport.run(SHOW, 5, LIMIT)).exit_status == 0
        await transport.close()


async def test_another_authority_than_that_of_ca_file(tmp_path: Path) -> None:
    own = issue("router", "localhost", self_signed=True)
    error, _ = await shown_certificate(tmp_path, own.server(tmp_path))
    assert error.kind is ErrorKind.CERTIFICATE
    assert f"> {tmp_path / 'ca.pem'}`, compare" in str(error)


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    error, _ = await shown_certificate(tmp_path, authority().server_context(tmp_path, "router.example.org"))
    assert error.kind is ErrorKind.CERTIFICATE
    assert "give the router one with 127.0.0.1 among its subject alternative names" in str(error)


async def test_an_expired_certificate(tmp_path: Path) -> None:
    own = issue("router", "localhost", days=-1)
    async with serving_api(Api(said), tmp_path, own.server(tmp_path)) as api:
        error = await refusal(settings(api, tmp_path, url=f"https://localhost:{api.port}"))
    assert error.kind is ErrorKind.CERTIFICATE
    assert "give the router a new one, and check that its clock" in str(error)


async def test_a_mended_certificate_file_is_read_again(tmp_path: Path) -> None:
    own = issue("router", "localhost", self_signed=True)
    async with serving_api(Api(said), tmp_path, own.server(tmp_path)) as api:
        transport = HttpsTransport(settings(api, tmp_path, url=f"https://localhost:{api.port}"))
        with pytest.raises(RouterError, match="is not accepted"):
            await transport.run(SHOW, 5, LIMIT)
        (tmp_path / "ca.pem").write_text(own.pem)
        assert (await transport.run(SHOW, 5, LIMIT)).exit_status == 0
        await transport.close()


async def test_nobody_listens(api: Api, tmp_path: Path, unused_tcp_port: int) -> None:
    error = await refusal(settings(api, tmp_path, url=f"https://127.0.0.1:{unused_tcp_port}"))
    assert error.kind is ErrorKind.UNREACHABLE
    assert f"cannot connect to 127.0.0.1 port {unused_tcp_port}: Connect" in str(error)


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
    if text:
        writer.write(text)
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("text", "words"), [(b"", "within 0.3 s"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot talk TLS with")]
)
async def test_a_port_without_tls(api: Api, tmp_path: Path, text: bytes, words: str) -> None:
    plain = await asyncio.start_server(lambda reader, writer: _say(reader, writer, text), "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    error = await refusal(settings(api, tmp_path, url=f"https://127.0.0.1:{port}", connect_timeout_seconds=0.3))
    plain.close()
    await plain.wait_closed()
    assert error.kind is ErrorKind.UNREACHABLE
    assert words in str(error)


async def test_close_in_mid_question(api: Api, transport: HttpsTransport) -> None:
    api.fault = Fault.SLOW
    task = asyncio.create_task(transport.run(SHOW, 5, LIMIT))
    await api.asked.wait()
    await transport.close()
    with pytest.raises(RouterError, match="was given up here"):
        await task
    with pytest.raises(RouterError, match="was given up here"):
        await transport.run(SHOW, 5, LIMIT)
    await transport.close()


async def test_a_question_that_hangs_does_not_stop_the_next(api: Api, transport: HttpsTransport) -> None:
    api.fault, api.faulty = Fault.SLOW, lambda request: "slow" in request.path
    slow = [transport.run(Command("slow", ("GET", "/slow")), 0.3, LIMIT) for _ in range(CONNECTIONS)]
    results = await asyncio.gather(*slow, return_exceptions=True)
    assert [one.kind for one in results if isinstance(one, RouterError)] == [ErrorKind.TIMEOUT] * CONNECTIONS
    assert (await transport.run(SHOW, 5, LIMIT)).exit_status == 0
