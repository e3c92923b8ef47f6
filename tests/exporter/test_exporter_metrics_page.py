"""docs/metrics.md, and the list of metrics that it is written from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from exporter.metrics import catalogue
from tests.exporter.test_exporter_metrics import PAST_THE_ROUTER, SERIES

ROOT = Path(__file__).parent.parent.parent


def test_the_page_of_metrics_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "tools/metrics_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_catalogue_names_every_metric_with_its_labels() -> None:
    exposed = {
        re.sub(r"_(bucket|count|sum)$", "", name): set(labels) - {"le"} if "duration_seconds_" in name else set(labels)
        for name, labels in SERIES.items()
    }
    listed = {one.name: set(one.labels) for one in catalogue()}
    assert listed.pop(PAST_THE_ROUTER) == {"target", "vip", "port", "router", "node"}
    assert listed == exposed
