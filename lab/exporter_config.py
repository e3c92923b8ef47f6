"""The exporter's configuration for a lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from lab import sshd

if TYPE_CHECKING:
    from pathlib import Path

    from lab.plan import Lab


def configuration(lab: Lab, reach: dict[str, Any]) -> dict[str, Any]:
    """`reach` is the router's way in: {"ssh": ...} or {"exec": ...}."""
    web, gitea = lab.services
    targets: list[dict[str, Any]] = []
    for suffix in ("", "-v6"):
        targets.append(
            {
                "name": f"{web.name}{suffix}",
                "address": web.v6 if suffix else web.v4,
                "port": web.port,
                "module": "http_2xx",
                "identity": {"header": "X-Node"},
            }
        )
        targets.append(
            {
                "name": f"{gitea.name}{suffix}",
                "address": gitea.v6 if suffix else gitea.v4,
                "port": gitea.port,
                "module": "ssh_banner",
                "nodes": [node.name for node in gitea.nodes],
            }
        )
    return {
        "probing": {"interval": "5s", "timeout": "1s"},
        "modules": {"http_2xx": {"prober": "http"}, "ssh_banner": {"prober": "ssh"}},
        "routers": [
            {"name": name, "platform": platform, "poll_interval": "2s", **reach}
            for name, platform in (("edge", lab.router), *((f"edge-{kind}", kind) for kind in lab.beside))
        ],
        "nodes": [{"name": node.name, "addresses": [node.v4, node.v6]} for node in lab.nodes],
        "targets": targets,
    }


def write(lab: Lab, state: Path) -> None:
    """exporter.yml reads the router over SSH, exporter-exec.yml without."""
    ways: dict[str, dict[str, Any]] = {
        "exporter.yml": {"ssh": sshd.exporter_ssh(state)},
        "exporter-exec.yml": {"exec": {"prefix": [str(state / "on-edge")]}},
    }
    for name, reach in ways.items():
        text = yaml.safe_dump(configuration(lab, reach), sort_keys=False)
        (state / name).write_text(text, encoding="utf-8")
