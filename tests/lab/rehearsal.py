"""Hands for tests on a running lab."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import lab
from lab.place import mode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def cannot_run(reason: str) -> None:
    """A machine without the programs may skip; CI may not."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has to run this: {reason}")
    pytest.skip(reason)


class RunningLab:
    """A lab that is up, and hands for it."""

    def __init__(self, name: str, **options: object) -> None:
        self.name = name
        self.state: Path = lab.up(name, **options)  # type: ignore[arg-type]

    @property
    def login(self) -> list[str]:
        user = "root" if mode() == "root" else "monitor"
        options = ("BatchMode=yes", f"UserKnownHostsFile={self.state}/ssh/known_hosts", "ConnectTimeout=5")
        flags = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", "-i", f"{self.state}/ssh/id_ed25519", *flags, f"{user}@198.51.100.1"]

    def in_prober(self, argv: Sequence[str]) -> str:
        command = lab.prober_command(self.name, argv)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, script: str, *arguments: str) -> str:
        return self.in_prober([sys.executable, "-IS", "-c", script, *arguments])
