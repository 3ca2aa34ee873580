"""The logs of all instances of a run: opened when an instance starts, swept by age, and read for the control API.

Files are read in worker threads, so that a disk that hangs delays only its readers. Readers use nothing but the files: a
reader costs a descriptor and an offset for each instance, however slow it is.
"""

import contextlib
import errno
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio
from msgspec.structs import replace

from minikube.logs.file_format import NOT_CAPTURED, Source, split_name
from minikube.logs.follower import LogFollower
from minikube.logs.instance_log import InstanceLog
from minikube.logs.query import LogQuery
from minikube.logs.reader import LiveLog
from minikube.logs.writing.log_file import remove_files, remove_older
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec
from minikube.model import LogLine

GATHER_S = 0.01
"""The pause between two reads of logs that are written all the time."""

READERS = 8
"""The most worker threads that read for all callers, so that a disk that hangs blocks no more threads than these."""

UNTIL_GRACE_S = 0.1
"""How long after `until` a follower goes on reading: lines of that time may be on their way to the disk."""

CLEAR_TIMEOUT_S = 3.0
"""How long `clear` waits for the disk: less than clients of the control API wait for a reply."""

Result = TypeVar("Result")


class LogTotals(NamedTuple):
    """Counts of lines of several instances: how many were read, and how many of them never reached a file."""

    lines: int = 0
    dropped: int = 0

    def plus(self, log: InstanceLog) -> "LogTotals":
        """Return the totals with the counts of one more log."""
        return LogTotals(self.lines + log.lines, self.dropped + log.dropped)


class _NoLog:
    """Stands in the writing thread's queue for work that concerns no open log."""

    pending = 0

    def write(self, data: bytes) -> None:
        raise NotImplementedError


