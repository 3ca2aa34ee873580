"""Wait for one thing unless another happens: an event that also cancels the code that works under it."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class CancelEvent:
    """A `trio.Event` with cancel scopes attached. Once set, it stays set. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

    def is_set(self) -> bool:
        """Return whether the event has happened."""
        return self._event.is_set()

    def set(self) -> None:
        """Let the event happen: wake the tasks in `wait`, cancel the blocks under `cancels`."""
        self._event.set()
        for scope in self._scopes:
            scope.cancel()

    async def wait(self) -> None:
        """Return once the event has happened."""
        await self._event.wait()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Cancel the block when the event happens, or at once where it has happened already.

        Ask `is_set` after the block whether the event happened: the block may have finished in the same moment.
        """
        with trio.CancelScope() as scope:
            if self._event.is_set():
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
