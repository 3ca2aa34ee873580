"""A door for a network's containers to something that listens on our loopback (floor 3): bytes both ways, nothing else.

It stands on the network's gateway address, takes callers with an address of that network only, and so opens nothing to anybody
who could not be reached by the engine's bridge anyway. It refuses to look into what passes: tokens and TLS stay end to end.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Network, ip_address
from typing import NoReturn

import trio

from minikube.manifest import HostPort, parse_host_port

IP_FREEBIND = 15
"""linux/in.h: an address may be bound before its bridge exists. Podman makes it with the first container."""

MAX_CALLERS = 512
CONNECT_S = 5.0
BLOCK = 65_536


class Relay:
    """`open` tells the port; `target` is asked at each call, since what it names may move."""

    def __init__(self, gateway: str, subnet: IPv4Network, target: Callable[[], str]) -> None:
        self._gateway = gateway
        self._subnet = subnet
        self._target = target
        self._callers = 0

    async def open(self) -> tuple[trio.SocketListener, int]:
        """Listens on a free port of the gateway's address."""
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        await sock.bind((self._gateway, 0))
        sock.listen()
        return trio.SocketListener(sock), int(sock.getsockname()[1])

    async def serve(self, listener: trio.SocketListener) -> NoReturn:
        await trio.serve_listeners(self._take, [listener])

    async def _take(self, caller: trio.SocketStream) -> None:
        async with caller:
            try:
                peer = caller.socket.getpeername()[0]
            except OSError:
                return  # it has hung up already
            if peer == self._gateway or ip_address(peer) not in self._subnet or self._callers >= MAX_CALLERS:
                return
            self._callers += 1
            try:
                await self._pass_on(caller)
            finally:
                self._callers -= 1

    async def _pass_on(self, caller: trio.SocketStream) -> None:
        where: HostPort = parse_host_port(self._target())
        try:
            with trio.fail_after(CONNECT_S):
                target = await trio.open_tcp_stream(where.host, where.port)
        except (OSError, trio.TooSlowError):
            return  # nobody is there: the caller sees its connection end, as it would at the door itself
        async with target, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, caller, target, nursery.cancel_scope)
            nursery.start_soon(_copy, target, caller, nursery.cancel_scope)


async def _copy(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    """To the source's end, which the sink is told; a broken one ends both ways."""
    try:
        while data := await source.receive_some(BLOCK):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        scope.cancel()
