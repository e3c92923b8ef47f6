"""Commands over one kept SSH connection (asyncssh), with the router's host key always checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh

from routers.jsontext import phrase
from routers.model import Answer, Command
from routers.ssh_process import execute
from routers.transport import PARALLEL_COMMANDS, ErrorKind, OutputLimit, RouterError, timed_out, unreadable

if TYPE_CHECKING:
    pass

SSH_PORT = 22
CONNECT_TIMEOUT_SECONDS = 10.0
_TRIES = 6  # of one command; two where it alone is to blame
LONE_CONNECTIONS = 3
"""Connections for commands that stand alone, at a time: IOS has five lines (vty 0 4), and people use them too."""
KEEPALIVE_SECONDS = 5.0  # asyncssh gives up after three without an answer


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Where and as whom to log in. Without client keys and password, the agent and default keys are tried."""

    host: str
    username: str
    known_hosts: str  # path; without an entry for the host no connection is made
    port: int = SSH_PORT
    client_keys: tuple[str, ...] = ()  # paths
    password: str | None = field(default=None, repr=False)
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS

    @property
    def place(self) -> str:
        return f"{self.host} port {self.port}"


@dataclass(slots=True, eq=False)
class _Line:
    """A live connection and what was made of it."""

    connection: asyncssh.SSHClientConnection
    begun: int = 0  # commands, ever
    running: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # none is running any more
    refuses: bool = False  # it was new, and no command was let in


