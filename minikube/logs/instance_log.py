"""One instance's output: read from its pipes, cut into lines, masked, and handed to the writing thread.

A child is blocked for at most `MAX_BLOCK_S` in a burst. Lines that the disk does not take are dropped, counted, reported
through `notice`, and named in the log itself (stream `minikube`) as soon as it can be written again. A line whose newline does
not come is shown to readers after `PARTIAL_S`. Memory is bounded for each instance and for all together. It refuses to
interpret what a program prints.
"""

import contextlib
import fcntl
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trio

from minikube.logs.file_format import OWN_STREAM, encode_lines, written_at
from minikube.logs.writing.dropped_lines import NOTICE_S, DroppedLines
from minikube.logs.writing.log_file import LogFile
from minikube.logs.writing.masking import SecretMask, searched_forms
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec
from minikube.patterns import compile_pattern

READ_BYTES = 262_144
PIPE_BYTES = 1_048_576
"""How much a child may write before it blocks: the most that an unprivileged process may ask for (pipe(7))."""

GATHER_S = 0.002
"""The pause between two reads of a pipe that yields little at a time."""

LINE_LIMIT = 65_536
"""Longer lines are cut into pieces of this many bytes."""

PARTIAL_LIMIT = 65_536
"""How many bytes are kept back at most because they may be the beginning of a secret."""

PARTIAL_S = 0.2
"""How long a line may wait for its newline before it is shown without."""

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


