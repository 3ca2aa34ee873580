"""Acts on several services at the same time, but on each only after certain others."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio


async def act_in_order(after: Mapping[str, Iterable[str]], act: Callable[[str], Awaitable[None]]) -> None:
    """Call `act` for every key of `after`; for each once the calls for its value's names have returned.

    Names in a value that are no keys are not waited for.
    """
    done = {name: trio.Event() for name in after}

    async def act_on(name: str) -> None:
        for other in after[name]:
            if other in done:
                await done[other].wait()
        await act(name)
        done[name].set()  # not in a `finally`: where `act` raises, the nursery cancels all others

    async with trio.open_nursery() as nursery:
        for name in after:
            nursery.start_soon(act_on, name)
