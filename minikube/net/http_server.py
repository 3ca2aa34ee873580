"""An HTTP/1.1 server core (floor 2): h11 decides, trio reads and writes, a handler answers.

One task a connection. A request is read whole, within its bounds and its time, then the handler is called with it and
returns what to send: a `Reply`, a `StreamReply` (chunked, for as long as it lasts) or a `Upgrade` (another protocol
on the same connection). Whatever goes wrong on a connection stays on it, and its client is told as JSON.

It refuses to know paths, tokens and hosts (the handler does), TLS, pipelining ahead of replies, and to hold a request
or a reply of unbounded size.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from typing import Any, NoReturn
from urllib.parse import unquote

import h11
import msgspec
import trio

log = logging.getLogger(__name__)

RECEIVE_BYTES = 16_384
SEND_BYTES = 65_536
LINGER_S = 1.0
LINGER_BYTES = 1_048_576
REFUSALS_AT_ONCE = 64
"""How many clients above the limit of connections are kept until they have read that; the rest is told and cut off."""


class HttpLimits(msgspec.Struct, frozen=True):
    """The bounds of one server. Each one that is passed gets its own status."""

    header_bytes: int = 16_384
    """Request line and headers: 431."""
    body_bytes: int = 65_536
    """413."""
    request_s: float = 5.0
    """From the first byte (for the first request: from the connection) to the last of the request: 408."""
    idle_s: float = 30.0
    """Between requests; then the connection is closed, which is no error."""
    send_s: float = 30.0
    """A client that takes less than a piece of 64 KiB in this long is cut off; a slow one that goes on may take its time."""
    connections: int = 1_024
    """503."""


class Request(msgspec.Struct, frozen=True):
    """One whole request. `path` is decoded, `query` is not; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """The header's value, several of one name joined with `, `, or empty."""
        return ", ".join(value for key, value in self.headers if key == name)


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. `then` is called once it has been handed to the network."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], None] | None = None


class StreamReply(msgspec.Struct, frozen=True):
    """An answer of unknown length. What `open` raises before it yields is answered like a handler's error."""

    open: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    content_type: str = "application/x-ndjson"


class Upgrade(msgspec.Struct, frozen=True):
    """The connection leaves HTTP. `run` gets the stream and the bytes that came after the request."""

    run: Callable[[trio.abc.Stream, bytes], Awaitable[None]]


Response = Reply | StreamReply | Upgrade
Handler = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Exception], Reply]


