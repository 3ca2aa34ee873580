"""Waiting for one thing unless another happens (floor 3): an event that also cancels who works under it."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class CancelEvent:
    """Happens once, and has happened from then on. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()
        for scope in self._scopes:
            scope.cancel()

    async def wait(self) -> None:
        await self._event.wait()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """What is awaited inside is cancelled when it happens, or has. Whether it has is asked afterwards with `is_set`: what
        was waited for may have come at the same moment."""
        with trio.CancelScope() as scope:
            if self._event.is_set():
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
