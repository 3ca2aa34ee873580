"""Durations and sizes: which texts are accepted, their values, and which are refused."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.durations import (
    DURATION_PATTERN,
    LONGEST_S,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_moment,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("0.5s", 0.5),
        ("1m30s", 90.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1h0m1s", 3601.0),
        ("1d0h0m0s500ms", 86400.5),
        (f"{0.1 + 0.2}s", 0.3),
    ],
)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "s", "-1s", "5 s", "5S", "1e3s", "5sec", "nan", "inf", "٣s", "5s\n", ".5s", "00"),
        *("1" * 21 + "s", "1." + "1" * 21 + "s", "1s" * 6),
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "250ms"'):
        parse_duration(text)


def test_a_duration_past_ten_years_is_a_mistake() -> None:
    assert parse_duration("3650d") == LONGEST_S
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("3651d")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512K", 524288),
        ("512k", 524288),
        ("10M", 10485760),
        ("10MB", 10485760),
        ("10MiB", 10485760),
        ("1.5G", 1610612736),
        ("1T", 1024**4),
        ("7B", 7),
        ("0" * 19 + "7", 7),
    ],
)
def test_a_size_is_its_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "10 M", "10X", "1e3", "10m", "٣M", "0" * 21, "10Mi B", "10Ki\n"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match='expected a size such as "512K"'):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.25, "250ms"),
        (0.9999, "1s"),
        (4.9, "4s"),
        (65, "1m05s"),
        (7380, "2h03m"),
        (5 * 86400 + 7 * 3600, "5d07h"),
    ],
)
def test_durations_are_shown_in_two_units(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (512, "512B"),
        (1000, "1.0K"),
        (10035, "9.8K"),
        (10240, "10K"),
        (32505856, "31M"),
        (1288490189, "1.2G"),
        (5 * 1024**4, "5.0T"),
        (5000 * 1024**4, "5000T"),
    ],
)
def test_sizes_are_shown_in_three_digits(size: int, shown: str) -> None:
    assert format_size(size) == shown


@given(st.integers(0, 10_000_000), st.sampled_from(["ms", "s", "m"]))
def test_every_whole_number_of_a_unit_is_read_exactly(number: int, unit: str) -> None:
    seconds = number * {"ms": 0.001, "s": 1, "m": 60}[unit]
    if seconds <= LONGEST_S:
        assert parse_duration(f"{number}{unit}") == pytest.approx(seconds)


@given(st.floats(0, LONGEST_S))
def test_a_shown_duration_is_at_most_a_unit_off(seconds: float) -> None:
    shown = parse_duration(format_duration(seconds))
    assert shown == pytest.approx(seconds, rel=0.02, abs=0.0006) or (seconds >= 1 and seconds - 3600 < shown <= seconds)


@given(st.from_regex(SIZE_PATTERN, fullmatch=True))
def test_every_text_that_the_published_pattern_of_sizes_takes_is_a_size(text: str) -> None:
    assert parse_size(text) >= 0


@given(st.from_regex(DURATION_PATTERN, fullmatch=True))
def test_every_text_that_the_published_pattern_of_durations_takes_is_a_duration_or_too_long(text: str) -> None:
    message = ""
    try:
        parse_duration(text)
    except ValueError as error:
        message = str(error)
    assert message in ("", "expected a duration of at most ten years")


NOW = datetime(2026, 11, 24, 14, 30, 15).timestamp()
"""Local time, as what is typed."""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("5m", NOW - 300),
        ("1h30m", NOW - 5400),
        ("0", NOW),
        ("14:30", NOW - 15),
        ("14:30:15", NOW),
        ("14:31", NOW + 45 - 86400),
        ("2026-11-24", NOW - 14.5 * 3600 - 15),
        ("2026-11-23 14:30:15", NOW - 86400),
        ("1970-01-02T00:00:00Z", 86400),
        ("1970-01-02T01:00:00.5+01:00", 86400.5),
        ("1795500000.25", 1795500000.25),
    ],
)
def test_a_moment_is_read_as_people_write_it(text: str, moment: float) -> None:
    assert parse_moment(text, NOW) == moment


def test_a_time_of_day_that_is_still_to_come_is_todays_where_it_may_lie_ahead() -> None:
    assert parse_moment("14:31", NOW, ahead=True) == NOW + 45
    assert parse_moment("14:30", NOW, ahead=True) == NOW - 15


@pytest.mark.parametrize("text", ["", "soon", "5", "25:00", "2026-13-01", "0001-01-01", "9" * 40, "-5m"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a moment such as"):
        parse_moment(text, NOW)
