"""Durations, sizes and points in time as users write them: `"250ms"` ↔ 0.25, `"10M"` ↔ 10485760, `"14:30"`. Pure.

Inside the program a duration is seconds as float and a size is bytes as int.
"""

import contextlib
import re
from datetime import datetime, timedelta
from datetime import time as clock

DURATION_FORM = 'a duration such as "250ms", "5s", "2m" or "1h"'
MOMENT_FORM = 'a moment such as "5m" (ago), "14:30", "2026-11-24 14:30" or "2026-11-24T14:30:00Z"'
SIZE_FORM = 'a size such as "512K", "10M" or "2G"'

# Bounded, so that the JSON Schema refuses the same texts as the parser, and no number takes long to convert. Twenty digits
# hold every 64-bit integer and every decimal place that Python prints of a float.
_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
DURATION_PATTERN = rf"^({_NUMBER}(ms|s|m|h|d)){{1,5}}$"
SIZE_PATTERN = rf"^{_NUMBER}([kKMGT]i?)?B?$"

LONGEST_S = 10 * 365 * 86400.0
"""Ten years: a longer duration is a mistake, and clocks and timers hold far more."""

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_B = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DURATION = re.compile(DURATION_PATTERN, re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(rf"^({_NUMBER})([kKMGT]?)i?B?$", re.ASCII)
_UNIX = re.compile(r"[0-9]{9,11}(\.[0-9]{1,9})?", re.ASCII)
_LONGEST_MOMENT = 32
"""The most characters of a point in time: one with microseconds and a zone has as many."""


def parse_duration(text: str) -> float:
    """Return the seconds of `"250ms"`, `"5s"`, `"2m"`, `"1h"` or `"1m30s"`; a bare `"0"` is 0. Raises ValueError."""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected {DURATION_FORM}")
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > LONGEST_S:
        raise ValueError("expected a duration of at most ten years")
    return seconds


def parse_moment(text: str, now: float, *, ahead: bool = False) -> float:
    """Return the Unix seconds of a point in time. Raises ValueError.

    `"5m"` is that long before `now`. `"14:30"` is today's; where that is later than `now`, it is yesterday's, or with `ahead`
    still today's. ISO 8601 is accepted to the day, minute or second, with a space or a T, in local time without a zone; and
    Unix seconds such as `"1795530000.5"`.
    """
    if len(text) <= _LONGEST_MOMENT:
        if _UNIX.fullmatch(text):
            return float(text)
        with contextlib.suppress(ValueError):
            return now - parse_duration(text)
        with contextlib.suppress(ValueError):
            today = datetime.fromtimestamp(now)
            moment = datetime.combine(today, clock.fromisoformat(text))
            return (moment if ahead or moment.timestamp() <= now else moment - timedelta(days=1)).timestamp()
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text).timestamp()
    raise ValueError(f"expected {MOMENT_FORM}")


def parse_size(text: str) -> int:
    """Return the bytes of `"10M"`, `"512K"`, `"1.5G"` or `"4096"`; `K` is 1024, `MB` and `MiB` are `M`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {SIZE_FORM}")
    return int(float(match[1]) * _UNIT_B[match[2].upper()])


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: `950ms`, `4s`, `1m05s`, `2h03m`, `5d07h`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms" if round(seconds * 1000) < 1000 else "1s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def format_size(size: int) -> str:
    """Return a size in at most three digits: `512B`, `9.8K`, `31M`, `1.2G`."""
    amount, unit = float(size), "B"
    for larger in "KMGT":
        if amount < 1000:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}{unit}" if unit != "B" and amount < 9.95 else f"{amount:.0f}{unit}"
