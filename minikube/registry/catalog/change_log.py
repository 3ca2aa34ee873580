"""The latest changes, bounded in number and in bytes, in memory and in Redis. Pure.

The bound in bytes keeps an instance that registers a long text again and again from taking all the memory.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from minikube.registry.catalog.records import Entry, json_size

MAX_ENTRIES = 4096
"""How many entries are kept: a watcher that missed no more than these resumes without a snapshot."""

MAX_BYTES = 16_777_216
MIN_STREAM_ENTRIES = 64
"""Kept in Redis however long they are, so that a registry that was away for a moment resumes where it was."""


class ChangeLog:
    """The latest entries, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def append(self, entry: Entry) -> int:
        """Append an entry and drop the oldest ones past the bounds; return the newest dropped revision, 0 for none."""
        size = json_size(entry.record)
        self._entries.append(entry)
        self._sizes.append(size)
        self._bytes += size
        dropped = 0
        while len(self._entries) > MAX_ENTRIES or (self._bytes > MAX_BYTES and len(self._entries) > 1):
            dropped = self._entries.popleft().revision
            self._bytes -= self._sizes.popleft()
        return dropped

    def extend(self, entries: Iterable[Entry]) -> int:
        """Append each of `entries`; return the newest dropped revision, 0 for none."""
        return max((self.append(entry) for entry in entries), default=0)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
        self._sizes.clear()
        self._bytes = 0


class StreamTrimmer:
    """Computes the length to which Redis trims the stream of changes, from the sizes of recent entries."""

    # Redis can bound a stream by its number of entries only, not by its bytes.

    def __init__(self) -> None:
        self._mean_bytes = 0.0

    def max_length(self, size: int) -> int:
        """Return how many entries Redis is to keep once an entry of `size` bytes is added."""
        self._mean_bytes += (size - self._mean_bytes) / MIN_STREAM_ENTRIES
        return min(MAX_ENTRIES, max(MIN_STREAM_ENTRIES, int(MAX_BYTES / max(self._mean_bytes, 1.0))))
