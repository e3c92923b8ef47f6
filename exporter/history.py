"""The last results and, kept apart, the last failures, each with the transcript of its probe. Pure.

Both are bounded, in number and in characters. A target that has much to say does not push out the others: what goes
is always the oldest record of the target that has most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.durations import timestamp
from probes.model import Outcome

MOST_RECORDS = 500
MOST_CHARACTERS = 4 << 20
_RECORD_CHARACTERS = 1024  # what a record takes besides its texts, roughly
ADHOC = "/probe"  # what stands in the place of the router for a probe that was asked for


@dataclass(frozen=True, slots=True)
class Record:
    """One probe that ended. `at` is in seconds since the epoch; `node` None: nobody knows which one it went to.

    `router` is ADHOC for a probe that was asked for over HTTP.
    """

    number: int  # unique since the start, and growing
    at: float
    target: str
    module: str
    router: str
    node: str | None
    outcome: Outcome

    @property
    def characters(self) -> int:
        """How much it takes to keep, roughly."""
        told = self.outcome
        return _RECORD_CHARACTERS + len(told.detail) + len(self.target) + sum(map(len, told.transcript))


class Shelf:
    """A bounded number of records."""

    def __init__(self, most_records: int = MOST_RECORDS, most_characters: int = MOST_CHARACTERS) -> None:
        self._most_records = most_records
        self._most_characters = most_characters
        self._by_target: dict[str, deque[Record]] = {}
        self._count = 0
        self._characters = 0

    def add(self, record: Record) -> None:
        """Keep a record, and let go of old ones."""
        self._by_target.setdefault(record.target, deque()).append(record)
        self._count += 1
        self._characters += record.characters
        while self._count > self._most_records or (self._count > 1 and self._characters > self._most_characters):
            self._let_go()

    def newest_first(self) -> list[Record]:
        found = [record for records in self._by_target.values() for record in records]
        return sorted(found, key=lambda record: record.number, reverse=True)

    def get(self, number: int) -> Record | None:
        """The record of a number, while it is kept."""
        for records in self._by_target.values():
            for record in records:
                if record.number == number:
                    return record
        return None

    def _let_go(self) -> None:
        target, records = max(self._by_target.items(), key=lambda item: len(item[1]))
        gone = records.popleft()
        self._count -= 1
        self._characters -= gone.characters
        if not records:
            del self._by_target[target]


@dataclass(frozen=True, slots=True)
class Kept:
    """Both shelves at one time, the newest first."""

    results: tuple[Record, ...]
    failures: tuple[Record, ...]


class History:
    """What the last probes came to. A record that is on both shelves is kept once."""

    def __init__(self) -> None:
        self.results = Shelf()
        self.failures = Shelf()
        self._number = 0

    def add(self, at: float, target: str, module: str, router: str, node: str | None, outcome: Outcome) -> None:
        """Note one probe that ended."""
        self._number += 1
        record = Record(self._number, at, target, module, router, node, outcome)
        self.results.add(record)
        if not outcome.success:
            self.failures.add(record)

    def kept(self) -> Kept:
        """All that is kept now; probes go on, and this does not change."""
        return Kept(tuple(self.results.newest_first()), tuple(self.failures.newest_first()))

    def get(self, number: int) -> Record | None:
        """The record of a number, while one of the shelves keeps it."""
        return self.results.get(number) or self.failures.get(number)


def to_json(kept: Kept) -> dict[str, Any]:
    """The document of /api/v1/history, without transcripts; no key is ever missing."""
    return {
        "results": [_summary(record) for record in kept.results],
        "failures": [_summary(record) for record in kept.failures],
    }


def record_to_json(record: Record) -> Mapping[str, Any]:
    """One record with its transcript."""
    return {**_summary(record), "transcript": list(record.outcome.transcript)}


def _summary(record: Record) -> dict[str, Any]:
    told = record.outcome
    return {
        "id": record.number,
        "at": timestamp(record.at),
        "target": record.target,
        "module": record.module,
        "router": record.router,
        "node": record.node,
        "vip": told.flow.destination,
        "port": told.flow.destination_port,
        "source": told.flow.source,
        "source_port": told.flow.source_port,
        "success": told.success,
        "failure": None if told.failure is None else told.failure.value,
        "detail": told.detail,
        "duration_seconds": round(told.duration_seconds, 6),
        "phases": {name: round(value, 6) for name, value in told.phases.items()},
    }
