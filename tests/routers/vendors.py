"""Routers of every platform on loopback: they say what a fixture says, and misbehave as routers do."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import asyncssh

from routers.https import HttpsSettings, HttpsTransport
from routers.model import Answer, Command, FibEntry, Route, SessionState, Snapshot
from routers.platforms import PLATFORMS
from routers.ssh import SshSettings, SshTransport
from routers.transport import Transport
from tests.routers import vendors_https
from tests.routers.captured import QUERY, TAKEN_AT, answers
from tests.routers.sshd import PASSWORD
from tests.routers.vendors_https import PAGE, SECRET, USERNAME, Api, serving_api

HEALTHY = "healthy"
SECRETS = (SECRET, PASSWORD)
GREETING = "\n*** edge: authorised access only ***\nLast login: Tue Nov 24 09:12:44 from 10.0.0.9\n\n"
PAGER_LINES = 10
MORE = " --More-- "


class Fault(StrEnum):
    """How an SSH server misbehaves towards the commands that it is told to misbehave for."""

    NONE = "none"
    LOGIN_BANNER = "banner before the login"
    HANGS_UP = "connection closed after each command"
    ONE_CHANNEL = "one channel at a time"
    ONE_COMMAND = "one command on a connection"
    LOGIN_REFUSED = "login refused"
    SHELL_ONLY = "no exec requests"
    SLOW = "no answer"
    PAGING = "pager that waits for a key"
    ENDLESS = "endless answer"
    CUT_HARD = "connection lost in the middle"
    CUT_LOGIN = "output cut in the middle and closed as if it were whole"
    CUT = "each answer cut in the middle"
    CUT_AFTER_LINE = "each answer cut after a line"
    PAGED = "pager's traces"
    PROMPT = "prompt and echo around the answer"
    GREETED = "message of the day before the answer"
    CRLF = "CRLF"
    ANSI = "ANSI escapes"
    ERROR_PAGE = "error page"
    EMPTY = "nothing"
    REFUSED = "command refused"
    NO_RIGHT = "permission denied"
    OTHER_LANGUAGE = "error in another language"
    OTHER_LANGUAGE_ASIDE = "error in another language, on standard error"
    BINARY = "no text"


HARMLESS = frozenset((Fault.NONE, Fault.LOGIN_BANNER, Fault.HANGS_UP, Fault.ONE_CHANNEL, Fault.ONE_COMMAND))
SPOILING = frozenset(list(Fault)[list(Fault).index(Fault.CUT) :])
"""Those that `spoilt` knows: of the answer, not of the server."""

_FIXED = {
    Fault.ERROR_PAGE: Answer(PAGE),
    Fault.EMPTY: Answer(),
    Fault.REFUSED: Answer("                 ^\n% Invalid input detected at '^' marker.\n\n"),
    Fault.NO_RIGHT: Answer("", "Permission denied\n", 1),
    Fault.OTHER_LANGUAGE: Answer("% Ungültige Eingabe bei '^' erkannt.\n"),
    Fault.OTHER_LANGUAGE_ASIDE: Answer("", "コマンドが見つかりません\n", 127),
    Fault.BINARY: Answer("\x00\x01\ufffd\ufffd\x7fELF\x02\x00\n" * 40),
}


def spoilt(fault: Fault, line: str, answer: Answer, *, killed: bool = False) -> Answer:
    """What is left of an answer; `killed`: a program that stops in the middle says so by its exit status."""
    text = answer.stdout
    status = 128 + signal.SIGTERM if killed else 0
    if fault in _FIXED:
        return _FIXED[fault]
    if fault is Fault.CUT:
        return Answer(text[: len(text) // 2].rstrip("\n"), exit_status=status)
    if fault is Fault.CUT_AFTER_LINE:
        return Answer(text[: text.rfind("\n", 0, len(text) // 2) + 1], exit_status=status)
    if fault is Fault.PAGED:
        rows = text.splitlines(keepends=True)
        pages = ["".join(rows[at : at + PAGER_LINES]) for at in range(0, len(rows), PAGER_LINES)]
        return Answer(f"{MORE}\r          \r".join(pages), answer.stderr, answer.exit_status)
    if fault is Fault.ANSI:
        text = "".join(f"\x1b[?7h\x1b[1m{row}\x1b[0m\x1b[K\n" for row in text.splitlines())
    changed = {
        Fault.PROMPT: f"edge#{line}\r\n{text}\r\nedge#",
        Fault.GREETED: GREETING + text,
        Fault.CRLF: text.replace("\n", "\r\n"),
    }.get(fault, text)
    return Answer(changed, answer.stderr, answer.exit_status)


def line_of(command: Command) -> str:
    """What a command looks like to who is asked."""
    plain = command.raw or command.argv[0] in ("GET", "POST")
    return " ".join(command.argv) if plain else shlex.join(command.argv)


@dataclass
class Book:
    """What a platform is asked about the scenario's query, and what it says; `unknown`: to any other question."""

    platform: str
    unknown: Answer
    scenario: str = HEALTHY
    commands: list[Command] = field(default_factory=list)
    said: dict[tuple[str, str], Answer] = field(default_factory=dict)
    by_name: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        platform, whole = PLATFORMS[self.platform], answers(self.platform, self.scenario)
        first = platform.ask(QUERY)
        self.by_name = {one.name: whole.get(one.name, self.unknown) for one in first}
        more = platform.follow_up(QUERY, self.by_name)
        self.by_name |= {one.name: whole.get(one.name, self.unknown) for one in more}
        self.commands = [*first, *more]
        self.said = {(line_of(one), one.stdin or ""): self.by_name[one.name] for one in self.commands}

    @property
    def has_shell(self) -> bool:
        return PLATFORMS[self.platform].HAS_SHELL

    def answer(self, line: str, text: str) -> Answer:
        """To a question, whose input may have got the line break that a here-document needs."""
        return self.said.get((line, text)) or self.said.get((line, text.removesuffix("\n"))) or self.unknown

    def expected(self) -> Snapshot:
        return PLATFORMS[self.platform].read("edge", QUERY, self.by_name, TAKEN_AT)


