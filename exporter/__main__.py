"""`python -m exporter` is `ecmp-exporter`."""

from exporter.cli import entry

entry()
