"""YAML with a place for every value: duplicate keys are errors and every error can name its line."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Location = tuple[str | int, ...]
MAX_BYTES = 4 << 20
MAX_VALUES = 100_000  # keys included; what an alias (*name) stands for counts wherever it is used
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where (line is 1-based, 0 if unknown), at which key, what, and the mend."""

    line: int
    place: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.place}: {self.message}" if self.place else f"{where}{self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, the line of each location in them, and problems met on the way."""

    value: Any
    lines: Mapping[Location, int]
    problems: tuple[Problem, ...]

    def line_of(self, location: Location) -> int:
        """The line of a location, or of the nearest one that encloses it."""
        for length in range(len(location), -1, -1):
            line = self.lines.get(location[:length])
            if line is not None:
                return line
        return 0


def place_of(location: Location) -> str:
    """`targets[2].module` for ("targets", 2, "module")."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def parse(text: str) -> Document:
    """Parse one YAML document. Never raises for its content: what is wrong stands in `problems`."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        reader = _Reader()
        value = None if root is None else reader.read(root, ())
    except _TooMuchError as error:
        return Document(None, {}, (error.problem,))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {error.problem or error.context}"
        return Document(None, {}, (Problem(mark.line + 1 if mark else 0, "", message),))
    except yaml.YAMLError as error:
        return Document(None, {}, (Problem(0, "", f"not YAML: {error}"),))
    return Document(value, reader.lines, tuple(reader.problems))


class _TooMuchError(Exception):
    def __init__(self, line: int, location: Location, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, place_of(location), message)


class _Count:
    """Ends the reading of a file that says, or stands for, more than any configuration does."""

    def __init__(self) -> None:
        self._values = 0

    def value(self, line: int, location: Location) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            what = f"more than {MAX_VALUES} keys and values, with each alias (*name) counted as what it stands for"
            raise _TooMuchError(line, location, what)

    @staticmethod
    def depth(depth: int, line: int, location: Location) -> None:
        if depth > MAX_DEPTH:
            raise _TooMuchError(line, location, f"nested more than {MAX_DEPTH} levels deep")


class _Loader(yaml.SafeLoader):
    """Watches PyYAML at work: it scans far ahead and takes time by the square of the depth to do it."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._count = _Count()

    def fetch_more_tokens(self) -> None:
        super().fetch_more_tokens()
        self._count.depth(self.flow_level + len(self.indents), self.line + 1, ())

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._count.value(self.line + 1, ())
        return super().compose_node(parent, index)


class _Reader:
    def __init__(self) -> None:
        self._count = _Count()
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")
        self._open: set[int] = set()

    def read(self, node: yaml.Node, location: Location) -> Any:
        line = node.start_mark.line + 1
        self._count.value(line, location)
        self._count.depth(len(location), line, location)
        self.lines[location] = line
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, location)
        if id(node) in self._open:
            self._problem(node, location, "refers to itself")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, location)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, location: Location) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = {}
        first: dict[Hashable, int] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, location) if isinstance(key_node, yaml.ScalarNode) else None
            line = key_node.start_mark.line + 1
            self._count.value(line, location)
            if not isinstance(key, str):
                self._problem(key_node, location, "a key must be text; quote it")
                continue
            if key in first:
                message = f"stands here twice (first on line {first[key]}); keep one of them"
                self._problem(key_node, (*location, key), message)
                continue
            first[key] = line
            result[key] = self.read(value_node, (*location, key))
            self.lines[(*location, key)] = line
        return result

    def _scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._problem(node, location, f"cannot be read: {getattr(error, 'problem', None) or error}")
            return None

    def _problem(self, node: yaml.Node, location: Location, message: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, place_of(location), message))
