"""Logs read back (floor 3): the files of one instance as one run of lines, and those of many by time. No trio.

    Trail     one instance: finds a place in the past, reads on from there, across rotations, for as long as there is more
    backlog   what a query asks for and is there already, in batches
    fresh     what has been written since

A trail holds its files open, so that what it has begun is read to its end even when it is rotated away. What was removed
before it came round is told as a line of our own. It refuses to write, and to hold more than a block of each file. What it
knows of a file (where it stands, its origin, the levels so far) changes together: that is why this file is a long one.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from heapq import merge
from itertools import islice, repeat
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from minikube.logs import levels
from minikube.logs.blocks import BLOCK, blocks_backwards, count_lines, offset_of, sifted
from minikube.logs.filter import LogFilter
from minikube.logs.format import OURS, Source, numbers, parse, rotated, written_at
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.model import LogLine

if TYPE_CHECKING:
    from minikube.logs.collector import InstanceLog, Origin

BATCH = 1_000
STREAMS = ("stdout", "stderr")


class LogPosition(NamedTuple):
    """Where a line begins: the file by its number in the trail (0 is the newest), and the offset."""

    file: int
    offset: int


class LogReader:
    """Not for two threads at once. `close` it."""

    def __init__(self, source: Source, capture: "InstanceLog | None" = None, *, leveled: bool = True) -> None:
        """`leveled`: whether the lines' levels are looked for, which takes longer than all the rest."""
        self.source = source
        self._leveling = leveled
        self.rounds = -1
        """The capture's count of writes when this was read to its end."""
        self._capture = capture
        self._files: list[int] = []
        """Newest first; the last one is being read."""
        self._offset = 0
        self._partial = b""
        self._end: int | None = None
        """How far the newest file is read; None: to wherever its end is then."""
        self._floor = 0.0
        self._written = 0
        self._origin: Origin | None = None
        """The origin of the file that is being read, once it is known."""
        self._sieve: LogFilter | None = None
        self._given_up = False
        self._level: dict[str, str] = {}
        """By stream: the level that a line has which goes on, if no other line of the stream begins after `_leveled_to`."""
        self._leveled_to: dict[str, int] = {}

    def want(self, sieve: LogFilter) -> None:
        """From now on only what the sieve takes is found."""
        self._sieve = sieve
        self._leveling = self._leveling or sieve.levels

    def give_up(self) -> None:
        """From any thread: what is under way ends soon, as if there were nothing more."""
        self._given_up = True

    def open(self) -> None:
        """Stands before everything that is kept; what is written from now on is not read until `go_on`."""
        with self._at_rest():
            self._open()

    def _open(self) -> None:
        inodes: set[int] = set()
        for number in numbers(self.source.path, self.source.keep):
            with contextlib.suppress(FileNotFoundError):
                file = self._open_file(number)
                inode = os.fstat(file).st_ino
                if inode in inodes:  # rotated meanwhile: the one before it has been opened as the newest
                    os.close(file)
                    continue
                inodes.add(inode)
                self._files.append(file)
        self._end = os.fstat(self._files[0]).st_size if self._files else 0
        self._written = self._capture.written if self._capture else 0

    def go_on(self) -> None:
        """From now on what is written is read."""
        self._end = None

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())

    # ------------------------------------------------------------ finding the place

    def backwards(self, since: float) -> Iterator[tuple[LogLine, LogPosition]]:
        """What is wanted, from the last line to the first that was written at `since` or later. A line that goes on
        has no level here."""
        for number, file in enumerate(self._files):
            end = self._end if number == 0 else os.fstat(file).st_size
            for offset, block in blocks_backwards(file, end or 0):
                lines, suspects = sifted(block, self._sieve)
                at, behind = offset + len(block) + 1, len(lines)
                for suspect in reversed(suspects):
                    at -= sum(map(len, lines[suspect:behind])) + behind - suspect
                    behind = suspect
                    line = parse(lines[suspect], self.source.service, self.source.instance)
                    if line is None:
                        continue
                    if line.time < since:
                        return
                    if self._sieve is None or self._takes_alone(line, self._sieve):
                        yield line, LogPosition(number, at)
                if self._given_up or 0 < written_at(block) < since:
                    return

    def _takes_alone(self, line: LogLine, sieve: LogFilter) -> bool:
        if not sieve.levels or not sieve.takes_text(line):
            return sieve.takes(line)
        return sieve.takes(replace(line, level=_level_alone(line)))

    def begin(self, place: LogPosition) -> None:
        """Reads on from `place`."""
        while len(self._files) > place.file + 1:
            os.close(self._files.pop())
        self._move_to(place.offset)
        self._level.clear()

    def _move_to(self, offset: int) -> None:
        self._offset, self._partial = offset, b""
        self._leveled_to = dict.fromkeys(STREAMS, offset)

    def begin_at(self, since: float) -> None:
        """Reads on from the first line that was written at `since` or later."""
        self._floor = since
        number = len(self._files) - 1
        while number > 0 and 0 < written_at(os.pread(self._files[number - 1], 64, 0)) < since:
            number -= 1
        self.begin(LogPosition(max(number, 0), offset_of(self._files[number], since) if self._files else 0))

    @property
    def end(self) -> LogPosition:
        """Behind what was there when it was opened."""
        return LogPosition(0, self._end or 0)

    # ------------------------------------------------------------ reading on

    def read(self) -> list[LogLine]:
        """The next lines, at most a block of them; empty when there are no more (yet)."""
        while not self._given_up:
            if not self._files:
                lost = self._find_first() if self._end is None else None
                if lost is None:
                    return []
                if said := self._said(lost):
                    return said
            room = BLOCK
            if self._end is not None and len(self._files) == 1:
                room = min(BLOCK, self._end - self._offset)
            data = os.pread(self._files[-1], room, self._offset) if room > 0 else b""
            if data:
                block, end, rest = (self._partial + data).rpartition(b"\n")
                begin = self._offset - len(self._partial)
                self._offset += len(data)
                self._partial = rest
                if end and (wanted := self._wanted(block, begin)):
                    return wanted
            elif len(self._files) > 1:
                self._leave()
            elif self._end is not None or (lost := self._next()) is None:
                return []
            elif said := self._said(lost):
                return said
        return []

    def lines(self) -> Iterator[LogLine]:
        """Everything up to where it was opened."""
        while batch := self.read():
            yield from batch

    def news(self) -> list[LogLine]:
        """As `read`, but looks at the file only where the capture has written since."""
        seen = self._capture.rounds if self._capture else -1
        if seen == self.rounds and self._capture is not None:
            return []
        lines = self.read()
        if not lines:
            self.rounds = seen
        return lines

    def has_more(self) -> bool:
        """Whether the file that is being read has grown, or is not the newest: one system call."""
        return len(self._files) != 1 or os.fstat(self._files[0]).st_size > self._offset

    def left(self) -> int:
        """How many lines have not been read yet. Nothing can be read after this."""
        count = 0
        self._leveling = False
        while self._files:
            count += count_lines(self._files[-1], self._offset)
            self._offset = os.fstat(self._files[-1]).st_size
            if len(self._files) > 1:
                self._leave()
            elif self._next() is None:
                break
        self.close()
        return count

    def _wanted(self, block: bytes, begin: int) -> list[LogLine]:
        """What is wanted of a block that begins at `begin`."""
        lines, suspects = sifted(block, self._sieve)
        sieve, found = self._sieve, []
        choosy = sieve if sieve is not None and sieve.reads else None
        gone_on: dict[str, tuple[int, str]] = {}
        for number in suspects:
            line = parse(lines[number], self.source.service, self.source.instance)
            if line is None or line.time < self._floor or (choosy is not None and not choosy.takes_text(line)):
                continue
            if self._leveling:
                level = _level_alone(line)
                if not level and levels.goes_on(line.line):
                    level = self._level_gone_on(lines, number, line.stream, begin, gone_on)
                if level:
                    line = replace(line, level=level)
            if sieve is None or not sieve.levels or sieve.takes(line):
                found.append(line)
        for stream, (_, level) in gone_on.items():
            self._level[stream], self._leveled_to[stream] = level, begin
        return found

    def _level_gone_on(
        self, lines: list[bytes], number: int, stream: str, begin: int, known: dict[str, tuple[int, str]]
    ) -> str:
        """The level of a line of a block that goes on: that of the line of its stream that it belongs to, which may not
        have been looked at, since nobody wants it. `known` are those of the block that went on, so that none is looked
        at twice."""
        last, level = known.get(stream, (-1, ""))
        found = self._level_of_last(lines[last + 1 : number], stream)
        if found is not None:
            level = found
        elif last < 0:
            level = self._level_before(begin, stream)
        known[stream] = (number, level)
        return level

    def _level_of_last(self, lines: Sequence[bytes], stream: str) -> str | None:
        """The level of the last of these lines that is of the stream and does not go on; None: there is none."""
        name = stream.encode()
        for raw in reversed(lines):
            if name not in raw:
                continue
            line = parse(raw, self.source.service, self.source.instance)
            if line is None or line.stream != stream or line.time < self._floor:
                continue
            level = levels.level_of(line.line)
            if level or not levels.goes_on(line.line):
                return level
        return None

    def _level_before(self, end: int, stream: str) -> str:
        """As `_level_of_last`, of what lies before `end` in the file that is being read."""
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

    def _leave(self) -> None:
        """The file that was being read is read to its end."""
        if self._leveling:
            end = self._offset
            self._level = {stream: self._level_before(end, stream) for stream in STREAMS}
        os.close(self._files.pop())
        self._origin = None
        self._move_to(0)

    def _open_file(self, number: int) -> int:
        return os.open(rotated(self.source.path, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _said(self, text: str) -> list[LogLine]:
        """A word of our own, if there is one to say and it is wanted."""
        line = LogLine(time.time(), self.source.service, self.source.instance, OURS, text, "warning")
        return [line] if text and (self._sieve is None or self._sieve.takes(line)) else []

    def _at_rest(self) -> AbstractContextManager[object]:
        """No file changes its name meanwhile, if it is known who does that."""
        return self._capture.turning if self._capture else contextlib.nullcontext()

    def _find_first(self) -> str | None:
        """As `_next`, where there was no file."""
        with self._at_rest():
            oldest = self._oldest()
            if oldest is None:
                return None
            self._files = [self._open_file(oldest)]
            self._move_to(0)
            self._origin = self._origin_of(self._files[0])
            return _rotated_away(self._origin.first - self._written) if self._origin else ""

    def _next(self) -> str | None:
        """Moves to the file that followed this one, if this one has been rotated. None: there is no news. A text tells
        what was removed before it could be read."""
        with self._at_rest():
            file = self._files[-1]
            number, following = self._following(file)
            self._origin = self._origin or self._origin_of(file)
            if following is None:
                return None
            after = self._origin_of(following)
        lost = self._lost(file, after) if number is None else ""
        self._leave()
        self._files.append(following)
        self._origin = after
        return lost

    def _following(self, file: int) -> tuple[int | None, int | None]:
        """The number that a file has now, and the file to read after it, opened; None for what is not there (yet)."""
        inode = os.fstat(file).st_ino
        while True:
            number = self._number_of(inode)
            wanted = number - 1 if number is not None else self._oldest()
            if wanted is None or wanted < 0:
                return number, None
            try:
                following = self._open_file(wanted)
            except OSError:
                return number, None  # a rotation is under way: the writer tells when it is over
            # Files move from the highest number down: if mine has not moved, the one after it had not either.
            if self._number_of(inode) == number:
                return number, following
            os.close(following)

    def _number_of(self, inode: int) -> int | None:
        for number in numbers(self.source.path, self.source.keep):
            with contextlib.suppress(OSError):
                if os.stat(rotated(self.source.path, number)).st_ino == inode:
                    return number
        return None

    def _oldest(self) -> int | None:
        return max(numbers(self.source.path, self.source.keep), default=None)

    def _origin_of(self, file: int) -> "Origin | None":
        """Of a file that is open: the last one with its inode."""
        inode = os.fstat(file).st_ino
        origins = self._capture.origins if self._capture else ()
        return next((origin for origin in reversed(origins) if origin.inode == inode), None)

    def _lost(self, file: int, after: "Origin | None") -> str:
        """How many lines lay between two files, `file` before the other; empty when none did."""
        if self._origin is None or after is None:
            return "lines may have been rotated away before they could be shown"
        end = self._origin.first + count_lines(file, self._origin.offset)
        return _rotated_away(after.first - end)


def _level_alone(line: LogLine) -> str:
    return "warning" if line.stream == OURS else levels.level_of(line.line)


def _rotated_away(lines: int) -> str:
    said = "1 line was" if lines == 1 else f"{lines} lines were"
    return f"{said} rotated away before they could be shown" if lines > 0 else ""


def backlog(trails: Sequence[LogReader], query: LogQuery, sieve: LogFilter) -> Iterator[list[LogLine]]:
    """What the query asks for of that which is there, by time, in batches. Opens the trails; they then stand at its end."""
    for trail in trails:
        trail.want(sieve)
        trail.open()
    if query.tail == ALL_LINES:
        for trail in trails:
            trail.begin_at(query.since)
    else:
        _go_back(trails, query)
    wanted = merge(*(trail.lines() for trail in trails), key=lambda line: line.time)
    while batch := list(islice(wanted, BATCH)):
        yield batch


def _go_back(trails: Sequence[LogReader], query: LogQuery) -> None:
    """Each trail to the first of its lines that are among the last `tail`."""
    places = {number: trail.end for number, trail in enumerate(trails)}
    runs = [zip(trail.backwards(query.since), repeat(number), strict=False) for number, trail in enumerate(trails)]
    left = query.tail
    if left > 0:
        for (_, place), number in merge(*runs, key=lambda item: -item[0][0].time):
            places[number] = place
            left -= 1
            if not left:
                break
    for number, trail in enumerate(trails):
        trail.begin(places[number])


def fresh(trails: Iterable[LogReader], sieve: LogFilter) -> list[LogLine] | None:
    """What is wanted of what has come since, by time, at most a block of each. None: nothing is left."""
    found = []
    for trail in trails:
        trail.want(sieve)
        found += trail.news()
    found.sort(key=lambda line: line.time)
    return found or None
