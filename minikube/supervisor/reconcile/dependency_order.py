"""Call an async function for several services at the same time, each after the calls for the services it has to follow."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio


async def act_in_order(after: Mapping[str, Iterable[str]], act: Callable[[str], Awaitable[None]]) -> None:
    """Call `act` once for each key of `after`, at the same time where the order allows it; return when all have returned.

    The value of a key are the names whose calls must have returned before. Names that are no keys are not waited for.
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
