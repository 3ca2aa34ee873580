"""Logs read back (floor 3): the files of one instance as one run of lines, and those of many by time. No trio.

    Trail     one instance: finds a place in the past, reads on from there, across rotations, for as long as there is more
    backlog   what a query asks for and is there already, in batches
    fresh     what has been written since

A trail holds its files open, so that what it has begun is read to its end even when it is rotated away. What was removed
before it came round is told as a line of our own. It refuses to write, and to hold more than a block of each file.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, repeat
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from minikube import levels
from minikube.client.messages import ALL_LINES, LogQuery
from minikube.control.sieve import Sieve
from minikube.model import LogLine
from minikube.supervisor.logfile import OURS, Source, numbers, parse, rotated, written_at

if TYPE_CHECKING:
    from minikube.supervisor.logs import Capture

BLOCK = 65_536
BATCH = 1_000


class Place(NamedTuple):
    """Where a line begins: the file by its number in the trail (0 is the newest), and the offset."""

    file: int
    offset: int


class Trail:
    """Not for two threads at once. `close` it."""

    def __init__(self, source: Source, capture: "Capture | None" = None, *, leveled: bool = True) -> None:
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
        self._level: dict[str, str] = {}

    def open(self) -> None:
        """Stands before everything that is kept; what is written from now on is not read until `go_on`."""
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

    def backwards(self, since: float) -> Iterator[tuple[LogLine, Place]]:
        """From the last line to the first that was written at `since` or later."""
        for number, file in enumerate(self._files):
            end = self._end if number == 0 else os.fstat(file).st_size
            for offset, raw in _lines_backwards(file, end or 0):
                line = parse(raw, self.source.service, self.source.instance)
                if line is None:
                    continue
                if line.time < since:
                    return
                level = levels.level_of(line.line)
                yield (replace(line, level=level) if level else line), Place(number, offset)

    def begin(self, place: Place) -> None:
        """Reads on from `place`."""
        while len(self._files) > place.file + 1:
            os.close(self._files.pop())
        self._offset, self._partial = place.offset, b""

    def begin_at(self, since: float) -> None:
        """Reads on from the first line that was written at `since` or later."""
        self._floor = since
        number = len(self._files) - 1
        while number > 0 and 0 < written_at(os.pread(self._files[number - 1], 64, 0)) < since:
            number -= 1
        self.begin(Place(max(number, 0), _offset_of(self._files[number], since) if self._files else 0))

    @property
    def end(self) -> Place:
        """Behind what was there when it was opened."""
        return Place(0, self._end or 0)

    # ------------------------------------------------------------ reading on

    def read(self) -> list[LogLine]:
        """The next lines, at most a block of them; empty when there are no more (yet)."""
        while True:
            if not self._files:
                lost = self._find_first() if self._end is None else None
                if lost is None:
                    return []
                if lost:
                    return [self._word(lost)]
            room = BLOCK
            if self._end is not None and len(self._files) == 1:
                room = min(BLOCK, self._end - self._offset)
            data = os.pread(self._files[-1], room, self._offset) if room > 0 else b""
            if data:
                self._offset += len(data)
                *lines, self._partial = (self._partial + data).split(b"\n")
                if parsed := self._parsed(lines):
                    return parsed
            elif len(self._files) > 1:
                os.close(self._files.pop())
                self._offset, self._partial = 0, b""
            elif self._end is not None or (lost := self._next()) is None:
                return []
            elif lost:
                return [self._word(lost)]

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
        while self._files:
            while data := os.pread(self._files[-1], 16 * BLOCK, self._offset):
                count += data.count(b"\n")
                self._offset += len(data)
            if len(self._files) > 1:
                os.close(self._files.pop())
                self._offset = 0
            elif self._next() is None:
                break
        self.close()
        return count

    def _parsed(self, raw: Iterable[bytes]) -> list[LogLine]:
        service, instance = self.source.service, self.source.instance
        lines = [line for one in raw if (line := parse(one, service, instance)) is not None]
        if not self._leveling:
            return [line for line in lines if line.time >= self._floor]
        return [self._leveled(line) for line in lines if line.time >= self._floor]

    def _leveled(self, line: LogLine) -> LogLine:
        if line.stream == OURS:
            return replace(line, level="warning")
        level = levels.level_of(line.line)
        if not level and levels.goes_on(line.line):
            level = self._level.get(line.stream, "")
        else:
            self._level[line.stream] = level
        return replace(line, level=level) if level else line

    def _open_file(self, number: int) -> int:
        return os.open(rotated(self.source.path, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _word(self, text: str) -> LogLine:
        return LogLine(time.time(), self.source.service, self.source.instance, OURS, text, "warning")

    def _find_first(self) -> str | None:
        """As `_next`, where there was no file."""
        oldest = self._oldest()
        if oldest is None:
            return None
        self._files = [self._open_file(oldest)]
        self._offset, self._partial = 0, b""
        first = dict(self._capture.origins).get(os.fstat(self._files[0]).st_ino, 0) if self._capture else 0
        return _rotated_away(first - self._written)

    def _next(self) -> str | None:
        """Moves to the file that followed this one, if this one has been rotated. None: there is no news. A text tells
        what was removed before it could be read."""
        while True:
            mine = os.fstat(self._files[-1]).st_ino
            number = self._number_of(mine)
            if number == 0:
                return None
            wanted = number - 1 if number is not None else self._oldest()
            if wanted is None:
                return None
            try:
                file = self._open_file(wanted)
            except OSError:
                return None  # a rotation is under way: the writer tells when it is over
            # Files move from the highest number down: if mine has not moved, the one after it had not either.
            if self._number_of(mine) == number:
                break
            os.close(file)
        os.close(self._files.pop())
        self._files.append(file)
        self._offset, self._partial = 0, b""
        return self._lost(mine, os.fstat(file).st_ino) if number is None else ""

    def _number_of(self, inode: int) -> int | None:
        for number in numbers(self.source.path, self.source.keep):
            with contextlib.suppress(OSError):
                if os.stat(rotated(self.source.path, number)).st_ino == inode:
                    return number
        return None

    def _oldest(self) -> int | None:
        return max(numbers(self.source.path, self.source.keep), default=None)

    def _lost(self, before: int, after: int) -> str:
        """How many lines lay between two files; empty when none did."""
        firsts = self._capture.origins if self._capture else ()
        at = {inode: number for number, (inode, _) in enumerate(firsts)}
        if before in at and after in at:
            return _rotated_away(firsts[at[after]][1] - firsts[at[before] + 1][1])
        return "lines were rotated away before they could be shown"


def _rotated_away(lines: int) -> str:
    return f"{lines} lines were rotated away before they could be shown" if lines > 0 else ""


def backlog(trails: Sequence[Trail], query: LogQuery, sieve: Sieve) -> Iterator[list[LogLine]]:
    """What the query asks for of that which is there, by time, in batches. Opens the trails; they then stand at its end."""
    for trail in trails:
        trail.open()
    if query.tail == ALL_LINES:
        for trail in trails:
            trail.begin_at(query.since)
    else:
        _go_back(trails, query, sieve)
    lines = merge(*(trail.lines() for trail in trails), key=lambda line: line.time)
    wanted = (line for line in lines if sieve.takes(line))
    while batch := list(islice(wanted, BATCH)):
        yield batch


def _go_back(trails: Sequence[Trail], query: LogQuery, sieve: Sieve) -> None:
    """Each trail to the first of its lines that are among the last `tail`."""
    places = {number: trail.end for number, trail in enumerate(trails)}
    runs = [zip(trail.backwards(query.since), repeat(number), strict=False) for number, trail in enumerate(trails)]
    left = query.tail
    if left > 0:
        for (line, place), number in merge(*runs, key=lambda item: -item[0][0].time):
            if sieve.takes(line):
                places[number] = place
                left -= 1
                if not left:
                    break
    for number, trail in enumerate(trails):
        trail.begin(places[number])


def fresh(trails: Iterable[Trail], sieve: Sieve) -> list[LogLine] | None:
    """What has come since, by time, at most a block of each. None: nothing has; empty: nothing that is wanted."""
    found = [line for trail in trails for line in trail.news()]
    if not found:
        return None
    found.sort(key=lambda line: line.time)
    return [line for line in found if sieve.takes(line)]


def _lines_backwards(file: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines before `end` with where they begin, the last one first."""
    at, data, whole = end, b"", False
    while at > 0:
        step = min(BLOCK, at)
        at -= step
        data = os.pread(file, step, at) + data
        if not whole:
            cut = data.rfind(b"\n")
            if cut < 0:
                data = b""
                continue
            data, whole = data[:cut], True
        pieces = data.split(b"\n")
        offset = at + len(data) + 1
        for piece in reversed(pieces[1 if at else 0 :]):
            offset -= len(piece) + 1
            yield offset, piece
        data = pieces[0]


def _offset_of(file: int, since: float) -> int:
    """Where a line begins that is not after the first one written at `since`, and close before it."""
    low, high = 0, os.fstat(file).st_size
    while since and high - low > BLOCK:
        middle = (low + high) // 2
        data = os.pread(file, BLOCK, middle)
        begin = data.find(b"\n") + 1
        stamp = written_at(data[begin : begin + 64]) if begin else 0.0
        if 0 < stamp < since:
            low = middle + begin
        else:
            high = middle
    return low
