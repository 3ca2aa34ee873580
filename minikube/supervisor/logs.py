"""Output of the instances (floor 3): captured into files, rotated, read back, followed.

    Capture    one instance's output over all its restarts: cuts lines, masks secrets, stamps them, keeps the last few
    LogWriter  one thread that writes for everybody, so that a slow or full disk stalls neither trio nor a child
    reader.py  tail and follow, from the files

A child is never blocked by us for longer than `PATIENCE_S` in a burst: what the disk cannot take is dropped, counted, and said
in the log itself (stream `minikube`) as soon as it can be written. Memory is bounded per instance and altogether.
A line on disk is `2026-11-24T00:16:00.123456Z stdout text`, or with `format = "json"` an object with the same three.
It refuses to interpret what services print.
"""

import contextlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import trio

from minikube.manifest import LogSpec

READ_BYTES = 262_144
LINE_LIMIT = 65_536
"""Longer lines are cut into pieces of this size."""

PENDING_LIMIT = 4 * 1024 * 1024
"""Bytes of one instance that wait for the disk."""

PENDING_LIMIT_ALL = 16 * 1024 * 1024
PATIENCE_S = 0.1
LAST_LINES = 20
LAST_LINE_BYTES = 400
DISK_RETRY_S = 1.0
MASK = b"***"
SHORTEST_SECRET = 5
"""Shorter values would mask half of every line."""


