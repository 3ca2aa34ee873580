"""Logs read back (floor 3): the last lines of some instances, and what they write from now on.

The files are the truth: a reader holds a descriptor and an offset for each, so that a slow one costs nothing. What
was rotated away before it came round is told to it as a line with stream `minikube`. It refuses to write.
"""

import calendar
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from minikube.manifest import LogSpec
from minikube.model import LogLine
from minikube.supervisor.logs import Capture, LogWriter, rotated

BLOCK = 32_768
TAIL_LIMIT = 100_000
STAMP_LENGTH = len("2026-11-24T00:16:00.123456Z")


def parse(raw: bytes, service: str, instance: str) -> LogLine | None:
    """A line of a file. None for what is none, such as one that a full disk cut."""
    text = raw.decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            record = msgspec.json.decode(raw, type=dict[str, str])
            return LogLine(_seconds(record["time"]), service, instance, record["stream"], record["line"])
        except (msgspec.DecodeError, KeyError, ValueError, UnicodeDecodeError):
            return None
    stamp, _, rest = text.partition(" ")
    stream, separator, line = rest.partition(" ")
    if len(stamp) != STAMP_LENGTH or not separator:
        return None
    with contextlib.suppress(ValueError):
        return LogLine(_seconds(stamp), service, instance, stream, line)
    return None


_minute: tuple[str, float] = ("", 0.0)


def _seconds(stamp: str) -> float:
    global _minute
    head, seconds = stamp[:17], stamp[17:-1]
    if _minute[0] != head:  # strptime for each line would cost more than everything else here
        _minute = (head, float(calendar.timegm(time.strptime(head, "%Y-%m-%dT%H:%M:"))))
    return _minute[1] + float(seconds)


class Follower:
    """One file's reader: the tail, then what comes."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._file = -1
        self._offset = 0
        self._partial = b""

    def tail(self, count: int) -> list[LogLine]:
        """The last `count` lines; `fresh` goes on after them."""
        self._open(at_end=True)
        end = self._offset
        lines: list[bytes] = []
        for number in range(self.capture.spec.keep + 1):
            missing = count - len(lines)
            if missing <= 0:
                break
            lines = _last_lines(rotated(self.capture.path, number), missing, end if number == 0 else None) + lines
        return self._parsed(lines)

    def fresh(self) -> list[LogLine]:
        """What was written since, at most a block of it; empty when there is nothing new."""
        while True:
            if self._file < 0 and not self._open(at_end=False):
                return []
            data = os.pread(self._file, BLOCK, self._offset)
            if data:
                self._offset += len(data)
                *lines, self._partial = (self._partial + data).split(b"\n")
                if parsed := self._parsed(lines):
                    return parsed
            elif not self._next():
                return []

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _parsed(self, lines: list[bytes]) -> list[LogLine]:
        service, instance = self.capture.service, self.capture.instance
        return [line for raw in lines if (line := parse(raw, service, instance)) is not None]

    def _open(self, *, at_end: bool, path: Path | None = None) -> bool:
        try:
            self._file = os.open(path or self.capture.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        self._offset = os.fstat(self._file).st_size if at_end else 0
        return True

    def _next(self) -> bool:
        """Moves to the file that followed this one, if this one has been rotated. False: there is no news."""
        mine = os.fstat(self._file).st_ino
        newer = None
        for number in range(self.capture.spec.keep + 1):
            try:
                inode = os.stat(rotated(self.capture.path, number)).st_ino
            except OSError:
                continue
            if inode == mine:
                if number == 0:
                    return False
                break
            newer = number
        if newer is None:
            return False
        self.close()
        self._partial = b""
        return self._open(at_end=False, path=rotated(self.capture.path, newer))


def _last_lines(path: Path, count: int, end: int | None) -> list[bytes]:
    """The last `count` whole lines before offset `end`, read backwards."""
    try:
        with open(path, "rb") as file:
            at = os.fstat(file.fileno()).st_size if end is None else end
            data = b""
            while at > 0 and data.count(b"\n") <= count:
                step = min(BLOCK, at)
                at -= step
                data = os.pread(file.fileno(), step, at) + data
    except OSError:
        return []
    return data.splitlines()[-count:]


async def read_logs(
    captures: Callable[[], list[Capture]], changed: Callable[[], trio.Event], *, tail: int, follow: bool
) -> AsyncGenerator[LogLine, None]:
    """The last `tail` lines of all, by time; then, if `follow`, what they write, those that appear later included.

    `changed` gives the event that is set at the next write of anybody. Close the iterator to give back its files.
    """
    followers: dict[str, Follower] = {}
    try:
        lines: list[LogLine] = []
        for capture in captures():
            followers[capture.instance] = follower = Follower(capture)
            lines += await trio.to_thread.run_sync(follower.tail, min(tail, TAIL_LIMIT))
        lines.sort(key=lambda line: line.time)
        for line in lines[len(lines) - min(tail, len(lines)) :]:
            yield line
        while follow:
            event = changed()
            while batch := _fresh(captures(), followers):
                for line in batch:
                    yield line
                await trio.lowlevel.checkpoint()
            await event.wait()
    finally:
        for follower in followers.values():
            follower.close()


def _fresh(captures: list[Capture], followers: dict[str, Follower]) -> list[LogLine]:
    lines: list[LogLine] = []
    for capture in captures:
        if capture.instance not in followers:
            followers[capture.instance] = Follower(capture)
        lines += followers[capture.instance].fresh()
    lines.sort(key=lambda line: line.time)
    return lines


class LogBook:
    """All captures by instance name, and the writer's news. Belongs to the trio thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.captures: dict[str, Capture] = {}
        self._token = trio.lowlevel.current_trio_token()
        self._changed = trio.Event()
        self.writer = LogWriter(self._tell)

    def open(self, service: str, instance: str, spec: LogSpec, secrets: Iterable[str] = ()) -> Capture:
        """The instance's capture; one that is there already goes on."""
        capture = self.captures.get(instance)
        if capture is None:
            path = self.directory / f"{instance}.log"
            capture = self.captures[instance] = Capture(service, instance, path, self.writer, spec, secrets)
        capture.spec = spec
        capture.mask(secrets)
        return capture

    def changed(self) -> trio.Event:
        """The event of the next write."""
        return self._changed

    @asynccontextmanager
    async def lines(
        self, wanted: Callable[[], list[Capture]], *, tail: int, follow: bool
    ) -> AsyncIterator[AsyncIterator[LogLine]]:
        """As `Controls.logs`; `wanted` gives the captures to read, again at every round."""
        async with aclosing(read_logs(wanted, self.changed, tail=tail, follow=follow)) as found:
            yield found

    def _tell(self) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
