"""One instance's output: read from its pipes, cut into lines, masked, and handed to the writing thread.

A child is blocked for at most `MAX_BLOCK_S` in a burst. Lines that the disk does not take are dropped, counted, reported
through `notice`, and named in the log itself (stream `minikube`) as soon as it can be written again. Memory is bounded for
each instance and for all together. It refuses to interpret what a program prints.

More than 400 lines in one piece: what trio takes in and what the writing thread puts on disk share the counts of pending,
written and dropped lines.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import trio

from minikube.logs.file_format import OWN_STREAM, FileOrigin, encode_lines, file_numbers, rotated, written_at
from minikube.logs.writer import LogWriter
from minikube.manifest import LogSpec
from minikube.patterns import compile_pattern

READ_BYTES = 262_144
PIPE_BYTES = 1_048_576
"""How much a child may write before it blocks: the most that an unprivileged process may ask for (pipe(7))."""

GATHER_S = 0.002
"""The pause between two reads of a pipe that yields little at a time."""

LINE_LIMIT = 65_536
"""Longer lines are cut into pieces of this many bytes."""

PENDING_LIMIT = 4 * 1024 * 1024
"""The most bytes of one instance that wait for the disk."""

PENDING_LIMIT_ALL = 16 * 1024 * 1024
"""The most bytes of all instances that wait for the disk."""

PENDING_FLOOR = 65_536
"""Bytes that an instance may have waiting even while the others fill `PENDING_LIMIT_ALL`."""

MAX_BLOCK_S = 1.0
"""How long a child that writes faster than the disk is held back before its lines are dropped."""

LAST_LINES = 20
LAST_LINE_BYTES = 400
DISK_RETRY_S = 1.0
NOTICE_S = 5.0
"""The least seconds between two reports of a disk that fails again and again."""

MASK = b"***"
SHORTEST_SECRET = 5
"""Shorter values are not masked: they would mask half of every line."""

ORIGINS_KEPT = 256
FILES_BY_AGE = 8
"""`max_age` is shared out among at most so many files: see `_is_old`."""


class InstanceLog:
    """Writes the output of one instance to its log files, over all restarts of the instance.

    `feed` and `read` are for the trio thread, `write` and `expire` for the writing thread. `notice` is called from either
    with a text when lines begin or cease to be dropped.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        path: Path,
        writer: LogWriter,
        spec: LogSpec,
        secrets: Iterable[str] = (),
        notice: Callable[["InstanceLog", str], object] = lambda log, text: None,
    ) -> None:
        self.service = service
        self.instance = instance
        self.path = path
        self.spec = spec
        self.pending = 0
        self.lines = 0
        """How many lines were read."""
        self.dropped = 0
        """How many lines never reached the file."""
        self.write_error = ""
        """Why the last write failed; empty after a write that succeeded."""
        self.written = 0
        """How many lines this run wrote to the files."""
        self.write_count = 0
        """Grows with every write, so that a reader knows without a system call whether there is more."""
        self.origins: tuple[FileOrigin, ...] = ()
        """The files that this run wrote to, newest last."""
        self.rotation_lock = threading.RLock()
        """Held while files are renamed: under it, file names and `origins` agree."""
        self._writer = writer
        self._notice = notice
        self._reported_at = -NOTICE_S
        self._drop_reported = False
        self._count_lock = threading.Lock()
        self._secrets = _as_bytes(secrets)
        self._partial = {"stdout": b"", "stderr": b""}
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._unreported = 0
        self._dropping = False
        self._awaited: Any = None
        self._on_match: Callable[[], object] | None = None
        self._file = -1
        self._size = 0
        self._first_line_time = 0.0
        """When the first line of the present file was written (Unix seconds)."""
        self._retry = 0.0

    # ------------------------------------------------------------ in the trio thread

    def mask(self, secrets: Iterable[str]) -> None:
        """Replace the secrets that are masked in new lines."""
        self._secrets = _as_bytes(secrets)

    def expect(self, pattern: str, on_match: Callable[[], object]) -> None:
        """Call `on_match` once, at the next line that matches the RE2 pattern. A new call replaces the previous one."""
        self._awaited, self._on_match = compile_pattern(pattern), on_match

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of the current process (those since `clear`), at most `LAST_LINES`."""
        return tuple(line.decode("utf-8", "replace") for line in self._last)

    def clear(self) -> None:
        """Empty `last_lines`, because a new process starts."""
        self._last.clear()

    async def read(self, descriptor: int, stream: str) -> None:
        """Log the output from the pipe `descriptor` until its end. `stream` is `stdout` or `stderr`."""
        with contextlib.suppress(OSError):  # the kernel bounds the pipe pages of a user: then the size stays
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        due = 0.0
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            # A wake-up costs as much as a thousand lines: a program that writes single lines gathers a few before a read.
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
                await self._wait_for_room()
            due = trio.current_time() + (GATHER_S if len(data) < PIPE_BYTES // 16 else 0.0)

    def feed(self, stream: str, data: bytes) -> None:
        """Log bytes of a stream: complete lines are written to the file, the rest waits for its newline."""
        data = self._partial[stream] + data
        cut = data.rfind(b"\n") + 1
        whole, rest = data[:cut], data[cut:]
        if len(rest) > LINE_LIMIT:
            # A piece must not end inside a secret: mask first, and keep back as many bytes as the longest secret has.
            rest = self._masked(rest)
            room = len(rest) - max((len(secret) for secret in self._secrets), default=0)
            room -= room % LINE_LIMIT
            if room > 0:
                whole, rest = whole + rest[:room] + b"\n", rest[room:]
        self._partial[stream] = rest
        if whole:
            self._accept(stream, whole)

    def finish(self, stream: str) -> None:
        """Log the last line of a stream that has ended without a newline."""
        rest, self._partial[stream] = self._partial[stream], b""
        if rest:
            self._accept(stream, rest + b"\n")

    def write_notice(self, text: str) -> None:
        """Add a notice of the supervisor to the log, as a line of the stream `minikube`."""
        self._queue(OWN_STREAM, text.encode("utf-8", "replace") + b"\n")

    def insert(self, text: str) -> None:
        """Log the output of a stop command between the lines of the instance."""
        self._accept("stdout", text.encode("utf-8", "replace") + b"\n")

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, MASK)
        return data

    def _accept(self, stream: str, whole: bytes) -> None:
        if b"\r" in whole:  # searching one byte is a hundred times faster than two
            whole = whole.replace(b"\r\n", b"\n")
        whole = _cut_long(self._masked(whole))
        self.lines += whole.count(b"\n")
        for line in whole[-8192:].splitlines()[-LAST_LINES:]:
            self._last.append(line[:LAST_LINE_BYTES])
        if self._awaited is not None and any(self._awaited.search(line) for line in whole.splitlines()):
            on_match, self._awaited, self._on_match = self._on_match, None, None
            if on_match is not None:
                on_match()
        if self._is_behind():
            self._drop(whole.count(b"\n"), "the disk is too slow")
            self._dropping = True
            return
        if self._dropping:
            self._dropping = False
            if text := self._take_unreported("the disk was too slow"):
                self.write_notice(text)
        self._queue(stream, whole)

    def _is_behind(self) -> bool:
        """Return whether too many bytes wait for the disk: of this log, or of all logs together."""
        if self.pending > PENDING_LIMIT:
            return True
        return self.pending > PENDING_FLOOR and self._writer.pending > PENDING_LIMIT_ALL

    def _queue(self, stream: str, whole: bytes) -> None:
        self._writer.put(self, encode_lines(stream, whole, self.spec.format))

    def _drop(self, lines: int, why: str) -> None:
        """Add `lines` to the count of dropped lines, and report the first with the reason `why`. Callable from both threads."""
        with self._count_lock:
            self.dropped += lines
            self._unreported += lines
        if not self._drop_reported and time.monotonic() - self._reported_at >= NOTICE_S:
            self._drop_reported, self._reported_at = True, time.monotonic()
            self._notice(self, f"{self.instance}: output is not kept: {why} ({self.path})")

    def _take_unreported(self, why: str) -> str:
        """Return a text with the number of lines dropped since the last call and the reason `why`; empty if none were."""
        with self._count_lock:
            lines, self._unreported = self._unreported, 0
        if not lines:
            return ""
        text = f"{lines} lines dropped: {why}"
        if self._drop_reported:
            self._drop_reported = False
            self._notice(self, f"{self.instance}: output is kept again; {text}")
        return text

    async def _wait_for_room(self) -> None:
        """Wait until fewer bytes wait for the disk, at most `MAX_BLOCK_S`. Meanwhile the child blocks on its full pipe."""
        if self._dropping:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(MAX_BLOCK_S):
            while self.pending > PENDING_LIMIT // 2 or self._is_behind():
                await trio.sleep(0.002)

    # ------------------------------------------------------------ in the writing thread

    def write(self, data: bytes) -> None:
        """Append complete lines to the file. After an error, drop the lines of the next second, then try again."""
        now = time.monotonic()
        if self.write_error and now < self._retry:
            self._drop(data.count(b"\n"), self.write_error)
            return
        before = self.written
        try:
            if self._file < 0:
                self._open()
            if self.write_error and (text := self._take_unreported(self.write_error)):
                data = encode_lines(OWN_STREAM, text.encode() + b"\n", self.spec.format) + data
            for part in self._fitting(data):
                self._write(part, part.count(b"\n"))
            self.write_error = ""
        except OSError as error:
            self._drop(data.count(b"\n") - (self.written - before), error.strerror or str(error))
            self.write_error = error.strerror or str(error)
            self._retry = now + DISK_RETRY_S
            self._close()
        self.write_count += 1

    def _fitting(self, data: bytes) -> Iterator[bytes]:
        """Yield `data` in parts of complete lines that fit into the file; rotate the file between them when it is full.

        The caller must write each part before it takes the next. Only a single line may be longer than `max_size`.
        """
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
        """Rotate and remove files older than `max_age`; `now` is in Unix seconds. Errors are ignored: the next call tries again."""
        with contextlib.suppress(OSError):
            if self._file >= 0 and self._size and self._is_old(now):
                self._rotate()
        if self.spec.max_age:
            for number in file_numbers(self.path, self.spec.keep):
                if number:
                    remove_older(rotated(self.path, number), now - self.spec.max_age)

    def _is_old(self, now: float) -> bool:
        """Return whether the file must be rotated because it spans more than its share of `max_age`."""
        share = self.spec.max_age / min(self.spec.keep + 1, FILES_BY_AGE)
        return bool(self.spec.max_age) and now - self._first_line_time > share

    def _write(self, data: bytes, lines: int) -> None:
        view = memoryview(data)
        if not self._size:
            self._first_line_time = time.time()
        while view:
            count = os.write(self._file, view)
            self._size += count
            view = view[count:]
        self.written += lines

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with self.rotation_lock:
            try:
                self._file = os.open(self.path, flags, 0o600)
            except FileNotFoundError:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self.path, flags, 0o600)
            status = os.fstat(self._file)
            self._size = status.st_size
            if self._size:
                self._first_line_time = written_at(os.pread(self._file, 64, 0)) or status.st_mtime
                if os.pread(self._file, 1, self._size - 1) != b"\n":
                    self._write(b"\n", 0)  # end the line that a full disk cut
            if not self._size or not self.origins or self.origins[-1].inode != status.st_ino:
                origin = FileOrigin(status.st_ino, self.written, self._size)
                self.origins = (*self.origins[1 - ORIGINS_KEPT :], origin)

    def _rotate(self) -> None:
        self._close()
        with self.rotation_lock:
            for number in reversed([*file_numbers(self.path, self.spec.keep - 1)]):
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
    """Remove the file `path` if it was last written before `then` (Unix seconds). Ignore errors."""
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < then:
            path.unlink()


def _cut_long(whole: bytes) -> bytes:
    """Return complete lines with newlines inserted into lines longer than `LINE_LIMIT`; the same object if none is longer."""
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
    """Return the secrets as bytes, longest first, so that a secret that contains another is masked whole.

    Each line of a multi-line secret is returned as a secret of its own.
    """
    lines = (line for secret in secrets for line in secret.splitlines())
    found = {line.encode("utf-8", "surrogateescape") for line in lines if len(line) >= SHORTEST_SECRET}
    return tuple(sorted(found, key=len, reverse=True))
