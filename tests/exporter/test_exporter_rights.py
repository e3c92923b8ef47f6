"""What rights a running exporter has left. Each case is a process of its own, in a network namespace of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter import cli
from exporter.configfile import loads
from exporter.rights import ALL, Rights, lacking, needed

ROOT = Path(__file__).parents[2]
RAW, ADMIN = 1 << 13, 1 << 12
NOBODY = 65534
PROBING = "probing: {interval: 1s, timeout: 200ms, direct_steering: false}\n"
SSH = "ssh: {host: 127.0.0.1, port: 9, username: monitor, known_hosts: /dev/null}"
REST = """
nodes: [{name: leviathan1, address: 127.0.0.2}]
targets: [{name: git, address: 127.0.0.9, port: 9, module: ssh_banner}]
"""
as_root = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def text(way: str = SSH, *, steering: bool = False) -> str:
    probing = PROBING.replace("false", str(steering).lower())
    return f"{probing}routers: [{{name: edge, platform: frr, poll_interval: 1s, {way}}}]{REST}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ecmp-exporter.yml"
    path.write_text(text())
    return path


class Service:
    """A running `ecmp-exporter serve`, and what it has logged so far."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, words: str, times: int = 1) -> bool:
        deadline = time.monotonic() + 20
        while self.log.count(words) < times and time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        return self.log.count(words) >= times

    def reload(self, times: int = 1) -> None:
        self.process.send_signal(signal.SIGHUP)
        assert self.says("configuration reloaded", times), self.log

    def threads(self) -> list[dict[str, int]]:
        wanted = re.compile(r"^(CapPrm|CapEff|CapBnd|NoNewPrivs):\s*(\w+)$", re.MULTILINE)
        found = []
        for status in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            with suppress(FileNotFoundError):
                found.append({name: int(value, 16) for name, value in wanted.findall(status.read_text())})
        return found


@contextmanager
def serving(config: Path, *become: str) -> Iterator[Service]:
    """Its network is its own; the listening socket stands on a port that nobody there has."""
    argv = ["unshare", "-n", *become, sys.executable, "-m", "exporter", "serve", f"--config.file={config}"]
    log = config.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen([*argv, "--web.listen-address=127.0.0.1:0"], cwd=ROOT, stderr=errors, text=True)
    service = Service(process, log)
    try:
        assert service.says("ready:"), service.log
        yield service
    finally:
        process.terminate()
        assert process.wait(20) == 0, service.log
    assert "Traceback" not in service.log


def soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


