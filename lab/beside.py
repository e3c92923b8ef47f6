"""The BGP daemons beside the router: start and reconfigure them, and what their tables show."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab import gobgp, netns, openbgpd
from lab.plan import BesideKind, Lab, LabError, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAMS: Final[dict[BesideKind, dict[str, str]]] = {
    "gobgp": {"gobgpd": "gobgpd", "gobgp": "gobgpd"},
    "openbgpd": {"bgpctl": "openbgpd"},
}
_STATES: Final = ("unknown", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established")
# OpenBGPD's processes lock themselves up in the home of their user, which its service would have made.
_OPENBGPD_HOME: Final = Path("/run/openbgpd")


def check(kinds: Iterable[BesideKind], *, privileged: bool) -> None:
    """LabError where a daemon cannot run here."""
    if "openbgpd" in kinds and not privileged:
        msg = "OpenBGPD changes to a user of its own and into its directory: run as root, or use --router gobgp"
        raise LabError(msg)


def tidy(state: Path) -> None:
    """Remove what a lab had made for OpenBGPD outside of it, unless another OpenBGPD has its socket there."""
    if (state / "openbgpd").exists():
        with contextlib.suppress(OSError):
            _OPENBGPD_HOME.rmdir()


def pid_file(kind: BesideKind, state: Path) -> Path:
    return state / kind / f"{kind}.pid"


def _config_file(kind: BesideKind, state: Path) -> Path:
    return state / kind / ("gobgpd.toml" if kind == "gobgp" else "bgpd.conf")


def control_socket(state: Path) -> Path:
    """By which bgpctl finds the lab's OpenBGPD."""
    return state / "openbgpd" / "bgpd.sock"


def _openbgpd_program() -> str:
    """FRR has a program of the same name, in directories of its own."""
    return shutil.which("bgpd", path="/usr/sbin:/usr/local/sbin") or "bgpd"


def _text(kind: BesideKind, lab: Lab, state: Path) -> str:
    return gobgp.config(lab) if kind == "gobgp" else openbgpd.config(lab, control_socket(state))


def _write(kind: BesideKind, lab: Lab, state: Path) -> Path:
    path = _config_file(kind, state)
    path.touch(mode=0o600)  # OpenBGPD reads no file that others can
    path.write_text(_text(kind, lab, state), encoding="utf-8")
    return path


def start(lab: Lab, state: Path) -> None:
    for kind in lab.beside:
        (state / kind).mkdir(mode=0o755)
        config = _write(kind, lab, state)
        if kind == "gobgp":
            argv = ["gobgpd", "-f", str(config), "--api-hosts", "127.0.0.1:50051", "--pprof-disable"]
        else:
            _OPENBGPD_HOME.mkdir(mode=0o755, exist_ok=True)
            argv = [_openbgpd_program(), "-d", "-f", str(config)]
        log = shlex.quote(str(state / kind / f"{kind}.log"))
        # neither goes into the background with its process id written somewhere
        line = f"setsid {shlex.join(argv)} >{log} 2>&1 </dev/null & echo $! >{shlex.quote(str(pid_file(kind, state)))}"
        netns.run_in(lab.namespace("edge"), ["sh", "-c", line])


def configure(old: Lab, new: Lab, state: Path) -> None:
    for kind in new.beside:
        if _text(kind, old, state) == _text(kind, new, state):
            continue
        _write(kind, new, state)
        if kind == "gobgp":
            netns.run(["kill", "-HUP", pid_file(kind, state).read_text(encoding="ascii").strip()])
            continue
        _bgpctl(state, "reload")
        for node in new.nodes:  # a password and an AS number take effect with the next session
            if any(old.has(one, node) != new.has(one, node) for one in ("session_down", "session_down_md5")):
                _bgpctl(state, "neighbor", node.v4, "clear", check=False)


def reset_session(kind: BesideKind, lab: Lab, node: Node, state: Path) -> None:
    """Make it try again at once; a neighbor that it does not have is no error."""
    if kind == "gobgp":
        _gobgp(lab, "neighbor", node.v4, "reset")
    else:
        _bgpctl(state, "neighbor", node.v4, "clear", check=False)


def sessions(kind: BesideKind, lab: Lab, state: Path) -> dict[str, str]:
    """Node name -> BGP state; a node that is no neighbor is absent."""
    owners = {node.v4: node.name for node in lab.nodes}
    if kind == "gobgp":
        rows = [(row.get("conf", {}), row.get("state", {})) for row in _json(_gobgp(lab, "neighbor", "-j"), [])]
        shown = {conf.get("neighbor_address"): _STATES[state.get("session_state", 0)] for conf, state in rows}
    else:
        answer = _json(_bgpctl(state, "-j", "show", "neighbor", check=False), {})
        shown = {row["remote_addr"]: row["state"] for row in answer.get("neighbors", [])}
    return {owners[address]: name for address, name in shown.items() if address in owners}


def routes(kind: BesideKind, lab: Lab, state: Path) -> dict[str, frozenset[str]]:
    """VIP -> names of the nodes whose route is in the table."""
    owners = {node.v4: node.name for node in lab.nodes}
    found: dict[str, frozenset[str]] = {}
    for prefix, peer in _gobgp_paths(lab) if kind == "gobgp" else _openbgpd_paths(state):
        vip = prefix.partition("/")[0]
        found[vip] = found.get(vip, frozenset()) | {owners.get(peer, peer)}
    return found


def _gobgp_paths(lab: Lab) -> Iterable[tuple[str, str]]:
    for family in ("ipv4", "ipv6"):
        table = _json(_gobgp(lab, "global", "rib", "-a", family, "-j"), {})
        for prefix, paths in table.items():
            for path in paths if isinstance(paths, list) else ():
                yield prefix, str(path.get("neighbor-ip"))


def _openbgpd_paths(state: Path) -> Iterable[tuple[str, str]]:
    for row in _json(_bgpctl(state, "-j", "show", "rib", check=False), {}).get("rib", []):
        yield row["prefix"], row["neighbor"]["remote_addr"]


def _json(text: str, otherwise: Any) -> Any:
    """The answer; `otherwise` where a daemon that is only starting gives none."""
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
        if isinstance(answer, type(otherwise)):
            return answer
    return otherwise


def _gobgp(lab: Lab, *words: str) -> str:
    # it waits for minutes for a daemon that does not answer
    return netns.run_in(lab.namespace("edge"), ["timeout", "5", "gobgp", *words], check=False)


def _bgpctl(state: Path, *words: str, check: bool = True) -> str:
    return netns.run(["bgpctl", "-s", str(control_socket(state)), *words], check=check)


def alive(lab: Lab, state: Path) -> dict[str, Path]:
    """The pid file of each, by the name under which `lab status` shows it."""
    return {f"edge-{kind}": pid_file(kind, state) for kind in lab.beside}


def missing(lab: Lab) -> set[str]:
    """Packages that have to be installed, as Debian calls them."""
    return {package for kind in lab.beside for program, package in PROGRAMS[kind].items() if not shutil.which(program)}
