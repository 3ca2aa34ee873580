"""Log lines and events as plain text (floor 4): a prefix for each instance, a colour on a terminal.

`LogPrinter` writes; it never waits for the supervisor. Its form is stable: `NAME | line`, events as `minikube | message`.
"""

import time
from collections.abc import Iterable, Sequence
from typing import IO

from minikube.cli.render.colors import DIM, RED, YELLOW, has_colour, instance_colour, paint
from minikube.model import Event, LogLine
from minikube.text import printable, printable_line

OURS = "minikube"
LONGEST_PREFIX = 24
LEVEL_COLOURS = {"warning": YELLOW, "error": RED, "critical": RED}


class LogPrinter:
    """Writes whole lines, so that several followers may share it."""

    def __init__(self, out: IO[str], names: Sequence[str], *, timestamps: bool = False, prefix: bool = True) -> None:
        self._out = out
        self.colour = has_colour(out)
        self._timestamps = timestamps
        self._prefix = prefix
        self._width = min(LONGEST_PREFIX, max(map(len, (*names, OURS))))
        self._heads: dict[str, str] = {}

    def line(self, line: LogLine) -> None:
        """One line of an instance: as it stands after its last carriage return, errors and warnings in their colour, our
        own notices (`stream` is `minikube`) dimmed."""
        self.lines((line,))

    def lines(self, lines: Iterable[LogLine]) -> None:
        """Many of them, written together."""
        shown = []
        for line in lines:
            text = printable_line(line.line.rstrip("\r").rpartition("\r")[2])
            if self.colour:
                text = paint(text, DIM if line.stream == OURS else LEVEL_COLOURS.get(line.level), True)
            shown.append(f"{self._head(line.time, line.instance or OURS)}{text}\n")
        self._out.write("".join(shown))
        self._out.flush()

    def event(self, event: Event) -> None:
        colour = LEVEL_COLOURS.get(event.level)
        self._write(event.time, OURS, paint(printable(event.message), colour, self.colour), dated=True)

    def note(self, text: str) -> None:
        """Our own word, as an event's."""
        self._write(time.time(), OURS, printable(text))

    def _write(self, stamp: float, name: str, text: str, *, dated: bool = False) -> None:
        self._out.write(f"{self._head(stamp, name, dated=dated)}{text}\n")
        self._out.flush()

    def _head(self, stamp: float, name: str, *, dated: bool = False) -> str:
        date = f"{format_time(stamp)} " if self._timestamps or (dated and not self._prefix) else ""
        if not self._prefix:
            return date
        head = self._heads.get(name)
        if head is None:
            shown = printable(name)
            if len(shown) > self._width:
                self._width = min(LONGEST_PREFIX, len(shown))
                self._heads.clear()
            colour = DIM if name == OURS else instance_colour(name)
            head = self._heads[name] = paint(f"{shown:<{self._width}} |", colour, self.colour) + " "
        return date + head


def format_time(stamp: float) -> str:
    """`14:03:07.250`, local; with the date, `11-24 14:03:07.250`, where that is not today."""
    moment, today = time.localtime(stamp), time.localtime()
    form = "%H:%M:%S" if (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday) else "%m-%d %H:%M:%S"
    return time.strftime(form, moment) + f".{int(stamp * 1000) % 1000:03}"
