"""CONCLUDE: configuration, path map, verdicts, schedule, metrics, web and command line."""

__version__ = "0.1.0"
