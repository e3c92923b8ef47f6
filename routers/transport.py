"""How commands reach a router. `SshTransport`, `ExecTransport` and `HttpsTransport` are the only I/O of this room."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from routers.model import Answer, Command

PARALLEL_COMMANDS = 4
"""Commands that one transport runs at a time; OpenSSH's MaxSessions is 10, and others use the router too."""

_SECRET_BYTES = 4096


class ErrorKind(StrEnum):
    """Why a router could not be asked."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    HOST_KEY = "host_key"
    CERTIFICATE = "certificate"  # one that is not trusted, not for this name, or not valid now
    AUTHENTICATION = "authentication"
    KEY_FILE = "key_file"  # a key, password, known_hosts or CA file of ours is missing, unreadable or locked
    TOO_LARGE = "too_large"
    CLOSED = "closed"
    REFUSED = "refused"  # the router lets us in and will not run commands
    NOT_FOUND = "not_found"  # the command to start does not exist here


class RouterError(Exception):
    """A router could not be asked. The message is one sentence for people and never carries a secret."""

    def __init__(self, message: str, kind: ErrorKind) -> None:
        super().__init__(message)
        self.kind = kind


class Transport(Protocol):
    """Runs one command at a time or several together; safe for concurrent callers."""

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        """Run a command to its end. A non-zero exit or empty output is an answer, not an error.

        Raises RouterError when the command could not be run, took longer than `timeout_seconds` (waiting for
        a free channel included) or wrote more than `max_bytes` to standard output and error together.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and processes, for good. Idempotent."""
        ...


class OutputLimit:
    """Counts what a command writes on all its streams and stops it at `max_bytes`."""

    def __init__(self, command: Command, max_bytes: int) -> None:
        self._command = command
        self._max_bytes = max_bytes
        self._left = max_bytes

    def take(self, chunk: bytes) -> bytes:
        """Count a chunk. Raises RouterError (too_large) when it is beyond the limit."""
        self._left -= len(chunk)
        if self._left < 0:
            raise RouterError(
                f"the answer to {self._command.name!r} is longer than {self._max_bytes} bytes",
                ErrorKind.TOO_LARGE,
            )
        return chunk


def timed_out(command: Command, timeout_seconds: float) -> RouterError:
    return RouterError(f"no complete answer to {command.name!r} within {timeout_seconds:g} s", ErrorKind.TIMEOUT)


def unreadable(error: OSError) -> str:
    """Why a file of ours cannot be read. Root that lacks CAP_DAC_OVERRIDE reads like any other user."""
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError) and os.geteuid() == 0:
        return f"{reason} (this process gave up root's right to read files of other users: let root own it)"
    return reason


def read_secret(path: str) -> str:
    """What stands in a password file, without the space around it. Raises RouterError (key_file)."""
    try:
        with Path(path).open("rb") as file:
            secret = file.read(_SECRET_BYTES).decode().strip()
    except OSError as error:
        raise RouterError(f"cannot read the password file {path}: {unreadable(error)}", ErrorKind.KEY_FILE) from error
    except UnicodeDecodeError:
        raise RouterError(f"the password file {path} is not UTF-8 text", ErrorKind.KEY_FILE) from None
    if not secret:
        raise RouterError(f"the password file {path} is empty", ErrorKind.KEY_FILE)
    if len(secret.splitlines()) > 1:
        raise RouterError(
            f"the password file {path} has several lines: let the password alone stand in it", ErrorKind.KEY_FILE
        )
    return secret
