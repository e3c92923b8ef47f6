"""Files of a login: keys and known hosts, read anew only when they have changed.

A key under a passphrase takes a tenth of a second to open, on purpose: it is done beside the event loop, and once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from probes.failure import ProbeError
from probes.model import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_BYTES = 4_194_304
_MOST_HELD = 256  # entries, of which a configuration has a few
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """What files held when they looked like `stamp`: a value, or what is wrong with them."""

    stamp: _Stamp
    value: Any
    trouble: str | None


class LoginFiles:
    """One for a prober. What is wrong with a file is this machine's trouble (Failure.LOCAL), and holds no secret."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], _Held] = {}
        self._lock = asyncio.Lock()

    async def client_key(self, path: str, passphrase_file: str | None) -> asyncssh.SSHKey:
        """The private key in a file. Raises ProbeError."""
        key: asyncssh.SSHKey = await self._get("key", (path, passphrase_file), lambda: _key(path, passphrase_file))
        return key

    async def known_hosts(self, path: str) -> asyncssh.SSHKnownHosts:
        """Raises ProbeError."""
        hosts: asyncssh.SSHKnownHosts = await self._get("known hosts", (path,), lambda: _known_hosts(path))
        return hosts

    async def _get(self, kind: str, paths: tuple[str | None, ...], read: Callable[[], Any]) -> Any:
        names = tuple(path for path in paths if path is not None)
        async with self._lock:
            stamp = tuple(_stamp(name) for name in names)
            held = self._held.get((kind, *names))
            if held is None or held.stamp != stamp:
                held = await asyncio.to_thread(_read, stamp, read)
                if len(self._held) >= _MOST_HELD:
                    self._held.clear()
                self._held[kind, *names] = held
        if held.trouble is not None:
            raise ProbeError(Failure.LOCAL, held.trouble)
        return held.value


def _read(stamp: _Stamp, read: Callable[[], Any]) -> _Held:
    try:
        return _Held(stamp, read(), None)
    except ProbeError as error:
        return _Held(stamp, None, error.detail)


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _bytes(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _key(path: str, passphrase_file: str | None) -> asyncssh.SSHKey:
    passphrase = None if passphrase_file is None else _bytes(passphrase_file).rstrip(b"\r\n")
    text = _bytes(path)
    try:
        return asyncssh.import_private_key(text, passphrase)
    except asyncssh.KeyEncryptionError as error:
        if "bcrypt" in str(error):
            detail = f"the client key {path} in OpenSSH's format is opened with the Python package bcrypt: install it"
        else:
            detail = f"the passphrase in {passphrase_file} does not open the client key {path}"
        raise ProbeError(Failure.LOCAL, detail) from error
    except (asyncssh.KeyImportError, ValueError) as error:
        if passphrase is None and "passphrase" in str(error).lower():
            detail = f"the client key {path} is protected by a passphrase: say passphrase_file"
        else:
            detail = f"the client key {path} is no private key that can be read"
        raise ProbeError(Failure.LOCAL, detail) from error


def _known_hosts(path: str) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.import_known_hosts(_bytes(path).decode())
    except ValueError as error:
        raise ProbeError(Failure.LOCAL, f"the known_hosts file {path} is broken") from error


def _unreadable(path: str, error: OSError) -> ProbeError:
    return ProbeError(Failure.LOCAL, f"cannot read {path}: {error.strerror}")
