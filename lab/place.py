"""Where labs live: the state directory, the lock, lab.json, and who may build a lab at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from lab import netns
from lab.plan import Fault, HashMode, Lab, LabError, RouterKind, lab_of_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

# root: the machine's own namespaces. inside: within `unshare -Urnm`. outside: an ordinary user, whose labs
# each live in an `unshare -Urnm` of their own that later commands enter.
Mode = Literal["root", "inside", "outside"]
STATE_VARIABLE: Final = "ECMP_LAB_STATE"
_CAPABILITIES: Final = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_ROOT_STATE: Final = Path("/run/ecmp-exporter/lab")


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that keeps an ordinary user's lab alive; its start time tells it from a namesake."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Record:
    """What lab.json says."""

    lab: Lab
    complete: bool
    holder: Holder | None


def mode() -> Mode:
    if os.geteuid() != 0:
        return "outside"
    # One single mapped id is `unshare -r`; a container's root has a whole range and is root enough.
    lines = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return "inside" if lines[2:] == ["1"] else "root"


def within() -> bool:
    """Whether a command outside runs this one in its lab; then the lock and the last word are there."""
    return STATE_VARIABLE in os.environ


def state_root() -> Path:
    given = os.environ.get(STATE_VARIABLE)
    if given:
        return Path(given)
    if mode() == "outside":
        return Path(f"/tmp/ecmp-exporter-{os.geteuid()}/lab")  # noqa: S108 (owner and mode are checked)
    return _ROOT_STATE


def prepare() -> None:
    """Make this process able to build labs, or say in one sentence what is missing."""
    here = mode()
    root = state_root()
    if here == "outside":
        for directory in (root.parent, root):
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
            if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
                msg = f"{directory} has to be a directory of yours that nobody else can enter"
                raise LabError(msg)
        return
    effective = _effective_capabilities()
    missing = [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        msg = f"root without {' and '.join(missing)}: start the container with --privileged"
        raise LabError(msg)
    if here == "inside" and not within():
        own_run()
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    netns.NAMED.mkdir(exist_ok=True)


def own_run() -> None:
    """A private /run, so that names of namespaces stay within this user namespace."""
    marker = Path("/run/.ecmp-lab")
    if not marker.exists():
        try:
            netns.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "lab", "/run"])
        except LabError as error:
            msg = f"no mount namespace of its own: use `unshare -Urnm` ({error})"
            raise LabError(msg) from error
        marker.touch()


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process started; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def state_directory(name: str) -> Path:
    return state_root() / name


def known() -> list[str]:
    """Names of this user's labs, whole or in ruins."""
    try:
        names = {entry.name for entry in os.scandir(state_root()) if entry.is_dir()}
    except FileNotFoundError:
        names = set()
    if mode() != "outside":
        names |= {name for namespace in netns.existing() if (name := lab_of_namespace(namespace))}
    return sorted(names)


@contextmanager
def readable() -> Iterator[None]:
    """Whatever root's umask is: FRR's user has to get at its directory in the lab's."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One command at a time works on a lab; others wait for it."""
    path = state_root() / f".{name}.lock"
    deadline = time.monotonic() + 120
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_for_lock(descriptor, deadline, name)
            # `down` removes the file: a lock on a file without a name would protect nothing
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                yield
                return
        finally:
            if not state_directory(name).exists():
                path.unlink(missing_ok=True)
            os.close(descriptor)


def _wait_for_lock(descriptor: int, deadline: float, name: str) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                msg = f"another command has been at work on lab {name} for two minutes"
                raise LabError(msg) from None
            time.sleep(0.05)
        else:
            return


def save(record: Record) -> None:
    lab = record.lab
    content = {
        "name": lab.name,
        "nodes": lab.size,
        "router": lab.router,
        "hash": lab.hash_mode,
        "transit": lab.transit,
        "beside_nodes": lab.beside_nodes,
        "beside": list(lab.beside),
        "faults": sorted([fault.kind, fault.node] for fault in lab.faults),
        "complete": record.complete,
        "holder": record.holder and {"pid": record.holder.pid, "started": record.holder.started},
    }
    path = state_directory(lab.name) / "lab.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def load(name: str) -> Record | None:
    """The lab's record, or None when there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads((state_directory(name) / "lab.json").read_text(encoding="utf-8"))
        lab = Lab(
            name=content["name"],
            size=content["nodes"],
            router=cast("RouterKind", content["router"]),
            hash_mode=cast("HashMode", content["hash"]),
            faults=frozenset(Fault(kind, node) for kind, node in content["faults"]),
            transit=content["transit"],
            beside_nodes=content["beside_nodes"],
            beside=tuple(content["beside"]),
        )
        holder = Holder(**content["holder"]) if content["holder"] else None
        return Record(lab, content["complete"], holder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(name: str) -> None:
    shutil.rmtree(state_directory(name), ignore_errors=True)


def tidy() -> None:
    """Remove the directories above the labs when no lab is left in them."""
    root = state_root()
    for directory in (root, root.parent):
        try:
            directory.rmdir()
        except OSError:
            return
