"""Endless responses as chunks of NDJSON. Items that are ready together are sent together.

A slow reader slows its own source only: at most `BUFFER_BYTES` and `ENCODE_BATCH` items are held for it.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import trio

from minikube.control.encoding import encode_lines
from minikube.control.state_store import StateStore
from minikube.model import Event

BUFFER_BYTES = 65_536
ENCODE_BATCH = 200
"""Number of items that are encoded together."""

KEEPALIVE_S = 1.0
"""Pause after which a search that has found nothing sends an empty line, so that the client does not time out."""


@asynccontextmanager
async def open_ndjson(
    source: AbstractAsyncContextManager[AsyncIterator[Sequence[Any]]], *, keepalive: float = math.inf
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open `source` and yield an iterator over its items as NDJSON. Each chunk has all lines that were ready.

    The iterator yields an empty line after every `keepalive` seconds without an item.
    """
    async with source as items, trio.open_nursery() as nursery:
        buffer = _LineBuffer(keepalive)
        nursery.start_soon(buffer.fill, items)
        yield buffer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def follow_events(store: StateStore, since: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
    """Yield an iterator over the events with a number above `since`, then new ones until cancelled."""
    async with aclosing(_events(store, since)) as events:
        yield events


async def _events(store: StateStore, since: int) -> AsyncGenerator[list[Event], None]:
    while True:
        revision = store.revision
        if events := store.events_since(since):
            yield list(events)
            since = events[-1].number
        store.events_followed.set()
        await store.wait_past(revision)


class _LineBuffer(AsyncIterator[bytes]):
    """A bounded buffer between the task that fills it with lines and the task that iterates over its chunks."""

    def __init__(self, keepalive: float) -> None:
        self._keepalive = keepalive
        self._lines = bytearray()
        self._is_complete = False
        self._changed = trio.lowlevel.ParkingLot()

    async def fill(self, items: AsyncIterator[Sequence[Any]]) -> None:
        """Encode `items` into the buffer until they end. Wait while the buffer is full."""
        async for batch in items:
            for start in range(0, len(batch), ENCODE_BATCH):
                self._lines += encode_lines(batch[start : start + ENCODE_BATCH])
                self._changed.unpark_all()
                while len(self._lines) >= BUFFER_BYTES:
                    await self._changed.park()
        self._is_complete = True
        self._changed.unpark_all()

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._is_complete:
                raise StopAsyncIteration
            with trio.move_on_after(self._keepalive) as scope:
                await self._changed.park()
            if scope.cancelled_caught:
                return b"\n"
        chunk = bytes(self._lines)
        self._lines.clear()
        self._changed.unpark_all()
        return chunk