class LogCollector:
    """Owns the logs of all instances of a run, and opens readers of them. For use in the trio thread.

    `notice` is called with the name of an event, a text, a service and an instance: see `InstanceLog`.
    """

    def __init__(self, directory: Path, notice: Callable[[str, str, str, str], object] = lambda *_: None) -> None:
        self.directory = directory
        self.logs: dict[str, InstanceLog] = {}
        """The logs of the instances that exist, by name."""
        self.totals: dict[str, LogTotals] = {}
        """By service: the counts of instances that were removed."""
        self._removed: dict[str, Source] = {}
        """The log files of removed instances, by name: they can still be read."""
        self._notice = notice
        self._token = trio.lowlevel.current_trio_token()
        self._changed = trio.Event()
        self._awaited = False
        self._limiter = trio.CapacityLimiter(READERS)
        self.writer = LogWriter(self._on_write, self._sweep)

    def open(self, service: str, instance: str, spec: LogSpec, secrets: Iterable[str] = ()) -> InstanceLog:
        """Return the log of an instance, with these settings and secrets to mask. A log that is open already is reused."""
        log = self.logs.get(instance)
        if log is None:
            path = self.directory / f"{instance}.log"
            log = InstanceLog(service, instance, path, self.writer, spec, secrets, self._on_notice)
            self.logs[instance] = log
            self._removed.pop(instance, None)
        log.spec = spec
        log.mask(secrets)
        return log

    def move(self, directory: Path) -> None:
        """Use the new path of the directory with all log files, which was moved."""
        self.directory = directory
        # The writing thread may do the same at this moment: see `LogFile._follow_project`.
        for log in self.logs.values():
            log.file.path = directory / log.file.path.name
        self._removed = {
            name: replace(source, path=directory / source.path.name) for name, source in self._removed.items()
        }

    def forget(self, instance: str) -> None:
        """Close the log of a removed instance. Its files stay, and its counts are added to the totals of its service."""
        log = self.logs.pop(instance, None)
        if log is None:
            return
        self.totals[log.service] = self.totals.get(log.service, LogTotals()).plus(log)
        self._removed[instance] = self.source(log.service, instance, log.spec)
        self.writer.call(log, log.file.close)

    def source(self, service: str, instance: str, spec: LogSpec) -> Source:
        """Return the log files of an instance, which may not exist yet."""
        return Source(service, instance, self.directory / f"{instance}.log", spec.keep)

    def sources(self) -> dict[str, Source]:
        """Return the log files of all instances that have written in this run, also of those that were removed, by name."""
        found = {log.instance: self.source(log.service, log.instance, log.spec) for log in self.logs.values()}
        return self._removed | found

    async def clear(self, sources: Iterable[Source]) -> None:
        """Remove the log files of instances; a log that is open goes on in a new file. Raises OSError.

        A disk that does not answer within `CLEAR_TIMEOUT_S` is an error, too. The files are removed as soon as it does.
        """
        done = trio.Event()
        errors: list[OSError] = []
        wanted = list(sources)

        def clear(source: Source, log: InstanceLog | None) -> None:
            try:
                log.file.clear() if log else remove_files(source.path)
            except OSError as error:
                errors.append(error)

        for source in wanted:
            # In the writing thread: what was read until now is written, then removed.
            log = self.logs.get(source.instance)
            self.writer.call(log or _NoLog(), partial(clear, source, log))
        self.writer.call(_NoLog(), lambda: self._call_soon(done.set))
        with trio.move_on_after(CLEAR_TIMEOUT_S):
            await done.wait()
        if not done.is_set():
            raise OSError(errno.ETIMEDOUT, "the disk does not answer yet", str(self.directory))
        if errors:
            raise errors[0]

    def next_write(self) -> trio.Event:
        """Return an event that is set at the next write to any log."""
        self._awaited = True
        return self._changed

    @asynccontextmanager
    async def lines(
        self, sources: Callable[[], list[Source]], query: LogQuery
    ) -> AsyncIterator[AsyncIterator[list[LogLine]]]:
        """Open the lines that a query selects, in batches, as `ProjectCommands.logs` says.

        `sources` returns the log files to read. It is called in every round, because instances are added and removed.
        """
        follower = LogFollower(self._find_live, query)
        async with aclosing(self._lines(follower, sources, query)) as found:
            yield found

    async def _lines(
        self, follower: LogFollower, sources: Callable[[], list[Source]], query: LogQuery
    ) -> AsyncGenerator[list[LogLine], None]:
        end = query.until + UNTIL_GRACE_S if query.until else math.inf
        try:
            batches = follower.backlog(sources())
            while batch := await self._in_thread(lambda: next(batches, None)):
                yield batch
            while query.follow:
                event = self.next_write()
                # Before reading: lines that are written until now are read below.
                is_over = time.time() >= end
                wanted = sources()
                while (
                    lines := await self._in_thread(lambda now=wanted: follower.new_lines(now))  # type: ignore[misc]
                ) is not None:
                    yield lines
                if is_over:
                    return
                # At most a second: the wall clock, which `until` means, may be set meanwhile.
                left = math.inf if end == math.inf else min(max(end - time.time(), 0.0), 1.0)
                with trio.move_on_after(left):
                    await event.wait()
                await trio.sleep(GATHER_S)
        finally:
            follower.close()

    def _find_live(self, instance: str) -> LiveLog | None:
        log = self.logs.get(instance)
        return log.file if log else None

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    # ------------------------------------------------------------ in the writing thread

    def _on_write(self) -> None:
        if self._awaited:
            self._call_soon(self._wake_readers)

    def _on_notice(self, log: InstanceLog, event: str, text: str) -> None:
        self._call_soon(lambda: self._notice(event, text, log.service, log.instance))

    def _call_soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call)

    def _wake_readers(self) -> None:
        self._awaited = False
        self._changed.set()
        self._changed = trio.Event()

    def _sweep(self) -> None:
        """Remove log files that are too old, including those of removed instances."""
        now = time.time()
        known = dict(self.logs)
        for log in known.values():
            log.expire(now)
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir():
                found = split_name(path.name)
                if found is None or found[0] in NOT_CAPTURED:
                    continue
                name, number = found
                if name not in known or number > known[name].spec.keep:
                    remove_older(path, now - LogSpec().max_age)
