"""Direct steering: marked packets go to a VIP straight through a node, whatever the router knows of it.

For each node that shares a link with this machine there is a table of policy routes with a default route
through the node, and a rule that sends packets of one firewall mark (SO_MARK, Flow.mark) there. Below the
default route stands an unreachable one: when the link goes down and the kernel drops the first, a marked
packet is refused here and never falls through to the router, where it would prove the wrong thing.

What is this module's and nobody else's: routing protocol 236, rules of priority 2360, and the numbers from
0xECB0001 to 0xECB0FFF as marks and as tables (a node's table has the number of its mark). What does not
carry both the protocol and such a number is never touched.

Cleaning up: a small shell process of its own session waits for the end of a pipe that this process holds,
and then removes the rules and routes that it was told of; so they go however this process ends. Where both
are killed (a whole cgroup by SIGKILL) they stay, without effect on packets that carry no such mark, and the
next install removes them. One process at a time owns them in a network namespace: an abstract UNIX socket,
which belongs to the network namespace and is freed by the kernel, is the lock. The shell process holds it
too, until it is done.

What it needs
- CAP_NET_ADMIN, also for the `ip` that this process starts: as root, or as an ambient capability.
- Flows without a source address: the kernel chooses this machine's own on the shared link, and the node
  answers straight. With another source the answer takes the node's way back, past a router that may drop it.
- A reverse path filter that lets the answer in. It comes from the VIP, by the shared link, without a mark. If
  the way to the VIP leaves by another interface, a strict IPv4 filter (rp_filter 1 on the link or `all`)
  drops it, and src_valid_mark does not help: install leaves the node out and says so. rp_filter 2 and 0 are
  fine, and so is 1 where the router is on the shared link as well. For IPv6 there is no such setting, but a
  firewall may do the same (firewalld: IPv6_rpfilter).

Sources: ip-rule(8), ip-route(8), unix(7), ip-sysctl.rst; FRA_PROTOCOL is Linux 4.17.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from exporter import policy_routes
from exporter.policy_routes import MARKS, NO_RIGHT, PROTOCOL, Entry, OffLinkError
from routers.exec import ExecTransport
from routers.model import IPV4, IPV6, Answer, Command, canonical, family_of
from routers.transport import RouterError

_OWNER: Final = "\0ecmp-exporter-bypass"
_ANYWHERE: Final = {IPV4: "192.0.2.1", IPV6: "2001:db8::1"}  # RFC 5737, RFC 3849: the default route leads there
_SECONDS: Final = 5.0
_PREDECESSOR_SECONDS: Final = 3.0  # a process that has just ended is still cleaned up after
_MOST_BYTES: Final = 16 << 20
_SETTINGS: Final = Path("/proc/sys/net/ipv4/conf")
_IPV6_SETTINGS: Final = Path("/proc/sys/net/ipv6")
_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_CLOSED: Final = b"closed\n"
# Signals that end a service end the janitor by the end of its pipe, not before. After a crash an `ip` that
# was at work may still add something: hence the second time.
_JANITOR: Final = """trap '' HUP INT TERM
undo=$(cat)
clean() {
  for family in 4 6; do
    printf '%s\\n' "$undo" | sed -n "s/^$family //p" | "$1" -"$family" -force -batch -
  done
}
clean "$1"
case $undo in *closed) ;; *) sleep 1; clean "$1" ;; esac
"""
_log = logging.getLogger(__name__)


class Bypass:
    """Policy routes by which marked packets go straight to a node; removed at close, and also when this process dies.

    `why` says for each address that install left out why it did.
    """

    def __init__(self) -> None:
        self.why: dict[str, str] = {}
        self._marks: dict[str, int] = {}
        self._next = 0
        self._busy = asyncio.Lock()
        self._commands = ExecTransport()
        self._claim: socket.socket | None = None
        self._janitor: _Janitor | None = None

    async def install(self, addresses: Sequence[str], vips: Sequence[str] = ()) -> Mapping[str, int]:
        """Make these the nodes that are bypassed to; the mark of each, by canonical address, that can be.

        Only differences are applied: an address keeps its mark, and a second install of the same addresses
        changes nothing, but repairs what was lost meanwhile (a link that went down takes its routes along).
        `vips` are looked up for the reverse path filter (see above); without them the default route counts.
        Raises ValueError for text that is no address; what this machine refuses stands in `why`.
        """
        nodes = list(dict.fromkeys(canonical(address) for address in addresses))
        vips4 = [vip for vip in vips if family_of(vip) == IPV4]
        async with self._busy:
            self.why = {}
            try:
                found = await self._install(nodes, vips4 or [_ANYWHERE[IPV4]])
            except (RouterError, OSError, ValueError) as error:
                self.why = dict.fromkeys(nodes, str(error))
                return {}
            return found

    async def close(self) -> None:
        """Remove everything. Idempotent; what cannot be removed is logged."""
        async with self._busy:
            await self._let_go()

    async def _install(self, nodes: Sequence[str], vips: Sequence[str]) -> dict[str, int]:
        if refused := "" if _may_mark() else NO_RIGHT:
            self.why = dict.fromkeys(nodes, refused)
            return {}
        if refused := await self._claimed():
            self.why = dict.fromkeys(nodes, refused)
            return {}
        devices = await self._devices(nodes, vips)
        self._allot(devices)
        wanted = {node: policy_routes.entries(node, devices[node], mark) for node, mark in self._marks.items()}
        failed = await self._apply(frozenset(entry for some in wanted.values() for entry in some))
        straight = await self._straight()
        for node in self._marks.keys() - straight:
            words = (failed.get(entry.line("add")) for entry in wanted[node])
            self.why[node] = next(filter(None, words), "another policy rule of this machine comes before ours")
        if not await self._present():
            await self._let_go()
        return {node: mark for node, mark in self._marks.items() if node in straight}

    async def _devices(self, nodes: Sequence[str], vips: Sequence[str]) -> dict[str, str]:
        here = policy_routes.subnets((await self._ip("-json", "address", "show")).stdout)
        found: dict[str, str] = {}
        deaf: dict[str, str] = {}
        for node in nodes:
            try:
                device = policy_routes.device_to(node, here)
            except OffLinkError as error:
                self.why[node] = str(error)
                continue
            if family_of(node) == IPV4 and device not in deaf:
                deaf[device] = await self._deaf(device, vips)
            if family_of(node) == IPV4 and deaf[device]:
                self.why[node] = deaf[device]
            else:
                found[node] = device
        return found

    async def _deaf(self, device: str, vips: Sequence[str]) -> str:
        """Why a strict reverse path filter would drop a VIP's answers that come in here, or nothing."""
        if not _strict(device):
            return ""
        for vip in vips:
            routes = json.loads((await self._ip("-json", "route", "get", vip)).stdout or "[]")
            way = next((str(route["dev"]) for route in routes if "dev" in route), "no interface")
            if way != device:
                return (
                    f"{device} would drop the answers: its reverse path filter is strict and the way to {vip} leaves"
                    f" by {way}; sysctl net.ipv4.conf.{device}.rp_filter=2 lets them in"
                )
        return ""

    def _allot(self, devices: Mapping[str, str]) -> None:
        """A mark for each node; one that has just been given up is not used again soon."""
        self._marks = {node: mark for node, mark in self._marks.items() if node in devices}
        taken = set(self._marks.values())
        for node in devices:
            if node in self._marks:
                continue
            if len(taken) == len(MARKS):
                self.why[node] = f"more than {len(MARKS)} nodes"
                continue
            while (mark := MARKS[self._next % len(MARKS)]) in taken:
                self._next += 1
            self._next += 1
            taken.add(mark)
            self._marks[node] = mark

    async def _apply(self, wanted: frozenset[Entry]) -> dict[str, str]:
        """Make the kernel hold exactly these entries of ours; the lines that failed, with the reason."""
        failed: dict[str, str] = {}
        lines = policy_routes.changes(await self._present(), wanted)
        if wanted:
            self._tell_janitor(wanted)
        for family, some in lines.items():
            answer = await self._ip(f"-{family}", "-force", "-batch", "-", lines=some)
            failed |= policy_routes.refusals(some, answer.stderr)
        return failed

    def _tell_janitor(self, wanted: frozenset[Entry]) -> None:
        if self._janitor is not None and not self._janitor.tell(wanted):
            self._janitor.abandon()
            self._janitor = None
        if self._janitor is None and self._claim is not None:
            self._janitor = _Janitor(_program(), self._claim)
            self._janitor.tell(wanted)

    async def _present(self) -> frozenset[Entry]:
        """What the kernel holds of ours, whoever put it there."""
        found: frozenset[Entry] = frozenset()
        for family in (IPV4, IPV6) if _IPV6_SETTINGS.exists() else (IPV4,):
            ask = (f"-{family}", "-N", "-json")
            rules = await self._ip(*ask, "rule", "show", fails=False)
            routes = await self._ip(*ask, "route", "show", "table", "all", "proto", str(PROTOCOL), fails=False)
            found |= policy_routes.rules_of_ours(family, rules.stdout)
            found |= policy_routes.routes_of_ours(family, routes.stdout)
        return found

    async def _straight(self) -> frozenset[str]:
        """The nodes that the kernel says marked packets go to: another rule may come before ours."""
        found: frozenset[str] = frozenset()
        for family, anywhere in _ANYWHERE.items():
            marks = [mark for node, mark in self._marks.items() if family_of(node) == family]
            lines = [f"route get {anywhere} mark {mark:#x}" for mark in marks]
            if lines:
                answer = await self._ip(f"-{family}", "-json", "-force", "-batch", "-", lines=lines)
                found |= policy_routes.gateways(answer.stdout)
        return found

    async def _ip(self, *words: str, lines: Sequence[str] | None = None, fails: bool = True) -> Answer:
        """Run `ip`. Raises RouterError, and OSError when it failed although it must not."""
        stdin = None if lines is None else "".join(f"{line}\n" for line in lines)
        answer = await self._commands.run(Command("ip", (_program(), *words), stdin), _SECONDS, _MOST_BYTES)
        if answer.exit_status and not fails:
            raise OSError(f"ip {' '.join(words)} failed: {answer.stderr.strip()}")
        return answer

    async def _claimed(self) -> str:
        """Why the lock of this network namespace cannot be had, or nothing."""
        deadline = time.monotonic() + _PREDECESSOR_SECONDS
        while self._claim is None:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(_OWNER)
                claim.listen()
            except OSError:
                claim.close()
                if time.monotonic() > deadline:
                    return f"another exporter ({_owner()}) has its policy routes in this network namespace"
                await asyncio.sleep(0.05)
            else:
                self._claim = claim
        return ""

    async def _let_go(self) -> None:
        if self._claim is None:
            return
        try:
            if self._janitor is not None:
                await self._janitor.end()
            if any(failed := await self._apply(frozenset())):
                _log.warning("policy routes are left behind: %s", failed)
        except (RouterError, OSError, ValueError) as error:
            _log.warning("policy routes may be left behind: %s", error)
        finally:
            self._janitor = None
            self._marks = {}
            self._claim.close()
            self._claim = None


