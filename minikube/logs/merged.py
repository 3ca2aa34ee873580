"""The log lines of several instances, merged by time. No trio.

read_backlog   the lines that a query selects and that are on disk, in batches
read_new       the lines that were written since
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, repeat

from minikube.logs.filter import LogFilter
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.logs.reader import LogReader
from minikube.model import LogLine

BATCH = 1_000
"""The most lines in a batch."""


def read_backlog(readers: Sequence[LogReader], query: LogQuery, log_filter: LogFilter) -> Iterator[list[LogLine]]:
    """Open the readers and yield the selected existing lines of all, in batches and in order of time."""
    for reader in readers:
        reader.set_filter(log_filter)
        reader.open()
    if query.tail == ALL_LINES:
        for reader in readers:
            reader.seek_time(query.since)
    else:
        _seek_tail(readers, query)
    selected = merge(*(reader.lines() for reader in readers), key=lambda line: line.time)
    while batch := list(islice(selected, BATCH)):
        yield batch


def _seek_tail(readers: Sequence[LogReader], query: LogQuery) -> None:
    """Set each reader to its first line that is among the last `tail` selected lines of all readers together."""
    positions = {number: reader.end for number, reader in enumerate(readers)}
    runs = [zip(reader.backwards(query.since), repeat(number), strict=False) for number, reader in enumerate(readers)]
    left = query.tail
    if left > 0:
        for (_, position), number in merge(*runs, key=lambda item: -item[0][0].time):
            positions[number] = position
            left -= 1
            if not left:
                break
    for number, reader in enumerate(readers):
        reader.seek(positions[number], query.since)


def read_new(readers: Iterable[LogReader], log_filter: LogFilter) -> list[LogLine] | None:
    """Return the selected lines since the last read in order of time, at most a block of each reader; None if there are none."""
    found = []
    for reader in readers:
        reader.set_filter(log_filter)
        found += reader.read_new()
    found.sort(key=lambda line: line.time)
    return found or None
