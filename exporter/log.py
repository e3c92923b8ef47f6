"""Logging in the two formats that Prometheus' programs have: logfmt and JSON, on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

LEVELS: Final = ("debug", "info", "warn", "error")
FORMATS: Final = ("logfmt", "json")
_NAMES = {"WARNING": "warn", "CRITICAL": "error"}
_QUIET = ("asyncssh", "apscheduler", "aiohttp.access")  # they tell of every connection and every round


def set_up(level: str, style: str) -> None:
    """Send everything from `level` on to standard error. Raises KeyError for a level not in LEVELS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Logfmt())
    number = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}[level]
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR if number > logging.DEBUG else logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    level = _NAMES.get(record.levelname, record.levelname.lower())
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"time": time, "level": level, "source": record.name, "msg": record.getMessage()}
    if record.exc_info is not None:
        fields["error"] = logging.Formatter().formatException(record.exc_info)
    return fields


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record))


def _quoted(value: str) -> str:
    plain = value.isprintable() and value and not any(character in value for character in ' "=')
    return value if plain else json.dumps(value, ensure_ascii=False)