class InstanceLog:
    """Writes the output of one instance to its log files, over all restarts of the instance.

    `feed` and `read` are for the trio thread, `write` and `expire` for the writing thread. `notice` is called from either
    with the name of an event and a text when lines begin or cease to be dropped (`logs.dropped`), and when another program
    changed the file (`logs.file_changed`).
    """

    def __init__(
        self,
        service: str,
        instance: str,
        path: Path,
        writer: LogWriter,
        spec: LogSpec,
        secrets: Iterable[str] = (),
        notice: Callable[["InstanceLog", str, str], object] = lambda log, event, text: None,
    ) -> None:
        self.service = service
        self.instance = instance
        self.file = LogFile(path, spec, self._on_file_changed)
        self.pending = 0
        self.lines = 0
        """How many lines were read."""
        self.file_changes = 0
        """How often another program removed, moved, replaced or truncated the current file."""
        self.write_error = ""
        """Why the last write failed; empty after a write that succeeded."""
        self._writer = writer
        self._notice = notice
        self._drops = DroppedLines(instance, path, lambda text: notice(self, "logs.dropped", text))
        self._changed_at = -math.inf
        self._mask = SecretMask(secrets)
        self._partial = {"stdout": b"", "stderr": b""}
        self._partial_due = {"stdout": math.inf, "stderr": math.inf}
        """By stream: when its incomplete line is to be shown (trio's clock)."""
        self._shown: dict[str, bytes] = {}
        """By stream: the incomplete line as it is shown, in the form of a log file."""
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._dropping = False
        self._awaited: Any = None
        self._on_match: Callable[[], object] | None = None
        self._retry = 0.0

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self.file.path

    @property
    def spec(self) -> LogSpec:
        """The settings of the log."""
        return self.file.spec

    @spec.setter
    def spec(self, spec: LogSpec) -> None:
        self.file.spec = spec

    @property
    def dropped(self) -> int:
        """How many lines never reached the file."""
        return self._drops.total

    # ------------------------------------------------------------ in the trio thread

    def mask(self, secrets: Iterable[str]) -> None:
        """Replace the secrets that are masked in new lines."""
        self._mask = SecretMask(secrets)

    def hide_secrets(self, text: str, *, limit: int = 0) -> str:
        """Return a text about the instance, such as the output of its check, with the secrets masked.

        `limit` is the number of bytes to which the beginning of the text was cut off, perhaps inside a secret; 0 for a whole
        text.
        """
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode("utf-8", "replace")
        masked = self._mask.apply(data)
        if limit and len(data) >= limit:
            masked = masked[max(self._mask.longest - 1, 0) :]
        return masked.decode("utf-8", "replace") if masked is not data else text

    def expect(self, pattern: str, on_match: Callable[[], object]) -> None:
        """Call `on_match` once, at the next line that matches the RE2 pattern. A new call replaces the previous one.

        A line without an end counts once it is shown; a line with colours also as it looks without them.
        """
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
            if self._partial_due[stream] == math.inf:
                await trio.lowlevel.wait_readable(descriptor)
            else:
                with trio.move_on_at(self._partial_due[stream]):
                    await trio.lowlevel.wait_readable(descriptor)
            # A wake-up costs as much as a thousand lines: a program that writes single lines gathers a few before a read.
            await trio.sleep_until(due)
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                self._show_partial_if_due(stream)
                continue
            except OSError:
                data = b""
            if not data:
                self.finish(stream)
                return
            self.feed(stream, data)
            self._show_partial_if_due(stream)
            if self._is_behind():
                await self._wait_for_room()
            due = trio.current_time() + (GATHER_S if len(data) < PIPE_BYTES // 16 else 0.0)

    def _show_partial_if_due(self, stream: str) -> None:
        """Show the incomplete line of a stream if it has waited for `PARTIAL_S`; else note when it will have."""
        if not self._partial[stream]:
            self._partial_due[stream] = math.inf
        elif self._partial_due[stream] == math.inf:
            if self._shown.get(stream) is None or self._shown[stream] != self._partial[stream]:
                self._partial_due[stream] = trio.current_time() + PARTIAL_S
        elif trio.current_time() >= self._partial_due[stream]:
            # A disk that hangs takes no incomplete lines either: one each time would fill the memory.
            is_behind = self._is_behind()
            self._partial_due[stream] = trio.current_time() + PARTIAL_S if is_behind else math.inf
            if not is_behind:
                self.show_partial(stream)

    def show_partial(self, stream: str) -> None:
        """Show the incomplete line of a stream to readers, without what may be the beginning of a secret."""
        rest = self._partial[stream]
        self._shown[stream] = rest
        self._find_awaited(rest)
        self._send_partial()

    def _send_partial(self) -> None:
        data = b"".join(
            encode_lines(stream, text + b"\n", "plain")
            for stream, rest in self._shown.items()
            if (text := _without_open_character(self._mask.apply(rest[: self._mask.safe_end(rest)])))
        )
        self._writer.call(self, lambda: self.file.show_partial(data), len(data))

    def feed(self, stream: str, data: bytes) -> None:
        """Log bytes of a stream: complete lines are written to the file, the rest waits for its newline."""
        data = self._partial[stream] + data
        cut = data.rfind(b"\n") + 1
        whole, rest = data[:cut], data[cut:]
        if len(rest) > LINE_LIMIT:
            # A piece must not end inside a secret: mask first, and keep back what may be the beginning of one.
            end = self._mask.safe_end(rest)
            if len(rest) - end > PARTIAL_LIMIT:
                end = len(rest)  # one secret after another, each overlapping the next: memory is bounded all the same
            masked = self._mask.apply(rest[:end])
            room = len(masked) - len(masked) % LINE_LIMIT
            whole, rest = whole + masked[:room] + b"\n" * (room > 0), masked[room:] + rest[end:]
        self._partial[stream] = rest
        if whole:
            self._hide_partial(stream)
            self._accept(stream, whole)

    def finish(self, stream: str) -> None:
        """Log the last line of a stream that has ended without a newline."""
        rest, self._partial[stream] = self._partial[stream], b""
        self._hide_partial(stream)
        if rest:
            self._accept(stream, rest + b"\n")

    def _hide_partial(self, stream: str) -> None:
        # Before the complete line is queued: a reader must not get the incomplete one after it.
        if self._shown.pop(stream, None) is not None:
            self._send_partial()

    def write_notice(self, text: str) -> None:
        """Add a notice of the supervisor to the log, as a line of the stream `minikube`."""
        self._queue(OWN_STREAM, text.encode("utf-8", "replace") + b"\n")

    def insert(self, text: str) -> None:
        """Log the output of a stop command between the lines of the instance."""
        self._accept("stdout", text.encode("utf-8", "replace") + b"\n")

    def _accept(self, stream: str, whole: bytes) -> None:
        if b"\r" in whole:  # searching one byte is a hundred times faster than two
            whole = whole.replace(b"\r\n", b"\n")
        whole = _cut_long(self._mask.apply(whole))
        self.lines += whole.count(b"\n")
        for line in whole[-8192:].splitlines()[-LAST_LINES:]:
            self._last.append(line[:LAST_LINE_BYTES])
        self._find_awaited(whole)
        if self._is_behind():
            self._drops.add(whole.count(b"\n"), "the disk is too slow")
            self._dropping = True
            return
        if self._dropping:
            self._dropping = False
            self._drops.settle("the disk was too slow", self.write_notice)
        self._queue(stream, whole)

    def _find_awaited(self, text: bytes) -> None:
        """Call what `expect` was given if a line matches, complete or not, with its colours or without them."""
        if self._awaited is None:
            return
        if any(self._awaited.search(line) for form in searched_forms(text) for line in form.splitlines()):
            on_match, self._awaited, self._on_match = self._on_match, None, None
            if on_match is not None:
                on_match()

    def _is_behind(self) -> bool:
        """Return whether too many bytes wait for the disk: of this log, or of all logs together."""
        if self.pending > PENDING_LIMIT:
            return True
        return self.pending > PENDING_FLOOR and self._writer.pending > PENDING_LIMIT_ALL

    def _queue(self, stream: str, whole: bytes) -> None:
        self._writer.put(self, encode_lines(stream, whole, self.spec.format))

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
            self._drops.add(data.count(b"\n"), self.write_error)
            return
        before = self.file.written
        try:
            if self.write_error:
                # Readers sort by time: the notice must not be later than the line before which it stands.
                self._drops.settle(self.write_error, lambda text: self._append_notice(text, written_at(data)))
                before = self.file.written  # the notice is no line of the instance
            self.file.append(data)
            self.write_error = ""
        except (OSError, MemoryError) as error:
            self.write_error = (error.strerror if isinstance(error, OSError) else "") or str(error) or "out of memory"
            self._drops.add(data.count(b"\n") - (self.file.written - before), self.write_error)
            self._retry = now + DISK_RETRY_S
            self.file.close()
        self.file.write_count += 1

    def _append_notice(self, text: str, moment: float) -> None:
        self.file.append(encode_lines(OWN_STREAM, text.encode() + b"\n", self.spec.format, moment))

    def expire(self, now: float) -> None:
        """Rotate and remove files older than `max_age`; `now` is in Unix seconds."""
        self.file.expire(now)

    def _on_file_changed(self, text: str) -> None:
        self.file_changes += 1
        now = time.monotonic()
        if now - self._changed_at >= NOTICE_S:
            self._changed_at = now
            self._notice(self, "logs.file_changed", f"{self.instance}: {text} ({self.path})")


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


def _without_open_character(data: bytes) -> bytes:
    """Return `data` without the bytes of a UTF-8 character at its end that is not complete."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # no continuation byte: the character begins here
            length = 2 if byte >> 5 == 6 else 3 if byte >> 4 == 14 else 4 if byte >> 3 == 30 else 1
            return data[:-back] if length > back else data
    return data