NOT_FOUND = Answer("", "sh: not found\n", 127)
NO_PAGE = Answer('{"error": 404, "message": "Not Found"}', "404 Reason 404", 404)


class _Login(asyncssh.SSHServer):
    def __init__(self, router: SshRouter) -> None:
        self._router = router
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._router.connections.append(conn)
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        if self._router.fault is Fault.LOGIN_BANNER:
            self._conn.send_auth_banner(f"{GREETING}{username}: password, please\r\n" * 20)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USERNAME, PASSWORD) and self._router.fault is not Fault.LOGIN_REFUSED

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        router = self._router
        if router.fault is Fault.SHELL_ONLY:
            return _ShellOnly()
        full = router.fault is Fault.ONE_CHANNEL and router.running
        if full or (router.fault is Fault.ONE_COMMAND and self._sessions):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "no more sessions")
        self._sessions += 1
        router.running += 1
        router.most_running = max(router.most_running, router.running)
        return asyncssh.SSHServerProcess(router.serve, None, 0, allow_scp=False)


class _ShellOnly(asyncssh.SSHServerSession[bytes]):
    def shell_requested(self) -> bool:
        return True


@dataclass
class SshRouter:
    """`faulty`: for which command lines the fault is."""

    book: Book
    fault: Fault = Fault.NONE
    faulty: Callable[[str], bool] = lambda _: True
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        line = process.command or ""
        status: int | None = None
        with contextlib.suppress(OSError, asyncssh.Error):
            text = (await process.stdin.read()).decode()
            status = await (self._script(text, process) if line == "sh -s" else self._command(line, text, process))
        self.running -= 1
        with contextlib.suppress(OSError, asyncssh.Error):
            if status is not None:
                process.exit(status)
            if self.fault is Fault.HANGS_UP:
                await process.wait_closed()
                process.channel.get_connection().disconnect(asyncssh.DISC_BY_APPLICATION, "")

    async def _script(self, script: str, process: asyncssh.SSHServerProcess[bytes]) -> int:
        """What a shell makes of `routers.shell.together`."""
        if not self.book.has_shell:
            return await self._say(NOT_FOUND, process)
        token = script.split()[2]
        stdout = stderr = ""
        for number, line, text in _questions(script, token):
            answer = self._spoilt(line, self.book.answer(line, text))
            if self.faulty(line) and await self._stops(answer.stdout, process):
                return 1
            begin, end = f"\n{token} begin {number}\n", f"\n{token} end {number} {answer.exit_status}\n"
            stdout += begin + answer.stdout + end
            stderr += begin + answer.stderr
        cut = len(stdout) // 2 if self.fault is Fault.CUT_LOGIN else len(stdout)
        return await self._say(Answer(stdout[:cut], stderr), process)

    async def _command(self, line: str, text: str, process: asyncssh.SSHServerProcess[bytes]) -> int:
        answer = self.book.answer(line, text)
        if self.faulty(line) and await self._stops(answer.stdout, process):
            return 1
        if self.fault is Fault.CUT_LOGIN:
            return await self._say(spoilt(Fault.CUT, line, answer), process)
        return await self._say(self._spoilt(line, answer), process)

    def _spoilt(self, line: str, answer: Answer) -> Answer:
        return spoilt(self.fault, line, answer, killed=self.book.has_shell) if self.faulty(line) else answer

    async def _say(self, answer: Answer, process: asyncssh.SSHServerProcess[bytes]) -> int:
        process.stdout.write(answer.stdout.encode())
        process.stderr.write(answer.stderr.encode())
        await process.stdout.drain()
        return answer.exit_status

    async def _stops(self, text: str, process: asyncssh.SSHServerProcess[bytes]) -> bool:
        """Whether the answer comes to no good end."""
        if self.fault is Fault.PAGING:
            process.stdout.write(("".join(text.splitlines(keepends=True)[:PAGER_LINES]) + MORE).encode())
        if self.fault in (Fault.SLOW, Fault.PAGING):
            await process.wait_closed()
            return True
        while self.fault is Fault.ENDLESS:
            process.stdout.write(b"*> 203.0.113.10/32  10.0.0.11  0  100  0 64512 i\n" * 1000)
            await process.stdout.drain()
            await asyncio.sleep(0)
        if self.fault is Fault.CUT_HARD:
            process.stdout.write(text[: len(text) // 2].encode())
            await asyncio.sleep(0.01)
            process.channel.get_connection().abort()
        return self.fault is Fault.CUT_HARD


def _questions(script: str, token: str) -> list[tuple[str, str, str]]:
    """Number, command line and input of each command."""
    found = re.findall(
        rf"begin (\d+); }} >&2\n(.*?)(?: </dev/null\n| <<'{token}'\n(.*?){token}\n)status=", script, re.DOTALL
    )
    return [(number, line, text) for number, line, text in found]


@asynccontextmanager
async def serving_ssh(router: SshRouter, directory: Path) -> AsyncIterator[SshTransport]:
    """The router on a free port of 127.0.0.1, and a transport to it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _Login(router), server_host_keys=[key], encoding=None
    )
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{listener.get_port()} {key.export_public_key().decode()}")
    settings = SshSettings("127.0.0.1", USERNAME, str(known_hosts), listener.get_port(), password=PASSWORD)
    transport = SshTransport(settings)
    try:
        yield transport
    finally:
        await transport.close()
        listener.close()
        for connection in router.connections:
            connection.abort()
        await listener.wait_closed()
        for connection in router.connections:
            await connection.wait_closed()


@asynccontextmanager
async def serving_https(
    book: Book, fault: vendors_https.Fault, directory: Path, faulty: Callable[[str], bool] = lambda _: True
) -> AsyncIterator[tuple[Transport, Api]]:
    """The router's API on a free port of 127.0.0.1, and a transport to it."""

    def said(request: vendors_https.Request) -> str | None:
        answer = book.answer(f"{request.method} {request.path}", request.body)
        return None if answer is book.unknown else answer.stdout

    api = Api(said, fault, lambda request: faulty(f"{request.method} {request.path}"))
    async with serving_api(api, directory):
        transport = HttpsTransport(
            HttpsSettings(api.url, USERNAME, str(directory / "secret"), str(directory / "ca.pem"))
        )
        try:
            yield transport, api
        finally:
            await transport.close()


@dataclass
class Direct:
    """A transport without a wire, for one spoilt answer of many; `names`: of which commands."""

    book: Book
    fault: Fault
    names: frozenset[str]

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:  # noqa: ARG002
        if command.argv[:2] == ("sh", "-s"):
            return NOT_FOUND
        line = line_of(command)
        answer = self.book.answer(line, command.stdin or "")
        if command.name not in self.names:
            return answer
        return spoilt(self.fault, line, answer, killed=self.book.has_shell)

    async def close(self) -> None:
        pass


def differences(found: Snapshot, expected: Snapshot) -> list[str]:
    """What a snapshot tells that is not so. What it does not tell is no difference."""
    wrong = []
    if found.sessions is not None and _wrong_sessions(found, expected):
        wrong.append(f"sessions {found.sessions} instead of {expected.sessions}")
    for vip, routes in found.routes.items():
        right = expected.routes.get(vip, ())
        own, known = _routes(routes), _routes(right)
        if own != known or not {one.peer for one in routes} <= {one.peer for one in right} | {None}:
            wrong.append(f"routes to {vip}: {own} instead of {known}")
        unused = {one.next_hops for one in routes if one.used is False}
        if unused - {one.next_hops for one in right if one.used is False}:
            wrong.append(f"routes to {vip} over {unused} called unused")
    for vip, entry in found.fib.items():
        if vip not in expected.fib or _hops(found.fib, vip) != _hops(expected.fib, vip):
            wrong.append(f"fib of {vip}: {entry} instead of {expected.fib.get(vip, 'untold')}")
    return wrong


def _wrong_sessions(found: Snapshot, expected: Snapshot) -> bool:
    """Whether one is missing, too many or in another state; a state that is unknown is not told."""
    own = {one.address: one for one in found.sessions or ()}
    right = {one.address: one for one in expected.sessions or ()}
    return own.keys() != right.keys() or any(
        one.admin_down > right[address].admin_down or one.state not in (SessionState.UNKNOWN, right[address].state)
        for address, one in own.items()
    )


def _routes(routes: Iterable[Route]) -> set[tuple[str, frozenset[str]]]:
    return {(one.prefix, frozenset(one.next_hops)) for one in routes}


def _hops(fib: Mapping[str, FibEntry | None], vip: str) -> set[str | None] | None:
    entry = fib[vip]
    return None if entry is None else {hop.address for hop in entry.next_hops}
