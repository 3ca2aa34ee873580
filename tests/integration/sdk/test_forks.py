"""A forked child never uses its parent's connection and never touches its parent's entry, in the three clients."""

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.eventually import eventually, soon
from tests.integration.sdk.test_clients import Background, FakeRegistry, background, other, serving

# Python 3.12 warns of a fork beside threads: that is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PORTS = {"product": 7070, "order": 6060}


@pytest.fixture
def shop() -> Iterator[Background]:
    """A registry with two services."""
    with background() as running:
        for name, port in PORTS.items():
            running.do(running.registry.put, {**other(name), "Addr": {"IP": "127.0.0.1", "Port": port}})
        yield running


def forked(work: Callable[[], Any]) -> int:
    """Fork a child that ends with 0 when `work` raises nothing, and return its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.alarm(20)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended_well(*children: int) -> None:
    """Wait for the children; each must have ended with 0."""
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * len(children)


def asks(registry: blocking.Registry, name: str, times: int = 200) -> None:
    assert {registry.get(name).Port for _ in range(times)} == {PORTS[name]}


# ---------------------------------------------------------------- blocking


def test_blocking_children_and_their_parent_get_their_own_answers(shop: Background) -> None:
    with blocking.open_registry(shop.address) as registry:
        asks(registry, "product", 1)
        children = [forked(lambda name=name: asks(registry, name)) for name in PORTS]  # type: ignore[misc]
        asks(registry, "order")
        ended_well(*children)
        asks(registry, "product")
    assert len(shop.registry.peers) == 3, "each process has a connection of its own"


def test_blocking_multiprocessing_workers_get_their_own_answers(shop: Background) -> None:
    context = multiprocessing.get_context("fork")
    with blocking.open_registry(shop.address) as registry:
        asks(registry, "product", 1)
        workers = [context.Process(target=asks, args=(registry, name)) for name in (*PORTS, *PORTS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert [worker.exitcode for worker in workers] == [0] * 4


def test_blocking_a_grandchild_gets_its_own_answers(shop: Background) -> None:
    with blocking.open_registry(shop.address) as registry:
        asks(registry, "product", 1)

        def child() -> None:
            grandchild = forked(lambda: asks(registry, "order"))
            asks(registry, "product")
            ended_well(grandchild)

        ended_well(forked(child))


def test_blocking_a_fork_in_a_thread_while_another_thread_is_in_a_call(shop: Background) -> None:
    """The other thread holds the connection's state, and does not exist in the child."""
    with blocking.open_registry(shop.address) as registry:
        asks(registry, "product", 1)

        def poll() -> None:
            with pytest.raises(minikube.Unavailable):
                registry.call("Discovery.Sleep", (), 3.0)

        poller = threading.Thread(target=poll)
        poller.start()
        eventually(lambda: ("Discovery.Sleep", []) in shop.registry.asked)
        children: list[int] = []
        forker = threading.Thread(target=lambda: children.append(forked(lambda: asks(registry, "order"))))
        forker.start()
        forker.join()
        start = time.monotonic()
        ended_well(*children)
        assert time.monotonic() - start < 2.5, "it did not wait for the call of a thread that is not there"
        poller.join()


