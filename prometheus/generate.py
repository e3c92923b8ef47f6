# ruff: noqa: INP001  (a script: a package of this name would be met for Prometheus' own)
"""Write prometheusrule.yaml, for the Prometheus operator, from the rule files.

Run it as `python prometheus/generate.py [--check]`. The rule files are the source. `--check` writes nothing and exits
with 1 if the manifest is not what they say.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).parent
RULES: Final = HERE / "rules"
MANIFEST: Final = HERE / "prometheusrule.yaml"
_HEADER: Final = "# Generated from rules/*.yml by generate.py; change those, and run it again.\n"


class _Dumper(yaml.SafeDumper):
    """Expressions as blocks, everything written out where the sources have anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def manifest(directory: Path = RULES) -> str:
    """The PrometheusRule that holds every group of the rule files in a directory, ordered by file name."""
    groups: list[Any] = []
    for path in sorted(directory.glob("*.yml")):
        groups += yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "ecmp-exporter",
            "labels": {"app.kubernetes.io/name": "ecmp-exporter", "prometheus": "k8s", "role": "alert-rules"},
        },
        "spec": {"groups": groups},
    }
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 if the manifest is, or now is, what the rule files say."""
    parser = argparse.ArgumentParser(description="Write prometheusrule.yaml from rules/*.yml.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it would change")
    options = parser.parse_args(arguments)
    wanted = manifest()
    if not options.check:
        MANIFEST.write_text(wanted, encoding="utf-8")
        return 0
    there = MANIFEST.read_text(encoding="utf-8") if MANIFEST.exists() else ""
    changes = difflib.unified_diff(
        there.splitlines(keepends=True), wanted.splitlines(keepends=True), "prometheusrule.yaml", "generate.py"
    )
    sys.stdout.writelines(changes)
    return int(there != wanted)


if __name__ == "__main__":
    sys.exit(main())
