"""Start, reconfigure and end the lab's daemons. All of them go into the background by themselves."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab import beside, bird, frr, netns, place
from lab.plan import EDGE_V4, Lab, LabError, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAMS: Final = frozenset({"bird", "zebra", "bgpd", "gobgpd", "sshd", "python"})
_FRR_DIRECTORIES: Final = ("/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin", "/usr/local/sbin")
_SYSTEM_DIRECTORIES: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_NEEDED: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "bird": "bird2",
    "birdc": "bird2",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}


def extend_path() -> None:
    """Administration programs are not on the PATH of every user."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(d for d in _SYSTEM_DIRECTORIES if d not in path)])


def frr_program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join(_FRR_DIRECTORIES))


def check_programs(lab: Lab) -> None:
    """LabError that names the packages to install, as Debian calls them."""
    missing = {package for program, package in _NEEDED.items() if shutil.which(program) is None}
    missing |= beside.missing(lab)
    if lab.router == "frr" and not (frr_program("zebra") and frr_program("bgpd") and shutil.which("vtysh")):
        missing.add("frr")
    if missing:
        hint = " (or use --router bird)" if missing == {"frr"} else ""
        msg = f"missing programs: apt-get install {' '.join(sorted(missing))}{hint}"
        raise LabError(msg)


# --- files ---------------------------------------------------------------------------------------------


def bird_files(state: Path, owner: str) -> tuple[Path, Path, Path]:
    """Configuration, control socket and pid file of a node's BIRD (or of the router's: `edge`)."""
    directory = state / "bird"
    return directory / f"{owner}.conf", directory / f"{owner}.ctl", directory / f"{owner}.pid"


def write_scripts(lab: Lab, state: Path) -> None:
    """`on-edge COMMAND...` runs a command on the router; there vtysh and birdc find the lab's daemons."""
    binaries = state / "bin"
    binaries.mkdir(mode=0o755)
    control = bird_files(state, "edge")[1]
    scripts = {
        state / "on-edge": f"exec nsenter --net={netns.NAMED / lab.namespace('edge')} "
        f'env PATH={shlex.quote(str(binaries))}:"$PATH" "$@"',
        binaries / "vtysh": f'exec {shutil.which("vtysh") or "vtysh"} --vty_socket {state / "frr"} "$@"',
        binaries / "birdc": f'exec {shutil.which("birdc") or "birdc"} -s {control} "$@"',
    }
    if "openbgpd" in lab.beside:
        scripts[binaries / "bgpctl"] = f'exec {shutil.which("bgpctl")} -s {beside.control_socket(state)} "$@"'
    unused = binaries / ("birdc" if lab.router == "frr" else "vtysh")
    for path, line in scripts.items():
        if path != unused:
            path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
            path.chmod(0o755)


# --- the speakers --------------------------------------------------------------------------------------


def _write_node_config(lab: Lab, node: Node, state: Path) -> Path:
    config = bird_files(state, node.name)[0]
    config.write_text(bird.node_config(lab, node, f"{config.with_suffix('.log')}"), encoding="utf-8")
    return config


def start_speaker(lab: Lab, node: Node, state: Path) -> None:
    _write_node_config(lab, node, state)
    _start_bird(lab.node_namespace(node), state, node.name)


def _start_bird(namespace: str, state: Path, owner: str) -> None:
    config, control, pid_file = bird_files(state, owner)
    netns.run_in(namespace, ["bird", "-c", str(config), "-s", str(control), "-P", str(pid_file)])


def configure_speaker(lab: Lab, node: Node, state: Path) -> None:
    _write_node_config(lab, node, state)
    if alive(bird_files(state, node.name)[2]):
        _birdc(state, node.name, "configure")


def kill_speaker(node: Node, state: Path) -> None:
    """Without a farewell, so that the router's graceful restart applies."""
    pid = running_pid(bird_files(state, node.name)[2])
    if pid is not None:
        end([pid], kindly=False)


