"""Read non-blocking pipes."""

import os
from collections.abc import AsyncIterator

import trio

READ_BYTES = 65_536


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yield the bytes written to a non-blocking pipe, until all its writers have closed it."""
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
    """Read a non-blocking pipe until it is closed; keep the last `limit` bytes in `into`."""
    async for data in chunks(descriptor):
        into += data
        del into[:-limit]
