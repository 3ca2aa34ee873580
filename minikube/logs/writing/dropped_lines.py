"""Lines of one log that never reached its file: counted, and reported when they begin and when they end."""

import threading
import time
from collections.abc import Callable

NOTICE_S = 5.0
"""The least seconds between two reports of a disk that fails again and again."""


class DroppedLines:
    """Counts dropped lines and reports them through `notice`. Callable from any thread. `name` and `path` are for the reports."""

    def __init__(self, name: str, path: object, notice: Callable[[str], object]) -> None:
        self.total = 0
        self._name = name
        self._path = path
        self._notice = notice
        self._lock = threading.Lock()
        self._unreported = 0
        self._is_reported = False
        self._reported_at = -NOTICE_S

    def add(self, lines: int, why: str) -> None:
        """Add `lines` to the total, and report the first of them with the reason `why`."""
        if not lines:
            return
        with self._lock:
            self.total += lines
            self._unreported += lines
            is_due = not self._is_reported and time.monotonic() - self._reported_at >= NOTICE_S
            if is_due:
                self._is_reported, self._reported_at = True, time.monotonic()
        if is_due:
            self._notice(f"{self._name}: output is not kept: {why} ({self._path})")

    def settle(self, why: str, write: Callable[[str], object]) -> None:
        """Pass `write` a text with the number of lines since the last call and the reason `why`; do nothing if there are none.

        Then report that output is kept again, where it was reported that it is not. If `write` raises, nothing is settled.
        """
        with self._lock:
            lines, self._unreported = self._unreported, 0
        if not lines:
            return
        text = f"{lines} line{'' if lines == 1 else 's'} dropped: {why}"
        try:
            write(text)
        except BaseException:
            with self._lock:
                self._unreported += lines
            raise
        with self._lock:
            was_reported, self._is_reported = self._is_reported, False
        if was_reported:
            self._notice(f"{self._name}: output is kept again; {text}")
