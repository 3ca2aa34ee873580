"""A websocket on a connection that HTTP has already seen (floor 2): trio-websocket, with what it lacks.

- The handshake is checked here and given to trio-websocket in our own words: only the headers that it needs, so that a
  byte from outside that its parser raises on (one >= 0x80 ends a trio-websocket 0.12 server) never reaches it.
- What fails on a connection ends that connection.
- Closing waits `DISCONNECT_S`, not the 60 s that a reader who stopped reading would hold a task.
- A frame can be encoded once and sent to many: 200 readers take 6 times as many messages as with `send_message`.

It refuses to keep a queue: who sends waits until the reader takes, `SEND_S` at most. trio-websocket is imported with the
first handshake: a supervisor starts sooner and is smaller without it (60 ms, 4 MB).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from minikube.net.http_server import Reply, Request, error_reply

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

DISCONNECT_S = 0.25
HANDSHAKE_S = 5.0
SEND_S = 30.0
GOING_AWAY = b"\x88\x02" + (1001).to_bytes(2, "big")
SAID_BYTES = 4_096
"""The largest message a reader may send."""


class SlowReader(Exception):
    """The other side took nothing for `SEND_S`. The connection is of no more use."""


def reject_handshake(request: Request) -> Reply | None:
    """What to answer when a request is no handshake of RFC 6455, else None."""
    upgrade = request.header("upgrade").lower()
    connection = {token.strip() for token in request.header("connection").lower().split(",")}
    if upgrade != "websocket" or "upgrade" not in connection:
        return error_reply(426, "this is a websocket", (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    if request.header("sec-websocket-version") != "13":
        return error_reply(426, "websocket version 13 is spoken here", (("Sec-WebSocket-Version", "13"),))
    try:
        key = base64.b64decode(request.header("sec-websocket-key").encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        return error_reply(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return None


def text_frame(payload: bytes) -> bytes:
    """One unmasked text frame of a server (RFC 6455 §5.2). `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class FrameSocket:
    """A server's side of a websocket that is only written to, in ready frames."""

    def __init__(self, stream: _SharedStream) -> None:
        self._stream = stream

    async def send_frame(self, frame: bytes) -> None:
        """Sends what `text_frame` made. Raises `SlowReader`, `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        with trio.move_on_after(SEND_S) as sending:
            await self._stream.send_all(frame)
        if sending.cancelled_caught:
            raise SlowReader


@asynccontextmanager
async def open_frame_socket(
    stream: trio.abc.Stream, request: Request, trailing: bytes = b""
) -> AsyncIterator[FrameSocket]:
    """Accepts the handshake that `reject_handshake` had nothing against; closes when the block ends.

    The block is cancelled when the other side closes, breaks the protocol, or says anything: nothing is expected.
    Raises `trio.BrokenResourceError` (in a group) when it goes away, or takes nothing, before it has our answer.
    When the caller is cancelled the other side is told "going away", if it takes that within `DISCONNECT_S`.
    """
    from trio_websocket import ConnectionClosed, wrap_server_stream

    shared = _SharedStream(stream, _handshake(request) + trailing)
    async with trio.open_nursery() as nursery:
        try:
            with trio.fail_after(HANDSHAKE_S):
                proposal = await wrap_server_stream(nursery, shared, 1, SAID_BYTES)
                connection = await proposal.accept()
        except (trio.TooSlowError, ConnectionClosed) as error:
            raise trio.BrokenResourceError("the reader was gone before the handshake was over") from error
        nursery.start_soon(_cancel_when_closed, connection, nursery.cancel_scope)
        try:
            with suppress(SlowReader, trio.BrokenResourceError, trio.ClosedResourceError):
                yield FrameSocket(shared)
        finally:
            await shared.say_goodbye()
            nursery.cancel_scope.cancel()


async def _cancel_when_closed(connection: WebSocketConnection, scope: trio.CancelScope) -> None:
    from trio_websocket import ConnectionClosed

    with suppress(ConnectionClosed):
        await connection.get_message()
    scope.cancel()


class _SharedStream(trio.abc.Stream):
    """A stream that first reads what is already known, and takes whole frames from two writers in turn."""

    def __init__(self, stream: trio.abc.Stream, known: bytes) -> None:
        self._stream = stream
        self._known = known
        self._turn = trio.StrictFIFOLock()
        self._in_frame = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._turn:
            self._in_frame = True
            await self._stream.send_all(data)
            self._in_frame = False

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._known:
            known, self._known = self._known, b""
            await trio.lowlevel.checkpoint()
            return known
        return await self._stream.receive_some(max_bytes)

    async def say_goodbye(self) -> None:
        """Closes, after a close frame where one can still be said: not in the middle of another frame."""
        with (
            trio.move_on_after(DISCONNECT_S, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            if not self._in_frame:
                await self.send_all(GOING_AWAY)
        await trio.aclose_forcefully(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _handshake(request: Request) -> bytes:
    """The checked request once more, with what a websocket needs and nothing else."""
    return (
        b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + request.header("sec-websocket-key").encode() + b"\r\n\r\n"
    )
