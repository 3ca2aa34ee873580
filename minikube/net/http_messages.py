"""What an HTTP server and its handlers exchange: requests, replies, clients, and the limits of a server.

It reads and writes nothing: `http_server` does.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Any

import msgspec
import trio

from minikube.linux.socket_owner import peer_uid
from minikube.net.peers import Peer


class HttpLimits(msgspec.Struct, frozen=True):
    """The limits of a server, with the HTTP status of the error for a client that exceeds them."""

    header_bytes: int = 16_384
    """Size of the request line and the headers: 431."""
    body_bytes: int = 65_536
    """Size of the body: 413."""
    request_s: float = 5.0
    """Time from the first byte of a request (for the first request: from the connection's start) to its last: 408."""
    idle_s: float = 30.0
    """Time between two requests, after which the connection is closed without an error."""
    send_s: float = 30.0
    """Time in which a client must take a piece of 64 KiB; otherwise its connection is closed. A slow client that keeps
    reading may take as long as it needs."""
    connections: int = 1_024
    """Number of open connections. For a further one the peer with the most connections loses its idlest one: 503."""


class Client:
    """A connected client of a server, as a handler sees it; for `net.peers` a `SharedConnection`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_trusted = False
        """False at first. Set by the handler: the connection is one of the project's own. It is closed to make room only
        while it is idle, and after all others."""
        self.is_busy = False
        """Whether a request is being answered."""
        self.requests = 0
        """Number of requests so far."""
        self.serving = trio.CancelScope()
        """The scope of the whole connection."""
        self.lingers = True
        """Whether the connection is kept open after an error until the client has read it."""
        self.is_closed = False
        self.closed_reason = ""
        """Why the connection is closed to make room for another one; empty if it is not."""
        self.last_active = trio.current_time()
        self._stream = stream
        self._reading = trio.CancelScope()

    @cached_property
    def peer(self) -> Peer:
        """The client's address and, on loopback, its user. The kernel is asked at the first use."""
        if not isinstance(self._stream, trio.SocketStream):
            return Peer("")
        sock = self._stream.socket
        try:
            host = sock.getpeername()[0]
        except OSError:  # the client has reset the connection
            host = ""
        return Peer(host, peer_uid(sock))

    @property
    def is_open(self) -> bool:
        return not (self.is_closed or self.closed_reason)

    @property
    def is_protected(self) -> bool:
        return self.is_trusted and self.is_busy

    @property
    def priority(self) -> tuple[Any, ...]:
        return self.is_busy, self.is_trusted, self.requests > 1, self.last_active

    def open_reading_scope(self) -> trio.CancelScope:
        """Return the scope for the wait for the next request."""
        if not self.closed_reason:
            self._reading = trio.CancelScope()
        return self._reading

    def start_request(self) -> None:
        """Record that a request was read."""
        self.is_busy = True
        self.requests += 1

    def end_request(self) -> None:
        """Record that the request was answered."""
        self.is_busy = False
        self.last_active = trio.current_time()

    def close_for_room(self, reason: str) -> None:
        """Have the connection closed; a client that waits for nothing gets the reason with a 503."""
        self.closed_reason = reason
        (self.serving if self.is_busy else self._reading).cancel()


class Request(msgspec.Struct, frozen=True):
    """A request with its body. `path` is percent-decoded, `query` is not; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: Client | None = None
    """The client that sent the request; None outside of a server."""

    def header(self, name: str) -> str:
        """Return the header's value, or an empty string. Several headers of one name are joined with `, `."""
        return ", ".join(value for key, value in self.headers if key == name)


class Reply(msgspec.Struct, frozen=True):
    """A response with its body."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    after_send: Callable[[], None] | None = None
    """Called once the reply has been handed to the network, or could not be."""


class StreamReply(msgspec.Struct, frozen=True):
    """A streamed response. An exception from `open` before its yield gets an error reply, as one from the handler does."""

    open: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    content_type: str = "application/x-ndjson"


class Upgrade(msgspec.Struct, frozen=True):
    """A response that switches to another protocol. `run` gets the stream and the bytes received after the request."""

    run: Callable[[trio.abc.Stream, bytes], Awaitable[None]]


Response = Reply | StreamReply | Upgrade
Handler = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Exception], Reply]


def error_reply(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return a reply with the body `{"error": message}`."""
    return Reply(status, msgspec.json.encode({"error": message}) + b"\n", headers=headers)


def common_headers(content_type: str) -> list[tuple[str, str]]:
    """Return the headers that all replies have."""
    return [
        # Not `email.utils.formatdate`: its imports take 12 ms. No program here sets a locale, so the names are English.
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]


class RequestRejected(Exception):
    """A request is rejected before the handler. `reply` is sent, then the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply = error_reply(status, message)
