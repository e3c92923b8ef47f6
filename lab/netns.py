"""Network namespaces by name: enter, configure, find the processes in them, remove."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from lab.plan import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

NAMED: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_MNT_DETACH: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
T = TypeVar("T")


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Run the block's thread, and the processes that it starts, in the namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(NAMED / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def run(argv: Sequence[str], *, text: str = "", check: bool = True) -> str:
    """Run a command where the calling thread is; LabError with its own words when it fails."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError as error:
        msg = f"{argv[0]} is not installed"
        raise LabError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{' '.join(argv[:6])}: no end after 60 seconds"
        raise LabError(msg) from error
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        msg = f"{' '.join(argv[:6])}: {'; '.join(words[:4])}"
        raise LabError(msg)
    return done.stdout


def run_in(namespace: str, argv: Sequence[str], *, text: str = "", check: bool = True) -> str:
    with entered(namespace):
        return run(argv, text=text, check=check)


def write_sysctls(values: dict[str, str]) -> None:
    """Set sysctls (names with slashes) of the network namespace that the thread is in."""
    for name, value in values.items():
        Path("/proc/sys", name).write_text(value, encoding="ascii")


def in_parallel(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do the work for every item; the first failure is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for future in [pool.submit(work, item) for item in items]:
            future.result()


def existing() -> list[str]:
    try:
        return sorted(path.name for path in NAMED.iterdir())
    except FileNotFoundError:
        return []


def add(namespaces: Iterable[str]) -> None:
    run(["ip", "-batch", "-"], text="".join(f"netns add {name}\n" for name in namespaces))


def remove(namespaces: Iterable[str]) -> None:
    """Remove the names; what is half made (a name without a namespace) goes as well."""
    for name in namespaces:
        path = NAMED / name
        while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
            pass
        path.unlink(missing_ok=True)


def processes_in(namespaces: Iterable[str]) -> list[int]:
    """Ids of the processes whose network namespace is one of these."""
    wanted = set()
    for name in namespaces:
        try:
            wanted.add((NAMED / name).stat().st_ino)
        except FileNotFoundError:
            continue
    found = []
    for pid in _process_ids():
        try:
            inode = Path(f"/proc/{pid}/ns/net").stat().st_ino
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if inode in wanted:
            found.append(pid)
    return found


def processes_naming(path: Path, programs: frozenset[str]) -> list[int]:
    """Ids of processes of these programs that have a file below `path` on their command line.

    Only of processes that see the same directory there: another mount namespace can hold a lab of the
    same name.
    """
    prefix = re.compile(rb"(^|[\0= ])" + re.escape(os.fsencode(path)) + rb"/")
    while not path.exists():
        path = path.parent
    found = []
    for pid in _process_ids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        # sshd writes its whole command into the first word
        words = command.split(b"\0", 1)[0].split()
        program = os.fsdecode(words[0]).rsplit("/", 1)[-1] if words else ""
        if any(program.startswith(known) for known in programs) and prefix.search(command) and _sees(pid, path):
            found.append(pid)
    return found


def _sees(pid: int, path: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/root{path}").samefile(path)
    except OSError:
        return False


def _process_ids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
