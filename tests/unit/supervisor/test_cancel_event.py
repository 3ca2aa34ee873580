"""Events that cancel what works under them, and acting in the order of dependencies."""

import pytest
import trio

from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.reconcile.dependency_order import act_in_order


async def test_a_block_is_cancelled_when_the_event_happens_and_at_once_when_it_has(autojump_clock: object) -> None:
    event = CancelEvent()

    async def happen() -> None:
        await trio.sleep(3)
        event.set()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        for _ in range(2):
            with event.cancels():
                await trio.sleep(60)
                raise AssertionError("not reached")
            assert trio.current_time() - began == 3
            assert event.is_set()
        await event.wait()


async def test_a_block_that_finishes_first_is_not_cancelled_and_errors_pass_through(autojump_clock: object) -> None:
    event = CancelEvent()
    with event.cancels():
        await trio.sleep(1)
    assert not event.is_set()
    with pytest.raises(KeyError, match="plain"), event.cancels():
        raise KeyError("plain")
    event.set()  # no block is under it any more
    await trio.sleep(1)


async def test_each_name_is_acted_on_after_the_names_it_comes_after(autojump_clock: object) -> None:
    done: list[tuple[str, float]] = []
    began = trio.current_time()

    async def act(name: str) -> None:
        await trio.sleep(1)
        done.append((name, trio.current_time() - began))

    await act_in_order({"a": ("b", "c"), "b": ("d",), "c": (), "d": ("unknown",)}, act)
    assert sorted(done) == [("a", 3), ("b", 2), ("c", 1), ("d", 1)]
