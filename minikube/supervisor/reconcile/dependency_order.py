"""Call an async function for several services at the same time, each after the calls for the services it has to follow."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio


async def act_in_order(after: Mapping[str, Iterable[str]], act: Callable[[str], Awaitable[None]]) -> None:
    """Call `act` with each key of `after`, at the same time where the order allows it; return when all calls have returned.

    The call for a key begins when the calls for the names in its value have returned. Names that are no keys are
    ignored.
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