def _birdc(state: Path, owner: str, *command: str) -> str:
    return netns.run(["birdc", "-s", str(bird_files(state, owner)[1]), *command])


# --- the router ----------------------------------------------------------------------------------------


def start_router(lab: Lab, state: Path) -> None:
    beside.start(lab, state)
    if lab.router == "bird":
        _write_router_config(lab, state)
        _start_bird(lab.namespace("edge"), state, "edge")
        return
    directory = state / "frr"
    directory.mkdir(mode=0o755)
    shutil.chown(directory, "frr", "frr")
    empty = directory / "empty.conf"
    empty.touch()
    for name in ("zebra", "bgpd"):
        program = frr_program(name) or name
        argv = [program, "-d", "-P", "0", "-f", str(empty), "-i", str(directory / f"{name}.pid")]
        argv += ["-z", str(directory / "zserv.api"), "--vty_socket", str(directory)]
        argv += ["--log", f"file:{directory / name}.log"]
        if lab.beside and name == "bgpd":
            argv += ["-l", EDGE_V4]  # the other daemons of the machine listen on addresses of their own
        netns.run_in(lab.namespace("edge"), argv)
    _vtysh_lines(frr.changes(None, lab), state)


def configure_router(old: Lab, new: Lab, state: Path) -> None:
    beside.configure(old, new, state)
    if new.router == "bird":
        if bird.router_config(old, "") != bird.router_config(new, ""):
            _write_router_config(new, state)
            _birdc(state, "edge", "configure")
    elif lines := frr.changes(old, new):
        _vtysh_lines(lines, state)


def _write_router_config(lab: Lab, state: Path) -> None:
    config = bird_files(state, "edge")[0]
    config.write_text(bird.router_config(lab, f"{config.with_suffix('.log')}"), encoding="utf-8")


def _vtysh_lines(lines: list[str], state: Path) -> None:
    path = state / "frr" / "changes.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    netns.run([str(state / "bin" / "vtysh"), "-f", str(path)])


def ask_router(lab: Lab, state: Path, command: str) -> str:
    if lab.router == "bird":
        return _birdc(state, "edge", *command.split())
    return netns.run([str(state / "bin" / "vtysh"), "-c", command])


def reset_session(lab: Lab, node: Node, state: Path) -> None:
    """Make both sides try again at once."""
    if lab.router == "bird":
        _birdc(state, "edge", "restart", node.name)
    else:
        ask_router(lab, state, f"clear bgp {node.v4}")


# --- pods ----------------------------------------------------------------------------------------------


def start_pods(lab: Lab, state: Path) -> None:
    web = lab.services[0]
    pods = [{"namespace": lab.pod_namespace(n), "node": n.name, "port": web.port} for n in web.nodes]
    specification = state / "pods.json"
    specification.write_text(json.dumps(pods), encoding="utf-8")
    package = Path(__file__).resolve().parents[1]
    netns.run(["env", f"PYTHONPATH={package}", sys.executable, "-m", "lab.pods", str(specification)])


# --- processes -----------------------------------------------------------------------------------------


def running_pid(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if place.start_time(pid) is None else pid


def alive(pid_file: Path) -> bool:
    return running_pid(pid_file) is not None


def end(pids: Iterable[int], *, kindly: bool = True) -> None:
    """End these processes; return when they have ended."""
    left = {pid: started for pid in pids if (started := place.start_time(pid)) is not None}
    for number, patience in ((signal.SIGTERM, 0.7 if kindly else 0.0), (signal.SIGKILL, 5.0)):
        if not patience:
            continue
        for pid, started in left.items():
            if place.start_time(pid) == started:
                try:
                    os.kill(pid, number)
                except (ProcessLookupError, PermissionError):  # gone, or another user's: not the lab's
                    continue
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            left = {pid: started for pid, started in left.items() if place.start_time(pid) == started}
            time.sleep(0.01)
