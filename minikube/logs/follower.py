"""One reader of the logs of several instances: what is on disk first, then what is written. No trio."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from minikube.logs.file_format import Source
from minikube.logs.filter import LogFilter
from minikube.logs.merged import read_backlog, read_new
from minikube.logs.partial_line import PartialLines
from minikube.logs.query import LogQuery
from minikube.logs.reader import LiveLog, LogReader
from minikube.model import LogLine

Result = TypeVar("Result")


class LogFollower:
    """Reads the logs of several instances for one query: first the existing lines, then new ones.

    For one thread at a time; only `close` may be called from another. `find_live` returns the log of an instance that this
    process writes, by the instance's name; None if it writes none.

    A line that waits for its newline is returned with `partial` set. The next line of that instance and stream takes its place.
    """

    def __init__(self, find_live: Callable[[str], LiveLog | None], query: LogQuery) -> None:
        self._find_live = find_live
        self._filter = LogFilter(query)
        self._query = query
        self._readers: dict[str, LogReader] = {}
        self._partial = PartialLines()
        self._lock = threading.Lock()
        self._closed = False
        self._started = time.time()

    def backlog(self, sources: Iterable[Source]) -> Iterator[list[LogLine]]:
        """Yield the selected lines that exist, in batches. `new_lines` then returns the lines after them."""
        for source in sources:
            self._readers[source.instance] = LogReader(source, self._find_live(source.instance))
        batches = read_backlog(list(self._readers.values()), self._query, self._filter)
        while (batch := self._run_locked(lambda: next(batches, None))) is not None:
            yield batch
        for reader in self._readers.values():
            reader.follow()
        if (self._query.tail or self._query.follow) and (partial := self._run_locked(self._new_partial)):
            yield partial

    def new_lines(self, sources: Iterable[Source]) -> list[LogLine] | None:
        """Return the selected lines since the last call, at most a block of each instance; None if there are none."""
        return self._run_locked(lambda: self._new_lines(sources))

    def _new_lines(self, sources: Iterable[Source]) -> list[LogLine] | None:
        wanted = {source.instance: source for source in sources}
        for instance, source in wanted.items():
            if instance in self._readers:
                self._readers[instance].set_live(self._find_live(instance))
                continue
            reader = self._readers[instance] = LogReader(source, self._find_live(instance))
            reader.open()
            reader.seek_time(self._started)
            reader.follow()
        return read_new(self._readers.values(), self._filter) or self._new_partial() or None

    def _new_partial(self) -> list[LogLine]:
        """Return the selected incomplete lines that have changed since the last call."""
        lines = [
            line for reader in self._readers.values() for line in self._partial.changed(reader.source, reader.live)
        ]
        return [line for line in lines if self._filter.selects(line)]

    def _run_locked(self, work: Callable[[], Result]) -> Result | None:
        try:
            with self._lock:
                return None if self._closed else work()
        finally:
            self._close_if_over()

    def close(self) -> None:
        """Close the files. If another thread is reading, it closes them at the end of its read."""
        self._closed = True
        for reader in tuple(self._readers.values()):
            reader.cancel()
        self._close_if_over()

    def _close_if_over(self) -> None:
        # Called after each release of the lock, and not before it: `close` could come in between, and no thread would close.
        if self._closed and self._lock.acquire(blocking=False):
            self._close_readers()
            self._lock.release()

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()
