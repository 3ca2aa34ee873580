"""A nursery for background tasks that does not wrap the exception of its block in an ExceptionGroup.

A plain trio nursery raises an ExceptionGroup for an exception of its block. The caller's `except NotFound` around a block
that merely owns a connection would not catch it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background_nursery() -> AsyncIterator[trio.Nursery]:
    """Yield a nursery whose tasks are cancelled when the block ends.

    The tasks must not raise: the exception group of one that does replaces the block's own exception.
    """
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
                failure = None  # breaks the reference cycle between this frame and the traceback
