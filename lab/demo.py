"""`ecmp-exporter demo`: the outage in a lab, the exporter inside it, its page on this machine's localhost."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import commands, daemons, place
from lab.plan import LabError, RouterKind, check_name

NAME = "demo"
PORT = 10179
OUTAGE = "neighbor_missing:leviathan3"
_READY_SECONDS = 60
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 10
_PATIENCE_SECONDS = 2.0  # between two signs of life while something takes its time
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # http_proxy is not for localhost
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The listening socket comes as standard input and is handed over as file descriptor 3, with LISTEN_PID naming
# the process itself: sd_listen_fds(3).
_HAND_OVER = 'exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'


def run(name: str = NAME, port: int = PORT, *, once: bool = False, say: Callable[[str], None] = print) -> int:
    """Build the lab, show what the exporter says of it and, unless `once`, follow it until Ctrl-C.

    Whatever happens, the lab is gone afterwards. Raises LabError if it cannot be built.
    """
    say = _until_nobody_listens(say)
    with _claimed(name) as claimed:
        listener = _listener(port, say)
        url = f"http://localhost:{listener.getsockname()[1]}"
        try:
            _end_on_signals()
            _demonstrate(claimed, url, listener, once=once, say=say)
        except KeyboardInterrupt:
            pass
        finally:
            _ignore_endings()
            listener.close()
            with suppress(KeyboardInterrupt):  # nobody may be listening any more
                say("\ntaking the lab down")
            commands.down(claimed)
    return 0


def _demonstrate(name: str, url: str, listener: socket.socket, *, once: bool, say: Callable[[str], None]) -> None:
    say("building the network of the outage: three nodes, and a router that was told of two")
    commands.up(name, router=_router(say), fault=[OUTAGE], say=say)
    config = str(commands.state_directory(name) / "exporter.yml")
    with exporter(name, config, listener) as process:
        _wait_until_ready(name, url, process, say)
        say("its verdicts, and why (this is `ecmp-exporter check`, run in the lab):\n")
        check = [sys.executable, "-m", "exporter", "check", f"--config.file={config}"]
        # in a session of its own: Ctrl-C is ours, and its last words would be a traceback
        quiet = subprocess.DEVNULL
        subprocess.run(commands.prober_command(name, check), stdin=quiet, start_new_session=True, check=False)
        say(_what_next(name, url))
        if not once:
            _open_browser(url)
            _follow(name, url, process, say)


# --- the end, whatever its cause -----------------------------------------------------------------------


def _end_on_signals() -> None:
    """Ctrl-C, `kill` and a closed terminal raise KeyboardInterrupt, once: nothing may disturb the cleaning up."""
    for number in _ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    _ignore_endings()
    raise KeyboardInterrupt


def _ignore_endings() -> None:
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def _until_nobody_listens(say: Callable[[str], None]) -> Callable[[str], None]:
    """When the terminal or the pipe is gone the demo ends, quietly."""
    gone = False

    def guarded(line: str) -> None:
        nonlocal gone
        if gone:
            return
        try:
            say(line)
        except OSError:
            gone = True
            _ignore_endings()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for standard in (sys.stdout.fileno(), sys.stderr.fileno()):
                os.dup2(nowhere, standard)
            raise KeyboardInterrupt from None

    return guarded


def _nobody_listens() -> bool:
    """The terminal or the pipe is gone. A closed terminal signals its session's leader only, which may be make."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in watch.poll(0))


# --- a name and a port of its own ----------------------------------------------------------------------


@contextmanager
def _claimed(name: str) -> Iterator[str]:
    """A lab's name that no other demo of this user is using: this one, or with a number after it.

    An abstract socket holds it, which the kernel frees however this process ends.
    """
    check_name(name)
    for candidate in [name, *(f"{name}-{number}" for number in range(2, 10))]:
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0ecmp-exporter-demo-{os.geteuid()}-{candidate}")
            except OSError:
                continue
            yield check_name(candidate)
            return
    raise LabError("nine demos are running already; end one of them with Ctrl-C")


def _listener(port: int, say: Callable[[str], None]) -> socket.socket:
    """A listening socket of this machine, not of the lab; on the next free port if `port` is taken."""
    for candidate in range(port, port + 20):
        try:
            listener = socket.create_server(("127.0.0.1", candidate))
        except (OSError, OverflowError):
            continue
        if candidate != port:
            say(f"port {port} of localhost is taken; the page will be on {candidate}")
        return listener
    raise LabError(f"no port from {port} to {port + 19} of localhost can be used; choose another with --port")


