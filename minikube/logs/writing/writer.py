"""The thread that writes log lines to disk for all instances, so that a slow disk blocks neither trio nor a child."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

SWEEP_S = 3600.0

log = logging.getLogger(__name__)

Work = Callable[[], object]


class LogSink(Protocol):
    """A log that the thread writes to: `InstanceLog`."""

    pending: int
    """Bytes that wait in the queue."""

    def write(self, data: bytes) -> None:
        """Append complete lines to the file. Never raises."""


class _Call(NamedTuple):
    """Queued work, and the bytes that it holds in memory."""

    work: Work
    size: int


class LogWriter:
    """Writes queued lines to the logs in a thread of its own.

    `on_write` is called in the thread after every round of writes, `sweep` every hour. The thread is a daemon: it never
    delays the end of the process.
    """

    def __init__(self, on_write: Work, sweep: Work = lambda: None) -> None:
        self._on_write = on_write
        self._sweep = sweep
        self._ready = threading.Condition()
        self._queue: deque[tuple[LogSink, bytes | _Call]] = deque()
        self._closed = False
        self.pending = 0
        """Bytes of all logs that wait for the disk."""
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def put(self, sink: LogSink, data: bytes) -> None:
        """Queue complete lines for a log; callable from any thread."""
        with self._ready:
            self._queue.append((sink, data))
            self.pending += len(data)
            sink.pending += len(data)
            self._ready.notify()

    def call(self, sink: LogSink, work: Work, size: int = 0) -> None:
        """Call `work` in the thread, after the lines of that log that are queued now; callable from any thread.

        `size` is the number of bytes that `work` holds; they count as pending until it was called.
        """
        with self._ready:
            self._queue.append((sink, _Call(work, size)))
            self.pending += size
            sink.pending += size
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
                _run_contained(self._sweep)
            with self._ready:
                if not self._queue and not self._closed:
                    self._ready.wait(due - now)
                items = list(self._queue)
                self._queue.clear()
                if not items and self._closed:
                    return
            by_log: dict[LogSink, list[bytes | _Call]] = {}
            for sink, item in items:
                by_log.setdefault(sink, []).append(item)
            for sink, queued in by_log.items():
                self._handle(sink, queued)
            if items:
                _run_contained(self._on_write)

    def _handle(self, sink: LogSink, items: list[bytes | _Call]) -> None:
        # One write(2) for all that one log has waiting: a round costs a system call for each log, not for each line.
        pieces: list[bytes] = []
        for item in items:
            if isinstance(item, bytes):
                pieces.append(item)
                continue
            self._write(sink, pieces)
            pieces = []
            _run_contained(item.work)
            self._release(sink, item.size)
        self._write(sink, pieces)

    def _write(self, sink: LogSink, pieces: list[bytes]) -> None:
        if not pieces:
            return
        _run_contained(lambda: sink.write(pieces[0] if len(pieces) == 1 else b"".join(pieces)))
        self._release(sink, sum(map(len, pieces)))

    def _release(self, sink: LogSink, size: int) -> None:
        with self._ready:
            self.pending -= size
            sink.pending -= size


def _run_contained(work: Work) -> None:
    """Call `work`, and log an exception that no code expects: the end of this thread would be the end of all logs."""
    try:
        work()
    except Exception:
        log.exception("the logs: an unexpected error")
