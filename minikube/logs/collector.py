"""The logs of all instances of a run: opened when an instance starts, swept by age, and read for the control API.

Files are read in worker threads, so that a disk that hangs delays only its readers. Readers use nothing but the files: a
reader costs a descriptor and an offset for each instance, however slow it is.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from minikube.logs.file_format import NOT_CAPTURED, Source, split_name
from minikube.logs.follower import LogFollower
from minikube.logs.instance_log import InstanceLog, remove_older
from minikube.logs.query import LogQuery
from minikube.logs.writer import LogWriter
from minikube.manifest import LogSpec
from minikube.model import LogLine

GATHER_S = 0.01
"""The pause between two reads of logs that are written all the time."""

READERS = 8
"""The most worker threads that read for all callers, so that a disk that hangs blocks no more threads than these."""

Result = TypeVar("Result")


class LogCollector:
    """Owns the logs of all instances of a run, and opens readers of them. For use in the trio thread.

    `notice` is called with a service, an instance and a text when lines of its log begin or cease to be dropped.
    """

    def __init__(self, directory: Path, notice: Callable[[str, str, str], object] = lambda *_: None) -> None:
        self.directory = directory
        self.logs: dict[str, InstanceLog] = {}
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
        log.spec = spec
        log.mask(secrets)
        return log

    def source(self, service: str, instance: str, spec: LogSpec) -> Source:
        """Return the log files of an instance, which may not exist yet."""
        return Source(service, instance, self.directory / f"{instance}.log", spec.keep)

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
        follower = LogFollower(self.logs, query)
        async with aclosing(self._lines(follower, sources, query)) as found:
            yield found

    async def _lines(
        self, follower: LogFollower, sources: Callable[[], list[Source]], query: LogQuery
    ) -> AsyncGenerator[list[LogLine], None]:
        try:
            batches = follower.backlog(sources())
            while batch := await self._in_thread(lambda: next(batches, None)):
                yield batch
            while query.follow and not 0 < query.until < time.time():
                event = self.next_write()
                wanted = sources()
                while (
                    lines := await self._in_thread(lambda now=wanted: follower.new_lines(now))  # type: ignore[misc]
                ) is not None:
                    yield lines
                await event.wait()
                await trio.sleep(GATHER_S)
        finally:
            follower.close()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    # ------------------------------------------------------------ in the writing thread

    def _on_write(self) -> None:
        if self._awaited:
            self._call_soon(self._wake_readers)

    def _on_notice(self, log: InstanceLog, text: str) -> None:
        self._call_soon(lambda: self._notice(log.service, log.instance, text))

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
