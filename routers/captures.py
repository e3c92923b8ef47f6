"""A capture: what a router said to each command, as text that people read, hand in and keep as a test. Pure.

`answers.txt` has a section for each command, whose heading is `===== NAME`, then what it printed, byte for byte.
Further sections hold what else there was to its answer, where there was: `===== NAME stderr`, `===== NAME exit
status` and `===== NAME error`. A line that could be taken for a heading, or for the sign that the last line break
is missing, stands behind one more backslash. `manifest.json` says what was asked, of whom, when and by which release.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_dict, as_list, as_text, parse, phrase
from routers.model import Answer, Command, OracleFlow, Query, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANSWERS = "answers.txt"
ORACLE_ANSWERS = "oracle.txt"
MANIFEST = "manifest.json"
FORMAT = 1

_STDERR, _STATUS, _ERROR = " stderr", " exit status", " error"
_PARTS = (_STDERR, _STATUS, _ERROR)
_HEADING = re.compile(r"===== (.+)")
_UNENDED = "\\ no line break at the end"
_ESCAPED = re.compile(r"\\*(?:=====|\\ no line break at the end$)")
_LARGEST_STATUS = 9999
_LARGEST_PORT = 65_535
_LATEST = 253_402_300_799.0  # the last second of the year 9999


class CaptureError(ValueError):
    """A capture that cannot be read. The message is one sentence that names the place and the mend."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was asked, of whom, when (seconds since the epoch) and by which release of the program.

    `nodes`: name -> addresses of the nodes that were expected. `flows` are those that the oracle was asked about.
    """

    platform: str
    router: str
    program: str
    taken_at: float
    query: Query
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    commands: tuple[Command, ...] = ()
    flows: tuple[OracleFlow, ...] = ()
    anonymised: bool = False


@dataclass(frozen=True, slots=True)
class Capture:
    """A manifest and the answers by command name: to a poll's questions, and to the oracle's."""

    manifest: Manifest
    answers: Mapping[str, Answer]
    oracle: Mapping[str, Answer] = field(default_factory=lambda: MappingProxyType({}))


def written(answers: Mapping[str, Answer]) -> str:
    """The text of `answers.txt`. Raises ValueError for a command name that cannot be a heading."""
    sections = []
    for name, answer in answers.items():
        if not _HEADING.fullmatch(f"===== {name}") or name.endswith(_PARTS) or name != name.strip():
            raise ValueError(f"a command cannot be called {name!r}")
        sections.append(_section(name, answer.stdout))
        if answer.stderr:
            sections.append(_section(name + _STDERR, answer.stderr))
        if answer.exit_status:
            sections.append(_section(name + _STATUS, f"{answer.exit_status}\n"))
        if answer.error is not None:
            sections.append(_section(name + _ERROR, f"{answer.error}\n"))
    return "".join(sections)


def _section(heading: str, body: str) -> str:
    lines = body.split("\n")
    end = lines.pop()
    text = "".join(f"{_guarded(line)}\n" for line in lines)
    return f"===== {heading}\n{text}" + (f"{_guarded(end)}\n{_UNENDED}\n" if end else "")


def _guarded(line: str) -> str:
    return f"\\{line}" if _ESCAPED.match(line) else line


def read_answers(text: str, file: str = ANSWERS) -> dict[str, Answer]:
    """The answers in a text by command name, in its order. Raises CaptureError that names `file` and the line."""
    found: dict[str, Answer] = {}
    for number, heading, body in _sections(text, file):
        part = next((part for part in _PARTS if heading.endswith(part)), None)
        name = heading if part is None else heading.removesuffix(part)
        if part is None:
            if name in found:
                raise CaptureError(f"{file}:{number}: a second section {name!r}: remove one of the two")
            found[name] = Answer(stdout=body)
            continue
        if name not in found:
            raise CaptureError(
                f"{file}:{number}: no section {name!r} stands above {heading!r}: put one there, empty if need be"
            )
        own = found[name]
        if part == _STDERR:
            found[name] = Answer(own.stdout, body, own.exit_status, own.error)
        elif part == _STATUS:
            found[name] = Answer(own.stdout, own.stderr, _status(body, file, number), own.error)
        else:
            found[name] = Answer(own.stdout, own.stderr, own.exit_status, body.removesuffix("\n"))
    if not found:
        raise CaptureError(f"{file}:1: no section: each answer stands below a line like `===== show version`")
    return found


def _sections(text: str, file: str) -> Iterator[tuple[int, str, str]]:
    """Line number, heading and body of each section; the very bytes that were printed."""
    heading, start, body = "", 0, list[str]()
    for number, line in enumerate(text.split("\n"), start=1):
        match = _HEADING.fullmatch(line.removesuffix("\r"))
        if match is None:
            if line and not heading:
                raise CaptureError(f"{file}:{number}: this stands above the first heading (`===== NAME`): remove it")
            body.append(line)
            continue
        if heading:
            yield start, heading, _body([*body, ""])
        heading, start, body = match[1], number, []
    if heading:
        yield start, heading, _body(body or [""])


def _body(lines: list[str]) -> str:
    """What was printed, of its lines as they are written; the last of them is what follows the last line break."""
    ended = lines[-1] == ""
    if ended and len(lines) > 1 and lines[-2] == _UNENDED:
        lines = lines[:-2]
    return "\n".join(line[1:] if line.startswith("\\") and _ESCAPED.match(line) else line for line in lines)


def _status(body: str, file: str, number: int) -> int:
    text = body.strip()
    if not re.fullmatch(r"-?\d{1,4}", text, re.ASCII) or abs(int(text)) > _LARGEST_STATUS:
        raise CaptureError(f"{file}:{number + 1}: {phrase(text, 40)!r} is no exit status: write a whole number")
    return int(text)


def manifest_text(manifest: Manifest) -> str:
    """The text of `manifest.json`."""
    query = manifest.query
    document = {
        "format": FORMAT,
        "platform": manifest.platform,
        "router": manifest.router,
        "program": manifest.program,
        "taken_at": manifest.taken_at,
        "anonymised": manifest.anonymised,
        "query": {
            "vips": list(query.vips),
            "nodes": list(query.node_addresses),
            "sources": dict(query.sources),
            "vrf": query.vrf,
            "default_routes": query.default_routes,
        },
        "nodes": {name: list(addresses) for name, addresses in manifest.nodes.items()},
        "commands": [_command_row(command) for command in manifest.commands],
        "flows": [_flow_row(flow) for flow in manifest.flows],
    }
    return json.dumps(document, indent=2) + "\n"


def _command_row(command: Command) -> dict[str, Any]:
    more = {"stdin": command.stdin} if command.stdin is not None else {}
    return {"name": command.name, "argv": list(command.argv), **more, **({"raw": True} if command.raw else {})}


def _flow_row(flow: OracleFlow) -> dict[str, Any]:
    return {
        "source": flow.source,
        "source_port": flow.source_port,
        "destination": flow.destination,
        "destination_port": flow.destination_port,
        "protocol": flow.protocol,
        "vrf": flow.vrf,
    }


def read_manifest(text: str, file: str = MANIFEST) -> Manifest:
    """The manifest in a text. Raises CaptureError that names `file` and the line."""
    try:
        document = parse(text)
    except ValueError as error:
        raise CaptureError(f"{file}:{_line_of_error(text)}: {error}: mend it, or take the capture again") from error
    reader = _Reader(text, file)
    top = reader.table(document, "format")
    if top.get("format") != FORMAT:
        raise reader.wrong("format", f"must be {FORMAT}: a newer release of ecmp-exporter may have written this")
    query = reader.table(top.get("query"), "query")
    taken_at = top.get("taken_at")
    if isinstance(taken_at, bool) or not isinstance(taken_at, int | float) or not 0 <= taken_at <= _LATEST:
        raise reader.wrong("taken_at", "must be the time of taking, in seconds since 1970")
    vrf = query.get("vrf")
    return Manifest(
        platform=reader.text(top, "platform"),
        router=reader.text(top, "router"),
        program=as_text(top.get("program")) or "",
        taken_at=float(taken_at),
        query=Query(
            vips=reader.addresses(query.get("vips"), "vips"),
            node_addresses=reader.addresses(query.get("nodes", []), "nodes"),
            sources=MappingProxyType(reader.sources(query.get("sources", {}))),
            vrf=None if vrf is None else reader.text(query, "vrf"),
            default_routes=query.get("default_routes") is True,
        ),
        nodes=MappingProxyType(
            {
                reader.name(name): reader.addresses(own, name)
                for name, own in reader.table(top.get("nodes", {}), "nodes").items()
            }
        ),
        commands=tuple(_command(as_dict(row)) for row in as_list(top.get("commands"))),
        flows=tuple(reader.flow(row) for row in as_list(top.get("flows"))),
        anonymised=top.get("anonymised") is True,
    )


def _line_of_error(text: str) -> int:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        pass
    return 1


def _command(row: dict[str, Any]) -> Command:
    """For people to read, and not to be run again: what is odd is left out."""
    argv = tuple(part for part in as_list(row.get("argv")) if isinstance(part, str))
    stdin = row.get("stdin")
    return Command(
        as_text(row.get("name")) or "", argv, stdin if isinstance(stdin, str) else None, raw=row.get("raw") is True
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Values of a manifest, each checked; what is wrong is told with the line of its key."""

    text_read: str
    file: str

    def wrong(self, key: str, what: str) -> CaptureError:
        at = self.text_read.find(json.dumps(key))
        line = self.text_read.count("\n", 0, at) + 1 if at >= 0 else 1
        return CaptureError(f"{self.file}:{line}: {key} {what}")

    def table(self, value: object, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, "must stand in a JSON object: take the capture again, or write {...} there")
        return value

    def text(self, table: Mapping[str, Any], key: str) -> str:
        value = as_text(table.get(key))
        if value is None or not value.isprintable():
            raise self.wrong(key, "must be a text on one line, and not empty")
        return value

    def name(self, name: str) -> str:
        if not name or not name.isprintable():
            raise self.wrong("nodes", "must have names that can be printed")
        return name

    def addresses(self, value: object, key: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list of IP addresses")
        return tuple(self._address(one, key) for one in value)

    def sources(self, value: object) -> dict[str, str]:
        table = self.table(value, "sources")
        return {self._address(vip, "sources"): self._address(own, "sources") for vip, own in table.items()}

    def flow(self, row: object) -> OracleFlow:
        own = self.table(row, "flows")
        ports = (own.get("source_port"), own.get("destination_port"))
        if not all(type(port) is int and 0 < port <= _LARGEST_PORT for port in ports):
            raise self.wrong("flows", "must have ports from 1 to 65535")
        protocol = own.get("protocol", "tcp")
        if protocol not in ("tcp", "udp"):
            raise self.wrong("flows", "must be of tcp or udp")
        source, destination = (self._address(own.get(key), "flows") for key in ("source", "destination"))
        vrf = None if own.get("vrf") is None else self.text(own, "vrf")
        return OracleFlow(source, own["source_port"], destination, own["destination_port"], protocol, vrf)

    def _address(self, value: object, key: str) -> str:
        try:
            if isinstance(value, str):
                return canonical(value)
        except ValueError:
            pass
        raise self.wrong(key, f"holds {phrase(repr(value), 60)}, which is no IP address: write one there")
