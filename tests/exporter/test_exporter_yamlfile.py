from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import yamlfile
from exporter.yamlfile import Problem, parse, place_of

TOO_MANY = "more than 100000 keys and values, with each alias (*name) counted as what it stands for"


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


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "[" * 1_000_000,
        "{a: " * 3000,
        "[a: " * 3000,
        "- " * 3000 + "x",
        "? " * 3000 + "x",
        "".join(" " * depth + "a:\n" for depth in range(500)),
        "- " * 30 + "[" * 30,
        "x: &a0 [x]\n" + "".join(f"y{n}: &a{n + 1} [*a{n}]\n" for n in range(200)),
    ],
)
def test_deep_nesting_is_one_problem_soon_found(text: str) -> None:
    started = time.process_time()
    document = parse(text)
    assert time.process_time() - started < 2
    (problem,) = document.problems
    assert (document.value, document.lines) == (None, {})
    assert problem.message == "nested more than 50 levels deep"


@pytest.mark.parametrize("text", ["[" * 40 + "]" * 40, "- " * 40 + "x", "{a: " * 40 + "x" + "}" * 40])
def test_what_is_not_too_deep(text: str) -> None:
    assert parse(text).problems == ()


def test_an_alias_bomb_is_one_problem_soon_found() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in pairwise("abcdefghi"):
        bomb += f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    started = time.process_time()
    document = parse(bomb)
    assert time.process_time() - started < 5
    (problem,) = document.problems
    assert (document.value, document.lines) == (None, {})
    assert problem.place.startswith("f[")
    assert problem.message == TOO_MANY


@pytest.mark.parametrize(
    "text", ["a: [x, x]\n", "a: 1\nb: 2\n", "- &x y\n- *x\n- *x\n- *x\n", "&x {a: *x, b: 1}\n", "? [a, b]\n: c\n"]
)
def test_keys_and_values_are_counted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parse(text)
    monkeypatch.setattr(yamlfile, "MAX_VALUES", 5)
    assert parse(text) == found
    monkeypatch.setattr(yamlfile, "MAX_VALUES", 4)
    (problem,) = parse(text).problems
    assert problem.message == TOO_MANY.replace("100000", "4")


def test_a_file_of_too_many_values_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_VALUES", 10)
    assert problems("- a\n" * 20 + "]") == [f"line 11: {TOO_MANY.replace('100000', '10')}"]


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