class LogWriter:
    """The thread that writes. `changed` is called in it after every round. Daemonic: it never holds up the end."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        self._ready = threading.Condition()
        self._queue: deque[tuple[Capture, bytes]] = deque()
        self._closed = False
        self.pending = 0
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def put(self, capture: "Capture", data: bytes) -> None:
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
        while True:
            with self._ready:
                while not self._queue and not self._closed:
                    self._ready.wait()
                items = list(self._queue)
                self._queue.clear()
                if not items and self._closed:
                    return
            for capture, data in items:
                capture.write(data)
                with self._ready:
                    self.pending -= len(data)
                    capture.pending -= len(data)
            self._changed()


class Capture:
    """One instance's output. `feed` and `read` belong to the trio thread, `write` to the writer's."""

    def __init__(
        self, service: str, instance: str, path: Path, writer: LogWriter, spec: LogSpec, secrets: Iterable[str] = ()
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
        self._writer = writer
        self._secrets = _as_bytes(secrets)
        self._partial = {"stdout": b"", "stderr": b""}
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._untold = 0
        self._skipping = False
        self._pattern: re.Pattern[bytes] | None = None
        self._found: Callable[[], object] | None = None
        self._file = -1
        self._size = 0
        self._retry = 0.0

    # ------------------------------------------------------------ the trio side

    def mask(self, secrets: Iterable[str]) -> None:
        """From now on these values are masked."""
        self._secrets = _as_bytes(secrets)

    def expect(self, pattern: str, found: Callable[[], object]) -> None:
        """Calls `found` once, at the first line from now on that `pattern` is found in."""
        self._pattern, self._found = re.compile(pattern.encode()), found

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines since `clear`."""
        return tuple(line.decode("utf-8", "replace") for line in self._last)

    def clear(self) -> None:
        """A new process starts: the last lines are its own from now on."""
        self._last.clear()

    async def read(self, descriptor: int, stream: str) -> None:
        """Reads a pipe to its end."""
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            while True:
                try:
                    data = os.read(descriptor, READ_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self.finish(stream)
                    return
                self.feed(stream, data)
                if self.pending > PENDING_LIMIT or self._writer.pending > PENDING_LIMIT_ALL:
                    await self._wait_room()
                else:
                    await trio.lowlevel.checkpoint()

    def feed(self, stream: str, data: bytes) -> None:
        """Takes what was read: whole lines go to the file, the rest waits for its end."""
        data = self._partial[stream] + data
        cut = data.rfind(b"\n") + 1
        whole, rest = data[:cut], data[cut:]
        if len(rest) > LINE_LIMIT:
            whole, rest = whole + rest + b"\n", b""
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
        self._queue("minikube", text.encode("utf-8", "replace") + b"\n")

    def _take(self, stream: str, whole: bytes) -> None:
        whole = whole.replace(b"\r\n", b"\n")
        self.lines += whole.count(b"\n")
        for secret in self._secrets:
            if secret in whole:
                whole = whole.replace(secret, MASK)
        for line in whole[-8192:].splitlines()[-LAST_LINES:]:
            self._last.append(line[:LAST_LINE_BYTES])
        if self._pattern is not None and any(self._pattern.search(line) for line in whole.splitlines()):
            found, self._pattern, self._found = self._found, None, None
            if found is not None:
                found()
        if self.pending > PENDING_LIMIT or self._writer.pending > PENDING_LIMIT_ALL:
            self._drop(whole.count(b"\n"))
            self._skipping = True
            return
        if self._skipping:
            self._skipping = False
            self._tell_dropped("the disk is too slow")
        self._queue(stream, whole)

    def _queue(self, stream: str, whole: bytes) -> None:
        self._writer.put(self, stamped(stream, whole, self.spec.format))

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _tell_dropped(self, why: str) -> None:
        lines, self._untold = self._untold, 0
        if lines:
            self.say(f"{lines} lines dropped: {why}")

    async def _wait_room(self) -> None:
        """A burst may hold its child up for a moment; a disk that stays slow may not."""
        if self._skipping:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(PATIENCE_S):
            while self.pending > PENDING_LIMIT // 2:
                await trio.sleep(0.002)

    # ------------------------------------------------------------ the writer's side

    def write(self, data: bytes) -> None:
        """Appends to the file. A disk that refuses is tried again every second, and what it missed is counted."""
        now = time.monotonic()
        if self.trouble and now < self._retry:
            self._drop(data.count(b"\n"))
            return
        try:
            if self._file < 0:
                self._open()
            if self._size + len(data) > self.spec.max_size and self._size:
                self._rotate()
            if self.trouble and self._untold:
                notice = f"{self._untold} lines dropped: {self.trouble}\n".encode()
                self._write(stamped("minikube", notice, self.spec.format))
                self._untold = 0
            self._write(data)
            self.trouble = ""
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._retry = now + DISK_RETRY_S
            self._drop(data.count(b"\n"))
            self._close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._file, view)
            self._size += count
            view = view[count:]

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._write(b"\n")  # a disk that filled up cut a line

    def _rotate(self) -> None:
        self._close()
        for number in range(self.spec.keep, 0, -1):
            source = rotated(self.path, number - 1)
            with contextlib.suppress(FileNotFoundError):
                os.replace(source, rotated(self.path, number))
        if not self.spec.keep:
            self.path.unlink(missing_ok=True)
        self._open()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def rotated(path: Path, number: int) -> Path:
    """`x.log`, `x.log.1`, …: 0 is the one that is written, the highest the oldest."""
    return path.with_name(f"{path.name}.{number}") if number else path


def stamped(stream: str, whole: bytes, style: str) -> bytes:
    """Whole lines as they stand in the file; all of one read carry the same time."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    if style == "json":
        encoder = msgspec.json.Encoder()
        record = {"time": stamp, "stream": stream, "line": ""}
        lines = whole.decode("utf-8", "replace").split("\n")[:-1]
        return b"".join(encoder.encode({**record, "line": line}) + b"\n" for line in lines)
    prefix = f"{stamp} {stream} ".encode()
    return prefix + whole[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


def _as_bytes(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Longest first, so that a secret that holds another is masked whole."""
    found = {secret.encode("utf-8", "surrogateescape") for secret in secrets if len(secret) >= SHORTEST_SECRET}
    return tuple(sorted(found, key=len, reverse=True))
