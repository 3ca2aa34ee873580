"""Forward connections of a network's containers to a server on this machine's loopback: a TCP proxy.

It listens on the network's gateway address and accepts clients with an address of that network only, so no other machine
gets access. To the registry it connects from an address of its own, by which the registry tells its clients from the supervisor's
user. It refuses to connect to the registry from another address, and to look into the bytes: tokens and TLS stay end to end.
"""

import resource
import socket
from collections.abc import Callable
from ipaddress import IPv4Network, ip_address
from typing import NoReturn

import trio
from msgspec import Struct

from minikube.manifest import HostPort, parse_host_port

IP_FREEBIND = 15
"""linux/in.h: an address may be bound before its bridge exists. Podman makes it with the first container."""

MAX_CLIENTS = 512
"""Of one relay, or of all relays that share a `ClientCount`. Fewer where the supervisor may open few descriptors."""

DESCRIPTORS_PER_CLIENT = 16
"""One client for this many descriptors that the supervisor may open. A client takes two: containers that flood a relay must
not use up those that the start of an instance takes."""

CONNECT_TIMEOUT_S = 5.0
READ_BYTES = 65_536


class ClientCount:
    """The number of clients of a relay, or of several that share the count, with a bound."""

    def __init__(self) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = min(MAX_CLIENTS, max(descriptors // DESCRIPTORS_PER_CLIENT, 1))
        self.now = 0


class Target(Struct, frozen=True):
    """The server that a relay connects to, and how."""

    address: Callable[[], str]
    """Returns the server's address; called for each connection."""
    source: str | None = None
    """The address to connect from, None for any: where it cannot be used to reach the server, no connection is made."""
    greeting: bytes = b""
    """What is sent to the server first, before the client's bytes."""


class Relay:
    """A TCP proxy on the gateway address of a container network. Only clients with an address in `subnet` are accepted.

    Relays with the same `clients` share its bound.
    """

    def __init__(self, gateway: str, subnet: IPv4Network, target: Target, clients: ClientCount | None = None) -> None:
        self._gateway = gateway
        self._subnet = subnet
        self._target = target
        self._clients = clients or ClientCount()

    async def open(self, port: int = 0) -> tuple[trio.SocketListener, int]:
        """Listen on `port` of the gateway address, 0: a free one; return the listener and the port. Raises OSError."""
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
            # As servers do: connections of an earlier relay may still be in TIME_WAIT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind((self._gateway, port))
            sock.listen()
        except BaseException:
            sock.close()
            raise
        return trio.SocketListener(sock), int(sock.getsockname()[1])

    async def serve(self, listener: trio.SocketListener) -> NoReturn:
        """Accept connections and forward them until cancelled."""
        await trio.serve_listeners(self._accept, [listener])

    async def _accept(self, client: trio.SocketStream) -> None:
        async with client:
            try:
                peer = client.socket.getpeername()[0]
            except OSError:
                return  # the client has closed the connection already
            clients = self._clients
            if peer == self._gateway or ip_address(peer) not in self._subnet or clients.now >= clients.most:
                return
            clients.now += 1
            try:
                await self._forward(client)
            finally:
                clients.now -= 1

    async def _forward(self, client: trio.SocketStream) -> None:
        address: HostPort = parse_host_port(self._target.address())
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                target = await trio.open_tcp_stream(address.host, address.port, local_address=self._target.source)
        except (OSError, trio.TooSlowError):
            return  # the server is down, or not reached from `source`: the client sees its connection close
        async with target, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, target, nursery.cancel_scope, self._target.greeting)
            nursery.start_soon(_copy, target, client, nursery.cancel_scope)


async def _copy(
    source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope, greeting: bytes = b""
) -> None:
    """Send `greeting`, then copy bytes until `source` is closed, then close `sink` for writing.

    Cancel `scope` when a connection breaks.
    """
    try:
        if greeting:
            await sink.send_all(greeting)
        while data := await source.receive_some(READ_BYTES):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        scope.cancel()
