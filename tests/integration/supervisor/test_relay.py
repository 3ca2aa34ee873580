"""A relay accepts clients of its network only, and closes with its target. Real sockets."""

import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from minikube.addresses import split_host_port
from minikube.control.state_store import StateStore
from minikube.defaults import RELAY_SOURCE
from minikube.engine.networks import ContainerNetwork
from minikube.supervisor.runtime.container import relay as relays
from minikube.supervisor.runtime.container.host_relays import HostServices
from minikube.supervisor.runtime.container.network import ProjectNetwork
from minikube.supervisor.runtime.container.relay import Relay, Target

GATEWAY = "127.0.0.9"
"""An address of the loopback in place of a bridge: every address of 127/8 can be bound and connected from."""


@asynccontextmanager
async def relay_to(target: str, subnet: str = "127.0.0.0/8", source: str | None = RELAY_SOURCE) -> AsyncIterator[int]:
    relay = Relay(GATEWAY, IPv4Network(subnet), Target(lambda: target, source))
    listener, port = await relay.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.serve, listener)
        yield port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """Serve an echo: send back all bytes and the end of the stream."""

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def connect(port: int, source: str = "127.0.0.2") -> trio.SocketStream:
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect((GATEWAY, port))
    return trio.SocketStream(sock)


async def test_bytes_pass_both_ways_and_an_end_is_passed_on() -> None:
    async with echo() as target, relay_to(target) as port, await connect(port) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"x" * 1_000_000)
            got = b""
            while len(got) < 1_000_000:
                got += await client.receive_some()
        assert got == b"x" * 1_000_000
        await client.send_eof()
        assert await client.receive_some() == b""


@pytest.mark.parametrize("source", ["127.0.0.2", GATEWAY])
async def test_clients_from_other_networks_and_from_this_machine_are_rejected(source: str) -> None:
    subnet = "127.0.0.9/32" if source == GATEWAY else "10.0.0.0/8"
    async with echo() as target, relay_to(target, subnet) as port, await connect(port, source) as client:
        with trio.fail_after(30):
            assert await client.receive_some() == b""


async def test_a_client_whose_target_is_down_sees_its_connection_close() -> None:
    async with relay_to("127.0.0.1:1") as port, await connect(port) as client:
        with trio.fail_after(30):
            assert await client.receive_some() == b""


async def test_a_client_that_closes_before_it_is_accepted_does_no_harm() -> None:
    relay = Relay(GATEWAY, IPv4Network("127.0.0.0/8"), Target(lambda: "127.0.0.1:1"))
    listener, port = await relay.open()
    closed = await connect(port)
    closed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    await closed.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.serve, listener)
        async with await connect(port) as client:
            with trio.fail_after(30):
                assert await client.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_clients_beyond_the_limit_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_CLIENTS", 1)
    async with echo() as target, relay_to(target) as port, await connect(port) as first:
        await first.send_all(b"a")
        assert await first.receive_some() == b"a"
        async with await connect(port) as second:
            with trio.fail_after(30):
                assert await second.receive_some() == b""
        await first.send_all(b"b")
        assert await first.receive_some() == b"b"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_server_can_tell_the_relays_connections_from_those_of_its_user(host: str) -> None:
    sources = []

    async def note(stream: trio.SocketStream) -> None:
        sources.append(stream.socket.getpeername()[0])
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, note, 0, host="127.0.0.1"))
        target = f"{host}:{listener.socket.getsockname()[1]}"
        async with relay_to(target) as port, await connect(port, "127.0.0.5") as client:
            assert await client.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert sources == [RELAY_SOURCE]


async def test_a_server_that_cannot_tell_the_relay_from_its_user_is_not_connected_to() -> None:
    """On IPv6 loopback there is one address for all: such a registry listens on IPv4 for relays."""
    connections = []

    async def note(stream: trio.SocketStream) -> None:
        connections.append(stream.socket.getpeername()[0])
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        try:
            (listener,) = await nursery.start(partial(trio.serve_tcp, note, 0, host="::1"))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        target = f"[::1]:{listener.socket.getsockname()[1]}"
        async with relay_to(target) as port, await connect(port, "127.0.0.5") as client:
            assert await client.receive_some() == b""
        assert connections == []
        # A Redis there is reached: it does not ask for users of the machine.
        async with relay_to(target, source=None) as port, await connect(port, "127.0.0.5") as client:
            assert await client.receive_some() == b""
        assert connections == ["::1"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("tls", [False, True])
async def test_containers_reach_the_registry_through_a_relay_that_it_can_tell(tls: bool) -> None:
    """The relay has a source of its own, and begins with the gateway, in place of loopback addresses; not where TLS begins."""
    sources, received = [], b""

    async def note(stream: trio.SocketStream) -> None:
        nonlocal received
        sources.append(stream.socket.getpeername()[0])
        async for data in stream:
            received += data
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, note, 0, host="127.0.0.1"))
        port = int(listener.socket.getsockname()[1])
        client = cast(Any, SimpleNamespace(engine=SimpleNamespace(mark="m")))
        network = ContainerNetwork("shop-net", GATEWAY, "127.0.0.0/8")
        env = {"MINIKUBE_REGISTRY": f"[::1]:{port}", "REDIS_URL": "unix:///redis.sock"}
        services = HostServices(frozenset, frozenset, StateStore("shop"))
        project = ProjectNetwork(client, "shop", nursery, services, lambda text, level: None, greet=not tls)
        env = await project.replace_loopback(network, env, lambda: f"127.0.0.1:{port}")
        assert split_host_port(env["MINIKUBE_REGISTRY"]) == (GATEWAY, port), (
            "the registry's own port, which is free there"
        )
        async with await connect(port, "127.0.0.5") as container:
            await container.send_all(b"mine\n")
            await container.send_eof()
            assert await container.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert sources == [RELAY_SOURCE]
    greeting, _, rest = received.rpartition(b"mine\n")
    assert rest == b""
    via = {"jsonrpc": "2.0", "method": "Discovery.Via", "params": {"Host": GATEWAY}}
    assert [json.loads(line) for line in greeting.splitlines()] == ([] if tls else [via])
