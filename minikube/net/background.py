"""A nursery for tasks behind the scenes (floor 2). Refuses to wrap: the owner's own exception comes out as it is.

A plain nursery turns whatever its body raises into an ExceptionGroup, so `except NotFound` round a block that merely
owns a connection would miss.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background_nursery() -> AsyncIterator[trio.Nursery]:
    """Tasks end (by cancellation) with the block. They must not raise; if one does, its group is what comes out."""
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # no cycle from the frame to the traceback
