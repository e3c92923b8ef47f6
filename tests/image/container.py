"""Runs a built image by an OCI runtime (crun), with the specification that container engines write for it.

For a user that is not root Docker and containerd leave only the bounding set of the capabilities that were asked
for (moby's oci.SetCapabilities); Podman makes them ambient as well. No engine is needed for either.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.image import seccomp

NET_RAW: Final = "CAP_NET_RAW"
_SECONDS: Final = 60
# The machine's control groups do not matter here, and crun refuses some layouts of them.
_RUNTIME: Final = 'mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager=disabled "$@"'
_GET: Final = """
import sys, urllib.request
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=10) as answer:
    sys.stdout.write(answer.read().decode())
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image; `settings` is what its configuration says to Docker."""

    rootfs: Path
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the person who starts the container chose. The root file system is always read-only."""

    image: Image
    capabilities: tuple[str, ...] = (NET_RAW,)
    ambient: bool = False
    no_new_privileges: bool = False
    host_network: bool = False
    config: Path | None = None  # a directory, to be seen as /etc/ecmp-exporter
    environment: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()  # a command that the runtime is started by
    files: Mapping[str, Path] = field(default_factory=dict)

    def process(self, arguments: Sequence[str]) -> dict[str, Any]:
        uid, _, gid = self.image.settings["User"].partition(":")
        asked = list(self.capabilities)
        ambient = dict.fromkeys(("permitted", "effective", "inheritable", "ambient"), asked) if self.ambient else {}
        return {
            "terminal": False,
            "user": {"uid": int(uid), "gid": int(gid)},
            "args": list(arguments),
            "env": [*self.image.settings["Env"], *self.environment],
            "cwd": self.image.settings["WorkingDir"],
            "capabilities": {"bounding": asked, **ambient},
            "noNewPrivileges": self.no_new_privileges,
        }

    def specification(self, arguments: Sequence[str]) -> dict[str, Any]:
        spaces = ["pid", "mount", "ipc", "uts", *([] if self.host_network else ["network"])]
        return {
            "ociVersion": "1.0.2",
            "process": self.process([*self.image.settings["Entrypoint"], *arguments]),
            "root": {"path": str(self.image.rootfs), "readonly": True},
            "mounts": [*_system(), *self._binds()],
            "linux": {
                "namespaces": [{"type": kind} for kind in spaces],
                "seccomp": seccomp.default(self.capabilities),
            },
        }

    def _binds(self) -> Iterator[dict[str, Any]]:
        directories = {"/etc/ecmp-exporter": self.config} if self.config else {}
        for destination, source in {**directories, **self.files}.items():
            yield {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", "ro"]}


def _system() -> list[dict[str, Any]]:
    dev = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": dev},
    ]


def run(setting: Setting, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The image's entry point with these arguments, to its end; `place` is an empty directory for the bundle."""
    command = _command(setting, place, arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)


@dataclass(frozen=True, slots=True)
class Running:
    """A container that serves."""

    setting: Setting
    place: Path
    process: subprocess.Popen[bytes]
    pid: int

    def log(self) -> str:
        return (self.place / "log").read_text()

    def rights(self) -> dict[str, str]:
        """User, capability sets, NoNewPrivs and Seccomp of its first process, as in proc(5)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        names = ("Uid", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
        return {name: fields[name].split()[0] for name in names}

    def get(self, path: str) -> str:
        """Asked within its network. Raises OSError if there is no answer or a bad one."""
        url = f"http://127.0.0.1:10179{path}"
        argv = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", sys.executable, "-I", "-c", _GET, url]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_SECONDS)
        if done.returncode:
            raise OSError(f"{url}: {done.stderr}")
        return done.stdout

    def wait_for(self, path: str) -> str:
        return _wait(lambda: self.get(path), self.process, self.log)

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` would."""
        asked = self.place / "process.json"
        asked.write_text(json.dumps(self.setting.process(argv)))
        command = _runtime(self.place, "exec", "--process", str(asked), self.place.name)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)

    def healthcheck(self) -> subprocess.CompletedProcess[str]:
        kind, *argv = self.setting.image.settings["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*argv)

    def stop(self) -> int:
        """The exit status after the image's stop signal."""
        os.kill(self.pid, signal.Signals[self.setting.image.settings["StopSignal"]])
        return self.process.wait(_SECONDS)


@contextmanager
def running(setting: Setting, place: Path, *arguments: str) -> Iterator[Running]:
    """A container in the background, ended when it is left."""
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(_command(setting, place, arguments), stdout=log, stderr=subprocess.STDOUT)
    pid_file = place / "pid"
    try:
        pid = int(_wait(pid_file.read_text, process, (place / "log").read_text))
        yield Running(setting, place, process, pid)
    finally:
        if process.poll() is None:
            subprocess.run(_runtime(place, "kill", place.name, "KILL"), check=False, timeout=_SECONDS)
            process.wait(_SECONDS)


def _wait(ask: Callable[[], str], process: subprocess.Popen[bytes], log: Callable[[], str]) -> str:
    """The first answer. Fails, with what was logged, if the process ends before there is one."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        with suppress(OSError):
            return ask()
        assert not ended, f"it ended with {process.returncode}: {log()}"
        time.sleep(0.1)
    raise AssertionError(f"no answer: {log()}")


def _command(setting: Setting, place: Path, arguments: Sequence[str]) -> list[str]:
    (place / "config.json").write_text(json.dumps(setting.specification(arguments)))
    started = _runtime(place, "run", "--bundle", str(place), "--pid-file", str(place / "pid"), place.name)
    return [*setting.enter, *started]


def _runtime(place: Path, *arguments: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", _RUNTIME, "sh", f"--root={place / 'crun'}", *arguments]
