"""Endless answers as NDJSON chunks (floor 3): what is ready goes out together, what is not taken stops its source.

It refuses to hold more than `BATCH_BYTES` and `PIECE` items: a slow reader slows its own source and nobody else.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import trio

from minikube.control.encoding import encode_lines
from minikube.control.state_store import StateStore
from minikube.model import Event

BATCH_BYTES = 65_536
PIECE = 200
"""Items that are encoded at once."""


KEEPALIVE_S = 1.0
"""A search that finds nothing says this often, with an empty line, that it goes on."""


@asynccontextmanager
async def open_ndjson(
    source: AbstractAsyncContextManager[AsyncIterator[Sequence[Any]]], *, alive: float = math.inf
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Opens `source` and yields its items as chunks of whole lines, each as large as what was ready; an empty line
    whenever there was none for `alive` seconds."""
    async with source as items, trio.open_nursery() as nursery:
        batch = _Batch(alive)
        nursery.start_soon(batch.fill, items)
        yield batch
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def follow_events(board: StateStore, since: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
    """Events with a number above `since`, then new ones for ever; together what came together."""
    async with aclosing(_events(board, since)) as events:
        yield events


async def _events(board: StateStore, since: int) -> AsyncGenerator[list[Event], None]:
    while True:
        revision = board.revision
        if events := board.events_since(since):
            yield list(events)
            since = events[-1].number
        board.followed.set()
        await board.wait_past(revision)


class _Batch(AsyncIterator[bytes]):
    """A bounded buffer of lines between the task that fills it and the one that sends it."""

    def __init__(self, alive: float) -> None:
        self._alive = alive
        self._lines = bytearray()
        self._ended = False
        self._lot = trio.lowlevel.ParkingLot()

    async def fill(self, items: AsyncIterator[Sequence[Any]]) -> None:
        async for together in items:
            for start in range(0, len(together), PIECE):
                self._lines += encode_lines(together[start : start + PIECE])
                self._lot.unpark_all()
                while len(self._lines) >= BATCH_BYTES:
                    await self._lot.park()
        self._ended = True
        self._lot.unpark_all()

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            with trio.move_on_after(self._alive) as waiting:
                await self._lot.park()
            if waiting.cancelled_caught:
                return b"\n"
        chunk = bytes(self._lines)
        self._lines.clear()
        self._lot.unpark_all()
        return chunk
