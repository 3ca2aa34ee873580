"""A server's websocket that only sends, on a connection of `http_server`: wsproto parses what the client sends.

Every end has a close code of RFC 6455 section 7.4.1: the client's own after its close frame, "going away" (1001) when the
server stops, "protocol error" (1002), "unsupported data" (1003) for any message, as none is expected, "invalid payload"
(1007) for text that is not UTF-8, and "too big" (1009). An error on a connection ends that connection only.

A frame is encoded once and sent to many clients: 180,000 messages/s to 200 clients, 27,000 if each is encoded anew.

It refuses to keep a queue: sending waits until the client reads, for at most `SEND_S`.
"""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from minikube.net.http_messages import Reply, Request, error_reply

# wsproto is imported by the first handshake: a supervisor starts sooner and is smaller without it.
if TYPE_CHECKING:
    pass

DISCONNECT_S: Final = 0.25
"""Time for a close frame, and for the client's answer to it."""
HANDSHAKE_S: Final = 5.0
SEND_S: Final = 30.0
RECEIVE_BYTES: Final = 4_096
MAX_MESSAGE_BYTES: Final = 4_096
"""Longest message that is read before the connection is closed. Any message ends the connection: none is expected."""

GOING_AWAY: Final = 1001
UNSUPPORTED_DATA: Final = 1003
TOO_BIG: Final = 1009
NO_CODE: Final = 1005
"""Stands for a close frame without a code (RFC 6455 section 7.1.5)."""

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


class SlowReader(Exception):
    """The client took nothing for `SEND_S`. The connection cannot be used any more."""


def reject_handshake(request: Request) -> Reply | None:
    """Return the error reply to a request that is not a websocket handshake (RFC 6455); None for a handshake."""
    upgrade = request.header("upgrade").lower()
    connection = {token.strip() for token in request.header("connection").lower().split(",")}
    if upgrade != "websocket" or "upgrade" not in connection:
        return error_reply(426, "expected a websocket handshake", (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    if request.header("sec-websocket-version") != "13":
        return error_reply(426, "expected websocket version 13", (("Sec-WebSocket-Version", "13"),))
    try:
        key = base64.b64decode(request.header("sec-websocket-key").encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        return error_reply(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return None


def text_frame(payload: bytes) -> bytes:
    """Return a server's unmasked text frame (RFC 6455 §5.2) with the payload, which must be UTF-8."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: int) -> bytes:
    """Return a server's close frame; with `NO_CODE` one without a code."""
    return b"\x88\x00" if code == NO_CODE else b"\x88\x02" + code.to_bytes(2, "big")


class FrameSocket:
    """A server's websocket that sends frames made by `text_frame`."""

    def __init__(self, stream: trio.abc.Stream, received: bytes) -> None:
        from wsproto.connection import Connection, ConnectionType

        self._stream = stream
        self._protocol: Connection = Connection(ConnectionType.SERVER, trailing_data=received)
        self._message_bytes = 0
        self._send_lock = trio.StrictFIFOLock()
        self._is_in_frame = False
        """Whether a frame was sent only in part: no other one may follow it."""
        self.close_code = GOING_AWAY

    async def send_frame(self, frame: bytes) -> None:
        """Send a frame. Raise `SlowReader`, `trio.BrokenResourceError` or `trio.ClosedResourceError`."""
        with trio.move_on_after(SEND_S) as scope:
            await self._send(frame)
        if scope.cancelled_caught:
            raise SlowReader

    async def _send(self, frame: bytes) -> None:
        async with self._send_lock:
            # Not cancelled by `send_all` before it has sent anything: a close frame could not follow.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._is_in_frame = True
            await self._stream.send_all(frame)
            self._is_in_frame = False

    async def read_until_closed(self) -> None:
        """Answer pings until the connection is to be closed; then set `close_code`."""
        while True:
            for event in self._protocol.events():
                code = await self._handle(event)
                if code is not None:
                    self.close_code = code
                    return
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                return
            self._protocol.receive_data(bytes(data))

    async def _handle(self, event: object) -> int | None:
        """Return the close code if an event of the client's ends the connection."""
        from wsproto.events import CloseConnection, Message, Ping

        if isinstance(event, Ping):
            await self._send(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            # Also for what breaks the protocol, with the code for it.
            return int(event.code)
        elif isinstance(event, Message):
            self._message_bytes += len(event.data)
            if self._message_bytes > MAX_MESSAGE_BYTES:
                return TOO_BIG
            if event.message_finished:
                return UNSUPPORTED_DATA
        return None

    async def close(self) -> None:
        """Send a close frame, wait for the client to close, and close the stream, all within `DISCONNECT_S`."""
        with (
            trio.move_on_after(DISCONNECT_S, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if not self._is_in_frame:
                await self._send(close_frame(self.close_code))
                if isinstance(self._stream, trio.SocketStream):
                    await self._stream.send_eof()
                # Closing with unread input would make the kernel reset the connection and drop the close frame.
                while await self._stream.receive_some(RECEIVE_BYTES):
                    pass
        await trio.aclose_forcefully(self._stream)


@asynccontextmanager
async def open_frame_socket(
    stream: trio.abc.Stream, request: Request, trailing: bytes = b""
) -> AsyncIterator[FrameSocket]:
    """Accept a handshake that passed `reject_handshake`, and yield the websocket; close it after the block.

    `trailing` are the bytes received after the request. The block is cancelled when the client closes, breaks the protocol
    or sends any message. When the caller is cancelled, the client gets a close frame "going away" if it reads within
    `DISCONNECT_S`.

    Raise `trio.BrokenResourceError` if the client does not take the reply to its handshake within `HANDSHAKE_S`.
    """
    with trio.move_on_after(HANDSHAKE_S) as handshake:
        await stream.send_all(_accept(request))
    if handshake.cancelled_caught:
        raise trio.BrokenResourceError("the client does not take the reply to its handshake")
    socket = FrameSocket(stream, trailing)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_closed, socket, nursery.cancel_scope)
            with suppress(SlowReader, trio.BrokenResourceError, trio.ClosedResourceError):
                yield socket
            nursery.cancel_scope.cancel()
    finally:
        await socket.close()


async def _cancel_when_closed(socket: FrameSocket, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await socket.read_until_closed()
    scope.cancel()


def _accept(request: Request) -> bytes:
    """Return the reply to a handshake. Of the request only the key is used, which was checked."""
    key = request.header("sec-websocket-key").encode("ascii")
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
