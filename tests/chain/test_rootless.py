"""The same faults without root: everything inside one user namespace, BIRD as the router."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

FAULTS = Path(__file__).with_name("test_faults.py")
# A user without any privilege outside: a namespace in which this process is nobody in particular.
AS_A_USER = ["unshare", "-U", "--map-user=1000", "--map-group=1000", "--"]


@pytest.mark.skipif(os.geteuid() != 0, reason="without root test_faults.py itself runs without root")
def test_every_fault_without_root() -> None:
    argv = [*AS_A_USER, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(FAULTS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) >= 15
    assert "skipped" not in done.stdout
