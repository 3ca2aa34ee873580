"""Output of the instances (floor 3): captured into files, rotated by size and age.

    Capture    one instance's output over all its restarts: cuts lines, masks secrets, stamps them, keeps the last few
    LogWriter  one thread that writes for everybody, so that a slow or full disk stalls neither trio nor a child
    logfile.py the form on disk; trail.py reads it back; reader.py follows

A child is never blocked by us for longer than `PATIENCE_S` in a burst: what the disk cannot take is dropped, counted, told as
an event, and said in the log itself (stream `minikube`) as soon as it can be written. Memory is bounded per instance and
altogether. It refuses to interpret what services print.
It is one piece past 400 lines, because the two halves of a capture, what trio takes in and what the writer's thread puts on disk,
share its counts of what is pending and dropped.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trio

from minikube.logs.format import OURS, numbers, rotated, stamped, written_at
from minikube.manifest import LogSpec
from minikube.patterns import compile_pattern

READ_BYTES = 262_144
PIPE_BYTES = 1_048_576
"""What a child may write ahead of us: the most that an unprivileged process may ask for (pipe(7))."""

GATHER_S = 0.002
"""Between two reads of one pipe while little comes at a time."""

LINE_LIMIT = 65_536
"""Longer lines are cut into pieces of this size."""

PENDING_LIMIT = 4 * 1024 * 1024
"""Bytes of one instance that wait for the disk."""

PENDING_LIMIT_ALL = 16 * 1024 * 1024
PENDING_FLOOR = 65_536
"""What an instance may have waiting whatever the others do: a flood of theirs costs it nothing."""

PATIENCE_S = 1.0
LAST_LINES = 20
LAST_LINE_BYTES = 400
DISK_RETRY_S = 1.0
SWEEP_S = 3600.0
NOTICE_S = 5.0
"""A disk that comes and goes is told of this often."""

MASK = b"***"
SHORTEST_SECRET = 5
"""Shorter values would mask half of every line."""

ORIGINS_KEPT = 256
FILES_BY_AGE = 8
"""More files than these are begun for their size only."""


class LogWriter:
    """The thread that writes. `changed` is called in it after every round, `sweep` every hour. Daemonic: it never
    holds up the end."""

    def __init__(self, changed: Callable[[], object], sweep: Callable[[], object] = lambda: None) -> None:
        self._changed = changed
        self._sweep = sweep
        self._ready = threading.Condition()
        self._queue: deque[tuple[InstanceLog, bytes]] = deque()
        self._closed = False
        self.pending = 0
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def put(self, capture: "InstanceLog", data: bytes) -> None:
        with self._ready:
            self._queue.append((capture, data))
            self.pending += len(data)
            capture.pending += len(data)
            self._ready.notify()

    def close(self, timeout: float) -> None:
        """Writes what is left, for at most `timeout` seconds."""
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
            together: dict[InstanceLog, list[bytes]] = {}
            for capture, data in items:
                together.setdefault(capture, []).append(data)
            for capture, pieces in together.items():
                capture.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                size = sum(map(len, pieces))
                with self._ready:
                    self.pending -= size
                    capture.pending -= size
            if items:
                self._changed()


class Origin(NamedTuple):
    """A file's inode, and the number of the line that stands at `offset` (0, but in a file of an earlier run)."""

    inode: int
    first: int
    offset: int


