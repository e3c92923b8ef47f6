from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1h", 3600.0),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        ("1y", 31_536_000.0),
        ("1y2w3d4h5m6s7ms", 31_536_000 + 1_209_600 + 259_200 + 14_400 + 300 + 6 + 0.007),
        ("0", 0.0),
        ("0s", 0.0),
        ("99m", 5940.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "s", "-1s", "1.5s", "1s1m", "1 s", "15S", "1s ", "\n", "1sec", "\u0661s", "1m1m", "9" * 40 + "s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write it like 15s, 1m30s or 250ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250ms"),
        (0, "0ms"),
        (1, "1s"),
        (59.9, "59s"),
        (125, "2m5s"),
        (3600, "1h"),
        (3605, "1h5s"),
        (59 * 86400 + 3 * 3600 + 59, "59d3h"),
        (400 * 86400, "400d"),
    ],
)
def test_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=999))
def test_milliseconds_there_and_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.text(max_size=40))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "is no duration" in str(error)  # noqa: PT017  (most texts are none)
