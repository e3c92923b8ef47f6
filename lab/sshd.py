"""OpenSSH servers of a lab: the router's login and the one in Gitea's pod."""

from __future__ import annotations

import pwd
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab import netns, place
from lab.plan import EDGE_V4, EDGE_V6, EDGE_WAN_V4, EDGE_WAN_V6, Lab, LabError

if TYPE_CHECKING:
    from lab.place import Mode

_LOGIN_UID: Final = 1000


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    namespace: str


def servers(lab: Lab) -> tuple[Server, Server]:
    gitea = lab.services[1].nodes[0]
    return Server("edge", lab.namespace("edge")), Server("gitea", lab.pod_namespace(gitea))


def username(mode: Mode) -> str:
    """Whom to log in as: OpenSSH separates privileges only as a real root."""
    return "root" if mode == "root" else "monitor"


def config(state: Path, name: str, mode: Mode, *, penalties: bool) -> str:
    """`penalties`: whether this OpenSSH knows PerSourcePenalties (9.8 and later)."""
    lines = [
        "Port 22",
        f"HostKey {state}/ssh/{name}_host_key",
        f"PidFile {state}/ssh/{name}.pid",
        f"AuthorizedKeysFile {state}/ssh/authorized_keys",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        # root's password may be locked, which only PAM forgives; without root PAM cannot be had
        f"UsePAM {'yes' if mode == 'root' else 'no'}",
        "StrictModes no",
        "UseDNS no",
        "PrintMotd no",
        "MaxStartups 1000:30:2000",
        "MaxSessions 100",
        "LoginGraceTime 30",
        f"SetEnv PATH={state}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    if penalties:
        lines.append("PerSourcePenalties no")
    return "\n".join(lines) + "\n"


def make_keys(state: Path) -> None:
    """The key to log in with (ssh/id_ed25519), both servers' host keys, authorized_keys, known_hosts."""
    directory = state / "ssh"
    directory.mkdir(mode=0o755)
    for name in ("id_ed25519", "edge_host_key", "gitea_host_key"):
        netns.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab-{name}", "-f", str(directory / name)])
    public = (directory / "id_ed25519.pub").read_text(encoding="ascii")
    (directory / "authorized_keys").write_text(public, encoding="ascii")
    host_key = (directory / "edge_host_key.pub").read_text(encoding="ascii")
    addresses = f"{EDGE_V4},{EDGE_V6},{EDGE_WAN_V4},{EDGE_WAN_V6}"
    (directory / "known_hosts").write_text(f"{addresses} {host_key}", encoding="ascii")
    home = state / "home"
    home.mkdir(mode=0o700)
    (directory / "passwd").write_text(_accounts(home, place.mode()), encoding="utf-8")


def _accounts(home: Path, mode: Mode) -> str:
    """The passwd file of the router: logins have a plain shell and an empty home, whatever start files root has."""
    logins = [f"root:*:0:0:root:{home}:/bin/sh", f"monitor:*:{_LOGIN_UID}:{_LOGIN_UID}::{home}:/bin/sh"]
    if mode == "root":
        # PAM and sshd look for these: root's own entry in the shadow file, the account that sshd confines itself to
        logins = [
            f"root:x:0:0:root:{home}:/bin/sh",
            *(
                f"{one.pw_name}:x:{one.pw_uid}:{one.pw_gid}::{one.pw_dir}:{one.pw_shell}"
                for one in pwd.getpwall()
                if one.pw_name in ("sshd", "frr", "bird")
            ),
        ]
    return "\n".join(logins) + "\n"


def start(lab: Lab, state: Path, mode: Mode) -> None:
    program = shutil.which("sshd")
    if program is None:
        msg = "sshd is not installed: install openssh-server"
        raise LabError(msg)
    if mode == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd chroots there and wants it to exist
    for server in servers(lab):
        path = state / "ssh" / f"{server.name}.conf"
        path.write_text(config(state, server.name, mode, penalties=False), encoding="utf-8")
        if _knows_penalties(program, path):
            path.write_text(config(state, server.name, mode, penalties=True), encoding="utf-8")
        argv = [program, "-f", str(path), "-E", str(state / "ssh" / f"{server.name}.log")]
        netns.run_in(server.namespace, _with_accounts(argv, state, mode))


def _knows_penalties(program: str, path: Path) -> bool:
    return "persourcepenalties" in netns.run([program, "-T", "-f", str(path)], check=False).lower()


def _with_accounts(argv: list[str], state: Path, mode: Mode) -> list[str]:
    """Run with a private /etc/passwd; without root as the account `monitor`, that exists there only.

    As the mapped uid 0 sshd would try to change to other users, which this user namespace does not have.
    """
    bind = f"mount --bind {shlex.quote(str(state / 'ssh' / 'passwd'))} /etc/passwd"
    user = "" if mode == "root" else f"unshare -U --map-user={_LOGIN_UID} --map-group={_LOGIN_UID} "
    return ["unshare", "-m", "sh", "-c", f"{bind} && exec {user}{shlex.join(argv)}"]


def exporter_ssh(state: Path) -> dict[str, object]:
    """The `ssh` section of a router in the exporter's configuration."""
    return {
        "host": EDGE_WAN_V4,
        "port": 22,
        "username": username(place.mode()),
        "client_keys": [str(state / "ssh" / "id_ed25519")],
        "known_hosts": str(state / "ssh" / "known_hosts"),
    }
