"""Faults around the SDK's trio, asyncio and blocking clients: each raises the same error, and no call hangs."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import trio

import minikube
from minikube import aio, blocking
from minikube.net.rpc.limits import RpcLimits
from minikube.net.rpc.server import serve_rpc
from minikube.sdk.requests import Call
from tests.eventually import eventually
from tests.integration.sdk.test_clients import REGISTRATION, FakeRegistry, background, serving

TOO_LONG = minikube.Registration(
    "web", minikube.Address("127.0.0.1", 80), "ttl:", meta={f"k{number}": "x" * 1_024 for number in range(64)}
)


def blocking_registers(address: str, registration: minikube.Registration) -> str:
    with blocking.open_registry(address) as registry:
        return registry.register(registration)


def trio_registers(address: str, registration: minikube.Registration) -> str:
    async def main() -> str:
        async with minikube.open_registry(address) as registry:
            return await registry.register(registration)

    return trio.run(main)


def asyncio_registers(address: str, registration: minikube.Registration) -> str:
    async def main() -> str:
        async with aio.open_registry(address) as registry:
            return await registry.register(registration)

    return asyncio.run(main())


Face = Callable[[str, minikube.Registration], str]
every_face = pytest.mark.parametrize("registers", [blocking_registers, trio_registers, asyncio_registers])


@every_face
def test_a_call_that_is_too_long_is_refused_and_never_sent(registers: Face) -> None:
    """The registry ends a connection that sends such a line, and with it all other calls on it."""
    with background() as running:
        with pytest.raises(minikube.UsageError, match=r"Discovery\.Register: the call is .* bytes, at most 65,536"):
            registers(running.address, TOO_LONG)
        assert running.registry.asked == []


@every_face
async def test_a_refused_connection_raises_the_registrys_own_reason_at_once(registers: Face) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(serve_rpc, FakeRegistry(), ("127.0.0.1", 0), limits=RpcLimits(connections=0))
        ((host, port),) = await nursery.start(serve)
        with pytest.raises(minikube.Unavailable, match="too many connections: 0 are open"):
            await trio.to_thread.run_sync(registers, f"{host}:{port}", REGISTRATION)
        nursery.cancel_scope.cancel()


def blocking_asks(address: str, take_room: Callable[[], None]) -> list[str]:
    with blocking.open_registry(address) as registry:
        before = registry.status()["Version"]
        take_room()
        return [before, registry.status()["Version"]]


def trio_asks(address: str, take_room: Callable[[], None]) -> list[str]:
    async def main() -> list[str]:
        async with minikube.open_registry(address) as registry:
            before = (await registry.status())["Version"]
            await trio.to_thread.run_sync(take_room)
            return [before, (await registry.status())["Version"]]

    return trio.run(main)


def asyncio_asks(address: str, take_room: Callable[[], None]) -> list[str]:
    async def main() -> list[str]:
        async with aio.open_registry(address) as registry:
            before = (await registry.status())["Version"]
            await asyncio.to_thread(take_room)
            return [before, (await registry.status())["Version"]]

    return asyncio.run(main())


@pytest.mark.parametrize("asks", [blocking_asks, trio_asks, asyncio_asks])
async def test_a_connection_that_was_closed_to_make_room_is_opened_again(
    asks: Callable[[str, Callable[[], None]], list[str]],
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_rpc, FakeRegistry(), ("127.0.0.1", 0), limits=RpcLimits(connections=1))
            ((host, port),) = await nursery.start(serve)

            def take_room() -> None:
                sock = stack.enter_context(socket.create_connection((host, port), timeout=30))
                sock.sendall(b'{"jsonrpc":"2.0","method":"Discovery.Status","id":1}\n')
                assert sock.recv(1_000)

            assert await trio.to_thread.run_sync(asks, f"{host}:{port}", take_room) == ["1", "1"]
            nursery.cancel_scope.cancel()


def test_blocking_goes_on_after_a_refused_connection() -> None:
    """The next call opens another connection."""

    async def main() -> None:
        server = FakeRegistry()
        async with trio.open_nursery() as nursery:
            serve = partial(serve_rpc, server, ("127.0.0.1", 0), limits=RpcLimits(connections=1))
            ((host, port),) = await nursery.start(serve)
            holder = await trio.open_tcp_stream(host, port)
            await holder.send_all(b'{"jsonrpc":"2.0","method":"Discovery.Status","id":1}\n')
            await holder.receive_some(1_000)
            server.peers.pop().is_protected = True
            await trio.to_thread.run_sync(ask_twice, f"{host}:{port}", partial(trio.from_thread.run, holder.aclose))
            nursery.cancel_scope.cancel()

    def ask_twice(address: str, make_room: Callable[[], None]) -> None:
        with blocking.open_registry(address) as registry:
            with pytest.raises(minikube.Unavailable, match="too many connections"):
                registry.status()
            make_room()
            eventually(lambda: answers(registry))

    def answers(registry: blocking.Registry) -> bool:
        try:
            return bool(registry.status()["Version"] == "1")
        except minikube.Unavailable:
            return False  # the room is not there yet

    trio.run(main)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Every descriptor below 1,100 is taken: what is opened now is out of select(2)'s reach."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        pytest.skip("this system allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    with ExitStack() as stack:
        while (descriptor := os.dup(0)) < 1_100:
            stack.callback(os.close, descriptor)
        os.close(descriptor)
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_blocking_keeps_registered_in_a_process_with_many_open_files() -> None:
    with background() as running, blocking.registered("web", 80, address=running.address, lease=0.1):
        eventually(lambda: [method for method, _ in running.registry.asked].count("Discovery.Renew") > 2)


def test_blocking_keeps_registered_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send, faults = blocking.Registry.send, [RuntimeError("out of the blue")]

    def fail_once(self: blocking.Registry, call: Call[Any], timeout: float = 5.0) -> Any:
        if faults:
            raise faults.pop()
        return send(self, call, timeout)

    monkeypatch.setattr(blocking.Registry, "send", fail_once)
    monkeypatch.setattr("minikube.sdk.blocking.LAST_RETRY_S", 0.01, raising=False)
    with background() as running, blocking.registered("web", 80, address=running.address) as kept:
        eventually(lambda: kept.registered)
    assert "out of the blue" in caplog.text


def test_asyncio_keeps_registered_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send, faults = aio.Registry.send, [RuntimeError("out of the blue")]

    async def fail_once(self: aio.Registry, call: Call[Any], timeout: float = 5.0) -> Any:
        if faults:
            raise faults.pop()
        return await send(self, call, timeout)

    async def main(address: str) -> None:
        async with aio.registered("web", 80, address=address) as kept:
            while not kept.registered:
                await asyncio.sleep(0.005)

    monkeypatch.setattr(aio.Registry, "send", fail_once)
    monkeypatch.setattr("minikube.sdk.asyncio.LAST_RETRY_S", 0.01, raising=False)
    with background() as running:
        asyncio.run(asyncio.wait_for(main(running.address), 10))
    assert "out of the blue" in caplog.text


async def cancelled_at_the_end_of(block: Any, more: Callable[[Any], Any]) -> bool:
    """Whether a task that is cancelled while it leaves the block ends there."""

    async def user() -> None:
        async with block as found:
            await more(found)
            # Runs once the task waits for the first time: in the block's own end.
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(user())
    await asyncio.wait({task}, timeout=10)
    return task.cancelled()


def test_asyncio_a_cancel_while_the_block_ends_is_not_swallowed() -> None:
    async def keep(kept: Any) -> None:
        while not kept.registered:
            await asyncio.sleep(0.005)

    async def ask(registry: aio.Registry) -> None:
        await registry.status()

    with background() as running:
        assert asyncio.run(cancelled_at_the_end_of(aio.registered("web", 80, address=running.address), keep))
        assert running.registry.names() == [], "it left all the same"
        assert asyncio.run(cancelled_at_the_end_of(aio.open_registry(running.address), ask))


async def test_trio_others_on_the_connection_do_not_notice_a_call_that_is_too_long() -> None:
    async with (
        serving(FakeRegistry()) as address,
        minikube.open_registry(address) as registry,
        trio.open_nursery() as nursery,
    ):

        async def ask() -> None:
            assert (await registry.status())["Version"] == "1"

        for _ in range(5):
            nursery.start_soon(ask)
        with pytest.raises(minikube.UsageError):
            await registry.register(TOO_LONG)
