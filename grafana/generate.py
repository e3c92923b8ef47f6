"""Writes the dashboards: `python -m grafana.generate`. With `--check` it only says which files are out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana import exporter, node, overview, router, target
from grafana.board import render

DIRECTORY: Final = Path(__file__).parent / "dashboards"


def rendered() -> Mapping[Path, str]:
    """The text of each file."""
    boards = (overview.board(), node.board(), target.board(), router.board(), exporter.board())
    return {DIRECTORY / f"{board.uid}.json": render(board) for board in boards}


def drift() -> list[str]:
    """One sentence for each file that is missing, too much or not as it would be written."""
    wanted = rendered()
    found = {path: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    return [
        *(f"{path.name} is missing" for path in wanted if path not in found),
        *(f"{path.name} is of no dashboard" for path in found if path not in wanted),
        *(
            f"{path.name} is not what the generator writes"
            for path in wanted
            if found.get(path, wanted[path]) != wanted[path]
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a file differs")
    if parser.parse_args().check:
        for sentence in (differences := drift()):
            sys.stderr.write(f"{sentence}; run python -m grafana.generate\n")
        return 1 if differences else 0
    DIRECTORY.mkdir(exist_ok=True)
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
