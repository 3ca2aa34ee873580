"""Log files read back: the files of one instance as one sequence of lines, across rotations. No trio.

A reader holds its files open, so that a file that is rotated away is still read to its end. Lines that were removed before
they could be read are reported by a line in stream `minikube`. It refuses to write, and holds no more than a block of a file.
More than 400 lines in one piece: the position in a file, its origin and the levels so far change together.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from minikube.logs import levels
from minikube.logs.blocks import (
    BLOCK,
    blocks_backwards,
    count_lines,
    find_candidates,
    offset_after,
    offset_of,
)
from minikube.logs.file_format import OWN_STREAM, FileOrigin, Source, file_numbers, parse_line, rotated, written_at
from minikube.logs.filter import LogFilter
from minikube.logs.removed_file import RemovedFile
from minikube.model import LogLine

STREAMS = ("stdout", "stderr")


class LiveLog(Protocol):
    """The attributes of a `LogFile` that a reader of the same files uses."""

    written: int
    write_count: int
    partial_count: int
    truncations: int
    origins: tuple[FileOrigin, ...]

    @property
    def rotation_lock(self) -> AbstractContextManager[object]: ...


class LogPosition(NamedTuple):
    """The position of a line: the index of its open file (0 is the newest) and the offset in the file."""

    file: int
    offset: int


class LogReader:
    """Reads the log files of one instance as one sequence of lines. For one thread at a time; must be closed.

    `live` is the log that writes the files, or None if another process does. `with_levels` says whether the returned lines
    have their levels, which takes longer than all other work.
    """

    def __init__(self, source: Source, live: LiveLog | None = None, *, with_levels: bool = True) -> None:
        self.source = source
        self._with_levels = with_levels
        self._seen_writes = -1
        """`write_count` of the live log when everything had been read."""
        self._live = live
        self._truncations = live.truncations if live else 0
        self._files: list[int] = []
        """Descriptors, newest file first; the last one is being read."""
        self._offset = 0
        self._partial = b""
        self._end: int | None = None
        """The offset up to which the newest file is read; None: to its end, however it grows."""
        self._floor = 0.0
        self._written = 0
        self._origin: FileOrigin | None = None
        """The origin of the file that is being read, once it is known."""
        self._removed: RemovedFile | None = None
        """The removed file whose last lines may be repeated in the file that is being read."""
        self._filter: LogFilter | None = None
        self._cancelled = False
        self._unreadable: list[str] = []
        """Notices about files that could not be opened, to be read first."""
        self._level: dict[str, str] = {}
        """By stream: the level of the last line before `_leveled_to`, which a continuation line inherits."""
        self._leveled_to: dict[str, int] = {}

    def set_filter(self, log_filter: LogFilter) -> None:
        """From the next read on, return only lines that the filter selects."""
        self._filter = log_filter
        self._with_levels = self._with_levels or log_filter.levels

    def set_live(self, live: LiveLog | None) -> None:
        """From the next read on, `live` is the log that writes the files: an instance of that name was removed, or added again."""
        if live is not self._live:
            self._live, self._origin, self._seen_writes = live, None, -1
            self._truncations = live.truncations if live else 0

    def cancel(self) -> None:
        """Make a running read return soon, as at the end of the files. Callable from any thread."""
        self._cancelled = True

    def open(self) -> None:
        """Open the existing files. Only lines that exist now are read, until `follow` is called."""
        with self._no_rotation():
            self._open()

    def _open(self) -> None:
        inodes: set[int] = set()
        for number in file_numbers(self.source.path, self.source.keep):
            try:
                file = self._open_file(number)
            except FileNotFoundError:
                continue
            except OSError as error:  # another user's file, or a link
                self._unreadable.append(f"{rotated(self.source.path, number).name} cannot be read: {error.strerror}")
                continue
            inode = os.fstat(file).st_ino
            if inode in inodes:  # rotated meanwhile: it was opened as the newer file
                os.close(file)
                continue
            inodes.add(inode)
            self._files.append(file)
        self._end = os.fstat(self._files[0]).st_size if self._files else 0
        self._written = self._live.written if self._live else 0

    def follow(self) -> None:
        """From now on also read lines that were written after `open`."""
        self._end = None

    def close(self) -> None:
        """Close the files."""
        self._close_removed()
        while self._files:
            os.close(self._files.pop())

    @property
    def live(self) -> LiveLog | None:
        """The log that writes the files; None if another process does."""
        return self._live

    # ------------------------------------------------------------ finding a position

    def backwards(self, since: float) -> Iterator[tuple[LogLine, LogPosition]]:
        """Yield the selected lines, newest first, back to the first that was written at `since` (Unix seconds).

        Continuation lines are yielded without a level.
        """
        for number, file in enumerate(self._files):
            end = self._end if number == 0 else os.fstat(file).st_size
            for offset, block in blocks_backwards(file, end or 0):
                lines, candidates = find_candidates(block, self._filter)
                at, behind = offset + len(block) + 1, len(lines)
                for index in reversed(candidates):
                    at -= sum(map(len, lines[index:behind])) + behind - index
                    behind = index
                    line = parse_line(lines[index], self.source.service, self.source.instance)
                    if line is None:
                        continue
                    if line.time < since:
                        return
                    if self._filter is None or self._is_selected_alone(line, self._filter):
                        yield line, LogPosition(number, at)
                if self._cancelled or 0 < written_at(block) < since:
                    return

    def _is_selected_alone(self, line: LogLine, log_filter: LogFilter) -> bool:
        if not log_filter.levels or not log_filter.selects_text(line):
            return log_filter.selects(line)
        return log_filter.selects(replace(line, level=_own_level(line)))

    def seek(self, position: LogPosition, since: float = 0.0) -> None:
        """Set the position from which the next read continues. Lines written before `since` (Unix seconds) are left out.

        They also give no level to the lines that continue them.
        """
        self._floor = since
        while len(self._files) > position.file + 1:
            os.close(self._files.pop())
        self._move_to(position.offset)
        # A first line may go on from one before the position, which has its level.
        self._level.clear()
        self._leveled_to.clear()

    def _move_to(self, offset: int) -> None:
        self._offset, self._partial = offset, b""
        self._leveled_to = dict.fromkeys(STREAMS, offset)

    def seek_time(self, since: float) -> None:
        """Set the position to the first line that was written at `since` (Unix seconds) or later."""
        number = len(self._files) - 1
        while number > 0 and 0 < written_at(os.pread(self._files[number - 1], 64, 0)) < since:
            number -= 1
        self.seek(LogPosition(max(number, 0), offset_of(self._files[number], since) if self._files else 0), since)

    @property
    def end(self) -> LogPosition:
        """The position after the last line that existed at `open`."""
        return LogPosition(0, self._end or 0)

    # ------------------------------------------------------------ reading forwards

    def read(self) -> list[LogLine]:
        """Return the selected lines of the next block that has any; empty at the end of the files."""
        while self._unreadable:
            if notice := self._notice(self._unreadable.pop()):
                return notice
        while not self._cancelled:
            if (cut := self._follow_truncation()) and (notice := self._notice(cut)):
                return notice
            if not self._files:
                lost = self._open_first() if self._end is None else None
                if lost is None:
                    return []
                if notice := self._notice(lost):
                    return notice
            if self._removed is not None:
                offset = self._removed.skip_repeated(self._files[-1], self._offset)
                if offset != self._offset:
                    self._move_to(offset)
            room = BLOCK
            if self._end is not None and len(self._files) == 1:
                room = min(BLOCK, self._end - self._offset)
            data = os.pread(self._files[-1], room, self._offset) if room > 0 else b""
            if data:
                block, end, rest = (self._partial + data).rpartition(b"\n")
                begin = self._offset - len(self._partial)
                self._offset += len(data)
                self._partial = rest
                if end and (selected := self._select(block, begin)):
                    return selected
            elif len(self._files) > 1:
                self._close_oldest()
            elif self._end is not None or (lost := self._open_next()) is None:
                return []
            elif notice := self._notice(lost):
                return notice
        return []

    def _follow_truncation(self) -> str:
        """Begin the newest file again if another program truncated it; return a text about it, empty if it is not so."""
        if self._end is not None or len(self._files) != 1:
            return ""
        if self._live is not None:
            if self._truncations == self._live.truncations:
                return ""
            self._truncations = self._live.truncations
            if os.fstat(self._files[0]).st_ino != self._live.origins[-1].inode:
                return ""
        elif os.fstat(self._files[0]).st_size >= self._offset:
            return ""
        self._origin = None
        self._move_to(0)
        return f"{self.source.path.name} was truncated, lines may be missing here"

    def lines(self) -> Iterator[LogLine]:
        """Yield the selected lines from the position to the end of the files."""
        while batch := self.read():
            yield from batch

    def read_new(self) -> list[LogLine]:
        """Return what `read` does. If the live log has written nothing since, return an empty list without a system call."""
        seen = self._live.write_count if self._live else -1
        if seen == self._seen_writes and self._live is not None:
            return []
        lines = self.read()
        if not lines:
            self._seen_writes = seen
        return lines

    def has_more(self) -> bool:
        """Return whether there are unread bytes, or the file was truncated, with one system call."""
        return len(self._files) != 1 or os.fstat(self._files[0]).st_size != self._offset

    def count_unread(self) -> int:
        """Close the reader, and return the number of unread lines."""
        count = 0
        self._with_levels = False
        while self._files:
            count += count_lines(self._files[-1], self._offset)
            self._offset = os.fstat(self._files[-1]).st_size
            if len(self._files) > 1:
                self._close_oldest()
            elif self._open_next() is None:
                break
        self.close()
        return count

    def _select(self, block: bytes, begin: int) -> list[LogLine]:
        """Return the selected lines of a block at offset `begin`."""
        lines, candidates = find_candidates(block, self._filter)
        log_filter, found = self._filter, []
        text_filter = log_filter if log_filter is not None and log_filter.reads else None
        continued: dict[str, tuple[int, str]] = {}
        for number in candidates:
            line = parse_line(lines[number], self.source.service, self.source.instance)
            if (
                line is None
                or line.time < self._floor
                or (text_filter is not None and not text_filter.selects_text(line))
            ):
                continue
            if self._with_levels:
                level = _own_level(line)
                if not level and levels.is_continuation(line.line):
                    level = self._continued_level(lines, number, line.stream, begin, continued)
                if level:
                    line = replace(line, level=level)
            if log_filter is None or not log_filter.levels or log_filter.selects(line):
                found.append(line)
        for stream, (_, level) in continued.items():
            self._level[stream], self._leveled_to[stream] = level, begin
        return found

    def _continued_level(
        self, lines: list[bytes], number: int, stream: str, begin: int, known: dict[str, tuple[int, str]]
    ) -> str:
        """Return the level of continuation line `number` in a block: the level of the last line of `stream` that has one.

        `begin` is the block's offset. `known` caches, by stream, the last line with a known level and the level.
        """
        last, level = known.get(stream, (-1, ""))
        found = self._level_of_last(lines[last + 1 : number], stream)
        if found is not None:
            level = found
        elif last < 0:
            level = self._level_before(begin, stream)
        known[stream] = (number, level)
        return level

    def _level_of_last(self, lines: Sequence[bytes], stream: str) -> str | None:
        """Return the level of the last line of `stream` in `lines` that is not a continuation line; None if there is none."""
        name = stream.encode()
        for raw in reversed(lines):
            if name not in raw:
                continue
            line = parse_line(raw, self.source.service, self.source.instance)
            if line is None or line.stream != stream or line.time < self._floor:
                continue
            level = levels.level_of(line.line)
            if level or not levels.is_continuation(line.line):
                return level
        return None

    def _level_before(self, end: int, stream: str) -> str:
        """Return the level of the last line of `stream` before offset `end` of the current file, without continuation lines."""
        name, least = stream.encode(), self._leveled_to.get(stream, 0)
        for offset, block in blocks_backwards(self._files[-1], end):
            if offset + len(block) < least:
                break
            part = block[max(least - offset, 0) :]
            if name in part and (level := self._level_of_last(part.split(b"\n"), stream)) is not None:
                return level
            if offset <= least:
                break
        return self._level.get(stream, "")

    def _close_oldest(self) -> None:
        """Close the oldest open file, after it was read to its end."""
        if self._with_levels:
            end = self._offset
            self._level = {stream: self._level_before(end, stream) for stream in STREAMS}
        os.close(self._files.pop())
        self._origin = None
        self._move_to(0)

    def _open_file(self, number: int) -> int:
        # O_NONBLOCK: a FIFO in the place of the log would block the reader.
        file = os.open(rotated(self.source.path, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.ENXIO, "not a regular file")
        return file

    def _notice(self, text: str) -> list[LogLine]:
        """Return `text` as a line of the supervisor, in a list; empty if there is no text or the filter rejects it."""
        line = LogLine(time.time(), self.source.service, self.source.instance, OWN_STREAM, text, "warning")
        return [line] if text and (self._filter is None or self._filter.selects(line)) else []

    def _no_rotation(self) -> AbstractContextManager[object]:
        """Return a context in which this process renames no file of the log."""
        return self._live.rotation_lock if self._live else contextlib.nullcontext()

    def _open_first(self) -> str | None:
        """Open the oldest file. Return None if there is none, else a text as `_open_next` does."""
        with self._no_rotation():
            oldest = self._oldest()
            if oldest is None:
                return None
            try:
                self._files = [self._open_file(oldest)]
            except OSError:
                return None  # something else stands there until the next write
            self._move_to(0)
            self._origin = self._origin_of(self._files[0])
            return _lost_lines(self._origin.first - self._written) if self._origin else ""

    def _open_next(self) -> str | None:
        """Close the current file and open the next newer one, if the current one was rotated or taken away.

        Return None if there is no newer file, else a text about lines that were removed before they could be read; empty if no
        lines were.
        """
        with self._no_rotation():
            file = self._files[-1]
            number, following = self._following(file)
            self._origin = self._origin or self._origin_of(file)
            if following is None:
                return None
            after = self._origin_of(following)
        if os.fstat(file).st_size > self._offset:  # lines came between the last read and the rotation
            os.close(following)
            return ""
        lost, begin = "", 0
        if number is None:
            lost, begin = self._pass_removed(file, after)
        self._close_oldest()
        self._files.append(following)
        self._origin = after
        self._move_to(begin)
        return lost

    def _pass_removed(self, file: int, after: FileOrigin | None) -> tuple[str, int]:
        """Return a text about lines lost between a removed file and the next one, and the offset in that one to read from.

        Lines that went into the removed file were written again to the next one: the reader skips them there.
        """
        lost, begin, repeated = "", 0, -1
        if self._origin is not None and after is not None:
            lines = self._origin.first + count_lines(file, self._origin.offset)
            lost = _lost_lines(after.first - lines)
            begin = after.offset  # before it is what an earlier run or another program wrote
            repeated = offset_after(file, self._origin.offset, after.first - self._origin.first)
        elif self._live is not None:
            lost = "lines may have been removed before they could be shown"
        if not lost:
            self._close_removed()
            self._removed = RemovedFile(file, repeated)
        return lost, begin

    def _close_removed(self) -> None:
        if self._removed is not None:
            self._removed.close()
            self._removed = None

    def _following(self, file: int) -> tuple[int | None, int | None]:
        """Return the current number of an open file, and the descriptor of the next newer file.

        The number is None if the file was removed, the descriptor is None if there is no newer file.
        """
        inode = os.fstat(file).st_ino
        while True:
            number = self._number_of(inode)
            wanted = number - 1 if number is not None else self._oldest_after(file)
            if wanted is None or wanted < 0:
                return number, None
            try:
                following = self._open_file(wanted)
            except OSError:
                return number, None  # a rotation is in progress: the next write wakes the reader
            # Files are renamed from the highest number down: if this one was not, the one after it was not either.
            if self._number_of(inode) == number:
                return number, following
            os.close(following)

    def _oldest_after(self, file: int) -> int | None:
        """Return the number of the oldest file that was begun after the open file `file`, which has no number any more."""
        for number in reversed([*file_numbers(self.source.path, self.source.keep)]):
            with contextlib.suppress(OSError):
                other = self._open_file(number)
                try:
                    if self._is_after(other, file):
                        return number
                finally:
                    os.close(other)
        return None

    def _is_after(self, other: int, file: int) -> bool:
        """Return whether the file `other` was begun after `file`; both are open."""
        origins = self._live.origins if self._live else ()
        mine, its = self._origin or self._origin_of(file), self._origin_of(other)
        if mine is not None:
            return its is not None and (mine not in origins or origins.index(its) > origins.index(mine))
        # Without origins by time, which other programs and clocks can change: what is equal may be newer.
        return its is not None or _last_written(other) >= _last_written(file)

    def _number_of(self, inode: int) -> int | None:
        for number in file_numbers(self.source.path, self.source.keep):
            with contextlib.suppress(OSError):
                if os.stat(rotated(self.source.path, number)).st_ino == inode:
                    return number
        return None

    def _oldest(self) -> int | None:
        return max(file_numbers(self.source.path, self.source.keep), default=None)

    def _origin_of(self, file: int) -> FileOrigin | None:
        """Return the origin of an open file; None if the live log does not know it."""
        inode = os.fstat(file).st_ino
        origins = self._live.origins if self._live else ()
        return next((origin for origin in reversed(origins) if origin.inode == inode), None)


def _last_written(file: int) -> tuple[int, float]:
    """Return when an open file was last written, and the time of its first line."""
    return os.fstat(file).st_mtime_ns, written_at(os.pread(file, 64, 0))


def _own_level(line: LogLine) -> str:
    return "warning" if line.stream == OWN_STREAM else levels.level_of(line.line)


def _lost_lines(lines: int) -> str:
    subject = "1 line was" if lines == 1 else f"{lines} lines were"
    return f"{subject} removed before they could be shown" if lines > 0 else ""
