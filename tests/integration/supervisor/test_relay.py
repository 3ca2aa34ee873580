"""A relay lets callers of its network through, nobody else, and ends with what it leads to. Real sockets."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Network

import pytest
import trio

from minikube.supervisor.runtime.container import relay as relays
from minikube.supervisor.runtime.container.relay import Relay

GATEWAY = "127.0.0.9"
"""Loopback stands in for a bridge: every address of 127/8 is ours to bind and to call from."""


@asynccontextmanager
async def relay_to(target: str, subnet: str = "127.0.0.0/8") -> AsyncIterator[int]:
    relay = Relay(GATEWAY, IPv4Network(subnet), lambda: target)
    listener, port = await relay.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.serve, listener)
        yield port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """A server that gives back what it gets, and an end for an end."""

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def call(port: int, source: str = "127.0.0.2") -> trio.SocketStream:
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect((GATEWAY, port))
    return trio.SocketStream(sock)


async def test_bytes_pass_both_ways_and_an_end_is_passed_on() -> None:
    async with echo() as target, relay_to(target) as port, await call(port) as caller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.send_all, b"x" * 1_000_000)
            got = b""
            while len(got) < 1_000_000:
                got += await caller.receive_some()
        assert got == b"x" * 1_000_000
        await caller.send_eof()
        assert await caller.receive_some() == b""


@pytest.mark.parametrize("source", ["127.0.0.2", GATEWAY])
async def test_a_stranger_and_the_machine_itself_are_turned_away(source: str) -> None:
    subnet = "127.0.0.9/32" if source == GATEWAY else "10.0.0.0/8"
    async with echo() as target, relay_to(target, subnet) as port, await call(port, source) as caller:
        with trio.fail_after(30):
            assert await caller.receive_some() == b""


async def test_a_caller_whose_target_is_away_sees_an_end() -> None:
    async with relay_to("127.0.0.1:1") as port, await call(port) as caller:
        with trio.fail_after(30):
            assert await caller.receive_some() == b""


async def test_a_caller_who_has_hung_up_before_it_is_taken_does_no_harm() -> None:
    relay = Relay(GATEWAY, IPv4Network("127.0.0.0/8"), lambda: "127.0.0.1:1")
    listener, port = await relay.open()
    gone = await call(port)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    await gone.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.serve, listener)
        async with await call(port) as caller:
            with trio.fail_after(30):
                assert await caller.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_callers_beyond_the_bound_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_CALLERS", 1)
    async with echo() as target, relay_to(target) as port, await call(port) as first:
        await first.send_all(b"a")
        assert await first.receive_some() == b"a"
        async with await call(port) as second:
            with trio.fail_after(30):
                assert await second.receive_some() == b""
        await first.send_all(b"b")
        assert await first.receive_some() == b"b"
