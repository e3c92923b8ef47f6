"""The image, built once for all tests that look into it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.image.container import Image
from tests.lab.rehearsal import cannot_run

ROOT = Path(__file__).parents[2]
NEEDED = ("buildah", "debootstrap", "crun", "nsenter", "unshare")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "image: builds the image, or runs it: root, buildah, debootstrap and crun")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built from this tree by tools/image.sh, which says what is missing if it cannot."""
    if os.geteuid() != 0:
        cannot_run("building an image without a registry needs root")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    if missing := [name for name in NEEDED if shutil.which(name, path=path) is None]:
        cannot_run(f"missing programs: {', '.join(missing)}")
    place = tmp_path_factory.mktemp("image")
    for arguments in (["build"], ["unpack", str(place)]):
        done = subprocess.run(
            ["sh", str(ROOT / "tools/image.sh"), *arguments], capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
    place.chmod(0o755)
    return Image(place / "rootfs", json.loads((place / "config.json").read_text())["Docker"]["config"])
