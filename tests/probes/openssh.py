"""Debian's OpenSSH on a loopback port; its absence is a failure, not a reason to skip."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.probes.servers import closed_port


@dataclass(frozen=True)
class Sshd:
    port: int
    log: Path
    keys: Mapping[str, Path]  # by kind, as ssh-keygen -t has it

    def text(self) -> str:
        return self.log.read_text("utf-8") if self.log.exists() else ""

    async def logged(self, text: str, times: int = 1) -> str:
        """The log, as soon as it holds `text` so often."""
        async with asyncio.timeout(20):
            while self.text().count(text) < times:  # noqa: ASYNC110 - its own process
                await asyncio.sleep(0.02)
        return self.text()

    async def fingerprint(self, kind: str) -> str:
        """As OpenSSH prints it."""
        keygen = await asyncio.create_subprocess_exec(
            "ssh-keygen", "-lf", str(self.keys[kind]), stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await keygen.communicate()
        return printed.decode().split()[1]


async def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> str:
    """Write a key pair; returns the line of the public one."""
    keygen = await asyncio.create_subprocess_exec("ssh-keygen", "-qt", kind, "-N", passphrase, "-f", str(path))
    assert await keygen.wait() == 0
    return path.with_name(f"{path.name}.pub").read_text("utf-8")


def login_settings(directory: Path, *public_keys: str) -> list[str]:
    """Whoever runs the tests may log in with these keys; their own start files take no part."""
    home = directory / "home"
    home.mkdir()
    authorized = directory / "authorized_keys"
    authorized.write_text("".join(public_keys), "utf-8")
    return [
        f"AuthorizedKeysFile {authorized}",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        f"SetEnv HOME={home}",
    ]


@asynccontextmanager
async def running(
    directory: Path, kinds: Sequence[str] = ("ed25519",), level: str = "DEBUG1", settings: Sequence[str] = ()
) -> AsyncIterator[Sshd]:
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, "install openssh-server: the ssh prober is tested against it"
    found = Sshd(closed_port(), directory / "log", {kind: directory / f"key_{kind}" for kind in kinds})
    for kind, key in found.keys.items():
        await make_key(key, kind=kind)
    _make_privilege_separation_directory()
    lines = [
        "ListenAddress 127.0.0.1",
        f"Port {found.port}",
        *(f"HostKey {key}" for key in found.keys.values()),
        "PidFile none",
        "UsePAM no",
        f"LogLevel {level}",
        *(["PerSourcePenalties no"] if await _penalizes() else []),
        *settings,
    ]
    config = directory / "config"
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    server = await asyncio.create_subprocess_exec(program, "-D", "-E", str(found.log), "-f", str(config))
    try:
        async with asyncio.timeout(20):
            while "Server listening" not in found.text():
                assert server.returncode is None, found.text()
                await asyncio.sleep(0.02)
        yield found
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
        await server.wait()


async def _penalizes() -> bool:
    """Since 9.8 a server keeps those out that come and go too often, as tests do. Older ones know no such setting."""
    ssh = await asyncio.create_subprocess_exec("ssh", "-V", stderr=asyncio.subprocess.PIPE)
    _, said = await ssh.communicate()
    version = re.match(rb"OpenSSH_(\d+)\.(\d+)", said)
    assert version is not None, said
    return (int(version[1]), int(version[2])) >= (9, 8)


def _make_privilege_separation_directory() -> None:
    """Debian makes it when the service starts; sshd demands it of root only."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
