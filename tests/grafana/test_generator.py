"""The committed dashboards are what the generator writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
