"""`ecmp-exporter demo`: the outage in a lab, the exporter inside it, its page on this machine's localhost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lab import commands
from lab.plan import LabError

NAME = "demo"
PORT = 10179
OUTAGE = "neighbor_missing:leviathan3"
_READY_SECONDS = 30
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 10
# A socket is handed over as file descriptor 3 with LISTEN_PID naming the process itself: sd_listen_fds(3).
_HAND_OVER = 'exec 3<&"$0"; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'


def run(name: str = NAME, port: int = PORT, *, once: bool = False, say: Callable[[str], None] = print) -> int:
    """Build the lab, show what the exporter says of it and, unless `once`, follow it until Ctrl-C.

    Whatever happens, the lab is gone afterwards. Raises LabError if it cannot be built.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    listener = _listener(port)
    url = f"http://localhost:{listener.getsockname()[1]}"
    try:
        say("building the network of the outage: three nodes, and a router that was told of two")
        commands.up(name, fault=[OUTAGE], say=say)
        config = str(commands.state_directory(name) / "exporter.yml")
        with exporter(name, config, listener) as process:
            _wait_until_ready(url, process, say)
            _show(name, ["check", f"--config.file={config}"])
            _show(name, ["explain", "leviathan3", f"--config.file={config}"])
            say(_what_next(name, url))
            if not once:
                _follow(url, process, say)
    except KeyboardInterrupt:
        say("")
    finally:
        listener.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half a lab behind
        say("taking the lab down")
        commands.down(name)
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _listener(port: int) -> socket.socket:
    """A listening socket of this machine, not of the lab; on the next free port if `port` is taken."""
    for candidate in range(port, port + 20):
        try:
            return socket.create_server(("127.0.0.1", candidate))
        except OSError:
            continue
    raise LabError(f"ports {port} to {port + 19} of localhost are all taken; choose another with --port")


@contextmanager
def exporter(name: str, config: str, listener: socket.socket, level: str = "warn") -> Iterator[subprocess.Popen[bytes]]:
    """The exporter, probing from inside the lab and answering on a socket outside."""
    serve = [sys.executable, "-m", "exporter", "serve", f"--config.file={config}"]
    inside = commands.prober_command(name, [*serve, "--web.systemd-socket", f"--log.level={level}"])
    listening = listener.fileno()
    process = subprocess.Popen(
        ["bash", "-c", _HAND_OVER, str(listening), *inside],
        pass_fds=[listening],
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


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    say("the exporter makes its first round")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(f"the exporter ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise LabError(f"the exporter was not ready within {_READY_SECONDS} s")


def _show(name: str, arguments: list[str]) -> None:
    sys.stdout.flush()
    print(f"\n$ ecmp-exporter {' '.join(arguments)}", flush=True)
    subprocess.run(commands.prober_command(name, [sys.executable, "-m", "exporter", *arguments]), check=False)


def _what_next(name: str, url: str) -> str:
    return f"""
status page  {url}/
metrics      {url}/metrics

Try next, in another terminal{"" if os.geteuid() else " (as root)"}; changes of verdict are shown here:
  ecmp-exporter lab heal --name={name}                           add the neighbor, as the remedy says
  ecmp-exporter lab break blackhole leviathan2 --name={name}     any verdict can be caused:
  ecmp-exporter lab break --help                               lists the faults
Ctrl-C ends the demo and takes the lab down.
"""


def _follow(url: str, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    seen: set[str] | None = None
    while process.poll() is None:
        events = _events(url)
        if seen is None:
            seen = {json.dumps(event, sort_keys=True) for event in events}
        for event in reversed(events):
            key = json.dumps(event, sort_keys=True)
            if key not in seen:
                seen.add(key)
                who = event["node"] or event["next_hop"]
                say(f"{event['at'][11:19]}  {event['target']} via {who}: {event['from']} -> {event['to']}")
                say(f"          {event['reason']}")
        time.sleep(_LOOK_SECONDS)
    raise LabError(f"the exporter ended with status {process.returncode}")


def _events(url: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/events", timeout=5) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)["events"]
    except (urllib.error.URLError, OSError):
        return []
    return found
