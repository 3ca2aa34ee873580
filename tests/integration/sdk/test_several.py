"""Several registries in one address: the SDK moves to the next within a second when one is gone or hangs."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.eventually import eventually, soon
from tests.integration.sdk.test_clients import Background, background, other
from tests.integration.sdk.test_staying import asyncio_stays, blocking_stays, staying, trio_stays
from tests.ports import free_port

PROGRAM = """
import trio
from tests.integration.sdk.test_clients import FakeRegistry, serving
async def main():
    async with serving(FakeRegistry()) as address:
        print(address, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


class Process:
    """A registry in a process of its own, to be stopped."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def hang(self) -> None:
        """As a registry does that is stopped or swapped out: the kernel still takes connections and bytes."""
        self.process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def first() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


@pytest.fixture
def second() -> Iterator[Background]:
    with background() as running:
        running.do(running.registry.put, other("web"))
        yield running


@contextmanager
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_blocking_the_first_that_answers_is_used(second: Background) -> None:
    with silent() as hung:
        address = f"127.0.0.1:{free_port()},{hung},{second.address}"
        start = time.monotonic()
        with blocking.open_registry(address) as registry:
            assert registry.get("web").Port == 1
            assert time.monotonic() - start < 1.5, "one is gone and one hangs"
            start = time.monotonic()
            for _ in range(20):
                registry.get("web")
            assert time.monotonic() - start < 0.7, "and it stays in use"


async def test_trio_the_first_that_answers_is_used(second: Background) -> None:
    with silent() as hung:
        start = time.monotonic()
        async with minikube.open_registry(f"127.0.0.1:{free_port()},{hung},{second.address}") as registry:
            assert (await registry.get("web")).Port == 1
            assert time.monotonic() - start < 1.5


def test_asyncio_the_first_that_answers_is_used(second: Background) -> None:
    async def main() -> None:
        with silent() as hung:
            start = time.monotonic()
            async with aio.open_registry(f"127.0.0.1:{free_port()},{hung},{second.address}") as registry:
                assert (await registry.get("web")).Port == 1
                assert time.monotonic() - start < 1.5

    asyncio.run(main())


@pytest.mark.parametrize("way", ["hang", "close"])
def test_blocking_the_next_is_used_within_a_second(first: Process, second: Background, way: str) -> None:
    with blocking.open_registry(f"{first.address},{second.address}") as registry:
        with pytest.raises(minikube.NotFound):
            registry.get("web")
        getattr(first, way)()
        start = time.monotonic()
        assert registry.get("web").Port == 1
        assert time.monotonic() - start < 1.3


@pytest.mark.parametrize("way", ["hang", "close"])
async def test_trio_the_next_is_used_within_a_second(first: Process, second: Background, way: str) -> None:
    async with minikube.open_registry(f"{first.address},{second.address}") as registry:
        with pytest.raises(minikube.NotFound):
            await registry.get("web")
        getattr(first, way)()
        start = time.monotonic()
        assert (await registry.get("web")).Port == 1
        assert time.monotonic() - start < 1.3


@pytest.mark.parametrize("way", ["hang", "close"])
def test_asyncio_the_next_is_used_within_a_second(first: Process, second: Background, way: str) -> None:
    async def main() -> None:
        async with aio.open_registry(f"{first.address},{second.address}") as registry:
            with pytest.raises(minikube.NotFound):
                await registry.get("web")
            getattr(first, way)()
            start = time.monotonic()
            assert (await registry.get("web")).Port == 1
            assert time.monotonic() - start < 1.3

    asyncio.run(main())


def test_blocking_a_call_passes_over_all_that_are_gone(first: Process, second: Background) -> None:
    with blocking.open_registry(f"{first.address},127.0.0.1:{free_port()},{second.address}") as registry:
        registry.status()
        first.close()
        assert registry.get("web").Port == 1


@pytest.mark.parametrize("client", [blocking, minikube, aio])
async def test_a_wildcard_host_is_resolved_at_the_registry_that_is_there(client: Any, second: Background) -> None:
    address = f"127.0.0.1:{free_port()},{second.address}"
    stays = {blocking: blocking_stays, minikube: trio_stays, aio: asyncio_stays}[client]
    with staying(stays, "api", 80, address=address, host="::"):
        await soon(lambda: "api" in second.registry.names(), within=5)


def test_blocking_a_long_poll_is_no_silence(second: Background) -> None:
    """The registry owes the reply, but gives a sign of life when it is asked for one."""
    with blocking.open_registry(f"{second.address},127.0.0.1:{free_port()}") as registry:
        with pytest.raises(minikube.Unavailable, match=r"no answer from .* in time"):
            registry.call("Discovery.Sleep", (), 2.0)
        assert len(second.registry.peers) == 1, "it has not left it"


async def test_trio_a_long_poll_is_no_silence(second: Background) -> None:
    async with minikube.open_registry(f"{second.address},127.0.0.1:{free_port()}") as registry:
        with pytest.raises(minikube.Unavailable, match="no answer"):
            await registry.call("Discovery.Sleep", (), 2.0)
        assert len(second.registry.peers) == 1


def test_asyncio_a_long_poll_is_no_silence(second: Background) -> None:
    async def main() -> None:
        async with aio.open_registry(f"{second.address},127.0.0.1:{free_port()}") as registry:
            with pytest.raises(minikube.Unavailable, match="no answer"):
                await registry.call("Discovery.Sleep", (), 2.0)
            assert len(second.registry.peers) == 1

    asyncio.run(main())


def test_blocking_a_watch_moves_to_the_next(first: Process, second: Background) -> None:
    with blocking.watch("web", address=f"{first.address},{second.address}") as updates:
        assert isinstance(next(updates), minikube.WatchSnapshot)
        second.do(setattr, second.registry, "oldest", 99)
        first.hang()
        start = time.monotonic()
        assert isinstance(next(updates), minikube.WatchSnapshot)
        assert time.monotonic() - start < 1.5


def test_blocking_a_registration_moves_to_the_next(first: Process, second: Background) -> None:
    with blocking.registered("api", 80, address=f"{first.address},{second.address}", lease=0.6) as kept:
        eventually(lambda: kept.registered)
        first.hang()
        eventually(lambda: "api" in second.registry.names(), within=5)


async def test_trio_a_registration_moves_to_the_next(first: Process, second: Background) -> None:
    async with minikube.registered("api", 80, address=f"{first.address},{second.address}", lease=0.6) as kept:
        await soon(lambda: kept.registered)
        first.close()
        await soon(lambda: "api" in second.registry.names(), within=5)


def test_a_list_without_any_registry_names_each() -> None:
    ports = [free_port(), free_port()]
    address = ",".join(f"127.0.0.1:{port}" for port in ports)

    async def trio_discovers() -> None:
        await minikube.discover("web", address=address)

    def told(discover: Callable[[], object]) -> None:
        with pytest.raises(minikube.Unavailable) as caught:
            discover()
        for port in ports:
            assert f"cannot connect to 127.0.0.1:{port}: Connection refused" in str(caught.value)

    told(lambda: blocking.discover("web", address=address))
    told(lambda: trio.run(trio_discovers))
    told(lambda: asyncio.run(aio.discover("web", address=address)))
