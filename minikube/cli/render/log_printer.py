"""Log lines and events as text: a prefix for each instance, and colours on a terminal.

The format is stable: `NAME | line`, and `minikube | message` for events.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import IO, NamedTuple

from minikube.cli.render.colors import DIM, RED, YELLOW, has_colour, instance_colour, paint
from minikube.model import Event, LogLine
from minikube.text import printable, printable_line

OWN_NAME = "minikube"
"""The prefix of events and messages, and the stream of notices in logs."""

LONGEST_PREFIX = 24
LEVEL_COLOURS = {"warning": YELLOW, "error": RED, "critical": RED}


class _OpenLine(NamedTuple):
    """An incomplete line that was printed last."""

    instance: str
    stream: str
    text: str


class LogPrinter:
    """Prints log lines, events and messages as whole lines to a text stream. Several threads may share it."""

    def __init__(self, out: IO[str], names: Sequence[str], *, timestamps: bool = False, prefix: bool = True) -> None:
        """`out` is the text stream. `names` are the instances known so far: prefixes are as wide as the longest name."""
        self._out = out
        # Text streams have no lock of their own: without it an event lands inside a log line. Reentrant, as a signal handler
        # may print a message while its thread is in a write.
        self._lock = threading.RLock()
        self.colour = has_colour(out)
        self._timestamps = timestamps
        self._prefix = prefix
        self._width = min(LONGEST_PREFIX, max(map(len, (*names, OWN_NAME))))
        self._prefixes: dict[str, str] = {}
        self._open: _OpenLine | None = None
        """The incomplete line at the end of the output."""

    def line(self, line: LogLine) -> None:
        """Print one log line. See `lines`."""
        self.lines((line,))

    def lines(self, lines: Iterable[LogLine]) -> None:
        """Print log lines in one write.

        On a terminal, warnings and errors are coloured, and lines of minikube itself are dimmed. An incomplete line is
        printed without a newline; where its rest comes next, it is completed in place.
        """
        texts = []
        with self._lock:
            for line in lines:
                # A progress bar overwrites its line after each carriage return: print what it shows at the end.
                text = printable_line(line.line.rstrip("\r").rpartition("\r")[2])
                if self._open or line.partial:
                    texts.append(self._continue_line(line, text))
                else:
                    texts.append(f"{self._head(line.time, line.instance or OWN_NAME)}{self._painted(line, text)}\n")
            self._write("".join(texts))

    def end_line(self) -> None:
        """End an incomplete line, as no more lines follow."""
        with self._lock:
            if self._open:
                self._open = None
                self._write("\n")

    def _continue_line(self, line: LogLine, text: str) -> str:
        """Return what to print for a line that is incomplete, or that follows an incomplete one: its rest where it goes on."""
        before, end = self._open, "" if line.partial else "\n"
        head = self._head(line.time, line.instance or OWN_NAME)
        if before is None:
            begin = ""
        elif (before.instance, before.stream) != (line.instance, line.stream):
            begin = "\n"
        elif text.startswith(before.text):
            head, begin, text = "", "", text.removeprefix(before.text)
        elif self.colour:
            begin = "\r\x1b[K"  # a progress bar: the new line takes the place of the one before
        elif line.partial:
            return ""  # into a file, a progress bar is printed once it is complete
        else:
            begin = "\n"
        shown = (before.text if before and not head else "") + text
        self._open = _OpenLine(line.instance, line.stream, shown) if line.partial else None
        return f"{begin}{head}{self._painted(line, text)}{end}"

    def _painted(self, line: LogLine, text: str) -> str:
        if not self.colour:
            return text
        return paint(text, DIM if line.stream == OWN_NAME else LEVEL_COLOURS.get(line.level), True)

    def event(self, event: Event) -> None:
        """Print an event; where lines have no prefix, with its time."""
        colour = LEVEL_COLOURS.get(event.level)
        self._write_own(event.time, paint(printable(event.message), colour, self.colour), dated=True)

    def message(self, text: str) -> None:
        """Print a message of the command itself, with the prefix that events have."""
        self._write_own(time.time(), printable(text))

    def _write_own(self, stamp: float, text: str, *, dated: bool = False) -> None:
        with self._lock:
            self.end_line()
            self._write(f"{self._head(stamp, OWN_NAME, dated=dated)}{text}\n")

    def _write(self, text: str) -> None:
        with self._lock:
            self._out.write(text)
            self._out.flush()

    def _head(self, stamp: float, name: str, *, dated: bool = False) -> str:
        """Return the beginning of a line: its time and the prefix with its instance, each as the options require."""
        date = f"{format_time(stamp)} " if self._timestamps or (dated and not self._prefix) else ""
        if not self._prefix:
            return date
        prefix = self._prefixes.get(name)
        if prefix is None:
            shown = printable(name)
            if len(shown) > self._width:
                self._width = min(LONGEST_PREFIX, len(shown))
                self._prefixes.clear()
            colour = DIM if name == OWN_NAME else instance_colour(name)
            prefix = self._prefixes[name] = paint(f"{shown:<{self._width}} |", colour, self.colour) + " "
        return date + prefix


def format_time(stamp: float) -> str:
    """Return a Unix time as local time, `14:03:07.250`; on another day than today with the date, `11-24 14:03:07.250`."""
    moment, today = time.localtime(stamp), time.localtime()
    pattern = "%H:%M:%S" if (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday) else "%m-%d %H:%M:%S"
    return time.strftime(pattern, moment) + f".{int(stamp * 1000) % 1000:03}"
