"""The modules that blackbox_exporter documents load as they are; what is not supported is refused by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.configfile import ConfigError, loads
from exporter.shown import shown

EXAMPLES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "example_modules.yml").read_text())["modules"]
SECRETS = ("mysecret", "Bearer token")
# What stands in an example and cannot be had on a pinned flow, or not yet: the key that the error names.
REFUSED = {
    "http_with_proxy": ("proxy_url", "skip_resolve_phase_with_proxy"),
    "http_with_proxy_and_headers": ("proxy_url", "proxy_connect_header"),
    "http_2xx_oauth_client_credentials": ("oauth2",),
    "http_json_cel_match": ("fail_if_body_json_not_matches_cel",),
}
# Of later versions than Debian's: its own check does not take them.
LATER = frozenset(
    {
        "http_post_body_file",
        "ssh_banner_extract",
        "http_json_cel_match",
        "http_with_proxy",
        "http_with_proxy_and_headers",
    }
)


def with_modules(modules: dict[str, Any]) -> str:
    return yaml.safe_dump(
        {
            "routers": [{"name": "edge", "platform": "frr", "exec": {}}],
            "nodes": [{"name": "n1", "address": "127.0.0.1"}],
            "targets": [{"name": "web", "address": "127.0.0.1", "port": 80, "module": "http_2xx"}],
            "modules": modules,
        }
    )


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in REFUSED])
def test_it_loads_unchanged(name: str) -> None:
    config = loads(with_modules({name: EXAMPLES[name]}))
    assert config.modules[name].prober == EXAMPLES[name]["prober"]
    assert not [secret for secret in SECRETS if secret in shown(config)]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(with_modules({name: EXAMPLES[name]}))
    text = str(caught.value)
    assert any(f"{key} is known" in text for key in REFUSED[name]), text
    assert not [secret for secret in SECRETS if secret in text]


def test_a_section_that_would_be_ignored_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"modules\.m\.http: is the section of another prober: this module's is tcp"):
        loads(with_modules({"m": {"prober": "tcp", "http": {}}}))


def test_debian_takes_what_we_take(tmp_path: Path) -> None:
    """So that these are blackbox_exporter's modules, and not what we think they are."""
    program = shutil.which("prometheus-blackbox-exporter")
    assert program is not None, "install prometheus-blackbox-exporter"
    path = tmp_path / "modules.yml"
    path.write_text(yaml.safe_dump({"modules": {k: v for k, v in EXAMPLES.items() if k not in LATER}}))
    done = subprocess.run(
        [program, "--config.check", f"--config.file={path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
