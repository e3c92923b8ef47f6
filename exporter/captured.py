"""Captures on disk: what a router said, written for a test or a report, and read again without the router."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from exporter.evidence import RouterView
from exporter.expected import Expected, Node
from exporter.status import RouterStatus
from routers.captures import (
    ANSWERS,
    MANIFEST,
    ORACLE_ANSWERS,
    Capture,
    CaptureError,
    Manifest,
    manifest_text,
    read_answers,
    read_manifest,
    written,
)
from routers.model import Answer, NextHop, OracleFlow, Query, Snapshot
from routers.platforms import PLATFORMS
from routers.reader import Record
from routers.secrets_removed import without_secrets

MAX_BYTES = 64 * 1024 * 1024
_MODE = 0o600
_DIRECTORY_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Replayed:
    """A capture as it is read now: the router as it was, its tables, and the flows that its oracle told of."""

    router: RouterStatus
    snapshot: Snapshot | None  # None: it told nothing
    flows: Mapping[OracleFlow, NextHop | None]


def prepare(directory: Path) -> bool:
    """Make the directory of a capture, or see that it is empty; True if it was made. Raises CaptureError."""
    try:
        made = not directory.exists()
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        there = next(directory.iterdir(), None)
        if there is None:
            with tempfile.NamedTemporaryFile(dir=directory):
                return made
    except OSError as error:
        raise CaptureError(f"{directory}: a capture cannot be written there: {error.strerror or error}") from error
    raise CaptureError(f"{directory} is not empty ({there.name}): give a directory that does not exist yet")


def of_record(
    record: Record, router: str, platform: str, program: str, nodes: Mapping[str, tuple[str, ...]]
) -> Capture:
    """What was said, without the secrets in it."""
    manifest = Manifest(
        platform=platform,
        router=router,
        program=program,
        taken_at=record.taken_at,
        query=record.query or Query((), ()),
        nodes=MappingProxyType(dict(nodes)),
        commands=(*record.commands, *record.oracle_commands),
        flows=tuple(record.flows),
    )
    return Capture(manifest, _harmless(record.answers), _harmless(record.oracle_answers))


def _harmless(answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
    return MappingProxyType(
        {
            name: replace(answer, stdout=without_secrets(answer.stdout), stderr=without_secrets(answer.stderr))
            for name, answer in answers.items()
        }
    )


def write(directory: Path, capture: Capture) -> int:
    """Write a capture, each file as a whole and the manifest last; returns its bytes. Raises CaptureError."""
    texts = {ANSWERS: written(capture.answers)}
    if capture.oracle:
        texts[ORACLE_ANSWERS] = written(capture.oracle)
    texts[MANIFEST] = manifest_text(capture.manifest)
    contents = {name: text.encode(errors="replace") for name, text in texts.items()}
    total = sum(map(len, contents.values()))
    if total > MAX_BYTES:
        raise CaptureError(f"the router said {total} bytes, and a capture holds {MAX_BYTES}: ask about fewer targets")
    try:
        for name, content in contents.items():
            _write(directory / name, content)
    except OSError as error:
        raise CaptureError(f"{directory}: the capture cannot be written: {error.strerror or error}") from error
    return total


def _write(path: Path, content: bytes) -> None:
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def load(directory: Path) -> Capture:
    """A capture as it was written. Raises CaptureError, which names file and line and what to do."""
    if not directory.is_dir():
        raise CaptureError(f"{directory} is no directory: give the one that `routers NAME --capture DIR` wrote")
    path = directory / MANIFEST
    manifest = read_manifest(_text(path), str(path))
    if manifest.platform not in PLATFORMS:
        known = ", ".join(sorted(PLATFORMS))
        raise CaptureError(
            f"{path}: platform {manifest.platform!r} is none that this release reads: write one of {known} there"
        )
    path = directory / ANSWERS
    answers = read_answers(_text(path), str(path))
    path = directory / ORACLE_ANSWERS
    oracle = read_answers(_text(path), str(path)) if path.exists() else {}
    return Capture(manifest, MappingProxyType(answers), MappingProxyType(oracle))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise CaptureError(
            f"{path} is missing, so the capture is not complete: take it again with `routers NAME --capture DIR`"
        ) from error
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise CaptureError(f"{path} is longer than {MAX_BYTES} bytes: remove sections that are not needed")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CaptureError(f"{path}:{line}: this is no UTF-8: save the file as UTF-8") from error


def replay(capture: Capture, name: str | None) -> Replayed:
    """Read a capture as if the router, called `name`, had just said it; by the clock of the capture."""
    manifest = capture.manifest
    name = name or manifest.router
    platform = PLATFORMS[manifest.platform]
    snapshot = platform.read(name, manifest.query, capture.answers, manifest.taken_at)
    snapshot = replace(snapshot, vrf=manifest.query.vrf)
    expected = Expected({node: Node(node, own) for node, own in manifest.nodes.items() if own}, {})
    view = RouterView.of(snapshot, expected)
    owners = {id(session): node for node, sessions in view.sessions.items() for session in sessions}
    told = snapshot.sessions is not None or bool(snapshot.routes) or bool(snapshot.fib)
    status = RouterStatus(
        name=name,
        platform=manifest.platform,
        up=told,
        taken_at=manifest.taken_at if told else None,
        error="; ".join(snapshot.problems) or (None if told else "it told nothing"),
        sessions=tuple((session, owners.get(id(session))) for session in snapshot.sessions or ()),
    )
    return Replayed(status, snapshot if told else None, _flows(capture))


def _flows(capture: Capture) -> Mapping[OracleFlow, NextHop | None]:
    manifest = capture.manifest
    oracle = PLATFORMS[manifest.platform].ORACLE
    if oracle is None or not manifest.flows:
        return {}
    try:
        told = oracle.read(manifest.flows, capture.oracle)
    except ValueError:
        told = {}
    return {flow: told.get(flow) for flow in manifest.flows}
