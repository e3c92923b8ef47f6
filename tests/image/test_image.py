"""The image, built from the Dockerfile and run as container engines run it; in one file, so that it is built once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from lab import commands
from tests.image.container import NET_RAW, Image, Running, Setting, run, running

pytestmark = pytest.mark.image

ROOT = Path(__file__).parents[2]
RAW = f"{1 << 13:016x}"
NONE = f"{0:016x}"
CONFIG = """
routers: [{name: edge, platform: frr, ssh: {host: 127.0.0.1, port: 9, username: monitor}}]
nodes: [{name: here, addresses: [127.0.0.1]}]
targets: [{name: itself, address: 127.0.0.1, port: 10179, module: http_2xx}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A directory as a user would mount it; what it probes is the exporter itself."""
    place = tmp_path / "configuration"
    place.mkdir()
    (place / "ecmp-exporter.yml").write_text(CONFIG)
    return readable(place)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    place = tmp_path / f"image-test-{os.getpid()}"
    place.mkdir()
    return place


def readable(place: Path) -> Path:
    """For the user of the image, whom pytest's temporary directories shut out."""
    for parent in (place, *place.parents):
        if parent == Path(tempfile.gettempdir()):
            break
        parent.chmod(0o755)
    return place


def test_the_command_of_the_image_says_its_version(image: Image, bundle: Path) -> None:
    done = run(Setting(image), bundle, "--version")
    assert (done.returncode, done.stdout) == (0, f"ecmp-exporter {__version__}\n")


def test_it_reads_its_configuration_where_the_manual_says(image: Image, bundle: Path, config: Path) -> None:
    done = run(Setting(image, config=config), bundle, "--config.check")
    assert (done.returncode, done.stdout) == (0, "ecmp-exporter.yml: ok, 1 routers, 1 nodes, 1 targets\n")


def test_a_bad_configuration_is_refused(image: Image, bundle: Path, config: Path) -> None:
    (config / "ecmp-exporter.yml").write_text(CONFIG + "probes: {}\n")
    done = run(Setting(image, config=config), bundle, "--config.check")
    assert done.returncode == 2
    assert "ecmp-exporter.yml: line 5: probes" in done.stderr


def test_with_net_raw_it_has_that_and_nothing_else(image: Image, bundle: Path, config: Path) -> None:
    with running(Setting(image, config=config), bundle) as container:
        serves(container)
        assert container.rights() == {
            "Uid": "65532",
            "CapPrm": RAW,
            "CapEff": RAW,
            "CapBnd": RAW,
            "CapAmb": NONE,
            "NoNewPrivs": "1",  # by itself, once its sockets are open
            "Seccomp": "2",
        }
        assert "kept CAP_NET_RAW" in container.log()
        assert "cannot be traced" not in container.log()
        assert container.stop() == 0


def test_without_net_raw_it_serves_and_says_what_it_lacks(image: Image, bundle: Path, config: Path) -> None:
    with running(Setting(image, capabilities=(), config=config), bundle) as container:
        lacks_net_raw(container)


def test_where_new_rights_are_forbidden_it_serves_without(image: Image, bundle: Path, config: Path) -> None:
    with running(Setting(image, no_new_privileges=True, config=config), bundle) as container:
        lacks_net_raw(container)


def test_a_capability_that_the_engine_made_ambient_stays(image: Image, bundle: Path, config: Path) -> None:
    setting = Setting(image, ambient=True, no_new_privileges=True, config=config)
    with running(setting, bundle) as container:
        serves(container)
        assert container.rights()["CapEff"] == RAW
        assert "cannot be traced" not in container.log()


def test_of_all_that_docker_gives_by_default_it_takes_only_net_raw(image: Image, bundle: Path, config: Path) -> None:
    given = (NET_RAW, "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE", "CAP_KILL")
    with running(Setting(image, capabilities=given, config=config), bundle) as container:
        serves(container)
        rights = container.rights()
        assert (rights["CapPrm"], rights["CapEff"], rights["NoNewPrivs"]) == (RAW, RAW, "1")


def test_commands_in_a_running_container_have_what_the_service_has(image: Image, bundle: Path, config: Path) -> None:
    with running(Setting(image, config=config), bundle) as container:
        serves(container)
        done = container.execute("ecmp-exporter", "check", "--log.level=debug")
    assert "kept CAP_NET_RAW" in done.stderr
    assert "itself" in done.stdout


def test_the_healthcheck_tells_alive_from_dead(image: Image, bundle: Path, config: Path) -> None:
    with running(Setting(image, config=config), bundle) as container:
        serves(container)
        alive = container.healthcheck()
        assert (alive.returncode, alive.stdout) == (0, "ecmp-exporter is healthy.\n")


def test_the_healthcheck_fails_where_nothing_answers(image: Image, bundle: Path, config: Path) -> None:
    elsewhere = "--web.listen-address=127.0.0.1:10180"
    with running(Setting(image, config=config), bundle, elsewhere) as container:
        done = container.execute("/opt/ecmp-exporter/bin/python3", "-c", "import time; time.sleep(1)")
        assert done.returncode == 0
        dead = container.healthcheck()
        assert dead.returncode == 1
        assert "127.0.0.1:10179" in dead.stdout


def test_the_healthcheck_goes_where_it_is_told(image: Image, bundle: Path, config: Path) -> None:
    told = ("HEALTH_URL=http://127.0.0.1:10179/ecmp/-/healthy", "HTTP_PROXY=http://127.0.0.1:9")
    prefix = "--web.route-prefix=/ecmp"
    with running(Setting(image, config=config, environment=told), bundle, prefix) as container:
        container.wait_for("/ecmp/-/healthy")
        assert container.healthcheck().returncode == 0


def test_no_file_gives_rights_but_the_one_that_gives_net_raw(image: Image) -> None:
    setuid, capable = [], []
    for directory, _, names in os.walk(image.rootfs):
        for path in (Path(directory, name) for name in names):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                setuid.append(path)
            if "security.capability" in os.listxattr(path, follow_symlinks=False):
                capable.append(path.relative_to(image.rootfs))
    assert setuid == []
    assert capable == [Path("usr/local/lib/ecmp-exporter/setpriv")]


def test_the_user_owns_nothing_and_nothing_of_the_build_is_left(image: Image) -> None:
    uid = int(image.settings["User"].partition(":")[0])
    paths = [Path(directory, name) for directory, _, names in os.walk(image.rootfs) for name in names]
    assert [path for path in paths if path.lstat().st_uid == uid] == []
    inside = {str(path.relative_to(image.rootfs)) for path in paths}
    assert [one for one in inside if one.endswith(("/pip", "/pip3", "pip.conf", "/gcc", "/ca.crt"))] == []
    assert not any(one.startswith(("src/", "wheel/", "build/", "var/lib/apt/lists/")) for one in inside)


def test_its_modules_need_no_writing(image: Image) -> None:
    """Each has bytecode, which is believed whatever the times of the files are (PEP 552: flags 1)."""
    packages = next(image.rootfs.glob("opt/ecmp-exporter/lib/python3*/site-packages"))
    modules = [one for one in packages.rglob("*.py") if one.stat().st_size]
    assert packages / "exporter/cli.py" in modules
    for module in modules:
        (compiled,) = module.parent.glob(f"__pycache__/{module.stem}.cpython-*.pyc")
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", module


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = image.settings["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.base.name"].endswith("debian:trixie-slim")
    assert len(labels["org.opencontainers.image.revision"]) == 40


def test_the_example_configuration_is_accepted(image: Image, bundle: Path) -> None:
    files = {"/etc/ecmp-exporter/ecmp-exporter.yml": copied(ROOT / "compose/exporter/ecmp-exporter.yml", bundle)}
    done = run(Setting(image, files=files), bundle, "--config.check")
    assert done.returncode == 0, done.stderr


def copied(file: Path, place: Path) -> Path:
    """The tree itself may lie where the image's user cannot look."""
    copy = place / file.name
    copy.write_bytes(file.read_bytes())
    readable(place)
    assert isinstance(yaml.safe_load(copy.read_text()), dict)
    return copy


def test_the_lock_files_are_what_pyproject_asks_for() -> None:
    """Asks the package index, as the build does."""
    command = ["sh", str(ROOT / "tools/lock.sh"), "--check"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.lab
@pytest.mark.parametrize(("capabilities", "traced"), [((NET_RAW,), True), ((), False)])
def test_in_the_rehearsal_network_it_reads_the_router_and_proves_paths(
    image: Image, bundle: Path, tmp_path: Path, capabilities: tuple[str, ...], traced: bool
) -> None:
    """Through SSH with a key of its user, and by traces where it may."""
    name = f"image{os.getpid()}"
    commands.up(name)
    try:
        config = lab_configuration(name, tmp_path / "configuration", image)
        enter = tuple(commands.prober_command(name, []))
        setting = Setting(image, capabilities, host_network=True, config=config, enter=enter)
        with running(setting, bundle) as container:
            container.wait_for("/-/ready")
            status = settled(container, traced=traced)
    finally:
        commands.down(name)
    assert [(router["name"], router["up"]) for router in status["routers"]] == [("edge", True)]
    verdicts = {path["node"]: path["verdict"] for path in status["paths"] if path["target"] == "web"}
    assert verdicts == {"leviathan1": "ok", "leviathan2": "ok", "leviathan3": "ok"}
    assert ("trace" in methods(status)) == traced


def lab_configuration(name: str, place: Path, image: Image) -> Path:
    """The lab's own, with the files where the image's manual puts them."""
    state = commands.state_directory(name)
    values = yaml.safe_load((state / "exporter.yml").read_text())
    (router,) = values["routers"]
    place.mkdir()
    uid, _, gid = image.settings["User"].partition(":")
    for key, source in (
        ("client_keys", router["ssh"]["client_keys"][0]),
        ("known_hosts", router["ssh"]["known_hosts"]),
    ):
        copy = place / Path(source).name
        copy.write_bytes(Path(source).read_bytes())
        copy.chmod(0o400)
        os.chown(copy, int(uid), int(gid))
        inside = f"/etc/ecmp-exporter/{copy.name}"
        router["ssh"][key] = [inside] if key == "client_keys" else inside
    (place / "ecmp-exporter.yml").write_text(yaml.safe_dump(values))
    return readable(place)


def settled(container: Running, *, traced: bool) -> dict[str, Any]:
    """The status once the router is read, all paths of `web` are ok and, if it can be had, one is known by a trace."""
    deadline = time.monotonic() + 60
    while True:
        status: dict[str, Any] = json.loads(container.get("/api/v1/status"))
        good = all(router["up"] for router in status["routers"]) and all(
            path["verdict"] == "ok" for path in status["paths"] if path["target"] == "web"
        )
        if (good and (not traced or "trace" in methods(status))) or time.monotonic() > deadline:
            return status
        time.sleep(0.5)


def methods(status: dict[str, Any]) -> set[str]:
    return {path["steering"]["method"] for path in status["paths"] if path["steering"]}


def serves(container: Running) -> None:
    assert container.wait_for("/-/healthy") == "ecmp-exporter is healthy.\n"
    container.wait_for("/-/ready")
    assert f'ecmp_exporter_build_info{{version="{__version__}"}} 1.0' in container.get("/metrics")


def lacks_net_raw(container: Running) -> None:
    serves(container)
    assert container.rights()["CapEff"] == NONE
    assert container.rights()["CapPrm"] == NONE
    assert "flows cannot be traced: no CAP_NET_RAW" in container.log()
    assert container.healthcheck().returncode == 0
    assert container.stop() == 0
