"""What can be held about the image, its pins and compose.yaml without building or starting anything."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import exporter
from exporter.configfile import load

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
# The Python of the base, on the platform of most: what decides which requirements count there.
INSIDE: Final = {"python_version": "3.13", "python_full_version": "3.13.5", "sys_platform": "linux", "extra": ""}
PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)")


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    return {canonicalize_name(one["name"]): Version(one["version"]) for one in map(PIN.match, lines) if one}


def instructions(name: str = "Dockerfile") -> list[str]:
    """Each instruction on one line, without comments."""
    lines = (line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def commands() -> list[str]:
    runs = [line.removeprefix("RUN ") for line in instructions() if line.startswith("RUN ")]
    return [" ".join(command.split()) for run in runs for command in run.split(";")]


def test_each_requirement_of_the_project_is_pinned_within_its_range() -> None:
    pinned = pins("requirements.lock")
    for text in PROJECT["project"]["dependencies"]:
        wanted = Requirement(text)
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_each_requirement_of_the_build_is_pinned_within_its_range() -> None:
    pinned = pins("requirements-build.lock")
    for text in PROJECT["build-system"]["requires"]:
        wanted = Requirement(text)
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_what_the_requirements_require_is_pinned_too() -> None:
    """Followed through what is installed here; versions differ from the pins, their requirements hardly do."""
    pinned = pins("requirements.lock")
    todo = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    seen: set[str] = set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in seen or (wanted.marker and not wanted.marker.evaluate(INSIDE)):
            continue
        seen.add(name)
        assert name in pinned, f"{name} is not in requirements.lock; sh tools/lock.sh"
        todo += [Requirement(text) for text in metadata.requires(name) or ()]
    assert len(seen) > len(PROJECT["project"]["dependencies"])


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_each_pin_has_hashes_and_none_names_an_index(name: str) -> None:
    text = (ROOT / name).read_text()
    for block in re.split(r"\n(?=\S)", text):
        if PIN.match(block):
            assert "--hash=sha256:" in block, block
    assert "://" not in text


def test_every_install_by_pip_is_by_hashes_or_of_the_wheel_just_built() -> None:
    installs = [command for command in commands() if re.search(r"pip3?( --python \S+)? install", command)]
    assert len(installs) == 3
    for command in installs:
        words = shlex.split(command)
        assert {"--require-hashes", "--only-binary"} <= set(words) or {"--no-index", "--no-deps"} <= set(words), command
    (wheel,) = [command for command in commands() if "pip wheel" in command]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(wheel.split())


def test_a_command_that_fails_ends_the_build() -> None:
    for run in (line for line in instructions() if line.startswith("RUN ")):
        assert re.match(r"RUN (--mount=\S+ +)*set -eu;", run), run


def test_the_image_runs_as_a_user_by_number() -> None:
    (user,) = [line.split()[1] for line in instructions() if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_all_stages_have_the_base_that_can_be_chosen() -> None:
    froms = [line.split()[1] for line in instructions() if line.startswith("FROM ")]
    assert len(froms) == 2
    assert set(froms) == {"${BASE}"}


def test_the_version_of_the_label_is_that_of_the_program() -> None:
    assert f"ARG VERSION={exporter.__version__}" in instructions()


def test_what_the_build_copies_is_sent_to_it() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in instructions():
        if line.startswith("COPY ") and "--from=" not in line:
            words = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in words[:-1]:
                assert source.split("/")[0] in sent, source
                assert (ROOT / source).exists(), source
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*wheel, PROJECT["project"]["readme"]} <= sent


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_what_compose_mounts_exists_or_is_a_volume(name: str) -> None:
    for mount in COMPOSE["services"][name]["volumes"]:
        source, target, *_ = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source


def test_the_exporter_of_compose_has_one_capability_and_the_network_of_the_host() -> None:
    service = COMPOSE["services"]["exporter"]
    assert (service["cap_drop"], service["cap_add"]) == (["ALL"], ["NET_RAW"])
    assert service["network_mode"] == "host"
    assert service["read_only"] is True
    assert "security_opt" not in service  # tests/image/test_image.py: no-new-privileges would cost the traces


def test_images_of_others_have_a_version_and_their_services_no_rights() -> None:
    for name, service in COMPOSE["services"].items():
        if name == "exporter":
            continue
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["healthcheck"]["test"][0] == "CMD"


def test_compose_yaml_follows_the_compose_specification() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert_accepts([sys.executable, "-m", "check_jsonschema", *schema, str(ROOT / "compose.yaml")])


def test_prometheus_accepts_its_configuration_with_the_rules() -> None:
    assert_accepts(["promtool", "check", "config", str(ROOT / "prometheus/prometheus.yml")])
    mounts = COMPOSE["services"]["prometheus"]["volumes"]
    assert "./prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in mounts
    assert "./prometheus/rules:/etc/prometheus/rules:ro" in mounts  # at the same place from the file


def test_alertmanager_accepts_its_configuration() -> None:
    assert_accepts(["amtool", "check-config", str(ROOT / "prometheus/alertmanager.yml")])


def test_prometheus_scrapes_the_exporter_where_compose_puts_it() -> None:
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs["ecmp-exporter"] == ["host.docker.internal:10179"]
    assert COMPOSE["services"]["prometheus"]["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert "EXPOSE 10179" in instructions()


def test_grafana_is_given_what_prometheus_and_the_dashboards_are() -> None:
    places = ROOT / "grafana/provisioning"
    sources = yaml.safe_load((places / "datasources/ecmp.yml").read_text())["datasources"]
    services = {source["type"]: source["url"].split("/")[2].split(":")[0] for source in sources}
    assert services == {"prometheus": "prometheus", "alertmanager": "alertmanager"}
    scraped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert sources[0]["jsonData"]["timeInterval"] == scraped
    assert sources[0]["jsonData"]["alertmanagerUid"] == sources[1]["uid"]
    (provider,) = yaml.safe_load((places / "dashboards/ecmp.yml").read_text())["providers"]
    grafana = COMPOSE["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (ROOT / "grafana/dashboards" / home.name).is_file()


def test_the_example_configuration_is_one() -> None:
    config = load(ROOT / "compose/exporter/ecmp-exporter.yml")
    assert [router.name for router in config.routers] == ["edge"]


def assert_accepts(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
