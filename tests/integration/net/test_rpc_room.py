"""An RPC server with as many connections as it takes: whose connection is closed for a new one."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio

from minikube.jsonrpc.messages import Request
from minikube.net.peers import Peer
from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.limits import RpcLimits
from tests.eventually import soon
from tests.integration.net.rpc_server import Raw, SampleService, call_line, raw, serving

FOREIGN_UID = 65_534
"""The user nobody."""

OPEN_AND_WAIT = """
import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[1]))
address = (sys.argv[2], int(sys.argv[3]))
sockets = [socket.create_connection(address) for _ in range(int(sys.argv[4]))]
for sock in sockets:
    sock.sendall(b'{"jsonrpc":"2.0","method":"ready","id":1}\\n')
    sock.recv(1000)
os.write(1, b"open\\n")
for line in sys.stdin:
    sock = sockets[int(line)]
    sock.settimeout(30)
    os.write(1, sock.makefile().readline().encode())
"""


@asynccontextmanager
async def foreign_clients(address: tuple[str, int], count: int) -> AsyncIterator[trio.Process]:
    """Open connections as another user, each with one line sent, and keep them until the block ends."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", OPEN_AND_WAIT, str(FOREIGN_UID), *map(str, address), str(count)]
        start = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        with trio.fail_after(30):
            assert await process.stdout.receive_some(100) == b"open\n"
        yield process
        process.kill()


async def said(process: trio.Process, index: int) -> bytes:
    """Return the line that one of the foreign clients has received."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send_all(b"%d\n" % index)
    with trio.fail_after(30):
        return bytes(await process.stdout.receive_some(10_000))


async def ask(client: Raw, method: str = "ready") -> object:
    await client.send(call_line(method, 1))
    return (await client.line())["result"]


async def closed_for_room(client: Raw) -> bool:
    """Return whether the client is told that its connection was closed to make room."""
    line = await client.line()
    assert line["error"]["code"] == -32028
    return "closed to make room" in line["error"]["message"] and await client.ended()


async def test_the_idlest_connection_is_closed_for_a_new_one_and_told_why() -> None:
    async with serving(SampleService(), limits=RpcLimits(connections=2)) as address, raw(address) as idle:
        await ask(idle)
        async with raw(address) as other:
            await ask(other)
            async with raw(address) as newcomer:
                assert await ask(newcomer) == "ready"
                assert await closed_for_room(idle)
                assert await ask(other, "clients") == 2


async def test_a_connection_that_sent_one_line_goes_before_an_idler_one_that_is_used() -> None:
    async with serving(SampleService(), limits=RpcLimits(connections=2)) as address, raw(address) as used:
        for _ in range(3):
            await ask(used)
        async with raw(address) as once:
            await ask(once)
            async with raw(address) as newcomer:
                assert await ask(newcomer) == "ready"
                assert await closed_for_room(once)
                assert await ask(used) == "ready"


async def test_a_connection_that_only_waits_for_its_end_goes_first() -> None:
    limits = RpcLimits(connections=2, linger_s=60, half_closed_s=60)
    async with serving(SampleService(), limits=limits) as address, raw(address) as idle, raw(address) as ending:
        await ask(idle)
        await ending.send("GET / HTTP/1.1")
        assert await ending.line()
        async with raw(address) as newcomer:
            assert await ask(newcomer) == "ready"
            assert await ask(idle, "clients") == 2


async def test_a_connection_with_a_waiting_call_goes_last() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(connections=2)) as address, raw(address) as waiting:
        await waiting.send(call_line("wait", 1, "g"))
        await soon(lambda: service.running == 1)
        async with raw(address) as idle:
            for _ in range(3):
                await ask(idle)
            async with raw(address) as newcomer:
                assert await ask(newcomer) == "ready"
                assert await closed_for_room(idle)
                service.gate("g").set()
                assert (await waiting.line())["result"] == "g"


async def test_a_protected_connection_is_never_closed_for_another_one() -> None:
    service = SampleService()
    limits = RpcLimits(connections=2, linger_s=0.1)
    async with serving(service, limits=limits) as address, AsyncExitStack() as stack:
        protected = [await stack.enter_async_context(raw(address)) for _ in range(2)]
        for client in protected:
            await client.send(call_line("watch", 1))
            await client.line()
            await client.line()
        service.connections[0].is_protected = True
        for _ in range(3):
            async with raw(address) as newcomer:
                assert await ask(newcomer) == "ready"
                service.connections[1].is_protected = True
                async with raw(address) as last:
                    await ask(last)
                    assert await closed_for_room(newcomer)
        async with raw(address) as first:
            await ask(first)
        assert await ask(protected[0]) == "ready"


async def test_a_newcomer_is_refused_if_every_connection_is_protected() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(connections=1, linger_s=0.1)) as address, raw(address) as client:
        await client.send(call_line("watch", 1))
        await client.line()
        await client.line()
        service.connections[0].is_protected = True
        for _ in range(3):
            async with raw(address) as newcomer:
                assert "too many connections: 1 are open" in (await newcomer.line())["error"]["message"]
                assert await newcomer.ended()
        assert await ask(client) == "ready"


async def test_a_flood_of_connections_leaves_room_and_holds_no_more_sockets_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minikube.net.rpc.server.MAX_REFUSED", 2)
    service = SampleService()
    limits = RpcLimits(connections=4, linger_s=60, half_closed_s=60)
    async with serving(service, limits=limits) as address, raw(address) as regular, AsyncExitStack() as stack:
        await regular.send(call_line("watch", 1))
        await regular.line()
        await regular.line()
        service.connections[0].is_protected = True
        open_files = len(os.listdir("/proc/self/fd"))
        flood = [await stack.enter_async_context(raw(address)) for _ in range(40)]
        await ask(flood[-1])
        assert len(os.listdir("/proc/self/fd")) - open_files <= 40 + 3 + 2
        for client in flood[:-3]:
            assert await closed_for_room(client)
        assert await ask(regular, "clients") == 4


@pytest.mark.usefixtures("as_root")
async def test_the_user_with_the_most_connections_makes_room_for_others() -> None:
    """Although its connections are the youngest."""
    limits = RpcLimits(connections=10, linger_s=60)
    async with serving(SampleService(), limits=limits) as address, raw(address) as ours:
        await ask(ours)
        async with foreign_clients(address, 9) as process, raw(address) as newcomer:
            assert await ask(newcomer) == "ready"
            assert f"user {FOREIGN_UID} has the most".encode() in await said(process, 0)
            assert await ask(ours, "clients") == 10


# ---------------------------------------------------------------- the peer


async def test_the_user_at_the_other_end_is_known_until_it_closes() -> None:
    service = SampleService()
    async with serving(service) as address:
        async with raw(address) as client, raw(address) as half, raw(address) as late:
            for one in (client, half, late):
                await one.send(call_line("watch", 1))
                await one.line()
            await half.stream.send_eof()
            await trio.sleep(0.05)
            assert service.connections[0].peer == Peer("127.0.0.1", os.getuid())
            late.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await soon(lambda: service.connections[2].closed.is_set())
        assert service.connections[2].peer == Peer("127.0.0.1", None)
        assert service.connections[0].peer.uid == os.getuid()  # found once, while it was open


@pytest.mark.usefixtures("as_root")
async def test_a_process_of_another_user_is_told_apart() -> None:
    connections: list[RpcConnection] = []

    class Recorder(SampleService):
        def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
            connections.append(connection)
            return super().handle_sync(request, connection)

    async with serving(Recorder()) as address, foreign_clients(address, 1):
        assert connections[0].peer == Peer("127.0.0.1", FOREIGN_UID)