def test_blocking_forks_while_many_threads_call(shop: Background) -> None:
    """Whatever lock a thread holds at the moment of the fork, the child is not stopped by it."""
    stop = threading.Event()
    with blocking.open_registry(shop.address) as registry:

        def call(name: str) -> None:
            while not stop.is_set():
                asks(registry, name, 1)

        threads = [threading.Thread(target=call, args=(name,)) for name in (*PORTS, *PORTS)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                ended_well(forked(lambda: asks(registry, "order", 20)))
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_blocking_a_child_follows_its_copy_of_a_watch_over_a_connection_of_its_own(shop: Background) -> None:
    with blocking.watch("*", address=shop.address) as updates:
        assert isinstance(next(updates), minikube.WatchSnapshot)
        read, write = os.pipe()

        def child() -> None:
            os.close(write)
            os.read(read, 1)
            assert isinstance(next(updates), minikube.WatchSnapshot), "it has connected anew"

        shop.do(setattr, shop.registry, "oldest", 99)
        pid = forked(child)
        shop.do(shop.registry.put, other("web"))
        assert next(updates).revision == 3, "the child has taken nothing"
        os.close(write)
        ended_well(pid)


def leave_by_end() -> None:
    pass


def leave_by_exit() -> NoReturn:
    sys.exit(0)


def leave_by_error() -> NoReturn:
    raise KeyError("mine")


ways_out = pytest.mark.parametrize("leave", [leave_by_end, leave_by_exit, leave_by_error])


def methods(running: Background) -> list[str]:
    return [method for method, _ in running.registry.asked]


@ways_out
def test_blocking_a_child_that_leaves_the_block_leaves_the_entry(leave: Callable[[], Any]) -> None:
    with background() as running:
        parent = os.getpid()
        try:
            with blocking.registered("web", 80, address=running.address) as kept:
                eventually(lambda: kept.registered)
                child = os.fork()
                if not child:
                    signal.alarm(20)
                    leave()
        except BaseException:
            if os.getpid() == parent:
                raise
        if os.getpid() != parent:
            os._exit(0)
        ended_well(child)
        assert running.registry.names() == [], "the parent has left"
        assert methods(running).count("Discovery.Deregister") == 1, "the child has not"


def test_blocking_a_child_does_not_renew_and_does_not_hold_its_parent_up() -> None:
    with background() as running:
        with blocking.registered("web", 80, address=running.address, lease=0.3) as kept:
            eventually(lambda: kept.registered)
            child = forked(lambda: time.sleep(3))
            eventually(lambda: "Discovery.Renew" in methods(running))
        assert not [one for one in threading.enumerate() if one.name == "registered-web"], "its thread has ended"
        count = len(running.registry.asked)
        time.sleep(0.5)
        assert len(running.registry.asked) == count, "the child, which lives, says nothing"
        assert running.registry.names() == []
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_blocking_a_child_may_register_for_itself() -> None:
    with background() as running, blocking.registered("web", 80, address=running.address) as kept:
        eventually(lambda: kept.registered)

        def child() -> None:
            with blocking.registered("worker", 81, address=running.address) as mine:
                eventually(lambda: mine.registered)

        ended_well(forked(child))
        assert methods(running).count("Discovery.Deregister") == 1
        assert running.registry.names() == ["web"]


# ---------------------------------------------------------------- asyncio


def test_asyncio_a_child_opens_a_connection_of_its_own(shop: Background) -> None:
    async def ask(registry: aio.Registry, name: str) -> None:
        assert {(await registry.get(name)).Port for _ in range(100)} == {PORTS[name]}

    async def main() -> None:
        async with aio.open_registry(shop.address) as registry:
            await ask(registry, "product")
            children = [forked(lambda name=name: asyncio.run(ask(registry, name))) for name in PORTS]  # type: ignore[misc]
            await ask(registry, "order")
            ended_well(*children)
            await ask(registry, "product")

    asyncio.run(main())
    assert len(shop.registry.peers) == 3


@ways_out
def test_asyncio_a_child_that_leaves_the_block_leaves_the_entry(leave: Callable[[], Any]) -> None:
    parent = os.getpid()
    children: list[int] = []

    async def main(address: str) -> None:
        async with aio.registered("web", 80, address=address) as kept:
            while not kept.registered:
                await asyncio.sleep(0.005)
            if pid := os.fork():
                children.append(pid)
                os.waitpid(pid, 0)  # noqa: ASYNC222 - short
                assert running.registry.names() == ["web"]
            else:
                signal.alarm(20)
                leave()

    with background() as running:
        try:
            asyncio.run(main(running.address))
        except BaseException:
            if os.getpid() == parent:
                raise
        if os.getpid() != parent:
            os._exit(0)
        assert methods(running).count("Discovery.Deregister") == 1
        assert running.registry.names() == []


# ---------------------------------------------------------------- trio


async def test_trio_a_child_has_to_open_a_registry_of_its_own() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.open_registry(address) as client:
        await client.status()

        def child() -> None:
            call = client.status()
            with pytest.raises(
                minikube.UsageError, match="opened before the process was forked — open one in the child"
            ):
                call.send(None)  # type: ignore[attr-defined]

        pid = forked(child)
        ended_well(pid)
        assert (await client.status())["Version"] == "1", "the parent's connection is as it was"
        assert len(registry.peers) == 1


@ways_out
def test_trio_a_child_that_leaves_the_block_leaves_the_entry(leave: Callable[[], Any]) -> None:
    async def main(address: str) -> None:
        async with minikube.registered("web", 80, address=address) as kept:
            await soon(lambda: kept.registered)
            if pid := os.fork():
                os.waitpid(pid, 0)  # noqa: ASYNC222 - short
                # The child has shared trio's epoll instance: the parent's event loop does not survive that, with or
                # without us. What it has registered does.
                os._exit(0)
            signal.alarm(20)
            leave()

    with background() as running:
        ended_well(forked(lambda: trio.run(main, running.address)))
        assert running.registry.names() == ["web"]
        assert "Discovery.Deregister" not in methods(running)


@pytest.mark.parametrize("is_registered", [False, True])
def test_trio_a_child_that_leaves_the_block_raises_nothing(is_registered: bool) -> None:
    """Also when the fork came before the first registration, or while a renewal is due: the child has opened no registry."""

    async def main(address: str) -> str:
        async with minikube.registered("web", 80, address=address, health="ttl", lease="0.5s") as kept:
            if is_registered:
                await soon(lambda: kept.registered)
            if pid := os.fork():
                os.waitpid(pid, 0)  # noqa: ASYNC222 - short
                os._exit(int(seen.read_bytes() != b"left"))  # noqa: ASYNC240 - short
            signal.alarm(20)
            await trio.sleep(0.3 if is_registered else 0)
        return "left"

    with background() as running, tempfile.TemporaryDirectory() as folder:
        seen = Path(folder, "seen")
        ended_well(forked(lambda: seen.write_text(trio.run(main, running.address))))
        assert "Discovery.Deregister" not in methods(running)
