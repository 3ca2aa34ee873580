"""Acts on many things at the same time, but on each only after certain others (floor 3, trio)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio


async def in_order(after: Mapping[str, Iterable[str]], act: Callable[[str], Awaitable[None]]) -> None:
    """Acts on every key; on each after the others that it is to come after. Names that are no keys are not waited for."""
    done = {name: trio.Event() for name in after}

    async def one(name: str) -> None:
        for other in after[name]:
            if other in done:
                await done[other].wait()
        await act(name)
        done[name].set()

    async with trio.open_nursery() as nursery:
        for name in after:
            nursery.start_soon(one, name)
