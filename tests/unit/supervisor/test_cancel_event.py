"""Waiting for one thing unless another happens; and acting in order."""

import pytest
import trio

from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.reconcile.ordering import in_order


async def test_what_is_awaited_ends_when_it_happens_and_at_once_when_it_has(autojump_clock: object) -> None:
    interrupt = CancelEvent()

    async def happen() -> None:
        await trio.sleep(3)
        interrupt.set()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        for _ in range(2):
            with interrupt.cancels():
                await trio.sleep(60)
                raise AssertionError("not reached")
            assert trio.current_time() - began == 3
            assert interrupt.is_set()
        await interrupt.wait()


async def test_what_comes_first_is_kept_and_errors_come_as_they_are(autojump_clock: object) -> None:
    interrupt = CancelEvent()
    with interrupt.cancels():
        await trio.sleep(1)
    assert not interrupt.is_set()
    with pytest.raises(KeyError, match="plain"), interrupt.cancels():
        raise KeyError("plain")
    interrupt.set()  # nobody is under it any more
    await trio.sleep(1)


async def test_each_is_acted_on_after_those_it_comes_after(autojump_clock: object) -> None:
    done: list[tuple[str, float]] = []
    began = trio.current_time()

    async def act(name: str) -> None:
        await trio.sleep(1)
        done.append((name, trio.current_time() - began))

    await in_order({"a": ("b", "c"), "b": ("d",), "c": (), "d": ("nobody",)}, act)
    assert sorted(done) == [("a", 3), ("b", 2), ("c", 1), ("d", 1)]