class TestAsRoot:
    pytestmark = as_root

    def test_it_keeps_raw_sockets_and_nothing_else(self, config: Path) -> None:
        with serving(config) as service:
            service.reload()  # in a thread
            for thread in service.threads():
                assert thread == {"CapPrm": RAW, "CapEff": RAW, "CapBnd": RAW, "NoNewPrivs": 1}
            assert len(service.threads()) > 1
        assert service.log.count("kept CAP_NET_RAW") == 1
        assert "cannot be traced" not in service.log

    def test_direct_steering_keeps_one_right_more_for_itself_and_its_commands(self, config: Path) -> None:
        config.write_text(text(steering=True))
        with serving(config) as service:
            assert {thread["CapEff"] for thread in service.threads()} == {RAW | ADMIN}
            assert {thread["CapBnd"] for thread in service.threads()} == {RAW | ADMIN}
        assert service.log.count("kept CAP_NET_ADMIN and CAP_NET_RAW") == 1

    def test_commands_of_routers_have_all_rights_also_after_a_reload(self, config: Path, tmp_path: Path) -> None:
        seen, script = tmp_path / "seen", tmp_path / "on-router"
        script.write_text(f"#!/bin/sh\ngrep CapEff /proc/self/status >> {seen}\n")
        script.chmod(0o755)
        before = re.search(r"CapEff:\s*\w+\n", Path("/proc/self/status").read_text())
        assert before is not None
        config.write_text(text(f"exec: {{prefix: [{script}]}}"))
        with serving(config) as service:
            assert {thread["CapEff"] for thread in service.threads()} == {RAW}
            assert {thread["NoNewPrivs"] for thread in service.threads()} == {0}
            config.write_text(text(f"exec: {{prefix: [env, {script}]}}"))
            service.reload()
            seen.unlink()
            assert soon(seen.exists)
        assert set(seen.read_text().splitlines(keepends=True)) == {before[0]}
        assert "given up" not in service.log

    def test_a_reload_that_needs_more_says_so_in_one_line(self, config: Path) -> None:
        with serving(config) as service:
            config.write_text(text("exec: {prefix: [/nonexistent/vtysh]}", steering=True))
            service.reload()
            lines = [line for line in service.log.splitlines() if "given up at start" in line]
            assert len(lines) == 1
            assert "commands of exec routers run without rights" in lines[0]
            assert "direct_steering has no CAP_NET_ADMIN" in lines[0]
            config.write_text(text())
            service.reload(2)
            assert service.log.count("given up at start") == 1

    def test_files_of_other_users_are_named_with_the_reason(self, config: Path, tmp_path: Path) -> None:
        key = tmp_path / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        password = tmp_path / "password"
        password.write_text("secret")
        password.chmod(0o600)
        config.write_text(text(SSH.replace("}", f", client_keys: [{key}]}}")))
        config.chmod(0o600)
        for path in (key, password, config):
            os.chown(path, NOBODY, NOBODY)
        gave_up = "this process gave up root's right to read files of other users"
        command = [sys.executable, "-m", "exporter", "routers", f"--config.file={config}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert f"cannot read the client key {key}: Permission denied ({gave_up}" in " ".join(done.stdout.split())
        assert f"{config} can be read no more, so a reload will fail" in done.stderr
        os.chown(config, 0, 0)
        config.write_text(text(SSH.replace("}", f", password_file: {password}}}")))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert f"cannot read the password file {password}: Permission denied ({gave_up}" in " ".join(
            done.stdout.split()
        )
        assert "can be read no more" not in done.stderr
        assert "secret" not in done.stdout + done.stderr

    def test_without_raw_sockets_it_says_once_that_it_cannot_trace(self, config: Path) -> None:
        with serving(config, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw") as service:
            assert {thread["CapEff"] for thread in service.threads()} == {0}
        assert service.log.count("flows cannot be traced: no CAP_NET_RAW") == 1
        assert service.log.count("kept no capability") == 1

    def test_where_the_kernel_refuses_it_goes_on(self, config: Path, tmp_path: Path) -> None:
        """As a seccomp profile without capset would do."""
        (tmp_path / "sitecustomize.py").write_text(
            "from exporter import privileges\n"
            "def drop(**_):\n    raise OSError(1, 'Operation not permitted', 'capset')\n"
            "privileges.drop = drop\n"
        )
        with serving(config, "env", f"PYTHONPATH={tmp_path}:{ROOT}") as service:
            assert all(thread["CapEff"] & ~RAW for thread in service.threads())
            config.write_text(text(steering=True))
            service.reload()
        assert service.log.count("could not be given up: [Errno 1] Operation not permitted") == 1
        assert "given up at start" not in service.log


def test_in_process_nothing_is_given_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def own() -> str:
        return "".join(re.findall(r"(?:Cap|NoNew)\w+:\s*\w+\n", Path("/proc/self/status").read_text()))

    before = own()
    assert cli.main(["routers", f"--config.file={config}", "--log.level=debug"]) == 1
    assert own() == before
    assert "edge (frr) is down" in capsys.readouterr().out


def test_one_look_is_quiet_and_has_given_up_as_well(config: Path) -> None:
    command = [sys.executable, "-m", "exporter", "routers", f"--config.file={config}"]
    for level, said in (("info", False), ("debug", True)):
        argv = [*command, f"--log.level={level}"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert ("source=exporter.rights" in done.stderr) is said


def test_a_service_that_is_ended_before_its_first_round_is_over(config: Path) -> None:
    """Its router accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        config.write_text(text(SSH.replace("port: 9", f"port: {port}")))
        argv = [sys.executable, "-m", "exporter", f"--config.file={config}", "--web.listen-address=127.0.0.1:0"]
        process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        try:
            mute.settimeout(20)
            with mute.accept()[0]:
                process.terminate()
                _, log = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert "stopping" in log
    assert "Traceback" not in log


def test_what_a_configuration_needs_and_lacks() -> None:
    ssh, local, steering = loads(text()), loads(text("exec: {}")), loads(text(steering=True))
    assert needed(ssh) == Rights(net_admin=False, commands=False)
    assert needed(local) == Rights(net_admin=False, commands=True)
    assert needed(steering) == Rights(net_admin=True, commands=False)
    for config in (ssh, local, steering):
        assert lacking(needed(config), config) == lacking(ALL, config) == lacking(needed(config), ssh) == ""
    assert lacking(needed(local), steering) == "", "its commands have every right"
    assert "exec" in lacking(needed(steering), local)
    assert "exec" in lacking(needed(ssh), local)
    assert "direct_steering" in lacking(needed(ssh), steering)
