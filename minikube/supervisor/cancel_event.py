"""An event for trio that can also cancel blocks of code when it is set."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class CancelEvent:
    """A `trio.Event` that can also cancel blocks of code. Once set, it stays set. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

    def is_set(self) -> bool:
        """Return whether `set` has been called."""
        return self._event.is_set()

    def set(self) -> None:
        """Set the event: wake the tasks in `wait`, and cancel the blocks under `cancels`."""
        self._event.set()
        for scope in self._scopes:
            scope.cancel()

    async def wait(self) -> None:
        """Wait until the event is set."""
        await self._event.wait()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Return a context manager that cancels its block when the event is set, or immediately where it is set already.

        Ask `is_set` after the block whether the event was set: the block may have finished in the same moment.
        """
        with trio.CancelScope() as scope:
            if self._event.is_set():
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
