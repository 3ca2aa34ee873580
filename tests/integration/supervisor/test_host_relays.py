"""Containers reach instances on this machine's loopback: relays open when they listen and close when they end. Real sockets."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from minikube.control.state_store import StateStore
from minikube.engine.networks import ContainerNetwork
from minikube.supervisor.runtime.container import host_relays
from minikube.supervisor.runtime.container.host_relays import Endpoint, HostRelays, HostServices

GATEWAY, CONTAINER = "127.0.0.9", "127.0.0.5"
NETWORK = ContainerNetwork("shop-net", GATEWAY, "127.0.0.0/8")


class Services:
    """Instances on this machine, and the store that tells of their changes."""

    def __init__(self) -> None:
        self.running: set[Endpoint] = set()
        self.events: list[str] = []
        self.store = StateStore("shop")

    def change(self) -> None:
        self.store.event("instance.started", "x")

    @asynccontextmanager
    async def relayed(self) -> AsyncIterator[None]:
        services = HostServices(frozenset, lambda: frozenset(self.running), self.store)
        relays = HostRelays(NETWORK, services, lambda text, level: self.events.append(text))
        async with trio.open_nursery() as nursery:
            scope = await nursery.start(relays.serve)
            yield
            scope.cancel()


async def ask(port: int) -> bytes | None:
    """Return what a container gets at the gateway; None where its connection is refused."""
    with trio.socket.socket() as sock:
        await sock.bind((CONTAINER, 0))
        try:
            await sock.connect((GATEWAY, port))
            return bytes(await sock.recv(100))
        except ConnectionError:
            return None


async def wait_for(port: int, expected: bytes | None) -> None:
    with trio.fail_after(30):
        while await ask(port) != expected:
            await trio.sleep(0.01)


async def serve(word: bytes, host: str, port: int, nursery: trio.Nursery) -> None:
    await nursery.start(partial(trio.serve_tcp, lambda stream: stream.send_all(word), port, host=host))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_an_instance_is_reached_from_when_it_listens_until_it_ends() -> None:
    services, port = Services(), free_port()
    async with services.relayed(), trio.open_nursery() as nursery:
        instance = Endpoint("web", 1, "127.0.0.1", port)
        services.running.add(instance)
        services.change()
        assert await ask(port) is None
        await serve(b"web", "127.0.0.1", port, nursery)
        await wait_for(port, b"web")  # without a change in the store
        services.running.remove(instance)
        services.change()
        await wait_for(port, None)
        # Its next process is at another address of the loopback.
        await serve(b"again", "127.0.0.2", port, nursery)
        services.running.add(Endpoint("web", 2, "127.0.0.2", port))
        services.change()
        await wait_for(port, b"again")
        nursery.cancel_scope.cancel()
    assert services.events == []


async def test_a_program_that_listens_on_all_addresses_finds_its_port_free_and_needs_no_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when it closes its port and listens again, as programs do that reload their code."""
    monkeypatch.setattr(host_relays, "POLL_S", 0.01)
    services, port = Services(), free_port()
    async with services.relayed():
        services.running.add(Endpoint("web", 1, "127.0.0.1", port))
        services.change()
        for word in (b"first", b"second"):
            async with trio.open_nursery() as program:
                await serve(word, "0.0.0.0", port, program)
                services.change()
                await trio.sleep(0.1)  # time for a relay that must not come
                assert await ask(port) == word
                program.cancel_scope.cancel()
            services.change()
            await trio.sleep(0.1)
    assert services.events == []


async def test_a_port_that_is_taken_at_the_gateway_is_one_event_and_the_others_are_reached() -> None:
    services, port, other = Services(), free_port(), free_port()
    async with trio.open_nursery() as nursery:
        await serve(b"stranger", GATEWAY, port, nursery)
        await serve(b"web", "127.0.0.1", port, nursery)
        await serve(b"other", "127.0.0.1", other, nursery)
        services.running |= {Endpoint("web", 1, "127.0.0.1", port), Endpoint("other", 2, "127.0.0.1", other)}
        async with services.relayed():
            assert await ask(other) == b"other", "open before the first container starts"
            services.change()
            services.change()
            assert await ask(port) == b"stranger"
        nursery.cancel_scope.cancel()
    assert services.events == [f"containers do not reach web at {GATEWAY}:{port}: Address already in use"]
