"""A log whose lines are written at once, and a reader of its files: for tests without the writing thread."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from minikube.logs.file_format import Source
from minikube.logs.filter import LogFilter
from minikube.logs.instance_log import InstanceLog
from minikube.logs.merged import read_backlog
from minikube.logs.query import LogQuery
from minikube.logs.reader import LogReader
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec

PLAIN = LogSpec()


class Directly:
    """In the writer's place: writes at once, or keeps it waiting."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.pending = 0
        self.stuck = stuck
        self.waiting: list[tuple[InstanceLog, bytes]] = []

    def put(self, log: InstanceLog, data: bytes) -> None:
        log.pending += len(data)
        self.waiting.append((log, data))
        if not self.stuck:
            self.flush()

    def call(self, log: InstanceLog, work: Callable[[], object], size: int = 0) -> None:
        work()

    def flush(self) -> None:
        for log, data in self.waiting:
            log.write(data)
            log.pending -= len(data)
        self.waiting.clear()


def capture_in(
    directory: Path, name: str = "a", spec: LogSpec = PLAIN, writer: Directly | None = None, **more: object
) -> InstanceLog:
    """Return the log of instance `name` in a directory."""
    return InstanceLog(name, name, directory / f"{name}.log", cast("LogWriter", writer or Directly()), spec, **more)  # type: ignore[arg-type]


def reader_of(log: InstanceLog, *, live: bool = True) -> LogReader:
    """Return a reader of a log's files: as this process has it, or with `live` false as another process has it."""
    return LogReader(Source(log.service, log.instance, log.path, log.spec.keep), log.file if live else None)


def read(readers: list[LogReader], query: LogQuery) -> list[str]:
    """Return the lines that a query selects and that are on disk."""
    lines = [line.line for batch in read_backlog(readers, query, LogFilter(query)) for line in batch]
    for reader in readers:
        reader.close()
    return lines
