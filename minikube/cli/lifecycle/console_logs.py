"""The log lines that `up` prints: a thread reads them from the log files, as the supervisor writes them.

The files outlive the supervisor, so lines that are written faster than they can be printed are printed after its end, for
a limited time. The supervisor does no work for this. It refuses to wait for more lines once `finish` is called.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minikube.logs.file_format import Source, split_name
from minikube.logs.partial_line import PartialLines
from minikube.logs.reader import LogReader
from minikube.project_dir import is_own_log

if TYPE_CHECKING:
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.model import LogLine

POLL_S = 0.05
"""Between two polls of the files while nothing is written; a poll costs one `fstat` for each instance."""

ROTATIONS_LIMIT = 9_999
"""How many rotated files a reader looks for. The supervisor decides how many it keeps; the files themselves are counted."""


class ConsoleLogs:
    """Prints the log lines of all instances, in a thread. After `start`, `finish` must be called."""

    def __init__(self, directory: Path, since: float, printer: LogPrinter, on_closed: Callable[[], object]) -> None:
        """`directory` has the log files. `printer` prints the lines; those written before `since` (Unix seconds) are left out.

        `on_closed` is called in the thread when stdout was closed by its reader.
        """
        self._directory = directory
        self._since = since
        self._printer = printer
        self._on_closed = on_closed
        self._readers: dict[str, LogReader] = {}
        self._partial = PartialLines()
        self._directory_mtime = -1
        self._finishing = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._print_lines, daemon=True)

    def start(self) -> None:
        """Start the thread that prints."""
        self._thread.start()

    def finish(self, timeout: float, skip: Callable[[], bool]) -> int:
        """Print the remaining lines, then end the thread; return the number of lines that were not printed.

        Call it when no process writes to the log files any more. Printing ends after `timeout` seconds, or when `skip`
        returns true.
        """
        self._deadline = time.monotonic() + timeout
        self._finishing.set()
        while self._thread.is_alive() and time.monotonic() < self._deadline + 2 * POLL_S:
            self._thread.join(POLL_S)
            if skip():
                self._deadline = 0.0
        return sum(reader.count_unread() for reader in self._readers.values())

    def _print_lines(self) -> None:
        """Print new lines until `finish` is called and no more are found. Runs in the thread."""
        while True:
            finishing = self._finishing.is_set()  # before reading: lines written until now are then read below
            lines = self._read(read_all=finishing)
            if lines:
                try:
                    self._printer.lines(lines)
                except OSError:
                    self._on_closed()
                    return
            elif finishing:
                return
            else:
                self._finishing.wait(POLL_S)
            if finishing and time.monotonic() > self._deadline:
                return

    def _read(self, *, read_all: bool) -> list[LogLine]:
        """Return new lines of all log files in order of time, at most one block of each file.

        Files without a change are not read, except with `read_all`.
        """
        try:
            mtime = os.stat(self._directory).st_mtime_ns
            if mtime != self._directory_mtime:  # a file is new, or was rotated
                self._directory_mtime = mtime
                self._open_new_files()
                read_all = True
        except OSError:
            return []  # the directory was removed
        batches = [
            lines for reader in self._readers.values() if read_all or reader.has_more() if (lines := reader.read())
        ]
        if read_all and not batches:
            batches = [
                lines for reader in self._readers.values() if (lines := self._partial.changed(reader.source, None))
            ]
            if batches:
                return [line for batch in batches for line in batch]
        if batches:
            # This block may have been the last of a rotated file, whose successor has_more() does not see.
            self._directory_mtime = -1
        lines = [line for batch in batches for line in batch]
        if len(batches) > 1:
            lines.sort(key=lambda line: line.time)
        return lines

    def _open_new_files(self) -> None:
        """Open a reader for each instance that has a log file and no reader yet."""
        for name in sorted(os.listdir(self._directory)):
            found = split_name(name)
            if found is None or is_own_log(found[0]) or found[0] in self._readers:
                continue  # no log of an instance of a service, or one that is being read already
            instance = found[0]
            source = Source(instance, instance, self._directory / f"{instance}.log", ROTATIONS_LIMIT)
            reader = self._readers[instance] = LogReader(source, with_levels=self._printer.colour)
            reader.open()
            reader.seek_time(self._since)
            reader.follow()