class _BrokenOffError(Exception):
    """A try that failed. `alone`: nothing else was, or had been, run on its connection."""

    def __init__(self, error: RouterError, *, alone: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.alone = alone


class SshTransport:
    """One connection, made when first needed and made again after it broke, shared by all callers.

    Some routers take one command at a time on a connection, and some hang up after each (Cisco IOS): where that is
    seen, commands wait for each other. A command that is known to be met so (`Command.alone`) has a connection of its
    own, and waits for few.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._line: _Line | None = None
        self._attempt: asyncio.Task[_Line] | None = None
        self._waiting = 0
        self._closed = False
        self._slots = asyncio.Semaphore(PARALLEL_COMMANDS)
        self._alone = asyncio.Lock()
        self._lone_slots = asyncio.Semaphore(LONE_CONNECTIONS)
        self._lone: set[asyncssh.SSHClientConnection] = set()
        self._one_by_one = False  # it refuses a second command on a connection
        self._hangs_up = False  # it may be one that hangs up after a command
        self._tells_status = False  # so an answer without an exit status is cut

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        """See `Transport.run`. A connection that broke is made again once, or as often as it broke because others
        used it; commands only read, so they may be sent again.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._lone_slots if command.alone else self._slots:
                if command.alone:
                    return await self._on_its_own(command, max_bytes)
                failed_alone = 0
                for _ in range(_TRIES):
                    try:
                        return await self._in_turn(command, max_bytes)
                    except _BrokenOffError as broken:
                        error = broken.error
                        failed_alone += broken.alone
                    if failed_alone > 1:
                        break
                raise error
        except TimeoutError as error:
            raise timed_out(command, timeout_seconds) from error

    async def close(self) -> None:
        """End the connection, and any attempt to make one. Final: later calls of `run` are refused."""
        self._closed = True
        if self._attempt is not None:
            await _cancel(self._attempt)
        line, self._line = self._line, None
        for one in (*self._lone, *((line.connection,) if line is not None else ())):
            one.abort()
            await one.wait_closed()

    async def _on_its_own(self, command: Command, max_bytes: int) -> Answer:
        """Beside others of its kind, unless the router takes one at a time over all of its connections."""
        if not self._one_by_one:
            try:
                return await self._run_alone(command, max_bytes)
            except _BrokenOffError:
                self._one_by_one = True
        async with self._alone:
            try:
                return await self._run_alone(command, max_bytes)
            except _BrokenOffError as broken:
                raise broken.error from broken

    async def _run_alone(self, command: Command, max_bytes: int) -> Answer:
        """Raises _BrokenOffError where the router was busy with others."""
        if self._closed:
            raise _given_up(self._settings)
        connection = await _connect(self._settings)
        self._lone.add(connection)
        try:
            if self._closed:
                raise _given_up(self._settings)
            return (await execute(connection, command, OutputLimit(command, max_bytes)))[0]
        except asyncssh.ChannelOpenError as error:
            refusal = _refusal(self._settings, error)
            if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
                raise refusal from error
            raise _BrokenOffError(refusal, alone=True) from error
        except (asyncssh.DisconnectError, OSError) as error:
            reason = f"{self._settings.place} closed the connection: {phrase(str(error)) or 'no reason given'}"
            raise RouterError(reason, ErrorKind.CLOSED) from error
        finally:
            self._lone.discard(connection)
            connection.abort()

    async def _in_turn(self, command: Command, max_bytes: int) -> Answer:
        """Raises _BrokenOffError where another try may help."""
        line = await self._connected()
        if not (self._one_by_one or self._hangs_up):
            return await self._run_once(line, command, max_bytes)
        async with self._alone:
            line = await self._idle()
            if not line.begun:
                return await self._run_once(line, command, max_bytes)
            with contextlib.suppress(_BrokenOffError):  # else on a connection of its own, before others use that
                answer = await self._run_once(line, command, max_bytes)
                self._hangs_up = False
                return answer
            return await self._run_once(await self._idle(), command, max_bytes)

    async def _idle(self) -> _Line:
        """The live connection when no command runs on it."""
        while (line := await self._connected()).running:
            await line.idle.wait()
        return line

    async def _run_once(self, line: _Line, command: Command, max_bytes: int) -> Answer:
        line.begun += 1
        line.running += 1
        line.idle.clear()
        try:
            answer, told = await execute(line.connection, command, OutputLimit(command, max_bytes))
        except asyncssh.ChannelOpenError as error:
            if line.connection.is_closed():
                raise self._lost(line, error.reason) from error
            raise self._not_let_in(line, error) from error
        except (asyncssh.DisconnectError, OSError) as error:
            raise self._lost(line, str(error)) from error
        finally:
            line.running -= 1
            if not line.running:
                line.idle.set()
        if self._tells_status and not told:
            raise RouterError(f"{self._settings.place} broke its answer to {command.name!r} off", ErrorKind.CLOSED)
        self._tells_status = told
        return answer

    def _lost(self, line: _Line, reason: str) -> _BrokenOffError:
        self._drop(line)
        alone = line.begun == 1
        self._hangs_up = self._hangs_up or not alone
        detail = phrase(reason) or "no reason given"
        error = RouterError(f"{self._settings.place} closed the connection: {detail}", ErrorKind.CLOSED)
        return _BrokenOffError(error, alone=alone)

    def _not_let_in(self, line: _Line, error: asyncssh.ChannelOpenError) -> Exception:
        """What to make of a command that was refused on a connection that lives."""
        refusal = _refusal(self._settings, error)
        alone = line.begun == 1
        line.refuses = line.refuses or alone
        if line.refuses:
            return refusal
        self._one_by_one = True
        if line.running == 1:  # it may be let in as the first one of a connection
            self._drop(line)
        return _BrokenOffError(refusal, alone=False)

    def _drop(self, line: _Line) -> None:
        if self._line is line:
            self._line = None
        line.connection.abort()

    async def _connected(self) -> _Line:
        """The live connection; callers that come while it is being made wait for the same attempt."""
        if self._closed:
            raise _given_up(self._settings)
        if self._line is not None and not self._line.connection.is_closed():
            return self._line
        if self._attempt is None:
            self._attempt = asyncio.create_task(_line_to(self._settings))
        attempt = self._attempt
        self._waiting += 1
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if attempt.cancelled() and (self._closed or caller is None or not caller.cancelling()):
                raise _given_up(self._settings) from None  # the attempt was ended, not who waits for it
            raise
        finally:
            self._waiting -= 1
            await self._settle(attempt)

    async def _settle(self, attempt: asyncio.Task[_Line]) -> None:
        """Keep what an attempt brought; end it when nobody waits for it any more."""
        if not self._waiting:
            await _cancel(attempt)
        if not attempt.done() or self._attempt is not attempt:
            return
        self._attempt = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._line = attempt.result()


async def _line_to(settings: SshSettings) -> _Line:
    return _Line(await _connect(settings))


def _refusal(settings: SshSettings, error: asyncssh.ChannelOpenError) -> RouterError:
    message = f"{settings.place} refuses to run commands ({phrase(error.reason)})"
    if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
        message += f": give user {settings.username!r} the right to run commands over SSH, not only a shell or a menu"
    return RouterError(message, ErrorKind.REFUSED)


def _given_up(settings: SshSettings) -> RouterError:
    return RouterError(f"the connection to {settings.place} was given up here", ErrorKind.UNREACHABLE)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _connect(settings: SshSettings) -> asyncssh.SSHClientConnection:
    _check_home()
    known_hosts = _known_hosts(settings.known_hosts)
    for path in settings.client_keys:
        _check_client_key(path)
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            return await asyncssh.connect(
                settings.host,
                settings.port,
                username=settings.username,
                known_hosts=known_hosts,
                config=None,
                x509_trusted_certs=None,  # else files below ~/.ssh are looked for, which may be forbidden
                x509_trusted_cert_paths=[],
                gss_host=None,
                keepalive_interval=KEEPALIVE_SECONDS,
                **_credentials(settings),
            )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _host_key_error(settings, known_hosts) from error
    except asyncssh.PermissionDenied as error:
        raise RouterError(
            f"{settings.place} refuses the login of user {settings.username!r}: check the user name, and "
            "that the router knows the public key or password",
            ErrorKind.AUTHENTICATION,
        ) from error
    except TimeoutError as error:
        raise RouterError(
            f"cannot connect to {settings.place} within {settings.connect_timeout_seconds:g} s",
            ErrorKind.UNREACHABLE,
        ) from error
    except (OSError, asyncssh.Error, ValueError) as error:
        raise RouterError(
            f"cannot connect to {settings.place}: {phrase(str(error)) or type(error).__name__}",
            ErrorKind.UNREACHABLE,
        ) from error


def _check_home() -> None:
    """Asyncssh looks into the home directory whatever it is told, and raises RuntimeError without one."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - that of pathlib raises, too
        raise RouterError("this user has no home directory, and SSH needs one: set HOME", ErrorKind.KEY_FILE)


def _credentials(settings: SshSettings) -> dict[str, Any]:
    if settings.client_keys:
        return {"client_keys": list(settings.client_keys), "agent_path": None, "password": settings.password}
    if settings.password is not None:
        return {"client_keys": None, "agent_path": None, "password": settings.password}
    return {}


def _known_hosts(path: str) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(path)
    except OSError as error:
        raise RouterError(
            f"cannot read the known_hosts file {path}: {unreadable(error)}", ErrorKind.KEY_FILE
        ) from error
    except ValueError as error:
        raise RouterError(f"the known_hosts file {path} is broken: {phrase(str(error))}", ErrorKind.KEY_FILE) from error


def _check_client_key(path: str) -> None:
    """Say what is wrong with a key file before anything is sent; asyncssh names neither file nor way out."""
    try:
        asyncssh.read_private_key(path)
    except OSError as error:
        raise RouterError(f"cannot read the client key {path}: {unreadable(error)}", ErrorKind.KEY_FILE) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if "passphrase" in str(error).lower():
            raise RouterError(
                f"the client key {path} is protected by a passphrase, and nobody is here to type it: make a "
                "key without one for this purpose (ssh-keygen -t ed25519 -N '') or load it into an ssh-agent "
                "and leave client_keys empty",
                ErrorKind.KEY_FILE,
            ) from error
        raise RouterError(f"the client key {path} is no private key that can be read", ErrorKind.KEY_FILE) from error


def _host_key_error(settings: SshSettings, known_hosts: asyncssh.SSHKnownHosts) -> RouterError:
    matched = asyncssh.match_known_hosts(known_hosts, settings.host, "", settings.port)
    file = settings.known_hosts
    scan = f"`ssh-keyscan -p {settings.port} {settings.host}`"
    if any(matched[:2]):
        entry = settings.host if settings.port == SSH_PORT else f"[{settings.host}]:{settings.port}"
        return RouterError(
            f"the host key of {settings.place} is not the one in {file}: another machine may be answering; "
            f"if the router got a new key, remove the old one (`ssh-keygen -R {entry} -f {file}`), add the "
            f"output of {scan} and compare its fingerprint (`ssh-keygen -lf -`) with the router's own",
            ErrorKind.HOST_KEY,
        )
    return RouterError(
        f"the host key of {settings.place} is unknown: add the output of {scan} to {file} after comparing "
        "its fingerprint (`ssh-keygen -lf -`) with the router's own",
        ErrorKind.HOST_KEY,
    )
