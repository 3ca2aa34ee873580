"""How things are shown (floor 4): a symbol, a word and a tone for each state; times and sizes in few characters.

Pure. Every state has a symbol of its own, so that nothing depends on colour alone. Whatever came from elsewhere
passes `tidy` before it is drawn.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from minikube.model import CheckState, ProcessState
from minikube.text import printable

BARS = "▁▂▃▄▅▆▇█"
CELL_LIMIT = 512
"""Characters of a remote string that are looked at for one table cell."""


class Mark(NamedTuple):
    """A state's symbol, its word and its tone: `ok`, `warn`, `bad`, `info`, `muted` or `plain`."""

    symbol: str
    word: str
    tone: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.word}"


PROCESS_MARKS = {
    ProcessState.STOPPED: Mark("■", "stopped", "muted"),
    ProcessState.PENDING: Mark("◇", "pending", "info"),
    ProcessState.STARTING: Mark("◔", "starting", "info"),
    ProcessState.RUNNING: Mark("●", "running", "ok"),
    ProcessState.BACKOFF: Mark("↻", "backoff", "warn"),
    ProcessState.STOPPING: Mark("◑", "stopping", "warn"),
    ProcessState.EXITED: Mark("○", "exited", "muted"),
    ProcessState.FATAL: Mark("✗", "fatal", "bad"),
}

CHECK_MARKS = {
    CheckState.PASSING: Mark("✓", "passing", "ok"),
    CheckState.CRITICAL: Mark("✗", "critical", "bad"),
    CheckState.STARTING: Mark("◌", "starting", "info"),
    CheckState.MAINTENANCE: Mark("◆", "maint", "warn"),
}

LEVEL_MARKS = {
    "info": Mark("·", "info", "muted"),
    "warning": Mark("▲", "warning", "warn"),
    "error": Mark("✗", "error", "bad"),
}

PHASE_MARKS = {
    "starting": Mark("◔", "starting", "info"),
    "running": Mark("●", "running", "ok"),
    "stopping": Mark("◑", "stopping", "warn"),
}


def tidy(text: str, limit: int = CELL_LIMIT) -> str:
    """The first line of `text` that is not blank, fit for one cell: nothing in it moves a cursor or reorders what is read."""
    if not text:
        return ""
    for line in text[:limit].splitlines():
        if stripped := line.strip():
            return printable(stripped)
    return ""


def duration(seconds: float) -> str:
    """At most six characters: `8s`, `3m12s`, `24m`, `2h05m`, `4d03h`."""
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


def since(then: float, now: float) -> str:
    """How long ago `then` was, empty where it never was (0). What is older moves less often, from ten seconds on in
    steps of five, from two minutes on in steps of ten: a table of ages that all move every second costs more than
    everything else in it."""
    ago = now - then
    step = 1 if ago < 10 else 5 if ago < 120 else 10
    return duration(ago // step * step) if then > 0 else ""


def lately(then: float, now: float) -> str:
    """The same in four characters for what comes again every few seconds: `<10s` until it is overdue, then `10s`, `15s`, `2m`."""
    ago = now - then
    if then <= 0:
        return ""
    if ago < 10:
        return "<10s"
    return f"{ago // 5 * 5:.0f}s" if ago < 120 else duration(ago // 60 * 60).replace("m00s", "m")


def size(count: int) -> str:
    """Bytes in at most five characters, in units of 1,024: `512B`, `9.8M`, `120M`, `1.5G`."""
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


def percent(value: float) -> str:
    """Per cent of one core: `0.4`, `12`, `340`, without the sign."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def clock(stamp: float) -> str:
    """The local time of day: `12:04:31`."""
    return time.strftime("%H:%M:%S", time.localtime(stamp))


def spark(values: Sequence[float], width: int) -> str:
    """The latest `width` values as bars, the oldest to the left; a full bar is the largest of them, and at least 10 %."""
    latest = list(values)[-width:]
    top = max([10.0, *latest])
    bars = "".join(BARS[min(len(BARS) - 1, int(value / top * (len(BARS) - 1) + 0.5))] for value in latest)
    return bars.rjust(width)
