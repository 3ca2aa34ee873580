"""What comes out of a pipe that does not block (floor 3)."""

import os
from collections.abc import AsyncIterator

import trio

READ_BYTES = 65_536


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """To its end."""
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            continue
        if not data:
            return
        yield data


async def collect(descriptor: int, into: bytearray, limit: int) -> None:
    """Reads to the end of it, and keeps the last `limit` bytes."""
    async for data in chunks(descriptor):
        into += data
        del into[:-limit]
