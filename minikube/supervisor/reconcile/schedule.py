"""When a scheduled service runs next (floor 3, pure): five cron fields, or a period. Times are Unix seconds.

Cron fields are local time, as crontab(5) has them, and so is what happens when the clocks change: a run at a fixed hour that
is skipped comes right after the gap, one at an hour that comes twice comes once; one for every hour or minute comes in
real time. It refuses to know the time, and to start anything.
"""

import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from minikube.durations import parse_duration

LOCALTIME = Path("/etc/localtime")


def next_run(schedule: str, now: float, zone: tzinfo) -> float:
    """The first time after `now`; `schedule` is as `manifest.values.parse_schedule` gave it back."""
    if schedule.startswith("every "):
        return now + parse_duration(schedule.removeprefix("every "))
    from cronsim import CronSim

    return next(CronSim(schedule, datetime.fromtimestamp(now, zone))).timestamp()


def local_zone(environ: dict[str, str] | None = None, file: Path = LOCALTIME) -> tzinfo:
    """The machine's time zone with its rules for summer time: TZ, else /etc/localtime, else UTC."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = (os.environ if environ is None else environ).get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with file.open("rb") as data:
            return ZoneInfo.from_file(data)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC
