"""Endless answers as NDJSON chunks (floor 3): what is ready goes out together, what is not taken stops its source.

It refuses to hold more than `BATCH_BYTES` and a line: a slow reader slows its own source and nobody else.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import trio

from minikube.control.board import Board
from minikube.control.encode import encode
from minikube.model import Event

BATCH_BYTES = 65_536


@asynccontextmanager
async def open_batches(source: AbstractAsyncContextManager[AsyncIterator[Any]]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Opens `source` and yields its items as chunks of whole lines, each as large as what was ready."""
    async with source as items, trio.open_nursery() as nursery:
        batch = _Batch()
        nursery.start_soon(batch.fill, items)
        yield batch
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_events(board: Board, since: int) -> AsyncIterator[AsyncIterator[Event]]:
    """Events with a number above `since`, then new ones for ever."""
    async with aclosing(_events(board, since)) as events:
        yield events


async def _events(board: Board, since: int) -> AsyncGenerator[Event, None]:
    while True:
        revision = board.revision
        for event in board.events_since(since):
            yield event
            since = event.number
        board.followed.set()
        await board.wait_past(revision)


class _Batch(AsyncIterator[bytes]):
    """A bounded buffer of lines between the task that fills it and the one that sends it."""

    def __init__(self) -> None:
        self._lines = bytearray()
        self._ended = False
        self._lot = trio.lowlevel.ParkingLot()

    async def fill(self, items: AsyncIterator[Any]) -> None:
        async for item in items:
            self._lines += encode(item) + b"\n"
            self._lot.unpark_all()
            while len(self._lines) >= BATCH_BYTES:
                await self._lot.park()
        self._ended = True
        self._lot.unpark_all()

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            await self._lot.park()
        chunk = bytes(self._lines)
        self._lines.clear()
        self._lot.unpark_all()
        return chunk
