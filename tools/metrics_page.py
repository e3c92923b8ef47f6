"""Write docs/metrics.md from what the exporter says of its metrics: python tools/metrics_page.py [--check]."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parent.parent / "docs" / "metrics.md"
HEAD: Final = """\
# Metrics

Written by `python tools/metrics_page.py` from the exporter itself; a test tells if they differ.

Values are in base units, times in seconds since the epoch. A series disappears when its path, node or target does; what
is not known has none. A label that does not apply is empty: `next_hop` while the router forwards nowhere, `node` where
no expected node has the address. [alerts.md](alerts.md) says what to alert on, [steering.md](steering.md) what the
metrics of steering mean. The `process_` metrics are those that every Prometheus client library gives.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    from exporter.metrics import catalogue  # noqa: PLC0415 - found once the tree is on the path

    rows = (
        f"| `{one.name}` | {one.kind} | {' '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in catalogue()
    )
    return HEAD + "\n".join(rows) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Exit status: 1 if --check found another page than the one that would be written, else 0."""
    sys.path.insert(0, str(PAGE.parent.parent))
    wanted = page()
    if "--check" in arguments:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted
        sys.stdout.write("" if same else "docs/metrics.md is out of date: run python tools/metrics_page.py\n")
        return 0 if same else 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
