"""What services print, followed by whoever started them (floor 4): read from the files, as the supervisor writes them.

The files are the truth, and they outlive the supervisor: what is printed faster than it can be shown is read after the end.
That costs the supervisor nothing. It refuses to go on for long then: it tells how many lines are left.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minikube.logs.file_format import NOT_CAPTURED, Source, split_name
from minikube.logs.reader import LogReader

if TYPE_CHECKING:
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.model import LogLine

LOOK_S = 0.05
"""Between two looks while nothing is written: one `fstat` for each instance."""

PARTS = frozenset({"redis", "registry"})
HIGHEST = 9_999
"""Rotated files are counted by what is there; how many are kept is the supervisor's."""


class ConsoleLogs:
    """Prints each instance's lines from `since` (Unix seconds) on, in a thread of its own. `finish` it."""

    def __init__(self, directory: Path, since: float, printer: LogPrinter, lost: Callable[[], object]) -> None:
        """`lost` is called when nobody reads what is printed any more."""
        self._directory = directory
        self._since = since
        self._printer = printer
        self._lost = lost
        self._trails: dict[str, LogReader] = {}
        self._changed = -1
        self._ended = threading.Event()
        self._until = 0.0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, seconds: float, hurried: Callable[[], bool]) -> int:
        """Once nothing is written any more: shows the rest, for at most `seconds` and not while `hurried`. How many
        lines were not shown."""
        self._until = time.monotonic() + seconds
        self._ended.set()
        while self._thread.is_alive() and time.monotonic() < self._until + 2 * LOOK_S:
            self._thread.join(LOOK_S)
            if hurried():
                self._until = 0.0
        return sum(trail.count_unread() for trail in self._trails.values())

    def _follow(self) -> None:
        while True:
            ended = self._ended.is_set()  # asked first: what was written before is then seen below
            lines = self._look(ended)
            if lines:
                try:
                    self._printer.lines(lines)
                except OSError:
                    self._lost()
                    return
            elif ended:
                return
            else:
                self._ended.wait(LOOK_S)
            if ended and time.monotonic() > self._until:
                return

    def _look(self, closely: bool) -> list[LogLine]:
        """What has come since, by time, at most a block of each. Unless `closely`, only where something has changed."""
        try:
            changed = os.stat(self._directory).st_mtime_ns
            if changed != self._changed:  # a file is new, or has been rotated
                self._changed = changed
                self._find()
                closely = True
        except OSError:
            return []  # somebody removed the directory
        found = [lines for trail in self._trails.values() if closely or trail.has_more() if (lines := trail.read())]
        if found:
            self._changed = -1  # a block may have been the last of a file that was rotated
        lines = [line for batch in found for line in batch]
        if len(found) > 1:
            lines.sort(key=lambda line: line.time)
        return lines

    def _find(self) -> None:
        for name in sorted(os.listdir(self._directory)):
            found = split_name(name)
            if found is None or found[0] in NOT_CAPTURED or found[0] in PARTS or found[0] in self._trails:
                continue
            source = Source(found[0], found[0], self._directory / f"{found[0]}.log", HIGHEST)
            trail = self._trails[found[0]] = LogReader(source, with_levels=self._printer.colour)
            trail.open()
            trail.seek_time(self._since)
            trail.follow()