class InstanceLog:
    """One instance's output. `feed` and `read` belong to the trio thread, `write` and `expire` to the writer's.

    `notice` is called, from either, with what is worth an event: that lines are dropped, and that they are not any more.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        path: Path,
        writer: LogWriter,
        spec: LogSpec,
        secrets: Iterable[str] = (),
        notice: Callable[["InstanceLog", str], object] = lambda capture, text: None,
    ) -> None:
        self.service = service
        self.instance = instance
        self.path = path
        self.spec = spec
        self.pending = 0
        self.lines = 0
        """Lines that were read, altogether."""
        self.dropped = 0
        """Lines that never reached the file, altogether."""
        self.trouble = ""
        """Why the disk takes nothing at the moment; empty while it does."""
        self.written = 0
        """Lines that this run wrote."""
        self.rounds = 0
        """Grows with every write: who has seen this number has seen everything."""
        self.origins: tuple[Origin, ...] = ()
        """Of the files that this run wrote to, newest last."""
        self.turning = threading.RLock()
        """Held while files change their names: who holds it sees names and `origins` that belong together."""
        self._writer = writer
        self._notice = notice
        self._told = -NOTICE_S
        self._announced = False
        self._counting = threading.Lock()
        self._secrets = _as_bytes(secrets)
        self._partial = {"stdout": b"", "stderr": b""}
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._untold = 0
        self._skipping = False
        self._pattern: Any = None
        self._found: Callable[[], object] | None = None
        self._file = -1
        self._size = 0
        self._born = 0.0
        self._retry = 0.0

    # ------------------------------------------------------------ the trio side

    def mask(self, secrets: Iterable[str]) -> None:
        """From now on these values are masked."""
        self._secrets = _as_bytes(secrets)

    def expect(self, pattern: str, found: Callable[[], object]) -> None:
        """Calls `found` once, at the first line from now on that `pattern` is found in."""
        self._pattern, self._found = compile_pattern(pattern), found

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines since `clear`."""
        return tuple(line.decode("utf-8", "replace") for line in self._last)

    def clear(self) -> None:
        """A new process starts: the last lines are its own from now on."""
        self._last.clear()

    async def read(self, descriptor: int, stream: str) -> None:
        """Reads a pipe to its end."""
        with contextlib.suppress(OSError):  # a user's pages for pipes are bounded: then it stays as it is
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        due = 0.0
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            # A wake-up costs as much as a thousand lines: who writes them one by one is let write a few ahead.
            await trio.sleep_until(due)
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.finish(stream)
                return
            self.feed(stream, data)
            if self._is_behind():
                await self._wait_room()
            due = trio.current_time() + (GATHER_S if len(data) < PIPE_BYTES // 16 else 0.0)

    def feed(self, stream: str, data: bytes) -> None:
        """Takes what was read: whole lines go to the file, the rest waits for its end."""
        data = self._partial[stream] + data
        cut = data.rfind(b"\n") + 1
        whole, rest = data[:cut], data[cut:]
        if len(rest) > LINE_LIMIT:
            # What is cut off must not end inside a secret; masking what stays behind comes with the rest of it.
            rest = self._masked(rest)
            room = len(rest) - max((len(secret) for secret in self._secrets), default=0)
            room -= room % LINE_LIMIT
            if room > 0:
                whole, rest = whole + rest[:room] + b"\n", rest[room:]
        self._partial[stream] = rest
        if whole:
            self._take(stream, whole)

    def finish(self, stream: str) -> None:
        """The pipe ended: a last line without an end is a line as well."""
        rest, self._partial[stream] = self._partial[stream], b""
        if rest:
            self._take(stream, rest + b"\n")

    def say(self, text: str) -> None:
        """A notice of our own, with stream `minikube`."""
        self._queue(OURS, text.encode("utf-8", "replace") + b"\n")

    def insert(self, text: str) -> None:
        """Whole lines of a helper's, between those of its own."""
        self._take("stdout", text.encode("utf-8", "replace") + b"\n")

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, MASK)
        return data

    def _take(self, stream: str, whole: bytes) -> None:
        if b"\r" in whole:  # looking for one byte is a hundred times faster than for two
            whole = whole.replace(b"\r\n", b"\n")
        whole = _cut_long(self._masked(whole))
        self.lines += whole.count(b"\n")
        for line in whole[-8192:].splitlines()[-LAST_LINES:]:
            self._last.append(line[:LAST_LINE_BYTES])
        if self._pattern is not None and any(self._pattern.search(line) for line in whole.splitlines()):
            found, self._pattern, self._found = self._found, None, None
            if found is not None:
                found()
        if self._is_behind():
            self._drop(whole.count(b"\n"), "the disk is too slow")
            self._skipping = True
            return
        if self._skipping:
            self._skipping = False
            if text := self._take_untold("the disk was too slow"):
                self.say(text)
        self._queue(stream, whole)

    def _is_behind(self) -> bool:
        if self.pending > PENDING_LIMIT:
            return True
        return self.pending > PENDING_FLOOR and self._writer.pending > PENDING_LIMIT_ALL

    def _queue(self, stream: str, whole: bytes) -> None:
        self._writer.put(self, stamped(stream, whole, self.spec.format))

    def _drop(self, lines: int, why: str) -> None:
        """From either side."""
        with self._counting:
            self.dropped += lines
            self._untold += lines
        if not self._announced and time.monotonic() - self._told >= NOTICE_S:
            self._announced, self._told = True, time.monotonic()
            self._notice(self, f"{self.instance}: output is not kept: {why} ({self.path})")

    def _take_untold(self, why: str) -> str:
        """What to say about the lines dropped since this was asked last; empty when none were."""
        with self._counting:
            lines, self._untold = self._untold, 0
        if not lines:
            return ""
        text = f"{lines} lines dropped: {why}"
        if self._announced:
            self._announced = False
            self._notice(self, f"{self.instance}: output is kept again; {text}")
        return text

    async def _wait_room(self) -> None:
        """A burst may hold its child up for a moment; a disk that stays slow may not."""
        if self._skipping:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(PATIENCE_S):
            while self.pending > PENDING_LIMIT // 2 or self._is_behind():
                await trio.sleep(0.002)

    # ------------------------------------------------------------ the writer's side

    def write(self, data: bytes) -> None:
        """Appends to the file. A disk that refuses is tried again every second, and what it missed is counted."""
        now = time.monotonic()
        if self.trouble and now < self._retry:
            self._drop(data.count(b"\n"), self.trouble)
            return
        before = self.written
        try:
            if self._file < 0:
                self._open()
            if self.trouble and (text := self._take_untold(self.trouble)):
                data = stamped(OURS, text.encode() + b"\n", self.spec.format) + data
            for part in self._fitting(data):
                self._write(part, part.count(b"\n"))
            self.trouble = ""
        except OSError as error:
            self._drop(data.count(b"\n") - (self.written - before), error.strerror or str(error))
            self.trouble = error.strerror or str(error)
            self._retry = now + DISK_RETRY_S
            self._close()
        self.rounds += 1

    def _fitting(self, data: bytes) -> Iterator[bytes]:
        """Whole lines that fit into the file, then into the next ones; only a line may be longer than a file."""
        start = 0
        while start < len(data):
            room = max(self.spec.max_size - self._size, 0)
            end = len(data) if len(data) - start <= room else data.rfind(b"\n", start, start + room) + 1
            if self._size and (not end or self._is_old(time.time())):
                self._rotate()
                continue
            end = end or data.find(b"\n", start) + 1 or len(data)
            yield data[start:end]
            start = end

    def expire(self, now: float) -> None:
        """Puts away what is too old: `now` is the time of day. Errors wait for the next time."""
        with contextlib.suppress(OSError):
            if self._file >= 0 and self._size and self._is_old(now):
                self._rotate()
        if self.spec.max_age:
            for number in numbers(self.path, self.spec.keep):
                if number:
                    remove_older(rotated(self.path, number), now - self.spec.max_age)

    def _is_old(self, now: float) -> bool:
        """A file may span as much time as its share of `max_age`: what all of them hold is then hardly older."""
        share = self.spec.max_age / min(self.spec.keep + 1, FILES_BY_AGE)
        return bool(self.spec.max_age) and now - self._born > share

    def _write(self, data: bytes, lines: int) -> None:
        view = memoryview(data)
        if not self._size:
            self._born = time.time()
        while view:
            count = os.write(self._file, view)
            self._size += count
            view = view[count:]
        self.written += lines

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with self.turning:
            try:
                self._file = os.open(self.path, flags, 0o600)
            except FileNotFoundError:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self.path, flags, 0o600)
            status = os.fstat(self._file)
            self._size = status.st_size
            if self._size:
                self._born = written_at(os.pread(self._file, 64, 0)) or status.st_mtime
                if os.pread(self._file, 1, self._size - 1) != b"\n":
                    self._write(b"\n", 0)  # a disk that filled up cut a line
            if not self._size or not self.origins or self.origins[-1].inode != status.st_ino:
                origin = Origin(status.st_ino, self.written, self._size)
                self.origins = (*self.origins[1 - ORIGINS_KEPT :], origin)

    def _rotate(self) -> None:
        self._close()
        with self.turning:
            for number in reversed([*numbers(self.path, self.spec.keep - 1)]):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(rotated(self.path, number), rotated(self.path, number + 1))
            if not self.spec.keep:
                self.path.unlink(missing_ok=True)
            self._open()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def remove_older(path: Path, then: float) -> None:
    """Removes a file that was last written before `then`; one that cannot be removed stays."""
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < then:
            path.unlink()


def _cut_long(whole: bytes) -> bytes:
    """Whole lines with an end put into those that are longer than `LINE_LIMIT`; the same bytes where none is."""
    pieces, begin, start = [], 0, 0
    while len(whole) - start > LINE_LIMIT + 1:
        end = whole.rfind(b"\n", start, start + LINE_LIMIT + 1) + 1
        if not end:
            end = start + LINE_LIMIT
            pieces.append(whole[begin:end])
            begin = end
        start = end
    return b"\n".join((*pieces, whole[begin:])) if pieces else whole


def _as_bytes(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Longest first, so that a secret that holds another is masked whole. One of several lines is a secret in each of them."""
    lines = (line for secret in secrets for line in secret.splitlines())
    found = {line.encode("utf-8", "surrogateescape") for line in lines if len(line) >= SHORTEST_SECRET}
    return tuple(sorted(found, key=len, reverse=True))
