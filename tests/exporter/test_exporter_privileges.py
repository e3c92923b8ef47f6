"""What `drop` leaves of a process's rights and of its commands'. Each case is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.privileges import CAP_NET_ADMIN, CAP_NET_RAW

RAW = 1 << CAP_NET_RAW
ADMIN = 1 << CAP_NET_ADMIN
SYS_ADMIN = 1 << 21
NOBODY = 65534

SCRIPT = """
import ctypes, json, os, socket, subprocess, sys
from exporter import privileges

def status(text):
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Cap") or name == "NoNewPrivs":
            found[name] = int(value, 16)
    return found

def command(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False)

def opens(family, protocol):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol).close()
    except PermissionError:
        return False
    return True

def reads(path):
    try:
        open(path).close()
    except PermissionError:
        return False
    return True

wanted = json.loads(sys.argv[1])
if wanted["uid"]:
    libc = ctypes.CDLL(None)
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([]), os.setgid(wanted["uid"]), os.setuid(wanted["uid"])
    ambient = wanted["ambient"]
    privileges._set(privileges._Sets(ambient, ambient, ambient))
    for number in privileges._numbers(ambient):
        privileges._prctl(47, 2, number)
before = status(open("/proc/self/status").read())
phrase = privileges.drop(net_admin=wanted["net_admin"], children=wanted["children"])
print(json.dumps({
    "phrase": phrase,
    "before": before,
    "own": status(open("/proc/self/status").read()),
    "child": status(command("sh", "-c", "cat /proc/self/status").stdout),
    "raw": [opens(socket.AF_INET, socket.IPPROTO_TCP), opens(socket.AF_INET6, socket.IPPROTO_ICMPV6)],
    "reads": reads(wanted["file"]),
    "child_reads": command("cat", wanted["file"]).returncode == 0,
    "rule": wanted["own_network"]
    and command("ip", "rule", "add", "pref", "77", "fwmark", "77", "table", "77").returncode == 0,
}))
"""


class Case:
    """Runs the script in a network namespace of its own; `prefix` enters it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def run(
        self,
        *,
        net_admin: bool = False,
        children: bool = False,
        uid: int = 0,
        ambient: int = 0,
        prefix: tuple[str, ...] = ("unshare", "-n"),
    ) -> dict[str, Any]:
        wanted = {"net_admin": net_admin, "children": children, "uid": uid, "ambient": ambient, "file": str(self._file)}
        wanted["own_network"] = bool(prefix)  # no rule is added to this machine's own
        argv = [*prefix, sys.executable, "-c", SCRIPT, json.dumps(wanted)]
        root = Path(__file__).parents[2]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd=root)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


USER_NAMESPACE = ("unshare", "-Urn")
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
AS_ROOT = (pytest.mark.lab, NEEDS_ROOT)
PLACES = [pytest.param(("unshare", "-n"), id="root", marks=AS_ROOT), pytest.param(USER_NAMESPACE, id="userns")]


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    if "userns" in request.node.name:
        able = subprocess.run([*USER_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
        if not able:
            pytest.skip("no user namespaces here")
    foreign = tmp_path / "foreign"
    foreign.write_text("somebody else's")
    foreign.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(foreign, NOBODY, NOBODY)
    return Case(foreign)


@pytest.mark.parametrize("prefix", PLACES)
def test_uid_0_without_commands(case: Case, prefix: tuple[str, ...]) -> None:
    found = case.run(prefix=prefix)
    assert found["phrase"] == "kept CAP_NET_RAW"
    assert found["before"]["CapEff"] & ~(RAW | ADMIN), "or there was nothing to give up"
    assert found["own"] == {"CapInh": 0, "CapPrm": RAW, "CapEff": RAW, "CapBnd": RAW, "CapAmb": 0, "NoNewPrivs": 1}
    assert found["child"] == found["own"]
    assert found["raw"] == [True, True]
    assert not found["rule"]


@pytest.mark.parametrize("prefix", PLACES)
def test_uid_0_that_changes_policy_routing(case: Case, prefix: tuple[str, ...]) -> None:
    found = case.run(prefix=prefix, net_admin=True)
    both = RAW | ADMIN
    assert found["phrase"] == "kept CAP_NET_ADMIN and CAP_NET_RAW"
    assert (found["own"]["CapPrm"], found["own"]["CapEff"], found["own"]["CapBnd"]) == (both, both, both)
    assert (found["child"]["CapPrm"], found["child"]["CapEff"]) == (both, both)
    assert found["raw"] == [True, True]
    assert found["rule"]


@pytest.mark.parametrize("net_admin", [False, True])
@pytest.mark.parametrize("prefix", PLACES)
def test_uid_0_whose_commands_need_everything(case: Case, prefix: tuple[str, ...], net_admin: bool) -> None:
    found = case.run(prefix=prefix, children=True, net_admin=net_admin)
    kept = RAW | ADMIN if net_admin else RAW
    assert (found["own"]["CapPrm"], found["own"]["CapEff"]) == (kept, kept)
    assert found["own"]["NoNewPrivs"] == 0
    assert found["own"]["CapBnd"] == found["before"]["CapBnd"]
    assert found["child"]["CapEff"] == found["before"]["CapBnd"]
    assert found["raw"] == [True, True]
    assert found["rule"], "the command has all rights again"


@pytest.mark.lab
@NEEDS_ROOT
@pytest.mark.parametrize("children", [False, True])
def test_files_of_others_are_closed_to_uid_0(case: Case, children: bool) -> None:
    found = case.run(children=children)
    assert not found["reads"]
    assert found["child_reads"] is children


@pytest.mark.lab
@NEEDS_ROOT
def test_nobody_has_nothing_to_give_up(case: Case) -> None:
    found = case.run(uid=NOBODY)
    assert found["phrase"] == "had no capability to give up"
    assert found["own"]["CapPrm"] == 0
    assert found["own"]["NoNewPrivs"] == 1
    assert found["raw"] == [False, False]


def test_who_runs_the_tests_may_call_it(case: Case) -> None:
    found = case.run(prefix=(), children=True)
    assert found["own"]["CapEff"] & ~RAW == 0
    assert found["own"]["CapBnd"] == found["before"]["CapBnd"]


@pytest.mark.lab
@NEEDS_ROOT
@pytest.mark.parametrize("net_admin", [False, True])
def test_ordinary_user_without_commands(case: Case, net_admin: bool) -> None:
    found = case.run(uid=NOBODY, ambient=RAW | ADMIN | SYS_ADMIN, net_admin=net_admin)
    passed_on = ADMIN if net_admin else 0
    kept = RAW | passed_on
    assert found["before"]["CapAmb"] == RAW | ADMIN | SYS_ADMIN
    assert found["own"] == {
        "CapInh": passed_on,
        "CapPrm": kept,
        "CapEff": kept,
        "CapBnd": found["before"]["CapBnd"],  # without CAP_SETPCAP it stays; no_new_privs is there
        "CapAmb": passed_on,
        "NoNewPrivs": 1,
    }
    assert found["child"]["CapEff"] == passed_on
    assert found["raw"] == [True, True]
    assert found["rule"] is net_admin


@pytest.mark.lab
@NEEDS_ROOT
def test_ordinary_user_whose_commands_were_given_rights(case: Case) -> None:
    given = RAW | ADMIN | SYS_ADMIN
    found = case.run(uid=NOBODY, ambient=given, children=True)
    assert found["own"]["CapEff"] == RAW
    assert found["child"]["CapEff"] == given
    assert found["own"]["NoNewPrivs"] == 0
