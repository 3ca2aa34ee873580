"""Logs for the control API (floor 3): what there is, then what comes; and the book of all captures.

Files are read in worker threads: a disk that hangs holds up who reads from it, nobody else. The files are the truth: a
reader costs a descriptor and an offset for each instance, however slow it is. It refuses to write.
"""

import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from minikube.logs.collector import InstanceLog, LogWriter, remove_older
from minikube.logs.filter import LogFilter
from minikube.logs.format import NOT_CAPTURED, Source, split_name
from minikube.logs.query import LogQuery
from minikube.logs.reader import LogReader, backlog, fresh
from minikube.manifest import LogSpec
from minikube.model import LogLine

GATHER_S = 0.01
"""Between two looks at the files while something is written all the time."""

READERS = 8
"""Worker threads for all readers: a disk that hangs takes no more than these."""

Result = TypeVar("Result")


class Shelf:
    """The trails of one reader: used by one thread at a time, closed when nobody uses them any more."""

    def __init__(self, book: "LogCollector", query: LogQuery) -> None:
        self._book = book
        self._sieve = LogFilter(query)
        self._query = query
        self._trails: dict[str, LogReader] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._began = time.time()

    def begin(self, sources: Iterable[Source]) -> Iterator[list[LogLine]]:
        """What is there, in batches."""
        for source in sources:
            self._trails[source.instance] = LogReader(source, self._book.captures.get(source.instance))
        batches = backlog(list(self._trails.values()), self._query, self._sieve)
        while (batch := self._locked(lambda: next(batches, None))) is not None:
            yield batch
        for trail in self._trails.values():
            trail.go_on()

    def fresh(self, sources: Iterable[Source]) -> list[LogLine] | None:
        """What is wanted of what has come since; None for nothing."""
        return self._locked(lambda: self._fresh(sources))

    def _fresh(self, sources: Iterable[Source]) -> list[LogLine] | None:
        for source in sources:
            if source.instance not in self._trails:
                trail = self._trails[source.instance] = LogReader(source, self._book.captures.get(source.instance))
                trail.open()
                trail.begin_at(self._began)
                trail.go_on()
        return fresh(self._trails.values(), self._sieve)

    def _locked(self, work: Callable[[], Result]) -> Result | None:
        with self._lock:
            try:
                return None if self._closed else work()
            finally:
                if self._closed:
                    self._close()

    def close(self) -> None:
        """Gives back the files: now, or when the thread that was left behind is done with them, which is soon."""
        self._closed = True
        for trail in tuple(self._trails.values()):
            trail.give_up()
        if self._lock.acquire(blocking=False):
            self._close()
            self._lock.release()

    def _close(self) -> None:
        for trail in self._trails.values():
            trail.close()


class LogCollector:
    """All captures by instance name, and the writer's news. Belongs to the trio thread.

    `notice` (set by the supervisor) is called with a service, an instance and what is worth an event about its log.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.captures: dict[str, InstanceLog] = {}
        self.notice: Callable[[str, str, str], object] = lambda service, instance, text: None
        self._token = trio.lowlevel.current_trio_token()
        self._changed = trio.Event()
        self._awaited = False
        self._limiter = trio.CapacityLimiter(READERS)
        self.writer = LogWriter(self._tell, self._sweep)

    def open(self, service: str, instance: str, spec: LogSpec, secrets: Iterable[str] = ()) -> InstanceLog:
        """The instance's capture; one that is there already goes on."""
        capture = self.captures.get(instance)
        if capture is None:
            path = self.directory / f"{instance}.log"
            capture = InstanceLog(service, instance, path, self.writer, spec, secrets, self._notice)
            self.captures[instance] = capture
        capture.spec = spec
        capture.mask(secrets)
        return capture

    def source(self, service: str, instance: str, spec: LogSpec) -> Source:
        """An instance's files, whether it has run in this run or not."""
        return Source(service, instance, self.directory / f"{instance}.log", spec.keep)

    def changed(self) -> trio.Event:
        """The event of the next write."""
        self._awaited = True
        return self._changed

    @asynccontextmanager
    async def lines(
        self, sources: Callable[[], list[Source]], query: LogQuery
    ) -> AsyncIterator[AsyncIterator[list[LogLine]]]:
        """As `Controls.logs`; `sources` gives the files to read, again at every round."""
        shelf = Shelf(self, query)
        async with aclosing(self._lines(shelf, sources, query)) as found:
            yield found

    async def _lines(
        self, shelf: Shelf, sources: Callable[[], list[Source]], query: LogQuery
    ) -> AsyncGenerator[list[LogLine], None]:
        try:
            batches = shelf.begin(sources())
            while batch := await self._in_thread(lambda: next(batches, None)):
                yield batch
            while query.follow and not 0 < query.until < time.time():
                event = self.changed()
                wanted = sources()
                while (lines := await self._in_thread(lambda now=wanted: shelf.fresh(now))) is not None:  # type: ignore[misc]
                    yield lines
                await event.wait()
                await trio.sleep(GATHER_S)
        finally:
            shelf.close()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    # ------------------------------------------------------------ from the writer's thread

    def _tell(self) -> None:
        if self._awaited:
            self._soon(self._wake)

    def _notice(self, capture: InstanceLog, text: str) -> None:
        self._soon(lambda: self.notice(capture.service, capture.instance, text))

    def _soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call)

    def _wake(self) -> None:
        self._awaited = False
        self._changed.set()
        self._changed = trio.Event()

    def _sweep(self) -> None:
        """What is too old goes, also that of instances that are no more."""
        now = time.time()
        known = dict(self.captures)
        for capture in known.values():
            capture.expire(now)
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir():
                found = split_name(path.name)
                if found is None or found[0] in NOT_CAPTURED:
                    continue
                name, number = found
                if name not in known or number > known[name].spec.keep:
                    remove_older(path, now - LogSpec().max_age)
