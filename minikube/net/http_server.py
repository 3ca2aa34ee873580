"""An HTTP/1.1 server: h11 parses, trio reads and writes, a handler responds.

There is one task per connection. A request is read whole, within limits of size and time. Then the handler is called with it
and returns the response: a `Reply`, a `StreamReply` (chunked, of any length) or an `Upgrade` (another protocol on the same
connection). An error on a connection ends that connection only; its client gets the error as JSON.

It refuses to know paths, tokens and hosts (the handler does), to speak TLS, to handle a request before the reply to the
previous one is sent, and to hold a request or a reply of unlimited size.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn
from urllib.parse import unquote

import h11
import trio

from minikube.net.http_messages import (
    Client,
    ErrorHandler,
    Handler,
    HttpLimits,
    Reply,
    Request,
    RequestRejected,
    StreamReply,
    Upgrade,
    common_headers,
    error_reply,
)
from minikube.net.peers import RoomMaker, closed_for_room

log = logging.getLogger(__name__)

RECEIVE_BYTES = 16_384
SEND_BYTES = 65_536
LINGER_S = 1.0
LINGER_BYTES = 1_048_576
MAX_REFUSED = 64
"""Refused connections, and those closed to make room, that are kept open until the client has read the error; further ones
are closed at once."""
SINGLE_HEADERS = frozenset({"authorization", "content-length", "host", "origin"})
"""Headers that a request may have only once: client, proxy and server could disagree about which one counts."""

_find_line_ends = re.compile(rb"(?:\r?\n)*").match
_find_content_lengths = re.compile(rb"^content-length[ \t]*:", re.IGNORECASE | re.MULTILINE).findall
_find_head_end = re.compile(rb"\n\r?\n").search


def log_error(error: Exception) -> Reply:
    """Log an exception of a handler and return the reply to its request: the default `ErrorHandler`."""
    log.error("a request failed", exc_info=error)
    return error_reply(500, "internal error — see the server's log")


async def serve_http(
    handler: Handler,
    listeners: list[trio.SocketListener],
    *,
    on_error: ErrorHandler = log_error,
    limits: HttpLimits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the listeners (`trio.open_tcp_listeners`) until cancelled. Report the address of the first one.

    `on_error` returns the reply for an exception that the handler raised.
    """
    limits = limits or HttpLimits()
    clients: dict[Client, None] = {}
    refused: set[Client] = set()
    room_maker = RoomMaker[Client]()

    async def serve(stream: trio.SocketStream) -> None:
        client = Client(stream)
        if len(clients) >= limits.connections:
            chosen = room_maker.choose(clients, client)
            if chosen is None:
                await refuse(stream, client)
                return
            del clients[chosen]
            refused.add(chosen)
            chosen.lingers = len(refused) <= MAX_REFUSED
            chosen.close_for_room(closed_for_room(limits.connections, chosen.peer))
        clients[client] = None
        try:
            with client.serving:
                await contain_errors(serve_connection, stream, handler, on_error, limits, client)
        finally:
            client.is_closed = True
            clients.pop(client, None)
            refused.discard(client)

    async def refuse(stream: trio.SocketStream, client: Client) -> None:
        refused.add(client)
        try:
            await contain_errors(_refuse_connection, stream, limits, len(refused) <= MAX_REFUSED)
        finally:
            refused.discard(client)

    host, port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        task_status.started((host, port))
    raise AssertionError("serve_listeners returned")


async def serve_connection(
    stream: trio.abc.Stream,
    handler: Handler,
    on_error: ErrorHandler,
    limits: HttpLimits,
    client: Client | None = None,
) -> None:
    """Serve the requests of one connection until the client or the server ends it; then close the stream."""
    client = client or Client(stream)
    connection = _Connection(stream, limits, client)
    is_first = True
    try:
        while True:
            request = None
            try:
                with client.open_reading_scope():
                    request = await connection.read_request(is_first=is_first)
                if client.closed_reason:
                    raise RequestRejected(503, client.closed_reason)
            except RequestRejected as rejected:
                await connection.send_reply(rejected.reply, close=True)
                return
            if request is None:
                return
            client.start_request()
            try:
                response = await handler(request)
            except Exception as error:
                response = on_error(error)
            if isinstance(response, Upgrade):
                await response.run(stream, connection.leave_http())
                return
            if isinstance(response, StreamReply):
                await connection.send_stream(response, on_error)
                return
            await connection.send_reply(response)
            if not connection.start_next_cycle():
                return
            client.end_request()
            is_first = False
    finally:
        await connection.close()


