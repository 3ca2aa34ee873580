"""Output that waits for its newline, such as a prompt: kept beside the log in `NAME.log.partial` until its line is complete.

A file of its own, because the lines of another stream may come first: a log file is appended to, and holds whole lines. It
has at most one line for each stream, in the plain form of a log file. All readers find it: `up` and `logs` of other processes,
and the next supervisor where this one is killed.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from minikube.logs import levels
from minikube.logs.file_format import Source, parse_line
from minikube.model import LogLine

SUFFIX = ".partial"
LIMIT = 262_144
"""How many bytes are read: two lines of the greatest length, with room for what masks add."""


def partial_path(log: Path) -> Path:
    """Return the path of the file beside the log file `log`."""
    return log.with_name(log.name + SUFFIX)


def write_partial(log: Path, data: bytes) -> None:
    """Write the incomplete lines in the form of a log file, each with a newline; remove the file where there are none.

    Raises OSError. A reader finds the old or the new file, never a part of one.
    """
    path = partial_path(log)
    if not data:
        path.unlink(missing_ok=True)
        return
    new = path.with_name(path.name + ".new")
    # O_NONBLOCK: a FIFO in the place of the file would block the thread of all logs.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(new, flags, 0o600)
    try:
        os.write(file, data)
    finally:
        os.close(file)
    os.replace(new, path)


def take_partial(log: Path) -> bytes:
    """Return what an earlier run left of incomplete lines, and remove the file; empty where there is none."""
    data = _read(partial_path(log))
    with contextlib.suppress(OSError):
        partial_path(log).unlink()
    return data if data.endswith(b"\n") else b""


def read_partial(source: Source) -> list[LogLine]:
    """Return the incomplete lines of an instance, oldest first."""
    found = (parse_line(raw, source.service, source.instance) for raw in _read(partial_path(source.path)).split(b"\n"))
    lines = [replace(line, partial=True, level=levels.level_of(line.line)) for line in found if line]
    return sorted(lines, key=lambda line: line.time)


class PartialCounter(Protocol):
    """The attribute of a `LogFile` that says whether its incomplete lines have changed."""

    partial_count: int


class PartialLines:
    """Finds the incomplete lines that one reader of the logs has not seen yet."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        """By instance: what was found last."""

    def changed(self, source: Source, live: PartialCounter | None) -> list[LogLine]:
        """Return the incomplete lines of an instance that differ from those at the last call.

        It costs no system call where `live`, the log that this process writes, has shown no others since.
        """
        before = self._seen.get(source.instance, _Seen())
        count = live.partial_count if live else -1
        if live and count == before.writes:
            return []
        try:
            status = os.lstat(partial_path(source.path))
        except OSError:
            self._seen[source.instance] = _Seen(count)
            return []
        version = (status.st_ino, status.st_mtime_ns)
        if version == before.version:
            return []
        lines = read_partial(source)
        self._seen[source.instance] = _Seen(count, version, lines)
        known = {(line.stream, line.line) for line in before.lines}
        return [line for line in lines if (line.stream, line.line) not in known]


class _Seen(NamedTuple):
    writes: int = -1
    version: tuple[int, int] = (0, 0)
    lines: Sequence[LogLine] = ()


def _read(path: Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(file, LIMIT)
    except OSError:
        return b""
    finally:
        os.close(file)
