"""When a schedule runs next: periods, cron fields in local time, and the days when the clocks change."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.supervisor.reconcile.schedule.cron import local_zone, next_run


def zone(name: str) -> tzinfo:
    """From the system's own data, which a bare machine may not have."""
    try:
        return ZoneInfo(name)
    except KeyError:
        pytest.skip(f"no time zone {name} on this machine")


def runs(schedule: str, after: datetime, count: int = 1) -> list[str]:
    """The next `count` runs in local time, with the offset from UTC in hours."""
    assert after.tzinfo is not None
    at, found = after.timestamp(), []
    for _ in range(count):
        at = next_run(schedule, at, after.tzinfo)
        local = datetime.fromtimestamp(at, after.tzinfo)
        offset = (local.utcoffset() or timedelta()).total_seconds() / 3600
        found.append(f"{local:%d %H:%M:%S}{offset:+g}")
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("every 1m30s", ["01 12:01:31+0", "01 12:03:01+0"]),
        ("*/5 * * * *", ["01 12:05:00+0", "01 12:10:00+0"]),
        ("0 * * * *", ["01 13:00:00+0", "01 14:00:00+0"]),
        ("0 0 * * *", ["02 00:00:00+0", "03 00:00:00+0"]),
        ("30 6 * * MON-FRI", ["02 06:30:00+0", "03 06:30:00+0"]),
        ("0 3 L * *", ["30 03:00:00+0", "31 03:00:00+0"]),
    ],
)
def test_the_next_runs(schedule: str, expected: list[str]) -> None:
    """2026-06-01 is a Monday; a run that is due right now is not the next one."""
    assert runs(schedule, datetime(2026, 6, 1, 12, 0, 1, tzinfo=UTC), 2) == expected


def test_a_run_that_is_due_now_is_not_the_next_one() -> None:
    assert runs("0 12 * * *", datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)) == ["02 12:00:00+0"]


def test_a_run_in_the_hour_that_is_skipped_in_spring_comes_right_after_it() -> None:
    """02:00 to 03:00 does not exist in Berlin on 29 March 2026."""
    evening = datetime(2026, 3, 28, 20, tzinfo=zone("Europe/Berlin"))
    assert runs("30 2 * * *", evening, 2) == ["29 03:00:00+2", "30 02:30:00+2"]
    assert runs("*/30 * * * *", evening.replace(day=29, hour=1, minute=30), 2) == ["29 03:00:00+2", "29 03:30:00+2"]


def test_an_hour_that_comes_twice_in_autumn_runs_a_fixed_time_once_and_every_hour_twice() -> None:
    """02:00 to 03:00 comes twice in Berlin on 25 October 2026."""
    evening = datetime(2026, 10, 24, 20, tzinfo=zone("Europe/Berlin"))
    assert runs("30 2 * * *", evening, 2) == ["25 02:30:00+2", "26 02:30:00+1"]
    night = evening.replace(day=25, hour=1, minute=30)
    assert runs("0 * * * *", night, 3) == ["25 02:00:00+2", "25 02:00:00+1", "25 03:00:00+1"]


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "15 2 * * *", "0 2-4 * * SUN", "every 1s", "every 36h"]),
    st.floats(1.7e9, 1.9e9),
)
def test_the_next_run_is_always_later_and_never_skipped(schedule: str, now: float) -> None:
    at = next_run(schedule, now, UTC)
    assert at > now
    if not schedule.startswith("every"):
        assert next_run(schedule, (now + at) / 2, UTC) == at


def test_the_machines_zone_is_found(tmp_path: Path) -> None:
    assert local_zone({"TZ": "Nowhere/Land"}) is UTC
    assert local_zone({}, tmp_path / "missing") is UTC
    (tmp_path / "broken").write_bytes(b"no zone")
    assert local_zone({}, tmp_path / "broken") is UTC
    berlin = zone("Europe/Berlin")
    assert local_zone({"TZ": ":Europe/Berlin"}) is berlin
    data = Path("/usr/share/zoneinfo/Europe/Berlin")
    if data.exists():
        there = local_zone({}, data)
        assert datetime(2026, 7, 1, tzinfo=there).utcoffset() == timedelta(hours=2)
