"""How much of the catalog's room each owner of entries takes, and how much it may take. Pure.

Without shares one client could fill the catalog, and a service of the project that restarts would be refused. So an owner may
have half of the room, and an eighth is kept for the supervisor and the instances of its project. Both bounds count for new
entries only: nothing is removed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

MAX_REGISTRATIONS = 20_000
MAX_BYTES = 33_554_432
"""Of all registrations as JSON."""

SHARE = 0.5
"""The part of the room that one owner may have: 10,000 entries, 16 MiB."""

RESERVE = 0.125
"""The part of the room that is kept for the project's own services: 2,500 entries, 4 MiB."""


class OwnerUsage:
    """The entries and bytes of each owner."""

    def __init__(self) -> None:
        self._entries: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        # What is being written: without it, calls at the same time would each find the room that is left for one.
        self._pending: dict[str, tuple[int, int]] = {}
        self._pending_entries = self._pending_bytes = 0
        self.total_entries = 0
        self.total_bytes = 0
        """The size of all records as JSON."""

    def add(self, owner: str, size: int) -> None:
        """Count an entry of `size` bytes."""
        self._count(owner, 1, size)

    def remove(self, owner: str, size: int) -> None:
        """Count an entry of `size` bytes as removed."""
        self._count(owner, -1, -size)

    @contextmanager
    def under_way(self, owner: str, entries: int, size: int) -> Iterator[None]:
        """Count entries that are being written in `refuse_growth`, until the block ends."""
        self._count_pending(owner, entries, size)
        try:
            yield
        finally:
            self._count_pending(owner, -entries, -size)

    def refuse_growth(self, owner: str, entries: int, size: int, *, may_use_reserve: bool) -> str:
        """Return why the owner may not have so many more entries and bytes; empty if it may, or if it asks for none."""
        kept = 0.0 if may_use_reserve else RESERVE
        pending_entries, pending_bytes = self._pending.get(owner, (0, 0))
        if entries > 0:
            most = int(MAX_REGISTRATIONS * (1 - kept))
            total = self.total_entries + self._pending_entries
            if total + entries > most:
                return f"{total} instances are registered, {most} are the most — {_FEWER}"
            most = int(MAX_REGISTRATIONS * SHARE)
            own = self._entries.get(owner, 0) + pending_entries
            if not may_use_reserve and own + entries > most:
                return f"{_name(owner)} has {own} entries, {most} are the most of one owner — {_FEWER}"
        if size > 0:
            most = int(MAX_BYTES * (1 - kept))
            if self.total_bytes + self._pending_bytes + size > most:
                return f"all registrations together would have over {most} bytes — {_SMALLER}"
            most = int(MAX_BYTES * SHARE)
            if not may_use_reserve and self._bytes.get(owner, 0) + pending_bytes + size > most:
                return f"the entries of {_name(owner)} would have over {most} bytes — {_SMALLER}"
        return ""

    def _count_pending(self, owner: str, entries: int, size: int) -> None:
        self._pending_entries += entries
        self._pending_bytes += size
        own = self._pending.get(owner, (0, 0))
        self._pending[owner] = now = (own[0] + entries, own[1] + size)
        if now == (0, 0):
            del self._pending[owner]

    def _count(self, owner: str, entries: int, size: int) -> None:
        self.total_entries += entries
        self.total_bytes += size
        self._entries[owner] = self._entries.get(owner, 0) + entries
        self._bytes[owner] = self._bytes.get(owner, 0) + size
        if not self._entries[owner]:
            del self._entries[owner], self._bytes[owner]


_FEWER = "deregister some, or let absent ones be forgotten sooner (ForgetAfter)"
_SMALLER = "deregister some, or give them less Meta and fewer Tags"


def _name(owner: str) -> str:
    return owner or "an unknown owner"