def json_reply(status: int, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(status, msgspec.json.encode(value) + b"\n", headers=headers)


def error_reply(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return json_reply(status, {"error": message}, headers)


class RequestRejected(Exception):
    """A request that got no further than its bytes: what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply = error_reply(status, message)


def _explain(error: Exception) -> Reply:
    log.error("a request failed", exc_info=error)
    return error_reply(500, "internal error — the server's log tells more")


async def serve_http(
    handler: Handler,
    listeners: list[trio.SocketListener],
    *,
    explain: ErrorHandler = _explain,
    limits: HttpLimits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Answers on the listeners (`trio.open_tcp_listeners`) until cancelled; started with the first one's (host, port).

    `explain` turns what the handler raises into a reply.
    """
    limits = limits or HttpLimits()
    open_now = refusing = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal open_now, refusing
        if open_now >= limits.connections:
            refusing += 1
            try:
                await _contain(_refuse, stream, limits, refusing <= REFUSALS_AT_ONCE)
            finally:
                refusing -= 1
            return
        open_now += 1
        try:
            await _contain(serve_connection, stream, handler, explain, limits)
        finally:
            open_now -= 1

    host, port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        task_status.started((host, port))
    raise AssertionError("serve_listeners returned")


async def serve_connection(
    stream: trio.abc.Stream, handler: Handler, explain: ErrorHandler, limits: HttpLimits
) -> None:
    """Requests and replies on one connection, until either side wants no more. Closes the stream."""
    connection = _Connection(stream, limits)
    first = True
    try:
        while True:
            try:
                request = await connection.read_request(first=first)
            except RequestRejected as refusal:
                await connection.send_reply(refusal.reply, close=True)
                return
            if request is None:
                return
            answer = await _answer(handler, request, explain)
            if isinstance(answer, Upgrade):
                connection.forget()
                await answer.run(stream, connection.trailing)
                return
            if isinstance(answer, StreamReply):
                await connection.send_stream(answer, explain)
                return
            await connection.send_reply(answer)
            if not connection.start_next_cycle():
                return
            first = False
    finally:
        await connection.close()


async def _answer(handler: Handler, request: Request, explain: ErrorHandler) -> Response:
    try:
        return await handler(request)
    except Exception as error:
        return explain(error)


async def _contain(serve: Callable[..., Awaitable[None]], stream: trio.abc.Stream, *args: Any) -> None:
    """Runs one connection. Its faults are its own: the network's are no news, the rest is logged."""
    try:
        await serve(stream, *args)
    except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    except* Exception as group:
        log.error("a connection failed", exc_info=group)
    finally:
        await trio.aclose_forcefully(stream)


async def _refuse(stream: trio.abc.Stream, limits: HttpLimits, lingers: bool) -> None:
    connection = _Connection(stream, limits)
    await connection.send_reply(error_reply(503, f"{limits.connections} connections are open — try again"), close=True)
    if lingers:
        await connection.close()


class _Connection:
    """h11's state for one stream, and the deadlines of its reads and writes."""

    def __init__(self, stream: trio.abc.Stream, limits: HttpLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._head_only = False
        self._linger = False
        self._taken_over = False
        self.trailing = b""

    # ------------------------------------------------------------ reading

    async def read_request(self, *, first: bool) -> Request | None:
        """The next request, or None when the client is done. Raises `RequestRejected`."""
        wait_s = self._limits.request_s if first else self._limits.idle_s
        if not self._http.trailing_data[0]:
            with trio.move_on_after(wait_s) as waiting:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                if not data:
                    return None
                self._http.receive_data(bytes(data))
            if waiting.cancelled_caught:
                if first:
                    raise RequestRejected(408, f"no request came within {wait_s:g} s")
                return None
        with trio.move_on_after(self._limits.request_s):
            try:
                return await self._read_whole()
            except h11.RemoteProtocolError as error:
                if error.error_status_hint == 431:
                    raise RequestRejected(431, f"the headers are over {self._limits.header_bytes} bytes") from None
                raise RequestRejected(error.error_status_hint, f"not HTTP: {error}") from None
        raise RequestRejected(408, f"the request was not complete within {self._limits.request_s:g} s")

    async def _read_whole(self) -> Request | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._head_only = head.method == b"HEAD"
        body = bytearray()
        limit = self._limits.body_bytes
        lengths = [value for name, value in head.headers if name == b"content-length"]
        if lengths and any(name == b"transfer-encoding" for name, _ in head.headers):
            # Two ends of one body: what a proxy before us took for the rest could be a request to us (RFC 9112 section 6.3).
            raise RequestRejected(400, "either Content-Length or Transfer-Encoding, not both")
        announced = lengths[0] if lengths else b"0"
        if int(announced) > limit:
            raise RequestRejected(413, f"the body is over {limit} bytes")
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                return None
            assert isinstance(event, h11.Data)
            body += event.data
            if len(body) > limit:
                raise RequestRejected(413, f"the body is over {limit} bytes")
        return _to_request(head, bytes(body))

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))
        self._linger = not isinstance(event, h11.EndOfMessage)
        return event

    def start_next_cycle(self) -> bool:
        """Whether the connection goes on."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._head_only = False  # or an error before the next head would be answered without its body
        return True

    # ------------------------------------------------------------ writing

    async def send_reply(self, reply: Reply, *, close: bool = False) -> None:
        """One whole reply in one send."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [*_common_headers(reply.content_type), *reply.headers, ("Content-Length", str(len(reply.body)))]
        if close:
            headers.append(("Connection", "close"))
            self._linger = True
        data = self._http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        if reply.body and not self._head_only:
            data += self._http.send(h11.Data(data=reply.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        try:
            await self._send_bytes(data)
        finally:
            if reply.then is not None:
                reply.then()

    async def send_stream(self, reply: StreamReply, explain: ErrorHandler) -> None:
        """Chunks as they come, until they end or the client is gone. The connection ends with it."""
        head_sent = False
        try:
            async with reply.open() as chunks, trio.open_nursery() as nursery:
                head_sent = True
                headers = [*_common_headers(reply.content_type), ("Connection", "close")]
                await self._send(h11.Response(status_code=200, headers=headers))
                if not self._head_only:
                    nursery.start_soon(self._cancel_when_gone, nursery.cancel_scope)
                    async for chunk in chunks:
                        await self._send(h11.Data(data=chunk))
                await self._send(h11.EndOfMessage())
                nursery.cancel_scope.cancel()
        except Exception as error:
            if head_sent:
                raise
            await self.send_reply(explain(error))

    async def _cancel_when_gone(self, scope: trio.CancelScope) -> None:
        """A client that follows has nothing more to say: bytes are ignored, the end of them ends the answer."""
        try:
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _send(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            await self._send_bytes(data)

    async def _send_bytes(self, data: bytes) -> None:
        pieces = memoryview(data)
        for start in range(0, len(data), SEND_BYTES):
            with trio.move_on_after(self._limits.send_s) as sending:
                await self._stream.send_all(pieces[start : start + SEND_BYTES])
            if sending.cancelled_caught:
                raise trio.BrokenResourceError(f"the client took nothing for {self._limits.send_s:g} s")

    # ------------------------------------------------------------ ending

    def forget(self) -> None:
        """HTTP is over on this connection; what came after the request is `trailing`."""
        self.trailing = bytes(self._http.trailing_data[0])
        self._taken_over = True

    async def close(self) -> None:
        """Closes; after a refusal reads on for a moment, since unread bytes would make the kernel drop our reply."""
        if self._linger and not self._taken_over and isinstance(self._stream, trio.SocketStream):
            with trio.move_on_after(LINGER_S):
                try:
                    await self._stream.send_eof()
                    left = LINGER_BYTES
                    while left > 0 and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                        left -= len(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
        await trio.aclose_forcefully(self._stream)


def _to_request(head: h11.Request, body: bytes) -> Request:
    target = head.target.decode("ascii", "replace")
    if not target.startswith("/"):
        raise RequestRejected(400, "the request target must be a path")
    path, _, query = target.partition("?")
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers)
    return Request(head.method.decode("ascii"), unquote(path, errors="replace"), query, headers, body)


def _common_headers(content_type: str) -> list[tuple[str, str]]:
    return [
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
