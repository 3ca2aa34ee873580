"""Short texts for the dashboard: badges for states, ages, sizes, sparklines.

Each state has a symbol of its own, so that no information depends on colour alone.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from minikube.model import CheckState, InstanceView, ProcessState
from minikube.text import printable

BARS = "▁▂▃▄▅▆▇█"
"""The characters of a sparkline, lowest first."""

MAX_CELL_CHARACTERS = 512
"""Characters of an external string that are examined for one table cell."""


class Badge(NamedTuple):
    """The symbol, word and style that show a state: `● running`."""

    symbol: str
    word: str
    style: str
    """The name of a style in `tui.render.theme.Styles`, such as `ok`, `warn`, `bad`, `info`, `muted` or `plain`."""

    def __str__(self) -> str:
        return f"{self.symbol} {self.word}"


PROCESS_BADGES = {
    ProcessState.STOPPED: Badge("■", "stopped", "muted"),
    ProcessState.PENDING: Badge("◇", "pending", "info"),
    ProcessState.STARTING: Badge("◔", "starting", "info"),
    ProcessState.RUNNING: Badge("●", "running", "ok"),
    ProcessState.BACKOFF: Badge("↻", "backoff", "warn"),
    ProcessState.STOPPING: Badge("◑", "stopping", "warn"),
    ProcessState.EXITED: Badge("○", "exited", "muted"),
    ProcessState.FATAL: Badge("✗", "fatal", "bad"),
}

CHECK_BADGES = {
    CheckState.PASSING: Badge("✓", "passing", "ok"),
    CheckState.CRITICAL: Badge("✗", "critical", "bad"),
    CheckState.STARTING: Badge("◌", "starting", "info"),
    CheckState.MAINTENANCE: Badge("◆", "maint", "warn"),
}


def process_badge(instance: InstanceView, *, is_external: bool) -> Badge:
    """Return the badge of an instance's process; `is_external`: another program runs it, so only its check is known."""
    if is_external:
        return Badge("□", "external", "bad" if instance.check == CheckState.CRITICAL else "muted")
    return PROCESS_BADGES[instance.state]


EVENT_LEVEL_BADGES = {
    "info": Badge("·", "info", "muted"),
    "warning": Badge("▲", "warning", "warn"),
    "error": Badge("✗", "error", "bad"),
}

PHASE_BADGES = {
    "starting": Badge("◔", "starting", "info"),
    "running": Badge("●", "running", "ok"),
    "stopping": Badge("◑", "stopping", "warn"),
}
"""The phases of the supervisor."""


def single_line(text: str, limit: int = MAX_CELL_CHARACTERS) -> str:
    """Return the first line of `text` that is not blank, with control characters made visible."""
    if not text:
        return ""
    for line in text[:limit].splitlines():
        if stripped := line.strip():
            return printable(stripped)
    return ""


def format_duration(seconds: float) -> str:
    """Return a duration in at most six characters: `8s`, `3m12s`, `24m`, `2h05m`, `4d03h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def format_age(then: float, now: float) -> str:
    """Return how long ago `then` was; empty when `then` is 0.

    From ten seconds on the age changes in steps of five seconds, from two minutes on in steps of ten.
    """
    # A table of ages that all change every second costs more terminal output than everything else in it.
    age = now - then
    step = 1 if age < 10 else 5 if age < 120 else 10
    return format_duration(age // step * step) if then > 0 else ""


def format_check_age(then: float, now: float) -> str:
    """Return how long ago a check ran, in four characters: `<10s`, then `10s`, `15s` … `115s`, `2m`; empty when `then` is 0."""
    # Most checks run every few seconds: `<10s` stays the same, and only an overdue check changes its cell.
    age = now - then
    if then <= 0:
        return ""
    if age < 10:
        return "<10s"
    return f"{age // 5 * 5:.0f}s" if age < 120 else format_duration(age // 60 * 60).replace("m00s", "m")


def format_bytes(count: int) -> str:
    """Return a size in at most five characters, in units of 1,024: `512B`, `9.8M`, `120M`, `1.5G`."""
    if count < 1024:
        return f"{count}B"
    value = float(count)
    for unit in "KMGT":
        value /= 1024
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}P"


def format_percent(value: float) -> str:
    """Return a share of one core without the per cent sign: `0.4`, `12`, `340`."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def format_time_of_day(timestamp: float) -> str:
    """Return the local time of day: `12:04:31`."""
    return time.strftime("%H:%M:%S", time.localtime(timestamp))


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the latest `width` values as bars, oldest first, padded on the left.

    A full bar is the largest of the values, or 10 when all are below.
    """
    latest = list(values)[-width:]
    top = max([10.0, *latest])
    bars = "".join(BARS[min(len(BARS) - 1, int(value / top * (len(BARS) - 1) + 0.5))] for value in latest)
    return bars.rjust(width)
