"""Labs of ordinary users: a holder process keeps an `unshare -Urnm`, commands go on inside of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab import daemons, netns, place
from lab.inspection import Status
from lab.plan import Lab, LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HOLDER_VARIABLE: Final = "ECMP_LAB_HOLDER"


def needed() -> bool:
    return place.mode() == "outside"


def given_holder() -> place.Holder | None:
    """Inside: the holder that the process outside has started."""
    value = os.environ.get(_HOLDER_VARIABLE)
    if not value:
        return None
    pid, _, started = value.partition(":")
    return place.Holder(int(pid), int(started))


def up(lab: Lab, fault: Sequence[str], say: Callable[[str], None]) -> None:
    down(lab.name)
    arguments = ["up", "--nodes", str(lab.size), "--router", lab.router, "--hash", lab.hash_mode]
    arguments += ["--transit"] if lab.transit else []
    arguments += ["--beside-nodes"] if lab.beside_nodes else []
    for kind in lab.beside:
        arguments += ["--beside", kind]
    for item in fault:
        arguments += ["--fault", item]
    holder: place.Holder | None = None
    try:
        with _undisturbed():
            holder = _start_holder(place.state_root())
        _run(holder, lab.name, arguments, say)
    except BaseException:
        # Before the lab's record names it, nobody else could find the holder again.
        if holder is not None and place.load(lab.name) is None:
            daemons.end([holder.pid])
        raise


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that end a command are acted on only afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in arrived[:1]:
            signal.raise_signal(first)


def _start_holder(root: Path) -> place.Holder:
    ready = root / f".holder-{os.getpid()}"
    # a private /run: names of namespaces are files below it
    private = "mount -t tmpfs -o mode=0755 lab /run && touch /run/.ecmp-lab"
    script = f'{private} && echo $$ > "$0" && exec sleep infinity'
    errors = ready.with_suffix(".err")
    try:
        with errors.open("w", encoding="utf-8") as log:
            subprocess.run(
                ["setsid", "-f", "unshare", "-Urnm", "sh", "-c", script, str(ready)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                check=True,
            )
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            words = errors.read_text(encoding="utf-8").strip()
            text = ready.read_text(encoding="ascii") if ready.exists() else ""
            if text.endswith("\n"):
                pid = int(text)
                started = place.start_time(pid)
                if started is not None:
                    return place.Holder(pid, started)
            if words:
                break
            time.sleep(0.01)
    finally:
        ready.unlink(missing_ok=True)
        errors.unlink(missing_ok=True)
    msg = (
        "no user namespaces for ordinary users here: run as root, or set the sysctls "
        "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0 "
        f"as far as they exist ({words or 'unshare did not answer'})"
    )
    raise LabError(msg)


def prefix(record: place.Record) -> list[str]:
    """The command that enters the lab's user, mount and network namespaces and stays in this directory."""
    if record.holder is None or not record.holder.alive:
        msg = f"lab {record.lab.name} has died (its holder process is gone); `lab up` builds it again"
        raise LabError(msg)
    return _prefix(record.holder)


def _prefix(holder: place.Holder) -> list[str]:
    enter = ["nsenter", "-t", str(holder.pid), "-U", "-m", "-n", "--preserve-credentials"]
    return [*enter, f"--wd={Path.cwd()}", "--"]


def _run(holder: place.Holder, name: str, arguments: list[str], say: Callable[[str], None] | None = None) -> str:
    """Run a lab command inside. Its lines are passed on to `say`; LabError with its own message."""
    environment = os.environ | {
        place.STATE_VARIABLE: str(place.state_root()),
        _HOLDER_VARIABLE: f"{holder.pid}:{holder.started}",
        "PYTHONPATH": os.pathsep.join(part for part in (str(Path(__file__).resolve().parents[1]), *sys.path) if part),
    }
    command = [*_prefix(holder), sys.executable, "-m", "lab", *arguments, "--name", name]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdout is None or process.stderr is None:
            raise AssertionError
        try:
            for line in process.stdout:
                lines.append(line)
                if say is not None:
                    say(line.rstrip("\n"))
            errors = process.stderr.read().strip()
        except BaseException:
            process.kill()  # or it would go on building while the next command takes down
            process.wait()
            raise
    if process.returncode != 0:
        raise LabError(errors.removeprefix("ecmp-exporter lab: ") or f"lab {arguments[0]} failed")
    return "".join(lines)


def enter(record: place.Record, arguments: list[str], say: Callable[[str], None]) -> None:
    prefix(record)
    if record.holder is not None:
        _run(record.holder, record.lab.name, arguments, say)


def status(record: place.Record) -> Status:
    prefix(record)
    if record.holder is None:
        raise AssertionError
    return Status(**json.loads(_run(record.holder, record.lab.name, ["status", "--json"])))


def down(name: str) -> None:
    record = place.load(name)
    holder = record.holder if record else None
    if holder is not None and holder.alive:
        with contextlib.suppress(LabError):  # what it could not end is found by its command line below
            _run(holder, name, ["down"])
        daemons.end([holder.pid])
    daemons.end(netns.processes_naming(place.state_directory(name), daemons.PROGRAMS))
    place.forget(name)