async def contain_errors(serve: Callable[..., Awaitable[None]], stream: trio.abc.Stream, *args: Any) -> None:
    """Run `serve(stream, *args)` and close the stream. Ignore network errors, log other exceptions."""
    try:
        await serve(stream, *args)
    except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    except* Exception as group:
        log.error("a connection failed", exc_info=group)
    finally:
        await trio.aclose_forcefully(stream)


async def _refuse_connection(stream: trio.abc.Stream, limits: HttpLimits, lingers: bool) -> None:
    connection = _Connection(stream, limits, Client(stream))
    await connection.send_reply(error_reply(503, f"{limits.connections} connections are open — try again"), close=True)
    if lingers:
        await connection.close()


class _Connection:
    """One stream with its HTTP state (of h11). All reads and writes have deadlines."""

    def __init__(self, stream: trio.abc.Stream, limits: HttpLimits, client: Client) -> None:
        self._stream = stream
        self._limits = limits
        self._client = client
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._head = bytearray()
        """Everything received since the last request, until the next one's head is complete."""
        self._line_start = b""
        """A carriage return whose line end has not come yet."""
        self._is_head_request = False
        self._lingers = False
        self._has_left_http = False

    # ------------------------------------------------------------ reading

    async def read_request(self, *, is_first: bool) -> Request | None:
        """Return the next request, or None if the client has closed the connection or idles too long. Raise `RequestRejected`."""
        timeout = self._limits.request_s if is_first else self._limits.idle_s
        if not self._head:
            with trio.move_on_after(timeout) as scope:
                if not await self._receive_start():
                    return None
            if scope.cancelled_caught:
                if is_first:
                    raise RequestRejected(408, f"no request came within {timeout:g} s")
                return None
        with trio.move_on_after(self._limits.request_s):
            try:
                return await self._read_whole_request()
            except h11.RemoteProtocolError as error:
                if error.error_status_hint == 431:
                    raise RequestRejected(431, f"the headers are over {self._limits.header_bytes} bytes") from None
                raise RequestRejected(error.error_status_hint, f"not HTTP: {error}") from None
        raise RequestRejected(408, f"the request was not complete within {self._limits.request_s:g} s")

    async def _receive_start(self) -> bool:
        """Receive the first bytes of a request. Return False if the client has closed the connection."""
        while not self._head:
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if not data:
                return False
            self._put_start(data)
        return True

    def _put_start(self, data: bytes) -> None:
        """Take the bytes after a request, or the first ones, as the start of the next request."""
        # Empty lines before a request are skipped: some clients send one after a body (RFC 9112 section 2.2).
        data = self._line_start + data
        end = _find_line_ends(data)
        assert end is not None
        data = data[end.end() :]
        self._line_start = b"\r" if data == b"\r" else b""
        if not self._line_start:
            self._head += data
            if data:
                self._http.receive_data(data)

    async def _read_whole_request(self) -> Request | None:
        """Read the head and the body of the next request and return it. Raise `RequestRejected` beyond the limits of size."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._is_head_request = head.method == b"HEAD"
        self._reject_repeated_headers(head)
        body = bytearray()
        limit = self._limits.body_bytes
        lengths = [value for name, value in head.headers if name == b"content-length"]
        is_encoded = any(name == b"transfer-encoding" for name, _ in head.headers)
        if is_encoded and head.http_version < b"1.1":
            # A client or proxy of HTTP/1.0 does not know the header: for it the body ends elsewhere (RFC 9112 section 6.1).
            raise RequestRejected(400, "HTTP/1.0 has no Transfer-Encoding — use HTTP/1.1 or Content-Length")
        if lengths and is_encoded:
            # Request smuggling (RFC 9112 section 6.3): a proxy in front may see the body end elsewhere, so that what it
            # takes for the rest of the body is a request to this server.
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
        return _to_request(head, bytes(body), self._client)

    def _reject_repeated_headers(self, head: h11.Request) -> None:
        """Raise `RequestRejected` for a header that is there twice and may be only once."""
        raw_head, self._head = self._head, bytearray()
        names = [name.decode("ascii") for name, _ in head.headers]
        repeated = [name for name in SINGLE_HEADERS if names.count(name) > 1]
        # h11 joins lengths that are the same.
        end = _find_head_end(raw_head)
        if len(_find_content_lengths(raw_head, 0, end.end() if end else len(raw_head))) > 1:
            repeated.append("content-length")
        if repeated:
            raise RequestRejected(400, f"the header {repeated[0]} is there twice")

    async def _next_event(self) -> Any:
        """Return h11's next event; receive from the stream until there is one."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if self._head:
                self._head += data
            self._http.receive_data(data)
        # An error reply that is sent in the middle of a request leaves input unread.
        self._lingers = not isinstance(event, h11.EndOfMessage)
        return event

    def start_next_cycle(self) -> bool:
        """Prepare for the next request. Return True, or False if the connection must be closed instead."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        # Not h11's `start_next_cycle`: it would take an empty line before the next request for a malformed request line.
        trailing = bytes(self._http.trailing_data[0])
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.header_bytes)
        self._put_start(trailing)
        # Otherwise an error before the next request's head would be sent without its body.
        self._is_head_request = False
        return True

    def leave_http(self) -> bytes:
        """Stop parsing HTTP, because another protocol takes the stream over. Return the bytes received after the request."""
        self._has_left_http = True
        return bytes(self._http.trailing_data[0])

    # ------------------------------------------------------------ writing

    async def send_reply(self, reply: Reply, *, close: bool = False) -> None:
        """Send a reply in one piece. Do nothing if a response was sent already."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [*common_headers(reply.content_type), *reply.headers, ("Content-Length", str(len(reply.body)))]
        if close:
            headers.append(("Connection", "close"))
            self._lingers = True
        data = self._http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        if reply.body and not self._is_head_request:
            data += self._http.send(h11.Data(data=reply.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        try:
            await self._send_bytes(data)
        finally:
            if reply.after_send is not None:
                reply.after_send()

    async def send_stream(self, reply: StreamReply, on_error: ErrorHandler) -> None:
        """Send the chunks of a reply until they end or the client closes. The caller must then close the connection."""
        is_head_sent = False
        try:
            async with reply.open() as chunks, trio.open_nursery() as nursery:
                is_head_sent = True
                headers = [*common_headers(reply.content_type), ("Connection", "close")]
                await self._send(h11.Response(status_code=200, headers=headers))
                if not self._is_head_request:
                    nursery.start_soon(self._cancel_when_closed, nursery.cancel_scope)
                    async for chunk in chunks:
                        await self._send(h11.Data(data=chunk))
                await self._send(h11.EndOfMessage())
                nursery.cancel_scope.cancel()
        except Exception as error:
            if is_head_sent:
                raise
            await self.send_reply(on_error(error))

    async def _cancel_when_closed(self, scope: trio.CancelScope) -> None:
        """Cancel the scope when the client closes the connection. Ignore bytes from the client until then."""
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
        """Send the data in pieces, each within `send_s`."""
        view = memoryview(data)
        for start in range(0, len(data), SEND_BYTES):
            with trio.move_on_after(self._limits.send_s) as scope:
                await self._stream.send_all(view[start : start + SEND_BYTES])
            if scope.cancelled_caught:
                raise trio.BrokenResourceError(f"the client took nothing for {self._limits.send_s:g} s")

    # ------------------------------------------------------------ closing

    async def close(self) -> None:
        """Close the connection. After an error, drain the input for a moment first."""
        # Closing with unread input would make the kernel reset the connection and drop the reply.
        if (
            self._lingers
            and self._client.lingers
            and not self._has_left_http
            and isinstance(self._stream, trio.SocketStream)
        ):
            with trio.move_on_after(LINGER_S):
                try:
                    await self._stream.send_eof()
                    remaining = LINGER_BYTES
                    while remaining > 0 and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                        remaining -= len(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
        await trio.aclose_forcefully(self._stream)


def _to_request(head: h11.Request, body: bytes, client: Client) -> Request:
    """Return the request with this head and body. Raise `RequestRejected` for a target that is no path."""
    target = head.target.decode("ascii", "replace")
    if not target.startswith("/"):
        raise RequestRejected(400, "the request target must be a path")
    path, _, query = target.partition("?")
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers)
    return Request(head.method.decode("ascii"), unquote(path, errors="replace"), query, headers, body, client)
