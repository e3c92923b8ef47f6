"""A whole SSH session (asyncssh) on a socket that is connected already: host key, login with a key, one command.

Nothing of the user that this process runs as takes part: no agent, no configuration, no keys or known hosts of
theirs. The server's host key is judged before anything of the login is sent.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncssh

from probes.failure import ProbeError
from probes.model import Failure
from probes.ssh_hostkey import ALGORITHMS
from probes.ssh_tap import Tap
from probes.text import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from probes.attempt import Attempt
    from probes.model import Request
    from probes.ssh_banner import Banner
    from probes.ssh_files import LoginFiles
    from probes.ssh_module import SshLogin, SshModule

SSH_PORT = 22
MOST_OUTPUT = 65_536  # bytes that a command may print
MOST_BYTES = 1_048_576  # that a server may send in all
_MOST_NAMED = 4  # host keys in one sentence
_WINDOW = 2 * MOST_OUTPUT
_PACKET = 32_768
# Not group exchange, where the server chooses a group: one of 8192 bits would hold up all other probes.
_KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which host keys may be logged in to, by key and fingerprint; `trusts` None: any, and that was said.

    `algorithms` are asked for; `expectation` says what a key that is not trusted is not.
    """

    algorithms: tuple[str, ...]
    trusts: Callable[[asyncssh.SSHKey, str], bool] | None
    expectation: str


class Login:
    """What a probe needs to log in, read from files before anything is sent."""

    def __init__(self, settings: SshLogin, key: asyncssh.SSHKey, trust: Trust, version: str) -> None:
        self._settings = settings
        self._key = key
        self._trust = trust
        self._version = version

    async def go(self, attempt: Attempt, judge: Callable[[Banner], None]) -> None:
        """Log in on the attempt's socket, run the command, and say goodbye. `judge` sees the identification string.

        The socket stays open. Raises ProbeError and OSError.
        """
        if attempt.sock is None:
            raise ValueError("the attempt has to be connected")
        client = _Client(attempt, self._trust)
        options = self._options(client)
        tap = Tap(attempt.sock, judge, MOST_BYTES)
        try:
            attempt.step = "identification string"
            connection = await asyncssh.connect(
                attempt.request.host, attempt.request.flow.destination_port, sock=tap, config=None, options=options
            )
            try:
                attempt.end_phase("login")
                attempt.note("logged in")
                await self._run(attempt, connection)
            finally:
                connection.close()
                await connection.wait_closed()
        except ProbeError:
            raise
        except Exception as error:  # asyncssh hands on whatever it tripped over in a hostile message
            trouble = tap.trouble or client.trouble
            if trouble is None and isinstance(error, OSError):
                raise
            raise trouble or self._classified(error, attempt, tap) from error
        finally:
            tap.close()

    def _options(self, client: _Client) -> asyncssh.SSHClientConnectionOptions:
        try:
            return asyncssh.SSHClientConnectionOptions(
                client_factory=lambda: client,
                client_version=self._version,
                config=None,
                known_hosts=([], [], []),  # so that the client is asked
                server_host_key_algs=self._trust.algorithms,
                kex_algs=_KEX,
                compression_algs=["none"],
                x509_trusted_certs=None,
                username=self._settings.username,
                client_keys=[self._key],
                preferred_auth=["publickey"],
                agent_path=None,
                gss_host=None,
                gss_kex=False,
                gss_auth=False,
                host_based_auth=False,
                kbdint_auth=False,
                password_auth=False,
                login_timeout=0,
                tcp_keepalive=False,
            )
        except ValueError as error:
            raise ProbeError(Failure.LOCAL, f"this machine cannot log in: {error}") from error

    async def _run(self, attempt: Attempt, connection: asyncssh.SSHClientConnection) -> None:
        command = self._settings.command
        if command is None:
            return
        attempt.step = "command"
        attempt.note(f"running the command: {command}")
        process = await self._started(connection, command)
        try:
            with contextlib.suppress(BrokenPipeError):  # the command need not read its input
                process.stdin.write_eof()
            output = await _output(process)
            await process.wait_closed()
        except BaseException:
            with contextlib.suppress(OSError):  # without a signal OpenSSH lets a silent command run on
                process.kill()
            raise
        if connection.is_closed() and process.exit_status is None and process.exit_signal is None:
            raise asyncssh.ConnectionLost("in the middle of the command")
        attempt.end_phase("transfer")
        self._judge(attempt, process.exit_status, process.exit_signal, output)

    @staticmethod
    async def _started(connection: asyncssh.SSHClientConnection, command: str) -> asyncssh.SSHClientProcess[bytes]:
        return await connection.create_process(
            command,
            stderr=asyncssh.STDOUT,
            encoding=None,
            env=None,
            send_env=None,
            request_pty=False,
            x11_forwarding=False,
            window=_WINDOW,
            max_pktsize=_PACKET,
        )

    def _judge(self, attempt: Attempt, status: int | None, signal: object, output: bytes) -> None:
        ended = "without an exit status" if status is None else f"with status {status}"
        if isinstance(signal, tuple) and signal:
            ended = f"by signal {excerpt(str(signal[0]))}"
        attempt.note(f"the command ended {ended} after {len(output)} bytes")
        said = f": {excerpt(output)}" if output else ""
        if status != 0 or signal:
            raise ProbeError(Failure.EXPECTATION, f"the command ended {ended}{said}")
        expected = self._settings.expect_output
        if expected is not None and not expected.search(output.decode("utf-8", "replace")):
            raise ProbeError(
                Failure.EXPECTATION,
                f"what the command printed does not match expect_output {excerpt(expected.pattern)}{said}",
            )

    def _classified(self, error: Exception, attempt: Attempt, tap: Tap) -> ProbeError:
        """What ended the session, in the words of a probe; `str(error)` is the server's or asyncssh's."""
        said = excerpt(str(error))
        if isinstance(error, asyncssh.PermissionDenied):
            who = excerpt(self._settings.username)
            return ProbeError(Failure.EXPECTATION, f"server refuses the login of user {who} with this key")
        if isinstance(error, asyncssh.ChannelOpenError):
            return ProbeError(Failure.EXPECTATION, f"server refuses to run a command: {said}")
        if isinstance(error, asyncssh.ConnectionLost) and tap.banner is None:
            after = f" after: {excerpt(tap.seen)}" if tap.seen else ""
            return ProbeError(Failure.CLOSED, f"server closed before its identification string{after}")
        if isinstance(error, _PROTOCOL) or not isinstance(error, asyncssh.Error):
            return ProbeError(Failure.PROTOCOL, f"{attempt.step}: {said}")
        return ProbeError(Failure.CLOSED, f"{attempt.step}: server ended the connection: {said}")