# --- the parts of it -----------------------------------------------------------------------------------


def _router(say: Callable[[str], None]) -> RouterKind | None:
    """The lab's default router, or BIRD for a root without FRR."""
    daemons.extend_path()
    if place.mode() == "root" and not (daemons.frr_program("bgpd") and shutil.which("vtysh")):
        say("FRR is not installed: BIRD plays the router")
        return "bird"
    return None


@contextmanager
def exporter(name: str, config: str, listener: socket.socket, level: str = "warn") -> Iterator[subprocess.Popen[bytes]]:
    """The exporter, probing from inside the lab and answering on a socket outside."""
    serve = [sys.executable, "-m", "exporter", "serve", f"--config.file={config}"]
    inside = commands.prober_command(name, [*serve, "--web.systemd-socket", f"--log.level={level}"])
    process = subprocess.Popen(
        ["sh", "-c", _HAND_OVER, "sh", *inside],
        stdin=listener.fileno(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(name: str, url: str, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    say("starting the exporter in the lab; it asks the router and probes every path")
    start = time.monotonic()
    said = start
    while time.monotonic() - start < _READY_SECONDS:
        if process.poll() is not None:
            raise _ended(name, process)
        try:
            with _DIRECT.open(f"{url}/-/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() - said > _PATIENCE_SECONDS:
                said = time.monotonic()
                say("  waiting for its first round")
            time.sleep(0.1)
    raise LabError(f"the exporter was not ready within {_READY_SECONDS} s")


def _ended(name: str, process: subprocess.Popen[bytes]) -> LabError:
    if name not in place.known():
        return LabError(f"lab {name} was taken down by another command")
    return LabError(f"the exporter ended with status {process.returncode}")


def _what_next(name: str, url: str) -> str:
    which = "" if place.known() == [name] else f" --name={name}"
    program = _program()
    heal = f"{program} lab heal{which}"
    fault = f"{program} lab break blackhole leviathan2{which}"
    many = f"{program} lab break --help"
    width = max(map(len, (heal, fault, many)))
    who = " as root" if os.geteuid() == 0 and "SUDO_USER" not in os.environ else ""
    return f"""
status page  {url}/
metrics      {url}/metrics

Try next, in another terminal{who}; changes of verdict are shown here:
  {heal:{width}}  adds the neighbor, as the remedy says
  {fault:{width}}  a node that answers but serves nobody
  {many:{width}}  lists all faults
Ctrl-C ends the demo and takes the lab down.
"""


def _program() -> str:
    """What to type for `ecmp-exporter` in a terminal that knows nothing of a virtual environment."""
    script = Path(sys.prefix, "bin", "ecmp-exporter")
    if (found := shutil.which("ecmp-exporter")) and Path(found).resolve() == script.resolve():
        words = ["ecmp-exporter"]
    elif script.exists():
        here = script.is_relative_to(Path.cwd())
        words = [str(script.relative_to(Path.cwd()) if here else script)]
    else:
        words = [sys.executable, "-m", "exporter"]
    if os.geteuid() == 0 and "SUDO_USER" in os.environ:
        words.insert(0, "sudo")
    return shlex.join(words)


def _open_browser(url: str) -> None:
    """Where there is a display, and not from root, whose browsers refuse to start."""
    display = {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if not display or os.geteuid() == 0 or "SSH_CONNECTION" in os.environ or shutil.which("xdg-open") is None:
        return
    none = subprocess.DEVNULL
    subprocess.run(["setsid", "--fork", "xdg-open", url], stdin=none, stdout=none, stderr=none, check=False)


def _follow(name: str, url: str, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    seen: set[str] | None = None
    reason = ""
    while process.poll() is None:
        if _nobody_listens():
            raise KeyboardInterrupt
        events = _events(url)
        if seen is None:
            seen = {json.dumps(event, sort_keys=True) for event in events}
        for event in reversed(events):
            key = json.dumps(event, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            at = datetime.fromisoformat(event["at"]).astimezone().strftime("%H:%M:%S")
            who = event["node"] or event["next_hop"]
            say(f"{at}  {event['target']} via {who}: {event['from'] or 'new'} -> {event['to']}")
            if event["reason"] != reason:
                reason = event["reason"]
                say(f"          {reason}")
        time.sleep(_LOOK_SECONDS)
    raise _ended(name, process)


def _events(url: str) -> list[dict[str, Any]]:
    try:
        with _DIRECT.open(f"{url}/api/v1/events", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["events"]
    except (urllib.error.URLError, OSError):
        return []
    return found
