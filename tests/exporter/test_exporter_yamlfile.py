from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.yamlfile import Problem, parse, place_of


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse(text).problems]


def test_values_and_their_lines() -> None:
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n# said\nd: text\n")
    assert document.value == {"a": 1, "b": ["x", {"c": 2}], "d": "text"}
    assert document.problems == ()
    assert document.line_of(("a",)) == 1
    assert document.line_of(("b", 1, "c")) == 4
    assert document.line_of(("d",)) == 6
    assert document.line_of(("b", 1, "missing")) == 4
    assert document.line_of(("b", 7)) == 2
    assert document.line_of(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3: a: stands here twice (first on line 1); keep one of them"]),
        (
            "x:\n  - {k: 1, k: 2}\n",
            ["line 2: x[0].k: stands here twice (first on line 2); keep one of them"],
        ),
        ("1: a\n", ["line 1: a key must be text; quote it"]),
        ("a:\n  on: x\n", ["line 2: a: a key must be text; quote it"]),
        ("[a, b]: x\n", ["line 1: a key must be text; quote it"]),
        ("a: &x [*x]\n", ["line 1: a[0]: refers to itself"]),
        ("a: &x\n  b: *x\n", ["line 1: a.b: refers to itself"]),
        ("a: 2026-99-99\n", ["line 1: a: cannot be read: month must be in 1..12"]),
        ("a: [1, 2\n", ["line 2: not YAML: expected ',' or ']', but got '<stream end>'"]),
        ("a: b: c\n", ["line 1: not YAML: mapping values are not allowed here"]),
        ("a: 1\n---\nb: 2\n", ["line 2: not YAML: but found another document"]),
        ("a: *nobody\n", ["line 1: not YAML: found undefined alias 'nobody'"]),
        ("\ta: 1\n", ["line 1: not YAML: found character '\\t' that cannot start any token"]),
    ],
)
def test_problems(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_python_tags_build_no_objects() -> None:
    document = parse('a: !!python/object/apply:os.system ["true"]\nb: !!python/name:os.system x\n')
    assert document.value == {"a": ["true"], "b": None}
    assert len(document.problems) == 1


def test_all_problems_at_once() -> None:
    assert len(problems("a: 1\na: 2\n3: x\nb: &y [*y]\n")) == 3


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_nothing(text: str) -> None:
    document = parse(text)
    assert (document.value, document.problems) == (None, ())


def test_the_same_part_may_be_used_twice() -> None:
    document = parse("a: &x {k: 1}\nb: *x\n")
    assert document.value == {"a": {"k": 1}, "b": {"k": 1}}
    assert document.problems == ()


@pytest.mark.parametrize("text", ["[" * 1000, "{a: " * 1000, "- " * 1000 + "x"])
def test_deep_nesting_is_a_problem_and_no_crash(text: str) -> None:
    document = parse(text)
    assert document.value is None
    assert document.problems


def test_control_characters_are_no_yaml() -> None:
    (problem,) = parse("a: \x00").problems
    assert problem.message.startswith("not YAML")


@pytest.mark.parametrize(
    ("location", "place"),
    [((), ""), (("a",), "a"), (("targets", 2, "module"), "targets[2].module"), (("a", 0, 1), "a[0][1]")],
)
def test_places(location: tuple[str | int, ...], place: str) -> None:
    assert place_of(location) == place


def test_a_problem_without_a_line() -> None:
    assert str(Problem(0, "", "cannot be read")) == "cannot be read"
    assert str(Problem(0, "a", "is wrong")) == "a: is wrong"


@given(st.text(alphabet="ab01:-[]{}&*!#'\"\n \t,?|>%@`\\~.", max_size=60))
def test_any_text_is_a_document(text: str) -> None:
    document = parse(text)
    assert all(line >= 1 for line in document.lines.values())
    for problem in document.problems:
        assert problem.message
