"""Targets by name, through both: IPv6 only, names that do not exist, servers that fail or are silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.parity.named import cases

ROOT = Path(__file__).parent.parent.parent


def test_names(tmp_path: Path) -> None:
    """In namespaces of its own, so that a resolver of ours is the system's, and nobody else is ever asked."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *user, "--net", "--mount", sys.executable, "-m", "tests.parity.named", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same: ") == len(cases(tmp_path))
