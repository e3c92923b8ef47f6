"""Every platform over its transports, through servers that misbehave: no wrong table, and a sentence for each fault.

A platform that joins PLATFORMS is tested by that alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from routers.model import Answer, Snapshot
from routers.platforms import PLATFORMS
from routers.reader import take_snapshot
from routers.ssh import SshTransport
from routers.transport import ErrorKind, RouterError, Transport
from tests.routers import vendors_https
from tests.routers.captured import NODE3, QUERY, TAKEN_AT, VIP
from tests.routers.vendors import (
    HARMLESS,
    NO_PAGE,
    NOT_FOUND,
    SECRETS,
    SPOILING,
    Book,
    Direct,
    Fault,
    SshRouter,
    differences,
    serving_https,
    serving_ssh,
)

SHORT_SECONDS = 1.0  # for a router that never answers
LONG_SECONDS = 60.0
MAX_BYTES = 2_000_000
SENTENCE = 700  # characters; more is no sentence

WITHOUT_ENDS = frozenset({"iosxe"})
"""Plain text without a shell: a router that ends well after some line of an answer cannot be told from a whole one."""

OVER_SSH = [name for name, one in PLATFORMS.items() if "ssh" in one.TRANSPORTS]
OVER_HTTPS = [name for name, one in PLATFORMS.items() if "https" in one.TRANSPORTS]

SSH_ERRORS = {
    Fault.LOGIN_REFUSED: (ErrorKind.AUTHENTICATION, "refuses the login of user 'monitor'"),
    Fault.SHELL_ONLY: (ErrorKind.REFUSED, "give user 'monitor' the right to run commands over SSH"),
    Fault.SLOW: (ErrorKind.TIMEOUT, "no complete answer to "),
    Fault.PAGING: (ErrorKind.TIMEOUT, "no complete answer to "),
    Fault.ENDLESS: (ErrorKind.TOO_LARGE, f"is longer than {MAX_BYTES} bytes"),
    Fault.CUT_HARD: (ErrorKind.CLOSED, "closed the connection"),
}
HTTPS_ERRORS = {
    vendors_https.Fault.LOGIN_REFUSED: (ErrorKind.AUTHENTICATION, "refuses the login of user 'monitor'"),
    vendors_https.Fault.FORBIDDEN: (ErrorKind.REFUSED, "give it the right to read"),
    vendors_https.Fault.REDIRECT: (ErrorKind.REFUSED, "a redirect to /login?next=/"),
    vendors_https.Fault.SLOW: (ErrorKind.TIMEOUT, "no complete answer to "),
    vendors_https.Fault.CUT: (ErrorKind.CLOSED, "cut its answer off in the middle"),
    vendors_https.Fault.CUT_HARD: (ErrorKind.CLOSED, ""),
    vendors_https.Fault.BOMB: (ErrorKind.TOO_LARGE, f"is longer than {MAX_BYTES} bytes"),
    vendors_https.Fault.ENDLESS: (ErrorKind.TOO_LARGE, f"is longer than {MAX_BYTES} bytes"),
    vendors_https.Fault.HEADERS: (ErrorKind.REFUSED, "does not answer in HTTP that can be read"),
    vendors_https.Fault.GARBAGE: (ErrorKind.REFUSED, "does not answer in HTTP that can be read"),
}


async def taken(platform: str, transport: Transport, *, hurry: bool = False) -> Snapshot | RouterError:
    try:
        return await take_snapshot(
            "edge",
            PLATFORMS[platform],
            transport,
            QUERY,
            lambda: TAKEN_AT,
            timeout_seconds=SHORT_SECONDS if hurry else LONG_SECONDS,
            max_bytes=MAX_BYTES,
        )
    except RouterError as error:
        return error


def assert_fit_for_people(sentence: str) -> None:
    assert sentence.isprintable(), repr(sentence)
    assert 0 < len(sentence) <= SENTENCE, sentence
    assert not any(secret in sentence for secret in SECRETS)


def assert_honest(found: Snapshot | RouterError, book: Book, fault: str, *, told: bool = False) -> None:
    """Nothing in it is wrong, and where nothing is in it that is said. `told`: where anything is missing it is said."""
    if isinstance(found, RouterError):
        assert_fit_for_people(str(found))
        return
    expected = book.expected()
    for problem in found.problems:
        assert_fit_for_people(problem)
    if fault is Fault.CUT_AFTER_LINE and book.platform in WITHOUT_ENDS:
        return
    assert differences(found, expected) == []
    something = found.sessions is not None or found.routes or found.fib
    assert something or found.problems
    missing = (found.sessions is None) > (expected.sessions is None) or found.routes.keys() != expected.routes.keys()
    if told and (missing or found.fib.keys() != expected.fib.keys()):
        assert found.problems


@pytest.mark.parametrize("platform", PLATFORMS)
def test_there_is_something_to_spoil(platform: str) -> None:
    expected = Book(platform, NOT_FOUND if platform in OVER_SSH else NO_PAGE).expected()
    assert {"10.0.0.11", "10.0.0.12", NODE3} <= {one.address for one in expected.sessions or ()}
    assert len(expected.routes[VIP]) == 3


@pytest.mark.parametrize("platform", OVER_SSH)
@pytest.mark.parametrize("fault", list(Fault))
async def test_over_ssh(platform: str, fault: Fault, tmp_path: Path) -> None:
    router = SshRouter(Book(platform, NOT_FOUND), fault)
    async with serving_ssh(router, tmp_path) as transport:
        found = await taken(platform, transport, hurry=fault in (Fault.SLOW, Fault.PAGING))
        if fault in HARMLESS:
            assert found == router.book.expected()
            found = await taken(platform, transport)
            assert found == router.book.expected()
    assert_honest(found, router.book, fault, told=True)
    by_chance_a_line = fault is Fault.CUT_HARD and platform in WITHOUT_ENDS  # half of one answer may end with its line
    if fault in SSH_ERRORS and not by_chance_a_line:
        assert isinstance(found, RouterError)
        kind, words = SSH_ERRORS[fault]
        assert (found.kind, words in str(found)) == (kind, True), str(found)


@pytest.mark.parametrize("platform", OVER_HTTPS)
@pytest.mark.parametrize("fault", list(vendors_https.Fault))
async def test_over_https(platform: str, fault: vendors_https.Fault, tmp_path: Path) -> None:
    book = Book(platform, NO_PAGE)
    async with serving_https(book, fault, tmp_path) as (transport, _):
        found = await taken(platform, transport, hurry=fault is vendors_https.Fault.SLOW)
    if fault in vendors_https.HARMLESS:
        assert found == book.expected()
    assert_honest(found, book, fault, told=True)
    if fault in HTTPS_ERRORS:
        assert isinstance(found, RouterError)
        kind, words = HTTPS_ERRORS[fault]
        assert (found.kind, words in str(found)) == (kind, True), str(found)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("fault", sorted(SPOILING))
async def test_one_spoilt_answer_among_good_ones(platform: str, fault: Fault) -> None:
    book = Book(platform, NOT_FOUND if platform in OVER_SSH else NO_PAGE)
    for command in book.commands:
        found = await taken(platform, Direct(book, fault, frozenset({command.name})))
        assert isinstance(found, Snapshot)
        assert_honest(found, book, fault)


async def all_of(book: Book, transport: SshTransport) -> list[Answer | BaseException]:
    """The answers to all commands at once, without a shell."""
    runs = (transport.run(one, LONG_SECONDS, MAX_BYTES) for one in book.commands)
    return await asyncio.gather(*runs, return_exceptions=True)


@pytest.mark.parametrize("fault", [Fault.HANGS_UP, Fault.ONE_CHANNEL, Fault.ONE_COMMAND])
async def test_commands_wait_for_each_other_where_a_router_wants_that(fault: Fault, tmp_path: Path) -> None:
    router = SshRouter(Book("frr", NOT_FOUND), fault)
    right = [router.book.by_name[one.name] for one in router.book.commands]
    async with serving_ssh(router, tmp_path) as transport:
        assert await all_of(router.book, transport) == right
        router.most_running, logins = 0, len(router.connections)
        assert await all_of(router.book, transport) == right
        assert router.most_running == 1
        assert len(router.connections) - logins <= (0 if fault is Fault.ONE_CHANNEL else len(right))


async def test_a_router_that_restarted_gets_several_commands_at_a_time_again(tmp_path: Path) -> None:
    router = SshRouter(Book("frr", NOT_FOUND))
    async with serving_ssh(router, tmp_path) as transport:
        await all_of(router.book, transport)
        router.connections[0].abort()
        await all_of(router.book, transport)
        router.most_running = 0
        await all_of(router.book, transport)
        assert router.most_running > 1
        assert len(router.connections) == 2


async def test_a_router_that_refuses_commands_is_not_logged_in_to_again_and_again(tmp_path: Path) -> None:
    router = SshRouter(Book("frr", NOT_FOUND), Fault.SHELL_ONLY)
    async with serving_ssh(router, tmp_path) as transport:
        for _ in range(3):
            found = await all_of(router.book, transport)
            assert {one.kind for one in found if isinstance(one, RouterError)} == {ErrorKind.REFUSED}
            assert len(found) == len(router.book.commands)
        assert len(router.connections) <= 2
