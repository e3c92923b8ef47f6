"""What ZebOS's answers have in common: uptimes, AS numbers, headings, refusals."""

from __future__ import annotations

import pytest

from routers.model import Answer
from routers.zebos import as_of, of_default_vrf, said, seconds_of
from routers.zebos.routes import entry_of

VIP = "203.0.113.10"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("never", None),
        ("00:02:28", 148),
        ("100:00:01", 360_001),
        ("1d05h38m", 106_680),
        ("4d14h28m", 397_680),
        ("03w0d00h", 1_814_400),
        ("01w1d05h", 709_200),
        ("1y02w3d", 365 * 86_400 + 17 * 86_400),
        ("", None),
        ("soon", None),
        ("00:02", None),
        ("9" * 50 + "d", None),
    ],
)
def test_uptimes(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("64512", 64_512),
        ("4200000001", 4_200_000_001),
        ("64086.59905", 4_200_000_001),
        ("1.10", 65_546),
        ("0.64512", 64_512),
        ("4294967296", None),
        ("65536.1", None),
        ("1.2.3", None),
        (".5", None),
        ("internal", None),
        (None, None),
    ],
)
def test_as_numbers(text: str | None, number: int | None) -> None:
    assert as_of(text) == number


def test_headings_of_vrfs() -> None:
    found = ["a", 'IP Route Table for VRF "red"', "b", "Routing table for VRF=0", "c", "VRF 3 neighbor table:", "d"]
    assert of_default_vrf(found) == ["a", "c"]
    assert of_default_vrf(["VRF 0 neighbor table:", "x"]) == ["neighbor table:", "x"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "not asked"),
        (Answer(error="timed out"), "timed out"),
        (Answer("% Invalid input detected at '^' marker.\n"), "% Invalid input"),
        (Answer(stderr="sudo: a password is required\n", exit_status=1), "exit status 1: sudo: a password is required"),
        (Answer(exit_status=127), "exit status 127: no message"),
        (Answer("Welcome\nsudo: a password is required\n"), "a password is required"),
    ],
)
def test_refusals(answer: Answer | None, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("^", r"\^")):
        said(answer)


def test_a_route_that_does_not_exist_is_no_refusal() -> None:
    assert said(Answer("% Network not in table\n"))
    assert entry_of("% Network not in table\n", VIP) == ()
    assert entry_of("No BGP process is configured\n", VIP) == ()