_PROTOCOL = (
    asyncssh.CompressionError,
    asyncssh.KeyExchangeFailed,
    asyncssh.MACError,
    asyncssh.ProtocolError,
    asyncssh.ProtocolNotSupported,
)


class _Client(asyncssh.SSHClient):
    """Answers what asyncssh asks in the middle of a session."""

    def __init__(self, attempt: Attempt, trust: Trust) -> None:
        self.trouble: ProbeError | None = None
        self._attempt = attempt
        self._trust = trust
        self._exchanged = False

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called in each key exchange: a server may ask for another one at any time."""
        del host, addr, port
        fingerprint = key.get_fingerprint()
        expected = self._trust.trusts is not None and self._trust.trusts(key, fingerprint)
        if not self._exchanged:
            self._exchanged = True
            self._attempt.end_phase("processing")
            self._attempt.step = "login"
            _saw(self._attempt, key, fingerprint, expected=expected)
        if expected or self._trust.trusts is None:
            return True
        self.trouble = ProbeError(
            Failure.EXPECTATION, f"host key {fingerprint} ({key.get_algorithm()}) {self._trust.expectation}"
        )
        return False

    def auth_banner_received(self, msg: str, lang: str) -> None:
        del lang
        self._attempt.note(f"server says before the login: {msg}")


def _saw(attempt: Attempt, key: asyncssh.SSHKey, fingerprint: str, *, expected: bool) -> None:
    attempt.note(f"host key {fingerprint} ({key.get_algorithm()})")
    if attempt.facts.ssh is not None:
        seen = replace(attempt.facts.ssh, host_key=fingerprint, host_key_expected=expected)
        attempt.facts = replace(attempt.facts, ssh=seen)
    identity = attempt.request.identity
    if identity is not None and identity.kind == "host_key":
        attempt.identity = fingerprint


async def _output(process: asyncssh.SSHClientProcess[bytes]) -> bytes:
    output = bytearray()
    while chunk := await process.stdout.read(_PACKET):
        output += chunk
        if len(output) > MOST_OUTPUT:
            raise ProbeError(Failure.EXPECTATION, f"the command printed more than {MOST_OUTPUT} bytes")
    return bytes(output)


async def prepare(request: Request, module: SshModule, files: LoginFiles, algorithm: str, version: str) -> Login:
    """Read what the login needs. Raises ProbeError (local) for files of no use."""
    settings = module.login
    if settings is None:
        raise ValueError("the module has no login")
    key = await files.client_key(settings.client_key, settings.passphrase_file)
    if settings.known_hosts is None:
        expected = module.host_keys
        trusts = None if settings.insecure_ignore_host_key else lambda _, found: found in expected
        return Login(settings, key, Trust(ALGORITHMS[algorithm], trusts, one_of(expected)), version)
    hosts = await files.known_hosts(settings.known_hosts)
    port = request.flow.destination_port
    found = hosts.match(request.host, request.flow.destination, None if port == SSH_PORT else port)
    trusted, revoked = set(found[0]) - set(found[2]), set(found[2])
    if not trusted and port != SSH_PORT:  # as OpenSSH does it
        found = hosts.match(request.host, request.flow.destination, None)
        trusted = set(found[0]) - revoked - set(found[2])
    known = {name for one in trusted for name in ALGORITHMS.get(one.get_algorithm(), ())}
    algorithms = tuple(name for name in ALGORITHMS[algorithm] if name in known)
    if not algorithms:
        raise ProbeError(
            Failure.LOCAL, f"{settings.known_hosts} holds no host key of {request.host} port {port} that could be used"
        )
    expectation = f"is not what {settings.known_hosts} has for {request.host}"
    return Login(settings, key, Trust(algorithms, lambda one, _: one in trusted, expectation), version)


def one_of(host_keys: Collection[str]) -> str:
    """What a host key is not."""
    shown = ", ".join(list(host_keys)[:_MOST_NAMED]) + (", ..." if len(host_keys) > _MOST_NAMED else "")
    return f"is not one of host_keys ({shown})"
