"""The interfaces between an RPC server, its connections and the service whose methods it serves.

- `RpcService` is implemented by a service, such as `registry.service`.
- `RpcConnection` has the methods of a client's connection that a service calls, implemented by `connection`.
- `ServerContext` has the methods of the server that a connection calls, implemented by `server`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from msgspec import Raw

from minikube.jsonrpc.messages import Request
from minikube.net.peers import Peer


class RpcConnection(Protocol):
    """A client's connection: the methods of it that a service may call."""

    address: str
    """The client's address, as `HOST:PORT`."""
    authenticated: bool
    """False at first. Set and read by the service only: the server itself asks for no token."""
    is_protected: bool
    """False at first. Set by the service only: a protected connection is never closed to make room for another one."""
    loopback_host: str
    """Empty at first. Set and read by the service only: the host that the client reaches in place of this machine's loopback."""
    session: Any
    """None at first. Set and read by the service only: what it knows of the client."""
    closed: trio.Event
    """Set when the connection is closed."""

    @property
    def peer(self) -> Peer:
        """The client's address and, on loopback, its user. The kernel is asked once, at the first use: 30 µs."""

    @property
    def clients(self) -> int:
        """Number of connections that the server has open."""

    @property
    def is_writable(self) -> bool:
        """Whether at most `RpcLimits.unsent` bytes wait to be sent."""

    async def wait_writable(self) -> None:
        """Wait until the connection is writable. Waiting calls continue in the order in which they called this."""

    def notify(self, method: str, params: Raw | bytes | Any) -> None:
        """Queue a notification; `params` may be encoded JSON. Never waits.

        Does nothing on a closed connection. Ends the connection of a client that does not read what it is sent.
        """

    def send(self, line: bytes) -> None:
        """Queue an encoded notification, which many connections can share. Otherwise like `notify`."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run a task until the connection is closed. If the task raises, the connection is ended."""

    def abort(self, reason: str) -> None:
        """End the connection without sending what is queued; `reason` is logged."""


class RpcService(Protocol):
    """The methods that a server serves.

    `handle_sync` and `handle` raise `RpcError` (or an error of `minikube.errors`) to reply with an error.
    """

    @property
    def notifying_methods(self) -> frozenset[str]:
        """Methods that start to send notifications when they are called.

        In a batch they are called last, so that the reply to the batch is sent before their notifications.
        """

    def try_fast(self, data: bytes, connection: RpcConnection) -> bytes | None:
        """Return the replies to everything in `data`, or None if its lines must be decoded. Never raises.

        The replies must be the same bytes as those of `handle_sync` for each line.
        """

    def handle_sync(self, request: Request, connection: RpcConnection) -> bytes | None:
        """Return the whole reply line (see `splice_reply`), or None if the call must wait and `handle` is to be used."""

    async def handle(self, request: Request, connection: RpcConnection) -> Any:
        """Return the result: anything that msgspec encodes, `Raw`, or a whole `ReplyLine`.

        The result is never None: Go's client takes a null result for an error.
        """

    def on_ended(self, request: Request, connection: RpcConnection) -> None:
        """Record that a request for which `handle_sync` returned None has ended: it was handled, cancelled or dropped.

        May be called more than once.
        """

    def on_handled(self, count: int, seconds: float) -> None:
        """Record that `handle_sync` handled `count` requests, at least one, in `seconds` altogether."""


class ServerContext(Protocol):
    """The RPC server: the methods of it that a `ServerConnection` calls."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task in the server's nursery."""

    def schedule_update(self, connection: RpcConnection) -> None:
        """Update the connection's socket in the next round of the server: send, read again, or close it."""

    @property
    def clients(self) -> int:
        """Number of open connections."""

    waiting_calls: int
    """Number of waiting calls of all connections."""
    slow_connections: int
    """Number of connections with more than `RpcLimits.unsent` unsent bytes."""
