"""The committed dashboards are what the generator writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import generate


def test_the_committed_dashboards_are_what_the_generator_writes() -> None:
    assert generate.drift() == []


def test_drift_is_told_for_each_kind_of_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "DIRECTORY", tmp_path)
    for path, text in generate.rendered().items():
        path.write_text(text, encoding="utf-8")
    assert generate.drift() == []

    (tmp_path / "ecmp-node.json").write_text("{}", encoding="utf-8")
    (tmp_path / "ecmp-target.json").unlink()
    (tmp_path / "ecmp-old.json").write_text("{}", encoding="utf-8")

    assert generate.drift() == [
        "ecmp-target.json is missing",
        "ecmp-old.json is of no dashboard",
        "ecmp-node.json is not what the generator writes",
    ]


def test_check_is_a_command_that_ends_well() -> None:
    command = [sys.executable, "-m", "grafana.generate", "--check"]
    ended = subprocess.run(command, cwd=generate.DIRECTORY.parents[1], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("path", sorted(generate.DIRECTORY.glob("*.json")), ids=lambda path: str(path.stem))
def test_the_sdk_reads_back_every_key(path: Path) -> None:
    """Its models are Grafana's schema: what it did not know, or could not read, would be missing afterwards."""
    register_default_plugins()
    committed = json.loads(path.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(committed)))
    assert list(_lost(committed, read, "dashboard")) == ["dashboard.id"]  # null is what it leaves out


def _lost(before: Any, after: Any, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from _lost(value, after.get(key), f"{place}.{key}") if key in after else [f"{place}.{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _lost(one, other, f"{place}[{index}]")
    elif before != after:
        yield place