class _Janitor:
    """The process that removes what it was told of when nobody holds its pipe any more."""

    def __init__(self, program: str, claim: socket.socket) -> None:
        self._told: set[Entry] = set()
        self._process = subprocess.Popen(
            ["sh", "-c", _JANITOR, "ecmp-exporter-janitor", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": _PATH},
            cwd="/",
            start_new_session=True,
            pass_fds=(claim.fileno(),),
        )

    def tell(self, wanted: frozenset[Entry]) -> bool:
        """Hand over how to undo these entries, before they are made. False when the process has gone."""
        new = sorted(wanted - self._told, key=lambda entry: (entry.kind != "rule", entry.text))
        self._told |= wanted
        return self._say("".join(f"{entry.family} {entry.line('del')}\n" for entry in new).encode())

    def _say(self, words: bytes) -> bool:
        if self._process.poll() is not None or self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(words)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    async def end(self) -> None:
        """Let it clean up, and wait for it. A process that does not end is killed."""
        self._say(_CLOSED)
        self._hang_up()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _SECONDS)
        finally:
            self.abandon()

    def abandon(self) -> None:
        self._hang_up()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _hang_up(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def _program() -> str:
    found = shutil.which("ip", path=_PATH)
    if found is None:
        raise FileNotFoundError("ip is not installed here (Debian: iproute2)")
    return found


def _may_mark() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", MARKS[0]))
        except PermissionError:
            return False
    return True


def _strict(device: str) -> bool:
    """Whether the reverse path filter asks for the very interface; the greater of two settings counts."""
    return max(int((_SETTINGS / name / "rp_filter").read_text(encoding="ascii")) for name in ("all", device)) == 1


def _owner() -> str:
    """The process that holds the lock, as far as this one may know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_OWNER)
            pid, _, _ = struct.unpack("iII", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            pid = 0
    return f"process {pid}" if pid else "a process that cannot be seen from here"
