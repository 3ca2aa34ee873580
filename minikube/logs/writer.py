"""The thread that writes log lines to disk for all instances, so that a slow disk blocks neither trio nor a child."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

SWEEP_S = 3600.0


class LogSink(Protocol):
    """A log that the thread writes to: `InstanceLog`."""

    pending: int
    """Bytes that wait in the queue."""

    def write(self, data: bytes) -> None:
        """Append complete lines to the file. Never raises."""


class LogWriter:
    """Writes queued lines to the logs in a thread of its own.

    `on_write` is called in the thread after every round of writes, `sweep` every hour. The thread is a daemon: it never
    delays the end of the process.
    """

    def __init__(self, on_write: Callable[[], object], sweep: Callable[[], object] = lambda: None) -> None:
        self._on_write = on_write
        self._sweep = sweep
        self._ready = threading.Condition()
        self._queue: deque[tuple[LogSink, bytes]] = deque()
        self._closed = False
        self.pending = 0
        """Bytes of all logs that wait for the disk."""
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def put(self, log: LogSink, data: bytes) -> None:
        """Queue complete lines for a log; callable from any thread."""
        with self._ready:
            self._queue.append((log, data))
            self.pending += len(data)
            log.pending += len(data)
            self._ready.notify()

    def close(self, timeout: float) -> None:
        """Write the queued lines and end the thread. Return after at most `timeout` seconds."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        due = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + SWEEP_S
                self._sweep()
            with self._ready:
                if not self._queue and not self._closed:
                    self._ready.wait(due - now)
                items = list(self._queue)
                self._queue.clear()
                if not items and self._closed:
                    return
            # One write(2) for all that one log has waiting: a round costs a system call for each log, not for each line.
            by_log: dict[LogSink, list[bytes]] = {}
            for log, data in items:
                by_log.setdefault(log, []).append(data)
            for log, pieces in by_log.items():
                log.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                size = sum(map(len, pieces))
                with self._ready:
                    self.pending -= size
                    log.pending -= size
            if items:
                self._on_write()
