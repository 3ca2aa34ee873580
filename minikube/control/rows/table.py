"""A table of the state store: rows, and at which revision each was changed or removed. No trio."""

from collections.abc import Iterator
from typing import Generic, TypeVar

REMOVALS_KEPT = 1_000

Row = TypeVar("Row")


class Table(Generic[Row]):
    """Rows by key in the order of insertion, with the revision of each row's last change."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.forgotten_revision = 0
        """Revision of the newest removal that was forgotten. Subscribers that have not seen it need a snapshot."""
        self._inserted = 0
        self._positions: dict[str, int] = {}
        # Both in the order of their revisions, oldest first.
        self._changed: dict[str, int] = {}
        self._removed: dict[str, int] = {}

    def put(self, key: str, row: Row, revision: int) -> None:
        """Add or replace a row."""
        if key not in self.rows:
            self._inserted += 1
            self._positions[key] = self._inserted
        self.rows[key] = row
        self._changed.pop(key, None)
        self._changed[key] = revision

    def drop(self, key: str, revision: int) -> None:
        """Remove a row that is in the table."""
        del self.rows[key], self._positions[key], self._changed[key]
        self._removed.pop(key, None)
        self._removed[key] = revision
        if len(self._removed) > REMOVALS_KEPT:
            oldest = next(iter(self._removed))
            self.forgotten_revision = self._removed.pop(oldest)

    def changed_since(self, revision: int) -> tuple[Row, ...]:
        """Return the rows that were added or changed after `revision`, in the table's order."""
        keys = list(_newer(self._changed, revision))
        keys.sort(key=self._positions.__getitem__)
        return tuple(self.rows[key] for key in keys)

    def removed_since(self, revision: int) -> tuple[str, ...]:
        """Return the keys of rows that were removed after `revision`, also of those that were added again since."""
        return tuple(_newer(self._removed, revision))


def _newer(revisions: dict[str, int], revision: int) -> Iterator[str]:
    """Yield the keys with a revision above the given one, newest first. `revisions` is in the order of its values."""
    for key, key_revision in reversed(revisions.items()):
        if key_revision <= revision:
            return
        yield key
