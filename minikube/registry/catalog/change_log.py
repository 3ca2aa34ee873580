"""The change log as far as it is kept (floor 3, pure): bounded in entries and in bytes, here and in Redis.

Who registers a long text again and again takes no more memory than everybody else.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from minikube.registry.catalog.records import Entry, size_of

LOG_LENGTH = 4096
"""How many entries are kept: what a watcher may have missed and still resume."""

LOG_BYTES = 16_777_216
LOG_LEAST = 64
"""Kept in Redis however long they are: a registry that was away for a moment goes on where it was."""


class ChangeLog:
    """The latest entries, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def append(self, entry: Entry) -> int:
        """The revision of the newest entry that is not kept any more for it; 0: all still are."""
        size = size_of(entry.record)
        self._entries.append(entry)
        self._sizes.append(size)
        self._bytes += size
        dropped = 0
        while len(self._entries) > LOG_LENGTH or (self._bytes > LOG_BYTES and len(self._entries) > 1):
            dropped = self._entries.popleft().revision
            self._bytes -= self._sizes.popleft()
        return dropped

    def extend(self, entries: Iterable[Entry]) -> int:
        """As `append`, for each."""
        return max((self.append(entry) for entry in entries), default=0)

    def clear(self) -> None:
        self._entries.clear()
        self._sizes.clear()
        self._bytes = 0


class Mean:
    """How long the entries of late are: Redis counts entries, not bytes."""

    def __init__(self) -> None:
        self._bytes = 0.0

    def length_with(self, size: int) -> int:
        """How many entries Redis is to keep once one of `size` bytes has been added."""
        self._bytes += (size - self._bytes) / LOG_LEAST
        return min(LOG_LENGTH, max(LOG_LEAST, int(LOG_BYTES / max(self._bytes, 1.0))))
