"""When a schedule is due next: five cron fields, or a period. Pure; times are Unix seconds.

Cron fields are local time, as in crontab(5), also when the clocks change: a run at a fixed hour that is skipped comes right
after the gap, one at an hour that comes twice runs once; a run of every hour or minute follows real time.
"""

import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from minikube.durations import parse_duration

LOCALTIME = Path("/etc/localtime")


def next_run(schedule: str, now: float, zone: tzinfo) -> float:
    """Return the first time after `now` (Unix seconds) when the schedule is due.

    `schedule` is `every DURATION` or five cron fields in local time of `zone`, as the manifest's parser returns it.
    """
    if schedule.startswith("every "):
        return now + parse_duration(schedule.removeprefix("every "))
    from cronsim import CronSim  # here: a project without schedules need not import it

    return next(CronSim(schedule, datetime.fromtimestamp(now, zone))).timestamp()


def local_zone(environ: dict[str, str] | None = None, file: Path = LOCALTIME) -> tzinfo:
    """Return the machine's time zone: of the variable TZ, else of the file /etc/localtime, else UTC."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = (os.environ if environ is None else environ).get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with file.open("rb") as data:
            return ZoneInfo.from_file(data)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC
